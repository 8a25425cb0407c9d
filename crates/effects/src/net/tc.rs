//! Queueing disciplines: the requests about them, and what the kernel says of them (`linux/rtnetlink.h`).

use rtnetlink::packet_core::{
    DecodeError, DefaultNla, Emitable, NLM_F_CREATE, NLM_F_EXCL, NLM_F_REPLACE, NetlinkDeserializable,
    NetlinkHeader, Nla, NlasIterator, ParseableParametrized,
};
use rtnetlink::packet_route::RouteNetlinkMessage;
use rtnetlink::packet_route::tc::{TcAttribute, TcHandle, TcHeader, TcMessage, TcOption, TcStats2};

use super::link::Link;
use super::netlink::{NetlinkError, Purpose, Request, Route};

pub mod netem;
pub mod prio;

/// One queueing discipline, as the kernel describes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Qdisc {
    /// The number of its link.
    pub index: u32,
    /// [`TcHandle::UNSPEC`] for one that the kernel attached by itself.
    pub handle: TcHandle,
    /// [`TcHandle::ROOT`] for the root, else the class that it is in.
    pub parent: TcHandle,
    /// As `TCA_KIND` has it: `prio`.
    pub kind: String,
    /// Its parameters in the kernel's own form, which makes it again if it is sent back.
    pub options: Vec<u8>,
    /// Packets that have left it.
    pub packets: u32,
    /// Packets that it has dropped.
    pub drops: u32,
    /// Packets that wait in it now.
    pub waiting: u32,
}

/// Where a discipline is on a link.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    /// Its own.
    pub handle: TcHandle,
    /// [`TcHandle::ROOT`], or a class.
    pub parent: TcHandle,
}

/// All queueing disciplines of this network namespace, but for those that the kernel hides.
///
/// # Errors
/// The kernel refused the list.
pub fn list(route: &mut Route) -> Result<Vec<Qdisc>, NetlinkError> {
    let every_qdisc = RouteNetlinkMessage::GetQueueDiscipline(TcMessage::default());
    let listed: Vec<Listed> = route.dump(Request::new("list the queueing disciplines", 0, every_qdisc))?;
    Ok(listed.into_iter().map(|listed| listed.0).collect())
}

/// Adds a discipline where there is none.
pub fn add(
    purpose: Purpose,
    link: &Link,
    place: Place,
    kind: &str,
    options: Option<Vec<u8>>,
) -> Request<RouteNetlinkMessage> {
    new(purpose, NLM_F_CREATE | NLM_F_EXCL, link, place, kind, options)
}

/// Puts a discipline in the place of another.
pub fn replace(
    purpose: Purpose,
    link: &Link,
    place: Place,
    kind: &str,
    options: Option<Vec<u8>>,
) -> Request<RouteNetlinkMessage> {
    new(purpose, NLM_F_CREATE | NLM_F_REPLACE, link, place, kind, options)
}

/// Removes a discipline; the kernel attaches its default instead.
pub fn remove(purpose: Purpose, link: &Link, place: Place) -> Request<RouteNetlinkMessage> {
    Request::new(purpose, 0, RouteNetlinkMessage::DelQueueDiscipline(message(link, place)))
}

fn new(
    purpose: Purpose,
    flags: u16,
    link: &Link,
    place: Place,
    kind: &str,
    options: Option<Vec<u8>>,
) -> Request<RouteNetlinkMessage> {
    let mut message = message(link, place);
    message.attributes.push(TcAttribute::Kind(kind.to_owned()));
    let options = options.map(|options| TcAttribute::Other(DefaultNla::new(libc::TCA_OPTIONS, options)));
    message.attributes.extend(options);
    Request::new(purpose, flags, RouteNetlinkMessage::NewQueueDiscipline(message))
}

fn message(link: &Link, place: Place) -> TcMessage {
    let mut message = TcMessage::with_index(link.index.cast_signed());
    message.header.handle = place.handle;
    message.header.parent = place.parent;
    message
}

/// A discipline as a dump describes it.
struct Listed(Qdisc);

impl NetlinkDeserializable for Listed {
    type Error = DecodeError;

    fn deserialize(_: &NetlinkHeader, payload: &[u8]) -> Result<Listed, DecodeError> {
        let header = TcHeader::parse(payload)?;
        let mut qdisc = Qdisc {
            index: header.index.cast_unsigned(),
            handle: header.handle,
            parent: header.parent,
            kind: String::new(),
            options: Vec::new(),
            packets: 0,
            drops: 0,
            waiting: 0,
        };
        let attributes = payload.get(header.buffer_len()..).unwrap_or_default();
        for attribute in NlasIterator::new(attributes).map_while(Result::ok) {
            // With no kind given the parameters stay as they are: they are to be sent back byte by byte. What a
            // newer kernel says in another form is nothing that is asked for here.
            match TcAttribute::parse_with_param(&attribute, "") {
                Ok(TcAttribute::Kind(kind)) => qdisc.kind = kind,
                Ok(TcAttribute::Options(options)) => qdisc.options = bytes(&options),
                Ok(TcAttribute::Stats2(stats)) => read(&mut qdisc, &stats),
                _ => {}
            }
        }
        Ok(Listed(qdisc))
    }
}

fn bytes(options: &[TcOption]) -> Vec<u8> {
    let [option] = options else { return Vec::new() };
    let mut bytes = vec![0; option.value_len()];
    option.emit_value(&mut bytes);
    bytes
}

fn read(qdisc: &mut Qdisc, stats: &[TcStats2]) {
    for stats in stats {
        match stats {
            TcStats2::Basic(basic) => qdisc.packets = basic.packets,
            TcStats2::Queue(queue) => (qdisc.drops, qdisc.waiting) = (queue.drops, queue.qlen),
            _ => {}
        }
    }
}

/// Reads bytes as a discipline that the kernel lists.
#[cfg(fuzzing)]
pub(crate) fn fuzz(bytes: &[u8]) {
    let _ = Listed::deserialize(&NetlinkHeader::default(), bytes);
}
