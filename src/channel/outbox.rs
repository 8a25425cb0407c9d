//! Outgoing replies: kept and repeated until the service acknowledges them.
//!
//! Over the control channel a reply is sent again after 1, 2 and 4 s, then every 2 minutes, and at once when
//! the channel opens again; it is given up after 2 hours and 6 tries. Over the long poll it is an HTTP call,
//! with the same schedule after failures. Source: amazon-ssm-agent `sendreply.go`, 3.3.3572 and newer.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;
use uuid::Uuid;

use super::journal::Journal;
use super::reply::Reply;

const FIRST_WAITS: [Duration; 3] = [Duration::from_secs(1), Duration::from_secs(2), Duration::from_secs(4)];
const LATER_WAIT: Duration = Duration::from_secs(120);
const LIFE: Duration = Duration::from_secs(2 * 60 * 60);
const LEAST_TRIES: u32 = 6;
/// Replies that are taken out for one turn of the sender.
const MOST_AT_ONCE: usize = 64;

#[derive(Debug)]
struct Pending {
    reply: Reply,
    created: Instant,
    due: Instant,
    tries: u32,
}

impl Pending {
    /// Counts a try, and sets when the next is due.
    fn tried(&mut self, now: Instant) {
        let wait = FIRST_WAITS.get(self.tries as usize).copied().unwrap_or(LATER_WAIT);
        self.tries += 1;
        self.due = now + wait;
    }

    fn has_expired(&self, now: Instant) -> bool {
        self.tries >= LEAST_TRIES && now.duration_since(self.created) > LIFE
    }
}

/// All replies that were not acknowledged yet. Adding one, and each acknowledgement, takes no longer where there are
/// many.
#[derive(Debug, Default)]
struct Replies {
    /// By the order in which they were added.
    pending: BTreeMap<u64, Pending>,
    numbers: HashMap<Uuid, u64>,
    /// When each is due, with its number.
    times: BTreeSet<(Instant, u64)>,
    next: u64,
}

impl Replies {
    fn add(&mut self, reply: Reply, now: Instant) {
        let number = self.next;
        self.next += 1;
        self.numbers.insert(reply.id, number);
        self.times.insert((now, number));
        self.pending.insert(number, Pending { reply, created: now, due: now, tries: 0 });
    }

    fn remove(&mut self, number: u64) -> Option<Pending> {
        let pending = self.pending.remove(&number)?;
        self.numbers.remove(&pending.reply.id);
        self.times.remove(&(pending.due, number));
        Some(pending)
    }
}

/// All replies that were not acknowledged yet, oldest first.
#[derive(Debug, Default)]
pub struct Outbox {
    replies: RefCell<Replies>,
    /// Where they are kept for a next life; tests do without.
    journal: Option<Journal>,
    /// Something was added, acknowledged, or became due.
    changed: Notify,
}

impl Outbox {
    /// An empty one that notes everything in `journal`.
    pub fn kept_in(journal: Journal) -> Outbox {
        Outbox { journal: Some(journal), ..Outbox::default() }
    }

    /// Where jobs and replies are kept for a next life.
    pub fn journal(&self) -> Option<&Journal> {
        self.journal.as_ref()
    }

    /// Waits until the journal is on disk, for a second at most.
    pub async fn settled(&self) {
        if let Some(journal) = &self.journal {
            journal.settled().await;
        }
    }

    /// Adds a reply; it goes out as soon as its channel lets it.
    pub fn push(&self, reply: Reply) {
        if let Some(journal) = &self.journal {
            journal.replied(&reply);
        }
        self.restore(reply);
    }

    /// Adds a reply of an earlier life, which the journal has.
    pub fn restore(&self, reply: Reply) {
        self.replies.borrow_mut().add(reply, Instant::now());
        self.changed.notify_waiters();
    }

    /// The service has the reply.
    pub fn acknowledged(&self, id: Uuid) {
        let removed = {
            let mut replies = self.replies.borrow_mut();
            let number = replies.numbers.get(&id).copied();
            number.and_then(|number| replies.remove(number))
        };
        if removed.is_some() {
            self.forget(id);
        }
        self.changed.notify_waiters();
    }

    fn forget(&self, id: Uuid) {
        if let Some(journal) = &self.journal {
            journal.acknowledged(id);
        }
    }

    /// Makes every reply due now: the control channel opened, or the sidecar is about to end.
    pub fn resend_all(&self) {
        let now = Instant::now();
        {
            let mut replies = self.replies.borrow_mut();
            let Replies { pending, times, .. } = &mut *replies;
            times.clear();
            for (number, pending) in pending.iter_mut() {
                pending.due = now;
                times.insert((now, *number));
            }
        }
        self.changed.notify_waiters();
    }

