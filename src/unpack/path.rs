//! Names in archives: which are acceptable, and what they are called on disk.

use crate::unpack::error::Refused;
use crate::unpack::limits::{COMPONENT_BYTES_MAX, DEPTH_MAX, PATH_BYTES_MAX};

/// Bytes of an unusable name that are shown in an error.
pub(super) const SHOWN_BYTES_MAX: usize = 200;

/// The path of an entry, relative, with `/` between components none of which is empty, `.` or `..`.
/// Empty for the archive's own root (`./`).
pub(super) fn clean(raw: &[u8]) -> Result<String, Refused> {
    if raw.len() > PATH_BYTES_MAX {
        return Err(Refused::TooLong);
    }
    let text = std::str::from_utf8(raw).map_err(|_| Refused::NotUtf8)?;
    if text.is_empty() {
        return Err(Refused::EmptyPath);
    }
    if text.bytes().any(is_control) {
        return Err(Refused::ControlCharacter);
    }
    if text.starts_with('/') {
        return Err(Refused::Absolute);
    }
    let mut path = String::with_capacity(text.len());
    let mut depth = 0;
    for component in text.split('/').filter(|c| !c.is_empty() && *c != ".") {
        depth += 1;
        match component {
            ".." => return Err(Refused::Escapes),
            _ if component.len() > COMPONENT_BYTES_MAX => return Err(Refused::TooLong),
            _ if depth > DEPTH_MAX => return Err(Refused::TooDeep),
            _ => {}
        }
        if !path.is_empty() {
            path.push('/');
        }
        path.push_str(component);
    }
    Ok(path)
}

/// The same for a zip archive, where Windows' ways to leave a directory are refused too.
pub(super) fn clean_zip(raw: &[u8]) -> Result<String, Refused> {
    if raw.contains(&b'\\') {
        return Err(Refused::Backslash);
    }
    if let [letter, b':', ..] = raw
        && letter.is_ascii_alphabetic()
    {
        return Err(Refused::Absolute);
    }
    clean(raw)
}

/// The text of a symbolic link; where it leads is looked at when the whole archive is known.
pub(super) fn link_target(raw: &[u8]) -> Result<String, Refused> {
    let text = std::str::from_utf8(raw).map_err(|_| Refused::LinkTarget)?;
    if text.is_empty() || text.len() >= PATH_BYTES_MAX || text.bytes().any(is_control) {
        return Err(Refused::LinkTarget);
    }
    if text.starts_with('/') {
        return Err(Refused::LinkAbsolute);
    }
    Ok(text.to_owned())
}

/// The directory a path is in (empty for the root) and its last component.
pub(super) fn split(path: &str) -> (&str, &str) {
    path.rsplit_once('/').unwrap_or(("", path))
}

/// NUL, terminal escapes, line ends.
fn is_control(byte: u8) -> bool {
    byte < 0x20 || byte == 0x7f
}
