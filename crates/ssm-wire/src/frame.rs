//! The binary frame of the control channel ("AgentMessage"): a fixed 120-byte header and a JSON payload.
//!
//! Pure: no I/O. Layout as observed on a socket (big-endian integers):
//!
//! | offset | length | field |
//! |---|---|---|
//! | 0 | 4 | header length, always 116: the offset of the payload length |
//! | 4 | 32 | message type, ASCII, padded right with spaces (readers trim NUL and space) |
//! | 36 | 4 | schema version, 1 |
//! | 40 | 8 | created, Unix epoch milliseconds |
//! | 48 | 8 | sequence number |
//! | 56 | 8 | flags |
//! | 64 | 16 | message id: bytes 8–15 of the RFC 4122 form, then bytes 0–7 |
//! | 80 | 32 | SHA-256 of the payload |
//! | 112 | 4 | payload type |
//! | 116 | 4 | payload length |
//! | 120 | … | payload |
//!
//! Source: amazon-ssm-agent `agent/session/contracts/agentmessage.go`.

use aws_lc_rs::digest;
use uuid::Uuid;

/// What the header-length field says: the header without the payload-length field itself.
pub const HEADER_LENGTH: u32 = 116;
/// Bytes before the payload of a frame that we write.
pub const HEADER_BYTES: usize = 120;
/// The largest frame we accept, in bytes. The service's documents are far smaller; a larger frame is refused whole.
pub const MAX_FRAME_BYTES: usize = 4 * 1024 * 1024;

const TYPE: std::ops::Range<usize> = 4..36;
const ID: std::ops::Range<usize> = 64..80;
const DIGEST: std::ops::Range<usize> = 80..112;

/// One message of the control channel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frame {
    /// `agent_job`, `agent_job_ack`, … Up to 32 ASCII bytes, not empty.
    pub message_type: String,
    /// Unix epoch milliseconds; never 0.
    pub created_ms: u64,
    /// Position in a stream of frames. Agents and service send 0 for jobs and replies.
    pub sequence: i64,
    /// Bits of a stream's first and last frame. 0 for jobs and replies.
    pub flags: u64,
    /// Names the message: an acknowledgement repeats it.
    pub id: Uuid,
    /// What a stream's payload is. 0 for jobs and replies.
    pub payload_type: u32,
    /// JSON text; never empty.
    pub payload: Vec<u8>,
}

/// Why bytes are not a frame, or a frame cannot be written.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// It ends before a field that it must have.
    #[error("frame cut short: {have} bytes, needed at least {need}")]
    Cut {
        /// Bytes that are there.
        have: usize,
        /// Bytes up to the end of the field.
        need: usize,
    },
    /// Its length in bytes is over [`MAX_FRAME_BYTES`].
    #[error("frame of {0} bytes is over the limit of {MAX_FRAME_BYTES}")]
    TooLarge(usize),
    /// The length of its header, in bytes, is below [`HEADER_LENGTH`]: the fields would overlap.
    #[error("frame says its header is {0} bytes, expected {HEADER_LENGTH} or more")]
    HeaderLength(u32),
    /// The message type is empty, or only padding.
    #[error("frame has no message type")]
    NoType,
    /// The message type, which is the value, cannot be written: it is too long or not ASCII.
    #[error("message type {0:?} does not fit in 32 ASCII bytes")]
    TypeTooLong(String),
    /// The message type that was read has other bytes than ASCII.
    #[error("message type is not ASCII")]
    TypeNotAscii,
    /// The creation time is 0.
    #[error("frame has no creation date")]
    NoDate,
    /// It carries more or less than its header says.
    #[error("frame says its payload is {said} bytes but carries {have}")]
    PayloadLength {
        /// Bytes that the header announces.
        said: u32,
        /// Bytes that follow it.
        have: usize,
    },
    /// The payload has no bytes.
    #[error("frame has no payload")]
    Empty,
}

impl Frame {
    /// A frame as an agent or a service sends it now: schema 1, sequence, flags and payload type 0.
    pub fn new(message_type: &str, id: Uuid, created_ms: u64, payload: Vec<u8>) -> Frame {
        Frame {
            message_type: message_type.to_owned(),
            created_ms,
            sequence: 0,
            flags: 0,
            id,
            payload_type: 0,
            payload,
        }
    }

