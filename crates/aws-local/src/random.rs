//! Ids and secrets of the local AWS's own making.

use aws_lc_rs::rand;

/// The id of a managed instance: `mi-` and 17 hex digits (pattern of DeregisterManagedInstance).
pub(super) fn instance_id() -> String {
    let mut id = format!("mi-{}", hex::encode(bytes::<9>()));
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
    hex::encode(bytes::<20>())
}

/// Letters of both cases and digits.
pub(super) fn letters_and_digits(count: usize) -> String {
    const LETTERS: &[u8; 62] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";
    (0..count).map(|_| char::from(LETTERS[below(LETTERS.len())])).collect()
}

/// A number from 0 to `limit` - 1, all as likely; 0 if there is none below the limit.
pub(super) fn below(limit: usize) -> usize {
    // Of 64 random bits the remainder is even enough for any list that fits in memory.
    let number = u64::from_le_bytes(bytes::<8>()) % u64::try_from(limit.max(1)).unwrap_or(u64::MAX);
    usize::try_from(number).unwrap_or_default()
}

/// A token of 128 hex digits.
pub(super) fn token() -> String {
    hex::encode(bytes::<64>())
}

fn bytes<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    rand::fill(&mut bytes).expect("the system's random source works");
    bytes
}
