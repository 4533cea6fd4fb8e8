//! Binary patches in the format of bsdiff 4, `BSDIFF40`.
//!
//! A patch turns one exact file (old) into another (new). Source of the format: bsdiff 4.3, `bsdiff(1)` and
//! `bspatch(1)`; go-selfupdate publishes it too. All numbers are 8 bytes, little-endian, sign and magnitude: bit 63
//! is the sign, the rest the absolute value.
//!
//! | offset | bytes | what |
//! |---|---|---|
//! | 0 | 8 | `BSDIFF40` |
//! | 8 | 8 | size *c* of the packed control stream |
//! | 16 | 8 | size *d* of the packed difference stream |
//! | 24 | 8 | size of the new file |
//! | 32 | *c* | control, bzip2 |
//! | 32+*c* | *d* | difference, bzip2 |
//! | 32+*c*+*d* | rest | extra, bzip2 |
//!
//! Control is a list of triples (add, copy, seek): *add* bytes of the new file are the sum, modulo 256, of as many
//! bytes of the difference stream and of the old file; then *copy* bytes are taken from the extra stream; then the
//! place in the old file moves by *seek*, which may be negative. Bytes outside the old file count as 0.
//!
//! A patch carries no digest of either file: what it made is worth something only after its digest was compared.

mod apply;
mod make;
mod matches;
#[cfg(test)]
mod tests;

pub use apply::{ApplyError, Header, apply};
pub use make::{MakeError, OLD_BYTES_MAX, make};

/// How a patch begins.
const MAGIC: &[u8; 8] = b"BSDIFF40";

/// How a patch of Endsley's bsdiff begins: one stream instead of three.
const MAGIC_ENDSLEY: &[u8; 8] = b"ENDSLEY/";

/// Bytes before the first stream.
const HEADER_BYTES: usize = 32;

/// Bytes of a control triple.
const TRIPLE_BYTES: usize = 24;

/// The sign of a number.
const SIGN: u64 = 1 << 63;

/// A number of the format; every value of its 64 bits is one.
fn number(bytes: [u8; 8]) -> i64 {
    let raw = u64::from_le_bytes(bytes);
    let magnitude = (raw & !SIGN).cast_signed();
    if raw & SIGN == 0 { magnitude } else { -magnitude }
}

/// The bytes of a number. The lowest value of `i64` has none and does not occur: numbers are differences of
/// sizes of memory.
fn number_bytes(value: i64) -> [u8; 8] {
    let sign = if value < 0 { SIGN } else { 0 };
    (value.unsigned_abs() | sign).to_le_bytes()
}
