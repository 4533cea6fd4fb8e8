//! Files with detached OpenPGP signatures, of which one may hold several.
//!
//! Signatures follow each other as packets or as blocks of armour (RFC 9580 §10.4 and §6.2), and of several one that
//! holds suffices. So the file of a signature can hold that of the present and that of the next version of what
//! is signed, while the one replaces the other.

/// How armour begins.
const ARMOUR: u8 = b'-';

/// Two files of signatures as one; only the first where they are not of one form, or there is no second.
pub fn joined(first: &[u8], second: &[u8]) -> Vec<u8> {
    let is_armour = |bytes: &[u8]| bytes.first() == Some(&ARMOUR);
    if second.is_empty() || is_armour(first) != is_armour(second) || first == second {
        return first.to_vec();
    }
    [first, second].concat()
}
