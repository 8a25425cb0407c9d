//! What the platform team allows in this task, from the environment of its task definition. Pure.
//!
//! What is forbidden is refused before anything is touched, with the name of the variable. Targets are the one thing
//! that is judged later, when names have addresses ([`effects::task::denied`]): then, too, before the kernel is asked
//! for anything.

use std::ffi::OsStr;
use std::time::Duration;

use crate::document::{Plan, Work};
use effects::amount::short;
pub use effects::task::MAX_PERCENT_VARIABLE;
use effects::task::Task;
use effects::task::denied::{DENY_TARGETS_VARIABLE, DeniedTargets};
use effects::task::ecs_agent::ALLOW_HOST_NETWORK_VARIABLE;
use faults::share::Share;
use faults::spec::Lives;
use faults::{Fault, Spec, duration, plain_number};

/// The faults that may be performed, with commas between; `network-*` is all that begin so. Not set: all.
pub const ALLOW_VARIABLE: &str = "TASKFAULT_ALLOW";
/// How long a fault may be asked for: 1 s to 12 h.
pub const MAX_DURATION_VARIABLE: &str = "TASKFAULT_MAX_DURATION";
/// `true` lets documents run shell scripts. What a script does, no other variable limits.
pub const ALLOW_SHELL_VARIABLE: &str = "TASKFAULT_ALLOW_SHELL";

/// Every variable of the policy, in the order in which they are shown.
pub const VARIABLES: [&str; 5] = [
    ALLOW_VARIABLE,
    MAX_DURATION_VARIABLE,
    MAX_PERCENT_VARIABLE,
    ALLOW_SHELL_VARIABLE,
    DENY_TARGETS_VARIABLE,
];
/// The beginnings of their names. A variable that begins so and is none of ours is a mistyped one, and would allow what
/// somebody meant to forbid.
const FAMILIES: [&str; 3] = ["TASKFAULT_ALLOW", "TASKFAULT_MAX", "TASKFAULT_DENY"];
/// Of these families, too, and not of the policy: they allow what the place alone would forbid.
const OTHERS: [&str; 2] = [effects::task::ALLOW_HOST_PROCESSES_VARIABLE, ALLOW_HOST_NETWORK_VARIABLE];

/// What may be done here. By default every fault, and no script.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Policy {
    /// The names of the faults; None is all.
    allow: Option<Vec<&'static str>>,
    max_duration: Option<Duration>,
    max_percent: Option<u64>,
    shell: bool,
    denied: DeniedTargets,
    /// The variables that are set, with their values.
    set: Vec<(&'static str, String)>,
}

/// A variable that cannot be read. Nothing is allowed by a policy that nobody meant.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{variable}={value:?}: {reason}")]
pub struct PolicyError {
    variable: String,
    value: String,
    reason: String,
}

/// What the policy forbids, with the variable that does.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Forbidden {
    /// The fault is not in the list.
    #[error("{ALLOW_VARIABLE}={allowed} in this task does not allow {fault}")]
    Fault {
        /// Its name.
        fault: &'static str,
        /// The variable's value.
        allowed: String,
    },
    /// It is asked for longer than faults may live.
    #[error("{fault} is asked for {} s; {MAX_DURATION_VARIABLE} in this task is {} s", short(.asked.as_secs_f64()), short(.most.as_secs_f64()))]
    Duration {
        /// Its name.
        fault: &'static str,
        /// How long it was to live.
        asked: Duration,
        /// How long it may.
        most: Duration,
    },
    /// It is asked for stronger than faults may be.
    #[error("{parameter} of {fault} is {asked}; {MAX_PERCENT_VARIABLE} in this task is {most}")]
    Percent {
        /// Its name.
        fault: &'static str,
        /// The parameter.
        parameter: &'static str,
        /// Its value.
        asked: String,
        /// What it may be at most, in percent.
        most: u64,
    },
    /// The document has scripts.
    #[error("the document has a shell script, and {ALLOW_SHELL_VARIABLE} is not true in this task")]
    Shell,
}

impl Policy {
    /// Reads the policy from the whole environment. An empty variable counts as not set.
    ///
    /// # Errors
    /// A value that cannot be read, a fault that there is not, a variable whose name is nearly one of ours.
    pub fn read<T: AsRef<OsStr>>(
        environment: impl IntoIterator<Item = (T, T)>,
    ) -> Result<Policy, PolicyError> {
        let mut policy = Policy::default();
        for (name, value) in environment {
            // Bytes that are no text make a value that cannot be read, rather than one that is not there.
            let (name, value) = (name.as_ref().to_string_lossy(), value.as_ref().to_string_lossy());
            let (name, value) = (name.as_ref(), value.as_ref());
            let is_ours = FAMILIES.iter().any(|family| name.starts_with(family)) && !OTHERS.contains(&name);
            if value.is_empty() || !is_ours {
                continue;
            }
            let wrong = |reason: String| PolicyError {
                variable: name.to_owned(),
                value: value.chars().take(200).collect(),
                reason,
            };
            let variable = VARIABLES.into_iter().find(|variable| *variable == name);
            let unknown = || wrong(format!("there is no such variable; there are {}", known()));
            let variable = variable.ok_or_else(unknown)?;
            policy.set(variable, value).map_err(wrong)?;
            policy.set.push((variable, value.to_owned()));
        }
        policy.set.sort_by_key(|(name, _)| VARIABLES.iter().position(|variable| variable == name));
        Ok(policy)
    }

