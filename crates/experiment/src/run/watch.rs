//! Following one experiment: its states, its load, and the signals that end it.

use std::time::Duration;

use nix::sys::signal::Signal;
use serde_json::Value;
use tokio::time::{Instant, sleep};

use super::client::Fis;
use super::load::Traffic;
use super::progress::{Progress, is_final};
use super::{RunError, print_line};
use crate::interruption::Interruption;

/// Between two polls of the experiment.
const POLL: Duration = Duration::from_millis(250);

/// An experiment and the load beside it, printed line by line.
#[derive(Debug)]
pub(super) struct Watch<'a> {
    pub(super) fis: &'a Fis,
    pub(super) traffic: Option<Traffic>,
    pub(super) interruption: Interruption,
    /// What the times of its lines count from.
    pub(super) began: Instant,
}

impl Watch<'_> {
    /// Lets time pass; the signal that cut it short, if one did.
    pub(super) async fn pass(&mut self, time: Duration) -> Option<Signal> {
        let end = Instant::now() + time;
        loop {
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return None;
            }
            if let Some(signal) = self.poll(left.min(POLL)).await {
                return Some(signal);
            }
        }
    }

    /// Prints what happens to an experiment until it has ended; its last state, and whether a signal stopped it.
    pub(super) async fn experiment(&mut self, id: &str) -> Result<(Value, bool), RunError> {
        let (mut progress, mut interrupted) = (Progress::default(), false);
        loop {
            let experiment = self.fis.experiment(id).await?;
            for line in progress.update(&experiment) {
                self.log(&line);
            }
            if is_final(experiment["state"]["status"].as_str().unwrap_or_default()) {
                return Ok((experiment, interrupted));
            }
            if self.poll(POLL).await.is_none() {
                continue;
            }
            if interrupted {
                return Err(RunError::Broken(format!("gone without waiting for the end of {id}")));
            }
            interrupted = true;
            print_line("stopping the experiment; once more leaves at once");
            self.fis.stop(id).await?;
        }
    }

    /// A line about the load if one is due, then a pause; the signal that cut it short.
    async fn poll(&mut self, pause: Duration) -> Option<Signal> {
        if let Some(line) = self.traffic.as_mut().and_then(Traffic::progress_line) {
            self.log(&line);
        }
        tokio::select! {
            () = sleep(pause) => None,
            signal = self.interruption.received() => Some(signal),
        }
    }

    fn log(&self, line: &str) {
        print_line(&format!("{:>6.1} s  {line}", self.began.elapsed().as_secs_f64()));
    }
}
