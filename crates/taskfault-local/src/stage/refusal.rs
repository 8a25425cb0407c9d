//! Why namespaces were refused, and what to change.

use std::fmt;
use std::fs;
use std::path::Path;

use nix::errno::Errno;

/// The call that the kernel refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RefusedCall {
    /// A user namespace, in which this process is root.
    NewUser,
    /// A network namespace inside of it.
    NewNetwork,
    /// The namespaces of one task.
    NewTask,
    /// Writing this file.
    Map(&'static str),
    /// Mounting the task's own `/proc`.
    MountProc,
}

impl fmt::Display for RefusedCall {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            RefusedCall::NewUser => f.write_str("unshare(CLONE_NEWUSER)"),
            RefusedCall::NewNetwork => f.write_str("unshare(CLONE_NEWNET)"),
            RefusedCall::NewTask => {
                f.write_str("unshare(CLONE_NEWPID|CLONE_NEWNS|CLONE_NEWIPC|CLONE_NEWUTS)")
            }
            RefusedCall::Map(path) => write!(f, "writing {path}"),
            RefusedCall::MountProc => f.write_str("mounting /proc in a task"),
        }
    }
}

/// A refused call with everything that may explain it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("namespaces are refused here: {call}: {}{}", errno.desc(), advice_lines(advice))]
pub struct Refusal {
    /// What was asked of the kernel.
    pub call: RefusedCall,
    /// Its answer.
    pub errno: Errno,
    /// The setting that is in the way and what to do, each in lines of at most 90 columns.
    pub advice: Vec<String>,
}

impl Refusal {
    /// The refusal of `call`, explained by the settings of this machine as they are now.
    pub(super) fn read(call: RefusedCall, errno: Errno) -> Refusal {
        Refusal { call, errno, advice: advise(call, errno, &Settings::read()) }
    }
}

fn advice_lines(advice: &[String]) -> String {
    advice.iter().map(|line| format!("\n  - {}", line.replace('\n', "\n      "))).collect()
}

/// What this machine allows, as far as it can be read. None: the kernel has no such setting.
#[derive(Debug, Clone, Default)]
struct Settings {
    /// `kernel.unprivileged_userns_clone`, of Debian's and Ubuntu's kernels.
    unprivileged_userns_clone: Option<u64>,
    /// `user.max_user_namespaces`.
    max_user_namespaces: Option<u64>,
    /// `user.max_net_namespaces`.
    max_net_namespaces: Option<u64>,
    /// `kernel.apparmor_restrict_unprivileged_userns`, Ubuntu 23.10 and later.
    apparmor_restricts: Option<u64>,
    /// The `Seccomp:` line of `/proc/self/status`: 2 under a filter, as in a container.
    seccomp: Option<u64>,
    /// Threads of this process.
    threads: Option<u64>,
    container: bool,
}

impl Settings {
    fn read() -> Settings {
        let number = |path: &str| fs::read_to_string(path).ok()?.trim().parse().ok();
        let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
        Settings {
            unprivileged_userns_clone: number("/proc/sys/kernel/unprivileged_userns_clone"),
            max_user_namespaces: number("/proc/sys/user/max_user_namespaces"),
            max_net_namespaces: number("/proc/sys/user/max_net_namespaces"),
            apparmor_restricts: number("/proc/sys/kernel/apparmor_restrict_unprivileged_userns"),
            seccomp: field(&status, "Seccomp:"),
            threads: field(&status, "Threads:"),
            container: ["/.dockerenv", "/run/.containerenv"].iter().any(|path| Path::new(path).exists()),
        }
    }
}

fn field(status: &str, name: &str) -> Option<u64> {
    status.lines().find_map(|line| line.strip_prefix(name))?.trim().parse().ok()
}

