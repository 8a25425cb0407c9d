//! A blocking conversation with the kernel over one netlink socket.
//!
//! The kernel answers within the call that sends, in some 10 µs: so this is safe in asynchronous code, and
//! starting, undoing and Drop are the same code. Knows no message's meaning.

use std::fmt;
use std::io;
use std::marker::PhantomData;

use netlink_packet_netfilter::NetfilterMessage;
use nix::errno::Errno;
use rtnetlink::packet_core::{
    ErrorMessage, NLM_F_ACK, NLM_F_ACK_TLVS, NLM_F_CAPPED, NLM_F_DUMP, NLM_F_REQUEST, NLMSG_ALIGNTO,
    NLMSG_ERROR, NetlinkBuffer, NetlinkDeserializable, NetlinkHeader, NetlinkMessage, NetlinkPayload,
    NetlinkSerializable, NlasIterator, parse_string,
};
use rtnetlink::packet_route::RouteNetlinkMessage;
use rtnetlink::sys::protocols::{NETLINK_NETFILTER, NETLINK_ROUTE};
use rtnetlink::sys::{Socket, SocketAddr};
use thiserror::Error;

use super::kernel_part::KernelPart;
use super::uapi::netlink::NLMSGERR_ATTR_MSG;

mod batch;

/// The kernel cuts its dumps to the room it was given, at most 32 KiB.
const ROOM: usize = 64 * 1024;
/// What every message begins with.
const HEADER: usize = size_of::<libc::nlmsghdr>();

/// The messages that one netlink protocol carries.
pub trait Protocol: NetlinkSerializable {
    /// `NETLINK_*`.
    const NUMBER: isize;
}

impl Protocol for RouteNetlinkMessage {
    const NUMBER: isize = NETLINK_ROUTE;
}

impl Protocol for NetfilterMessage {
    const NUMBER: isize = NETLINK_NETFILTER;
}

/// What a request is for; the error of a refused one has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Purpose {
    /// As in "could not …": "add a netem to eth0".
    text: String,
    needs: Option<KernelPart>,
}

impl Purpose {
    /// Something that every kernel can do.
    pub fn new(text: impl Into<String>) -> Purpose {
        Purpose { text: text.into(), needs: None }
    }

    /// Something that a kernel without this part refuses.
    pub fn needing(part: KernelPart, text: impl Into<String>) -> Purpose {
        Purpose { text: text.into(), needs: Some(part) }
    }
}

impl From<&str> for Purpose {
    fn from(text: &str) -> Purpose {
        Purpose::new(text)
    }
}

impl From<String> for Purpose {
    fn from(text: String) -> Purpose {
        Purpose::new(text)
    }
}

impl fmt::Display for Purpose {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.text)
    }
}

/// One request to the kernel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request<M> {
    /// What an error says of it.
    pub purpose: Purpose,
    /// `NLM_F_*`, beside those that each request has.
    pub flags: u16,
    /// What stands after the header.
    pub message: M,
}

impl<M: NetlinkSerializable> Request<M> {
    /// A request with these flags (`NLM_F_*`).
    pub fn new(purpose: impl Into<Purpose>, flags: u16, message: M) -> Request<M> {
        Request { purpose: purpose.into(), flags, message }
    }

    /// Appends the bytes to send to `bytes`.
    pub fn encode(self, flags: u16, sequence: u32, bytes: &mut Vec<u8>) {
        let mut header = NetlinkHeader::default();
        header.flags = NLM_F_REQUEST | self.flags | flags;
        header.sequence_number = sequence;
        let mut message = NetlinkMessage::new(header, NetlinkPayload::InnerMessage(self.message));
        message.finalize();
        let start = bytes.len();
        bytes.resize(start + message.header.length as usize, 0);
        message.serialize(&mut bytes[start..]);
    }
}

/// What the kernel, or the way to it, refused.
#[derive(Debug, Error)]
pub enum NetlinkError {
    /// There is no netlink socket to be had.
    #[error("could not open a netlink socket: {0}")]
    Open(io::Error),
    /// The kernel refused a request; nothing has changed.
    #[error("could not {purpose}: {errno}{}", .text.as_deref().map(|text| format!(" (kernel: {text})")).unwrap_or_default())]
    Refused {
        /// What was asked.
        purpose: Purpose,
        /// The kernel's error number.
        errno: Errno,
        /// The kernel's own words, where it has some.
        text: Option<String>,
    },
    /// An answer was expected and did not come.
    #[error("could not {purpose}: the kernel gave no answer ({reason})")]
    NoAnswer {
        /// What was asked.
        purpose: Purpose,
        /// Why reading failed.
        reason: io::Error,
    },
    /// An answer that does not follow the format.
    #[error("could not {purpose}: the kernel's answer cannot be read ({reason})")]
    Unreadable {
        /// What was asked.
        purpose: Purpose,
        /// What cannot be decoded.
        reason: String,
    },
}

