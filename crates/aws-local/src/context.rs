//! What every operation may know about the moment and the place of a call.

use std::time::SystemTime;

/// See the module.
#[derive(Debug, Clone)]
pub struct Context {
    /// When the call is made.
    pub now: SystemTime,
    /// Where it acts.
    pub region: String,
    /// Twelve digits.
    pub account: String,
    /// How many times shorter than asked the durations of experiments and the periods of alarms are; 1 but
    /// for tests (`--speed`).
    pub speed: f64,
}
