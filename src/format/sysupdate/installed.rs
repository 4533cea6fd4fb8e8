//! The list that systemd-sysupdate keeps of what it ever installed where.
//!
//! Source: the behaviour of systemd 262. One directory for each component has a symbolic link for each pattern of each
//! target that something was installed for. Its text is `DIRECTORY/./PATTERN`, its name the SHA-256 of that in hex.
//! A cleanup takes away what matches an entry and no definition owns any more, and then the entry.

use data_encoding::HEXLOWER;
use sha2::{Digest as _, Sha256};

use super::pattern::Pattern;

/// The directory of the lists, which has nothing else of interest.
pub const LISTS: &str = "/var/lib/systemd/sysupdate";

/// Between the directory and the pattern.
const BETWEEN: &str = "/./";

/// The directory with the list of a component, or of the host.
pub fn list(component: Option<&str>) -> String {
    component.map_or_else(
        || format!("{LISTS}/installdb"),
        |component| format!("{LISTS}/installdb.{component}"),
    )
}

/// The text of the entry for a pattern of a directory, an absolute path.
pub fn text(directory: &str, pattern: &Pattern) -> String {
    format!("{}{BETWEEN}{}", directory.trim_end_matches('/'), pattern.as_str())
}

/// The name of the entry with this text.
pub fn name(text: &str) -> String {
    HEXLOWER.encode(&Sha256::digest(text))
}

/// What an entry says: a directory and a pattern. `None` when its name is not that of its text, when it is malformed or
/// leads to no plain absolute path: nobody can tell what such an entry stands for.
pub fn entry(name_found: &str, text: &str) -> Option<(String, Pattern)> {
    if name(text) != name_found {
        return None;
    }
    let (directory, pattern) = text.split_once(BETWEEN)?;
    let below = directory.strip_prefix('/')?;
    let plain = below.split('/').all(|name| !matches!(name, "" | "." | ".."));
    plain.then(|| Some((directory.to_owned(), Pattern::parse(pattern).ok()?)))?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_are_named_by_their_text_and_say_what_was_put_in() {
        let pattern = Pattern::parse("image_@v.raw").unwrap();
        let text = text("/var/lib/machines/", &pattern);
        assert_eq!(text, "/var/lib/machines/./image_@v.raw");
        // The example in systemd's own description of the list.
        let known = "8cbee6aa38b98811598118ebbc0eb4c1b7e479e7bfa4312c0b36edc765d1733b";
        assert_eq!(name(&text), known);
        assert_eq!(entry(known, &text), Some(("/var/lib/machines".to_owned(), pattern)));
        assert_eq!(entry(&name("/a/b"), "/a/b"), None);
        assert_eq!(entry(&name("/a/../b/./x_@v"), "/a/../b/./x_@v"), None);
        assert_eq!(entry(&name("/a/./no-version"), "/a/./no-version"), None);
        assert_eq!(entry("0", &text), None);
    }

    #[test]
    fn each_component_has_a_list_of_its_own() {
        assert_eq!(list(None), "/var/lib/systemd/sysupdate/installdb");
        assert_eq!(list(Some("web")), "/var/lib/systemd/sysupdate/installdb.web");
    }
}
