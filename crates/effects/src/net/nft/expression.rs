//! The expressions that rules are made of: those that the netlink crate has, as functions that fill their
//! attributes in the order in which `nft` does, and those that it lacks, as types.
//!
//! A register holds 16 bytes; the registers of 32 bits lie over the same room in the same order, so that what is
//! loaded into neighbours can be hashed at once.

use netlink_packet_netfilter::nftables::{
    Bitwise, Cmp, DataAttribute, Expressions, Immediate, Lookup, Meta, MetaKey, Operator, Payload, Register,
    Verdict, VerdictAttribute,
};
use rtnetlink::packet_core::{DefaultNla, Nla, parse_u64_be};

use super::set::Set;
use crate::net::uapi::nf_tables::{
    NF_NAT_RANGE_PROTO_SPECIFIED, NFT_BITWISE_MASK_XOR, NFT_HASH_JENKINS, NFT_LOOKUP_F_INV,
    NFT_REJECT_TCP_RST, NFTA_BYTEORDER_DREG, NFTA_BYTEORDER_LEN, NFTA_BYTEORDER_OP, NFTA_BYTEORDER_SIZE,
    NFTA_BYTEORDER_SREG, NFTA_COUNTER_PACKETS, NFTA_DYNSET_OP, NFTA_DYNSET_SET_ID, NFTA_DYNSET_SET_NAME,
    NFTA_DYNSET_SREG_KEY, NFTA_FWD_SREG_DEV, NFTA_HASH_DREG, NFTA_HASH_LEN, NFTA_HASH_MODULUS,
    NFTA_HASH_SEED, NFTA_HASH_SREG, NFTA_HASH_TYPE, NFTA_NG_DREG, NFTA_NG_MODULUS, NFTA_NG_OFFSET,
    NFTA_NG_TYPE, NFTA_QUEUE_NUM, NFTA_QUEUE_TOTAL, NFTA_REDIR_FLAGS, NFTA_REDIR_REG_PROTO_MIN,
    NFTA_REJECT_TYPE,
};

/// `meta`: loads a fact about the packet.
pub fn load_meta(key: MetaKey, destination: Register) -> Expressions {
    Expressions::Meta(vec![Meta::Key(key), Meta::DestinationRegister(destination)])
}

/// `meta`: sets something of the packet.
pub fn set_meta(key: MetaKey, source: Register) -> Expressions {
    Expressions::Meta(vec![Meta::Key(key), Meta::SourceRegister(source)])
}

/// The header from whose beginning bytes are counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Header {
    /// That of IP.
    Network = libc::NFT_PAYLOAD_NETWORK_HEADER as isize,
    /// That of TCP, UDP or ICMP.
    Transport = libc::NFT_PAYLOAD_TRANSPORT_HEADER as isize,
}

/// `payload`: loads bytes of a header.
pub fn load_payload(header: Header, offset: u32, length: u32, destination: Register) -> Expressions {
    Expressions::Payload(vec![
        Payload::DestinationRegister(destination),
        Payload::Base(header as u32),
        Payload::Offset(offset),
        Payload::Len(length),
    ])
}

/// `cmp`: compares a register with a value. One that does not hold ends the rule.
pub fn compare(source: Register, operator: Operator, value: &[u8]) -> Expressions {
    Expressions::Cmp(vec![Cmp::SourceRegister(source), Cmp::Op(operator), Cmp::Data(data(value))])
}

/// `bitwise`: keeps the bits of a register that are set in the mask.
pub fn mask(register: Register, mask: &[u8]) -> Expressions {
    Expressions::Bitwise(vec![
        Bitwise::SourceRegister(register),
        Bitwise::DestinationRegister(register),
        Bitwise::Op(NFT_BITWISE_MASK_XOR),
        Bitwise::Length(u32::try_from(mask.len()).unwrap_or(u32::MAX)),
        Bitwise::Mask(data(mask)),
        Bitwise::Xor(data(&vec![0; mask.len()])),
    ])
}

/// `lookup`: goes on only if what a register holds is in the set.
pub fn lookup(source: Register, set: &Set) -> Expressions {
    Expressions::Lookup(vec![
        Lookup::SourceRegister(source),
        Lookup::Set(set.name.clone()),
        Lookup::SetId(set.id),
    ])
}

/// `lookup`: goes on only if what a register holds is not in the set.
pub fn lookup_missing(source: Register, set: &Set) -> Expressions {
    Expressions::Lookup(vec![
        Lookup::SourceRegister(source),
        Lookup::Set(set.name.clone()),
        Lookup::SetId(set.id),
        Lookup::Flags(NFT_LOOKUP_F_INV),
    ])
}

