//! Replies on their way out: kept and repeated until the service acknowledges them.
//!
//! Over the control channel a reply is sent again after 1, 2 and 4 s, then every 2 minutes, and at once when
//! the channel opens again; it is given up after 2 hours and 6 tries. Over the long poll it is an HTTP call,
//! with the same schedule after failures. Source: amazon-ssm-agent `sendreply.go`, 3.3.3572 and newer.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use serde_json::json;
use tokio::sync::Notify;
use tokio::time::Instant;
use uuid::Uuid;

use super::Origin;
use super::frame::Frame;
use super::job::{JobId, Topic};
use super::link::Link;
use super::mds::Poll;

const FIRST_WAITS: [Duration; 3] = [Duration::from_secs(1), Duration::from_secs(2), Duration::from_secs(4)];
const LATER_WAIT: Duration = Duration::from_secs(120);
const LIFE: Duration = Duration::from_secs(2 * 60 * 60);
const LEAST_TRIES: u32 = 6;

/// One reply.
#[derive(Debug, Clone)]
pub struct Reply {
    /// The same on every repetition: the service acknowledges it by this id.
    pub id: Uuid,
    pub job: JobId,
    pub topic: Topic,
    /// JSON text of the reply's content.
    pub content: String,
    pub origin: Origin,
}

impl Reply {
    pub fn new(job: &JobId, topic: Topic, content: String, origin: Origin) -> Reply {
        Reply { id: Uuid::new_v4(), job: job.clone(), topic, content, origin }
    }

    /// The frame of the control channel.
    pub fn frame(&self, created_ms: u64) -> Frame {
        let payload = json!({
            "schemaVersion": 1,
            "jobId": self.job.as_str(),
            "content": self.content,
            "topic": self.topic.as_str(),
        });
        Frame::new("agent_job_reply", self.id, created_ms, payload.to_string().into_bytes())
    }
}

#[derive(Debug)]
struct Pending {
    reply: Reply,
    born: Instant,
    due: Instant,
    tries: u32,
}

impl Pending {
    /// Notes a try; the next comes after the wait that belongs to it.
    fn tried(&mut self, now: Instant) {
        let wait = FIRST_WAITS.get(self.tries as usize).copied().unwrap_or(LATER_WAIT);
        self.tries += 1;
        self.due = now + wait;
    }

    fn is_hopeless(&self, now: Instant) -> bool {
        self.tries >= LEAST_TRIES && now.duration_since(self.born) > LIFE
    }
}

/// All replies that were not acknowledged yet, oldest first.
#[derive(Debug, Default)]
pub struct Outbox {
    pending: RefCell<Vec<Pending>>,
    /// Something was added, acknowledged, or became due.
    changed: Notify,
}

impl Outbox {
    /// Adds a reply; it goes out as soon as its channel lets it.
    pub fn push(&self, reply: Reply) {
        let now = Instant::now();
        self.pending.borrow_mut().push(Pending { reply, born: now, due: now, tries: 0 });
        self.changed.notify_waiters();
    }

    /// The service has the reply.
    pub fn acknowledged(&self, id: Uuid) {
        self.pending.borrow_mut().retain(|pending| pending.reply.id != id);
        self.changed.notify_waiters();
    }

    /// Everything that waits goes out now: the control channel opened, or the sidecar is about to end.
    pub fn hurry(&self) {
        let now = Instant::now();
        for pending in self.pending.borrow_mut().iter_mut() {
            pending.due = now;
        }
        self.changed.notify_waiters();
    }

    pub fn len(&self) -> usize {
        self.pending.borrow().len()
    }

    /// All replies that wait, oldest first.
    #[cfg(test)]
    pub(crate) fn snapshot(&self) -> Vec<Reply> {
        self.pending.borrow().iter().map(|pending| pending.reply.clone()).collect()
    }

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

