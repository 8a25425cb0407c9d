//! A blocking conversation with the kernel over one netlink socket.
//!
//! The kernel answers within the call that sends, in some 10 µs: so this is safe in asynchronous code, and
//! starting, undoing and Drop are the same code. Knows no message's meaning.

use std::io;

use netlink_sys::Socket;
use nix::errno::Errno;
use nix::sys::socket::{setsockopt, sockopt};
use thiserror::Error;

use super::wire::{self, Answer, DUMP, HEADER, Message};

/// `NLMSG_ERROR`: an error, or with code 0 an acknowledgement.
const ERROR: u16 = 2;
/// `NLMSG_DONE`: the end of a dump.
const DONE: u16 = 3;
/// `NLM_F_ACK_TLVS`: attributes follow the echoed header.
const HAS_TEXT: u16 = 0x200;
/// `NLMSGERR_ATTR_MSG`.
const TEXT: u16 = 1;
/// The kernel cuts its dumps to the room it was given, at most 32 KiB.
const ROOM: usize = 64 * 1024;
/// The first message of a change, and the last (`linux/netfilter/nfnetlink.h`).
const BATCH_BEGIN: u16 = 0x10;
const BATCH_END: u16 = 0x11;
/// `struct nfgenmsg` for subsystem 10, nf_tables.
const BATCH_OF_TABLES: [u8; 4] = [0, 0, 0, 10];
/// Sent beside the messages of a change: begin and end.
const BATCH_ROOM: usize = 128;

/// Which part of the kernel a socket talks to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Family {
    /// Links and traffic control (`NETLINK_ROUTE`).
    Route,
    /// nf_tables (`NETLINK_NETFILTER`).
    Netfilter,
}

/// What the kernel, or the way to it, refused.
#[derive(Debug, Error)]
pub enum WireError {
    #[error("could not open a netlink socket: {0}")]
    Open(io::Error),
    #[error("could not {what}: {errno}{}", .text.as_deref().map(|text| format!(" (kernel: {text})")).unwrap_or_default())]
    Refused { what: String, errno: Errno, text: Option<String> },
    #[error("could not {what}: the kernel gave no answer ({reason})")]
    NoAnswer { what: String, reason: io::Error },
}

impl WireError {
    /// The kernel's error number, if it was the kernel who refused.
    pub fn errno(&self) -> Option<Errno> {
        match self {
            WireError::Refused { errno, .. } => Some(*errno),
            WireError::Open(_) | WireError::NoAnswer { .. } => None,
        }
    }
}

/// One netlink socket.
#[derive(Debug)]
pub struct Netlink {
    socket: Socket,
    sequence: u32,
}

impl Netlink {
    /// Opens a socket that is closed by the kernel at the latest when this process ends.
    ///
    /// # Errors
    /// The kernel has no netlink, or no netfilter, or no descriptor left.
    pub fn open(family: Family) -> Result<Netlink, WireError> {
        let protocol = match family {
            Family::Route => libc::NETLINK_ROUTE,
            Family::Netfilter => libc::NETLINK_NETFILTER,
        };
        let open = || {
            let mut socket = Socket::new(protocol as isize)?;
            socket.bind_auto()?;
            // The answer is there when the call that sends returns; waiting for one would be for ever.
            socket.set_non_blocking(true)?;
            // Neither is needed: without them errors have no text, or carry the whole message back.
            let _ = socket.set_ext_ack(true);
            let _ = socket.set_cap_ack(true);
            Ok(socket)
        };
        Ok(Netlink { socket: open().map_err(WireError::Open)?, sequence: 0 })
    }

    /// Sends one request and waits until it is done.
    ///
    /// # Errors
    /// The kernel refused; nothing has changed.
    pub fn request(&mut self, message: Message) -> Result<(), WireError> {
        let what = message.what.clone();
        let sequence = self.next();
        self.send(&what, &message.acknowledged().finish(sequence))?;
        loop {
            for answer in self.receive(&what)? {
                if answer.kind == ERROR && answer.sequence == sequence {
                    return verdict(&what, &answer);
                }
            }
        }
    }

    /// All objects that `message` asks for.
    ///
    /// # Errors
    /// The kernel refused.
    pub fn dump(&mut self, message: Message) -> Result<Vec<Answer>, WireError> {
        let what = message.what.clone();
        let sequence = self.next();
        let mut bytes = message.finish(sequence);
        let flags = wire::number_16(&bytes[6..]).unwrap_or_default() | DUMP;
        bytes[6..8].copy_from_slice(&flags.to_ne_bytes());
        self.send(&what, &bytes)?;
        let mut all = Vec::new();
        loop {
            for answer in self.receive(&what)? {
                match answer.kind {
                    _ if answer.sequence != sequence => {}
                    DONE => return Ok(all),
                    ERROR => return verdict(&what, &answer).map(|()| all),
                    _ => all.push(answer),
                }
            }
        }
    }

    /// Sends `messages` as one change of nf_tables: all of them are done, or none.
    ///
    /// # Errors
    /// The first message that was refused. Nothing has changed.
    pub fn change(&mut self, messages: Vec<Message>) -> Result<(), WireError> {
        let begin = self.next();
        let mut bytes = Message::new("begin", BATCH_BEGIN, 0, &BATCH_OF_TABLES).finish(begin);
        let whats: Vec<_> = messages.iter().map(|message| message.what.clone()).collect();
        let count = messages.len();
        let first = self.sequence + 1;
        for (number, message) in messages.into_iter().enumerate() {
            let sequence = self.next();
            // One answer is enough, and thousands would not fit the socket. It comes after the commit.
            let message = if number + 1 == count { message.acknowledged() } else { message };
            bytes.extend(message.finish(sequence));
        }
        let last = self.sequence;
        let end = self.next();
        bytes.extend(Message::new("end", BATCH_END, 0, &BATCH_OF_TABLES).finish(end));
        let what = whats.first().map_or("change nothing", String::as_str);
        self.make_room(bytes.len());
        self.send(what, &bytes)?;
        self.outcome(begin, first..=last, &whats)
    }