    /// The bytes of one frame.
    ///
    /// # Errors
    /// An empty or over-long message type, a zero date, an empty payload, or one over [`MAX_FRAME_BYTES`].
    pub fn encode(&self) -> Result<Vec<u8>, FrameError> {
        if self.message_type.is_empty() {
            return Err(FrameError::NoType);
        }
        if self.message_type.len() > TYPE.len() || !self.message_type.is_ascii() {
            return Err(FrameError::TypeTooLong(self.message_type.clone()));
        }
        if self.created_ms == 0 {
            return Err(FrameError::NoDate);
        }
        if self.payload.is_empty() {
            return Err(FrameError::Empty);
        }
        let total = HEADER_BYTES + self.payload.len();
        let Some(length) = u32::try_from(self.payload.len()).ok().filter(|_| total <= MAX_FRAME_BYTES) else {
            return Err(FrameError::TooLarge(total));
        };
        let mut out = Vec::with_capacity(total);
        out.extend_from_slice(&HEADER_LENGTH.to_be_bytes());
        out.extend_from_slice(self.message_type.as_bytes());
        out.resize(TYPE.end, b' ');
        out.extend_from_slice(&1u32.to_be_bytes());
        out.extend_from_slice(&self.created_ms.to_be_bytes());
        out.extend_from_slice(&self.sequence.to_be_bytes());
        out.extend_from_slice(&self.flags.to_be_bytes());
        let (first, last) = self.id.as_bytes().split_at(8);
        out.extend_from_slice(last);
        out.extend_from_slice(first);
        out.extend_from_slice(digest::digest(&digest::SHA256, &self.payload).as_ref());
        out.extend_from_slice(&self.payload_type.to_be_bytes());
        out.extend_from_slice(&length.to_be_bytes());
        out.extend_from_slice(&self.payload);
        Ok(out)
    }

    /// Reads one frame. Stricter than the stock agent, which ignores the payload length: a frame that lies
    /// about its length is an error here, never a guess. Only [`digest_matches`] checks the digest:
    /// a service that computes it differently must not cut an agent off.
    ///
    /// # Errors
    /// Anything that is not exactly one frame; see [`FrameError`].
    pub fn decode(bytes: &[u8]) -> Result<Frame, FrameError> {
        if bytes.len() > MAX_FRAME_BYTES {
            return Err(FrameError::TooLarge(bytes.len()));
        }
        let header = u32::from_be_bytes(field(bytes, 0)?);
        if header < HEADER_LENGTH {
            return Err(FrameError::HeaderLength(header));
        }
        // The payload starts after the payload-length field, wherever a longer header puts it.
        let length_at = header as usize;
        let payload_at = length_at.saturating_add(4);
        if bytes.len() < payload_at {
            return Err(FrameError::Cut { have: bytes.len(), need: payload_at });
        }
        let message_type = std::str::from_utf8(&bytes[TYPE])
            .ok()
            .filter(|text| text.is_ascii())
            .ok_or(FrameError::TypeNotAscii)?
            .trim_matches([' ', '\0'])
            .to_owned();
        if message_type.is_empty() {
            return Err(FrameError::NoType);
        }
        let created_ms = u64::from_be_bytes(field(bytes, 40)?);
        if created_ms == 0 {
            return Err(FrameError::NoDate);
        }
        let mut id = [0; 16];
        id[8..].copy_from_slice(&bytes[ID][..8]);
        id[..8].copy_from_slice(&bytes[ID][8..]);
        let payload = &bytes[payload_at..];
        let said = u32::from_be_bytes(field(bytes, length_at)?);
        if said as usize != payload.len() {
            return Err(FrameError::PayloadLength { said, have: payload.len() });
        }
        if payload.is_empty() {
            return Err(FrameError::Empty);
        }
        Ok(Frame {
            message_type,
            created_ms,
            sequence: i64::from_be_bytes(field(bytes, 48)?),
            flags: u64::from_be_bytes(field(bytes, 56)?),
            id: Uuid::from_bytes(id),
            payload_type: u32::from_be_bytes(field(bytes, 112)?),
            payload: payload.to_vec(),
        })
    }
}

/// Whether a frame that [`Frame::decode`] has read carries the SHA-256 of its payload.
pub fn digest_matches(bytes: &[u8], frame: &Frame) -> bool {
    bytes.get(DIGEST) == Some(digest::digest(&digest::SHA256, &frame.payload).as_ref())
}