impl NetlinkError {
    /// The kernel's error number, if it was the kernel who refused.
    pub fn errno(&self) -> Option<Errno> {
        match self {
            NetlinkError::Refused { errno, .. } => Some(*errno),
            _ => None,
        }
    }

    /// The part of the kernel without which the request that was refused cannot be done.
    pub fn needs(&self) -> Option<KernelPart> {
        match self {
            NetlinkError::Refused { purpose, .. } => purpose.needs,
            _ => None,
        }
    }
}

/// One netlink socket, closed by the kernel at the latest when this process ends.
#[derive(Debug)]
pub struct Netlink<M> {
    socket: Socket,
    sequence: u32,
    messages: PhantomData<fn(M)>,
}

/// Links and queueing disciplines.
pub type Route = Netlink<RouteNetlinkMessage>;
/// nf_tables.
pub type Tables = Netlink<NetfilterMessage>;

impl<M: Protocol> Netlink<M> {
    /// Opens a socket.
    ///
    /// # Errors
    /// The kernel has no netlink, or no netfilter, or no descriptor left.
    pub fn open() -> Result<Netlink<M>, NetlinkError> {
        let open = || {
            let mut socket = Socket::new(M::NUMBER)?;
            socket.bind_auto()?;
            // The answer is there when the call that sends returns; waiting for one would be for ever.
            socket.set_non_blocking(true)?;
            // Neither is needed: without them errors have no text, or carry the whole message back.
            let _ = socket.set_ext_ack(true);
            let _ = socket.set_cap_ack(true);
            Ok(socket)
        };
        Ok(Netlink { socket: open().map_err(NetlinkError::Open)?, sequence: 0, messages: PhantomData })
    }

    /// Sends one request and waits until it is done.
    ///
    /// # Errors
    /// The kernel refused; nothing has changed.
    pub fn request(&mut self, request: Request<M>) -> Result<(), NetlinkError> {
        let purpose = request.purpose.clone();
        let sequence = self.send_one(request, NLM_F_ACK)?;
        loop {
            for answer in answers(&self.receive(&purpose)?) {
                if answer.message_type() == NLMSG_ERROR && answer.sequence_number() == sequence {
                    return acknowledgement(&purpose, &answer);
                }
            }
        }
    }

    /// All objects that the request asks for.
    ///
    /// # Errors
    /// The kernel refused, or described one of them in a way that is no `A`.
    pub fn dump<A: NetlinkDeserializable>(&mut self, request: Request<M>) -> Result<Vec<A>, NetlinkError> {
        let purpose = request.purpose.clone();
        let sequence = self.send_one(request, NLM_F_DUMP)?;
        let mut all = Vec::new();
        loop {
            for answer in answers(&self.receive(&purpose)?) {
                if answer.sequence_number() != sequence {
                    continue;
                }
                match payload(&purpose, &answer)? {
                    NetlinkPayload::InnerMessage(object) => all.push(object),
                    NetlinkPayload::Error(error) => {
                        return verdict(&purpose, &error, answer.flags()).map(|()| all);
                    }
                    NetlinkPayload::Done(done) => {
                        return outcome(&purpose, done.code, || text(&done.extended_ack)).map(|()| all);
                    }
                    _ => {}
                }
            }
        }
    }

    /// The one object that the request asks for.
    ///
    /// # Errors
    /// The kernel refused, or described it in a way that is no `A`.
    pub fn ask<A: NetlinkDeserializable>(&mut self, request: Request<M>) -> Result<A, NetlinkError> {
        let purpose = request.purpose.clone();
        let sequence = self.send_one(request, 0)?;
        loop {
            for answer in answers(&self.receive(&purpose)?) {
                if answer.sequence_number() != sequence {
                    continue;
                }
                match payload(&purpose, &answer)? {
                    NetlinkPayload::InnerMessage(object) => return Ok(object),
                    NetlinkPayload::Error(error) => verdict(&purpose, &error, answer.flags())?,
                    _ => {}
                }
            }
        }
    }

