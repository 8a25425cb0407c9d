//! `AWSFIS-Run-Memory-Stress`.

use super::{Arguments, DIGITS, Document, Life, PERCENT_FROM_1, Parameter};
use faults::memory_stress::MemoryStress;
use faults::{Fault, ParameterError};

pub(super) const DOCUMENT: Document = Document {
    name: "AWSFIS-Run-Memory-Stress",
    life: Life::Asked,
    parameters: &[
        Parameter { name: "Workers", default: Some("1"), pattern: DIGITS },
        // Share of the free memory, in percent.
        Parameter { name: "Percent", default: Some("80"), pattern: PERCENT_FROM_1 },
    ],
    fault,
};

fn fault(arguments: &Arguments) -> Result<Fault, ParameterError> {
    let workers = arguments.number("Workers", MemoryStress::WORKERS)?;
    let percent = arguments.number("Percent", MemoryStress::PERCENT)?;
    MemoryStress::new(workers, percent).map(Fault::MemoryStress)
}
