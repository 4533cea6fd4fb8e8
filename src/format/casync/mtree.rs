//! Listings as `casync mtree` prints them: one line per node, parents first.
//!
//! `PATH type=TYPE mode=0644 [size=N] [link=TARGET] [device=linux,MAJOR,MINOR] [uid= gid=] [uname=] [gname=]
//! [flags=…] [time=SECONDS.NANOSECONDS] [sha512256digest=HEX|sha256digest=HEX]`; the root is `.`. Bytes up to
//! blank, from 127 on, `\` and `#` are written `\ooo`. Which fields are there is decided by the feature flags. casync names the
//! digest after its command line, not after the stream, so that a listing can call SHA-256 by the other name. What
//! casync-updater publishes is this listing with its own flags. Only a hint that nothing binds to the index: that is what
//! counts. Source:
//! `list_one_file` in `casync-tool.c` of systemd/casync.

use std::fmt::Write as _;

use super::catar::{Content, Metadata};
use super::chunk::{ChunkId, DigestKind};
use super::flags::Flags;

/// Lines of a listing that are read.
pub const LINES_MAX: usize = 4 << 20;

/// Bytes of one line: a path and a target of 4096 bytes each, all escaped, and the rest.
pub const LINE_BYTES_MAX: usize = 40 << 10;

/// Attributes that are listed, in this order. The names are those of BSD's chflags where it has them.
const ATTRIBUTES: [(Flags, &str); 6] = [
    (Flags::HIDDEN, "hidden"),
    (Flags::SYSTEM, "system"),
    (Flags::ARCHIVE, "archive"),
    (Flags::APPEND, "sappend"),
    (Flags::NODUMP, "nodump"),
    (Flags::IMMUTABLE, "simmutable"),
];

/// The line of one node without its end; `path` is empty for the root, `digest` that of a file.
///
/// As in casync, nodes that cannot have attributes are listed as if they had all.
pub fn line(
    path: &[u8],
    metadata: &Metadata,
    content: &Content,
    flags: Flags,
    digest: Option<&ChunkId>,
) -> String {
    let seen = metadata.seen_with(flags, content);
    let mut line = if path.is_empty() { ".".to_owned() } else { escaped(path) };
    let mut add = |field: &str, value: &dyn std::fmt::Display| {
        // Writing to a string cannot fail.
        let _ = write!(line, " {field}={value}");
    };
    add("type", &type_name(content));
    add("mode", &format_args!("{:04o}", seen.permissions));
    match content {
        Content::File { size, .. } => add("size", size),
        Content::Symlink { target } => add("link", &escaped(target)),
        Content::Block { device: (major, minor) }
        | Content::Character { device: (major, minor) } => {
            add("device", &format_args!("linux,{major},{minor}"));
        }
        Content::Directory | Content::Fifo | Content::Socket => {}
    }
    if flags.intersects(Flags::UIDS) {
        add("uid", &seen.uid);
        add("gid", &seen.gid);
    }
    for (field, name, id) in [("uname", &seen.user, seen.uid), ("gname", &seen.group, seen.gid)] {
        // Streams leave root's name out.
        let root = (id == 0 && flags.contains(Flags::USER_NAMES)).then_some(b"root".as_slice());
        if let Some(name) = name.as_deref().or(root) {
            add(field, &escaped(name));
        }
    }
    let attributes = ATTRIBUTES.iter().filter(|(flag, _)| flags.contains(*flag));
    let attributes: Vec<String> = attributes
        .map(|(flag, name)| {
            let set = !content.has_attributes() || seen.attributes.contains(*flag);
            if set { (*name).to_owned() } else { format!("no{name}") }
        })
        .collect();
    if !attributes.is_empty() {
        add("flags", &attributes.join(","));
    }
    if flags.time_step().is_some() {
        let (seconds, nanoseconds) = (seen.mtime / 1_000_000_000, seen.mtime % 1_000_000_000);
        add("time", &format_args!("{seconds}.{nanoseconds:09}"));
    }
    if let Some(digest) = digest {
        add(digest_field(flags.digest()), digest);
    }
    line
}

/// One line as it was read. What it does not say is none.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Line {
    /// Path below the root; empty for the root.
    pub path: Vec<u8>,
    /// `file`, `dir`, `link`, `char`, `block`, `fifo` or `socket`.
    pub kind: Option<String>,
    /// Permission bits.
    pub mode: Option<u32>,
    /// Bytes of a file.
    pub size: Option<u64>,
    /// Text of a link.
    pub link: Option<Vec<u8>>,
    /// Owner.
    pub uid: Option<u32>,
    /// Group.
    pub gid: Option<u32>,
    /// Last modification in nanoseconds since 1970.
    pub time: Option<u64>,
    /// Digest of a file's content.
    pub digest: Option<(DigestKind, ChunkId)>,
}

