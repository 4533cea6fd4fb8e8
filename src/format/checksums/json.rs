//! Checksum files in JSON.

use serde_json::{Map, Value};

use super::line::{function, statement, with_function};
use super::{Checksums, Statement};

/// Deepest nesting looked at; cargo-dist's manifest needs four levels.
const DEPTH_MAX: usize = 6;

/// Keys under which an object names its file.
const NAME_KEYS: [&str; 4] = ["name", "file", "filename", "path"];
/// Keys of a digest whose own text or length tells the hash function.
const DIGEST_KEYS: [&str; 4] = ["digest", "checksum", "hash", "integrity"];
/// Keys of a digest that tell the hash function.
const FUNCTION_KEYS: [&str; 5] = ["sha256", "sha384", "sha512", "sha1", "md5"];
/// Keys of an object that holds the digests of the file around it.
const GROUP_KEYS: [&str; 4] = ["checksums", "hashes", "digests", "checksum"];

/// Adds every digest that a document states for a named file.
pub(super) fn read(value: &Value, checksums: &mut Checksums) {
    visit(value, None, DEPTH_MAX, checksums);
}

fn visit(value: &Value, name: Option<&str>, depth: usize, checksums: &mut Checksums) {
    let Some(depth) = depth.checked_sub(1) else { return };
    match value {
        Value::Array(items) => {
            for item in items {
                visit(item, None, depth, checksums);
            }
        }
        Value::Object(members) => object(members, name, depth, checksums),
        _ => {}
    }
}

fn object(
    members: &Map<String, Value>,
    name: Option<&str>,
    depth: usize,
    checksums: &mut Checksums,
) {
    let own = NAME_KEYS.iter().find_map(|key| members.get(*key)?.as_str()).or(name);
    for (key, value) in members {
        let lower = key.to_ascii_lowercase();
        match value {
            Value::String(text) => {
                if let Some((name, statement)) = member(key, &lower, text, (own, checksums)) {
                    checksums.add(base(&name), statement);
                }
            }
            _ if GROUP_KEYS.contains(&lower.as_str()) => visit(value, own, depth, checksums),
            _ => visit(value, Some(key), depth, checksums),
        }
    }
}

/// The digest in a text member: of the object's own file, or of the file that the key names.
fn member(
    key: &str,
    lower: &str,
    text: &str,
    (own, checksums): (Option<&str>, &Checksums),
) -> Option<(String, Statement)> {
    if FUNCTION_KEYS.contains(&lower) {
        let hex = data_encoding::HEXLOWER_PERMISSIVE.decode(text.as_bytes()).ok();
        let stated = hex.and_then(|bytes| with_function(function(lower), bytes));
        let stated = stated.or_else(|| statement(text, &checksums.file_name))?;
        return Some((own?.to_owned(), stated));
    }
    let stated = statement(text, &checksums.file_name)?;
    let name = if DIGEST_KEYS.contains(&lower) { own? } else { key };
    Some((name.to_owned(), stated))
}

fn base(path: &str) -> &str {
    path.rsplit(['/', '\\']).next().unwrap_or(path)
}
