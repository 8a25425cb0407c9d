//! Sends the replies of the outbox: over the control channel while it is open, else over the long poll.

use super::Origin;
use super::link::Link;
use super::mds::Poll;
use super::outbox::Outbox;
use super::reply::Reply;

/// Sends what is due, for ever. Replies on the control channel are written, and repeated when they are due
/// again; those on the long poll are calls, one after the other. The two do not wait for each other: a call
/// that hangs must not delay an open control channel.
pub async fn deliver(outbox: &Outbox, link: &Link, poll: &Poll) {
    tokio::join!(send_by(Origin::Gateway, outbox, link, poll), send_by(Origin::Poll, outbox, link, poll));
}

async fn send_by(by: Origin, outbox: &Outbox, link: &Link, poll: &Poll) {
    let mut polling = link.polling();
    loop {
        polling.mark_unchanged();
        // Subscribed before the outbox is read, so that nothing added during a call is missed.
        let changed = outbox.changed();
        let (due, next) = outbox.due(|reply| route(reply, link) == Some(by));
        if !due.is_empty() {
            // So that a reply which the service has is one that the next life knows.
            outbox.settled().await;
        }
        for reply in &due {
            attempt(reply, outbox, link, poll).await;
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
            // The long poll took over: replies that had no channel have one now.
            _ = polling.changed() => {}
        }
    }
}

async fn attempt(reply: &Reply, outbox: &Outbox, link: &Link, poll: &Poll) {
    match route(reply, link) {
        Some(Origin::Gateway) => {
            link.send_frame(&reply.frame(super::now_ms()));
        }
        Some(Origin::Poll) => match poll.send_reply(reply).await {
            Ok(()) => outbox.acknowledged(reply.id),
            Err(error) => {
                tracing::warn!(job = %reply.job, %error, "cannot send a reply, keeping it");
            }
        },
        None => {}
    }
}

/// The channel that a reply can use now: the one its job came by, or the long poll while the control channel is down.
fn route(reply: &Reply, link: &Link) -> Option<Origin> {
    match reply.origin {
        Origin::Poll => Some(Origin::Poll),
        Origin::Gateway if link.gateway_is_open() => Some(Origin::Gateway),
        Origin::Gateway if link.is_polling() => Some(Origin::Poll),
        Origin::Gateway => None,
    }
}

#[cfg(test)]
mod tests {
    use std::rc::Rc;
    use std::time::Duration;

    use tokio::sync::mpsc;

    use super::*;
    use ssm_wire::frame::Frame;
    use ssm_wire::job::{JobId, Topic};

    fn reply() -> Reply {
        let job = JobId::try_from("aws.ssm.c.mi-0123456789abcdef0".to_owned()).unwrap();
        Reply::new(&job, Topic::Send, "{}".into(), Origin::Gateway)
    }

    fn poll(dir: &std::path::Path, link: &Rc<Link>) -> Poll {
        use crate::aws::clock::Clock;
        use crate::aws::endpoint::Endpoints;
        use crate::aws::json::JsonClient;
        use crate::identity::key::InstanceKey;
        use crate::identity::store::{Store, Stored};
        use crate::identity::token::Identity;
        use http_client::Client;
        let endpoints = Endpoints::resolve("eu-west-1", "aws", |_| None).unwrap();
        let client = JsonClient::new(
            Client::new(&http_client::Network::default()).unwrap(),
            endpoints,
            "eu-west-1".into(),
            Clock::default(),
        );
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
        Poll::new(identity, Rc::clone(link))
    }

    #[tokio::test(start_paused = true)]
    async fn a_reply_without_a_channel_goes_out_when_the_long_poll_takes_over() {
        let dir = tempfile::tempdir().unwrap();
        let (outbox, link) = (Outbox::default(), Rc::new(Link::default()));
        // Without credentials the call fails, but it is tried.
        let poll = poll(dir.path(), &link);
        outbox.push(reply());
        let tried = async {
            tokio::time::sleep(Duration::from_secs(1)).await;
            assert!(is_untried(&outbox), "there is no channel yet");
            link.gateway_failed();
            while is_untried(&outbox) {
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
        };
        tokio::select! {
            () = deliver(&outbox, &link, &poll) => unreachable!("it delivers for ever"),
            result = tokio::time::timeout(Duration::from_secs(60), tried) => result.expect("it was never tried"),
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_reply_waits_for_the_control_channel_and_goes_as_a_frame() {
        let dir = tempfile::tempdir().unwrap();
        let (outbox, link) = (Outbox::default(), Rc::new(Link::default()));
        let poll = poll(dir.path(), &link);
        let reply = reply();
        outbox.push(reply.clone());
        let (sender, mut messages) = mpsc::unbounded_channel();
        let opened = async {
            tokio::time::sleep(Duration::from_secs(3600)).await;
            assert!(is_untried(&outbox), "there is no channel yet");
            link.gateway_opened(sender);
            outbox.resend_all();
            messages.recv().await.unwrap()
        };
        let message = tokio::select! {
            () = deliver(&outbox, &link, &poll) => unreachable!("it delivers for ever"),
            message = opened => message,
        };
        assert_eq!(Frame::decode(&message.into_data()).unwrap().id, reply.id);
    }

    /// Whether the reply is still due, so was never sent.
    fn is_untried(outbox: &Outbox) -> bool {
        outbox.tries() == [0]
    }
}