/// Why a listing cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MtreeError {
    /// A line that is too long.
    #[error("line {line} of the listing has more than {LINE_BYTES_MAX} bytes")]
    LineTooLong {
        /// From 1.
        line: usize,
    },
    /// More than [`LINES_MAX`].
    #[error("the listing has more than {LINES_MAX} lines")]
    TooManyLines,
    /// A known field with a value that cannot be.
    #[error("the field `{field}` in line {line} of the listing has no valid value")]
    Field {
        /// From 1.
        line: usize,
        /// Which field.
        field: String,
    },
}

/// Reads a listing. Unknown fields, comments and lines of BSD's mtree that begin with `/` are passed over;
/// desync's `target=` is a link's text, too.
pub fn read(bytes: &[u8]) -> Result<Vec<Line>, MtreeError> {
    let mut lines = Vec::new();
    for (number, text) in (1..).zip(bytes.split(|&byte| byte == b'\n')) {
        if text.len() > LINE_BYTES_MAX {
            return Err(MtreeError::LineTooLong { line: number });
        }
        let text = text.trim_ascii();
        if matches!(text.first(), None | Some(b'#' | b'/')) {
            continue;
        }
        if lines.len() == LINES_MAX {
            return Err(MtreeError::TooManyLines);
        }
        lines.push(read_line(number, text)?);
    }
    Ok(lines)
}

fn read_line(number: usize, text: &[u8]) -> Result<Line, MtreeError> {
    let mut words = text.split(u8::is_ascii_whitespace).filter(|word| !word.is_empty());
    let path = words.next().unwrap_or_default();
    let mut line = Line::default();
    line.path = unescaped(path).ok_or(MtreeError::Field { line: number, field: "path".into() })?;
    if line.path == b"." {
        line.path.clear();
    }
    for word in words {
        let mut parts = word.splitn(2, |&byte| byte == b'=');
        let (Some(field), Some(value)) = (parts.next(), parts.next()) else { continue };
        if line.set(field, value).is_none() {
            let field = field.escape_ascii().to_string();
            return Err(MtreeError::Field { line: number, field });
        }
    }
    Ok(line)
}

impl Line {
    /// Bytes that the node takes in an archive at least: names of owners and the like come on top.
    fn bytes(&self) -> u64 {
        let text = |text: &[u8]| HEADER_BYTES + text.len() as u64 + 1;
        let name = self.path.rsplit(|&byte| byte == b'/').next().filter(|name| !name.is_empty());
        let named = name.map_or(0, |name| text(name) + ITEM_BYTES);
        let content = match self.kind.as_deref() {
            Some("file") => HEADER_BYTES.saturating_add(self.size.unwrap_or_default()),
            Some("link") => text(self.link.as_deref().unwrap_or_default()),
            Some("block" | "char") => HEADER_BYTES + 2 * 8,
            Some("dir") => HEADER_BYTES + ITEM_BYTES,
            _ => 0,
        };
        (HEADER_BYTES + 6 * 8 + named).saturating_add(content)
    }

    /// Takes one field; none when its value cannot be.
    fn set(&mut self, field: &[u8], value: &[u8]) -> Option<()> {
        let text = || std::str::from_utf8(value).ok();
        match field {
            b"type" => self.kind = Some(text()?.to_owned()),
            b"mode" => {
                let mode = u32::from_str_radix(text()?, 8).ok();
                self.mode = Some(mode.filter(|&mode| mode <= 0o7777)?);
            }
            b"size" => self.size = Some(text()?.parse().ok()?),
            b"link" | b"target" => self.link = Some(unescaped(value)?),
            b"uid" => self.uid = Some(text()?.parse().ok()?),
            b"gid" => self.gid = Some(text()?.parse().ok()?),
            b"time" => self.time = Some(nanoseconds(text()?)?),
            b"sha256digest" => self.digest = Some((DigestKind::Sha256, text()?.parse().ok()?)),
            b"sha512256digest" => {
                self.digest = Some((DigestKind::Sha512_256, text()?.parse().ok()?));
            }
            _ => {}
        }
        Some(())
    }
}

