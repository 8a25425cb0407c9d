//! `linux/netfilter/nf_tables.h`.

/// `enum nft_table_attributes`.
pub const NFTA_TABLE_NAME: u16 = 1;
/// The number of the socket that owns it.
pub const NFTA_TABLE_OWNER: u16 = 7;

/// The devices of a chain, in `enum nft_devices_attributes`.
pub const NFTA_DEVICE_NAME: u16 = 1;

/// An element of a list, in `enum nft_list_attributes`.
pub const NFTA_LIST_ELEM: u16 = 1;
/// The elements of a message about them, in `enum nft_set_elem_list_attributes`.
pub const NFTA_SET_ELEM_LIST_ELEMENTS: u16 = 3;
/// `enum nft_set_elem_attributes`.
pub const NFTA_SET_ELEM_KEY: u16 = 1;
/// `NFT_SET_ELEM_*`.
pub const NFTA_SET_ELEM_FLAGS: u16 = 3;
/// After how many milliseconds it is gone.
pub const NFTA_SET_ELEM_TIMEOUT: u16 = 4;
/// `enum nft_set_elem_flags`.
pub const NFT_SET_ELEM_INTERVAL_END: u32 = 1;
/// A value, in `enum nft_data_attributes`.
pub const NFTA_DATA_VALUE: u16 = 1;

/// `enum nft_rule_attributes`.
pub const NFTA_RULE_CHAIN: u16 = 2;
/// A list of expressions.
pub const NFTA_RULE_EXPRESSIONS: u16 = 4;

/// The operation of `bitwise` that is a mask and then an exclusive or, in `enum nft_bitwise_ops`.
pub const NFT_BITWISE_MASK_XOR: u32 = 0;

/// `enum nft_byteorder_attributes`.
pub const NFTA_BYTEORDER_SREG: u16 = 1;
/// The destination register.
pub const NFTA_BYTEORDER_DREG: u16 = 2;
/// `NFT_BYTEORDER_*`.
pub const NFTA_BYTEORDER_OP: u16 = 3;
/// How many bytes are turned.
pub const NFTA_BYTEORDER_LEN: u16 = 4;
/// The size of each number, in bytes.
pub const NFTA_BYTEORDER_SIZE: u16 = 5;

/// `enum nft_counter_attributes`.
pub const NFTA_COUNTER_PACKETS: u16 = 2;

/// `enum nft_dynset_attributes`.
pub const NFTA_DYNSET_SET_NAME: u16 = 1;
/// The set's number within the change.
pub const NFTA_DYNSET_SET_ID: u16 = 2;
/// `NFT_DYNSET_OP_*`.
pub const NFTA_DYNSET_OP: u16 = 3;
/// The register of the key.
pub const NFTA_DYNSET_SREG_KEY: u16 = 4;

/// `enum nft_fwd_attributes`.
pub const NFTA_FWD_SREG_DEV: u16 = 1;

/// `enum nft_hash_attributes`.
pub const NFTA_HASH_SREG: u16 = 1;
/// The destination register.
pub const NFTA_HASH_DREG: u16 = 2;
/// How many bytes are hashed.
pub const NFTA_HASH_LEN: u16 = 3;
/// The hash is below this.
pub const NFTA_HASH_MODULUS: u16 = 4;
/// Any number.
pub const NFTA_HASH_SEED: u16 = 5;
/// `NFT_HASH_*`.
pub const NFTA_HASH_TYPE: u16 = 7;
/// `enum nft_hash_types`.
pub const NFT_HASH_JENKINS: u32 = 0;

/// The register of the port, in `enum nft_redir_attributes`.
pub const NFTA_REDIR_REG_PROTO_MIN: u16 = 1;
/// `NF_NAT_RANGE_*`.
pub const NFTA_REDIR_FLAGS: u16 = 3;
/// A port is given (`linux/netfilter/nf_nat.h`).
pub const NF_NAT_RANGE_PROTO_SPECIFIED: u32 = 1 << 1;

/// `enum nft_queue_attributes`; numbers of 16 bits.
pub const NFTA_QUEUE_NUM: u16 = 1;
/// How many queues there are from that number on.
pub const NFTA_QUEUE_TOTAL: u16 = 2;

/// `enum nft_reject_attributes`.
pub const NFTA_REJECT_TYPE: u16 = 1;
/// `enum nft_reject_types`.
pub const NFT_REJECT_TCP_RST: u32 = 1;

/// Goes on if the set lacks what is looked up, of `lookup`.
pub const NFT_LOOKUP_F_INV: u32 = 1;

/// `enum nft_ng_attributes`.
pub const NFTA_NG_DREG: u16 = 1;
/// The number is below this.
pub const NFTA_NG_MODULUS: u16 = 2;
/// `NFT_NG_*`.
pub const NFTA_NG_TYPE: u16 = 3;
/// Added to the number.
pub const NFTA_NG_OFFSET: u16 = 4;
