//! Values of keys, as systemd reads them.

use super::super::ini::Assignment;
use super::super::order;
use super::super::pattern::{Pattern, boolean};
use super::{DefinitionError, Reader};

/// Longest list of a definition; the largest known has ten items.
const ITEMS_MAX: usize = 1000;
/// Every permission bit.
const MODE_MAX: u32 = 0o7777;

impl Reader<'_> {
    /// A boolean that an empty value unsets.
    pub(super) fn set_tristate(&mut self, at: &Assignment, slot: &mut Option<bool>) {
        if at.value.is_empty() {
            *slot = None;
        } else {
            self.set(at, slot, boolean(&at.value));
        }
    }

    /// A boolean that has no empty value.
    pub(super) fn set_boolean(&mut self, at: &Assignment, slot: &mut Option<bool>) {
        self.set(at, slot, boolean(&at.value));
    }

    /// A number, of boot attempts for example.
    pub(super) fn set_number(&mut self, at: &Assignment, slot: &mut Option<u64>) {
        self.set(at, slot, at.value.parse().ok());
    }

    /// An octal access mode.
    pub(super) fn set_mode(&mut self, at: &Assignment, slot: &mut Option<u32>) {
        let octal = at.value.bytes().all(|b| b.is_ascii_digit());
        let mode = octal.then(|| u32::from_str_radix(&at.value, 8).ok()).flatten();
        self.set(at, slot, mode.filter(|mode| *mode <= MODE_MAX));
    }

    /// Takes a value that parsed, or warns about one that did not.
    pub(super) fn set<T>(&mut self, at: &Assignment, slot: &mut Option<T>, value: Option<T>) {
        match value {
            Some(value) => *slot = Some(value),
            None => self.ignored(at),
        }
    }

    /// One version; a value that is none is ignored.
    pub(super) fn version(&mut self, at: &Assignment) -> Result<Option<String>, DefinitionError> {
        let version = self.expand(at, &at.value)?;
        if order::is_version(&version) {
            return Ok(Some(version));
        }
        let shown = at.value.escape_debug();
        self.warn(&at.place, format!("{}= string is not valid, ignoring: {shown}", at.key));
        Ok(None)
    }

    /// A web address; one that is none is ignored.
    pub(super) fn url(&mut self, at: &Assignment) -> Result<Option<String>, DefinitionError> {
        let url = self.expand(at, &at.value)?;
        if is_web_url(&url) {
            return Ok(Some(url));
        }
        let shown = at.value.escape_debug();
        self.warn(&at.place, format!("{}= URL is not valid, ignoring: {shown}", at.key));
        Ok(None)
    }

    /// A list of web addresses, one more for each value.
    pub(super) fn add_url(
        &mut self,
        at: &Assignment,
        list: &mut Vec<String>,
    ) -> Result<(), DefinitionError> {
        if at.value.is_empty() {
            list.clear();
        } else if let Some(url) = self.url(at)? {
            self.push(at, list, url);
        }
        Ok(())
    }

    /// A list of words.
    pub(super) fn add_words(&mut self, at: &Assignment, list: &mut Vec<String>) {
        if at.value.is_empty() {
            list.clear();
        }
        for word in at.value.split_whitespace() {
            let bare = word.trim_matches(['"', '\'']);
            self.push(at, list, bare.to_owned());
        }
    }

    /// A list of patterns, each once.
    pub(super) fn add_patterns(
        &mut self,
        at: &Assignment,
        list: &mut Vec<Pattern>,
    ) -> Result<(), DefinitionError> {
        if at.value.is_empty() {
            list.clear();
        }
        for word in at.value.split_whitespace() {
            let text = self.expand(at, &unescape(word))?;
            let pattern = Pattern::parse(&text).map_err(|source| DefinitionError::Pattern {
                place: at.place.clone(),
                pattern: text,
                source,
            })?;
            if !list.contains(&pattern) {
                self.push(at, list, pattern);
            }
        }
        Ok(())
    }

    pub(super) fn push<T>(&mut self, at: &Assignment, list: &mut Vec<T>, item: T) {
        if list.len() < ITEMS_MAX {
            list.push(item);
        } else {
            self.warn(&at.place, format!("{}= has more than {ITEMS_MAX} items, ignoring.", at.key));
        }
    }
}

/// `http` or `https` with something behind it, in ASCII.
pub(super) fn is_web_url(url: &str) -> bool {
    let rest = url.strip_prefix("https://").or_else(|| url.strip_prefix("http://"));
    rest.is_some_and(|rest| !rest.is_empty() && url.bytes().all(|b| matches!(b, b' '..=b'~')))
}

/// `\s`, `\xHH` and `\OOO` for one character each; every other backslash stays, and patterns refuse
/// it.
fn unescape(word: &str) -> String {
    let mut plain = String::with_capacity(word.len());
    let mut rest = word;
    while let Some((before, after)) = rest.split_once('\\') {
        plain.push_str(before);
        let code = |text: Option<&str>, base| u8::from_str_radix(text?, base).ok();
        let (c, length) = match after.chars().next() {
            Some('s') => (' ', 1),
            Some('x') => (code(after.get(1..3), 16).map_or('\\', char::from), 3),
            _ => (code(after.get(..3), 8).map_or('\\', char::from), 3),
        };
        plain.push(c);
        rest = if c == '\\' { after } else { after.get(length..).unwrap_or_default() };
    }
    plain.push_str(rest);
    plain
}

/// True for absolute paths without empty, `.` or `..` components; a slash at the end is allowed.
pub(super) fn is_plain_absolute(path: &str) -> bool {
    let Some(below) = path.strip_prefix('/') else { return false };
    let below = below.strip_suffix('/').unwrap_or(below);
    let plain = |name: &str| !matches!(name, "" | "." | "..");
    (below.is_empty() || below.split('/').all(plain)) && !path.contains('\0')
}

/// A path without doubled slashes, `.` components and a slash at the end; `None` when it has `..`.
pub(super) fn simplified(path: &str) -> Option<String> {
    let names: Vec<&str> = path.split('/').filter(|name| !matches!(*name, "" | ".")).collect();
    let root = if path.starts_with('/') { "/" } else { "" };
    let valid = !names.is_empty() && !names.contains(&"..") && !path.contains('\0');
    valid.then(|| format!("{root}{}", names.join("/")))
}
