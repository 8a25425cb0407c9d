//! `linux/if_ether.h`. Its constants are signed in `libc`.

/// IPv4.
pub const ETH_P_IP: u16 = 0x0800;
/// IPv6.
pub const ETH_P_IPV6: u16 = 0x86dd;
