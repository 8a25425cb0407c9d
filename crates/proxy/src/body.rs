//! Bodies of HTTP/1.x messages, followed byte by byte to where they end (RFC 9112, 6 and 7). Pure.

/// How long a body is, as its head says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Length {
    /// So many bytes.
    Exact(u64),
    /// As its chunks say.
    Chunked,
    /// As long as the connection.
    UntilClose,
    /// The head can be read in more than one way.
    Doubtful,
}

/// The bytes are no body of this length.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Doubt;

/// Where in a body we are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Body {
    /// So many bytes are left.
    Exact(u64),
    /// In chunks.
    Chunked(Chunks),
    /// It ends with the connection.
    UntilClose,
}

/// Where in a body of chunks we are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Chunks {
    /// In the digits of a size; how many there were.
    Size(u64, u8),
    /// After the digits, until the end of the line.
    Extension(u64),
    /// So many bytes of the chunk are left.
    Data(u64),
    /// At the end of line behind a chunk.
    AfterData,
    /// In a line of the trailer, which has something in it or not.
    Trailer(bool),
    /// At its end.
    Done,
}

/// No chunk of more digits is believed: 2⁶⁰ bytes.
const MOST_DIGITS: u8 = 15;

impl Body {
    /// At the beginning of a body.
    ///
    /// # Errors
    /// Its length is in doubt.
    pub fn new(length: Length) -> Result<Body, Doubt> {
        match length {
            Length::Exact(length) => Ok(Body::Exact(length)),
            Length::Chunked => Ok(Body::Chunked(Chunks::Size(0, 0))),
            Length::UntilClose => Ok(Body::UntilClose),
            Length::Doubtful => Err(Doubt),
        }
    }

    /// Whether it has ended.
    pub fn is_done(&self) -> bool {
        matches!(self, Body::Exact(0) | Body::Chunked(Chunks::Done))
    }

    /// How many of the `bytes` that come next are of the body; it goes on after them.
    ///
    /// # Errors
    /// They are none.
    pub fn take(&mut self, bytes: &[u8]) -> Result<usize, Doubt> {
        match self {
            Body::Exact(left) => Ok(take(left, bytes.len())),
            Body::UntilClose => Ok(bytes.len()),
            Body::Chunked(chunks) => {
                let mut taken = 0;
                while taken < bytes.len() && *chunks != Chunks::Done {
                    taken += chunks.take(&bytes[taken..])?;
                }
                Ok(taken)
            }
        }
    }
}

impl Chunks {
    /// Takes one byte or the rest of a chunk. There is at least one.
    fn take(&mut self, bytes: &[u8]) -> Result<usize, Doubt> {
        if let Chunks::Data(left) = self {
            let taken = take(left, bytes.len());
            if *left == 0 {
                *self = Chunks::AfterData;
            }
            return Ok(taken);
        }
        *self = match (*self, bytes[0]) {
            (Chunks::Size(_, MOST_DIGITS), byte) if byte.is_ascii_hexdigit() => return Err(Doubt),
            (Chunks::Size(size, digits), byte) if byte.is_ascii_hexdigit() => {
                let digit = char::from(byte).to_digit(16).ok_or(Doubt)?;
                Chunks::Size(16 * size + u64::from(digit), digits + 1)
            }
            (Chunks::Size(size, 1..) | Chunks::Extension(size), b'\n') => match size {
                0 => Chunks::Trailer(false),
                size => Chunks::Data(size),
            },
            (Chunks::Size(size, 1..), b';' | b'\r' | b' ' | b'\t') | (Chunks::Extension(size), _) => {
                Chunks::Extension(size)
            }
            (Chunks::AfterData, b'\r') => Chunks::AfterData,
            (Chunks::AfterData, b'\n') => Chunks::Size(0, 0),
            (Chunks::Trailer(false), b'\n') => Chunks::Done,
            (Chunks::Trailer(true), b'\n') => Chunks::Trailer(false),
            (Chunks::Trailer(has), b'\r') => Chunks::Trailer(has),
            (Chunks::Trailer(_), _) => Chunks::Trailer(true),
            _ => return Err(Doubt),
        };
        Ok(1)
    }
}

/// Takes what is left of `available` bytes.
fn take(left: &mut u64, available: usize) -> usize {
    let taken = usize::try_from(*left).unwrap_or(usize::MAX).min(available);
    *left -= taken as u64;
    taken
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// How many bytes are of the body, where they come in pieces of these sizes, again and again.
    fn taken(mut body: Body, bytes: &[u8], sizes: &[usize]) -> Result<usize, Doubt> {
        let (mut at, mut sizes) = (0, sizes.iter().cycle());
        while at < bytes.len() && !body.is_done() {
            let piece = &bytes[at..bytes.len().min(at + sizes.next().unwrap())];
            let taken = body.take(piece)?;
            at += taken;
            assert!(taken == piece.len() || body.is_done());
        }
        Ok(at)
    }

    fn chunked() -> Body {
        Body::new(Length::Chunked).unwrap()
    }

    #[test]
    fn chunks_are_followed_to_their_end() {
        for (text, rest) in [
            ("0\r\n\r\n", "GET"),
            ("5\r\nhello\r\n0\r\n\r\n", "GET"),
            ("A;name=value\r\n0123456789\r\n00\r\nX-Sum: 1\r\nY: 2\r\n\r\n", ""),
            ("3\nabc\n0\n\n", "x"),
        ] {
            let bytes = format!("{text}{rest}");
            assert_eq!(taken(chunked(), bytes.as_bytes(), &[1]), Ok(text.len()), "{text}");
            assert_eq!(taken(chunked(), bytes.as_bytes(), &[100]), Ok(text.len()), "{text}");
        }
    }

    #[test]
    fn what_are_no_chunks_is_doubtful() {
        for text in ["\r\n", "x\r\n", "-1\r\n", "5\r\nhello5\r\n", "1000000000000000\r\n", ";a\r\n"] {
            assert_eq!(taken(chunked(), text.as_bytes(), &[100]), Err(Doubt), "{text}");
        }
    }

    proptest! {
        #[test]
        fn a_body_ends_where_it_was_ended_however_it_arrives(
            chunks in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 1..40), 0..8),
            rest in any::<Vec<u8>>(),
            sizes in proptest::collection::vec(1_usize..30, 1..5),
        ) {
            let mut bytes = Vec::new();
            for chunk in &chunks {
                bytes.extend(format!("{:x}\r\n", chunk.len()).bytes());
                bytes.extend(chunk);
                bytes.extend(b"\r\n");
            }
            bytes.extend(b"0\r\n\r\n");
            let length = bytes.len();
            bytes.extend(&rest);
            prop_assert_eq!(taken(chunked(), &bytes, &sizes), Ok(length));
            let exact = Body::new(Length::Exact(length as u64)).unwrap();
            prop_assert_eq!(taken(exact, &bytes, &sizes), Ok(length));
        }

        #[test]
        fn no_bytes_break_it(bytes in any::<Vec<u8>>()) {
            let _ = taken(chunked(), &bytes, &[7]);
        }
    }
}
