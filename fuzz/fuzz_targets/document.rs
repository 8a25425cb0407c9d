//! Fuzzes the parsers of documents with their parameters, and the patterns in them.
//!
//! The first byte of an input chooses the parser, from `0`; the rest is what it reads.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let Some((which, bytes)) = bytes.split_first() else { return };
    let parsers = taskfault::fuzzing::DOCUMENT;
    parsers[usize::from(which.wrapping_sub(b'0')) % parsers.len()](bytes);
});
