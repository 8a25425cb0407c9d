//! The live page: what runs at the local AWS, watched in a browser, with experiments to start and to stop.
//!
//! Pages and fragments are rendered here; a browser that looks is told of fragments that have changed, once a second
//! at most, and nothing is rendered while nobody looks. The charts are the report's. Everybody who reaches the port
//! may look; only who has the [`Token`] changes something. It knows the local AWS by its [`Handle`](aws_local::Handle)
//! and nothing of how tasks are run.

#![forbid(unsafe_code)]

mod fragments;
mod logs;
mod metrics;
mod moments;
mod request;
mod shell;
mod steer;
mod stream;
mod token;
mod view;

use std::path::PathBuf;
use std::sync::Arc;

use aws_local::Handle;
use parking_lot::Mutex;

pub use token::Token;

/// The page of one server.
#[derive(Debug, Clone)]
pub struct Live(Arc<Inner>);

/// What all requests share.
#[derive(Debug)]
struct Inner {
    handle: Handle,
    token: Token,
    /// With a folder for each task and a file for each of its containers.
    logs: Option<PathBuf>,
    drawn: Mutex<stream::Drawn>,
}

impl Live {
    /// A page that shows what `handle` leads to. `logs` has a folder for each task, named by its id, with a file
    /// `CONTAINER.log` for each container.
    pub fn new(handle: Handle, token: Token, logs: Option<PathBuf>) -> Live {
        Live(Arc::new(Inner { handle, token, logs, drawn: Mutex::default() }))
    }
}
