//! For tests: hostile values, and whether a parameter of a fault, as text again, is what was asked for.

use std::net::IpAddr;

/// Values that a shell, a path, a number parser, a list parser or a terminal would fall for.
pub const HOSTILE: &[&str] = &[
    "",
    " ",
    "1 ",
    " 1",
    "+1",
    "-1",
    "0x10",
    "1e2",
    "01",
    "1\n",
    "\n1",
    "1\0",
    "\0",
    "١",
    "½",
    "１",
    "1_000",
    "1,5",
    "1.0",
    "1;reboot",
    "$(reboot)",
    "`reboot`",
    "&& reboot",
    "| sh",
    "${IFS}",
    "../../etc/passwd",
    "/",
    "*",
    "~",
    "--help",
    "-9",
    "--",
    "1 --no-preserve-root",
    "%n%s",
    "{{ Percent }}",
    "{{ssm:x}}",
    "'1'",
    "\"1\"",
    "\\1",
    "4294967297",
    "18446744073709551616",
    "18446744073709551617",
    "NaN",
    "inf",
    "true",
    "null",
    "[1]",
    "{}",
    // Lists, addresses, names, interfaces.
    ",",
    "ALL,",
    ",ALL",
    "ALL,,ALL",
    "all",
    "ALL ",
    "S3;S3",
    "10.0.0.1 ",
    "10.0.0.1;reboot",
    "10.0.0.1,$(reboot)",
    "10.0.0.1\n10.0.0.2",
    "010.0.0.1",
    "0x0a.0.0.1",
    "167772161",
    "10.1",
    "256.0.0.1",
    "10.0.0.0/33",
    "10.0.0.0/-1",
    "10.0.0.0/8/8",
    "10.0.0.0/08",
    "0.0.0.0/0",
    "::/0",
    "::1%eth0",
    "[::1]",
    "::ffff:10.0.0.1",
    "a..b",
    ".",
    "-a",
    "a-",
    "xn--",
    "é.example",
    "a_b",
    "localhost",
    "127.0.0.1",
    "169.254.170.2",
    "eth0;reboot",
    "eth0/../x",
    "eth0 eth1",
    "lo",
    "sixteen-letters-",
    "DEFAULT,ALL",
    "TCP",
    "tcp\n",
    "tcp,udp",
    "6",
    "EGRESS",
    "egress;",
    "both",
    "65536",
    "65535",
    "0",
    "00443",
    "sigkill",
    "9",
    "SIGKILL\n",
    "\u{202e}1",
    "\u{feff}1",
    "1\u{200b}",
    "\u{1b}[2J",
];

/// Whether both say the same: the same text, the same number, or the same list of addresses, which may be written
/// in more than one way.
pub fn same(asked: &str, told: &str) -> bool {
    let is_number = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    if is_number(asked) && is_number(told) {
        return asked.trim_start_matches('0') == told.trim_start_matches('0');
    }
    let is_decimal =
        |text: &str| is_number(&text.replacen('.', "", 1)) && !text.starts_with('.') && !text.ends_with('.');
    if is_decimal(asked) && is_decimal(told) {
        return asked.parse::<f64>().ok() == told.parse::<f64>().ok();
    }
    let (asked, told): (Vec<_>, Vec<_>) = (asked.split(',').collect(), told.split(',').collect());
    asked.len() == told.len()
        && asked.iter().zip(&told).all(|(asked, told)| asked == told || net(asked) == net(told))
}

/// First address and length of the prefix. A word that is no address is nothing, and equals no other.
fn net(word: &str) -> Result<(IpAddr, u8), f64> {
    let (address, prefix) = word.split_once('/').unwrap_or((word, ""));
    let address: IpAddr = address.parse().map_err(|_| f64::NAN)?;
    let longest = if address.is_ipv4() { 32 } else { 128 };
    let prefix: u8 = if prefix.is_empty() { longest } else { prefix.parse().map_err(|_| f64::NAN)? };
    // An IPv4 address in IPv6's clothes is the IPv4 address.
    let (address, prefix) = match address.to_canonical() {
        v4 @ IpAddr::V4(_) if address.is_ipv6() && prefix >= 96 => (v4, prefix - 96),
        _ => (address, prefix),
    };
    let masked = match address {
        IpAddr::V4(v4) => IpAddr::from(
            (v4.to_bits() & u32::MAX.checked_shl(32 - u32::from(prefix)).unwrap_or(0)).to_be_bytes(),
        ),
        IpAddr::V6(v6) => IpAddr::from(
            (v6.to_bits() & u128::MAX.checked_shl(128 - u32::from(prefix)).unwrap_or(0)).to_be_bytes(),
        ),
    };
    Ok((masked, prefix))
}

#[test]
fn what_is_not_the_same_is_seen() {
    for (asked, told, same_thing) in [
        ("007", "7", true),
        ("7", "8", false),
        ("+7", "7", false),
        ("1.0", "1", true),
        ("1.01", "1", false),
        ("10.0.0.1/8,::0001", "10.0.0.0/8,::1", true),
        ("10.0.0.1", "10.0.0.1/32", true),
        ("a", "b", false),
        ("a", "a,a", false),
        ("10.0.0.1/8", "10.0.0.1", false),
        ("0.0.0.0/0", "::/0", false),
        ("::ffff:10.0.0.1", "10.0.0.1", true),
        ("::ffff:10.0.0.1", "10.0.0.2", false),
        ("::ffff:10.0.0.1/104", "10.0.0.0/8", true),
    ] {
        assert_eq!(same(asked, told), same_thing, "{asked} {told}");
    }
}
