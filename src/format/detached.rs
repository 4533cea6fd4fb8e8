//! Files with detached OpenPGP signatures, of which one may hold several.
//!
//! Signatures follow each other as packets or as blocks of armour (RFC 9580 §10.4 and §6.2), and of several one that
//! holds suffices. So the file of a signature can hold that of the present and that of the next version of what
//! is signed, while the one replaces the other.

use data_encoding::BASE64;

/// What follows the name of a file in that of its signature, likeliest first; the first one is armoured.
pub const ENDS: [&str; 3] = [".asc", ".gpg", ".sig"];

/// The notation by which a signature says what the file that it is of is called.
pub const NAME_NOTATION: &str = "name@reconcile";

/// Longest file of signatures of an index that is read or written, in bytes: what one has, a thousand times over.
pub const BYTES_MAX: u64 = 256 << 10;

/// How a block of armour begins.
const BEGIN: &[u8] = b"-----BEGIN PGP SIGNATURE-----";

/// Most blocks that are kept behind a new one: whoever reads them stops at some number.
const KEPT_MAX: usize = 8;

/// Two files of signatures as one; only the first where they are not of one form, nothing of the second is needed, or
/// nobody would read both.
pub fn joined(first: &[u8], second: &[u8]) -> Vec<u8> {
    let kept = blocks(second);
    let same_form = blocks(first).is_empty() == kept.is_empty();
    let too_long = (first.len() + second.len()) as u64 > BYTES_MAX;
    if !same_form || kept.len() > KEPT_MAX || first == second || too_long {
        return first.to_vec();
    }
    [first, second].concat()
}

/// What is inside of one block of armour: nothing where it is none.
pub fn binary(armour: &str) -> Option<Vec<u8>> {
    let inside = armour.lines().skip_while(|line| !line.trim().is_empty()).skip(1);
    // The checksum begins with `=`, the end with `-`.
    let base64: String = inside.take_while(|line| !line.starts_with(['=', '-'])).collect();
    BASE64.decode(base64.as_bytes()).ok()
}

/// The blocks of armour in a file; none in a binary one.
pub fn blocks(file: &[u8]) -> Vec<&[u8]> {
    let starts = file.windows(BEGIN.len()).enumerate();
    let starts: Vec<usize> = starts.filter(|(_, w)| *w == BEGIN).map(|(at, _)| at).collect();
    let ends = starts.iter().skip(1).copied().chain([file.len()]);
    starts.iter().zip(ends).filter_map(|(start, end)| file.get(*start..end)).collect()
}
