//! Following one experiment: its states, its load, and the signals that end it.

use std::collections::BTreeMap;
use std::time::Duration;

use nix::sys::signal::Signal;
use serde_json::Value;
use tokio::time::{Instant, sleep};

use super::RunError;
use super::client::Fis;
use super::lines::Lines;
use super::load::Traffic;
use super::progress::{Progress, is_final};
use crate::interruption::Interruption;
use record::short;

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
    pub(super) lines: Lines,
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
        let (mut progress, mut interrupted, mut told) = (Progress::default(), false, false);
        loop {
            let experiment = self.fis.experiment(id).await?;
            let status = experiment["state"]["status"].as_str().unwrap_or_default();
            if !told && (status == "running" || is_final(status)) {
                told = true;
                self.targets(id).await?;
            }
            for line in progress.update(&experiment) {
                self.log(&line);
            }
            if is_final(status) {
                return Ok((experiment, interrupted));
            }
            if self.poll(POLL).await.is_none() {
                continue;
            }
            if interrupted {
                return Err(RunError::Broken(format!("gone without waiting for the end of {id}")));
            }
            interrupted = true;
            self.lines.print("stopping the experiment; once more leaves at once");
            self.fis.stop(id).await?;
        }
    }

    /// A line for each target: what was picked.
    async fn targets(&self, id: &str) -> Result<(), RunError> {
        let mut chosen: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for (target, arn) in self.fis.resolved_targets(id).await? {
            chosen.entry(target).or_default().push(short(&arn).to_owned());
        }
        for (target, names) in chosen {
            self.log(&format!("target {target}: {}", names.join(", ")));
        }
        Ok(())
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
        self.lines.print(&format!("{:>6.1} s  {line}", self.began.elapsed().as_secs_f64()));
    }
}
