//! Patterns of `MatchPattern=`: which names are instances, and what a name says.
//!
//! Source: sysupdate.d(5), "Match Patterns", and the behaviour of systemd 262. `@v` and eleven more
//! wildcards stand for fields, `@@` for `@`, `/` separates directories, everything else for itself.
//! Matching goes through the name once and never back: a field ends at the *first* occurrence of
//! the literal after it, at the next `/`, or at the end of the name. So `foo_@v_@u.raw` never
//! matches a version with `_` in it, and `@v.raw` does not match `a.raw.raw`. A name that ends
//! where the pattern has a `/` is a directory to descend into.
//!
//! A source's pattern may begin with `**/`: the rest is then matched against the base name of every
//! file at any depth.
//!
//! Numbers are plain digits, on purpose: systemd also reads `+7`, ` 7` and `0x7`.

use std::fmt::{self, Write as _};

use crate::model::{Algorithm, Digest};

use super::order;

/// Longest pattern, in bytes: Linux limits file names to 255, patterns may span directories.
pub const PATTERN_BYTES_MAX: usize = 4096;
/// Longest name that is matched, in bytes: Linux limits paths to that.
pub const NAME_BYTES_MAX: usize = 4096;

/// Permissions that a name may ask for: never for others to write, never set-id.
const MODE_MASK: u32 = 0o775;

/// What a wildcard stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Wildcard {
    /// `@v`: the version.
    Version,
    /// `@u`: the UUID of the partition.
    PartitionUuid,
    /// `@f`: the flags of the partition, hexadecimal.
    PartitionFlags,
    /// `@a`: the partition's no-auto flag.
    NoAuto,
    /// `@g`: the partition's grow-file-system flag.
    GrowFileSystem,
    /// `@r`: the partition's read-only flag.
    ReadOnly,
    /// `@t`: the modification time, microseconds since 1970.
    ModifiedAt,
    /// `@m`: the access mode, octal.
    Mode,
    /// `@s`: the size after decompression, in bytes.
    Size,
    /// `@d`: boot attempts done.
    TriesDone,
    /// `@l`: boot attempts left.
    TriesLeft,
    /// `@h`: the SHA-256 of the file as served.
    Sha256,
}

const LETTERS: [(char, Wildcard); 12] = [
    ('v', Wildcard::Version),
    ('u', Wildcard::PartitionUuid),
    ('f', Wildcard::PartitionFlags),
    ('a', Wildcard::NoAuto),
    ('g', Wildcard::GrowFileSystem),
    ('r', Wildcard::ReadOnly),
    ('t', Wildcard::ModifiedAt),
    ('m', Wildcard::Mode),
    ('s', Wildcard::Size),
    ('d', Wildcard::TriesDone),
    ('l', Wildcard::TriesLeft),
    ('h', Wildcard::Sha256),
];

impl Wildcard {
    fn of(letter: char) -> Option<Self> {
        LETTERS.iter().find(|(l, _)| *l == letter).map(|(_, wildcard)| *wildcard)
    }
}

impl fmt::Display for Wildcard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let letter = LETTERS.iter().find(|(_, wildcard)| wildcard == self);
        write!(f, "@{}", letter.map_or('?', |(l, _)| *l))
    }
}

/// What a name says, or what a name is to say.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Fields {
    /// `@v`.
    pub version: String,
    /// `@u`.
    pub partition_uuid: Option<[u8; 16]>,
    /// `@f`.
    pub partition_flags: Option<u64>,
    /// `@a`.
    pub no_auto: Option<bool>,
    /// `@g`.
    pub grow_file_system: Option<bool>,
    /// `@r`.
    pub read_only: Option<bool>,
    /// `@t`, microseconds since 1970.
    pub modified_us: Option<u64>,
    /// `@m`, within 0775.
    pub mode: Option<u32>,
    /// `@s`, bytes.
    pub size: Option<u64>,
    /// `@d`.
    pub tries_done: Option<u64>,
    /// `@l`.
    pub tries_left: Option<u64>,
    /// `@h`.
    pub sha256: Option<Digest>,
}

/// What comparing a pattern with a name found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Match {
    /// The name is an instance.
    Yes(Box<Fields>),
    /// The name is a directory on the way to one.
    Descend,
    /// Neither.
    No,
}

