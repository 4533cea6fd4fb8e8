//! Where the releases of a resource come from, in a few words.

use std::collections::BTreeSet;

use crate::resource::Spec;
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

fn place(url: &DirectoryUrl) -> String {
    match url {
        DirectoryUrl::Web(url) => url.clone(),
        DirectoryUrl::Local(path) => path.to_string(),
    }
}
