//! Fuzzes what reads the bytes of clients and servers that a fault carries: heads of HTTP, chunks, ClientHello.
//!
//! The first byte of an input chooses the parser, from `0`; the rest is what it reads.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let Some((which, bytes)) = bytes.split_first() else { return };
    let parsers = proxy::fuzzing::HTTP;
    parsers[usize::from(which.wrapping_sub(b'0')) % parsers.len()](bytes);
});