fn advise(call: RefusedCall, errno: Errno, settings: &Settings) -> Vec<String> {
    let mut advice = Vec::new();
    let mut add = |applies: bool, line: &str| {
        if applies {
            advice.push(line.to_owned());
        }
    };
    add(
        settings.unprivileged_userns_clone == Some(0),
        "kernel.unprivileged_userns_clone is 0: run it as root, or allow it as root with\n\
         sysctl kernel.unprivileged_userns_clone=1",
    );
    add(
        settings.max_user_namespaces == Some(0),
        "user.max_user_namespaces is 0: raise it as root with\n\
         sysctl user.max_user_namespaces=10000",
    );
    add(
        settings.max_net_namespaces == Some(0),
        "user.max_net_namespaces is 0: raise it as root with\n\
         sysctl user.max_net_namespaces=10000",
    );
    add(
        settings.apparmor_restricts.is_some_and(|value| value > 0),
        "kernel.apparmor_restrict_unprivileged_userns is on: run it as root, or allow it as root with\n\
         sysctl kernel.apparmor_restrict_unprivileged_userns=0",
    );
    // Where /proc cannot be mounted, the namespaces themselves were given.
    let namespaces_given = call == RefusedCall::MountProc;
    let filtered = settings.container || settings.seccomp == Some(2);
    add(
        // A seccomp filter answers so; a limit answers otherwise.
        !namespaces_given && filtered && matches!(errno, Errno::EPERM | Errno::ENOSYS),
        "this is a container, or a seccomp filter is on: run it outside, or give `docker run`\n\
         --security-opt seccomp=unconfined --security-opt systempaths=unconfined\n\
         (and --security-opt apparmor=unconfined where AppArmor is on)",
    );
    add(
        namespaces_given,
        "parts of /proc are covered, as containers do: run it outside, or give `docker run`\n\
         --security-opt systempaths=unconfined",
    );
    add(errno == Errno::ENOSYS, "this kernel was built without namespaces");
    add(
        errno == Errno::EINVAL && settings.threads.is_some_and(|threads| threads > 1),
        "the process has more than one thread, and the kernel moves only a process with one",
    );
    add(
        matches!(errno, Errno::ENOSPC | Errno::EUSERS) && settings.max_user_namespaces != Some(0),
        "a limit on namespaces is reached: see max_*_namespaces in `sysctl user`, here and outside",
    );
    add(
        errno == Errno::EACCES && matches!(call, RefusedCall::Map(_)),
        "the program file must be readable, not only executable, by the user who runs it",
    );
    if advice.is_empty() {
        advice.push(
            "run it as root, or as a user who may make user namespaces (`unshare -Urn true` must work)"
                .into(),
        );
    }
    advice
}

#[cfg(test)]
mod tests {
    use super::*;

    fn advice(call: RefusedCall, errno: Errno, settings: Settings) -> String {
        advise(call, errno, &settings).join("\n")
    }

    #[test]
    fn names_the_setting_that_is_in_the_way() {
        let debian = Settings { unprivileged_userns_clone: Some(0), ..Settings::default() };
        assert!(
            advice(RefusedCall::NewUser, Errno::EPERM, debian).contains("kernel.unprivileged_userns_clone=1")
        );
        let none = Settings { max_user_namespaces: Some(0), ..Settings::default() };
        assert!(advice(RefusedCall::NewUser, Errno::ENOSPC, none).contains("user.max_user_namespaces"));
        let ubuntu = Settings { apparmor_restricts: Some(1), ..Settings::default() };
        assert!(advice(RefusedCall::Map("/proc/self/uid_map"), Errno::EPERM, ubuntu).contains("apparmor"));
        let docker = Settings { seccomp: Some(2), container: true, ..Settings::default() };
        assert!(advice(RefusedCall::NewUser, Errno::EPERM, docker.clone()).contains("seccomp=unconfined"));
        let covered = advice(RefusedCall::MountProc, Errno::EPERM, docker);
        assert!(covered.contains("systempaths") && !covered.contains("seccomp=unconfined"), "{covered}");
    }

    #[test]
    fn settings_that_allow_it_are_not_blamed() {
        let open = Settings {
            unprivileged_userns_clone: Some(1),
            max_user_namespaces: Some(96_365),
            max_net_namespaces: Some(96_365),
            apparmor_restricts: Some(0),
            seccomp: Some(0),
            threads: Some(1),
            container: false,
        };
        let lines = advise(RefusedCall::NewUser, Errno::EPERM, &open);
        assert_eq!(lines.len(), 1);
        assert!(lines[0].contains("unshare -Urn true"));
    }

    #[test]
    fn threads_are_named_as_the_reason() {
        let threaded = Settings { threads: Some(3), ..Settings::default() };
        assert!(advice(RefusedCall::NewUser, Errno::EINVAL, threaded).contains("more than one thread"));
    }

    #[test]
    fn the_message_has_the_call_and_one_line_of_advice_each() {
        let refusal = Refusal {
            call: RefusedCall::NewUser,
            errno: Errno::EPERM,
            advice: vec!["a\nb".into(), "c".into()],
        };
        assert_eq!(
            refusal.to_string(),
            "namespaces are refused here: unshare(CLONE_NEWUSER): Operation not permitted\n  - a\n      b\n  - c"
        );
    }
}
