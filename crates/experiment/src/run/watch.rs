//! Following one experiment: its states, its load, and the signals that end it.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

use nix::sys::signal::Signal;
use serde_json::Value;
use tokio::time::{Instant, sleep};

use super::RunError;
use super::client::Fis;
use super::lines::{Lines, Status};
use super::load::Traffic;
use super::progress::{Progress, is_final, running};
use crate::interruption::Interruption;
use record::{clock, short};

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
        let (mut progress, mut interrupted) = (Progress::default(), false);
        let (mut chosen, mut shown) = (None, Status::new(self.lines));
        loop {
            let experiment = self.fis.experiment(id).await?;
            let status = experiment["state"]["status"].as_str().unwrap_or_default();
            if chosen.is_none() && (status == "running" || is_final(status)) {
                chosen = Some(self.targets(id).await?);
            }
            for line in progress.update(&experiment) {
                self.log(&line);
            }
            if is_final(status) {
                return Ok((experiment, interrupted));
            }
            shown.show(|| self.standing(&experiment, chosen.as_deref()), self.traffic.is_some());
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

    /// How it stands, in one line: time, what runs, the load's last second, what was chosen.
    fn standing(&self, experiment: &Value, chosen: Option<&str>) -> String {
        let now = clock::epoch_seconds(SystemTime::now());
        let mut parts = running(experiment, now);
        if parts.is_empty() {
            parts.push(experiment["state"]["status"].as_str().unwrap_or_default().to_owned());
        }
        parts.extend(self.traffic.as_ref().and_then(Traffic::last_second));
        parts.extend(chosen.filter(|chosen| !chosen.is_empty()).map(str::to_owned));
        format!("{:>6.1} s  {}", self.began.elapsed().as_secs_f64(), parts.join("; "))
    }

    /// A line for each target: what was picked. Gives all of them in one.
    async fn targets(&self, id: &str) -> Result<String, RunError> {
        let mut chosen: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for (target, arn) in self.fis.resolved_targets(id).await? {
            chosen.entry(target).or_default().push(short(&arn).to_owned());
        }
        let words: Vec<String> =
            chosen.iter().map(|(target, names)| format!("target {target}: {}", names.join(", "))).collect();
        words.iter().for_each(|line| self.log(line));
        Ok(words.join("; "))
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
