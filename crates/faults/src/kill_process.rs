//! `kill-process`: a signal to every process of a name.

use std::time::Duration;

use super::{Parameter, ParameterError, Spec};

/// Name, defaults and accepted values (FIS reference, `aws:ecs:task-kill-process`).
pub const SPEC: Spec = Spec {
    name: "kill-process",
    summary: "send a signal to the processes of a name",
    available: true,
    parameters: &[
        Parameter {
            option: "process-name",
            fis: "processName",
            default: None,
            range: NAMES,
            unit: "",
            description: "the whole name of the processes, as killall matches it",
        },
        Parameter {
            option: "signal",
            fis: "signal",
            default: Some("SIGTERM"),
            range: SIGNALS,
            unit: "",
            description: "the signal",
        },
        Parameter {
            option: "host-processes",
            fis: "none",
            default: Some("off"),
            range: "a switch",
            unit: "",
            description: "allow it in the host's own PID namespace; for the sidecar \
                          TASKFAULT_ALLOW_HOST_PROCESSES=true",
        },
    ],
};

/// How long the signalled processes are watched: whether they end. The fault is over sooner if all have.
pub const WATCH: Duration = Duration::from_secs(1);

const NAMES: &str = "1 to 128 letters, digits and . - = _";
const SIGNALS: &str = "SIGTERM or SIGKILL";
/// Longest name, in bytes (document `AWSFIS-Run-Kill-Process`).
const MAX_NAME: usize = 128;

/// The signals that FIS knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Signal {
    Term,
    Kill,
}

impl Signal {
    /// The name, as FIS has it.
    pub fn name(self) -> &'static str {
        match self {
            Signal::Term => "SIGTERM",
            Signal::Kill => "SIGKILL",
        }
    }
}

/// Parameters of a kill, all accepted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KillProcess {
    /// 1–128 letters, digits and `. - = _`.
    pub name: String,
    pub signal: Signal,
    /// Whether whoever asks has said that the host's own processes may be hit.
    pub host_processes: bool,
}

impl KillProcess {
    /// FIS: SIGTERM.
    pub const DEFAULT_SIGNAL: &'static str = "SIGTERM";

    /// Checks name and signal.
    ///
    /// # Errors
    /// [`ParameterError::NotOneOf`] with the name of the parameter.
    pub fn new(name: &str, signal: &str, host_processes: bool) -> Result<Self, ParameterError> {
        let refused = |name, value: &str, accepted| {
            let value = value.chars().take(40).collect();
            Err(ParameterError::NotOneOf { name, value, accepted })
        };
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || b".-=_".contains(&byte);
        if name.is_empty() || name.len() > MAX_NAME || !name.bytes().all(plain) {
            return refused("processName", name, NAMES);
        }
        let signal = match signal {
            "SIGTERM" => Signal::Term,
            "SIGKILL" => Signal::Kill,
            other => return refused("signal", other, SIGNALS),
        };
        Ok(KillProcess { name: name.to_owned(), signal, host_processes })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_signals_are_taken_literally_or_not_at_all() {
        for name in ["nginx", "python3.11", "-9", "--", "a=b", "..", &"x".repeat(128)] {
            let kill = KillProcess::new(name, "SIGKILL", false).unwrap();
            assert_eq!((kill.name.as_str(), kill.signal), (name, Signal::Kill));
        }
        for name in ["", "a b", "a;b", "$(x)", "a/b", "a*", "näme", "a\n", "\0", &"x".repeat(129)] {
            let said = KillProcess::new(name, "SIGTERM", false).unwrap_err().to_string();
            assert!(said.contains("it must be 1 to 128 letters"), "{said}");
        }
        for signal in ["TERM", "9", "", "sigterm", "SIGHUP", "SIGTERM "] {
            let said = KillProcess::new("x", signal, false).unwrap_err().to_string();
            assert_eq!(said, format!("signal is {signal:?}; it must be SIGTERM or SIGKILL"));
        }
    }
}
