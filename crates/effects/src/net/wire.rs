//! Netlink messages, byte by byte: header, fixed part, attributes. Pure.
//!
//! Knows the form (`linux/netlink.h`) and no meaning: what goes into a message of the traffic control is in
//! [`shape`](super::shape), of nf_tables in [`classify`](super::classify).

/// `NLM_F_REQUEST`.
pub const REQUEST: u16 = 0x1;
/// `NLM_F_ACK`: an answer even where nothing went wrong.
pub const ACK: u16 = 0x4;
/// `NLM_F_ROOT | NLM_F_MATCH`: all objects of a kind.
pub const DUMP: u16 = 0x300;
/// `NLM_F_REPLACE`.
pub const REPLACE: u16 = 0x100;
/// `NLM_F_EXCL`: only if it is not there yet.
pub const EXCLUSIVE: u16 = 0x200;
/// `NLM_F_CREATE`.
pub const CREATE: u16 = 0x400;
/// `NLM_F_APPEND`.
pub const APPEND: u16 = 0x800;

/// `NLA_F_NESTED`.
const NESTED: u16 = 0x8000;
/// `NLA_TYPE_MASK`: the kind without its two flags.
const KIND: u16 = 0x3fff;
/// `struct nlmsghdr`.
pub const HEADER: usize = 16;

/// One request. Its sequence number is set by whoever sends it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// What it does, for the error if it is refused: "add netem to eth0".
    pub what: String,
    bytes: Vec<u8>,
}

impl Message {
    /// A request of `kind` that begins with `fixed`.
    pub fn new(what: impl Into<String>, kind: u16, flags: u16, fixed: &[u8]) -> Self {
        let mut bytes = Vec::with_capacity(256);
        bytes.extend([0; 4]);
        bytes.extend(kind.to_ne_bytes());
        bytes.extend((flags | REQUEST).to_ne_bytes());
        bytes.extend([0; 8]);
        bytes.extend(fixed);
        pad(&mut bytes);
        Message { what: what.into(), bytes }
    }

    /// Adds one attribute. `value` is at most 64 KiB less its header, as all attributes are.
    pub fn with(mut self, kind: u16, value: &[u8]) -> Self {
        attribute(&mut self.bytes, kind, value);
        self
    }

    /// Adds one attribute that holds others.
    pub fn nest(self, kind: u16, inner: &[u8]) -> Self {
        self.with(kind | NESTED, inner)
    }

    /// Asks for an answer.
    pub fn acknowledged(mut self) -> Self {
        let flags = u16::from_ne_bytes([self.bytes[6], self.bytes[7]]) | ACK;
        self.bytes[6..8].copy_from_slice(&flags.to_ne_bytes());
        self
    }

    /// The bytes to send, with length and sequence number in place.
    pub fn finish(mut self, sequence: u32) -> Vec<u8> {
        let length = self.bytes.len() as u32;
        self.bytes[0..4].copy_from_slice(&length.to_ne_bytes());
        self.bytes[8..12].copy_from_slice(&sequence.to_ne_bytes());
        self.bytes
    }
}

/// Appends one attribute to `bytes`, padded to four.
pub fn attribute(bytes: &mut Vec<u8>, kind: u16, value: &[u8]) {
    let length = 4 + value.len() as u16;
    bytes.extend(length.to_ne_bytes());
    bytes.extend(kind.to_ne_bytes());
    bytes.extend(value);
    pad(bytes);
}

/// Appends an attribute that holds `inner`.
pub fn nested(bytes: &mut Vec<u8>, kind: u16, inner: &[u8]) {
    attribute(bytes, kind | NESTED, inner);
}

/// Appends an attribute that holds what `write` appends: for those that are many, because nothing is copied.
pub fn nested_with(bytes: &mut Vec<u8>, kind: u16, write: impl FnOnce(&mut Vec<u8>)) {
    let start = bytes.len();
    nested(bytes, kind, &[]);
    write(bytes);
    let length = (bytes.len() - start) as u16;
    bytes[start..start + 2].copy_from_slice(&length.to_ne_bytes());
    pad(bytes);
}