/// Why a pattern is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PatternError {
    /// A letter that is no wildcard.
    #[error("`@{0}` is not a wildcard; write `@@` for an at sign")]
    UnknownWildcard(char),
    /// The same wildcard again.
    #[error("`{0}` appears twice; remove one")]
    Twice(Wildcard),
    /// Two wildcards side by side.
    #[error("`{0}` follows another wildcard; put a literal between them")]
    Adjacent(Wildcard),
    /// An at sign at the end.
    #[error("it ends in `@`; write `@@` for an at sign")]
    TrailingAt,
    /// No `@v`.
    #[error("it has no `@v`; write where the version stands")]
    NoVersion,
    /// A character that names must not have or that is reserved.
    #[error("the character `{}` is not allowed in a pattern; remove it", .0.escape_debug())]
    Character(char),
    /// A component that names no file, or another directory than it seems to.
    #[error("the component `{0}` of a path is not allowed in a pattern; write the plain path")]
    Component(String),
    /// `**/` followed by directories.
    #[error("`**/` must be followed by a plain file name; remove the directories after it")]
    DirectoryAfterAny,
    /// Longer than [`PATTERN_BYTES_MAX`].
    #[error("it is longer than {PATTERN_BYTES_MAX} bytes; shorten it")]
    TooLong,
}

/// A wildcard of a pattern has no value to put in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "making a name: there is no value for `{0}`; state it in the definition or \
     take it from the source"
)]
pub struct MissingField(pub Wildcard);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Element {
    Literal(String),
    Slash,
    Field(Wildcard),
}

/// A valid pattern.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pattern {
    text: String,
    elements: Vec<Element>,
    any_directory: bool,
}

impl Pattern {
    /// Reads a pattern whose specifiers are expanded.
    pub fn parse(text: &str) -> Result<Self, PatternError> {
        if text.len() > PATTERN_BYTES_MAX {
            return Err(PatternError::TooLong);
        }
        let body = text.strip_prefix("**/");
        if body.is_some_and(|body| body.contains('/')) {
            return Err(PatternError::DirectoryAfterAny);
        }
        let elements = elements(body.unwrap_or(text))?;
        let mut components = body.unwrap_or(text).split('/');
        if let Some(odd) = components.find(|component| matches!(*component, "" | "." | "..")) {
            return Err(PatternError::Component(odd.to_owned()));
        }
        Ok(Self { text: text.to_owned(), elements, any_directory: body.is_some() })
    }

    /// The text, with its `**/` if it has one.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// True when it begins with `**/`.
    pub fn any_directory(&self) -> bool {
        self.any_directory
    }

    /// The same without `**/`: what a target inherits.
    #[must_use]
    pub fn without_directory(&self) -> Self {
        let text = self.text.strip_prefix("**/").unwrap_or(&self.text).to_owned();
        Self { text, elements: self.elements.clone(), any_directory: false }
    }

    /// True when names have directories.
    pub fn has_directories(&self) -> bool {
        self.elements.contains(&Element::Slash)
    }

    /// True when it has this wildcard.
    pub fn has(&self, wildcard: Wildcard) -> bool {
        self.elements.contains(&Element::Field(wildcard))
    }

    /// Bytes that stand for themselves. Of two patterns that a name fits, the one that has more of them says more about
    /// it: `app_x_@v.raw` says what `app_x_1.raw` is, `app_@v.raw` only that it may be `x_1` of something.
    pub fn literal_bytes(&self) -> usize {
        let literal = |element: &Element| match element {
            Element::Literal(text) => text.len(),
            Element::Slash => 1,
            Element::Field(_) => 0,
        };
        self.elements.iter().map(literal).sum()
    }

