//! Requests that others send, counted as they end.

use std::time::{Duration, SystemTime};

use tokio::time::Instant;

use super::Failure;
use super::second::Tally;
use record::Second;

/// Counts of requests that pass by. A request counts in the second in which it ended, so that one that hangs holds
/// nothing up.
#[derive(Debug)]
pub struct Observed {
    began: SystemTime,
    start: Instant,
    tally: Tally,
}

impl Observed {
    /// Counts from now on.
    pub fn now() -> Observed {
        Observed { began: SystemTime::now(), start: Instant::now(), tally: Tally::default() }
    }

    /// A request has ended: how, and how long after it came.
    pub fn ended(&mut self, outcome: Result<(), Failure>, took: Duration) {
        let second = self.start.elapsed().as_secs();
        self.tally.sent(second, Duration::ZERO);
        self.tally.ended(second, outcome, took);
    }

    /// Takes out, in order, the seconds that are over, up to the last in which a request ended.
    pub fn over(&mut self) -> Vec<Second> {
        let over = self.tally.take_over(self.start.elapsed().as_secs());
        over.into_iter()
            .map(|(second, figures)| figures.summary(self.began + Duration::from_secs(second)))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_request_counts_in_the_second_in_which_it_ended() {
        let mut observed = Observed::now();
        observed.ended(Ok(()), Duration::from_millis(20));
        observed.ended(Err(Failure::Refused), Duration::from_millis(5));
        assert!(observed.over().is_empty(), "the second is not over");
        tokio::time::advance(Duration::from_millis(2500)).await;
        observed.ended(Err(Failure::AnswerTimeout), Duration::from_secs(2));
        let first = observed.over();
        assert_eq!(first.len(), 2, "the empty one is there too");
        assert_eq!((first[0].sent, first[0].ok, first[0].errors["refused"], first[1].sent), (2, 1, 1, 0));
        tokio::time::advance(Duration::from_secs(1)).await;
        let second = observed.over();
        assert_eq!((second.len(), second[0].errors["answer timeout"]), (1, 1));
        assert!((second[0].at - first[0].at - 2.0).abs() < 1e-3);
        assert!(observed.over().is_empty());
    }
}
