//! The wish for one extension: a set of transfers that are updated in lock-step.

use camino::{Utf8Path, Utf8PathBuf};
use serde::{Serialize, Serializer};

use crate::format::sysupdate::pattern::{Match, Pattern};
use crate::model::extension::Shape;
use crate::model::{Check, Constraint, Digest, ExtensionClass, Level, Prereleases};
use crate::resource::SuspendWish;
use crate::resource::extension::apart::Others;
use crate::resource::extension::layout::{beside, class_of};
use crate::resource::extension::order::OrderWish;
use crate::source::spec::DirectoryUrl;

/// The wish for one extension: nothing in it can be invalid.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ExtensionSpec {
    /// Which versions.
    pub version: Constraint,
    /// Whether versions that say of themselves that they are prereleases are as welcome as any.
    pub prereleases: Prereleases,
    /// Which of several versions is the newest.
    pub order: OrderWish,
    /// What is transferred, in order; every release has all of them.
    pub transfers: Vec<Transfer>,
    /// Transfers that are switched off: what they brought goes.
    pub retired: Vec<Transfer>,
    /// Features of the host that must be on; `provider` drops the wish where they are not.
    pub features: FeatureWish,
    /// What a pass does.
    pub upkeep: Upkeep,
    /// What of the host's own definitions it carries out; absent for what is declared here.
    pub follows: Option<Followed>,
    /// The extension's own directory, absolute.
    pub home: Utf8PathBuf,
    /// Releases kept in all, the one in use included; at least 1.
    pub retain: u32,
    /// Versions that retention never removes.
    pub protect: Vec<String>,
    /// Older versions are never chosen.
    pub min_version: Option<String>,
    /// What evidence is demanded.
    pub verify: ImagePolicy,
    /// When a new image is merged.
    pub activate: Activate,
    /// What an image must show after it was merged.
    pub health: Option<Check>,
    /// Units restarted after a switch.
    pub restart: Vec<String>,
    /// Programs run after a switch, in order, after restarts.
    pub run: Vec<Vec<String>>,
    /// Largest download accepted, in bytes.
    pub download_bytes_max: u64,
    /// Largest image accepted, in bytes.
    pub image_bytes_max: u64,
    /// Left alone while this holds.
    pub suspend: Option<SuspendWish>,
}

/// The component of the host's definitions that an extension carries out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Followed {
    /// Its name; none for definitions that belong to no component.
    pub component: Option<String>,
}

/// What there is at a source.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Stock {
    /// Files, and a list of them with their digests.
    #[default]
    Listed,
    /// Files of a directory on this host: a list is used where there is one.
    Files,
    /// Directories of a directory on this host.
    Directories,
}

/// Numbers of boot attempts that a definition states.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Tries {
    /// `TriesLeft=`.
    pub left: Option<u64>,
    /// `TriesDone=`.
    pub done: Option<u64>,
}

/// One file of every release: where it comes from and where it goes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Transfer {
    /// The name of its definition, where the host has one.
    pub definition: Option<String>,
    /// The weakest acceptable level, where its definition says; absent: what is demanded of the extension.
    pub min: Option<Level>,
    /// The directory of the source.
    pub from: DirectoryUrl,
    /// What is in there.
    pub stock: Stock,
    /// Name of the list of files there.
    pub manifest: String,
    /// What names of files at the source look like; the first that matches says what the file is.
    #[serde(serialize_with = "texts")]
    pub source: Vec<Pattern>,
    /// The directory that the images are in.
    pub directory: Utf8PathBuf,
    /// What names of images look like; the first makes new names.
    #[serde(serialize_with = "texts")]
    pub target: Vec<Pattern>,
    /// The link that leads to the image in use; without one every image in the directory is.
    pub link: Option<Utf8PathBuf>,
    /// The name by which systemd finds it.
    pub name: String,
    /// Whether images are files, or directories that archives are unpacked into.
    pub shape: Shape,
    /// Permission bits of images, whatever the source states.
    pub mode: Option<u32>,
    /// Whether images can be written to, whatever their names say.
    pub read_only: Option<bool>,
    /// What names say of boot attempts, whatever the source states.
    pub tries: Tries,
    /// What systemd takes its images for; none where it does not look for extensions.
    pub class: Option<ExtensionClass>,
    /// Whether tidying takes away what systemd-sysupdate left half-done.
    pub remove_temporary: bool,
    /// The entry of systemd-sysupdate's list of what it installed, for a place that no definition owns any more.
    pub entry: Option<Utf8PathBuf>,
    /// What is not its own, although its patterns fit.
    pub others: Others,
}

