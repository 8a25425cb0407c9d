//! `AWSFIS-Run-Disk-Fill`.

use super::{Arguments, Document, Life, PERCENT_FROM_1, Parameter};
use faults::disk_fill::DiskFill;
use faults::{Fault, ParameterError};

pub(super) const DOCUMENT: Document = Document {
    name: "AWSFIS-Run-Disk-Fill",
    life: Life::Asked,
    // How full the file system of `/` is to be, in percent.
    parameters: &[Parameter { name: "Percent", default: Some("95"), pattern: PERCENT_FROM_1 }],
    fault,
};

fn fault(arguments: &Arguments) -> Result<Fault, ParameterError> {
    let percent = arguments.number("Percent", DiskFill::PERCENT)?;
    DiskFill::new(percent, DiskFill::DEFAULT_PATH.into()).map(Fault::DiskFill)
}
