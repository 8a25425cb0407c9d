//! `process-pause`: the processes of a name stand still for a while.

use crate::duration::DURATION;
use crate::kill_process::{HOST_PROCESSES, PROCESS_NAME, process_name};
use crate::parameter::Parameter;
use crate::spec::{Document, Lives, Spec};
use crate::{Arguments, Fault, ParameterError, Parameters};

/// FIS has none; its document is ours.
pub static SPEC: Spec = Spec {
    name: "process-pause",
    summary: "stop the processes of a name, and let them go on at the end",
    action: None,
    lives: Lives::Asked,
    strength: None,
    parameters: &[DURATION, NAME, HOST_PROCESSES],
    documents: &[Document {
        name: "Taskfault-Run-Process-Pause",
        parameters: &[DURATION, NAME],
        heartbeats: false,
        // As for kill-process: only who runs the sidecar can say it.
        settles: &[(HOST_PROCESSES, Arguments::OFF)],
        read: Fault::read::<ProcessPause>,
    }],
    read: Fault::read::<ProcessPause>,
};

const NAME: Parameter = Parameter { fis: None, ..PROCESS_NAME };

/// Parameters of a pause, all accepted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProcessPause {
    /// 1–128 letters, digits and `. - = _`.
    pub name: String,
    /// Whether whoever asks has said that the host's own processes may be hit.
    pub host_processes: bool,
}

impl Parameters for ProcessPause {
    fn read(arguments: &Arguments) -> Result<Self, ParameterError> {
        let name = process_name(arguments.text(&NAME))?;
        Ok(ProcessPause { name, host_processes: arguments.is_on(&HOST_PROCESSES) })
    }

    fn text(&self, option: &str) -> Option<String> {
        (option == "process-name").then(|| self.name.clone())
    }
}
