//! `kill-process`: a signal to every process of a name.

use std::time::Duration;

use crate::parameter::{InDocument, Parameter, Preset, Values};
use crate::spec::Document;
use crate::spec::{Lives, Spec};
use crate::{Arguments, Fault, ParameterError, Parameters};

/// FIS reference, `aws:ecs:task-kill-process`.
pub static SPEC: Spec = Spec {
    name: "kill-process",
    summary: "send a signal to the processes of a name",
    action: Some("aws:ecs:task-kill-process"),
    lives: Lives::Fixed(WATCH),
    strength: None,
    parameters: &[PROCESS_NAME, SIGNAL, HOST_PROCESSES],
    documents: &[Document {
        name: "AWSFIS-Run-Kill-Process",
        parameters: &[PROCESS_NAME, SIGNAL],
        heartbeats: false,
        // Whether the host's processes may be hit is nothing that a command can say: only who runs the sidecar can.
        settles: &[(HOST_PROCESSES, Arguments::OFF)],
        read: Fault::read::<KillProcess>,
    }],
    read: Fault::read::<KillProcess>,
};

pub(crate) const PROCESS_NAME: Parameter = Parameter {
    option: "process-name",
    fis: Some("processName"),
    document: Some(InDocument::new("ProcessName", "^[0-9a-zA-Z.\\-=_]{1,128}$")),
    default: Preset::Required,
    values: Values::Text { accepts: NAMES, example: "nginx", hyphen: true },
    description: "the whole name of the processes, as killall matches it",
};

const SIGNAL: Parameter = Parameter {
    option: "signal",
    fis: Some("signal"),
    document: Some(InDocument::new("Signal", "^(SIGTERM|SIGKILL)$")),
    default: Preset::Value("SIGTERM"),
    values: Values::OneOf(&["SIGTERM", "SIGKILL"]),
    description: "the signal",
};

pub(crate) const HOST_PROCESSES: Parameter = Parameter {
    option: "host-processes",
    fis: None,
    document: None,
    default: Preset::Value(Arguments::OFF),
    values: Values::Switch { variable: ALLOW_HOST_PROCESSES_VARIABLE },
    description: "allow it in the host's own PID namespace, where a name may belong to anybody on the machine",
};

/// Allows `kill-process` in the host's own PID namespace: `true`.
pub const ALLOW_HOST_PROCESSES_VARIABLE: &str = "TASKFAULT_ALLOW_HOST_PROCESSES";

/// How long the signalled processes are watched: whether they end. The fault is over sooner if all have.
pub const WATCH: Duration = Duration::from_secs(1);

const NAMES: &str = "1 to 128 letters, digits and . - = _";
/// Longest name, in bytes (document `AWSFIS-Run-Kill-Process`).
const MAX_NAME: usize = 128;

/// The signals that FIS knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Signal {
    /// Asks the process to end; it may catch or ignore it.
    Term,
    /// Ends the process, which cannot catch it.
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
    /// Sent once to each process of that name.
    pub signal: Signal,
    /// Whether whoever asks has said that the host's own processes may be hit.
    pub host_processes: bool,
}

impl KillProcess {
    /// Checks name and signal.
    ///
    /// # Errors
    /// [`ParameterError::NotOneOf`] with the name of the parameter.
    pub fn new(name: &str, signal: &str, host_processes: bool) -> Result<Self, ParameterError> {
        let name = process_name(name)?;
        let signal = match signal {
            "SIGTERM" => Signal::Term,
            "SIGKILL" => Signal::Kill,
            other => return Err(ParameterError::not_one_of("signal", other, SIGNAL.values.range())),
        };
        Ok(KillProcess { name, signal, host_processes })
    }
}

/// The name of processes, checked.
pub(crate) fn process_name(name: &str) -> Result<String, ParameterError> {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b".-=_".contains(&byte);
    if name.is_empty() || name.len() > MAX_NAME || !name.bytes().all(plain) {
        return Err(ParameterError::not_one_of("processName", name, NAMES));
    }
    Ok(name.to_owned())
}

impl Parameters for KillProcess {
    fn read(arguments: &Arguments) -> Result<Self, ParameterError> {
        let (name, signal) = (arguments.text(&PROCESS_NAME), arguments.text(&SIGNAL));
        KillProcess::new(name, signal, arguments.is_on(&HOST_PROCESSES))
    }

    fn text(&self, option: &str) -> Option<String> {
        match option {
            "process-name" => Some(self.name.clone()),
            "signal" => Some(self.signal.name().to_owned()),
            _ => None,
        }
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
