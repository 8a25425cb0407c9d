//! `AWSFIS-Run-CPU-Stress`.

use super::{Arguments, DIGITS, Document, Life, PERCENT_FROM_0, Parameter};
use faults::cpu_stress::CpuStress;
use faults::{Fault, ParameterError};

pub(super) const DOCUMENT: Document = Document {
    name: "AWSFIS-Run-CPU-Stress",
    life: Life::Asked,
    parameters: &[
        // Workers; 0 is one for each core.
        Parameter { name: "CPU", default: Some("0"), pattern: DIGITS },
        // Share of a core per worker, in percent.
        Parameter { name: "LoadPercent", default: Some("100"), pattern: PERCENT_FROM_0 },
    ],
    fault,
};

fn fault(arguments: &Arguments) -> Result<Fault, ParameterError> {
    let workers = arguments.number("CPU", CpuStress::WORKERS)?;
    let percent = arguments.number("LoadPercent", CpuStress::PERCENT)?;
    CpuStress::new(workers, percent).map(Fault::CpuStress)
}
