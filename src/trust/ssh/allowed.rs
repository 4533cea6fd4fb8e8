//! The `allowed_signers` file: which SSH keys may sign, for what and when.
//!
//! The format is that of `ssh-keygen(1)`, "ALLOWED SIGNERS". Times without `Z` are taken as UTC too, so that a file
//! means the same on every host.

use data_encoding::BASE64;
use jiff::civil::DateTime;
use jiff::{Timestamp, tz::TimeZone};

use crate::model::glob;
use crate::trust::ssh::SshSignatureError;

/// The longest file.
pub const SIGNERS_BYTES_MAX: u64 = 1 << 20;

/// The most keys in it: more are a public directory, not a choice of whom to trust.
pub const SIGNERS_MAX: usize = 4096;

/// Keys that are allowed to sign.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AllowedSigners(Vec<Entry>);

#[derive(Clone, Debug, PartialEq, Eq)]
struct Entry {
    principals: String,
    namespaces: Option<Vec<String>>,
    after: Option<Timestamp>,
    before: Option<Timestamp>,
    key: Vec<u8>,
}

/// Why an `allowed_signers` file cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AllowedSignersError {
    /// A line that is not understood: leaving it out could widen what is allowed.
    #[error(
        "reading the allowed signers, line {line}: {why}; see ALLOWED SIGNERS in ssh-keygen(1)"
    )]
    Line {
        /// From 1.
        line: usize,
        /// What is wrong.
        why: String,
    },
    /// Nobody could ever sign.
    #[error(
        "reading the allowed signers: no key is in the file; add a line `NAME ssh-ed25519 AAAA…`"
    )]
    Empty,
    /// More than anybody chose.
    #[error("reading the allowed signers: more than {SIGNERS_MAX} keys; keep those that may sign")]
    TooMany,
}

impl AllowedSigners {
    /// Reads a file's text.
    pub fn parse(text: &str) -> Result<Self, AllowedSignersError> {
        let mut entries = Vec::new();
        for (index, line) in text.lines().enumerate() {
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let failed = |why: &str| AllowedSignersError::Line { line: index + 1, why: why.into() };
            entries.push(entry(line).map_err(|why| failed(&why))?);
            if entries.len() > SIGNERS_MAX {
                return Err(AllowedSignersError::TooMany);
            }
        }
        if entries.is_empty() { Err(AllowedSignersError::Empty) } else { Ok(Self(entries)) }
    }

    /// The principals of a key that may sign for `namespace` at the time `at`.
    pub(super) fn permits(
        &self,
        key: &[u8],
        namespace: &str,
        at: Timestamp,
        fingerprint: &str,
    ) -> Result<String, SshSignatureError> {
        let mut refusal = SshSignatureError::Unknown { fingerprint: fingerprint.to_owned() };
        for entry in self.0.iter().filter(|entry| entry.key == key) {
            match entry.objection(namespace, at) {
                None => return Ok(entry.principals.clone()),
                Some(why) => {
                    refusal = SshSignatureError::NotAllowed {
                        fingerprint: fingerprint.to_owned(),
                        principals: entry.principals.clone(),
                        why,
                    };
                }
            }
        }
        Err(refusal)
    }
}

impl Entry {
    fn objection(&self, namespace: &str, at: Timestamp) -> Option<String> {
        let named = |patterns: &Vec<String>| {
            patterns.iter().any(|pattern| glob::covers(pattern, namespace.as_bytes()))
        };
        if !self.namespaces.as_ref().is_none_or(named) {
            return Some(format!("may not sign for `{namespace}`"));
        }
        match (self.after, self.before) {
            (Some(after), _) if at < after => Some(format!("is valid only after {after}")),
            (_, Some(before)) if at >= before => Some(format!("was valid until {before}")),
            _ => None,
        }
    }
}

/// `principals [options] type base64 [comment]`.
fn entry(line: &str) -> Result<Entry, String> {
    let (principals, rest) = word(line);
    let principals = principals.replace('"', "");
    let mut entry =
        Entry { principals, namespaces: None, after: None, before: None, key: Vec::new() };
    let (mut kind, mut rest) = word(rest);
    if !is_key_type(kind) {
        for option in options(kind) {
            apply(&mut entry, option)?;
        }
        (kind, rest) = word(rest);
    }
    if !is_key_type(kind) {
        return Err(format!("`{}` is no type of key", kind.escape_debug()));
    }
    let (base64, _) = word(rest);
    entry.key = BASE64.decode(base64.as_bytes()).map_err(|_| "the key is not base64".to_owned())?;
    let named = crate::format::sshsig::Fields::new(&entry.key).text();
    if named.as_deref() != Ok(kind) {
        return Err(format!("the key is not of the type `{kind}` that stands before it"));
    }
    Ok(entry)
}

fn is_key_type(word: &str) -> bool {
    ["ssh-", "ecdsa-sha2-", "sk-ssh-", "sk-ecdsa-"].iter().any(|start| word.starts_with(start))
}

fn apply(entry: &mut Entry, option: &str) -> Result<(), String> {
    let (name, value) = option.split_once('=').unwrap_or((option, ""));
    let value = value.trim_matches('"');
    match name.to_ascii_lowercase().as_str() {
        "namespaces" if value.contains('!') => {
            return Err(
                "namespaces that are left out are not supported; list those that count".to_owned()
            );
        }
        "namespaces" => {
            entry.namespaces = Some(value.split(',').map(ToOwned::to_owned).collect());
        }
        "valid-after" => entry.after = Some(time(value)?),
        "valid-before" => entry.before = Some(time(value)?),
        "cert-authority" => {
            return Err("certificates are not supported; list the keys themselves".to_owned());
        }
        _ => return Err(format!("the option `{}` is not known", name.escape_debug())),
    }
    Ok(())
}

/// `YYYYMMDD` or `YYYYMMDDHHMM[SS]`, with or without `Z`.
fn time(text: &str) -> Result<Timestamp, String> {
    let digits = text.strip_suffix('Z').unwrap_or(text);
    let wrong =
        || format!("`{}` is no time such as 20261231 or 20261231235959Z", text.escape_debug());
    if !digits.bytes().all(|b| b.is_ascii_digit()) || !matches!(digits.len(), 8 | 12 | 14) {
        return Err(wrong());
    }
    let full = format!("{digits:0<14}");
    let time = DateTime::strptime("%Y%m%d%H%M%S", &full).map_err(|_| wrong())?;
    Ok(time.to_zoned(TimeZone::UTC).map_err(|_| wrong())?.timestamp())
}

/// The first word of a line, in which quotes keep blanks together, and the rest.
fn word(line: &str) -> (&str, &str) {
    let line = line.trim_start();
    let end = outside_quotes(line, |c| c.is_ascii_whitespace()).unwrap_or(line.len());
    line.split_at(end)
}

/// What commas outside quotes separate.
fn options(mut text: &str) -> Vec<&str> {
    let mut options = Vec::new();
    while let Some(comma) = outside_quotes(text, |c| c == ',') {
        let (option, rest) = text.split_at(comma);
        options.push(option);
        text = rest.get(1..).unwrap_or_default();
    }
    options.push(text);
    options
}

fn outside_quotes(text: &str, wanted: impl Fn(char) -> bool) -> Option<usize> {
    let mut quoted = false;
    text.char_indices().find_map(|(at, c)| {
        if c == '"' {
            quoted = !quoted;
        }
        (!quoted && wanted(c)).then_some(at)
    })
}
