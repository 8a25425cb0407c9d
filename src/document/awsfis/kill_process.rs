//! `AWSFIS-Run-Kill-Process`.

use super::{Arguments, Document, Life, Parameter};
use faults::kill_process::{KillProcess, WATCH};
use faults::{Fault, ParameterError};

pub(super) const DOCUMENT: Document = Document {
    name: "AWSFIS-Run-Kill-Process",
    life: Life::Fixed(WATCH),
    parameters: &[
        Parameter { name: "ProcessName", default: None, pattern: "^[0-9a-zA-Z.\\-=_]{1,128}$" },
        Parameter {
            name: "Signal",
            default: Some(KillProcess::DEFAULT_SIGNAL),
            pattern: "^(SIGTERM|SIGKILL)$",
        },
    ],
    fault,
};

fn fault(arguments: &Arguments) -> Result<Fault, ParameterError> {
    // Whether the host's processes may be hit is nothing that a command can say: only who runs the sidecar can.
    KillProcess::new(arguments.text("ProcessName"), arguments.text("Signal"), false).map(Fault::KillProcess)
}