    fn send_one(&mut self, request: Request<M>, flags: u16) -> Result<u32, NetlinkError> {
        let (purpose, sequence, mut bytes) = (request.purpose.clone(), self.next(), Vec::new());
        request.encode(flags, sequence, &mut bytes);
        self.send(&purpose, &bytes)?;
        Ok(sequence)
    }

    fn next(&mut self) -> u32 {
        self.sequence = self.sequence.wrapping_add(1);
        self.sequence
    }

    fn send(&self, purpose: &Purpose, bytes: &[u8]) -> Result<(), NetlinkError> {
        // What an earlier, broken conversation left must not be taken for an answer.
        while self.socket.recv(&mut Vec::with_capacity(HEADER), 0).is_ok() {}
        let kernel = SocketAddr::new(0, 0);
        match self.socket.send_to(bytes, &kernel, 0) {
            Ok(_) => Ok(()),
            Err(error) => {
                let errno = Errno::from_raw(error.raw_os_error().unwrap_or_default());
                Err(NetlinkError::Refused { purpose: purpose.clone(), errno, text: None })
            }
        }
    }

    fn receive(&self, purpose: &Purpose) -> Result<Vec<u8>, NetlinkError> {
        let mut datagram = Vec::with_capacity(ROOM);
        match self.socket.recv(&mut datagram, 0) {
            Ok(_) => Ok(datagram),
            Err(reason) => Err(NetlinkError::NoAnswer { purpose: purpose.clone(), reason }),
        }
    }
}

/// The messages of one datagram, until the first that is cut short.
fn answers(datagram: &[u8]) -> impl Iterator<Item = NetlinkBuffer<&[u8]>> {
    let mut rest = datagram;
    std::iter::from_fn(move || {
        let answer = NetlinkBuffer::new_checked(rest).ok()?;
        let length = (answer.length() as usize).next_multiple_of(usize::from(NLMSG_ALIGNTO));
        rest = rest.get(length..).unwrap_or_default();
        Some(answer)
    })
}

fn payload<A: NetlinkDeserializable>(
    purpose: &Purpose,
    answer: &NetlinkBuffer<&[u8]>,
) -> Result<NetlinkPayload<A>, NetlinkError> {
    let message = NetlinkMessage::deserialize(answer.clone().into_inner());
    message
        .map(|message| message.payload)
        .map_err(|error| NetlinkError::Unreadable { purpose: purpose.clone(), reason: error.to_string() })
}

/// What an answer of type `NLMSG_ERROR` says.
fn acknowledgement(purpose: &Purpose, answer: &NetlinkBuffer<&[u8]>) -> Result<(), NetlinkError> {
    match payload::<Nothing>(purpose, answer)? {
        NetlinkPayload::Error(error) => verdict(purpose, &error, answer.flags()),
        _ => Ok(()),
    }
}

/// Where nothing but acknowledgements is read.
struct Nothing;

impl NetlinkDeserializable for Nothing {
    type Error = std::convert::Infallible;

    fn deserialize(_: &NetlinkHeader, _: &[u8]) -> Result<Nothing, Self::Error> {
        Ok(Nothing)
    }
}

/// What an acknowledgement with these flags says, with the kernel's own words where it has some.
fn verdict(purpose: &Purpose, error: &ErrorMessage, flags: u16) -> Result<(), NetlinkError> {
    outcome(purpose, error.raw_code(), || {
        // The header of our message comes back, or all of it; what the kernel has to say comes after that.
        let echoed = match flags & NLM_F_CAPPED {
            0 => NetlinkBuffer::new_checked(&error.header).ok()?.length() as usize,
            _ => HEADER,
        };
        let attributes = error.header.get(echoed.next_multiple_of(usize::from(NLMSG_ALIGNTO))..)?;
        (flags & NLM_F_ACK_TLVS != 0).then(|| text(attributes)).flatten()
    })
}

fn outcome(purpose: &Purpose, code: i32, text: impl FnOnce() -> Option<String>) -> Result<(), NetlinkError> {
    match code {
        0.. => Ok(()),
        _ => {
            let errno = Errno::from_raw(code.wrapping_neg());
            Err(NetlinkError::Refused { purpose: purpose.clone(), errno, text: text() })
        }
    }
}

