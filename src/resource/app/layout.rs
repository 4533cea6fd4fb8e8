//! Where things of an app are, and what the texts of its links mean.

use camino::{Utf8Path, Utf8PathBuf};

use crate::model::Step;

/// Everything of ours in `staging/` starts with this; nothing else there is ever touched.
pub const STAGING_PREFIX: &str = "reconcile-";

/// The paths of one app.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Layout {
    /// `/opt/<app>`
    pub home: Utf8PathBuf,
}

impl Layout {
    /// The layout below `home`.
    pub fn new(home: &Utf8Path) -> Self {
        Self { home: home.to_owned() }
    }

    /// The directory of links.
    pub fn bin(&self) -> Utf8PathBuf {
        self.home.join("bin")
    }

    /// The directory of release directories.
    pub fn releases(&self) -> Utf8PathBuf {
        self.home.join("releases")
    }

    /// One release directory.
    pub fn slot(&self, slot: &str) -> Utf8PathBuf {
        self.releases().join(slot)
    }

    /// The directory of half-done work.
    pub fn staging(&self) -> Utf8PathBuf {
        self.home.join("staging")
    }

    /// Where a release is made before it is moved to its slot. The name is the same in every pass, so
    /// that what a killed pass left is found and replaced.
    pub fn staged_slot(&self, slot: &str) -> Utf8PathBuf {
        self.staging().join(format!("{STAGING_PREFIX}release-{slot}"))
    }
}

impl Layout {
    /// Where a new `bin` is made.
    pub fn staged_bin(&self) -> Utf8PathBuf {
        self.staging().join(format!("{STAGING_PREFIX}bin"))
    }

    /// The step that removes a slot of ours, which may be in use.
    pub fn remove(&self, path: Utf8PathBuf) -> Step {
        let name = path.file_name().unwrap_or_default();
        let aside = Some(self.staging().join(format!("{STAGING_PREFIX}trash-{name}")));
        let slot = Some(name.to_owned());
        Step::Remove { path, aside, expects: None, slot }
    }

    /// The step that removes what an earlier pass left in `staging`.
    pub fn sweep(&self, name: &str) -> Step {
        Step::remove(self.staging().join(name))
    }
}

/// The text of the link to `path` inside `slot`.
pub fn link_text(slot: &str, path: &str) -> String {
    format!("../releases/{slot}/{path}")
}

/// The slot and the path inside it that a link's text points to; `None` for links of somebody else.
pub fn parse_link(text: &str) -> Option<(&str, &str)> {
    let (slot, path) = text.strip_prefix("../releases/")?.split_once('/')?;
    (is_slot_name(slot) && !path.is_empty()).then_some((slot, path))
}

fn is_slot_name(slot: &str) -> bool {
    !slot.is_empty() && slot != "." && slot != ".."
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_links_into_releases_are_ours() {
        assert_eq!(parse_link("../releases/v1/bin/x"), Some(("v1", "bin/x")));
        for text in ["../releases/v1", "../releases/../x", "/opt/a/releases/v1/x", "x", ""] {
            assert_eq!(parse_link(text), None, "{text}");
        }
    }
}
