//! What the operator wrote: YAML documents, read into one validated wish.
//!
//! Reading order: [`document`] is the file format, `parse` reads a text into it, `validate` turns each
//! document into specs, `merge` makes one wish of all of them, `load` is the only part that touches
//! files. A [`DesiredState`] that exists is valid; otherwise every error of every file is returned at
//! once, each a [`Diagnostic`] that points at the text.

pub mod diagnostic;
pub mod document;
pub mod field;
pub mod import;
mod load;
mod merge;
mod parse;
pub mod schema;
mod validate;

use std::collections::BTreeMap;
use std::path::PathBuf;

use camino::Utf8PathBuf;
use serde::{Deserialize, Serialize};

pub use diagnostic::{Diagnostic, Paint, render};
pub use parse::nearest;
pub use validate::{file_place, own_directory};

use crate::model::followed::FollowedRepository;
use crate::model::outcome::counted;
use crate::model::pace::Pace;
use crate::model::revision::Revision;
use crate::model::selection::Identity;
use crate::model::{Digest, Kind, ResourceId};
use crate::resource::Spec;
use crate::resource::extension::spec::Activate;

/// One validated wish.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct DesiredState {
    /// What is wished, by id.
    pub resources: BTreeMap<ResourceId, Declared>,
    /// Where the token for a host comes from, by lower-case `HOST` or `HOST:PORT`.
    pub auth: BTreeMap<String, CredentialRef>,
    /// How the host's own `sysupdate.d` is followed, if at all.
    pub follow: Option<Follow>,
    /// Things an operator should know that are no error.
    pub notes: Vec<String>,
    /// What may be wished and cannot be told: nothing of it is changed or removed.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub unclear: Vec<Unclear>,
    /// The `--desired` paths that were read, absolute: a link stays what it is, as it may lead elsewhere tomorrow.
    pub roots: Vec<String>,
    /// Where they lead now, which is what they were known by before.
    #[serde(skip)]
    pub behind: Vec<String>,
    /// SHA-256 over the names and texts of all files, sorted.
    pub documents: Digest,
    /// The same with what the host itself contributes: names the wish in plans and history.
    pub digest: Digest,
    /// Digest of the host's own definitions, where they went into it.
    pub definitions: Option<Digest>,
    /// How much of what was read is for this host.
    pub selection: Selection,
    /// Which commit it was read from, when it came from a repository.
    pub revision: Option<Revision>,
    /// The repository that it was read from, to ask the same again.
    #[serde(skip)]
    pub repository: Option<FollowedRepository>,
    /// What is wrong with the documents that stand in its place now, where it is the last valid one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub refused: Option<String>,
}

/// How much of what was read is for this host.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Selection {
    /// All of it.
    Whole,
    /// Some of it; the rest is for other hosts.
    Part,
    /// None of it: nothing is changed and nothing removed.
    Nothing,
}

/// A directory of documents that goes by another name than its own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Origin {
    /// Where the documents are.
    pub directory: Utf8PathBuf,
    /// What names them from one state to the next.
    pub label: String,
    /// What stands before their names in messages.
    pub shown: Utf8PathBuf,
    /// What relative paths in them are relative to.
    pub base: Utf8PathBuf,
}

/// A spec and where it was declared.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Declared {
    /// What is wished.
    pub spec: Spec,
    /// The line of the resource's key.
    pub declared_at: Place,
    /// The one of [`DesiredState::roots`] it came from.
    pub root: String,
    /// When it is looked after.
    #[serde(skip)]
    pub pace: Pace,
}

/// How the host's own `sysupdate.d` is followed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Follow {
    /// As which program would.
    pub as_what: FollowAs,
    /// When a new image is merged.
    pub activate: Activate,
    /// The one of [`DesiredState::roots`] that says so.
    pub root: String,
}

/// A part of the wish that stands in definitions of the host which cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Unclear {
    /// The resource; any extension of that root where it cannot be told which.
    pub resource: Option<ResourceId>,
    /// The one of [`DesiredState::roots`] that asks for it.
    pub root: String,
    /// What cannot be read, and why.
    pub why: String,
}

/// As which program the host's definitions are carried out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum FollowAs {
    /// As systemd-sysupdate: the transfers of one component are one release.
    Sysupdate,
    /// As updex: each transfer on its own, linked into `/var/lib/extensions`.
    Updex,
}

/// A line of a file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Place {
    /// The file, as named on the command line or joined to the directory named there.
    pub file: String,
    /// The line, from 1.
    pub line: usize,
}

impl std::fmt::Display for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}:{}", self.file, self.line)
    }
}

