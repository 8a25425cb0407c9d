//! `linux/netlink.h`.

/// The text of an extended acknowledgement, in `enum nlmsgerr_attrs`.
pub const NLMSGERR_ATTR_MSG: u16 = 1;