/// `SECONDS.NANOSECONDS`, as mtree has it: what follows the dot is a number, not a fraction.
fn nanoseconds(text: &str) -> Option<u64> {
    let (seconds, rest) = text.split_once('.').unwrap_or((text, "0"));
    let rest: u64 = rest.parse().ok().filter(|&rest| rest < 1_000_000_000)?;
    seconds.parse::<u64>().ok()?.checked_mul(1_000_000_000)?.checked_add(rest)
}

/// Bytes of an object of an archive before its content: size and type.
const HEADER_BYTES: u64 = 16;

/// Bytes that an entry takes in the table at the end of its directory.
const ITEM_BYTES: u64 = 24;

/// Whether these can be the nodes of an archive of `length` bytes. Exact, unless the flags keep what no listing tells the
/// length of: then an archive may be longer.
pub fn fits(lines: &[Line], flags: Flags, length: u64) -> bool {
    let least = lines.iter().map(Line::bytes).fold(0, u64::saturating_add);
    let untold = Flags::USER_NAMES.with(Flags::XATTRS).with(Flags::ACL).with(Flags::SELINUX);
    let untold = untold.with(Flags::FCAPS).with(Flags::QUOTA_PROJID);
    if flags.intersects(untold) { least <= length } else { least == length }
}

/// Name of the field for a digest of a file's content, the last of its line.
pub fn digest_field(digest: DigestKind) -> &'static str {
    match digest {
        DigestKind::Sha256 => "sha256digest",
        DigestKind::Sha512_256 => "sha512256digest",
    }
}

fn type_name(content: &Content) -> &'static str {
    match content {
        Content::File { .. } => "file",
        Content::Directory => "dir",
        Content::Symlink { .. } => "link",
        Content::Block { .. } => "block",
        Content::Character { .. } => "char",
        Content::Fifo => "fifo",
        Content::Socket => "socket",
    }
}

fn escaped(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len());
    for &byte in bytes {
        if matches!(byte, b'!'..=b'~') && !matches!(byte, b'\\' | b'#') {
            text.push(char::from(byte));
        } else {
            // Writing to a string cannot fail.
            let _ = write!(text, "\\{byte:03o}");
        }
    }
    text
}

fn unescaped(text: &[u8]) -> Option<Vec<u8>> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((&first, after)) = rest.split_first() {
        rest = after;
        if first != b'\\' {
            bytes.push(first);
            continue;
        }
        let (digits, after) = rest.split_at_checked(3)?;
        rest = after;
        bytes.push(u8::from_str_radix(std::str::from_utf8(digits).ok()?, 8).ok()?);
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        let metadata =
            Metadata { permissions: 0o4755, mtime: 12_000_000_345, ..Metadata::default() };
        let content = Content::File { size: 7, offset: 0 };
        let digest = DigestKind::Sha512_256.of(b"content");
        let path = b"a b\n\\#\xff/c";
        let text = line(path, &metadata, &content, Flags::DEFAULT, Some(&digest));
        assert!(text.starts_with("a\\040b\\012\\134\\043\\377/c type=file mode=4755 size=7 uid=0"));
        assert!(text.contains(" time=12.000000345 sha512256digest="), "{text}");
        let lines = read(format!("#mtree v1.0\n{text}\n\n/set x=y\n").as_bytes()).unwrap();
        assert_eq!(lines[0].path, path);
        assert_eq!((lines[0].mode, lines[0].size, lines.len()), (Some(0o4755), Some(7), 1));
        assert_eq!(lines[0].time, Some(12_000_000_345));
        assert_eq!(lines[0].digest, Some((DigestKind::Sha512_256, digest)));
    }

    #[test]
    fn listing_for_casync_updater_has_exactly_its_fields() {
        let metadata =
            Metadata { permissions: 0o600, mtime: 3_999_999_999, uid: 7, ..Metadata::default() };
        let content = Content::File { size: 1, offset: 0 };
        let digest = ChunkId::new([0xab; 32]);
        let text = line(b"x", &metadata, &content, Flags::UPDATER, Some(&digest));
        let hex = "ab".repeat(32);
        let expected =
            format!("x type=file mode=0666 size=1 time=2.000000000 sha512256digest={hex}");
        assert_eq!(text, expected);
    }

    #[test]
    fn broken_values_are_refused_with_their_line() {
        for text in ["a mode=9", "a size=-1", "a time=1.9999999999", "a sha256digest=ab", "\\9"] {
            let error = read(format!("ok type=dir\n{text}").as_bytes()).unwrap_err();
            assert!(matches!(error, MtreeError::Field { line: 2, .. }), "{text}");
        }
    }
}