/// The text of an extended acknowledgement.
fn text(attributes: &[u8]) -> Option<String> {
    let mut attributes = NlasIterator::new(attributes).map_while(Result::ok);
    let text = attributes.find(|attribute| attribute.kind() == NLMSGERR_ATTR_MSG)?;
    parse_string(text.value()).ok()
}

/// Reads bytes as a datagram of the kernel's. What its messages carry is read where it is asked for, and fuzzed there.
#[cfg(fuzzing)]
pub(crate) fn fuzz(bytes: &[u8]) {
    let purpose = Purpose::new("fuzz");
    for answer in answers(bytes) {
        let _ = acknowledgement(&purpose, &answer);
        if let Ok(NetlinkPayload::Done(done)) = payload::<Nothing>(&purpose, &answer) {
            let _ = outcome(&purpose, done.code, || text(&done.extended_ack));
        }
    }
}

#[cfg(test)]
mod tests {
    use rtnetlink::packet_core::{DefaultNla, Emitable};
    use rtnetlink::packet_route::link::LinkMessage;

    use super::*;

    /// An acknowledgement that echoes the header of a message and has these attributes.
    fn answer(code: i32, flags: u16, attributes: &[DefaultNla]) -> (ErrorMessage, u16) {
        let mut error = ErrorMessage::default();
        error.code = std::num::NonZeroI32::new(code);
        error.header = vec![0; HEADER + attributes.buffer_len()];
        attributes.emit(&mut error.header[HEADER..]);
        (error, flags | NLM_F_CAPPED)
    }

    fn verdict_of(purpose: &str, (error, flags): (ErrorMessage, u16)) -> Result<(), NetlinkError> {
        verdict(&purpose.into(), &error, flags)
    }

    #[test]
    fn an_error_carries_the_text_of_the_kernel() {
        let attributes = [DefaultNla::new(NLMSGERR_ATTR_MSG, b"Specified qdisc kind is unknown\0".to_vec())];
        let error = verdict_of("add netem to eth0", answer(-2, NLM_F_ACK_TLVS, &attributes)).unwrap_err();
        assert_eq!(error.errno(), Some(Errno::ENOENT));
        assert_eq!(
            error.to_string(),
            "could not add netem to eth0: ENOENT: No such file or directory \
             (kernel: Specified qdisc kind is unknown)"
        );
        assert!(verdict_of("x", answer(-1, 0, &[])).unwrap_err().to_string().ends_with("not permitted"));
        assert!(verdict_of("x", answer(0, 0, &[])).is_ok());
    }

    #[test]
    fn what_is_written_can_be_read_and_what_is_cut_short_ends_the_reading() {
        let mut message = LinkMessage::default();
        message.header.index = 7;
        let message = RouteNetlinkMessage::GetLink(message);
        let mut bytes = Vec::new();
        for sequence in [5, 6] {
            Request::new("try", 0, message.clone()).encode(NLM_F_ACK, sequence, &mut bytes);
        }
        let read: Vec<_> = answers(&bytes).map(|answer| answer.sequence_number()).collect();
        assert_eq!(read, [5, 6]);
        let first = answers(&bytes).next().unwrap();
        assert_eq!(first.flags(), NLM_F_REQUEST | NLM_F_ACK);
        assert_eq!(payload(&"try".into(), &first).unwrap(), NetlinkPayload::InnerMessage(message));
        for end in 0..bytes.len() {
            assert_eq!(answers(&bytes[..end]).count(), usize::from(end >= bytes.len() / 2), "{end}");
        }
        assert_eq!(answers(&[0; 32]).count(), 0, "a length of nothing must not be read for ever");
    }

    #[test]
    fn the_kernel_answers_a_dump_and_refuses_nonsense() {
        let mut route = Route::open().unwrap();
        let every_link = RouteNetlinkMessage::GetLink(LinkMessage::default());
        let links: Vec<RouteNetlinkMessage> =
            route.dump(Request::new("list the links", 0, every_link)).unwrap();
        assert!(!links.is_empty(), "every network namespace has one");
        let mut nowhere = LinkMessage::default();
        nowhere.header.index = i32::MAX as u32;
        let nowhere = RouteNetlinkMessage::GetLink(nowhere);
        let error = route.request(Request::new("find the link", 0, nowhere)).unwrap_err();
        assert_eq!(error.errno(), Some(Errno::ENODEV), "{error}");
    }
}
