//! Images are made beside their place and looked into before systemd can see them.

use std::fs::{File, FileType};
use std::io::{self, Read};

use camino::Utf8Path;
use rustix::io::Errno;

use crate::apply::stage::{Bench, Stager};
use crate::format::extension_release::{
    Form, Host, Image, Reason, Scope, Verdict, host_in_words, judge,
};
use crate::format::image::{self, ImageError, ImageFiles, contents, hidden};
use crate::format::os_release::{OsRelease, RELEASE_BYTES_MAX};
use crate::host::{ItemKind, Look, facts, memory};
use crate::model::extension::{
    IMAGE_MANIFEST_FORMAT, ImageHead, ImageManifest, PlaceRules, Shape, unsuitable_name,
};
use crate::model::facts::Arch;
use crate::model::ledger::Trust;
use crate::model::manifest::{Entry, EntryKind};
use crate::model::outcome::{Failure, FailureClass, chain};
use crate::model::step::{Binaries, Strip, UnpackLimits, UnpackRules};
use crate::model::{Blob, Digest, ExtensionClass, StepKind};
use crate::trust::Verified;
use crate::unpack::{self, Placed, UnpackError};

/// An artifact that takes so long to unpack that giving memory back before, which takes a millisecond, is nothing.
const LARGE_BYTES: u64 = 16 << 20;

impl Stager<'_> {
    /// Makes an image and its manifest in their staging places.
    pub(super) async fn place(
        &self,
        into: &Utf8Path,
        rules: &PlaceRules,
        head: &ImageHead,
        bench: &mut Bench,
    ) -> Result<(), Failure> {
        let fail = |class, message| Failure { step: StepKind::Place, class, message };
        let io = |e: std::io::Error| fail(FailureClass::Transient, chain(&e));
        let Some((blob, artifact, evidence)) = bench.take_whole() else {
            return Err(fail(FailureClass::Permanent, "nothing was fetched".to_owned()));
        };
        let staged_manifest = format!("{into}.reconcile.json");
        self.host.make_dirs_unsynced(into.parent().unwrap_or(into)).map_err(io)?;
        self.host.remove(into).map_err(io)?;
        self.host.remove(&staged_manifest).map_err(io)?;
        if blob.get().size >= LARGE_BYTES {
            // What was needed to fetch it is not needed beside what unpacks it.
            memory::give_back();
        }
        let permit = self.unpacking.acquire().await;
        let writes = self.writes().await;
        let (target, owned_rules) = (self.host.real(into), rules.clone());
        let named = artifact.name.clone();
        let host = HostAsItIs::look(self.host, self.facts.arch);
        let worked = tokio::task::spawn_blocking(move || {
            let _writes = writes;
            let made = make(&blob, &named, &target, &owned_rules);
            let judged = made.as_ref().map_or(Ok(None), |made| {
                host.would_merge(target.as_path(), made.placed.size, &owned_rules)
            });
            (made, judged, host, blob.get().size)
        })
        .await;
        drop(permit);
        let (placed, judged, host, artifact_size) =
            worked.map_err(|e| fail(FailureClass::Permanent, format!("placing died: {e}")))?;
        let Made { placed, entries, notes } = placed.map_err(|e| match &e {
            UnpackError::Stage { .. } => fail(FailureClass::Transient, chain(&e)),
            _ => fail(FailureClass::Permanent, chain(&e)),
        })?;
        bench.staged.notes.extend(notes);
        let note = judged.as_ref().ok().and_then(Option::as_ref);
        bench.staged.notes.extend(note.map(|note| format!("{}: {note}", artifact.name)));
        let fetched = bench.staged.fetched.as_mut();
        if let Err(why) = judged {
            let why = match why {
                Unmerged::Unread(error) => return Err(io(error)),
                Unmerged::Refused(why) => why,
            };
            if let Some(fetched) = fetched {
                let name = host.unsuitable((&artifact.name, &fetched.digest), rules);
                fetched.lock_key = Trust::lock_key(&head.resource, head.version.as_str(), &name);
            }
            let message = format!("{} cannot be merged here: {why}", artifact.name);
            return Err(fail(FailureClass::Unsuitable, message));
        }
        let digest = fetched.map(|fetched| fetched.digest.clone());
        let manifest = ImageManifest {
            format: IMAGE_MANIFEST_FORMAT,
            head: head.clone(),
            class: rules.class,
            artifact: artifact.name,
            digest: digest.unwrap_or_else(|| placed.sha256.clone()),
            artifact_size,
            evidence,
            image: placed.sha256,
            entries,
            size: placed.size,
            mode: rules.mode,
            mtime: placed.mtime,
            staged_at: self.now,
        };
        let json = serde_json::to_vec(&manifest).map_err(|e| io(e.into()))?;
        self.host.write_unsynced(Utf8Path::new(&staged_manifest), &json).map_err(io)
    }
}

