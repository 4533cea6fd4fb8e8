//! What systemd-sysupdate does beside installing, and we do where we carry out its definitions; pure.

use camino::{Utf8Path, Utf8PathBuf};

use crate::format::sysupdate::installed;
use crate::format::sysupdate::pattern::{Fields, Wildcard};
use crate::model::Step;
use crate::model::extension::{Announcement, Installed, Shape};
use crate::resource::extension::observe::ImageSeen;
use crate::resource::extension::plan::Situation;
use crate::resource::extension::spec::{Activate, Followed, Transfer};

/// Permission bits where neither definition nor source states any: what the usual umask leaves.
const MODE: u32 = 0o644;

/// What every writing bit is in.
const WRITING: u32 = 0o222;

/// Boot attempts of a new image where nobody states how many.
const TRIES_LEFT: u64 = 3;

impl Followed {
    /// The directory of systemd-sysupdate's list of what was installed.
    pub fn list(&self) -> Utf8PathBuf {
        installed::list(self.component.as_deref()).into()
    }
}

impl Transfer {
    /// What is said of a new image: what the definition states, else what the source does. What is there keeps its
    /// count of boot attempts.
    pub(super) fn fields(&self, offered: &Fields, there: Option<&ImageSeen>) -> Fields {
        let counts = [Wildcard::TriesLeft, Wildcard::TriesDone];
        let counted = self.target.iter().any(|pattern| counts.iter().any(|c| pattern.has(*c)));
        let there = there.filter(|_| counted);
        let there = there.and_then(|image| self.image(&image.file).fields);
        let (left, done) =
            there.map_or((None, None), |fields| (fields.tries_left, fields.tries_done));
        Fields {
            mode: self.mode.or(offered.mode),
            read_only: self.read_only.or(offered.read_only),
            tries_left: left.or(self.tries.left).or(offered.tries_left).or(Some(TRIES_LEFT)),
            tries_done: done.or(self.tries.done).or(offered.tries_done).or(Some(0)),
            ..offered.clone()
        }
    }

    /// Permission bits of a new image.
    pub(super) fn mode_of(&self, fields: &Fields) -> u32 {
        let mode = fields.mode.unwrap_or(MODE);
        match (self.shape, fields.read_only) {
            (Shape::Image, Some(true)) => mode & !WRITING,
            (Shape::Image | Shape::Directory, _) => mode,
        }
    }

    /// What makes a directory immutable once it is in its place: before, it could not be moved there.
    pub(super) fn seal(&self, place: &Utf8Path, fields: &Fields) -> Option<Step> {
        let sealed = self.shape == Shape::Directory && fields.read_only == Some(true);
        sealed.then(|| Step::Seal { path: place.to_owned() })
    }
}

impl Situation<'_> {
    /// Enters what is about to be installed into systemd-sysupdate's list, before it is there: what is there without
    /// an entry is never cleaned up.
    pub(super) fn enlist(&self, installed: &[(&Transfer, String)]) -> Option<Step> {
        let followed = self.spec.follows.as_ref().filter(|_| !installed.is_empty())?;
        let entries = installed.iter().flat_map(|(transfer, _)| {
            let directory = transfer.directory.as_str();
            transfer.target.iter().map(move |pattern| installed::text(directory, pattern))
        });
        let mut entries: Vec<String> = entries.collect();
        entries.sort();
        entries.dedup();
        Some(Step::Enlist { list: followed.list(), entries })
    }

    /// Tells whoever wants to know what was installed. Nobody is told of what is merged by the next boot only: who is
    /// told would merge it at once.
    pub(super) fn announce(&self, version: &str, files: &[(&Transfer, String)]) -> Option<Step> {
        let followed = self.spec.follows.as_ref().filter(|_| !files.is_empty())?;
        let waits = self.spec.activate == Activate::Boot
            && self.spec.transfers.iter().any(|transfer| transfer.class.is_some());
        if waits || !self.facts.live {
            return None;
        }
        let resources = files.iter().filter_map(|(transfer, file)| {
            let path = transfer.directory.join(file);
            Some(Installed { transfer: transfer.definition.clone()?, path: path.into_string() })
        });
        let announcement = Announcement {
            component: followed.component.clone(),
            version: version.to_owned(),
            resources: resources.collect(),
        };
        Some(Step::Announce { announcement })
    }
}
