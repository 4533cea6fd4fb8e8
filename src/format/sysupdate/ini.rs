//! Configuration files in systemd's dialect of INI.
//!
//! Source: systemd.syntax(7) and the behaviour of systemd 262. Lines are `[Section]`, `Key=Value`,
//! comments after `#` or `;`, and blanks. A line that ends in a single `\` continues on the next
//! one, the backslash becoming a blank; comment lines in between are passed over. Keys repeat, in
//! order. What systemd warns about and ignores is ignored here with the same warning: unknown
//! sections (silently when they begin with `X-`), lines without `=`, assignments outside of a
//! section, lines that are not UTF-8. A section header without its `]` is an error there and here.

use std::fmt;

/// Largest file, in bytes; the largest known definition has 2 KiB.
pub const FILE_BYTES_MAX: usize = 1 << 20;
/// Most lines of a file.
pub const LINES_MAX: usize = 20_000;

/// Blanks, as systemd strips them.
const BLANKS: [char; 4] = [' ', '\t', '\n', '\r'];

/// A file and a line in it, for people.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Place {
    /// Path of the file.
    pub file: String,
    /// Counted from 1; 0 for the whole file.
    pub line: usize,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            0 => f.write_str(&self.file),
            line => write!(f, "{}:{line}", self.file),
        }
    }
}

/// Something that was ignored or assumed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Warning {
    /// Where.
    pub place: Place,
    /// What, in systemd's words where it warns too.
    pub message: String,
}

impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.place, self.message)
    }
}

/// One `Key=Value`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Assignment {
    /// The section, without its brackets.
    pub section: String,
    /// The key.
    pub key: String,
    /// The value without blanks around it; empty often means "forget what came before".
    pub value: String,
    /// Where the key is.
    pub place: Place,
}

/// Why a file was not read.
#[derive(Debug, thiserror::Error)]
pub enum IniError {
    /// Larger than [`FILE_BYTES_MAX`].
    #[error("reading {file}: it is larger than {FILE_BYTES_MAX} bytes; it cannot be a definition")]
    TooLarge {
        /// The file.
        file: String,
    },
    /// More lines than [`LINES_MAX`].
    #[error("reading {file}: it has more than {LINES_MAX} lines; it cannot be a definition")]
    TooManyLines {
        /// The file.
        file: String,
    },
    /// A section header that does not end in `]`.
    #[error("reading {place}: invalid section header `{header}`; end it with `]`")]
    SectionHeader {
        /// Where.
        place: Place,
        /// The line.
        header: String,
    },
}

/// Reads one file into its assignments, in order, of the sections that are known.
pub fn parse(
    file: &str,
    bytes: &[u8],
    sections: &[&str],
    warnings: &mut Vec<Warning>,
) -> Result<Vec<Assignment>, IniError> {
    if bytes.len() > FILE_BYTES_MAX {
        return Err(IniError::TooLarge { file: file.to_owned() });
    }
    let mut reader =
        Reader { file, sections, section: Section::None, assignments: Vec::new(), warnings };
    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
    let mut continued: Option<(usize, Vec<u8>)> = None;
    for (index, line) in bytes.split(|b| matches!(b, b'\n' | 0)).enumerate() {
        if index >= LINES_MAX {
            return Err(IniError::TooManyLines { file: file.to_owned() });
        }
        let first = line.iter().find(|b| !b" \t\r".contains(b));
        if matches!(first, Some(b'#' | b';')) {
            continue;
        }
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        let (number, mut whole) = continued.take().unwrap_or((index + 1, Vec::new()));
        whole.extend_from_slice(line);
        if ends_in_backslash(&whole) {
            whole.pop();
            whole.push(b' ');
            continued = Some((number, whole));
        } else {
            reader.line(number, &whole)?;
        }
    }
    if let Some((number, whole)) = continued {
        reader.line(number, &whole)?;
    }
    Ok(reader.assignments)
}

/// True when a line ends in a backslash that is not itself escaped. Only the end matters:
/// backslashes pair up from the first of their run.
fn ends_in_backslash(line: &[u8]) -> bool {
    line.iter().rev().take_while(|b| **b == b'\\').count() % 2 == 1
}

enum Section {
    /// No header yet.
    None,
    /// One whose assignments are passed over.
    Ignored,
    Known(String),
}

struct Reader<'a> {
    file: &'a str,
    sections: &'a [&'a str],
    section: Section,
    assignments: Vec<Assignment>,
    warnings: &'a mut Vec<Warning>,
}

impl Reader<'_> {
    fn place(&self, line: usize) -> Place {
        Place { file: self.file.to_owned(), line }
    }

    fn warn(&mut self, line: usize, message: impl Into<String>) {
        let place = self.place(line);
        self.warnings.push(Warning { place, message: message.into() });
    }

    fn line(&mut self, number: usize, line: &[u8]) -> Result<(), IniError> {
        let Ok(text) = std::str::from_utf8(line) else {
            self.warn(number, "String is not UTF-8 clean, ignoring assignment.");
            return Ok(());
        };
        let text = text.trim_matches(BLANKS);
        if text.is_empty() {
            return Ok(());
        }
        if let Some(rest) = text.strip_prefix('[') {
            let Some(name) = rest.strip_suffix(']') else {
                let header = text.escape_debug().to_string();
                return Err(IniError::SectionHeader { place: self.place(number), header });
            };
            self.header(number, name);
            return Ok(());
        }
        self.assignment(number, text);
        Ok(())
    }

    fn header(&mut self, number: usize, name: &str) {
        if self.sections.contains(&name) {
            self.section = Section::Known(name.to_owned());
            return;
        }
        self.section = Section::Ignored;
        if !name.starts_with("X-") {
            self.warn(number, format!("Unknown section '{}'. Ignoring.", name.escape_debug()));
        }
    }

    fn assignment(&mut self, number: usize, text: &str) {
        let section = match &self.section {
            Section::Known(name) => name.clone(),
            Section::Ignored => return,
            Section::None => {
                self.warn(number, "Assignment outside of section. Ignoring.");
                return;
            }
        };
        let Some((key, value)) = text.split_once('=') else {
            self.warn(number, "Missing '=', ignoring line.");
            return;
        };
        let (key, value) = (key.trim_matches(BLANKS), value.trim_matches(BLANKS));
        if key.is_empty() {
            self.warn(number, "Missing key name before '=', ignoring line.");
            return;
        }
        self.assignments.push(Assignment {
            section,
            key: key.to_owned(),
            value: value.to_owned(),
            place: self.place(number),
        });
    }
}

#[cfg(test)]
mod tests;
