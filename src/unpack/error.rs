//! What can go wrong while an artifact is unpacked.

use std::io;
use std::path::PathBuf;

use crate::format::bsdiff;
use crate::format::zstd_delta::ZstdDeltaError;
use crate::model::Digest;

/// Why an artifact was not unpacked. Nothing of it is left on disk.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum UnpackError {
    /// The cached bytes cannot be read.
    #[error("cannot read the artifact at {}: see whether the cache directory is intact", .path.display())]
    Blob {
        /// Where they should be.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Something stands where the staging directory should be made.
    #[error("cannot make the staging directory {}: it is there already, remove it first", .0.display())]
    Occupied(PathBuf),
    /// The staging directory cannot be made or written.
    #[error("cannot {action} `{}` in the staging directory: see whether the disk is full or read-only", .path.escape_debug())]
    Stage {
        /// What was attempted.
        action: &'static str,
        /// On which path, relative to the staging directory.
        path: String,
        /// Why.
        source: io::Error,
    },
    /// The name promises something else than the bytes are.
    #[error("`{}` is named like {claimed} but holds {found}: see what the publisher uploaded, or choose another asset", .name.escape_debug())]
    Disagrees {
        /// The artifact's name.
        name: String,
        /// What its ending promises.
        claimed: String,
        /// What its bytes are.
        found: String,
    },
    /// Neither an archive that is understood nor a program.
    #[error("`{}` is neither an archive nor a program, it holds {found}: choose another asset", .name.escape_debug())]
    Unknown {
        /// The artifact's name.
        name: String,
        /// What it holds.
        found: String,
    },
    /// The compressed stream is damaged, cut short, followed by other bytes, or needs too much memory.
    #[error(
        "cannot decompress the {coding} stream: it is damaged, cut short, has bytes after its end or needs more memory than is allowed"
    )]
    Stream {
        /// The compression.
        coding: &'static str,
        /// What the decompressor said.
        source: io::Error,
    },
    /// The archive breaks the rules of its own format.
    #[error("the {format} archive is damaged: {what}")]
    Damaged {
        /// `tar` or `zip`.
        format: &'static str,
        /// What is wrong with it.
        what: String,
    },
    /// A zip archive that cannot be read.
    #[error("cannot read the zip archive: it is damaged or of a kind that is not understood")]
    Zip(#[source] zip::result::ZipError),
    /// The archive ends where more must come.
    #[error("the archive ends within `{}`: it was published incomplete", .entry.escape_debug())]
    CutShort {
        /// The entry, or the part of the archive, that is not complete.
        entry: String,
    },
    /// An entry that no release needs, or that is dangerous.
    #[error("the archive's entry `{}` is refused: {why}", .entry.escape_debug())]
    Entry {
        /// Its path as far as it could be read.
        entry: String,
        /// Why.
        why: Refused,
    },
    /// The archive is larger than its limits.
    #[error("the archive holds more than {max} {what}: raise the app's `limits` if that is right")]
    Limit {
        /// What there is too much of.
        what: &'static str,
        /// How much is allowed.
        max: u64,
    },
    /// It cannot be said which programs are to be linked.
    #[error(transparent)]
    Binaries(#[from] BinariesError),
    /// The program is not what its source says.
    #[error(
        "the program is {got}, but its source says {expected}: it was damaged or replaced and is not used, so ask the publisher"
    )]
    Program {
        /// What its source says.
        expected: Digest,
        /// What it is.
        got: Digest,
    },
    /// The program that a patch starts from, or the patch itself, cannot be read.
    #[error("cannot read {}: use the full artifact", .path.display())]
    Base {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The program that a patch starts from is another one than the patch was chosen for.
    #[error("{} is {got} and not {expected}, for which the patch is: use the full artifact", .path.display())]
    OtherBase {
        /// The file.
        path: PathBuf,
        /// What the patch is for.
        expected: Digest,
        /// What it is.
        got: Digest,
    },
    /// A patch does not apply.
    #[error(transparent)]
    Bsdiff(bsdiff::ApplyError),
    /// A patch does not apply.
    #[error(transparent)]
    Zstd(ZstdDeltaError),
}

