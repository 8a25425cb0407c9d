//! Which jobs have been offered lately, so that a repeated offer is not a second job.

use std::cell::RefCell;
use std::collections::{HashSet, VecDeque};
use std::hash::{BuildHasher, RandomState};
use std::time::Duration;

use tokio::time::Instant;

use crate::channel::JOB_MEMORY;
use ssm_wire::job::JobId;

/// The ids of the last half hour, as 64 bits each: ten thousand of them are then 0.4 MB instead of 2.3. Among so
/// many the chance that two are alike is one in 10¹¹, and the key differs from process to process.
#[derive(Debug, Default)]
pub(super) struct Seen {
    key: RandomState,
    ids: RefCell<Ids>,
}

#[derive(Debug, Default)]
struct Ids {
    known: HashSet<u64>,
    /// When each was noted, the first first; also those that were forgotten since.
    times: VecDeque<(Instant, u64)>,
}

impl Seen {
    pub(super) fn note(&self, id: &JobId) {
        self.note_aged(id, Duration::ZERO);
    }

    /// Notes what an earlier life noted so long ago.
    pub(super) fn note_aged(&self, id: &JobId, age: Duration) {
        let now = Instant::now();
        let (id, mut ids) = (self.key.hash_one(id), self.ids.borrow_mut());
        ids.known.insert(id);
        ids.times.push_back((now.checked_sub(age).unwrap_or(now), id));
    }

    /// Whether it was noted in the last half hour and not forgotten since.
    pub(super) fn knows(&self, id: &JobId) -> bool {
        let (now, mut ids) = (Instant::now(), self.ids.borrow_mut());
        while let Some((at, old)) = ids.times.front().copied()
            && now.duration_since(at) >= JOB_MEMORY
        {
            ids.times.pop_front();
            ids.known.remove(&old);
        }
        ids.known.contains(&self.key.hash_one(id))
    }

    pub(super) fn forget(&self, id: &JobId) {
        self.ids.borrow_mut().known.remove(&self.key.hash_one(id));
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
        tokio::time::advance(JOB_MEMORY / 2).await;
        seen.note(&id(2));
        assert!(seen.knows(&id(1)) && seen.knows(&id(2)) && !seen.knows(&id(3)));
        seen.forget(&id(2));
        assert!(!seen.knows(&id(2)));
        tokio::time::advance(JOB_MEMORY / 2).await;
        assert!(!seen.knows(&id(1)));
    }
}
