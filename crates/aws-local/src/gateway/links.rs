//! Which instance has its control channel open, and the tokens for those about to open one.

use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

use tokio::sync::mpsc;
use uuid::Uuid;

use crate::random;

/// A token must be shown within this time.
const TOKEN_LIFE: Duration = Duration::from_secs(60);

/// The open control channels, and the tokens for those about to open.
#[derive(Debug, Default)]
pub(crate) struct Links {
    open: Mutex<BTreeMap<String, Link>>,
    tokens: Mutex<BTreeMap<String, (String, SystemTime)>>,
}

#[derive(Debug)]
struct Link {
    serial: Uuid,
    orders: mpsc::UnboundedSender<Order>,
}

/// What the rest of the server may ask of a control channel.
#[derive(Debug)]
pub(crate) enum Order {
    /// Cut it, without a goodbye.
    Drop,
    /// Send these bytes as a binary message, whatever they are.
    Binary(Vec<u8>),
    /// Send this as a text message.
    Text(String),
}

impl Links {
    /// Whether an instance has its control channel open.
    pub(crate) fn open(&self, instance: &str) -> bool {
        self.open.lock().contains_key(instance)
    }

    pub(crate) fn count(&self) -> usize {
        self.open.lock().len()
    }

    /// Cuts every channel; how many there were.
    pub(crate) fn drop_all(&self) -> usize {
        let open = std::mem::take(&mut *self.open.lock());
        open.values().filter(|link| link.orders.send(Order::Drop).is_ok()).count()
    }

    /// Hands an order to the channel of an instance; false if it has none.
    pub(crate) fn order(&self, instance: &str, order: Order) -> bool {
        self.open.lock().get(instance).is_some_and(|link| link.orders.send(order).is_ok())
    }

    /// Enters a channel. One that was open before sees its orders end, and closes.
    pub(super) fn enter(&self, instance: &str) -> (Uuid, mpsc::UnboundedReceiver<Order>) {
        let (orders, receiver) = mpsc::unbounded_channel();
        let serial = Uuid::new_v4();
        self.open.lock().insert(instance.to_owned(), Link { serial, orders });
        (serial, receiver)
    }

    /// Strikes a channel off, unless another one has taken its place.
    pub(super) fn leave(&self, instance: &str, serial: Uuid) {
        let mut open = self.open.lock();
        if open.get(instance).is_some_and(|link| link.serial == serial) {
            open.remove(instance);
        }
    }

    pub(super) fn issue_token(&self, instance: &str, now: SystemTime) -> String {
        let token = random::token();
        let mut tokens = self.tokens.lock();
        tokens.retain(|_, (_, end)| *end > now);
        tokens.insert(token.clone(), (instance.to_owned(), now + TOKEN_LIFE));
        token
    }

    /// Whether the token is this instance's; it is good once.
    pub(super) fn redeem(&self, instance: &str, token: &str, now: SystemTime) -> bool {
        let mut tokens = self.tokens.lock();
        let good = tokens.get(token).is_some_and(|(whose, end)| whose == instance && *end > now);
        if good {
            tokens.remove(token);
        }
        good
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_good_once_for_one_instance_and_a_minute() {
        let links = Links::default();
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_795_400_000);
        let token = links.issue_token("mi-1", now);
        assert!(!links.redeem("mi-2", &token, now));
        assert!(links.redeem("mi-1", &token, now));
        assert!(!links.redeem("mi-1", &token, now));
        let late = links.issue_token("mi-1", now);
        assert!(!links.redeem("mi-1", &late, now + TOKEN_LIFE));
    }

    #[test]
    fn a_channel_that_was_replaced_does_not_strike_off_its_successor() {
        let links = Links::default();
        let (old, mut orders) = links.enter("mi-1");
        let (new, _kept) = links.enter("mi-1");
        assert!(matches!(orders.try_recv(), Err(mpsc::error::TryRecvError::Disconnected)));
        links.leave("mi-1", old);
        assert!(links.open("mi-1"));
        links.leave("mi-1", new);
        assert!(!links.open("mi-1"));
    }
}