/// Why an entry is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Refused {
    /// Empty, or nothing but dots and slashes, where a file should be.
    #[error("its path is empty")]
    EmptyPath,
    /// Starts with a slash or, in a zip archive, with a drive letter.
    #[error("its path is absolute")]
    Absolute,
    /// Has a `..` component.
    #[error("its path has a `..` component")]
    Escapes,
    /// Not UTF-8.
    #[error("its path is not UTF-8")]
    NotUtf8,
    /// A byte below 0x20, or 0x7f.
    #[error("its path has a control character")]
    ControlCharacter,
    /// A backslash, in a zip archive.
    #[error("its path has a backslash")]
    Backslash,
    /// Longer than a component or a path may be.
    #[error("its path is too long (a component may have 255 bytes, a path 4096)")]
    TooLong,
    /// More directories than allowed.
    #[error("its path is deeper than 40 levels")]
    TooDeep,
    /// The name of the release's own manifest.
    #[error("its name is reserved for the release's manifest")]
    Reserved,
    /// A path that was there before.
    #[error("the same path is there twice")]
    Duplicate,
    /// A directory on its path is a file or a link.
    #[error("a directory on its path is a file or a link")]
    NotInDirectory,
    /// A character or block device.
    #[error("it is a device node")]
    Device,
    /// A named pipe.
    #[error("it is a named pipe")]
    Fifo,
    /// A sparse file in a form that is not understood.
    #[error("it is a sparse file; publish it without `--sparse`")]
    Sparse,
    /// Any other type.
    #[error("its type is not one that releases use")]
    UnknownType,
    /// A directory or link that carries content.
    #[error("it is no regular file but has content")]
    UnexpectedContent,
    /// Named twice, by a GNU long name and by a PAX path.
    #[error("it is named by a GNU long name and by a PAX header at once")]
    NamedTwice,
    /// Extended header that cannot be read.
    #[error("its extended header is malformed")]
    ExtendedHeader,
    /// Symbolic link with an absolute target.
    #[error("it is a symbolic link with an absolute target")]
    LinkAbsolute,
    /// Symbolic link that leaves the release directory.
    #[error("it is a symbolic link that leads out of the release directory")]
    LinkLeaves,
    /// Symbolic link to nothing.
    #[error("it is a symbolic link to something that the archive does not hold")]
    LinkDangles,
    /// Symbolic links that lead to one another.
    #[error("it is a symbolic link that leads over too many others")]
    LinkLoops,
    /// Symbolic link whose target is no usable text.
    #[error("it is a symbolic link whose target is empty, too long or not printable text")]
    LinkTarget,
    /// Hard link to something that was not extracted before as a regular file.
    #[error("it is a hard link to something that is not a file extracted before it")]
    HardLinkTarget,
    /// Encrypted zip entry.
    #[error("it is encrypted")]
    Encrypted,
    /// Compressed in a way that is not understood.
    #[error("it is compressed with a method other than stored or deflate")]
    Method,
}

/// Why it cannot be said which programs are to be linked.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BinariesError {
    /// Nothing fits.
    #[error("no program {wanted} is in the release; it holds {}: name the programs under `binaries`", list(.holds, *.more))]
    Missing {
        /// What was looked for, as the middle of a sentence: "`rg`", "to link".
        wanted: String,
        /// The first paths of the release.
        holds: Vec<String>,
        /// How many more there are.
        more: usize,
    },
    /// Several files fit one wish.
    #[error("`{wanted}` could be any of {}: write its path under `binaries`", list(.candidates, *.more))]
    Ambiguous {
        /// What was looked for.
        wanted: String,
        /// The first paths that fit.
        candidates: Vec<String>,
        /// How many more there are.
        more: usize,
    },
    /// Two programs would get the same link.
    #[error(
        "`{first}` and `{second}` would both be linked as `{name}`: name the programs under `binaries`"
    )]
    SameName {
        /// The link.
        name: String,
        /// One program.
        first: String,
        /// The other.
        second: String,
    },
}

/// `a, b and 3 more`, with everything printable.
fn list(paths: &[String], more: usize) -> String {
    let mut text = if paths.is_empty() { "nothing".to_owned() } else { String::new() };
    for (i, path) in paths.iter().enumerate() {
        let comma = if i == 0 { "" } else { ", " };
        text.push_str(comma);
        text.push('`');
        text.extend(path.escape_debug());
        text.push('`');
    }
    if more > 0 {
        text.push_str(" and ");
        text.push_str(&more.to_string());
        text.push_str(" more");
    }
    text
}
