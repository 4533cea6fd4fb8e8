//! What an artifact is, by its first bytes, and whether that is what its name promises.

use crate::unpack::error::UnpackError;
use crate::unpack::inflate::Coding;
use crate::unpack::nodes::Magic;
use crate::unpack::tar;

/// Bytes that recognising needs: one tar header.
pub(super) const HEAD_BYTES: usize = tar::BLOCK;

/// Bytes of an unknown file that are shown.
const SHOWN_BYTES: usize = 40;

/// What the bytes themselves are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Container {
    /// A zip archive.
    Zip,
    /// One stream, which may hold a tar archive or a program.
    Stream(Coding),
}

/// What a stream holds once it is unpacked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Inner {
    /// A tar archive.
    Tar,
    /// A program.
    Program,
}

/// What the end of a name promises.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Claim {
    ending: &'static str,
    container: Container,
    /// Whether a tar archive is inside; `None` when the ending does not say (`.gz`).
    inner: Option<Inner>,
}

const fn tar_claim(ending: &'static str, coding: Coding) -> Claim {
    Claim { ending, container: Container::Stream(coding), inner: Some(Inner::Tar) }
}

const fn stream_claim(ending: &'static str, coding: Coding) -> Claim {
    Claim { ending, container: Container::Stream(coding), inner: None }
}

/// Endings that promise something, the longer before those they end in.
const CLAIMS: [Claim; 17] = [
    tar_claim(".tar.gz", Coding::Gzip),
    tar_claim(".tgz", Coding::Gzip),
    tar_claim(".tar.xz", Coding::Xz),
    tar_claim(".txz", Coding::Xz),
    tar_claim(".tar.zst", Coding::Zstd),
    tar_claim(".tar.zstd", Coding::Zstd),
    tar_claim(".tzst", Coding::Zstd),
    tar_claim(".tar.bz2", Coding::Bzip2),
    tar_claim(".tbz", Coding::Bzip2),
    tar_claim(".tbz2", Coding::Bzip2),
    tar_claim(".tar", Coding::Plain),
    Claim { ending: ".zip", container: Container::Zip, inner: None },
    stream_claim(".gz", Coding::Gzip),
    stream_claim(".xz", Coding::Xz),
    stream_claim(".zst", Coding::Zstd),
    stream_claim(".bz2", Coding::Bzip2),
    stream_claim(".zstd", Coding::Zstd),
];

/// What the first bytes say, if it is what `name` promises.
pub(super) fn recognise(name: &str, head: &[u8]) -> Result<Container, UnpackError> {
    let found = match head {
        [0x1f, 0x8b, ..] => Container::Stream(Coding::Gzip),
        [0xfd, b'7', b'z', b'X', b'Z', 0, ..] => Container::Stream(Coding::Xz),
        // A frame, or a skippable frame before it (RFC 8878, 3.1.2).
        [0x28, 0xb5, 0x2f, 0xfd, ..] | [0x50..=0x5f, 0x2a, 0x4d, 0x18, ..] => {
            Container::Stream(Coding::Zstd)
        }
        [b'B', b'Z', b'h', b'1'..=b'9', ..] => Container::Stream(Coding::Bzip2),
        // The second is the end record of an archive without entries.
        [b'P', b'K', 3, 4, ..] | [b'P', b'K', 5, 6, ..] => Container::Zip,
        _ => Container::Stream(Coding::Plain),
    };
    match claim(name) {
        Some(claim) if claim.container != found => {
            let plain = found == Container::Stream(Coding::Plain);
            let found = if plain { describe(head) } else { container_name(found) };
            Err(disagrees(name, claim, found))
        }
        _ => Ok(found),
    }
}

/// What the unpacked bytes start with, if it is what `name` promises.
pub(super) fn recognise_inner(name: &str, head: &[u8]) -> Result<Inner, UnpackError> {
    let found = if Magic::of(head) != Magic::Other {
        Some(Inner::Program)
    } else if tar::is_header(head) {
        Some(Inner::Tar)
    } else {
        None
    };
    let promise = claim(name).filter(|claim| claim.inner.is_some());
    match (promise, found) {
        (Some(claim), found) if claim.inner != found => Err(disagrees(name, claim, describe(head))),
        (_, Some(found)) => Ok(found),
        (_, None) => Err(UnpackError::Unknown { name: name.to_owned(), found: describe(head) }),
    }
}

/// Whether a tar archive must be inside, by the end of the name.
pub(super) fn promises_tar(name: &str) -> bool {
    claim(name).is_some_and(|claim| claim.inner == Some(Inner::Tar))
}

fn claim(name: &str) -> Option<Claim> {
    let name = name.to_ascii_lowercase();
    CLAIMS.into_iter().find(|claim| name.ends_with(claim.ending))
}

fn disagrees(name: &str, claim: Claim, found: String) -> UnpackError {
    let claimed = format!("a `{}` file", claim.ending);
    UnpackError::Disagrees { name: name.to_owned(), claimed, found }
}

fn container_name(container: Container) -> String {
    match container {
        Container::Zip => "a zip archive".to_owned(),
        Container::Stream(coding) => format!("{} data", coding.name()),
    }
}

/// Uncompressed bytes in words.
fn describe(head: &[u8]) -> String {
    match head {
        [] => "nothing".to_owned(),
        [b'7', b'z', 0xbc, 0xaf, 0x27, 0x1c, ..] => "a 7z archive".to_owned(),
        [b'P', b'K', 3, 4, ..] => container_name(Container::Zip),
        _ if Magic::of(head) != Magic::Other => "a program".to_owned(),
        _ if tar::is_header(head) => "an uncompressed tar archive".to_owned(),
        _ => {
            let start = head.get(..SHOWN_BYTES).unwrap_or(head);
            let text = String::from_utf8_lossy(start);
            format!("something that starts with `{}`", text.escape_debug())
        }
    }
}