    /// How many replies wait for their acknowledgement.
    pub fn len(&self) -> usize {
        self.replies.borrow().pending.len()
    }

    /// All replies that wait, oldest first.
    #[cfg(test)]
    pub(crate) fn snapshot(&self) -> Vec<Reply> {
        self.replies.borrow().pending.values().map(|pending| pending.reply.clone()).collect()
    }

    /// How often each was tried.
    #[cfg(test)]
    pub(super) fn tries(&self) -> Vec<u32> {
        self.replies.borrow().pending.values().map(|pending| pending.tries).collect()
    }

    /// Whether every reply was acknowledged or given up.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Waits until every reply is acknowledged.
    pub async fn drained(&self) {
        loop {
            let changed = self.changed.notified();
            if self.is_empty() {
                return;
            }
            changed.await;
        }
    }

    /// Resolves at the next change after this call, also at one that comes before the first poll.
    pub(super) fn changed(&self) -> impl Future<Output = ()> {
        let mut changed = Box::pin(self.changed.notified());
        changed.as_mut().enable();
        changed
    }

    /// The due replies among those that `select` takes, oldest first and [`MOST_AT_ONCE`] at most, each counted as
    /// tried, and when the next one is due. Expired ones are given up.
    pub(super) fn due(&self, select: impl Fn(&Reply) -> bool) -> (Vec<Reply>, Option<Instant>) {
        let now = Instant::now();
        let mut replies = self.replies.borrow_mut();
        let (mut due, mut expired) = (Vec::new(), Vec::new());
        let mut next = None;
        for (time, number) in &replies.times {
            let Some(pending) = replies.pending.get(number) else { continue };
            if !select(&pending.reply) {
                continue;
            }
            if *time > now || due.len() == MOST_AT_ONCE {
                next = Some(*time);
                break;
            }
            if pending.has_expired(now) { expired.push(*number) } else { due.push(*number) }
        }
        for number in expired {
            if let Some(Pending { reply, tries, .. }) = replies.remove(number) {
                tracing::error!(job = %reply.job, tries, "reply never acknowledged, giving up");
                self.forget(reply.id);
            }
        }
        due.sort_unstable();
        let Replies { pending, times, .. } = &mut *replies;
        let mut try_one = |number: &u64| {
            let one = pending.get_mut(number)?;
            times.remove(&(one.due, *number));
            one.tried(now);
            times.insert((one.due, *number));
            Some(one.reply.clone())
        };
        (due.iter().filter_map(&mut try_one).collect(), next)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::channel::Origin;
    use ssm_wire::job::{JobId, Topic};

    fn reply() -> Reply {
        let job = JobId::try_from("aws.ssm.c.mi-0123456789abcdef0".to_owned()).unwrap();
        Reply::new(&job, Topic::Send, "{}".into(), Origin::Gateway)
    }

    /// The ids of what goes out now.
    fn out(outbox: &Outbox) -> Vec<Uuid> {
        outbox.due(|_| true).0.iter().map(|reply| reply.id).collect()
    }

    #[tokio::test(start_paused = true)]
    async fn a_reply_is_repeated_with_the_same_id_until_it_is_acknowledged() {
        let outbox = Outbox::default();
        let reply = reply();
        outbox.push(reply.clone());
        for wait in [1, 2, 4, 120, 120] {
            assert_eq!(out(&outbox), [reply.id]);
            assert!(out(&outbox).is_empty(), "not before its time");
            tokio::time::advance(Duration::from_secs(wait)).await;
        }
        outbox.acknowledged(reply.id);
        assert!(out(&outbox).is_empty());
        assert!(outbox.is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn a_reply_that_has_no_way_keeps_its_tries() {
        let outbox = Outbox::default();
        outbox.push(reply());
        for _ in 0..100 {
            assert!(outbox.due(|_| false).0.is_empty());
            tokio::time::advance(LATER_WAIT).await;
        }
        assert_eq!(out(&outbox).len(), 1, "it is due at once when there is a way");
    }

    #[tokio::test(start_paused = true)]
    async fn a_reply_that_is_never_acknowledged_expires_after_two_hours() {
        let outbox = Outbox::default();
        outbox.push(reply());
        let mut turns = 0;
        while !outbox.is_empty() && turns < 100 {
            out(&outbox);
            tokio::time::advance(LATER_WAIT).await;
            turns += 1;
        }
        assert_eq!(turns, 62, "two hours of two minutes each, and the turn that gives up");
    }
}
