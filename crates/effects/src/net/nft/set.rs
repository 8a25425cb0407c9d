//! Sets and their elements.

use netlink_packet_netfilter::NetfilterMessage;
use netlink_packet_netfilter::nftables::{
    NfTablesMessage, SetAttribute, SetDescription, SetElementList, SetElementMessage, SetFlags, SetMessage,
};
use rtnetlink::packet_core::{DefaultNla, Emitable, NLA_F_NESTED, NLM_F_CREATE, Nla};

use super::table::Table;
use super::user_data::{self, ByteOrder};
use crate::net::netlink::{Purpose, Request};
use crate::net::uapi::nf_tables::{
    NFT_SET_ELEM_INTERVAL_END, NFTA_DATA_VALUE, NFTA_LIST_ELEM, NFTA_SET_ELEM_FLAGS, NFTA_SET_ELEM_KEY,
    NFTA_SET_ELEM_LIST_ELEMENTS, NFTA_SET_ELEM_TIMEOUT,
};

/// A set, by what it is known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Set {
    /// Unique within its table.
    pub name: String,
    /// Within the change that makes it.
    pub id: u32,
}

/// What the parts of a key are, by the number that `nft` has for them so that it can print them (`datatype.h`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeyType {
    /// `NFPROTO_*`, 1 byte.
    NetfilterProtocol = 2,
    /// 4 bytes.
    Ipv4Address = 7,
    /// 16 bytes.
    Ipv6Address = 8,
    /// As link layers name it, 2 bytes.
    EtherType = 10,
    /// The number of a transport protocol, 1 byte.
    Protocol = 12,
    /// 2 bytes.
    Port = 13,
}

impl KeyType {
    /// How many bits of a key's type each part takes (`TYPE_BITS` of nft).
    const BITS: u32 = 6;

    /// The number for keys of these parts, one after the other.
    fn number(parts: &[KeyType]) -> u32 {
        parts.iter().fold(0, |all, part| all << KeyType::BITS | *part as u32)
    }
}

/// What elements a set has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Keys<'a> {
    /// One, or several that are concatenated.
    pub parts: &'a [KeyType],
    /// In bytes, each part in whole words of 32 bits.
    pub length: u32,
}

impl Keys<'_> {
    /// In which order `nft` takes the bytes of a key of one part to be.
    fn order(&self) -> ByteOrder {
        match self.parts {
            [KeyType::NetfilterProtocol] => ByteOrder::Host,
            _ => ByteOrder::Network,
        }
    }

    fn attributes(&self, flags: SetFlags, id: u32) -> Vec<SetAttribute> {
        vec![
            SetAttribute::Flags(flags),
            SetAttribute::KeyType(KeyType::number(self.parts)),
            SetAttribute::KeyLen(self.length),
            // Needs a number within the change, even where it is only ever named.
            SetAttribute::Id(id),
        ]
    }
}

impl Table {
    /// Adds a set of single values, or of intervals.
    pub fn add_set(&self, set: &Set, keys: Keys<'_>, flags: SetFlags) -> Request<NetfilterMessage> {
        let mut attributes = keys.attributes(flags, set.id);
        attributes.push(SetAttribute::UserData(user_data::one_value(keys.order())));
        self.new_set(set, attributes)
    }

    /// Adds a set of single values, each of which has a time of its own ([`Element::timeout_ms`]).
    pub fn add_timed_set(&self, set: &Set, keys: Keys<'_>) -> Request<NetfilterMessage> {
        let mut attributes = keys.attributes(SetFlags::Timeout, set.id);
        attributes.push(SetAttribute::UserData(user_data::one_value(keys.order())));
        self.new_set(set, attributes)
    }

    /// Adds a set of concatenated values to which rules add; at most `size` of them, each for so many
    /// milliseconds since it was added last.
    pub fn add_dynamic_set(
        &self,
        set: &Set,
        keys: Keys<'_>,
        size: u32,
        timeout_ms: u64,
    ) -> Request<NetfilterMessage> {
        let mut attributes = keys.attributes(SetFlags::Eval | SetFlags::Timeout, set.id);
        attributes.extend([
            SetAttribute::Description(vec![SetDescription::Size(size)]),
            SetAttribute::Timeout(timeout_ms),
            SetAttribute::UserData(user_data::concatenation()),
        ]);
        self.new_set(set, attributes)
    }

    fn new_set(&self, set: &Set, more: Vec<SetAttribute>) -> Request<NetfilterMessage> {
        let mut attributes = self.set(set);
        attributes.extend(more);
        let message = NfTablesMessage::NewSet(SetMessage { attributes });
        self.request(format!("add the set {}", set.name), NLM_F_CREATE, message)
    }

    /// Removes a set, which no rule may use any more.
    pub fn delete_set(&self, purpose: Purpose, set: &Set) -> Request<NetfilterMessage> {
        self.request(purpose, 0, NfTablesMessage::DeleteSet(SetMessage { attributes: self.set(set) }))
    }

    fn set(&self, set: &Set) -> Vec<SetAttribute> {
        vec![SetAttribute::Table(self.name.clone()), SetAttribute::Name(set.name.clone())]
    }