    fn set(&mut self, variable: &str, value: &str) -> Result<(), String> {
        match variable {
            ALLOW_VARIABLE => self.allow = Some(faults_of(value)?),
            MAX_DURATION_VARIABLE => {
                self.max_duration = Some(duration::parse(value).map_err(|error| error.to_string())?);
            }
            MAX_PERCENT_VARIABLE => {
                let percent = plain_number(value).filter(|percent| (1..=100).contains(percent));
                self.max_percent = Some(percent.ok_or("it must be a whole number from 1 to 100")?);
            }
            ALLOW_SHELL_VARIABLE => {
                self.shell = match value {
                    "true" => true,
                    "false" => false,
                    _ => return Err("it must be true or false".to_owned()),
                };
            }
            _ => self.denied = DeniedTargets::parse(value).map_err(|error| error.to_string())?,
        }
        Ok(())
    }

    /// The variables that are set, as `NAME=value`, in the order of [`VARIABLES`].
    pub fn lines(&self) -> Vec<String> {
        self.set.iter().map(|(name, value)| format!("{name}={value}")).collect()
    }

    /// Whether documents may run scripts.
    pub fn allows_shell(&self) -> bool {
        self.shell
    }

    /// The task, whose faults may not hit the denied targets, nor take more of its CPUs than they may.
    #[must_use]
    pub fn limit(&self, task: Task) -> Task {
        Task { denied: self.denied.clone(), most_percent: self.max_percent, ..task }
    }

    /// Whether a fault is allowed at all.
    ///
    /// # Errors
    /// [`Forbidden::Fault`]
    pub fn check_name(&self, spec: &Spec) -> Result<(), Forbidden> {
        match &self.allow {
            Some(allow) if !allow.contains(&spec.name) => {
                Err(Forbidden::Fault { fault: spec.name, allowed: self.value(ALLOW_VARIABLE) })
            }
            _ => Ok(()),
        }
    }

    /// Whether a fault with these parameters is allowed for so long.
    ///
    /// # Errors
    /// What is forbidden about it, the first of it.
    pub fn check(&self, fault: &Fault, duration: Duration) -> Result<(), Forbidden> {
        let spec = fault.spec();
        self.check_name(spec)?;
        if let Some(most) = self.max_duration
            && spec.lives == Lives::Asked
            && duration > most
        {
            return Err(Forbidden::Duration { fault: spec.name, asked: duration, most });
        }
        let (Some(most), Some(strength)) = (self.max_percent, spec.strength) else { return Ok(()) };
        let value = |option| fault.text(option).and_then(|text| plain_number(&text)).unwrap_or_default();
        let too_much = |parameter: &'static str, asked: String| {
            Err(Forbidden::Percent { fault: spec.name, parameter, asked, most })
        };
        if let Some(instead) = strength.instead.map(|parameter| parameter.option)
            && value(instead) > 0
        {
            return too_much(instead, format!("{}, which is no percentage", value(instead)));
        }
        // Some have decimals. What cannot be read is no less than all.
        let share = |name, text: &str| Share::parse(name, text).unwrap_or(Share::ALL);
        let limit = share(MAX_PERCENT_VARIABLE, &most.to_string());
        let asked = strength.percents.iter().filter_map(|it| Some((it.option, fault.strength(it.option)?)));
        match asked.into_iter().find(|(option, text)| share(option, text) > limit) {
            Some((option, text)) => match fault.text(option) {
                Some(given) if given != text => too_much(option, format!("{given}, which is up to {text}")),
                _ => too_much(option, text),
            },
            None => Ok(()),
        }
    }

    /// Puts failures in the place of those steps of `plan` that are forbidden. Gives what is, the first of it.
    pub fn apply(&self, plan: &mut Plan) -> Option<Forbidden> {
        let mut first = None;
        for step in &mut plan.steps {
            let allowed = match &step.work {
                Work::Fault { fault, duration } | Work::Leased { fault, duration, .. } => {
                    self.check(fault, *duration)
                }
                Work::Scripts(_) if !self.shell => Err(Forbidden::Shell),
                _ => Ok(()),
            };
            if let Err(forbidden) = allowed {
                step.work = Work::Fail(format!("{forbidden}. Nothing was started.\n"));
                first.get_or_insert(forbidden);
            }
        }
        first
    }

    fn value(&self, name: &str) -> String {
        self.set.iter().find(|(set, _)| *set == name).map(|(_, value)| value.clone()).unwrap_or_default()
    }
}

