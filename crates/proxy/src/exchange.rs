//! What the two directions of a connection know of each other.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;

use tokio::sync::Notify;

use crate::head::Kind;

/// So many requests may wait for their answers; more are not read before.
const MOST_OUTSTANDING: usize = 64;

/// What becomes of the body of an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum OnAnswer {
    Pass,
    Cut,
    /// Bytes per second.
    Slow(u64),
}

/// A request whose answer has not ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Outstanding {
    pub(crate) kind: Kind,
    pub(crate) on_answer: OnAnswer,
}

/// How a connection is carried.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mode {
    /// Requests and answers are followed.
    Followed,
    /// Whatever comes passes.
    Tunnel,
    /// Nothing more comes from the server; the client may still send.
    Answered,
    /// We have ended it, after an answer of ours.
    Ended,
}

/// Shared by both directions, which run on one thread.
#[derive(Debug)]
pub(crate) struct Exchange {
    mode: Cell<Mode>,
    outstanding: RefCell<VecDeque<Outstanding>>,
    /// Whether the client must not hear of the server: it waits for an answer of ours, or for none.
    silent: Cell<bool>,
    changed: Notify,
}

impl Exchange {
    pub(crate) fn new() -> Exchange {
        Exchange {
            mode: Cell::new(Mode::Followed),
            outstanding: RefCell::default(),
            silent: Cell::new(false),
            changed: Notify::new(),
        }
    }

    pub(crate) fn mode(&self) -> Mode {
        self.mode.get()
    }

    pub(crate) fn set_mode(&self, mode: Mode) {
        self.mode.set(mode);
        self.changed.notify_waiters();
    }

    pub(crate) fn is_silent(&self) -> bool {
        self.silent.get()
    }

    pub(crate) fn set_silent(&self, silent: bool) {
        self.silent.set(silent);
    }

    /// A request goes to the server.
    pub(crate) fn push(&self, outstanding: Outstanding) {
        self.outstanding.borrow_mut().push_back(outstanding);
    }

    /// The request that the server answers next.
    pub(crate) fn first(&self) -> Option<Outstanding> {
        self.outstanding.borrow().front().copied()
    }

    /// Its answer has ended.
    pub(crate) fn pop(&self) {
        self.outstanding.borrow_mut().pop_front();
        self.changed.notify_waiters();
    }

    /// Waits until every request has its answer, or the connection is not followed any more.
    pub(crate) async fn idle(&self) {
        self.until(|| self.outstanding.borrow().is_empty() || self.mode() != Mode::Followed).await;
    }

    /// Waits until another request may go to the server.
    pub(crate) async fn room(&self) {
        self.until(|| self.outstanding.borrow().len() < MOST_OUTSTANDING || self.mode() != Mode::Followed)
            .await;
    }

    /// Waits until the connection is carried in another way than so.
    pub(crate) async fn left(&self, mode: Mode) {
        self.until(|| self.mode() != mode).await;
    }

    /// Waits until the connection is carried so.
    pub(crate) async fn reached(&self, mode: Mode) {
        self.until(|| self.mode() == mode).await;
    }

    async fn until(&self, holds: impl Fn() -> bool) {
        loop {
            // Before the question: what changes in between is not missed.
            let changed = self.changed.notified();
            tokio::pin!(changed);
            changed.as_mut().enable();
            if holds() {
                return;
            }
            changed.await;
        }
    }
}
