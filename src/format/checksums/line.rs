//! One line of a checksum file.

use data_encoding::{BASE64, HEXLOWER_PERMISSIVE};

use super::{Function, Statement};
use crate::model::Algorithm;

/// What a line is.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Line {
    /// A digest of a file. More than one name where a mode character may be part of the name.
    Named(Vec<(String, Statement)>),
    /// A digest without a name.
    Lone(Statement),
    /// Something that states no digest.
    Other,
    /// A known form with a digest that does not fit.
    Bad,
}

/// Reads one line without its line feed.
pub(super) fn read(line: &str, file_name: &str) -> Line {
    let line = line.trim_end();
    // Dash escaping of clear-signed text: RFC 9580, section 7.2.
    let line = line.strip_prefix("- ").unwrap_or(line);
    let (line, escaped) = line.strip_prefix('\\').map_or((line, false), |rest| (rest, true));
    let name = |text: &str| base_name(text, if escaped { Name::Escaped } else { Name::Plain });
    if let Some((tag, raw, digest)) = tagged(line) {
        let function = function(tag);
        let Some(bytes) = bytes(digest) else {
            let known = matches!(function, Function::Strong(_));
            return if known { Line::Bad } else { Line::Other };
        };
        return match (&function, name(raw)) {
            (Function::Strong(algorithm), _) if algorithm.bytes() != bytes.len() => Line::Bad,
            (_, Some(name)) => Line::Named(vec![(name, Statement { function, bytes })]),
            (_, None) => Line::Other,
        };
    }
    if let Some(statement) = statement(line.trim(), file_name) {
        return Line::Lone(statement);
    }
    if let Some((word, raw)) = line.split_once([' ', '\t'])
        && let Some(statement) = statement(word, file_name)
    {
        // Standard input: `sha256sum < tool.zip > tool.zip.sha256`.
        if matches!(raw.trim(), "-" | "*-") {
            return Line::Lone(statement);
        }
        return Line::Named(
            names(raw).filter_map(name).map(|name| (name, statement.clone())).collect(),
        );
    }
    table_row(line).unwrap_or(Line::Other)
}

/// `TAG (NAME) = DIGEST` and `TAG(NAME)= DIGEST`.
fn tagged(line: &str) -> Option<(&str, &str, &str)> {
    let (tag, rest) = line.split_once('(')?;
    let (name, digest) = rest.rsplit_once(')')?;
    let digest = digest.trim_start().strip_prefix('=')?.trim();
    let tag = tag.trim_end();
    let is_tag = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '/' | '_');
    (!tag.is_empty() && tag.chars().all(is_tag)).then_some((tag, name, digest))
}

/// The names that may follow a digest and one blank: after a mode character or, as some write, after
/// more blanks or none.
fn names(raw: &str) -> impl Iterator<Item = &str> {
    let after_mode = raw.strip_prefix([' ', '*', 'U', '^']);
    // `U` and `^` can also begin a name; the others cannot begin that of an artifact.
    let whole = raw.starts_with(['U', '^']) || after_mode.is_none();
    after_mode.into_iter().chain(whole.then_some(raw)).map(str::trim_start)
}

/// `SHA256   HEX   PATH`, as PowerShell's Get-FileHash prints.
fn table_row(line: &str) -> Option<Line> {
    let (tag, rest) = line.split_once([' ', '\t'])?;
    let (word, path) = rest.trim_start().split_once([' ', '\t'])?;
    let Function::Strong(algorithm) = function(tag) else { return None };
    let bytes = bytes(word).filter(|bytes| bytes.len() == algorithm.bytes())?;
    let name = base_name(path.trim(), Name::Plain)?;
    let statement = Statement { function: Function::Strong(algorithm), bytes };
    Some(Line::Named(vec![(name, statement)]))
}

/// How a name is written.
#[derive(Clone, Copy)]
enum Name {
    /// As it is; a backslash separates directories, since coreutils would have escaped one in a name.
    Plain,
    /// `\\`, `\n` and `\r` stand for one character each.
    Escaped,
}