    /// Sends what is due, for ever. Replies of the control channel are written and forgotten until their
    /// next turn; those of the long poll are calls, one after the other. The two do not wait for each other: a
    /// call that hangs must not keep anything from an open control channel.
    pub async fn deliver(&self, link: &Link, poll: &Poll) {
        tokio::join!(self.carry(Origin::Gateway, link, poll), self.carry(Origin::Poll, link, poll));
    }

    async fn carry(&self, by: Origin, link: &Link, poll: &Poll) {
        let mut polling = link.polling();
        loop {
            polling.mark_unchanged();
            let changed = self.changed.notified();
            tokio::pin!(changed);
            // Registers the interest before the look, so that nothing added during a call is missed.
            changed.as_mut().enable();
            self.give_up();
            let (due, next) = self.due(by, link);
            for reply in &due {
                self.attempt(reply, link, poll).await;
            }
            if !due.is_empty() {
                continue;
            }
            let pause = async {
                match next {
                    Some(next) => tokio::time::sleep_until(next).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                () = changed => {}
                () = pause => {}
                // The long poll took over: replies that had no way have one now.
                _ = polling.changed() => {}
            }
        }
    }

    /// The replies whose time has come and whose way is `by`, and when the next one's comes.
    fn due(&self, by: Origin, link: &Link) -> (Vec<Rc<Reply>>, Option<Instant>) {
        let now = Instant::now();
        let (mut due, mut next) = (Vec::new(), None::<Instant>);
        for pending in self.pending.borrow_mut().iter_mut() {
            if way(&pending.reply, link) != Some(by) {
                continue;
            }
            if pending.due <= now {
                pending.tried(now);
                due.push(Rc::new(pending.reply.clone()));
            } else {
                next = Some(next.map_or(pending.due, |next| next.min(pending.due)));
            }
        }
        (due, next)
    }

    async fn attempt(&self, reply: &Reply, link: &Link, poll: &Poll) {
        match way(reply, link) {
            Some(Origin::Gateway) => {
                super::mgs::send_frame(link, &reply.frame(super::now_ms()));
            }
            Some(Origin::Poll) => match poll.send_reply(reply).await {
                Ok(()) => self.acknowledged(reply.id),
                Err(error) => {
                    tracing::warn!(job = %reply.job, %error, "cannot send a reply, keeping it");
                }
            },
            None => {}
        }
    }

    fn give_up(&self) {
        let now = Instant::now();
        self.pending.borrow_mut().retain(|pending| {
            let hopeless = pending.is_hopeless(now);
            if hopeless {
                tracing::error!(job = %pending.reply.job, tries = pending.tries, "reply never acknowledged, giving up");
            }
            !hopeless
        });
    }
}

/// The way a reply can go now: the one its job came by, or the long poll while the control channel is down.
fn way(reply: &Reply, link: &Link) -> Option<Origin> {
    match reply.origin {
        Origin::Poll => Some(Origin::Poll),
        Origin::Gateway if link.gateway_is_open() => Some(Origin::Gateway),
        Origin::Gateway if link.is_polling() => Some(Origin::Poll),
        Origin::Gateway => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::sync::mpsc;
    use tokio_tungstenite::tungstenite::Message;

    fn reply() -> Reply {
        let job = JobId::try_from("aws.ssm.c.mi-0123456789abcdef0".to_owned()).unwrap();
        Reply::new(&job, Topic::Send, "{}".into(), Origin::Gateway)
    }

    fn sent(messages: &mut mpsc::UnboundedReceiver<Message>) -> Vec<Uuid> {
        std::iter::from_fn(|| messages.try_recv().ok())
            .map(|message| Frame::decode(&message.into_data()).unwrap().id)
            .collect()
    }

    /// What the loop of `deliver` does at one moment, without the loop.
    fn turn(outbox: &Outbox, link: &Link) {
        outbox.give_up();
        for reply in outbox.due(Origin::Gateway, link).0 {
            super::super::mgs::send_frame(link, &reply.frame(1));
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_reply_is_repeated_with_the_same_id_until_it_is_acknowledged() {
        let (outbox, link) = (Outbox::default(), Link::default());
        let (sender, mut messages) = mpsc::unbounded_channel();
        link.gateway_opened(sender);
        let reply = reply();
        outbox.push(reply.clone());
        for wait in [1, 2, 4, 120, 120] {
            turn(&outbox, &link);
            assert_eq!(sent(&mut messages), [reply.id]);
            turn(&outbox, &link);
            assert!(sent(&mut messages).is_empty(), "not before its time");
            tokio::time::advance(Duration::from_secs(wait)).await;
        }
        outbox.acknowledged(reply.id);
        turn(&outbox, &link);
        assert!(sent(&mut messages).is_empty());
        assert!(outbox.is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn a_closed_channel_keeps_replies_and_a_new_one_sends_them_at_once() {
        let (outbox, link) = (Outbox::default(), Link::default());
        outbox.push(reply());
        turn(&outbox, &link);
        tokio::time::advance(Duration::from_secs(3600)).await;
        turn(&outbox, &link);
        assert_eq!(outbox.len(), 1);
        let (sender, mut messages) = mpsc::unbounded_channel();
        link.gateway_opened(sender);
        outbox.hurry();
        turn(&outbox, &link);
        assert_eq!(sent(&mut messages).len(), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn a_reply_that_nobody_wants_is_given_up_after_two_hours() {
        let (outbox, link) = (Outbox::default(), Link::default());
        let (sender, _messages) = mpsc::unbounded_channel();
        link.gateway_opened(sender);
        outbox.push(reply());
        let mut turns = 0;
        while !outbox.is_empty() && turns < 100 {
            turn(&outbox, &link);
            tokio::time::advance(LATER_WAIT).await;
            turns += 1;
        }
        assert_eq!(turns, 62, "two hours of two minutes each, and the turn that gives up");
    }

    fn poll(dir: &std::path::Path, link: &Rc<Link>) -> Poll {
        use crate::aws::endpoint::Endpoints;
        use crate::aws::http::Client;
        use crate::aws::json::JsonClient;
        use crate::identity::key::InstanceKey;
        use crate::identity::store::{Store, Stored};
        use crate::identity::token::Identity;
        let endpoints = Endpoints::resolve("eu-west-1", "aws", |_| None).unwrap();
        let client = JsonClient::new(Client::new(None).unwrap(), endpoints, "eu-west-1".into());
        let stored = Stored {
            instance_id: "mi-0123456789abcdef0".into(),
            region: "eu-west-1".into(),
            task_arn: String::new(),
            activation_id: String::new(),
            fingerprint: String::new(),
            private_key: String::new(),
        };
        let key = InstanceKey::generate().unwrap();
        let identity = Rc::new(Identity::new(client, Store::open(dir).unwrap(), stored, key));
        Poll { identity, link: Rc::clone(link) }
    }

    #[tokio::test(start_paused = true)]
    async fn a_reply_that_had_no_way_goes_out_when_the_long_poll_takes_over() {
        let dir = tempfile::tempdir().unwrap();
        let (outbox, link) = (Outbox::default(), Rc::new(Link::default()));
        // Without credentials the call fails, but it is tried.
        let poll = poll(dir.path(), &link);
        outbox.push(reply());
        let tried = async {
            tokio::time::sleep(Duration::from_secs(1)).await;
            assert_eq!(outbox.pending.borrow()[0].tries, 0, "there is no way yet");
            link.gateway_failed();
            while outbox.pending.borrow()[0].tries == 0 {
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
        };
        tokio::select! {
            () = outbox.deliver(&link, &poll) => unreachable!("it delivers for ever"),
            result = tokio::time::timeout(Duration::from_secs(60), tried) => result.expect("it was never tried"),
        }
    }
}
