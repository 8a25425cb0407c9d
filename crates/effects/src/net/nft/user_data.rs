//! What `nft` keeps with a set, for itself: the kernel stores it and gives it back (`libnftnl/udata.h`, and
//! `datatype.h`, `expression.h` of nft).

/// `NFTNL_UDATA_SET_KEYBYTEORDER`: in which order the bytes of the keys are.
const KEY_BYTE_ORDER: u8 = 0;
/// `NFTNL_UDATA_SET_KEY_TYPEOF`: which expression the keys are.
const KEY_TYPE_OF: u8 = 3;
/// `NFTNL_UDATA_SET_TYPEOF_EXPR`, `NFTNL_UDATA_SET_TYPEOF_DATA`: the kind of that expression, and its parts.
const EXPRESSION: u8 = 0;
const EXPRESSION_DATA: u8 = 1;
/// `BYTEORDER_INVALID`, for keys of several parts.
const SEVERAL_ORDERS: u32 = 0;
/// `EXPR_CONCAT`.
const CONCATENATION: u32 = 13;

/// In which order the bytes of a key are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ByteOrder {
    /// `BYTEORDER_HOST_ENDIAN`.
    Host = 1,
    /// `BYTEORDER_BIG_ENDIAN`.
    Network = 2,
}

/// Keys that are one value in that order.
pub(super) fn one_value(order: ByteOrder) -> Vec<u8> {
    entry(KEY_BYTE_ORDER, &(order as u32).to_ne_bytes())
}

/// Keys that are several values one after the other.
pub(super) fn concatenation() -> Vec<u8> {
    let kind = entry(EXPRESSION, &CONCATENATION.to_ne_bytes());
    let key = [kind, entry(EXPRESSION_DATA, &[])].concat();
    [entry(KEY_BYTE_ORDER, &SEVERAL_ORDERS.to_ne_bytes()), entry(KEY_TYPE_OF, &key)].concat()
}

/// One entry: its kind, its length, its value.
fn entry(kind: u8, value: &[u8]) -> Vec<u8> {
    // Entries are a few bytes long.
    let length = u8::try_from(value.len()).unwrap_or(u8::MAX);
    [&[kind, length], value].concat()
}
