//! Readers of other programs' configuration: each turns it into a document and a report.
//!
//! Nothing is guessed silently. What cannot be carried over, what changes its meaning and what never
//! worked is named in the report; secrets are never copied into the document.

pub mod by_hand;
pub mod casync_updater;
pub mod distronomicon;
pub mod go_updater;
pub mod recognise;
pub mod sysupdate;
mod systemd;
mod unit;

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use fs_err as fs;

use crate::desired::{DesiredState, Diagnostic, Place, SourceText};

/// Largest configuration file read, in bytes.
const FILE_BYTES_MAX: u64 = 1 << 20;

/// Most configuration files read.
const FILES_MAX: usize = 10_000;

/// Deepest directory looked into: `systemd/system/x.service.d/` below `/etc` needs four.
const DEPTH_MAX: usize = 6;

/// A configuration file of another program.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigFile {
    /// Its path.
    pub path: String,
    /// Its text; empty for a link that leads nowhere and for a masked unit.
    pub text: String,
}

/// What became of another program's configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Imported {
    /// A document that the parser accepts.
    pub document: String,
    /// What an operator must know, in reading order.
    pub notes: Vec<Note>,
}

/// One thing an operator must know about an import.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Note {
    /// What sort of thing.
    pub kind: NoteKind,
    /// The app it is about; empty for all of them.
    pub subject: String,
    /// Where it was found.
    pub place: Option<Place>,
    /// The whole story, in one sentence or two.
    pub text: String,
}

/// Sorts of note.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoteKind {
    /// The other program never saw this: it is malformed.
    Ignored,
    /// There is nothing to map this to.
    Unmapped,
    /// This means something else from now on.
    Changed,
    /// This has to be done by hand.
    Todo,
    /// This is good to know.
    Info,
}

impl fmt::Display for Note {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = match self.kind {
            NoteKind::Ignored => "ignored",
            NoteKind::Unmapped => "not mapped",
            NoteKind::Changed => "changed",
            NoteKind::Todo => "to do",
            NoteKind::Info => "note",
        };
        write!(f, "{kind}: ")?;
        if !self.subject.is_empty() {
            write!(f, "{}: ", self.subject)?;
        }
        f.write_str(&self.text)?;
        match &self.place {
            Some(place) => write!(f, " ({}:{})", place.file, place.line),
            None => Ok(()),
        }
    }
}

impl Imported {
    /// Whether there is nothing in it that could be wished or done.
    pub fn is_empty(&self) -> bool {
        let said = |line: &str| line.starts_with("# The server's side") || line.starts_with(' ');
        let section = |line: &str| line.starts_with("sysupdate:");
        !self.document.lines().any(|line| said(line) || section(line))
    }
}

/// Text that YAML reads back as it is: JSON's quotes are YAML's.
fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

/// Whether the parser accepts a document; why not, otherwise.
fn accepted(text: &str) -> Result<(), String> {
    let (root, file) = (String::new(), String::new());
    let source = SourceText { root, file, directory: "/".to_owned(), text: text.to_owned() };
    let told = |d: &Diagnostic| format!("{} ({})", d.title, d.label);
    let loaded = DesiredState::from_texts(vec![source]);
    loaded.map(drop).map_err(|all| all.iter().map(told).collect::<Vec<_>>().join("; "))
}

/// Reads the files below `paths` whose path `wanted` accepts, sorted by path.
///
/// # Errors
/// When one of `paths` or a wanted file cannot be read, or when there are too many.
fn read_tree(paths: &[PathBuf], wanted: fn(&Path) -> bool) -> io::Result<Vec<ConfigFile>> {
    let mut files = Vec::new();
    let mut rest: Vec<(PathBuf, usize)> = paths.iter().map(|path| (path.clone(), 0)).collect();
    while let Some((path, depth)) = rest.pop() {
        if fs::metadata(&path).is_ok_and(|m| m.is_dir()) {
            if depth == DEPTH_MAX {
                continue;
            }
            for entry in fs::read_dir(&path)? {
                rest.push((entry?.path(), depth + 1));
            }
        } else if depth == 0 || wanted(&path) {
            files.push(ConfigFile { text: read(&path)?, path: path.to_string_lossy().into() });
        }
        if rest.len() + files.len() > FILES_MAX {
            return Err(io::Error::other(format!("there are more than {FILES_MAX} files")));
        }
    }
    files.sort_by(|a, b| a.path.cmp(&b.path));
    Ok(files)
}

/// The text of a file; of a link that leads nowhere and of a device (`/dev/null` masks a unit), nothing.
fn read(path: &Path) -> io::Result<String> {
    let metadata = match fs::metadata(path) {
        Ok(metadata) => metadata,
        Err(_) if fs::symlink_metadata(path).is_ok_and(|m| m.is_symlink()) => {
            return Ok(String::new());
        }
        Err(error) => return Err(error),
    };
    if !metadata.is_file() {
        return Ok(String::new());
    }
    if metadata.len() > FILE_BYTES_MAX {
        let path = path.display();
        return Err(io::Error::other(format!("`{path}` is larger than {FILE_BYTES_MAX} bytes")));
    }
    Ok(String::from_utf8_lossy(&fs::read(path)?).into_owned())
}
