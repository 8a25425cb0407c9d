//! Fuzzes the codec of the control channel's binary frame.
//!
//! Random bytes hardly ever carry a right SHA-256, so every input is used three times: as it is, with its
//! lengths and digest put right (which reaches the code behind those checks), and as the material of a frame
//! of our own, which must survive the way there and back, must not survive being cut, and must be seen when altered.
#![no_main]

use aws_lc_rs::digest;
use libfuzzer_sys::fuzz_target;
use ssm_wire::frame::{Frame, HEADER_BYTES, HEADER_LENGTH, digest_matches};
use uuid::Uuid;

fuzz_target!(|bytes: &[u8]| {
    survives(bytes);
    survives(&put_right(bytes));
    if let Some(frame) = made_of(bytes) {
        there_and_back(&frame, bytes);
    }
});

/// Decoding never panics, and what it accepts is a frame that can be written and read again unchanged.
fn survives(bytes: &[u8]) {
    if let Ok(frame) = Frame::decode(bytes) {
        let again = frame.encode().expect("a frame that was read can be written");
        assert_eq!(Frame::decode(&again), Ok(frame), "reading what was written gives the same frame");
    }
}

/// The same bytes with a header length, payload length and digest that agree with what follows them.
fn put_right(bytes: &[u8]) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    if bytes.len() <= HEADER_BYTES {
        return bytes;
    }
    let payload = bytes.split_off(HEADER_BYTES);
    let length = u32::try_from(payload.len()).expect("inputs are smaller than 4 GiB");
    bytes[0..4].copy_from_slice(&HEADER_LENGTH.to_be_bytes());
    bytes[80..112].copy_from_slice(digest::digest(&digest::SHA256, &payload).as_ref());
    bytes[116..120].copy_from_slice(&length.to_be_bytes());
    bytes.extend_from_slice(&payload);
    bytes
}

/// A frame whose every field comes from the input, if the input is long enough.
fn made_of(bytes: &[u8]) -> Option<Frame> {
    let (header, payload) = bytes.split_at_checked(61)?;
    if payload.is_empty() {
        return None;
    }
    let number = |at: usize| u64::from_be_bytes(header[at..at + 8].try_into().expect("eight bytes"));
    // Printable ASCII without the space, which is the padding.
    let message_type: String = header[40..40 + 1 + usize::from(header[60]) % 20]
        .iter()
        .map(|byte| char::from(b'!' + byte % 94))
        .collect();
    Some(Frame {
        message_type,
        created_ms: number(0).max(1),
        sequence: number(8).cast_signed(),
        flags: number(16),
        id: Uuid::from_slice(&header[24..40]).expect("sixteen bytes"),
        payload_type: u32::from_be_bytes(header[56..60].try_into().expect("four bytes")),
        payload: payload.to_vec(),
    })
}

/// Written and read again it is the same; cut anywhere it is refused; with a byte of its payload altered it is
/// seen to be altered.
fn there_and_back(frame: &Frame, bytes: &[u8]) {
    let written = frame.encode().expect("a valid frame can be written");
    assert_eq!(Frame::decode(&written).as_ref(), Ok(frame));
    let place = bytes.iter().fold(0usize, |sum, byte| sum.wrapping_mul(31).wrapping_add(usize::from(*byte)));
    assert!(Frame::decode(&written[..place % written.len()]).is_err(), "a frame cut short is refused");
    let mut altered = written;
    let at = HEADER_BYTES + place % (altered.len() - HEADER_BYTES);
    altered[at] ^= 1 << (place % 8);
    let read = Frame::decode(&altered).expect("its lengths are right");
    assert!(!digest_matches(&altered, &read), "an altered payload is seen");
}