pub(super) fn texts<S: Serializer>(patterns: &[Pattern], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_seq(patterns.iter().map(Pattern::as_str))
}

impl Transfer {
    /// Whether systemd itself finds images in the directory: the newest of it, or each of them.
    pub fn is_picked(&self) -> bool {
        self.link.is_none() && self.class.is_some()
    }

    /// Whether systemd picks the newest image of the directory.
    pub fn is_versioned(&self) -> bool {
        self.is_picked() && self.directory.extension() == Some("v")
    }

    /// Which order says what is in use of the images that are in sight: where systemd picks the newest of a directory,
    /// its own.
    pub fn order_in_use(&self, wish: OrderWish) -> OrderWish {
        if self.is_versioned() { OrderWish::Uapi } else { wish }
    }

    /// The name by which systemd finds one of its images: that of the file, where it finds each of them.
    pub fn found_as<'n>(&'n self, file: &'n str) -> &'n str {
        let each = self.link.is_none() && class_of(&self.directory).is_some();
        if each { file.strip_suffix(".raw").unwrap_or(file) } else { &self.name }
    }

    /// The text of the link to a file of the directory: relative, so that it holds under every root.
    pub fn link_text(&self, file: &str) -> Option<String> {
        let link = self.link.as_ref()?;
        Some(relative(link.parent()?, &self.directory.join(file)))
    }

    /// The file that a link's text leads to, when it is one of the directory.
    pub fn linked_file(&self, text: &str) -> Option<String> {
        let leads = join(self.link.as_ref()?.parent()?, text);
        let file = leads.strip_prefix(&self.directory).ok()?.as_str();
        let below = self.target.iter().any(Pattern::has_directories);
        (!file.is_empty() && (below || !file.contains('/'))).then(|| file.to_owned())
    }
}

/// What of an origin's answers is accepted.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct ImagePolicy {
    /// The weakest acceptable level; absent: a signature for what comes over the network.
    pub min: Option<Level>,
    /// The keyring on this machine; absent: those of systemd, below the root.
    pub keyring: Option<Utf8PathBuf>,
    /// What the file must be, whoever lists it.
    pub digest: Option<Digest>,
}

impl ExtensionSpec {
    /// The weakest acceptable level.
    fn level_min(&self) -> Level {
        let web = self.transfers.iter().any(|t| matches!(t.from, DirectoryUrl::Web(_)));
        let web = web && self.verify.digest.is_none();
        let default =
            if web || self.verify.keyring.is_some() { Level::Signature } else { Level::Lock };
        self.verify.min.unwrap_or(default)
    }

    /// The same for one transfer: nobody states what is in a plain directory of this host.
    pub fn level_of(&self, transfer: &Transfer) -> Level {
        let min = transfer.min.unwrap_or_else(|| self.level_min());
        match transfer.stock {
            Stock::Listed => min,
            Stock::Files | Stock::Directories => min.min(Level::Lock),
        }
    }

    /// Whether what an image was made of is as demanded now; why not.
    pub fn accepts(&self, transfer: &Transfer, made: (&Digest, Level)) -> Result<(), String> {
        let ((digest, level), min) = (made, self.level_of(transfer));
        if level < min {
            let (level, min) = (level.name(), min.name());
            return Err(format!("it was verified by {level}, now {min} is demanded"));
        }
        match &self.verify.digest {
            Some(pinned) if pinned != digest => Err(format!("{pinned} is demanded now")),
            _ => Ok(()),
        }
    }

    /// The same for a file that is fetched: that of the transfers which it may be of, else of all.
    pub fn level_of_file(&self, name: &str) -> Option<Level> {
        let is_its = |pattern: &Pattern| {
            pattern.has_directories() || matches!(pattern.compare(name), Match::Yes(_))
        };
        let its = self.transfers.iter().filter(|transfer| transfer.source.iter().any(is_its));
        let least = its.map(|transfer| self.level_of(transfer)).min();
        least.or_else(|| self.transfers.iter().map(|transfer| self.level_of(transfer)).max())
    }

    /// Whether everything it would transfer is switched off: what it brought goes.
    pub fn is_off(&self) -> bool {
        self.transfers.is_empty()
    }

