//! The faults: validated parameters of one fault each, and nothing else. Pure.

pub mod cpu_stress;

/// A fault whose parameters are all in range.
#[derive(Debug, Clone, PartialEq)]
pub enum Fault {
    CpuStress(cpu_stress::CpuStress),
}
