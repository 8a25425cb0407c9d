//! What the fuzzer calls: each parser of what the task, the kernel and the disk say. Compiled for the fuzzer alone
//! (`--cfg fuzzing`).

/// The parsers, by number.
pub const MACHINE: &[fn(&[u8])] = &[
    crate::task::metadata::fuzz,
    crate::task::stats::fuzz,
    crate::task::prefixes::fuzz,
    crate::task::limits::fuzz,
    crate::task::limits::memory::fuzz,
    crate::task::capabilities::fuzz,
    crate::ecs_agent::ledger::fuzz,
    crate::ecs_agent::wire::fuzz,
    crate::net::own_flows::fuzz,
    crate::net::baseline::fuzz,
    crate::net::netlink::fuzz,
    crate::net::tc::fuzz,
    crate::net::nft::rule::fuzz,
    crate::signal::process::fuzz,
    crate::net::nft::table::fuzz,
    crate::net::link::fuzz,
    crate::net::routes::fuzz,
];
