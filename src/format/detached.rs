//! Files with detached OpenPGP signatures, of which one may hold several.
//!
//! Signatures follow each other as packets or as blocks of armour (RFC 9580 §10.4 and §6.2), and of several one that
//! holds suffices. So the file of a signature can hold that of the present and that of the next version of what
//! is signed, while the one replaces the other.

/// What follows the name of a file in that of its signature, likeliest first; the first one is armoured.
pub const ENDS: [&str; 3] = [".asc", ".gpg", ".sig"];

/// Longest file of signatures that is kept beside a new one, in bytes.
pub const KEPT_BYTES_MAX: u64 = 64 << 10;

/// How a block of armour begins.
const BEGIN: &[u8] = b"-----BEGIN PGP SIGNATURE-----";

/// Most blocks that are kept behind a new one: whoever reads them stops at some number.
const KEPT_MAX: usize = 8;

/// Two files of signatures as one; only the first where they are not of one form, or nothing of the second is needed.
pub fn joined(first: &[u8], second: &[u8]) -> Vec<u8> {
    let kept = blocks(second);
    let same_form = blocks(first).is_empty() == kept.is_empty();
    if !same_form || kept.len() > KEPT_MAX || first == second {
        return first.to_vec();
    }
    [first, second].concat()
}

/// The blocks of armour in a file; none in a binary one.
pub fn blocks(file: &[u8]) -> Vec<&[u8]> {
    let starts = file.windows(BEGIN.len()).enumerate();
    let starts: Vec<usize> = starts.filter(|(_, w)| *w == BEGIN).map(|(at, _)| at).collect();
    let ends = starts.iter().skip(1).copied().chain([file.len()]);
    starts.iter().zip(ends).filter_map(|(start, end)| file.get(*start..end)).collect()
}
