//! One end of a connection that is read from, with what has come and was not used yet.

use std::io;

use tokio::io::{AsyncRead, AsyncReadExt};

/// So much is read at once. Two for each connection.
const ROOM: usize = 8 * 1024;

/// A reader and what has come of it. It never holds more than whoever fills it lets come, and [`ROOM`].
#[derive(Debug)]
pub(crate) struct Buffered<R> {
    reader: R,
    bytes: Vec<u8>,
    /// So many of them are used.
    used: usize,
}

impl<R: AsyncRead + Unpin> Buffered<R> {
    pub(crate) fn new(reader: R) -> Buffered<R> {
        Buffered { reader, bytes: Vec::new(), used: 0 }
    }

    /// What is there.
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.bytes[self.used..]
    }

    /// The first so many of them are used.
    pub(crate) fn consume(&mut self, count: usize) {
        self.used += count;
        if self.used >= self.bytes.len() {
            self.bytes.clear();
            self.used = 0;
        }
    }

    /// Waits for more, behind what is there; false at the end. Given up, nothing is lost.
    pub(crate) async fn fill(&mut self) -> io::Result<bool> {
        if self.used > 0 {
            self.bytes.drain(..self.used);
            self.used = 0;
        }
        self.bytes.reserve(ROOM);
        // More than asked for may be reserved, of a head that was long.
        let mut room = (&mut self.reader).take(ROOM as u64);
        Ok(room.read_buf(&mut self.bytes).await? > 0)
    }

    /// Waits until there is something; false at the end.
    pub(crate) async fn wait(&mut self) -> io::Result<bool> {
        if self.bytes().is_empty() { self.fill().await } else { Ok(true) }
    }
}