    /// Adds elements to a set: at most as many as an attribute of 64 KiB holds.
    pub fn add_elements<K: AsRef<[u8]>>(
        &self,
        set: &Set,
        elements: &[Element<K>],
    ) -> Request<NetfilterMessage> {
        let message = NfTablesMessage::NewSetElement(self.elements(set, elements));
        self.request(format!("add to the set {}", set.name), NLM_F_CREATE, message)
    }

    /// Removes elements from a set, which must have them: at most as many as an attribute of 64 KiB holds.
    pub fn delete_elements<K: AsRef<[u8]>>(
        &self,
        set: &Set,
        elements: &[Element<K>],
    ) -> Request<NetfilterMessage> {
        let message = NfTablesMessage::DeleteSetElement(self.elements(set, elements));
        self.request(format!("remove from the set {}", set.name), 0, message)
    }

    fn elements<K: AsRef<[u8]>>(&self, set: &Set, elements: &[Element<K>]) -> SetElementMessage {
        let mut list = vec![0; elements.buffer_len()];
        elements.emit(&mut list);
        let list = DefaultNla::new(NFTA_SET_ELEM_LIST_ELEMENTS | NLA_F_NESTED, list);
        let attributes = vec![
            SetElementList::Table(self.name.clone()),
            SetElementList::Set(set.name.clone()),
            SetElementList::Other(list),
        ];
        SetElementMessage { attributes }
    }
}

/// An element of a set, as it stands in a list (`NFTA_LIST_ELEM`).
///
/// `SetElementAttribute` of the netlink crate says the same in three allocations; of 65,536 elements that is
/// felt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Element<K> {
    /// In the network's order.
    pub key: K,
    /// Whether it ends an interval, rather than beginning one or being a single value.
    pub ends_interval: bool,
    /// After how many milliseconds the kernel removes it, by its monotonic clock. Only in a set of timed elements.
    pub timeout_ms: Option<u64>,
}

impl<K> Element<K> {
    /// A single value, for as long as the set lives.
    pub fn single(key: K) -> Element<K> {
        Element { key, ends_interval: false, timeout_ms: None }
    }
}

impl<K: AsRef<[u8]>> Element<K> {
    fn flags(&self) -> Option<Flags> {
        self.ends_interval.then_some(Flags(NFT_SET_ELEM_INTERVAL_END))
    }

    fn timeout(&self) -> Option<Timeout> {
        self.timeout_ms.map(Timeout)
    }

    fn key(&self) -> Key<'_> {
        Key(Value(self.key.as_ref()))
    }
}

impl<K: AsRef<[u8]>> Nla for Element<K> {
    fn value_len(&self) -> usize {
        self.flags().map_or(0, |flags| flags.buffer_len())
            + self.timeout().map_or(0, |timeout| timeout.buffer_len())
            + self.key().buffer_len()
    }

    fn kind(&self) -> u16 {
        NFTA_LIST_ELEM | NLA_F_NESTED
    }

    fn emit_value(&self, buffer: &mut [u8]) {
        let mut start = 0;
        if let Some(flags) = self.flags() {
            flags.emit(buffer);
            start = flags.buffer_len();
        }
        if let Some(timeout) = self.timeout() {
            timeout.emit(&mut buffer[start..]);
            start += timeout.buffer_len();
        }
        self.key().emit(&mut buffer[start..]);
    }
}

/// `NFTA_SET_ELEM_FLAGS`.
struct Flags(u32);

impl Nla for Flags {
    fn value_len(&self) -> usize {
        size_of::<u32>()
    }

    fn kind(&self) -> u16 {
        NFTA_SET_ELEM_FLAGS
    }

    fn emit_value(&self, buffer: &mut [u8]) {
        buffer.copy_from_slice(&self.0.to_be_bytes());
    }
}

/// `NFTA_SET_ELEM_TIMEOUT`.
struct Timeout(u64);

impl Nla for Timeout {
    fn value_len(&self) -> usize {
        size_of::<u64>()
    }

    fn kind(&self) -> u16 {
        NFTA_SET_ELEM_TIMEOUT
    }

    fn emit_value(&self, buffer: &mut [u8]) {
        buffer.copy_from_slice(&self.0.to_be_bytes());
    }
}

/// `NFTA_SET_ELEM_KEY`.
struct Key<'a>(Value<'a>);

impl Nla for Key<'_> {
    fn value_len(&self) -> usize {
        self.0.buffer_len()
    }

    fn kind(&self) -> u16 {
        NFTA_SET_ELEM_KEY | NLA_F_NESTED
    }

    fn emit_value(&self, buffer: &mut [u8]) {
        self.0.emit(buffer);
    }
}

/// `NFTA_DATA_VALUE`.
struct Value<'a>(&'a [u8]);

impl Nla for Value<'_> {
    fn value_len(&self) -> usize {
        self.0.len()
    }

    fn kind(&self) -> u16 {
        NFTA_DATA_VALUE
    }

    fn emit_value(&self, buffer: &mut [u8]) {
        buffer.copy_from_slice(self.0);
    }
}