    /// Whether a name may fit both, as far as their beginnings and ends tell.
    pub fn may_meet(&self, other: &Self) -> bool {
        fn begin<'a>(one: &'a str, other: &'a str) -> bool {
            one.starts_with(other) || other.starts_with(one)
        }
        let text = |element: Option<&Element>| match element {
            Some(Element::Literal(text)) => text.clone(),
            _ => String::new(),
        };
        let (first, last) =
            (|p: &Self| text(p.elements.first()), |p: &Self| text(p.elements.last()));
        let ends = [last(self), last(other)].map(|end| end.chars().rev().collect::<String>());
        let [one, another] = &ends;
        let anywhere = self.any_directory || other.any_directory;
        (anywhere || begin(&first(self), &first(other))) && begin(one, another)
    }

    /// Compares with a name, or with a path below the directory that is searched.
    pub fn compare(&self, name: &str) -> Match {
        let name = match (self.any_directory, name.rsplit_once('/')) {
            (true, Some((_, base))) => base,
            _ => name,
        };
        if name.len() > NAME_BYTES_MAX {
            return Match::No;
        }
        self.read(name).unwrap_or(Match::No)
    }

    /// `None` for names that do not match.
    fn read(&self, name: &str) -> Option<Match> {
        let mut fields = Fields::default();
        let mut rest = name;
        let mut elements = self.elements.iter().peekable();
        while let Some(element) = elements.next() {
            match element {
                Element::Slash if rest.is_empty() => return Some(Match::Descend),
                Element::Slash => rest = rest.strip_prefix('/')?,
                Element::Literal(literal) => rest = rest.strip_prefix(literal.as_str())?,
                Element::Field(wildcard) => {
                    let end = match elements.peek() {
                        Some(Element::Literal(literal)) => rest.find(literal.as_str())?,
                        Some(Element::Slash) => rest.find('/').unwrap_or(rest.len()),
                        _ => rest.len(),
                    };
                    let (value, after) = rest.split_at_checked(end)?;
                    fields.read(*wildcard, value)?;
                    rest = after;
                }
            }
        }
        rest.is_empty().then(|| Match::Yes(Box::new(fields)))
    }

    /// The name that says `fields`.
    pub fn name(&self, fields: &Fields) -> Result<String, MissingField> {
        let mut name = String::new();
        for element in &self.elements {
            match element {
                Element::Literal(literal) => name.push_str(literal),
                Element::Slash => name.push('/'),
                Element::Field(wildcard) => {
                    let text = fields.text(*wildcard).ok_or(MissingField(*wildcard))?;
                    name.push_str(&text);
                }
            }
        }
        Ok(name)
    }
}

/// What comparing several patterns with one name found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Comparison {
    /// What the first matching pattern read.
    pub fields: Option<Fields>,
    /// True when some pattern may match below a directory of this name.
    pub descend: bool,
}

/// Compares several patterns with a name, or with a path below the directory that is searched.
pub fn compare_all(patterns: &[Pattern], name: &str) -> Comparison {
    let mut found = Comparison::default();
    for pattern in patterns {
        found.descend |= pattern.any_directory;
        match pattern.compare(name) {
            Match::Yes(fields) if found.fields.is_none() => found.fields = Some(*fields),
            Match::Descend => found.descend = true,
            Match::Yes(_) | Match::No => {}
        }
    }
    found
}

fn elements(text: &str) -> Result<Vec<Element>, PatternError> {
    let mut elements: Vec<Element> = Vec::new();
    let mut characters = text.chars();
    while let Some(c) = characters.next() {
        let literal = match c {
            '/' => {
                elements.push(Element::Slash);
                continue;
            }
            '@' => match characters.next().ok_or(PatternError::TrailingAt)? {
                '@' => '@',
                letter => {
                    let wildcard =
                        Wildcard::of(letter).ok_or(PatternError::UnknownWildcard(letter))?;
                    if elements.contains(&Element::Field(wildcard)) {
                        return Err(PatternError::Twice(wildcard));
                    }
                    if let Some(Element::Field(_)) = elements.last() {
                        return Err(PatternError::Adjacent(wildcard));
                    }
                    elements.push(Element::Field(wildcard));
                    continue;
                }
            },
            other => other,
        };
        if !matches!(literal, ' '..='~') || "$*?[]!\\|".contains(literal) {
            return Err(PatternError::Character(literal));
        }
        match elements.last_mut() {
            Some(Element::Literal(before)) => before.push(literal),
            _ => elements.push(Element::Literal(literal.to_string())),
        }
    }
    if !elements.contains(&Element::Field(Wildcard::Version)) {
        return Err(PatternError::NoVersion);
    }
    Ok(elements)
}