/// What was made in a staging place.
struct Made {
    placed: Placed,
    /// Everything in a directory.
    entries: Vec<Entry>,
    notes: Vec<String>,
}

fn make(
    blob: &Verified<Blob>,
    name: &str,
    into: &Utf8Path,
    rules: &PlaceRules,
) -> Result<Made, UnpackError> {
    if rules.shape == Shape::Image {
        let placed = unpack::place(blob, into.as_std_path(), rules)?;
        return Ok(Made { placed, entries: Vec::new(), notes: Vec::new() });
    }
    let rules = UnpackRules {
        strip: Strip::None,
        binaries: Binaries::Listed(Vec::new()),
        bare_name: rules.name.clone(),
        limits: UnpackLimits { bytes: rules.bytes_max, ..UnpackLimits::default() },
    };
    let unpacked = unpack::unpack(blob, name, into.as_std_path(), &rules)?;
    if let [only] = unpacked.entries.as_slice()
        && only.path == rules.bare_name
    {
        let found = "bytes that are no tar archive".to_owned();
        return Err(UnpackError::Unknown { name: name.to_owned(), found });
    }
    let sizes = unpacked.entries.iter().map(|entry| match entry.kind {
        EntryKind::File { size, .. } => size,
        EntryKind::Dir { .. } | EntryKind::Link { .. } => 0,
    });
    let (sha256, size) = (Digest::of_json(&unpacked.entries), sizes.sum());
    let placed = Placed { sha256, size, mtime: 0 };
    Ok(Made { placed, entries: unpacked.entries, notes: unpacked.notes })
}

/// A directory that an archive was unpacked into; no link in it leads out.
struct Unpacked<'a>(&'a Utf8Path);

impl ImageFiles for Unpacked<'_> {
    fn list(&self, directory: &str) -> Result<Vec<image::Entry>, ImageError> {
        let entries = match self.0.join(directory).read_dir_utf8() {
            Err(e) if is_nothing(&e) => return Ok(Vec::new()),
            entries => entries.map_err(ImageError::Read)?,
        };
        let mut listed = Vec::new();
        for entry in entries {
            let entry = entry.map_err(ImageError::Read)?;
            let kind = kind_of(entry.file_type().map_err(ImageError::Read)?);
            listed.push(image::Entry { name: entry.file_name().to_owned(), kind });
        }
        Ok(listed)
    }

    fn kind(&self, path: &str) -> Result<Option<image::Kind>, ImageError> {
        match self.0.join(path).metadata() {
            Err(error) if is_nothing(&error) => Ok(None),
            found => Ok(Some(kind_of(found.map_err(ImageError::Read)?.file_type()))),
        }
    }

    fn read(&self, path: &str, max: usize) -> Result<Option<Vec<u8>>, ImageError> {
        if self.kind(path)? != Some(image::Kind::File) {
            return Ok(None);
        }
        let mut bytes = Vec::new();
        let file = File::open(self.0.join(path)).map_err(ImageError::Read)?;
        file.take(max as u64).read_to_end(&mut bytes).map_err(ImageError::Read)?;
        Ok(Some(bytes))
    }

    /// Unpacking leaves attributes out.
    fn attribute(&self, _path: &str, _name: &str) -> Result<Option<Vec<u8>>, ImageError> {
        Ok(None)
    }
}

fn is_nothing(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory)
}

fn kind_of(kind: FileType) -> image::Kind {
    match kind {
        kind if kind.is_dir() => image::Kind::Directory,
        kind if kind.is_file() => image::Kind::File,
        kind if kind.is_symlink() => image::Kind::Link,
        _ => image::Kind::Other,
    }
}

/// What of a host decides whether systemd merges an image.
struct HostAsItIs {
    systemd: u32,
    release: Option<OsRelease>,
    architecture: &'static str,
    /// What the places are that no program can do without.
    needed: Vec<(&'static str, image::Kind)>,
}

impl HostAsItIs {
    fn look(host: &Look, arch: Arch) -> Self {
        let files = ["/etc/os-release", "/usr/lib/os-release"];
        let read = |path: &&str| host.read(path, RELEASE_BYTES_MAX as u64).ok().flatten();
        Self {
            systemd: facts::systemd(host).unwrap_or(facts::SYSTEMD_ASSUMED),
            release: files.iter().find_map(read).and_then(|b| OsRelease::parse(&b).ok()),
            architecture: match arch {
                Arch::X86_64 => "x86-64",
                Arch::Aarch64 => "arm64",
            },
            needed: image::NEEDED.iter().filter_map(|place| needed(host, place)).collect(),
        }
    }