/// `immediate`: puts a value into a register.
pub fn put(destination: Register, value: &[u8]) -> Expressions {
    Expressions::Immediate(vec![Immediate::DestinationRegister(destination), Immediate::Data(data(value))])
}

/// `immediate`: the packet goes on.
pub fn accept() -> Expressions {
    verdict(vec![VerdictAttribute::Code(Verdict::Other(libc::NF_ACCEPT as u32))])
}

/// `immediate`: the packet is dropped.
pub fn drop() -> Expressions {
    verdict(vec![VerdictAttribute::Code(Verdict::Other(libc::NF_DROP as u32))])
}

/// `immediate`: goes on in another chain, and ends with it.
pub fn goto(chain: &str) -> Expressions {
    verdict(vec![VerdictAttribute::Code(Verdict::Goto), VerdictAttribute::Chain(chain.to_owned())])
}

fn verdict(verdict: Vec<VerdictAttribute>) -> Expressions {
    Expressions::Immediate(vec![
        Immediate::DestinationRegister(Register::Verdict),
        Immediate::Data(DataAttribute::Verdict(verdict)),
    ])
}

fn data(value: &[u8]) -> DataAttribute {
    DataAttribute::Value(value.to_vec())
}

/// `hash`: hashes bytes from a register on, modulo a number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Hash {
    /// Where the bytes begin.
    pub source: Register,
    /// Where the result goes.
    pub destination: Register,
    /// In bytes.
    pub length: u32,
    /// The result is below this.
    pub modulus: u32,
    /// Begins the hash: another seed gives another result.
    pub seed: u32,
}

impl From<Hash> for Expressions {
    fn from(hash: Hash) -> Expressions {
        other(
            "hash",
            vec![
                number(NFTA_HASH_SREG, hash.source),
                number(NFTA_HASH_DREG, hash.destination),
                number(NFTA_HASH_LEN, hash.length),
                number(NFTA_HASH_MODULUS, hash.modulus),
                number(NFTA_HASH_SEED, hash.seed),
                number(NFTA_HASH_TYPE, NFT_HASH_JENKINS),
            ],
        )
    }
}

/// `numgen`: a random number below another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Random {
    /// Where the number goes.
    pub destination: Register,
    /// The number is below this.
    pub modulus: u32,
}

impl From<Random> for Expressions {
    fn from(random: Random) -> Expressions {
        let no_offset = 0_u32;
        other(
            "numgen",
            vec![
                number(NFTA_NG_DREG, random.destination),
                number(NFTA_NG_MODULUS, random.modulus),
                number(NFTA_NG_TYPE, libc::NFT_NG_RANDOM as u32),
                number(NFTA_NG_OFFSET, no_offset),
            ],
        )
    }
}

/// `byteorder`: turns a number in a register from the machine's order into the network's, in which comparisons
/// are made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HostToNetwork {
    /// The register that is read and written.
    pub register: Register,
}

impl From<HostToNetwork> for Expressions {
    fn from(HostToNetwork { register }: HostToNetwork) -> Expressions {
        let bytes = u32::BITS / u8::BITS;
        other(
            "byteorder",
            vec![
                number(NFTA_BYTEORDER_SREG, register),
                number(NFTA_BYTEORDER_DREG, register),
                number(NFTA_BYTEORDER_OP, libc::NFT_BYTEORDER_HTON as u32),
                number(NFTA_BYTEORDER_LEN, bytes),
                number(NFTA_BYTEORDER_SIZE, bytes),
            ],
        )
    }
}

/// `dynset`: puts the key that begins in a register into a set, or makes it young again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Update<'a> {
    /// A set with the flags eval and timeout.
    pub set: &'a Set,
    /// Where the key begins.
    pub key: Register,
}

impl From<Update<'_>> for Expressions {
    fn from(Update { set, key }: Update<'_>) -> Expressions {
        other(
            "dynset",
            vec![
                number(NFTA_DYNSET_SREG_KEY, key),
                number(NFTA_DYNSET_OP, libc::NFT_DYNSET_OP_UPDATE as u32),
                DefaultNla::new(NFTA_DYNSET_SET_NAME, format!("{}\0", set.name).into_bytes()),
                number(NFTA_DYNSET_SET_ID, set.id),
            ],
        )
    }
}

/// `fwd`: sends the packet out by the device whose index is in a register. Ends the chain.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Forward {
    /// The register that holds the index.
    pub device: Register,
}

impl From<Forward> for Expressions {
    fn from(Forward { device }: Forward) -> Expressions {
        other("fwd", vec![number(NFTA_FWD_SREG_DEV, device)])
    }
}