impl Fields {
    /// Takes one field from a name; `None` when the text cannot stand for it.
    fn read(&mut self, wildcard: Wildcard, text: &str) -> Option<()> {
        match wildcard {
            Wildcard::Version if !order::is_version(text) => return None,
            Wildcard::Version => text.clone_into(&mut self.version),
            Wildcard::PartitionUuid => self.partition_uuid = Some(uuid(text)?),
            Wildcard::PartitionFlags => self.partition_flags = Some(number(text, 16)?),
            Wildcard::NoAuto => self.no_auto = Some(boolean(text)?),
            Wildcard::GrowFileSystem => self.grow_file_system = Some(boolean(text)?),
            Wildcard::ReadOnly => self.read_only = Some(boolean(text)?),
            Wildcard::ModifiedAt => self.modified_us = Some(finite(text)?),
            Wildcard::Mode => {
                let mode = u32::try_from(number(text, 8)?).ok()?;
                self.mode = Some((mode & !MODE_MASK == 0).then_some(mode)?);
            }
            Wildcard::Size => self.size = Some(finite(text)?),
            Wildcard::TriesDone => self.tries_done = Some(finite(text)?),
            Wildcard::TriesLeft => self.tries_left = Some(finite(text)?),
            Wildcard::Sha256 => self.sha256 = Some(Digest::from_hex(Algorithm::Sha256, text)?),
        }
        Some(())
    }

    fn text(&self, wildcard: Wildcard) -> Option<String> {
        let bit = |value: bool| u8::from(value).to_string();
        match wildcard {
            // One of dots alone would be another directory where it stands alone.
            Wildcard::Version if self.version.bytes().all(|b| b == b'.') => None,
            Wildcard::Version => Some(self.version.clone()),
            Wildcard::PartitionUuid => self.partition_uuid.map(|uuid| {
                uuid.iter().fold(String::new(), |mut text, byte| {
                    let _ = write!(text, "{byte:02x}");
                    text
                })
            }),
            Wildcard::PartitionFlags => self.partition_flags.map(|flags| format!("{flags:x}")),
            Wildcard::NoAuto => self.no_auto.map(bit),
            Wildcard::GrowFileSystem => self.grow_file_system.map(bit),
            Wildcard::ReadOnly => self.read_only.map(bit),
            Wildcard::ModifiedAt => self.modified_us.map(|n| n.to_string()),
            Wildcard::Mode => self.mode.map(|mode| format!("{mode:03o}")),
            Wildcard::Size => self.size.map(|n| n.to_string()),
            Wildcard::TriesDone => self.tries_done.map(|n| n.to_string()),
            Wildcard::TriesLeft => self.tries_left.map(|n| n.to_string()),
            Wildcard::Sha256 => self.sha256.as_ref().map(Digest::hex),
        }
    }
}

/// Booleans as systemd writes them anywhere, in any case.
pub fn boolean(text: &str) -> Option<bool> {
    match text.to_ascii_lowercase().as_str() {
        "1" | "yes" | "y" | "true" | "t" | "on" => Some(true),
        "0" | "no" | "n" | "false" | "f" | "off" => Some(false),
        _ => None,
    }
}

/// Digits only: no sign, no blanks, no prefix.
fn number(text: &str, base: u32) -> Option<u64> {
    let digits = !text.is_empty() && text.chars().all(|c| c.is_digit(base));
    digits.then(|| u64::from_str_radix(text, base).ok()).flatten()
}

/// A decimal number below the value that systemd keeps for "not set".
fn finite(text: &str) -> Option<u64> {
    number(text, 10).filter(|n| *n != u64::MAX)
}

/// 32 hexadecimal digits, or with dashes after 8, 12, 16 and 20 of them.
pub(super) fn uuid(text: &str) -> Option<[u8; 16]> {
    let dashed = text.len() == 36;
    let is_dash = |i: usize| matches!(i, 8 | 13 | 18 | 23);
    if dashed && !text.bytes().enumerate().all(|(i, b)| (b == b'-') == is_dash(i)) {
        return None;
    }
    let hex: String = text.chars().filter(|c| !(dashed && *c == '-')).collect();
    let bytes = data_encoding::HEXLOWER_PERMISSIVE.decode(hex.as_bytes()).ok()?;
    bytes.try_into().ok()
}

#[cfg(test)]
mod tests;
