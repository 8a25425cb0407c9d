//! The faults: validated parameters of one fault each, and nothing else. Pure.

pub mod cpu_stress;

/// A fault whose parameters are all in range.
#[derive(Debug, Clone, PartialEq)]
pub enum Fault {
    CpuStress(cpu_stress::CpuStress),
}

impl Fault {
    /// The fault's name, as FIS has it (`cpu-stress`).
    pub fn name(&self) -> &'static str {
        match self {
            Fault::CpuStress(_) => "cpu-stress",
        }
    }
}
