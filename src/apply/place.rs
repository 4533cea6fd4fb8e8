//! Images are made beside their place and looked into before systemd can see them.

use std::fs::File;

use camino::Utf8Path;

use crate::apply::stage::{Bench, Stager};
use crate::format::extension_release::{Class, Form, Host, Image, Scope, Verdict, judge};
use crate::format::image::{self, contents};
use crate::format::os_release::{OsRelease, RELEASE_BYTES_MAX};
use crate::host::{Look, facts};
use crate::model::ExtensionClass;
use crate::model::extension::{IMAGE_MANIFEST_FORMAT, ImageHead, ImageManifest, PlaceRules};
use crate::model::facts::Arch;
use crate::model::ledger::Trust;
use crate::model::outcome::{Failure, FailureClass, chain};
use crate::unpack::{self, UnpackError};

/// The oldest systemd whose rules are known: what is refused for all of them is refused where its version
/// cannot be told.
const SYSTEMD_ASSUMED: u32 = 257;

impl Stager<'_> {
    /// Makes an image and its manifest in their staging places.
    pub(super) async fn place(
        &self,
        into: &Utf8Path,
        rules: &PlaceRules,
        head: &ImageHead,
        bench: &mut Bench,
    ) -> Result<(), Failure> {
        let fail = |class, message| Failure { step: "place", class, message };
        let io = |e: std::io::Error| fail(FailureClass::Transient, chain(&e));
        let Some((blob, artifact, evidence)) = bench.blob.take() else {
            return Err(fail(FailureClass::Permanent, "nothing was fetched".to_owned()));
        };
        let staged_manifest = format!("{into}.reconcile.json");
        self.host.make_dirs_unsynced(into.parent().unwrap_or(into)).map_err(io)?;
        self.host.remove(into).map_err(io)?;
        self.host.remove(&staged_manifest).map_err(io)?;
        let permit = self.unpacking.acquire().await;
        let (real, owned_rules) = (self.host.real(into), rules.clone());
        let target = real.clone();
        let worked = tokio::task::spawn_blocking(move || {
            let placed = unpack::place(&blob, target.as_std_path(), &owned_rules);
            (placed, blob.get().size)
        })
        .await;
        drop(permit);
        let (placed, artifact_size) =
            worked.map_err(|e| fail(FailureClass::Permanent, format!("placing died: {e}")))?;
        let placed = placed.map_err(|e| match &e {
            UnpackError::Stage { .. } => fail(FailureClass::Transient, chain(&e)),
            _ => fail(FailureClass::Permanent, chain(&e)),
        })?;
        let fetched = bench.staged.fetched.as_mut();
        let host = HostAsItIs::look(self.host, self.facts.arch);
        if let Err(why) = host.would_merge(real.as_path(), placed.size, rules) {
            if let Some(fetched) = fetched {
                let digest = fetched.digest.short();
                let os = host.os().unwrap_or_else(|| "unknown".to_owned());
                let name = format!("{} {digest} on {os}", artifact.name);
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
            size: placed.size,
            mode: rules.mode,
            mtime: placed.mtime,
            staged_at: self.now,
        };
        let json = serde_json::to_vec(&manifest).map_err(|e| io(e.into()))?;
        self.host.write_unsynced(Utf8Path::new(&staged_manifest), &json).map_err(io)
    }
}

/// What of a host decides whether systemd merges an image.
struct HostAsItIs {
    systemd: u32,
    release: Option<OsRelease>,
    architecture: &'static str,
}

impl HostAsItIs {
    fn look(host: &Look, arch: Arch) -> Self {
        let files = ["/etc/os-release", "/usr/lib/os-release"];
        let read = |path: &&str| host.read(path, RELEASE_BYTES_MAX as u64).ok().flatten();
        Self {
            systemd: facts::systemd(host).unwrap_or(SYSTEMD_ASSUMED),
            release: files.iter().find_map(read).and_then(|b| OsRelease::parse(&b).ok()),
            architecture: match arch {
                Arch::X86_64 => "x86-64",
                Arch::Aarch64 => "arm64",
            },
        }
    }

    /// As observing names it.
    fn os(&self) -> Option<String> {
        let release = self.release.as_ref()?;
        let version = release.get("SYSEXT_LEVEL").or(release.get("VERSION_ID")).unwrap_or_default();
        Some(format!("{} {version}", release.get("ID").unwrap_or_default()))
    }

    /// Looks into an image. Where the host does not say what it is, only that it can be read is checked.
    fn would_merge(&self, at: &Utf8Path, size: u64, rules: &PlaceRules) -> Result<(), String> {
        if !rules.judged {
            return Ok(());
        }
        let file = File::open(at).map_err(|e| e.to_string())?;
        let opened = image::open(&file, size).map_err(|e| chain(&e))?;
        let contents = contents(&*opened.files).map_err(|e| chain(&e))?;
        let Some(release) = &self.release else { return Ok(()) };
        let class = match rules.class {
            ExtensionClass::Sysext => Class::Sysext,
            ExtensionClass::Confext => Class::Confext,
        };
        let host = Host {
            systemd: self.systemd,
            release,
            architecture: self.architecture,
            scope: Scope::System,
        };
        match judge(Image { class, name: &rules.name, form: Form::Raw }, host, &contents) {
            Verdict::Compatible(_) => Ok(()),
            Verdict::Ignored(reason) => Err(reason.to_string()),
            Verdict::Breaks(reason) => {
                Err(format!("{reason}; nothing else would be merged either"))
            }
        }
    }
}