/// The `N` bytes at `offset`, or an error that says how many were missing.
fn field<const N: usize>(bytes: &[u8], offset: usize) -> Result<[u8; N], FrameError> {
    let cut = FrameError::Cut { have: bytes.len(), need: offset + N };
    bytes.get(offset..offset + N).and_then(|slice| slice.try_into().ok()).ok_or(cut)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Golden bytes; each file says where they come from.
    fn golden(text: &str) -> Vec<u8> {
        let hex: String = text.lines().filter(|line| !line.starts_with('#')).collect();
        (0..hex.len()).step_by(2).map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap()).collect()
    }

    #[test]
    fn an_acknowledgement_is_the_golden_bytes() {
        let bytes = golden(include_str!("../../../tests/data/agent_job_ack.hex"));
        let frame = Frame::decode(&bytes).unwrap();
        assert_eq!(frame.message_type, "agent_job_ack");
        assert_eq!(frame.created_ms, 1_795_402_792_042);
        assert_eq!(frame.id.to_string(), "00112233-4455-6677-8899-aabbccddeeff");
        assert!(frame.payload.ends_with(br#""statusCode":"200","errorMessage":"Successful"}"#));
        assert_eq!(frame.encode().unwrap(), bytes);
    }

    #[test]
    fn a_cancel_job_is_the_golden_bytes() {
        let bytes = golden(include_str!("../../../tests/data/agent_job_cancel.hex"));
        let frame = Frame::decode(&bytes).unwrap();
        assert_eq!(frame.message_type, "agent_job");
        assert_eq!(frame.encode().unwrap(), bytes);
    }

    /// The one example of the halves' order that the agent's source gives.
    #[test]
    fn the_halves_of_the_id_change_places() {
        let id = "00112233-4455-6677-8899-aabbccddeeff".parse().unwrap();
        let bytes = Frame::new("x", id, 1, b"{}".to_vec()).encode().unwrap();
        let wire =
            [0x88, 0x99, 0xaa, 0xbb, 0xcc, 0xdd, 0xee, 0xff, 0, 0x11, 0x22, 0x33, 0x44, 0x55, 0x66, 0x77];
        assert_eq!(bytes[ID], wire);
    }

    fn some_frame() -> Vec<u8> {
        Frame::new("agent_job", Uuid::from_u128(7), 42, b"{\"a\":1}".to_vec()).encode().unwrap()
    }

    #[test]
    fn a_frame_cut_anywhere_is_refused() {
        let bytes = some_frame();
        for end in 0..bytes.len() {
            assert!(Frame::decode(&bytes[..end]).is_err(), "cut at {end}");
        }
    }

    #[test]
    fn a_frame_that_lies_is_refused() {
        let lie = |at: usize, value: u32| {
            let mut bytes = some_frame();
            bytes[at..at + 4].copy_from_slice(&value.to_be_bytes());
            Frame::decode(&bytes).unwrap_err()
        };
        for said in [0, 6, 8, u32::MAX] {
            assert_eq!(lie(116, said), FrameError::PayloadLength { said, have: 7 });
        }
        for header in [0, 1, 115] {
            assert_eq!(lie(0, header), FrameError::HeaderLength(header));
        }
        assert!(matches!(lie(0, u32::MAX), FrameError::Cut { .. }));
        assert!(matches!(lie(0, 120), FrameError::PayloadLength { .. }));

        let mut bytes = some_frame();
        bytes[40..48].fill(0);
        assert_eq!(Frame::decode(&bytes).unwrap_err(), FrameError::NoDate);
        let mut bytes = some_frame();
        bytes[TYPE].fill(b' ');
        assert_eq!(Frame::decode(&bytes).unwrap_err(), FrameError::NoType);
        bytes[TYPE].fill(0xff);
        assert_eq!(Frame::decode(&bytes).unwrap_err(), FrameError::TypeNotAscii);
    }

    #[test]
    fn a_wrong_digest_is_seen_and_the_frame_is_read_all_the_same() {
        let mut bytes = some_frame();
        assert!(digest_matches(&bytes, &Frame::decode(&bytes).unwrap()));
        bytes[90] ^= 1;
        assert!(!digest_matches(&bytes, &Frame::decode(&bytes).unwrap()));
    }

    #[test]
    fn what_cannot_be_read_back_is_not_written() {
        let frame = Frame::new("agent_job", Uuid::from_u128(7), 42, b"{}".to_vec());
        let with = |change: &dyn Fn(&mut Frame)| {
            let mut frame = frame.clone();
            change(&mut frame);
            frame.encode().unwrap_err()
        };
        assert_eq!(with(&|frame| frame.payload.clear()), FrameError::Empty);
        assert_eq!(with(&|frame| frame.created_ms = 0), FrameError::NoDate);
        assert_eq!(with(&|frame| frame.message_type.clear()), FrameError::NoType);
        assert!(matches!(with(&|frame| frame.message_type = "t".repeat(33)), FrameError::TypeTooLong(_)));
        assert!(matches!(with(&|frame| frame.message_type = "ü".into()), FrameError::TypeTooLong(_)));
        assert!(matches!(with(&|frame| frame.payload = vec![0; MAX_FRAME_BYTES]), FrameError::TooLarge(_)));
    }

    proptest! {
        #[test]
        fn every_frame_survives_the_wire(
            message_type in "[a-z_]{1,32}", created_ms in 1u64.., sequence: i64, flags: u64,
            id: u128, payload_type: u32, payload in proptest::collection::vec(any::<u8>(), 1..2000),
        ) {
            let id = Uuid::from_u128(id);
            let frame = Frame { message_type, created_ms, sequence, flags, id, payload_type, payload };
            prop_assert_eq!(Frame::decode(&frame.encode().unwrap()).unwrap(), frame);
        }

        #[test]
        fn any_bytes_are_read_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
            if let Ok(frame) = Frame::decode(&bytes) {
                prop_assert!(!frame.payload.is_empty());
            }
        }
    }
}