    /// Reads the answers to a change: one for its last message, one for each that was refused, one for the
    /// first of all if the change as a whole was.
    fn outcome(
        &mut self,
        begin: u32,
        ours: std::ops::RangeInclusive<u32>,
        whats: &[String],
    ) -> Result<(), WireError> {
        let what = |sequence: u32| {
            let number = sequence.saturating_sub(*ours.start()) as usize;
            whats.get(number).or(whats.first()).map_or("change", String::as_str)
        };
        let (mut refused, mut done) = (None, false);
        // Everything has been queued by now; the first empty read is the end.
        loop {
            let answers = match self.receive(what(*ours.end())) {
                Ok(answers) => answers,
                Err(_) if done || refused.is_some() => break,
                Err(error) => return Err(error),
            };
            for answer in answers {
                let counts = answer.sequence == begin || ours.contains(&answer.sequence);
                if answer.kind != ERROR || !counts {
                    continue;
                }
                if let Err(error) = verdict(what(answer.sequence), &answer) {
                    refused.get_or_insert(error);
                }
                done |= answer.sequence == *ours.end();
            }
        }
        refused.map_or(Ok(()), Err)
    }

    fn next(&mut self) -> u32 {
        self.sequence = self.sequence.wrapping_add(1);
        self.sequence
    }

    /// A change must fit the socket's buffer as a whole; the limit of the machine does not bind NET_ADMIN.
    fn make_room(&self, length: usize) {
        let wanted = length + BATCH_ROOM;
        // If it cannot be had, sending says so.
        let _ = setsockopt(&self.socket, sockopt::SndBufForce, &wanted.max(ROOM));
    }

    fn send(&self, what: &str, bytes: &[u8]) -> Result<(), WireError> {
        // What an earlier, broken conversation left must not be taken for an answer.
        while self.socket.recv(&mut Vec::with_capacity(HEADER), 0).is_ok() {}
        let kernel = netlink_sys::SocketAddr::new(0, 0);
        match self.socket.send_to(bytes, &kernel, 0) {
            Ok(_) => Ok(()),
            Err(error) => {
                let errno = Errno::from_raw(error.raw_os_error().unwrap_or_default());
                Err(WireError::Refused { what: what.to_owned(), errno, text: None })
            }
        }
    }

    fn receive(&self, what: &str) -> Result<Vec<Answer>, WireError> {
        let mut datagram = Vec::with_capacity(ROOM);
        match self.socket.recv(&mut datagram, 0) {
            Ok(_) => Ok(wire::answers(&datagram)),
            Err(reason) => Err(WireError::NoAnswer { what: what.to_owned(), reason }),
        }
    }
}

/// What an answer of kind `NLMSG_ERROR` says, with the kernel's own words where it has some.
fn verdict(what: &str, answer: &Answer) -> Result<(), WireError> {
    let code = wire::number_32(&answer.body).unwrap_or_default() as i32;
    if code == 0 {
        return Ok(());
    }
    let echoed = 4 + HEADER;
    let text = (answer.flags & HAS_TEXT != 0)
        .then(|| wire::find(answer.body.get(echoed..)?, TEXT).map(wire::words))
        .flatten();
    Err(WireError::Refused { what: what.to_owned(), errno: Errno::from_raw(-code), text })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(code: i32, flags: u16, rest: &[u8]) -> Answer {
        let mut body = code.to_ne_bytes().to_vec();
        body.extend([0; HEADER]);
        body.extend(rest);
        Answer { kind: ERROR, flags, sequence: 1, body }
    }

    #[test]
    fn an_error_carries_the_words_of_the_kernel() {
        let mut words = Vec::new();
        wire::attribute(&mut words, TEXT, &wire::text("Specified qdisc kind is unknown"));
        let error = verdict("add netem to eth0", &answer(-2, HAS_TEXT, &words)).unwrap_err();
        assert_eq!(error.errno(), Some(Errno::ENOENT));
        assert_eq!(
            error.to_string(),
            "could not add netem to eth0: ENOENT: No such file or directory \
             (kernel: Specified qdisc kind is unknown)"
        );
        assert!(verdict("x", &answer(-1, 0, &[])).unwrap_err().to_string().ends_with("not permitted"));
        assert!(verdict("x", &answer(0, 0, &[])).is_ok());
    }

    #[test]
    fn the_kernel_answers_a_dump_and_refuses_nonsense() {
        let mut route = Netlink::open(Family::Route).unwrap();
        // RTM_GETLINK, for all links: every network namespace has one.
        let links = route.dump(Message::new("list the links", 18, 0, &[0; 16])).unwrap();
        assert!(!links.is_empty());
        // RTM_GETLINK for a link number that cannot be.
        let mut nowhere = [0; 16];
        nowhere[4..8].copy_from_slice(&i32::MAX.to_ne_bytes());
        let error = route.request(Message::new("find the link", 18, 0, &nowhere)).unwrap_err();
        assert_eq!(error.errno(), Some(Errno::ENODEV), "{error}");
    }
}
