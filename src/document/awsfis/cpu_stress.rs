//! `AWSFIS-Run-CPU-Stress`.

use super::{Arguments, DIGITS, Document, PERCENT_FROM_0, Parameter};
use crate::fault::Fault;
use crate::fault::cpu_stress::CpuStress;

/// More workers than this are a slip of the finger, and each of them is a thread.
const MOST_WORKERS: u64 = 4096;

pub(super) const DOCUMENT: Document = Document {
    name: "AWSFIS-Run-CPU-Stress",
    parameters: &[
        // Workers; 0 is one for each core.
        Parameter { name: "CPU", default: Some("0"), pattern: DIGITS },
        // Share of a core per worker, in percent.
        Parameter { name: "LoadPercent", default: Some("100"), pattern: PERCENT_FROM_0 },
    ],
    fault,
};

fn fault(arguments: &Arguments) -> Result<Fault, String> {
    let workers = arguments.number("CPU", "workers", 0..=MOST_WORKERS)?;
    let percent = arguments.number("LoadPercent", "percent", 0..=100)?;
    // Both are in the range that `number` was given.
    Ok(Fault::CpuStress(CpuStress { workers: workers as u32, percent: percent as u8 }))
}
