//! What doctor says of a kernel that lacks a part of what network faults are made of.

use super::Finding;
use effects::net::{NetError, lifeline};

/// What becomes of each network fault on a kernel that lacks a part.
pub(super) fn without_parts(error: &NetError) -> Vec<Finding> {
    let faults = faults::ALL.iter().map(|spec| spec.name).filter(|name| name.starts_with("network-"));
    let finding = |name| {
        // Delays are always shaped; losses only where packets leave.
        let words = if error.concerns_shaping_only() && name != faults::network_latency::SPEC.name {
            format!("for outgoing traffic it will not work: {error}; for incoming traffic it will work here")
        } else {
            format!("will not work: {error}")
        };
        Finding::new(name, false, words)
    };
    faults.map(finding).collect()
}

/// Whether our own connections can be told from others. Asked on a thread of its own, which ends marked.
pub(super) fn own_connections() -> Finding {
    let marked = std::thread::spawn(lifeline::mark_this_thread).join();
    let words = match marked {
        Ok(true) => "network faults let the control channel through",
        _ => {
            "CAP_SETGID is missing: network faults cannot tell the control channel from other traffic, so a cancel \
             may not get through; do not drop SETGID from the sidecar's container"
        }
    };
    Finding::new("lifeline", matches!(marked, Ok(true)), words)
}
