//! `AWSFIS-Run-IO-Stress`.

use super::{Arguments, DIGITS, Document, Life, PERCENT_FROM_1, Parameter};
use faults::io_stress::IoStress;
use faults::{Fault, ParameterError};

pub(super) const DOCUMENT: Document = Document {
    name: "AWSFIS-Run-IO-Stress",
    life: Life::Asked,
    parameters: &[
        Parameter { name: "Workers", default: Some("1"), pattern: DIGITS },
        // Share of the free space, in percent.
        Parameter { name: "Percent", default: Some("80"), pattern: PERCENT_FROM_1 },
    ],
    fault,
};

fn fault(arguments: &Arguments) -> Result<Fault, ParameterError> {
    let workers = arguments.number("Workers", IoStress::WORKERS)?;
    let percent = arguments.number("Percent", IoStress::PERCENT)?;
    IoStress::new(workers, percent, None).map(Fault::IoStress)
}
