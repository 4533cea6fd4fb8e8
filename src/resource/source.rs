//! Where the releases of a resource come from, in a few words.

use std::collections::BTreeSet;

use camino::Utf8Path;

use crate::resource::Spec;
use crate::resource::tree::spec::Place;
use crate::source::spec::{DirectoryUrl, Origin};

impl Spec {
    /// Its source, for people: what the desired state names, and no mirrors.
    pub fn source(&self) -> String {
        match self {
            Self::App(spec) => match &spec.source.origin {
                Origin::Github { repo, api } => format!("{repo} at {api}"),
                Origin::Directory { url, .. } | Origin::Choria { url, .. } => place(url),
                Origin::Selfupdate { api, cmd, .. } => format!("{cmd} at {}", place(api)),
            },
            Self::Extension(spec) => {
                let places: BTreeSet<String> =
                    spec.transfers.iter().map(|t| place(&t.from)).collect();
                places.into_iter().collect::<Vec<_>>().join(", ")
            }
            Self::Tree(spec) => spec.source.index.url(),
        }
    }
}

impl Spec {
    /// The directories of this machine that its releases come from.
    pub fn local_sources(&self) -> BTreeSet<&Utf8Path> {
        let urls: Vec<&DirectoryUrl> = match self {
            Self::App(spec) => match &spec.source.origin {
                Origin::Github { .. } => Vec::new(),
                Origin::Directory { url, .. } | Origin::Choria { url, .. } => vec![url],
                Origin::Selfupdate { api, bin, .. } => vec![api, bin],
            },
            Self::Extension(spec) => spec.transfers.iter().map(|transfer| &transfer.from).collect(),
            Self::Tree(spec) => match &spec.source.index {
                Place::Local(path) => return path.parent().into_iter().collect(),
                Place::Web(_) => Vec::new(),
            },
        };
        urls.into_iter().filter_map(local).collect()
    }
}

/// The directory that is there whatever the version is.
fn local(url: &DirectoryUrl) -> Option<&Utf8Path> {
    match url {
        DirectoryUrl::Web(_) => None,
        DirectoryUrl::Local(path) => path.ancestors().find(|path| !path.as_str().contains('{')),
    }
}

fn place(url: &DirectoryUrl) -> String {
    match url {
        DirectoryUrl::Web(url) => url.clone(),
        DirectoryUrl::Local(path) => path.to_string(),
    }
}
