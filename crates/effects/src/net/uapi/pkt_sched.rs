//! `linux/pkt_sched.h`, and what it leaves to the source of the scheduler.

use std::time::Duration;

/// All bands that a prio can have.
pub const TCQ_PRIO_BANDS: u16 = 16;
/// The highest priority of the priomap.
pub const TC_PRIO_MAX: usize = 15;
/// `TCA_NETEM_*`: the attributes of a netem behind its struct.
pub const TCA_NETEM_CORR: u16 = 1;
/// Numbers of 16 bits.
pub const TCA_NETEM_DELAY_DIST: u16 = 2;
/// `struct tc_netem_reorder`.
pub const TCA_NETEM_REORDER: u16 = 3;
/// `struct tc_netem_corrupt`.
pub const TCA_NETEM_CORRUPT: u16 = 4;
/// A nest of `NETEM_LOSS_*`.
pub const TCA_NETEM_LOSS: u16 = 5;
/// `struct tc_netem_rate`.
pub const TCA_NETEM_RATE: u16 = 6;
/// The model of Gilbert and Elliott: `struct tc_netem_gemodel`.
pub const NETEM_LOSS_GE: u16 = 2;
/// What a table of delays has for one jitter.
pub const NETEM_DIST_SCALE: u16 = 8192;

/// One tick of the scheduler's clock: `PSCHED_SHIFT` is 6 (`net/pkt_sched.h`).
pub const PSCHED_TICK: Duration = Duration::from_nanos(1 << 6);
