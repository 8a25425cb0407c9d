//! Which jobs have been offered lately, so that a repeated offer is not a second job.

use std::cell::RefCell;
use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::time::Duration;

use tokio::time::Instant;

use ssm_wire::job::JobId;

/// For how long a job id is remembered.
pub(super) const LASTS: Duration = Duration::from_secs(30 * 60);

/// The ids of the last half hour, as 64 bits each: ten thousand of them are then 0.4 MB instead of 2.3. Among so
/// many the chance that two are alike is one in 10¹¹, and the key differs from process to process.
#[derive(Debug, Default)]
pub(super) struct Seen {
    key: RandomState,
    times: RefCell<HashMap<u64, Instant>>,
}

impl Seen {
    pub(super) fn note(&self, id: &JobId) {
        self.times.borrow_mut().insert(self.key.hash_one(id), Instant::now());
    }

    /// Whether it was noted in the last half hour and not forgotten since.
    pub(super) fn knows(&self, id: &JobId) -> bool {
        let now = Instant::now();
        let mut times = self.times.borrow_mut();
        times.retain(|_, at| now.duration_since(*at) < LASTS);
        times.contains_key(&self.key.hash_one(id))
    }

    pub(super) fn forget(&self, id: &JobId) {
        self.times.borrow_mut().remove(&self.key.hash_one(id));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn ids_are_known_for_half_an_hour_or_until_they_are_forgotten() {
        let id = |n: u32| JobId::try_from(format!("aws.ssm.c-{n}.mi-0123456789abcdef0")).unwrap();
        let seen = Seen::default();
        seen.note(&id(1));
        tokio::time::advance(LASTS / 2).await;
        seen.note(&id(2));
        assert!(seen.knows(&id(1)) && seen.knows(&id(2)) && !seen.knows(&id(3)));
        seen.forget(&id(2));
        assert!(!seen.knows(&id(2)));
        tokio::time::advance(LASTS / 2).await;
        assert!(!seen.knows(&id(1)));
    }
}