/// The last component of a path; `None` when there is none.
fn base_name(path: &str, written: Name) -> Option<String> {
    let (text, separators): (String, &[char]) = match written {
        Name::Plain => (path.to_owned(), &['/', '\\']),
        Name::Escaped => (unescaped(path)?, &['/']),
    };
    text.rsplit(separators).next().filter(|name| !name.is_empty()).map(str::to_owned)
}

fn unescaped(text: &str) -> Option<String> {
    let mut plain = String::with_capacity(text.len());
    let mut characters = text.chars();
    while let Some(c) = characters.next() {
        plain.push(match c {
            '\\' => match characters.next()? {
                '\\' => '\\',
                'n' => '\n',
                'r' => '\r',
                _ => return None,
            },
            other => other,
        });
    }
    Some(plain)
}

/// A digest written as one word: hexadecimal, `sha256:HEX` or `sha256-BASE64`.
pub(super) fn statement(word: &str, file_name: &str) -> Option<Statement> {
    if let Some((tag, rest)) = word.split_once(':') {
        return with_function(function(tag), HEXLOWER_PERMISSIVE.decode(rest.as_bytes()).ok()?);
    }
    if let Some((tag @ ("sha256" | "sha384" | "sha512"), rest)) = word.split_once('-') {
        return with_function(function(tag), BASE64.decode(rest.as_bytes()).ok()?);
    }
    let bytes = HEXLOWER_PERMISSIVE.decode(word.as_bytes()).ok()?;
    let function = function_of_length(bytes.len(), file_name)?;
    Some(Statement { function, bytes })
}

/// A digest with a stated hash function; `None` when its length is wrong.
pub(super) fn with_function(function: Function, bytes: Vec<u8>) -> Option<Statement> {
    let fits = match &function {
        Function::Strong(algorithm) => algorithm.bytes() == bytes.len(),
        Function::Other(_) => !bytes.is_empty(),
    };
    fits.then_some(Statement { function, bytes })
}

/// Hexadecimal, or base64 as `cksum --base64` writes it.
fn bytes(text: &str) -> Option<Vec<u8>> {
    let hex = HEXLOWER_PERMISSIVE.decode(text.as_bytes()).ok();
    hex.or_else(|| BASE64.decode(text.as_bytes()).ok()).filter(|bytes| !bytes.is_empty())
}

/// The hash function that a tag names: `SHA256`, `SHA2-256` (OpenSSL 3), `sha-256`.
pub(super) fn function(tag: &str) -> Function {
    match tag.to_ascii_lowercase().as_str() {
        "sha256" | "sha2-256" | "sha-256" => Function::Strong(Algorithm::Sha256),
        "sha384" | "sha2-384" | "sha-384" => Function::Strong(Algorithm::Sha384),
        "sha512" | "sha2-512" | "sha-512" => Function::Strong(Algorithm::Sha512),
        other => Function::Other(other.to_owned()),
    }
}

/// The hash function by the digest's length in bytes and, where two share one, by the file's name.
fn function_of_length(length: usize, file_name: &str) -> Option<Function> {
    let file = file_name.to_ascii_lowercase();
    let says = |words: &[&str]| {
        file.split(|c: char| !c.is_ascii_alphanumeric())
            .any(|word| words.iter().any(|known| word.starts_with(known)))
    };
    let other = |name: &str| Some(Function::Other(name.to_owned()));
    match length {
        32 | 48 | 64 if says(&["b3", "blake3"]) => other("blake3"),
        32 | 48 | 64 if says(&["b2", "blake2"]) => other("blake2"),
        32 | 48 | 64 if says(&["sha3"]) && !says(&["sha384"]) => other("sha3"),
        32 => Some(Function::Strong(Algorithm::Sha256)),
        48 => Some(Function::Strong(Algorithm::Sha384)),
        64 => Some(Function::Strong(Algorithm::Sha512)),
        16 => other("md5"),
        20 => other("sha1"),
        28 => other("sha224"),
        _ => None,
    }
}
