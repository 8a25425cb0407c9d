//! Ids and secrets of the local AWS's own making.

use aws_lc_rs::rand;

use super::wire::hex;

/// The id of a managed instance: `mi-` and 17 hex digits (pattern of DeregisterManagedInstance).
pub(super) fn instance_id() -> String {
    let mut id = format!("mi-{}", hex(&bytes::<9>()));
    id.truncate(20);
    id
}

/// An access key id of temporary credentials, `ASIA` and 16 characters.
pub(super) fn access_key_id() -> String {
    const LETTERS: &[u8; 32] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";
    let tail = bytes::<16>().map(|byte| char::from(LETTERS[usize::from(byte % 32)]));
    format!("ASIA{}", tail.iter().collect::<String>())
}

/// A secret of 40 hex digits.
pub(super) fn secret() -> String {
    hex(&bytes::<20>())
}

/// A token of 128 hex digits.
pub(super) fn token() -> String {
    hex(&bytes::<64>())
}

fn bytes<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    rand::fill(&mut bytes).expect("the system's random source works");
    bytes
}
