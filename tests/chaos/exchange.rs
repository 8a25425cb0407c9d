//! HTTP messages as bytes: read whole, so that they can be garbled.

use tokio::io::{AsyncRead, AsyncReadExt};

/// What two sides say has to fit here; more is a mistake of the test.
const MOST_BYTES: usize = 64 * 1024 * 1024;

/// One message: its head with the empty line at its end, and its body.
#[derive(Debug, Clone)]
pub(crate) struct Message {
    pub head: String,
    pub body: Vec<u8>,
}

impl Message {
    /// Reads one from `stream`, which may have left bytes in `buffer`; None at the end of the stream.
    pub(crate) async fn read(stream: &mut (impl AsyncRead + Unpin), buffer: &mut Vec<u8>) -> Option<Message> {
        let end = loop {
            if let Some(at) = buffer.windows(4).position(|window| window == b"\r\n\r\n") {
                break at + 4;
            }
            more(stream, buffer).await?;
        };
        let head = String::from_utf8_lossy(&buffer[..end]).into_owned();
        let length = header(&head, "content-length").and_then(|value| value.parse().ok()).unwrap_or(0usize);
        while buffer.len() < end + length {
            more(stream, buffer).await?;
        }
        let body = buffer[end..end + length].to_vec();
        buffer.drain(..end + length);
        Some(Message { head, body })
    }

    /// What is asked for: the operation, or the last part of the path.
    pub(crate) fn operation(&self) -> String {
        let path = self.head.split(' ').nth(1).unwrap_or_default();
        if path.contains("role=subscribe") {
            return "OpenControlChannel".to_owned();
        }
        if path.contains("control-channel") {
            return "CreateControlChannel".to_owned();
        }
        let name = header(&self.head, "x-amz-target").unwrap_or_else(|| path.replace('/', "."));
        name.rsplit('.').next().unwrap_or_default().to_owned()
    }

    /// The status of an answer.
    pub(crate) fn status(&self) -> u16 {
        self.head.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or_default()
    }

    /// As it goes over the wire.
    pub(crate) fn bytes(&self) -> Vec<u8> {
        [self.head.as_bytes(), &self.body].concat()
    }

    /// The same answer with another body.
    pub(crate) fn with_body(&self, body: Vec<u8>) -> Message {
        answer(self.status(), &[], body)
    }
}

/// An answer of a status, with some headers.
pub(crate) fn answer(status: u16, headers: &[(&str, &str)], body: Vec<u8>) -> Message {
    let more: String = headers.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
    let head = format!("HTTP/1.1 {status} Because\r\n{more}content-length: {}\r\n\r\n", body.len());
    Message { head, body }
}

/// The value of a header.
pub(crate) fn header(head: &str, name: &str) -> Option<String> {
    head.lines().find_map(|line| {
        let (found, value) = line.split_once(':')?;
        found.eq_ignore_ascii_case(name).then(|| value.trim().to_owned())
    })
}

async fn more(stream: &mut (impl AsyncRead + Unpin), buffer: &mut Vec<u8>) -> Option<()> {
    assert!(buffer.len() < MOST_BYTES);
    (stream.read_buf(buffer).await.ok()? > 0).then_some(())
}
