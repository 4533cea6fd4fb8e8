//! Where the service must be able to read and write, by the desired state.

use std::collections::BTreeSet;

use camino::{Utf8Path, Utf8PathBuf};

use crate::desired::{CredentialRef, DesiredState};
use crate::resource::Spec;
use crate::resource::tree::spec::Place;

/// Where things go when the desired state says nothing: so that one more app needs no new unit.
const USUAL: [&str; 4] =
    ["/opt", "/var/lib/extensions", "/var/lib/extensions.d", "/var/lib/confexts"];

/// What `ProtectHome=` hides.
const HOMES: [&str; 3] = ["/home", "/root", "/run/user"];

/// What `PrivateTmp=` replaces.
const TMP: [&str; 2] = ["/tmp", "/var/tmp"];

/// What the sandbox must leave open.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Places {
    /// Directories in which things are staged and switched; none is below another.
    pub writable: Vec<Utf8PathBuf>,
    /// How much of people's homes is seen.
    pub home: Home,
    /// Whether anything is in a directory for temporary files.
    pub in_tmp: bool,
}

/// How much of people's homes is seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Home {
    /// Nothing.
    Hidden,
    /// The desired state, a key, a token or a source is there.
    ReadOnly,
    /// Something is put there.
    Open,
}

impl Home {
    /// The value of `ProtectHome=`.
    pub(super) fn value(self) -> &'static str {
        match self {
            Self::Hidden => "yes",
            Self::ReadOnly => "read-only",
            Self::Open => "no",
        }
    }
}

/// What a service for this wish reads and writes besides the agent's own directories. `inputs` are what it reads and
/// `also` directories in which it writes whatever the wish is.
pub fn places(
    desired: Option<&DesiredState>,
    inputs: &[Utf8PathBuf],
    also: &[Utf8PathBuf],
) -> Places {
    let mut writable: BTreeSet<Utf8PathBuf> = USUAL.into_iter().map(Utf8PathBuf::from).collect();
    writable.extend(also.iter().cloned());
    let mut inputs: Vec<&Utf8Path> = inputs.iter().map(Utf8PathBuf::as_path).collect();
    if let Some(desired) = desired {
        for declared in desired.resources.values() {
            writable.extend(written(&declared.spec));
            inputs.extend(read(&declared.spec));
        }
        inputs.extend(desired.auth.values().filter_map(|reference| match reference {
            CredentialRef::File(path) => Some(path.as_path()),
            CredentialRef::Credential(_) | CredentialRef::Env(_) => None,
        }));
    }
    // Sorted, a directory comes before what is below it.
    let mut outermost: Vec<Utf8PathBuf> = Vec::new();
    for place in writable {
        if !outermost.iter().any(|outer| place.starts_with(outer)) {
            outermost.push(place);
        }
    }
    let below = |path: &Utf8Path, roots: &[&str]| roots.iter().any(|root| path.starts_with(root));
    let home = if outermost.iter().any(|place| below(place, &HOMES)) {
        Home::Open
    } else if inputs.iter().any(|path| below(path, &HOMES)) {
        Home::ReadOnly
    } else {
        Home::Hidden
    };
    let written = outermost.iter().map(Utf8PathBuf::as_path);
    let in_tmp = written.chain(inputs.iter().copied()).any(|path| below(path, &TMP));
    Places { writable: outermost, home, in_tmp }
}

/// What is read on this host to make releases of one resource and to verify them.
fn read(spec: &Spec) -> impl Iterator<Item = &Utf8Path> {
    let (keyring, tree) = match spec {
        Spec::App(app) => (&app.verify.gpg, None),
        Spec::Extension(extension) => (&extension.verify.keyring, None),
        Spec::Tree(tree) => (&tree.verify.gpg, Some(tree)),
    };
    let copies = tree.into_iter().flat_map(|tree| [&tree.source].into_iter().chain(&tree.offline));
    let copies = copies.flat_map(|copy| [&copy.index].into_iter().chain(&copy.stores));
    let copies = copies.filter_map(|place| match place {
        Place::Web(_) => None,
        Place::Local(path) => Some(path.as_path()),
    });
    let seeds = tree.into_iter().flat_map(|tree| &tree.seeds).map(Utf8PathBuf::as_path);
    spec.local_sources().into_iter().chain(copies).chain(seeds).chain(keyring.as_deref())
}

/// The directories in which the steps of one resource write.
fn written(spec: &Spec) -> Vec<Utf8PathBuf> {
    let around = |path: &Utf8Path| path.parent().unwrap_or(path).to_owned();
    match spec {
        Spec::App(app) => {
            // Everything of an app is below its home, which must exist to be mounted.
            let home = if around(&app.home) == "/" { app.home.clone() } else { around(&app.home) };
            app.file.as_deref().map(around).into_iter().chain([home]).collect()
        }
        Spec::Extension(extension) => {
            let images = extension.transfers.iter().flat_map(|transfer| {
                let link = transfer.link.as_deref().map(around);
                link.into_iter().chain([transfer.directory.clone()])
            });
            // What systemd-sysupdate keeps of what was installed.
            let lists = extension.follows.iter().map(|followed| around(&followed.list()));
            images.chain(lists).collect()
        }
        // The generations are beside the tree.
        Spec::Tree(tree) => vec![around(&tree.path)],
    }
}