/// The faults that a list names.
fn faults_of(list: &str) -> Result<Vec<&'static str>, String> {
    let mut all = Vec::new();
    for word in list.split(',').map(str::trim) {
        let named = |name: &str| match word.strip_suffix('*') {
            Some(beginning) => name.starts_with(beginning),
            None => name == word,
        };
        let found: Vec<_> = faults::ALL.iter().map(|spec| spec.name).filter(|name| named(name)).collect();
        if found.is_empty() {
            let names: Vec<_> = faults::ALL.iter().map(|spec| spec.name).collect();
            return Err(format!("there is no fault {word:?}; there are {}", names.join(", ")));
        }
        all.extend(found);
    }
    Ok(all)
}

fn known() -> String {
    VARIABLES.iter().chain(&OTHERS).copied().collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::document::{self, Request};
    use faults::Arguments;
    use faults::cpu_stress::CpuStress;
    use faults::disk_fill::DiskFill;
    use faults::network_blackhole_port::NetworkBlackholePort;
    use faults::network_impairment;
    use faults::network_packet_loss::NetworkPacketLoss;
    use faults::network_source::Scope;
    use serde_json::json;

    const MINUTE: Duration = Duration::from_secs(60);

    fn policy(variables: &[(&str, &str)]) -> Result<Policy, String> {
        Policy::read(variables.iter().copied()).map_err(|error| error.to_string())
    }

    fn forbidden(variables: &[(&str, &str)], fault: impl Into<Fault>, duration: Duration) -> Option<String> {
        policy(variables).unwrap().check(&fault.into(), duration).err().map(|it| it.to_string())
    }

    fn stress(percent: u8) -> CpuStress {
        CpuStress { workers: 1, percent }
    }

    #[test]
    fn without_variables_every_fault_is_allowed_and_no_script() {
        let policy = policy(&[("PATH", "/bin"), ("TASKFAULT_ALLOW", "")]).unwrap();
        assert!(faults::ALL.iter().all(|spec| policy.check_name(spec).is_ok()));
        assert_eq!(policy.check(&stress(100).into(), duration::parse("12h").unwrap()), Ok(()));
        assert!(!policy.allows_shell() && policy.lines().is_empty());
    }

    #[test]
    fn the_list_names_faults_and_beginnings() {
        let list = policy(&[(ALLOW_VARIABLE, "cpu-stress, network-*")]).unwrap();
        let allowed: Vec<_> =
            faults::ALL.iter().filter(|spec| list.check_name(spec).is_ok()).map(|spec| spec.name).collect();
        assert_eq!(
            allowed,
            [
                "cpu-stress",
                "network-blackhole-port",
                "network-impairment",
                "network-latency",
                "network-packet-loss",
                "network-reset"
            ]
        );
        let refused = forbidden(&[(ALLOW_VARIABLE, "disk-fill")], stress(1), MINUTE).unwrap();
        assert_eq!(refused, "TASKFAULT_ALLOW=disk-fill in this task does not allow cpu-stress");
        assert!(policy(&[(ALLOW_VARIABLE, "*")]).unwrap().check_name(faults::ALL[0]).is_ok());
    }

    #[test]
    fn longer_and_stronger_faults_are_refused() {
        let variables = [(MAX_DURATION_VARIABLE, "PT1M"), (MAX_PERCENT_VARIABLE, "50")];
        assert_eq!(forbidden(&variables, stress(50), MINUTE), None);
        assert_eq!(
            forbidden(&variables, stress(50), MINUTE * 2).unwrap(),
            "cpu-stress is asked for 120 s; TASKFAULT_MAX_DURATION in this task is 60 s"
        );
        assert_eq!(
            forbidden(&variables, stress(51), MINUTE).unwrap(),
            "percent of cpu-stress is 51; TASKFAULT_MAX_PERCENT in this task is 50"
        );
        let fill = |bytes| DiskFill { percent: 10, bytes, path: "/".into() };
        assert_eq!(forbidden(&variables, fill(0), MINUTE), None);
        let refused = forbidden(&variables, fill(1), MINUTE).unwrap();
        assert!(refused.starts_with("bytes of disk-fill is 1, which is no percentage"), "{refused}");
        let scope = Scope::new("ALL", "egress", "DEFAULT", 100).unwrap();
        let loss = |percent| NetworkPacketLoss::new(percent, scope.clone()).unwrap();
        assert_eq!(forbidden(&variables, loss(7), MINUTE), None, "of all flows");
        assert!(forbidden(&variables, loss(51), MINUTE).unwrap().starts_with("loss-percent"));
        let hole = NetworkBlackholePort::new(443, "tcp", "egress").unwrap();
        assert_eq!(forbidden(&variables, hole, MINUTE), None, "it has no percentage");
        // A default that means all of something is as strong as all of it.
        let burst = |more: &[(&str, &str)]| {
            let given = [("burst-begins-percent", "50"), ("burst-ends-percent", "1")];
            let mut arguments = Arguments::default();
            for (option, value) in given.iter().chain(more) {
                let parameter =
                    network_impairment::SPEC.parameters.iter().find(|it| it.option == *option).unwrap();
                arguments.give(parameter, parameter.option, *value);
            }
            (network_impairment::SPEC.read)(&arguments).unwrap()
        };
        assert_eq!(
            forbidden(&variables, burst(&[]), MINUTE).unwrap(),
            "burst-loss-percent of network-impairment is 0, which is up to 100; TASKFAULT_MAX_PERCENT in this task is 50"
        );
        assert_eq!(forbidden(&variables, burst(&[("burst-loss-percent", "50")]), MINUTE), None);
    }

    #[test]
    fn a_typo_is_refused_with_the_variable_and_what_there_is() {
        for (name, value, reason) in [
            (ALLOW_VARIABLE, "cpu-stres", "there is no fault \"cpu-stres\"; there are cpu-stress, "),
            (ALLOW_VARIABLE, "cpu-stress,", "there is no fault \"\""),
            (ALLOW_VARIABLE, "net*work", "there is no fault \"net*work\""),
            (MAX_DURATION_VARIABLE, "5", "\"5\" is not a duration"),
            (MAX_DURATION_VARIABLE, "13h", "duration is 46800"),
            (MAX_PERCENT_VARIABLE, "0", "from 1 to 100"),
            (MAX_PERCENT_VARIABLE, "80%", "from 1 to 100"),
            (ALLOW_SHELL_VARIABLE, "yes", "it must be true or false"),
            (DENY_TARGETS_VARIABLE, "10.0.0.0/33", "neither an address, nor a CIDR, nor a host name"),
            // In two parts: a whole name in the sources is one that the documents explain.
            (
                concat!("TASKFAULT_", "ALLOWED"),
                "cpu-stress",
                "there is no such variable; there are TASKFAULT_ALLOW, ",
            ),
            (concat!("TASKFAULT_", "MAX_DURATON"), "5m", "there is no such variable"),
            ("TASKFAULT_DENY", "10.0.0.1", "there is no such variable"),
        ] {
            let refused = policy(&[(name, value)]).unwrap_err();
            assert!(refused.starts_with(&format!("{name}={value:?}: ")), "{refused}");
            assert!(refused.contains(reason), "{refused}");
        }
        assert!(policy(&[("TASKFAULT_ALLOW_HOST_NETWORK", "true"), ("TASKFAULT_LOG", "info")]).is_ok());
    }

    #[test]
    fn a_forbidden_plan_fails_and_starts_nothing() {
        let plan = |document_name: &str, document, parameters: serde_json::Value| {
            let parameters = parameters.as_object().cloned().unwrap();
            let request =
                Request { command_id: "c".into(), document_name: document_name.into(), document, parameters };
            document::plan(&request).unwrap()
        };
        let stress = || plan("AWSFIS-Run-CPU-Stress", json!({}), json!({"DurationSeconds": "60"}));
        let strict = policy(&[(MAX_PERCENT_VARIABLE, "99")]).unwrap();
        let mut refused = stress();
        assert!(matches!(strict.apply(&mut refused), Some(Forbidden::Percent { .. })));
        assert_eq!(refused.fault_name(), None);
        let Work::Fail(text) = &refused.steps[1].work else { panic!("{refused:?}") };
        assert!(text.contains(MAX_PERCENT_VARIABLE) && text.ends_with("Nothing was started.\n"), "{text}");
        let mut allowed = stress();
        assert_eq!(Policy::default().apply(&mut allowed), None);
        assert_eq!(allowed, stress());

        let step = json!({"action": "aws:runShellScript", "name": "a", "inputs": {"runCommand": ["true"]}});
        let script = || plan("doc", json!({"schemaVersion": "2.2", "mainSteps": [step]}), json!({}));
        let mut refused = script();
        assert_eq!(Policy::default().apply(&mut refused), Some(Forbidden::Shell));
        assert!(matches!(&refused.steps[0].work, Work::Fail(text) if text.contains(ALLOW_SHELL_VARIABLE)));
        let mut allowed = script();
        assert_eq!(policy(&[(ALLOW_SHELL_VARIABLE, "true")]).unwrap().apply(&mut allowed), None);
        assert_eq!(allowed, script());
    }
}