/// A text with the zero byte that ends it.
pub fn text(words: &str) -> Vec<u8> {
    let mut bytes = words.as_bytes().to_vec();
    bytes.push(0);
    bytes
}

fn pad(bytes: &mut Vec<u8>) {
    bytes.resize(bytes.len().next_multiple_of(4), 0);
}

/// The attributes in `bytes`, until the first that is cut short.
pub fn attributes(bytes: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    let mut rest = bytes;
    std::iter::from_fn(move || {
        let length = usize::from(number_16(rest)?);
        let kind = number_16(rest.get(2..)?)? & KIND;
        let value = rest.get(4..length)?;
        rest = rest.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some((kind, value))
    })
}

/// The value of the first attribute of `kind`.
pub fn find(bytes: &[u8], kind: u16) -> Option<&[u8]> {
    attributes(bytes).find(|(found, _)| *found == kind).map(|(_, value)| value)
}

/// The first two bytes, in this machine's order.
pub fn number_16(bytes: &[u8]) -> Option<u16> {
    Some(u16::from_ne_bytes(bytes.get(..2)?.try_into().ok()?))
}

/// The first four bytes, in this machine's order.
pub fn number_32(bytes: &[u8]) -> Option<u32> {
    Some(u32::from_ne_bytes(bytes.get(..4)?.try_into().ok()?))
}

/// A text up to its zero byte.
pub fn words(bytes: &[u8]) -> String {
    let end = bytes.iter().position(|byte| *byte == 0).unwrap_or(bytes.len());
    String::from_utf8_lossy(&bytes[..end]).into_owned()
}

/// One message that came back, without its header.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    pub kind: u16,
    pub flags: u16,
    pub sequence: u32,
    pub body: Vec<u8>,
}

/// The messages of one datagram, until the first that is cut short.
pub fn answers(datagram: &[u8]) -> Vec<Answer> {
    let mut rest = datagram;
    let mut all = Vec::new();
    while let Some(answer) = first_answer(rest) {
        rest = rest.get((HEADER + answer.body.len()).next_multiple_of(4)..).unwrap_or_default();
        all.push(answer);
    }
    all
}

fn first_answer(bytes: &[u8]) -> Option<Answer> {
    let length = number_32(bytes)? as usize;
    Some(Answer {
        kind: number_16(bytes.get(4..)?)?,
        flags: number_16(bytes.get(6..)?)?,
        sequence: number_32(bytes.get(8..)?)?,
        body: bytes.get(HEADER..length)?.to_vec(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_can_be_read() {
        let mut inner = Vec::new();
        attribute(&mut inner, 1, &7_u32.to_ne_bytes());
        let message = Message::new("try", 36, ACK, &[9; 3]).with(1, &text("prio")).nest(2, &inner);
        let bytes = message.finish(5);
        let answer = answers(&bytes).remove(0);
        assert_eq!((answer.kind, answer.flags, answer.sequence), (36, ACK | REQUEST, 5));
        assert_eq!(answer.body[..4], [9, 9, 9, 0]);
        assert_eq!(words(find(&answer.body[4..], 1).unwrap()), "prio");
        assert_eq!(find(&answer.body[4..], 2).and_then(|nest| number_32(find(nest, 1)?)), Some(7));
        let (mut copied, mut written) = (Vec::new(), Vec::new());
        nested(&mut copied, 2, &inner);
        nested_with(&mut written, 2, |bytes| attribute(bytes, 1, &7_u32.to_ne_bytes()));
        assert_eq!(written, copied);
    }

    #[test]
    fn what_is_cut_short_ends_the_reading() {
        let bytes = Message::new("try", 1, 0, &[]).with(1, &[1; 8]).finish(1);
        for end in 0..bytes.len() {
            assert_eq!(answers(&bytes[..end]), [], "{end}");
        }
        // An attribute that says it is longer, shorter than its header, or empty of bytes.
        for broken in [[9, 0, 1, 0], [3, 0, 1, 0], [0, 0, 0, 0]] {
            assert_eq!(attributes(&broken).count(), 0, "{broken:?}");
        }
        assert_eq!(answers(&[0; 32]), [], "a length of nothing must not be read for ever");
    }
}
