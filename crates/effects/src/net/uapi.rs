//! Numbers of the kernel's headers that neither libc nor the netlink crates have: one file for each header,
//! each name as it stands there.

pub mod if_ether;
pub mod netlink;
pub mod nf_tables;
pub mod pkt_sched;
