//! What became of the requests that were due in one second.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::Times;

/// The requests that were due in one second, and what became of them.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Second {
    /// When it began, in seconds since 1970.
    pub at: f64,
    /// All requests due in it. Each was sent, and is either ok or one of the errors.
    pub sent: u32,
    /// Requests that got an answer of success (2xx) in time.
    pub ok: u32,
    /// How many failed, by kind: `refused`, `answer timeout` … A kind without failures is missing.
    pub errors: BTreeMap<String, u32>,
    /// Response times in milliseconds, from the moment a request was due to its answer or to the moment its
    /// client gave up. None if nothing was due.
    pub p50_ms: Option<f64>,
    /// 95 of 100 were as fast or faster.
    pub p95_ms: Option<f64>,
    /// 99 of 100 were as fast or faster.
    pub p99_ms: Option<f64>,
    /// By how much the generator itself was late at worst. It is part of the response times above.
    pub lag_ms: f64,
    /// Response times of the requests that got an answer of success.
    #[serde(default, skip_serializing_if = "Times::is_empty")]
    pub ok_times: Times,
    /// How long the clients of the requests that failed waited.
    #[serde(default, skip_serializing_if = "Times::is_empty")]
    pub failed_times: Times,
}

impl Second {
    /// How many failed, all kinds together.
    pub fn failed(&self) -> u32 {
        self.errors.values().sum()
    }

    /// When it ended, in seconds since 1970.
    pub fn end(&self) -> f64 {
        self.at + 1.0
    }

    /// P50, P95 and P99 of the answers of success, in milliseconds; of all requests in a record that is older than
    /// [`Second::ok_times`]. None where there are none.
    pub fn answered_ms(&self) -> [Option<f64>; 3] {
        match self.ok_times.is_empty() && self.failed_times.is_empty() {
            true => [self.p50_ms, self.p95_ms, self.p99_ms],
            false => [0.50, 0.95, 0.99].map(|share| self.ok_times.percentile_ms(share)),
        }
    }

    /// The failed and all requests of some seconds.
    pub fn failed_of_sent<'a>(seconds: impl IntoIterator<Item = &'a Second>) -> (u64, u64) {
        let add = |(failed, sent): (u64, u64), second: &Second| {
            (failed + u64::from(second.failed()), sent + u64::from(second.sent))
        };
        seconds.into_iter().fold((0, 0), add)
    }
}
