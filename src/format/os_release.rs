//! The os-release format, which extension-release files share.
//!
//! Lines of `KEY=value` as systemd reads them (`parse_env_file`, systemd 252 to 262; os-release(5)): a value
//! may be quoted like in a shell, quoted and bare pieces may follow one another, nothing is expanded, and
//! the last assignment of a key wins. A line without `=` is passed over; a file that is not UTF-8 or holds
//! a NUL byte is refused as a whole, because systemd then sees no assignment at all.

use std::collections::BTreeMap;

/// Bytes of a release file: real ones have a few hundred.
pub const RELEASE_BYTES_MAX: usize = 64 << 10;

/// Why a release file says nothing.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OsReleaseError {
    /// Longer than [`RELEASE_BYTES_MAX`].
    #[error("the release file is longer than {RELEASE_BYTES_MAX} bytes")]
    TooLong,
    /// Not UTF-8.
    #[error("the release file is not UTF-8 text")]
    NotText,
    /// Holds a NUL byte.
    #[error("the release file holds a NUL byte")]
    Nul,
}

/// The assignments of one file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OsRelease {
    fields: BTreeMap<String, String>,
}

impl OsRelease {
    /// Reads the assignments.
    pub fn parse(bytes: &[u8]) -> Result<Self, OsReleaseError> {
        if bytes.len() > RELEASE_BYTES_MAX {
            return Err(OsReleaseError::TooLong);
        }
        if bytes.contains(&0) {
            return Err(OsReleaseError::Nul);
        }
        let text = std::str::from_utf8(bytes).map_err(|_| OsReleaseError::NotText)?;
        let mut reader =
            Reader { state: State::BeforeKey, key: String::new(), value: Value::default() };
        let mut fields = BTreeMap::new();
        for char in text.chars() {
            if reader.step(char) {
                let (key, value) = reader.take();
                fields.insert(key, value);
            }
        }
        if reader.state.is_in_value() {
            let (key, value) = reader.take();
            fields.insert(key, value);
        }
        Ok(Self { fields })
    }

    /// The value of a key; an empty one counts as none, as everywhere in systemd.
    pub fn get(&self, key: &str) -> Option<&str> {
        self.fields.get(key).map(String::as_str).filter(|value| !value.is_empty())
    }

    /// Whether the key is assigned, be it nothing.
    pub fn assigns(&self, key: &str) -> bool {
        self.fields.contains_key(key)
    }

    /// The words of a value that is a list.
    pub fn words(&self, key: &str) -> impl Iterator<Item = &str> {
        self.get(key).unwrap_or_default().split(is_blank).filter(|word| !word.is_empty())
    }

    /// Whether there is no assignment.
    pub fn is_empty(&self) -> bool {
        self.fields.is_empty()
    }
}

/// What systemd takes for white space.
fn is_blank(char: char) -> bool {
    matches!(char, ' ' | '\t' | '\n' | '\r')
}

fn is_line_end(char: char) -> bool {
    matches!(char, '\n' | '\r')
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    BeforeKey,
    Key,
    BeforeValue,
    Bare,
    BareEscape,
    Single,
    Double,
    DoubleEscape,
    Comment,
    CommentEscape,
}

impl State {
    fn is_in_value(self) -> bool {
        !matches!(self, Self::BeforeKey | Self::Key | Self::Comment | Self::CommentEscape)
    }
}

/// A value so far; blanks at the end of a bare piece are cut when the value ends.
#[derive(Default)]
struct Value {
    text: String,
    /// Length of `text` without the blanks that end the bare piece.
    solid: usize,
}

impl Value {
    fn push(&mut self, char: char) {
        self.text.push(char);
        self.solid = self.text.len();
    }

    fn push_bare(&mut self, char: char) {
        self.text.push(char);
        if !is_blank(char) {
            self.solid = self.text.len();
        }
    }
}

struct Reader {
    state: State,
    key: String,
    value: Value,
}

impl Reader {
    /// Takes one character; true when it ends an assignment.
    fn step(&mut self, char: char) -> bool {
        match self.state {
            State::BeforeKey | State::Key => self.in_key(char),
            State::BeforeValue | State::Bare if is_line_end(char) => {
                self.state = State::BeforeKey;
                return true;
            }
            State::BeforeValue => self.before_value(char),
            State::Bare if char == '\\' => self.state = State::BareEscape,
            State::Bare => self.value.push_bare(char),
            State::BareEscape => {
                self.state = State::Bare;
                if !is_line_end(char) {
                    self.value.push(char);
                }
            }
            State::Single if char == '\'' => self.state = State::BeforeValue,
            State::Single => self.value.push(char),
            State::Double => self.in_double(char),
            State::DoubleEscape => self.escaped_in_double(char),
            State::Comment | State::CommentEscape => self.in_comment(char),
        }
        false
    }

    fn in_key(&mut self, char: char) {
        match (self.state, char) {
            (State::BeforeKey, '#' | ';') => self.state = State::Comment,
            (State::BeforeKey, _) if is_blank(char) => {}
            (State::BeforeKey, _) => {
                self.state = State::Key;
                self.key = char.into();
            }
            (_, '=') => self.state = State::BeforeValue,
            _ if is_line_end(char) => self.state = State::BeforeKey,
            _ => self.key.push(char),
        }
    }

    fn before_value(&mut self, char: char) {
        match char {
            '\'' => self.state = State::Single,
            '"' => self.state = State::Double,
            '\\' => self.state = State::BareEscape,
            _ if is_blank(char) => {}
            _ => {
                self.state = State::Bare;
                self.value.push(char);
            }
        }
    }

    fn in_double(&mut self, char: char) {
        match char {
            '"' => self.state = State::BeforeValue,
            '\\' => self.state = State::DoubleEscape,
            _ => self.value.push(char),
        }
    }

    /// Only the characters that a shell needs escaped lose their backslash.
    fn escaped_in_double(&mut self, char: char) {
        self.state = State::Double;
        if matches!(char, '"' | '\\' | '`' | '$') {
            self.value.push(char);
        } else if !is_line_end(char) {
            self.value.push('\\');
            self.value.push(char);
        }
    }

    fn in_comment(&mut self, char: char) {
        self.state = match (self.state, char) {
            (_, '\n' | '\r') => State::BeforeKey,
            (State::Comment, '\\') => State::CommentEscape,
            _ => State::Comment,
        };
    }

    fn take(&mut self) -> (String, String) {
        let key = std::mem::take(&mut self.key).trim_end_matches(is_blank).to_owned();
        let Value { mut text, solid } = std::mem::take(&mut self.value);
        text.truncate(solid);
        (key, text)
    }
}

#[cfg(test)]
mod tests;
