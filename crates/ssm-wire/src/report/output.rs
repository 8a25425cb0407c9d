//! How much of a step's output a reply carries, cut to the byte where the stock agent cuts it. Pure.
//!
//! Limits of `iohandler.go` (TruncateOutput) and `pluginutil.go` (StringPrefix). Both cut bytes, not
//! characters: a cut may fall inside a UTF-8 sequence, and what is left of it becomes U+FFFD in the JSON.

use std::borrow::Cow;

/// The most bytes of `output`: both streams together, with what is between them.
pub const COMBINED_BYTES: usize = 2500;
/// The most bytes of `standardOutput` and of `standardError`. A stream of exactly this length is already cut.
pub const STREAM_BYTES: usize = 24_000;

const ERROR_TITLE: &[u8] = b"\n----------ERROR-------\n";
const OUTPUT_CUT: &[u8] = b"\n---Output truncated---";
const ERROR_CUT: &[u8] = b"\n---Error truncated----";
const STREAM_CUT: &[u8] = b"--output truncated--";

/// Both streams in one text of at most [`COMBINED_BYTES`].
pub fn combined(stdout: &[u8], stderr: &[u8]) -> Vec<u8> {
    combined_within(stdout, stderr, COMBINED_BYTES)
}

fn combined_within(stdout: &[u8], stderr: &[u8], capacity: usize) -> Vec<u8> {
    let title = if stderr.is_empty() { &[][..] } else { ERROR_TITLE };
    let space = capacity.saturating_sub(title.len());
    let half = space / 2;
    if stdout.len() + stderr.len() < space {
        return [stdout, title, stderr].concat();
    }
    if stdout.len() > half && stderr.len() > half {
        let each = space.saturating_sub(ERROR_CUT.len() + OUTPUT_CUT.len()) / 2;
        return [head(stdout, each), OUTPUT_CUT, title, head(stderr, each), ERROR_CUT].concat();
    }
    if stdout.len() <= half {
        let rest = space.saturating_sub(ERROR_CUT.len() + stdout.len());
        return [stdout, title, head(stderr, rest), ERROR_CUT].concat();
    }
    let rest = space.saturating_sub(OUTPUT_CUT.len() + stderr.len());
    [head(stdout, rest), OUTPUT_CUT, title, stderr].concat()
}

/// One stream in less than `limit` bytes, or in exactly `limit` with a suffix that says it was cut.
pub fn stream(bytes: &[u8], limit: usize) -> Cow<'_, [u8]> {
    if bytes.len() < limit {
        Cow::Borrowed(bytes)
    } else if limit > STREAM_CUT.len() {
        Cow::Owned([&bytes[..limit - STREAM_CUT.len()], STREAM_CUT].concat())
    } else {
        Cow::Borrowed(&STREAM_CUT[..limit])
    }
}

/// Bytes as text, the way Go's JSON encoder reads them: one U+FFFD for each byte that is not UTF-8.
pub fn text(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len());
    for chunk in bytes.utf8_chunks() {
        text.push_str(chunk.valid());
        text.extend(chunk.invalid().iter().map(|_| char::REPLACEMENT_CHARACTER));
    }
    text
}

fn head(bytes: &[u8], most: usize) -> &[u8] {
    &bytes[..bytes.len().min(most)]
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn short_streams_stand_whole() {
        assert_eq!(combined(b"", b""), b"");
        assert_eq!(combined(b"out\n", b""), b"out\n");
        assert_eq!(combined(b"out\n", b"err\n"), b"out\n\n----------ERROR-------\nerr\n");
        assert_eq!(combined(b"", b"err"), b"\n----------ERROR-------\nerr");
    }

    /// Numbers by hand from `iohandler.go`: the title has 24 bytes, each mark 23.
    #[test]
    fn long_streams_are_cut_where_the_stock_agent_cuts_them() {
        let (out, err) = (vec![b'o'; 60_000], vec![b'e'; 60_000]);
        let count = |text: &[u8], byte| text.iter().filter(|b| **b == byte).count();
        let body = |text: &[u8]| {
            let text = String::from_utf8_lossy(text).into_owned();
            text.replace("\n---Output truncated---", "").replace("\n---Error truncated----", "")
        };
        // Both long: (2500 − 24 − 46) / 2 = 1215 of each.
        let both = combined(&out, &err);
        assert_eq!(both.len(), 2500);
        let both = body(&both);
        assert_eq!(both.find('\n'), Some(1215));
        assert!(both.ends_with(&"e".repeat(1215)) && !both.ends_with(&"e".repeat(1216)));
        // One long: it takes what is left.
        let long_error = combined(b"12345", &err);
        assert_eq!((long_error.len(), count(body(&long_error).as_bytes(), b'e')), (2500, 2500 - 24 - 23 - 5));
        let long_output = combined(&out, b"12345");
        assert_eq!(
            (long_output.len(), count(body(&long_output).as_bytes(), b'o')),
            (2500, 2500 - 24 - 23 - 5)
        );
        let only_output = combined(&out, b"");
        assert_eq!((only_output.len(), body(&only_output).len()), (2500, 2500 - 23));
    }

    #[test]
    fn the_limit_itself_is_already_too_long() {
        assert_eq!(combined(&[b'o'; 2499], b"").len(), 2499);
        assert!(combined(&[b'o'; 2500], b"").ends_with(OUTPUT_CUT));
        assert_eq!(stream(&[b'o'; 23_999], STREAM_BYTES).len(), 23_999);
        let cut = stream(&[b'o'; 24_000], STREAM_BYTES);
        assert_eq!(cut.len(), 24_000);
        assert!(cut.ends_with(b"oo--output truncated--"));
    }

    #[test]
    fn each_byte_that_is_not_utf8_becomes_one_replacement() {
        assert_eq!(text(b"a\xffb"), "a\u{fffd}b");
        // The first two bytes of the euro sign.
        assert_eq!(text(b"\xe2\x82"), "\u{fffd}\u{fffd}");
        assert_eq!(text("€".as_bytes()), "€");
    }

    proptest! {
        #[test]
        fn nothing_is_ever_longer_than_its_limit(
            out in proptest::collection::vec(any::<u8>(), 0..6000),
            err in proptest::collection::vec(any::<u8>(), 0..6000),
            limit in 0usize..30_000,
        ) {
            prop_assert!(combined(&out, &err).len() <= COMBINED_BYTES);
            prop_assert!(stream(&out, limit).len() <= limit);
            if out.len() + err.len() + 24 < COMBINED_BYTES {
                prop_assert!(combined(&out, &err).starts_with(&out) && combined(&out, &err).ends_with(&err));
            }
        }
    }
}
