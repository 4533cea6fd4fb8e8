//! Habits of Go programs that show in what they publish.
//!
//! Sources: the documentation of Go's `runtime` (GOOS, GOARCH), `net/url` (`QueryEscape`) and `encoding/json`
//! (`Marshal`).

use std::fmt::Write as _;

use crate::model::facts::Arch;

/// Longest name of an operating system or architecture, in bytes: Go's longest has 11 (`loong64`, `mips64p32le`).
const NAME_BYTES_MAX: usize = 32;

/// What Go calls an operating system and an architecture.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Platform {
    os: String,
    arch: String,
}

impl Platform {
    /// Linux on an architecture.
    pub fn linux(arch: Arch) -> Self {
        let arch = match arch {
            Arch::X86_64 => "amd64",
            Arch::Aarch64 => "arm64",
        };
        Self { os: "linux".to_owned(), arch: arch.to_owned() }
    }

    /// GOOS and GOARCH as given; `None` when one is not of lower-case letters and digits.
    pub fn new(os: &str, arch: &str) -> Option<Self> {
        let plain = |name: &str| {
            (1..=NAME_BYTES_MAX).contains(&name.len())
                && name.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit())
        };
        (plain(os) && plain(arch)).then(|| Self { os: os.to_owned(), arch: arch.to_owned() })
    }

    /// GOOS: `linux`.
    pub fn os(&self) -> &str {
        &self.os
    }

    /// GOARCH: `amd64`, `arm64`.
    pub fn arch(&self) -> &str {
        &self.arch
    }
}

/// Text as `url.QueryEscape` writes it: letters, digits and `-_.~` stay, a space is `+`, all else is `%XX`.
pub(super) fn query_escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => {
                escaped.push(byte.into());
            }
            b' ' => escaped.push('+'),
            // Writing to a String cannot fail.
            _ => _ = write!(escaped, "%{byte:02X}"),
        }
    }
    escaped
}

/// Text as a string of JSON as `json.Marshal` writes it: what means something in HTML is escaped as well.
pub(super) fn json_string(text: &str) -> String {
    let mut quoted = String::with_capacity(text.len() + 2);
    quoted.push('"');
    for letter in text.chars() {
        match letter {
            '"' => quoted.push_str("\\\""),
            '\\' => quoted.push_str("\\\\"),
            '\n' => quoted.push_str("\\n"),
            '\r' => quoted.push_str("\\r"),
            '\t' => quoted.push_str("\\t"),
            '\u{8}' => quoted.push_str("\\b"),
            '\u{c}' => quoted.push_str("\\f"),
            '<' | '>' | '&' | '\u{2028}' | '\u{2029}' | '\0'..='\u{1f}' => {
                // Writing to a String cannot fail.
                let _ = write!(quoted, "\\u{:04x}", u32::from(letter));
            }
            _ => quoted.push(letter),
        }
    }
    quoted.push('"');
    quoted
}

/// The members of a JSON object under the names that `json.Unmarshal` would take for these: their case does not
/// matter. `Err` is a name that is there twice.
pub(super) fn members<'a, const N: usize>(
    object: &'a serde_json::Map<String, serde_json::Value>,
    names: [&'static str; N],
) -> Result<[Option<&'a serde_json::Value>; N], &'static str> {
    let mut found = [None; N];
    for (key, value) in object {
        for (name, found) in names.iter().zip(&mut found) {
            if key.eq_ignore_ascii_case(name) && found.replace(value).is_some() {
                return Err(name);
            }
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escapes_are_those_of_go() {
        assert_eq!(query_escape("a+b c/d~e_f.g-h%é"), "a%2Bb+c%2Fd~e_f.g-h%25%C3%A9");
        assert_eq!(
            json_string("a\"b\\c<&>\n\u{1}\u{2028}é"),
            r#""a\"b\\c\u003c\u0026\u003e\n\u0001\u2028é""#
        );
    }

    #[test]
    fn platforms_have_the_names_of_go() {
        let platform = Platform::linux(Arch::X86_64);
        assert_eq!((platform.os(), platform.arch()), ("linux", "amd64"));
        assert_eq!(Platform::linux(Arch::Aarch64).arch(), "arm64");
        assert_eq!(Platform::new("darwin", "arm64").unwrap().os(), "darwin");
        for (os, arch) in [("", "amd64"), ("linux", ""), ("linux", "../x"), ("Linux", "amd64")] {
            assert_eq!(Platform::new(os, arch), None);
        }
    }
}