/// Where tokens are kept that units give to the agent.
pub const CREDENTIALS: &str = "/etc/reconcile/credentials";

/// Where a token comes from. Never the token.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum CredentialRef {
    /// A systemd credential, a file in `$CREDENTIALS_DIRECTORY`.
    Credential(String),
    /// An absolute path, not below `--root`.
    File(Utf8PathBuf),
    /// An environment variable.
    Env(String),
}

/// One document's text and where it came from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SourceText {
    /// The `--desired` path it belongs to, absolute.
    pub root: String,
    /// Its name in messages.
    pub file: String,
    /// Its own directory, absolute: what relative paths in it are relative to.
    pub directory: String,
    /// The text.
    pub text: String,
}

impl DesiredState {
    /// How much is wished: `2 apps, 1 extension`.
    pub fn counts(&self) -> String {
        let mut counts: BTreeMap<Kind, usize> = BTreeMap::new();
        for id in self.resources.keys() {
            *counts.entry(id.kind).or_default() += 1;
        }
        let mut counts: Vec<String> =
            counts.into_iter().map(|(kind, number)| counted(number, &kind.to_string())).collect();
        counts.extend(
            self.follow.is_some().then(|| "what sysupdate.d of the host defines".to_owned()),
        );
        if counts.is_empty() { "nothing".to_owned() } else { counts.join(", ") }
    }

    /// Reads every document below `paths`: each a file, or a directory whose `*.yaml` and `*.yml` files
    /// are taken in the order of their names. Subdirectories other than `common` and hidden files are passed over.
    ///
    /// # Errors
    /// Everything that is wrong with any of them.
    pub fn load(paths: &[PathBuf]) -> Result<Self, Vec<Diagnostic>> {
        Ok(Self::from_texts(load::texts_for(paths, "")?)?.found_at(paths))
    }

    /// The texts of the documents that are for one host.
    ///
    /// # Errors
    /// Everything that cannot be read.
    pub fn texts_for(
        paths: &[PathBuf],
        host: &Identity,
    ) -> Result<Vec<SourceText>, Vec<Diagnostic>> {
        load::texts_for(paths, &host.hostname)
    }

    /// Whether such texts are not those that this wish is of.
    pub fn differs_from(&self, texts: &[SourceText]) -> bool {
        merge::digest(texts) != self.documents
    }

    /// The wish of such texts.
    ///
    /// # Errors
    /// Everything that is wrong with any of the texts.
    pub fn from_texts_for(
        texts: Vec<SourceText>,
        host: &Identity,
    ) -> Result<Self, Vec<Diagnostic>> {
        merge::merge(texts, Some(host))
    }

    /// The same for one host: what is for others is read and left out. A directory that has the directories `common`
    /// and `hosts`, or one of them and no document, is read as `common` and `hosts/<name>`.
    ///
    /// # Errors
    /// Everything that is wrong with any of them, also with what is for other hosts.
    pub fn load_for(paths: &[PathBuf], host: &Identity) -> Result<Self, Vec<Diagnostic>> {
        let state = Self::from_texts_for(Self::texts_for(paths, host)?, host)?;
        Ok(state.found_at(paths))
    }

    /// What such paths are called as [`DesiredState::roots`].
    pub fn roots_of(paths: &[PathBuf]) -> Vec<String> {
        paths.iter().filter_map(|path| load::label(path).ok()).collect()
    }

    /// The same wish, and where the paths lead that it was read from.
    #[must_use]
    pub fn found_at(self, paths: &[PathBuf]) -> Self {
        // What is for other hosts only says nothing about this one, wherever it is.
        let behind = if self.roots.is_empty() { Vec::new() } else { load::behind(paths) };
        Self { behind, ..self }
    }

    /// Whether everything was read that such a path declares, which may be told by where it leads.
    pub fn was_read(&self, declared_in: &str) -> bool {
        self.roots.iter().chain(&self.behind).any(|root| root == declared_in)
    }

    /// The texts of a directory that goes by another name.
    ///
    /// # Errors
    /// Everything that cannot be read.
    pub fn texts_from(
        origin: &Origin,
        host: &Identity,
    ) -> Result<Vec<SourceText>, Vec<Diagnostic>> {
        load::texts_from(origin, &host.hostname)
    }

    /// The hosts that have a directory of their own below any of `paths`, sorted.
    pub fn hosts_below(paths: &[PathBuf]) -> Vec<String> {
        load::hosts_below(paths)
    }

    /// The same without touching files.
    ///
    /// # Errors
    /// Everything that is wrong with any of the texts.
    pub fn from_texts(texts: Vec<SourceText>) -> Result<Self, Vec<Diagnostic>> {
        merge::merge(texts, None)
    }
}
