//! Whether the agent keeps to a share of the flows: one before 1.100.0 does not know `FlowsPercent`, says nothing and
//! hits every flow.
//!
//! No answer has the agent's version. But what it makes in the task's network namespace can be seen without any
//! capability: a newer one hashes flows into a hundred classes and puts a netem into as many of them as asked for, an
//! older one puts a single netem below the class that all targets go to.

use rtnetlink::packet_route::tc::TcHandle;

use crate::net::netlink::Route;
use crate::net::tc::{self, Qdisc};

/// The class that the agent sends its targets to (`1:1`).
const TARGETS: TcHandle = TcHandle { major: 1, minor: 1 };
/// The kind of discipline that delays and loses.
const NETEM: &str = "netem";

/// What the agent makes of a share of the flows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Share {
    /// It keeps to the share.
    Kept,
    /// It hits every flow.
    EveryFlow,
    /// Nothing of the agent's can be seen from here.
    Unseen,
}

/// Looks at what a fault that runs has made here.
pub fn seen() -> Share {
    let qdiscs = Route::open().and_then(|mut route| tc::list(&mut route)).unwrap_or_default();
    of(&qdiscs)
}

fn of(qdiscs: &[Qdisc]) -> Share {
    let netems: Vec<&Qdisc> = qdiscs.iter().filter(|qdisc| qdisc.kind == NETEM).collect();
    match netems.as_slice() {
        [] => Share::Unseen,
        some if some.iter().any(|netem| netem.parent == TARGETS) => Share::EveryFlow,
        _ => Share::Kept,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn qdisc(kind: &str, handle: u32, parent: u32) -> Qdisc {
        let (handle, parent, options) = (handle.into(), parent.into(), Vec::new());
        Qdisc { index: 2, handle, parent, kind: kind.into(), options, packets: 0, drops: 0, waiting: 0 }
    }

    /// `1:`, `10:`, `100:` and `200:` are hexadecimal to tc.
    #[test]
    fn old_and_new_agents_are_told_apart_by_what_they_make() {
        let root = qdisc("prio", 0x1_0000, 0xffff_ffff);
        let old = [root.clone(), qdisc("netem", 0x10_0000, 0x1_0001)];
        assert_eq!(of(&old), Share::EveryFlow);
        let new = [
            root.clone(),
            qdisc("prio", 0x10_0000, 0x1_0001),
            qdisc("prio", 0x100_0000, 0x10_0001),
            qdisc("netem", 0x200_0000, 0x100_0001),
            qdisc("netem", 0x201_0000, 0x100_0002),
        ];
        assert_eq!(of(&new), Share::Kept);
        assert_eq!(of(&[root]), Share::Unseen);
        assert_eq!(of(&[]), Share::Unseen);
    }
}
