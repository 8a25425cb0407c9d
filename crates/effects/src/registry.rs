//! Every fault that can be performed: a line for each.

use faults::Fault;

use crate::fault::{Perform, Preflight};
use crate::task::Task;

/// The preflight of one fault, by its name.
type NamedPreflight = (&'static str, fn(&Task) -> Preflight);

macro_rules! registry {
    ($($module:ident :: $fault:ident),* $(,)?) => {
        /// The fault as something that can be performed.
        pub fn performable(fault: &Fault) -> &dyn Perform {
            match fault {
                $(Fault::$fault(parameters) => parameters,)*
            }
        }

        const PREFLIGHTS: &[NamedPreflight] = &[
            $((faults::$module::SPEC.name, <faults::$module::$fault as Perform>::preflight),)*
        ];
    };
}

registry! {
    cpu_stress::CpuStress,
    disk_fill::DiskFill,
    http_fault::HttpFault,
    io_stress::IoStress,
    kill_process::KillProcess,
    memory_stress::MemoryStress,
    network_blackhole_port::NetworkBlackholePort,
    network_impairment::NetworkImpairment,
    network_latency::NetworkLatency,
    network_packet_loss::NetworkPacketLoss,
    network_reset::NetworkReset,
    process_pause::ProcessPause,
}

/// Asks every fault whether it would work in `task` with its default parameters, in the order of their names.
pub fn preflights(task: &Task) -> Vec<(&'static str, Preflight)> {
    PREFLIGHTS.iter().map(|(name, preflight)| (*name, preflight(task))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_fault_of_the_catalogue_has_its_preflight() {
        let registered: Vec<_> = PREFLIGHTS.iter().map(|(name, _)| *name).collect();
        let known: Vec<_> = faults::ALL.iter().map(|spec| spec.name).collect();
        assert_eq!(registered, known);
    }
}
