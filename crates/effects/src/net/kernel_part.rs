//! The parts of the kernel that a network fault is made of, and what to do where one is missing.

use nix::errno::Errno;

/// What a request cannot do without.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KernelPart {
    /// The queueing discipline prio.
    Prio,
    /// The queueing discipline netem.
    Netem,
    /// nf_tables with the family inet and tables that have an owner.
    OwnedTables,
    /// The egress hook of nf_tables.
    EgressHook,
    /// The interface kind ifb.
    Ifb,
    /// The expression reject of nf_tables, for the family inet.
    Reject,
    /// The expression queue of nf_tables. The one part that can be done without.
    Queue,
    /// Chains of the kind nat, and the expression redir.
    Nat,
}

impl KernelPart {
    /// Whether it shapes packets: rules that drop what comes in do without it.
    pub fn shapes(self) -> bool {
        matches!(self, KernelPart::Prio | KernelPart::Netem)
    }

    /// What to do if a request that needs this part is refused so; nothing where the part is not the reason.
    pub fn advice(self, refusal: Errno) -> Option<&'static str> {
        match (self, refusal) {
            (KernelPart::Netem, Errno::ENOENT) => {
                Some("the kernel has no netem: load sch_netem on the instance (modprobe sch_netem)")
            }
            (KernelPart::Prio, Errno::ENOENT) => {
                Some("the kernel has no prio: load sch_prio on the instance (modprobe sch_prio)")
            }
            (
                KernelPart::OwnedTables,
                Errno::EOPNOTSUPP | Errno::EPROTONOSUPPORT | Errno::EAFNOSUPPORT | Errno::EINVAL,
            ) => {
                Some("the kernel needs nf_tables with the inet family and owned tables (Linux 5.12 or later)")
            }
            (KernelPart::Queue, Errno::ENOENT | Errno::EOPNOTSUPP) => Some(
                "the kernel has no queue of nf_tables: load nft_queue on the instance (modprobe nft_queue)",
            ),
            (KernelPart::Nat, Errno::ENOENT | Errno::EOPNOTSUPP) => Some(
                "to redirect connections the kernel needs nat of nf_tables: load it on the instance (modprobe -a \
                 nft_chain_nat nft_redir)",
            ),
            (KernelPart::Reject, Errno::ENOENT | Errno::EOPNOTSUPP) => Some(
                "the kernel has no reject of nf_tables: load nft_reject_inet on the instance (modprobe nft_reject_inet)",
            ),
            (KernelPart::Ifb, Errno::EOPNOTSUPP) => Some(
                "to delay packets that come in the kernel needs an ifb: load it on the instance (modprobe ifb)",
            ),
            (KernelPart::EgressHook, Errno::EOPNOTSUPP | Errno::ENOENT) => Some(
                "to delay packets that come in the kernel needs the egress hook of nf_tables (Linux 5.16 or \
                 later, CONFIG_NETFILTER_EGRESS)",
            ),
            _ => None,
        }
    }
}