/// `queue`: hands the packet to whoever listens to the queue of that number in this network namespace. Where nobody does
/// the packet is dropped, and its sender is not told: `NF_QUEUE` without a listener is a success to whoever sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Queue {
    /// The queue's number.
    pub number: u16,
}

impl Queue {
    /// As rules name the expression.
    pub const NAME: &str = "queue";
}

impl From<Queue> for Expressions {
    fn from(Queue { number }: Queue) -> Expressions {
        let one = 1_u16;
        let short = |kind, value: u16| DefaultNla::new(kind, value.to_be_bytes().to_vec());
        other(Queue::NAME, vec![short(NFTA_QUEUE_NUM, number), short(NFTA_QUEUE_TOTAL, one)])
    }
}

/// `redir`: the connection that the packet begins goes to a port of this machine instead. Only in chains of the kind
/// nat.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ToPort {
    /// The register that holds the port, in the network's order.
    pub port: Register,
}

impl From<ToPort> for Expressions {
    fn from(ToPort { port }: ToPort) -> Expressions {
        let flags = number(NFTA_REDIR_FLAGS, NF_NAT_RANGE_PROTO_SPECIFIED);
        other("redir", vec![number(NFTA_REDIR_REG_PROTO_MIN, port), flags])
    }
}

/// `reject`: answers a packet of TCP with a reset, and drops it. Ends the chain.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TcpReset;

impl TcpReset {
    /// As rules name the expression.
    pub const NAME: &str = "reject";
}

impl From<TcpReset> for Expressions {
    fn from(TcpReset: TcpReset) -> Expressions {
        other(TcpReset::NAME, vec![number(NFTA_REJECT_TYPE, NFT_REJECT_TCP_RST)])
    }
}

/// `counter`: counts packets.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counter {
    /// How many packets it has counted.
    pub packets: u64,
}

impl Counter {
    pub(super) const NAME: &str = "counter";

    /// A counter that begins at nothing.
    pub fn start() -> Expressions {
        other(Counter::NAME, Vec::new())
    }

    /// What a counter has counted, if that is what the expression is.
    pub fn read(expression: &Expressions) -> Option<Counter> {
        let attributes = match expression {
            Expressions::Other { expression_type, attributes } if expression_type == Counter::NAME => {
                attributes
            }
            _ => return None,
        };
        let packets = attributes.iter().find(|attribute| attribute.kind() == NFTA_COUNTER_PACKETS)?;
        let mut value = vec![0; packets.value_len()];
        packets.emit_value(&mut value);
        Some(Counter { packets: parse_u64_be(&value).ok()? })
    }
}

fn other(name: &str, attributes: Vec<DefaultNla>) -> Expressions {
    Expressions::Other { expression_type: name.to_owned(), attributes }
}

/// An attribute that is a number, in the network's order as all of nf_tables'.
fn number(kind: u16, value: impl Into<u32>) -> DefaultNla {
    DefaultNla::new(kind, value.into().to_be_bytes().to_vec())
}

#[cfg(test)]
mod tests {
    use netlink_packet_netfilter::nftables::ListAttribute;
    use rtnetlink::packet_core::Emitable;

    use super::*;

    fn is_sent_as(expression: impl Into<Expressions>, golden: &str) {
        let golden: Vec<u8> =
            golden.split_whitespace().map(|byte| u8::from_str_radix(byte, 16).unwrap()).collect();
        let list = [ListAttribute::from(expression.into())];
        let mut bytes = vec![0; list.as_slice().buffer_len()];
        list.as_slice().emit(&mut bytes);
        assert_eq!(bytes, golden);
    }

    /// strace of nft 1.0.6 (Debian 12): `nft add rule inet a o counter queue num 29798`, from the second expression on.
    #[test]
    fn a_queue_is_what_nft_sends() {
        let golden = "24 00 01 80 0a 00 01 00 71 75 65 75 65 00 00 00 14 00 02 80 \
                      06 00 01 00 74 66 00 00 06 00 02 00 00 01 00 00";
        is_sent_as(Queue { number: 29_798 }, golden);
    }

    /// `nft --debug=mnl add rule inet t o meta l4proto tcp redirect to :9000` (1.0.6), the last expression.
    #[test]
    fn a_redirection_is_what_nft_sends() {
        let golden = "24 00 01 80 0a 00 01 00 72 65 64 69 72 00 00 00 14 00 02 80 \
                      08 00 01 00 00 00 00 01 08 00 03 00 00 00 00 02";
        is_sent_as(ToPort { port: Register::Reg1 }, golden);
    }
}
