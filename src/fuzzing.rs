//! What the fuzzer calls: each parser of bytes that come from outside. Compiled for the fuzzer alone (`--cfg fuzzing`).

/// Parsers of what the services say, by number.
pub const WIRE: &[fn(&[u8])] = &[
    crate::channel::mgs::fuzz,
    crate::channel::mds::fuzz,
    crate::aws::json::fuzz,
    crate::aws::credentials::fuzz,
    crate::identity::token::fuzz,
    crate::identity::registration::fuzz,
    crate::identity::store::fuzz,
    crate::channel::journal::fuzz,
    crate::cli::status::fuzz,
];

/// Parsers of documents, by number.
pub const DOCUMENT: &[fn(&[u8])] = &[crate::document::fuzz, crate::document::pattern::fuzz];