    /// Why everything it would transfer is switched off.
    pub fn why_off(&self) -> &'static str {
        match self.upkeep {
            Upkeep::Clean => "no definition owns it any more",
            Upkeep::Nothing => "its component is not enabled",
            Upkeep::Full | Upkeep::Tidy => "its features are not enabled",
        }
    }

    /// The directories of its images, where there is another one than its home.
    pub fn directories(&self) -> Vec<&Utf8Path> {
        let all = self.transfers.iter().chain(&self.retired);
        let installed = all.filter(|transfer| transfer.entry.is_none());
        let mut directories: Vec<&Utf8Path> =
            installed.map(|transfer| transfer.directory.as_path()).collect();
        directories.sort();
        directories.dedup();
        directories.retain(|directory| *directory != self.home);
        directories
    }

    /// What its images extend: each class is merged by a program of its own.
    pub fn classes(&self) -> Vec<ExtensionClass> {
        let all = self.transfers.iter().chain(&self.retired);
        let mut classes: Vec<ExtensionClass> = all.filter_map(|t| t.class).collect();
        classes.sort();
        classes.dedup();
        classes
    }

    /// Digest of everything that decides what the image of one version holds.
    pub fn recipe(&self) -> Digest {
        let parts: Vec<_> = self
            .transfers
            .iter()
            .map(|t| (&t.from, t.source.first().map(Pattern::as_str)))
            .collect();
        Digest::of_json(&parts)
    }

    /// Whether a path is one of this extension's own.
    pub fn owns(&self, path: &Utf8Path) -> bool {
        let is = |link: &Utf8PathBuf| path == link || path == beside(link);
        let listed = |followed: &Followed| path.starts_with(followed.list());
        self.follows.as_ref().is_some_and(listed)
            || self.transfers.iter().chain(&self.retired).any(|transfer| {
                path.starts_with(&transfer.directory) || transfer.link.as_ref().is_some_and(is)
            })
    }
}

/// Features of the host's own definitions that an extension is there for.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct FeatureWish {
    /// One of them must be on, if there are any.
    pub any: Vec<String>,
    /// All of them must be on.
    pub all: Vec<String>,
}

impl FeatureWish {
    /// Whether the extension is wished where these features are on.
    pub fn holds(&self, is_on: impl Fn(&str) -> bool) -> bool {
        let on = |name: &String| is_on(name);
        self.all.iter().all(on) && (self.any.is_empty() || self.any.iter().any(on))
    }
}

/// What a pass does about an extension.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Upkeep {
    /// Everything.
    #[default]
    Full,
    /// Only takes away what is not kept; no source is asked.
    Tidy,
    /// Nothing: its component is off.
    Nothing,
    /// Only takes away what no definition owns any more, whoever installed it; no source is asked.
    Clean,
}

/// When a new image is merged.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Activate {
    /// By the pass that makes it the one in use.
    #[default]
    Now,
    /// By the next boot.
    Boot,
}

/// `../x` for `/var/lib/x` seen from `/var/lib/extensions`.
fn relative(from: &Utf8Path, to: &Utf8Path) -> String {
    let mut from = from.components().peekable();
    let mut to = to.components().peekable();
    while let (Some(a), Some(b)) = (from.peek(), to.peek())
        && a == b
    {
        from.next();
        to.next();
    }
    let up = from.map(|_| "..");
    up.chain(to.map(|c| c.as_str())).collect::<Vec<_>>().join("/")
}

/// Where a relative or absolute text leads from a directory.
pub(crate) fn join(from: &Utf8Path, text: &str) -> Utf8PathBuf {
    let mut at = if text.starts_with('/') { Utf8PathBuf::from("/") } else { from.to_owned() };
    for part in text.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                at.pop();
            }
            name => at.push(name),
        }
    }
    at
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn link_texts_are_relative_and_lead_back() {
        let (from, to) = (Utf8Path::new("/etc/extensions"), Utf8Path::new("/var/lib/x/x_1.raw"));
        let text = relative(from, to);
        assert_eq!(text, "../../var/lib/x/x_1.raw");
        assert_eq!(join(from, &text), to);
        assert_eq!(relative(to.parent().unwrap(), to), "x_1.raw");
        assert_eq!(join(from, "/opt/a"), "/opt/a");
    }
}