    /// What stands for an image that it does not merge.
    fn unsuitable(&self, (artifact, digest): (&str, &Digest), rules: &PlaceRules) -> String {
        let host = host_in_words(self.release.as_ref(), self.systemd);
        unsuitable_name((artifact, Some(digest)), (rules.class, &rules.name), &host)
    }

    /// Looks into an image. Where the host does not say what it is, only that it can be read is checked, and a note
    /// says what would keep any host from merging it.
    fn would_merge(
        &self,
        at: &Utf8Path,
        size: u64,
        rules: &PlaceRules,
    ) -> Result<Option<String>, Unmerged> {
        if !rules.judged {
            return Ok(None);
        }
        if rules.shape == Shape::Directory {
            return self.would_merge_files(&Unpacked(at), rules, Form::Directory);
        }
        let file = File::open(at).map_err(Unmerged::Unread)?;
        let opened = image::open(&file, size)?;
        self.would_merge_files(&*opened.files, rules, Form::Raw)
    }

    fn would_merge_files(
        &self,
        files: &dyn ImageFiles,
        rules: &PlaceRules,
        form: Form,
    ) -> Result<Option<String>, Unmerged> {
        let sysext = rules.class == ExtensionClass::Sysext;
        if let Some(place) = hidden(files, &self.needed)?.filter(|_| sysext) {
            return Err(Unmerged::Refused(format!(
                "it would hide the host's {place}, being of another type there, and nothing could run any more"
            )));
        }
        let contents = contents(files)?;
        let unknown = OsRelease::parse(UNKNOWN).unwrap_or_default();
        let host = Host {
            systemd: self.systemd,
            release: self.release.as_ref().unwrap_or(&unknown),
            architecture: self.architecture,
            scope: Scope::System,
        };
        let image = Image { class: rules.class.into(), name: &rules.name, form };
        let (reason, end) = match judge(image, host, &contents) {
            Verdict::Compatible(_) => return Ok(None),
            Verdict::Ignored(reason) => (reason, ""),
            Verdict::Breaks(reason) => (reason, "; nothing else would be merged either"),
        };
        if self.release.is_some() {
            return Err(Unmerged::Refused(format!("{reason}{end}")));
        }
        let anywhere = reason.is_of_any_host() || matches!(reason, Reason::Scope { .. });
        Ok(anywhere.then(|| format!("no host would merge it: {reason}{end}")))
    }
}

/// What a place of the host is, where it is a directory or a link.
fn needed(host: &Look, place: &'static str) -> Option<(&'static str, image::Kind)> {
    match host.stat(format!("/{place}")).ok()??.kind {
        ItemKind::Dir => Some((place, image::Kind::Directory)),
        ItemKind::Link => Some((place, image::Kind::Link)),
        ItemKind::File | ItemKind::Other => None,
    }
}

/// Why an image is not put where systemd would see it.
#[derive(Debug)]
enum Unmerged {
    /// For what it is.
    Refused(String),
    /// What it is could not be read this time.
    Unread(io::Error),
}

impl From<ImageError> for Unmerged {
    fn from(error: ImageError) -> Self {
        match error {
            // Links in a circle are in the archive.
            ImageError::Read(error) if error.raw_os_error() != Some(Errno::LOOP.raw_os_error()) => {
                Self::Unread(error)
            }
            error => Self::Refused(chain(&error)),
        }
    }
}

/// Stands for the os-release of a host that has none.
const UNKNOWN: &[u8] = b"ID=unknown\n";

#[cfg(test)]
mod tests {
    use super::*;

    /// A directory at the place of an image cannot be read, which says nothing of the image.
    #[test]
    fn image_that_cannot_be_read_is_not_refused_for_what_it_is() {
        let at = Utf8Path::new(env!("CARGO_MANIFEST_DIR"));
        let host =
            HostAsItIs { systemd: 257, release: None, architecture: "x86-64", needed: Vec::new() };
        let rules = PlaceRules {
            class: ExtensionClass::Sysext,
            name: "demo".into(),
            shape: Shape::Image,
            mode: 0o644,
            modified_us: None,
            bytes_max: 4096,
            judged: true,
        };
        let looks = |at: &Utf8Path| host.would_merge(at, 4096, &rules);
        assert!(matches!(looks(at), Err(Unmerged::Unread(_))));
        assert!(matches!(looks(&at.join("gone")), Err(Unmerged::Unread(_))));
        assert!(matches!(looks(&at.join("Cargo.toml")), Err(Unmerged::Refused(_))));
    }
}
