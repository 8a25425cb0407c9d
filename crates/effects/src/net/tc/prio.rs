//! The queueing discipline prio.

use rtnetlink::packet_core::{DefaultNla, Emitable};

use super::super::uapi::pkt_sched::TC_PRIO_MAX;

/// Its name in `TCA_KIND`.
pub const KIND: &str = "prio";

/// Its parameters, `struct tc_prio_qopt`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Prio {
    /// How many, at most 16.
    pub bands: u32,
    /// The band of each priority, counted from 0.
    pub priomap: [u8; TC_PRIO_MAX + 1],
}

impl Prio {
    /// What stands in `TCA_OPTIONS`.
    pub fn options(&self) -> Vec<u8> {
        let mut options = [&self.bands.to_ne_bytes()[..], &self.priomap].concat();
        // The empty nest that tc appends to structs with attributes after them.
        let nest = DefaultNla::new(libc::TCA_OPTIONS, Vec::new());
        let length = options.len();
        options.resize(length + nest.buffer_len(), 0);
        nest.emit(&mut options[length..]);
        options
    }
}
