//! Websocket frames as bytes (RFC 6455): taken out of a stream, and written again.

use tokio::io::{AsyncRead, AsyncReadExt};

pub(crate) const TEXT: u8 = 1;
pub(crate) const BINARY: u8 = 2;
pub(crate) const CLOSE: u8 = 8;
pub(crate) const PING: u8 = 9;

/// One frame as it came.
#[derive(Debug, Clone)]
pub(crate) struct Frame {
    pub opcode: u8,
    /// As it is on the wire, masked where the sender masks.
    pub payload: Vec<u8>,
    /// The whole frame.
    pub bytes: Vec<u8>,
}

impl Frame {
    /// Reads one; None at the end of the stream.
    pub(crate) async fn read(stream: &mut (impl AsyncRead + Unpin), buffer: &mut Vec<u8>) -> Option<Frame> {
        loop {
            if let Some(frame) = Frame::first_of(buffer) {
                buffer.drain(..frame.bytes.len());
                return Some(frame);
            }
            if stream.read_buf(buffer).await.ok()? == 0 {
                return None;
            }
        }
    }

    fn first_of(buffer: &[u8]) -> Option<Frame> {
        let (first, second) = (*buffer.first()?, *buffer.get(1)?);
        let (length, mut at) = match second & 0x7f {
            126 => (usize::from(u16::from_be_bytes(buffer.get(2..4)?.try_into().ok()?)), 4),
            127 => (usize::try_from(u64::from_be_bytes(buffer.get(2..10)?.try_into().ok()?)).ok()?, 10),
            short => (usize::from(short), 2),
        };
        if second & 0x80 != 0 {
            at += 4;
        }
        let bytes = buffer.get(..at + length)?.to_vec();
        Some(Frame { opcode: first & 0x0f, payload: bytes[at..].to_vec(), bytes })
    }
}

/// A frame of the service's side, which masks nothing. `first` has the opcode and the bit of the last fragment.
pub(crate) fn unmasked(first: u8, payload: &[u8]) -> Vec<u8> {
    let mut bytes = vec![first];
    match (u8::try_from(payload.len()), u16::try_from(payload.len())) {
        (Ok(length), _) if length < 126 => bytes.push(length),
        (_, Ok(length)) => {
            bytes.push(126);
            bytes.extend(length.to_be_bytes());
        }
        _ => {
            bytes.push(127);
            bytes.extend((payload.len() as u64).to_be_bytes());
        }
    }
    bytes.extend(payload);
    bytes
}

/// A whole message in one frame.
pub(crate) fn message(opcode: u8, payload: &[u8]) -> Vec<u8> {
    unmasked(0x80 | opcode, payload)
}
