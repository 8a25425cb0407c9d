//! The first message of a client of TLS, as far as it names the server (RFC 8446, 4.1.2 and 5.1; RFC 6066, 3). Pure.

/// More bytes of it are not waited for.
pub const MOST_HELLO: usize = 32 * 1024;

/// What bytes are that should be a ClientHello.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Hello {
    /// The name that is asked for; nothing where it names none.
    Named(String),
    /// They may become one.
    Partial,
    /// They are none.
    Other,
}

/// `ContentType` handshake, `HandshakeType` client_hello.
const HANDSHAKE: u8 = 22;
const CLIENT_HELLO: u8 = 1;
/// `ExtensionType` server_name, `NameType` host_name.
const SERVER_NAME: u16 = 0;
const HOST_NAME: u8 = 0;
/// The most that a record holds.
const MOST_RECORD: usize = 1 << 14;

/// Reads the bytes that a client has sent.
pub fn read(bytes: &[u8]) -> Hello {
    let message = match message(bytes) {
        Ok(message) => message,
        Err(End::Short) if bytes.len() < MOST_HELLO => return Hello::Partial,
        Err(_) => return Hello::Other,
    };
    match name(&message) {
        Ok(name) => Hello::Named(name),
        Err(_) => Hello::Other,
    }
}

/// Why reading does not go on.
enum End {
    /// The bytes end.
    Short,
    /// They are no ClientHello.
    Other,
}

/// What is in the handshake message that the records begin with.
fn message(bytes: &[u8]) -> Result<Vec<u8>, End> {
    let (mut records, mut message) = (Cursor(bytes), Vec::new());
    loop {
        let (kind, version) = (records.number(1)?, records.number(2)?);
        if kind != usize::from(HANDSHAKE) || version >> 8 != 3 {
            return Err(End::Other);
        }
        let length = records.number(2)?;
        if length == 0 || length > MOST_RECORD {
            return Err(End::Other);
        }
        message.extend(records.0.iter().take(length));
        if message.first().is_some_and(|kind| *kind != CLIENT_HELLO) {
            return Err(End::Other);
        }
        let mut all = Cursor(&message);
        if let (Ok(_), Ok(whole)) = (all.number(1), all.number(3)) {
            if whole > MOST_HELLO {
                return Err(End::Other);
            }
            if let Ok(whole) = all.take(whole) {
                return Ok(whole.to_vec());
            }
        }
        records.take(length)?;
    }
}

fn name(message: &[u8]) -> Result<String, End> {
    let mut hello = Cursor(message);
    let (version, random) = (2, 32);
    hello.take(version + random)?;
    for length_of_length in [1, 2, 1] {
        // Session, cipher suites, compression methods.
        let length = hello.number(length_of_length)?;
        hello.take(length)?;
    }
    if hello.0.is_empty() {
        return Ok(String::new());
    }
    let mut extensions = hello.part(2)?;
    while !extensions.0.is_empty() {
        let kind = extensions.number(2)?;
        let mut extension = extensions.part(2)?;
        if kind != usize::from(SERVER_NAME) {
            continue;
        }
        let mut names = extension.part(2)?;
        while !names.0.is_empty() {
            let kind = names.number(1)?;
            let name = names.part(2)?;
            if kind == usize::from(HOST_NAME) {
                let name = std::str::from_utf8(name.0).map_err(|_| End::Other)?;
                return Ok(name.to_owned());
            }
        }
    }
    Ok(String::new())
}

struct Cursor<'a>(&'a [u8]);

impl<'a> Cursor<'a> {
    fn take(&mut self, length: usize) -> Result<&'a [u8], End> {
        let (taken, rest) = self.0.split_at_checked(length).ok_or(End::Short)?;
        self.0 = rest;
        Ok(taken)
    }

    /// A number of so many bytes.
    fn number(&mut self, length: usize) -> Result<usize, End> {
        Ok(self.take(length)?.iter().fold(0, |number, byte| number << 8 | usize::from(*byte)))
    }

    /// What follows a length of so many bytes.
    fn part(&mut self, length_of_length: usize) -> Result<Cursor<'a>, End> {
        let length = self.number(length_of_length)?;
        self.take(length).map(Cursor)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn with_length(length_of_length: usize, bytes: &[u8]) -> Vec<u8> {
        let length = bytes.len().to_be_bytes();
        [&length[length.len() - length_of_length..], bytes].concat()
    }

    /// A ClientHello, in records of at most so many bytes.
    fn hello(name: Option<&str>, most: usize) -> Vec<u8> {
        let mut extensions = vec![0, 43, 0, 3, 2, 3, 4];
        if let Some(name) = name {
            let names = [vec![0], with_length(2, name.as_bytes())].concat();
            extensions.extend([0, 0]);
            extensions.extend(with_length(2, &with_length(2, &names)));
        }
        let mut body = vec![3, 3];
        body.extend([7; 32]);
        body.extend(with_length(1, &[9; 32]));
        body.extend(with_length(2, &[0x13, 1, 0x13, 2]));
        body.extend(with_length(1, &[0]));
        body.extend(with_length(2, &extensions));
        let message = [vec![1], with_length(3, &body)].concat();
        let record = |part: &[u8]| [vec![22, 3, 1], with_length(2, part)].concat();
        message.chunks(most).flat_map(record).collect()
    }

    #[test]
    fn the_name_is_found_in_one_record_or_many() {
        for most in [1, 7, 16_384] {
            let named = Hello::Named("api.example.com".to_owned());
            assert_eq!(read(&hello(Some("api.example.com"), most)), named, "{most}");
            assert_eq!(read(&hello(None, most)), Hello::Named(String::new()), "{most}");
        }
    }

    #[test]
    fn what_is_no_hello_is_seen_at_once() {
        for bytes in [
            &b"GET / HTTP/1.1\r\n"[..],
            b"\x16\x02\x00\x00\x05",
            b"\x16\x03\x01\x00\x01\x02",
            b"\x15\x03\x03",
        ] {
            assert_eq!(read(bytes), Hello::Other, "{bytes:?}");
        }
        assert_eq!(read(b"\x16\x03\x01\x00\x04\x01\xff\xff\xff"), Hello::Other, "16 MB");
        assert_eq!(read(b"\x16\x03"), Hello::Partial);
    }

    proptest! {
        #[test]
        fn it_is_the_same_however_it_arrives(name in "[a-z.]{1,60}", most in 1_usize..400, rest in any::<Vec<u8>>()) {
            let bytes = hello(Some(&name), most);
            for cut in 0..bytes.len() {
                prop_assert_eq!(read(&bytes[..cut]), Hello::Partial);
            }
            prop_assert_eq!(read(&[bytes, rest].concat()), Hello::Named(name));
        }

        #[test]
        fn no_bytes_break_it(mut bytes in any::<Vec<u8>>(), begins in any::<bool>()) {
            if begins {
                bytes.splice(0..0, [22, 3, 1, 0, 200, 1, 0, 0, 100]);
            }
            let _ = read(&bytes);
        }
    }
}
