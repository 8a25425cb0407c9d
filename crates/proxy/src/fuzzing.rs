//! What the fuzzer calls: each parser of what clients and servers send. Compiled for the fuzzer alone
//! (`--cfg fuzzing`).

use crate::body::{Body, Length};
use crate::client_hello;
use crate::head::{self, Kind, Read};

/// The parsers, by number.
pub const HTTP: &[fn(&[u8])] = &[request, answer, chunks, hello];

fn request(bytes: &[u8]) {
    if let Read::Head(request, length) = head::request(bytes) {
        assert!(length <= bytes.len());
        let _ = (request.host(), request.path(), request.length(), request.closes(), request.may_upgrade());
    }
}

fn answer(bytes: &[u8]) {
    if let Read::Head(answer, length) = head::answer(bytes) {
        assert!(length <= bytes.len());
        let _ = [Kind::Head, Kind::Connect, Kind::Other].map(|kind| answer.after(kind));
    }
}

/// In one piece and byte by byte a body has the same end, or none.
fn chunks(bytes: &[u8]) {
    let Ok(whole) = Body::new(Length::Chunked) else { return };
    let (mut at_once, mut one_by_one) = (whole, whole);
    let end = at_once.take(bytes);
    let mut taken = Ok(0);
    for byte in bytes {
        if one_by_one.is_done() {
            break;
        }
        taken = one_by_one.take(&[*byte]).and_then(|count| taken.map(|all| all + count));
        if taken.is_err() {
            break;
        }
    }
    assert_eq!(end, taken);
}

fn hello(bytes: &[u8]) {
    let _ = client_hello::read(bytes);
}
