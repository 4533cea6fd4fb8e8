//! Order of versions as systemd compares them (UAPI.10).
//!
//! Source: the UAPI group's Version Format Specification and systemd's implementation of it, which
//! is followed where the two differ: a number is newer than letters (`0 > a`). It is not SemVer's
//! order: `1.2.3-rc1 > 1.2.3`, `1.0 < 1.0.0`, and a prerelease is written `1.2.3~rc1`.
//!
//! Two different texts may be equal (`1.0` and `1.00`, `1_b` and `1+b`); [`compare_exactly`] never
//! says so, and is what decides between them.

use std::cmp::Ordering;

/// Longest version, in bytes: it is part of a file name.
pub const VERSION_BYTES_MAX: usize = 255;

/// Separators after the tilde, in the order in which they are older than anything else.
const SEPARATORS: [u8; 3] = [b'-', b'^', b'.'];

/// True for texts that may stand for `@v`: letters, digits and `.-~^_+`, at least one of them.
pub fn is_version(text: &str) -> bool {
    let fits = |b: u8| b.is_ascii_alphanumeric() || b".-~^_+".contains(&b);
    (1..=VERSION_BYTES_MAX).contains(&text.len()) && text.bytes().all(fits)
}

/// Compares two versions: the newer is greater. Linear in their lengths.
pub fn compare(a: &str, b: &str) -> Ordering {
    let (mut a, mut b) = (a.as_bytes(), b.as_bytes());
    loop {
        a = significant(a);
        b = significant(b);
        if let Some(order) = separator(&mut a, &mut b, b'~') {
            return order;
        }
        if a.is_empty() || b.is_empty() {
            return a.len().cmp(&b.len());
        }
        for byte in SEPARATORS {
            if let Some(order) = separator(&mut a, &mut b, byte) {
                return order;
            }
        }
        let numeric = starts_with_digit(a) || starts_with_digit(b);
        let kind: fn(&u8) -> bool =
            if numeric { u8::is_ascii_digit } else { u8::is_ascii_alphabetic };
        let (run_a, run_b) = (take_run(&mut a, kind), take_run(&mut b, kind));
        let order = if numeric { compare_numbers(run_a, run_b) } else { run_a.cmp(run_b) };
        if order != Ordering::Equal {
            return order;
        }
    }
}

/// As [`compare`], and texts that it calls equal by their bytes: equal only when identical.
pub fn compare_exactly(a: &str, b: &str) -> Ordering {
    compare(a, b).then_with(|| a.cmp(b))
}

/// Drops what has no meaning at the start: `_`, `+`, anything that is not ASCII.
fn significant(text: &[u8]) -> &[u8] {
    let means = |b: &u8| b.is_ascii_alphanumeric() || b"~-^.".contains(b);
    let start = text.iter().position(means).unwrap_or(text.len());
    text.get(start..).unwrap_or_default()
}

/// Whoever starts with the separator alone is older; when both do, it is dropped.
fn separator(a: &mut &[u8], b: &mut &[u8], byte: u8) -> Option<Ordering> {
    match (a.split_first(), b.split_first()) {
        (Some((x, rest_a)), Some((y, rest_b))) if *x == byte && *y == byte => {
            *a = rest_a;
            *b = rest_b;
            None
        }
        (Some((x, _)), _) if *x == byte => Some(Ordering::Less),
        (_, Some((y, _))) if *y == byte => Some(Ordering::Greater),
        _ => None,
    }
}

fn starts_with_digit(text: &[u8]) -> bool {
    text.first().is_some_and(u8::is_ascii_digit)
}

/// Takes the longest start that consists of one kind of character.
fn take_run<'a>(text: &mut &'a [u8], kind: fn(&u8) -> bool) -> &'a [u8] {
    let end = text.iter().position(|b| !kind(b)).unwrap_or(text.len());
    let (run, rest) = text.split_at_checked(end).unwrap_or((*text, &[]));
    *text = rest;
    run
}

/// Numbers of any length; no number at all is older than `0`.
fn compare_numbers(a: &[u8], b: &[u8]) -> Ordering {
    let bare = |run: &[u8]| run.iter().take_while(|d| **d == b'0').count();
    let digits = |run: &'_ [u8]| run.len() - bare(run);
    (!a.is_empty())
        .cmp(&!b.is_empty())
        .then_with(|| digits(a).cmp(&digits(b)))
        .then_with(|| a.get(bare(a)..).cmp(&b.get(bare(b)..)))
}

#[cfg(test)]
mod tests;
