//! The versions of a component over all its transfers, and what each is made of.

use crate::cli::CliError;
use crate::cli::exit::Exit;
use crate::cli::session::Session;
use crate::desired::DesiredState;
use crate::fetch::Reader;
use crate::format::sysupdate::document::Content;
use crate::format::sysupdate::sets::{
    Installed, State, UpdateSet, UpdateSets, Versions, update_sets,
};
use crate::model::Artifact;
use crate::model::extension::Shape;
use crate::resolve::explain::offered_files;
use crate::resource::extension::spec::Transfer;
use crate::resource::extension::{ExtensionObserved, ExtensionSpec};
use crate::source::spec::DirectoryUrl;

/// Microseconds of a second.
const MICROSECONDS: i64 = 1_000_000;

/// Versions, and where they were found.
pub(super) struct Found<'a> {
    /// All of them.
    pub(super) sets: UpdateSets,
    spec: &'a ExtensionSpec,
    observed: &'a ExtensionObserved,
    offered: Vec<Vec<(String, Artifact)>>,
}

/// Asks the sources and puts what they have and what is here together.
pub(super) async fn sets<'a>(
    session: &Session,
    spec: &'a ExtensionSpec,
    observed: &'a ExtensionObserved,
) -> Result<Found<'a>, CliError> {
    let installed: Vec<Vec<Installed>> = observed
        .transfers
        .iter()
        .map(|seen| {
            let versions = seen.images.keys().cloned();
            versions.map(|version| Installed { version, state: State::Complete }).collect()
        })
        .collect();
    let desired = DesiredState::from_texts(Vec::new()).map_err(|e| session.invalid(&e))?;
    let cache = session.host.cache();
    let client = session.client(&desired);
    let no_age = jiff::SignedDuration::ZERO;
    let reader = Reader::new(client, Some(&cache), session.now, no_age);
    let offered = offered_files(spec, observed, &reader, session.now)
        .await
        .map_err(|message| CliError::new(Exit::Failed, message))?;
    let available: Vec<Vec<String>> =
        offered.iter().map(|files| files.iter().map(|(v, _)| v.clone()).collect()).collect();
    let transfers: Vec<Versions<'_>> = available
        .iter()
        .zip(&installed)
        .map(|(available, installed)| Versions {
            min_version: spec.min_version.as_deref(),
            protected_versions: &spec.protect,
            available,
            installed,
        })
        .collect();
    let sets = update_sets(&transfers);
    Ok(Found { sets, spec, observed, offered })
}

impl Found<'_> {
    /// What is here of a version; where nothing is, what the sources have.
    pub(super) fn contents(&self, session: &Session, set: &UpdateSet) -> Vec<Content> {
        let here = self.spec.transfers.iter().zip(&self.observed.transfers);
        let here = here.filter_map(|(transfer, seen)| {
            let path = seen.directory.join(&seen.images.get(&set.version)?.file);
            let stat = session.host.stat(&path).ok()??;
            Some(Content {
                kind: shape(transfer).to_owned(),
                path: session.host.real(&path).into_string(),
                mtime: u64::try_from(stat.mtime.saturating_mul(MICROSECONDS)).ok(),
                mode: Some(stat.mode),
                ..Content::default()
            })
        });
        let here: Vec<Content> = here.collect();
        if !here.is_empty() {
            return here;
        }
        let offers = self.spec.transfers.iter().zip(&self.offered).zip(&set.sources);
        let offers = offers.filter_map(|((transfer, files), index)| {
            let (_, file) = files.get((*index)?)?;
            Some(Content {
                kind: kind(transfer).to_owned(),
                path: file.urls.first()?.clone(),
                size: file.size,
                sha256: file.digest.as_ref().map(crate::model::Digest::hex),
                ..Content::default()
            })
        });
        offers.collect()
    }
}

/// `Type=` of a target.
fn shape(transfer: &Transfer) -> &'static str {
    match transfer.shape {
        Shape::Image => "regular-file",
        Shape::Directory => "directory",
    }
}

/// `Type=` of a source, as far as it matters here.
fn kind(transfer: &Transfer) -> &'static str {
    match (transfer.shape, &transfer.from) {
        (Shape::Image, DirectoryUrl::Web(_)) => "url-file",
        (Shape::Image, DirectoryUrl::Local(_)) => "regular-file",
        (Shape::Directory, DirectoryUrl::Web(_)) => "url-tar",
        (Shape::Directory, DirectoryUrl::Local(_)) => "tar",
    }
}
