//! Options of `taskfault inject kill-process`.

use super::Asked;
use effects::task::ALLOW_HOST_PROCESSES_VARIABLE;
use faults::kill_process::{KillProcess, WATCH};
use faults::{Fault, ParameterError};

#[derive(Debug, clap::Args)]
pub(super) struct KillProcessArgs {
    /// The whole name of the processes, as killall matches it
    #[arg(long, allow_hyphen_values = true)]
    process_name: String,
    /// SIGTERM or SIGKILL
    #[arg(long, default_value = KillProcess::DEFAULT_SIGNAL)]
    signal: String,
    /// Allow it in the host's own PID namespace, where a name may belong to anybody on the machine
    #[arg(long, env = ALLOW_HOST_PROCESSES_VARIABLE)]
    host_processes: bool,
}

impl KillProcessArgs {
    pub(super) fn asked(self) -> Result<Asked, ParameterError> {
        let kill = KillProcess::new(&self.process_name, &self.signal, self.host_processes)?;
        Ok((Fault::KillProcess(kill), WATCH))
    }
}
