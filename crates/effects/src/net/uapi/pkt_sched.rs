//! `linux/pkt_sched.h`, and what it leaves to the source of the scheduler.

use std::time::Duration;

/// All bands that a prio can have.
pub const TCQ_PRIO_BANDS: u16 = 16;
/// The highest priority of the priomap.
pub const TC_PRIO_MAX: usize = 15;
/// One tick of the scheduler's clock: `PSCHED_SHIFT` is 6 (`net/pkt_sched.h`).
pub const PSCHED_TICK: Duration = Duration::from_nanos(1 << 6);
