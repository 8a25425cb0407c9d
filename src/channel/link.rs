//! Which channels are up, shared by everything that uses them.

use std::cell::RefCell;
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio::time::Instant;
use tokio_tungstenite::tungstenite::Message;

use ssm_wire::frame::Frame;

/// The long poll goes on for this long after the control channel opened, because a job may still be on its
/// way there. Source: amazon-ssm-agent `messageservice.go` (1 minute).
pub const POLL_OVERLAP: Duration = Duration::from_secs(60);

/// Whether the long poll is to run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Polling {
    /// The control channel serves.
    Off,
    /// The control channel is denied or unreachable.
    On,
    /// The control channel opened; until then both serve.
    Until(Instant),
}

/// The state of both channels.
#[derive(Debug)]
pub struct Link {
    gateway: RefCell<Option<mpsc::UnboundedSender<Message>>>,
    polling: watch::Sender<Polling>,
    channel: watch::Sender<&'static str>,
}

impl Default for Link {
    fn default() -> Link {
        Link {
            gateway: RefCell::new(None),
            polling: watch::Sender::new(Polling::Off),
            channel: watch::Sender::new(""),
        }
    }
}

impl Link {
    /// The control channel is open; messages for it go to `sender`.
    pub fn gateway_opened(&self, sender: mpsc::UnboundedSender<Message>) {
        *self.gateway.borrow_mut() = Some(sender);
        self.channel.send_if_modified(|now| std::mem::replace(now, "ssmmessages") != "ssmmessages");
        if *self.polling.borrow() != Polling::Off {
            self.polling.send_replace(Polling::Until(Instant::now() + POLL_OVERLAP));
        }
    }

    /// The control channel was open and is not any more; it may be back at once.
    pub fn gateway_closed(&self) {
        *self.gateway.borrow_mut() = None;
    }

    /// The control channel could not be opened: the long poll takes over.
    pub fn gateway_failed(&self) {
        self.gateway_closed();
        self.polling.send_if_modified(|now| std::mem::replace(now, Polling::On) != Polling::On);
        self.channel.send_if_modified(|now| std::mem::replace(now, "ec2messages") != "ec2messages");
    }

    /// Puts a message on the control channel's way out; false where there is none.
    pub fn send(&self, message: Message) -> bool {
        self.gateway.borrow().as_ref().is_some_and(|sender| sender.send(message).is_ok())
    }

    /// Puts a frame on the control channel's way out, if it is open; false where there is none.
    pub fn send_frame(&self, frame: &Frame) -> bool {
        match frame.encode() {
            Ok(bytes) => self.send(Message::binary(bytes)),
            Err(error) => {
                tracing::error!(%error, message_type = frame.message_type, "cannot encode a frame");
                false
            }
        }
    }

    /// Whether messages can be sent over the control channel now.
    pub fn gateway_is_open(&self) -> bool {
        self.gateway.borrow().is_some()
    }

    /// The overlap is over; a control channel that failed meanwhile keeps the poll on.
    pub fn polling_ended(&self) {
        self.polling.send_if_modified(|now| match now {
            Polling::Until(_) => {
                *now = Polling::Off;
                true
            }
            Polling::Off | Polling::On => false,
        });
    }

    /// Whether the long poll is to run, now and at each change.
    pub fn polling(&self) -> watch::Receiver<Polling> {
        self.polling.subscribe()
    }

    /// The long poll is in use now.
    pub fn is_polling(&self) -> bool {
        *self.polling.borrow() != Polling::Off
    }

    /// `ssmmessages`, `ec2messages`, or empty while neither is known to work: what the heartbeat reports.
    pub fn channel(&self) -> watch::Receiver<&'static str> {
        self.channel.subscribe()
    }
}
