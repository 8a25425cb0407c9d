//! The live page of a server, and the line that leads to it.

use std::path::PathBuf;
use std::sync::Arc;

use aws_local::Server;
use live::{Live, Token};

/// Shows the live page on a server. `logs` has a folder for each task with the logs of its containers. Returns the line
/// that leads to the page, with the token by which it changes something.
///
/// # Errors
/// The system's random source does not work.
pub fn show(server: &mut Server, logs: Option<PathBuf>) -> Result<String, &'static str> {
    let token = Token::new()?;
    let line = format!("live page: http://{}/#token={}", server.address(), token.text());
    server.show(Arc::new(Live::new(server.handle(), token, logs)));
    Ok(line)
}
