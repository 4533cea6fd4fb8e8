//! The versions of a component over all its transfers, and what each is made of.

use camino::Utf8PathBuf;
use reqwest::Url;

use crate::cli::CliError;
use crate::cli::exit::Exit;
use crate::cli::session::Session;
use crate::desired::DesiredState;
use crate::fetch::Reader;
use crate::format::sysupdate::document::Content;
use crate::format::sysupdate::pattern::{Fields, Match};
use crate::format::sysupdate::sets::{
    Installed, State, UpdateSet, UpdateSets, Versions, update_sets,
};
use crate::host::{Look, Stat};
use crate::model::Artifact;
use crate::model::extension::Shape;
use crate::resolve::explain::offered_files;
use crate::resource::extension::observe::{SYSUPDATE_PARTIAL, SYSUPDATE_PENDING, TransferObserved};
use crate::resource::extension::spec::{Stock, Transfer};
use crate::resource::extension::{ExtensionObserved, ExtensionSpec};

/// Microseconds of a second.
const MICROSECONDS: i64 = 1_000_000;

/// Nanoseconds of a microsecond.
const NANOSECONDS: u64 = 1_000;

/// What of a file's mode a version has: nobody else writes to it.
const MODE_MASK: u32 = 0o775;

/// Who is asked which versions there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ask {
    /// The sources.
    Sources,
    /// Nobody: what is here is told.
    Nobody,
}

/// One file or directory that is here.
struct Here {
    instance: Installed,
    path: Utf8PathBuf,
    fields: Fields,
}

/// Versions, and where they were found.
pub(super) struct Found<'a> {
    /// All of them.
    pub(super) sets: UpdateSets,
    spec: &'a ExtensionSpec,
    here: Vec<Vec<Here>>,
    offered: Vec<Vec<(String, Artifact)>>,
}

/// Asks the sources and puts what they have and what is here together.
pub(super) async fn sets<'a>(
    session: &Session,
    spec: &'a ExtensionSpec,
    observed: &ExtensionObserved,
    ask: Ask,
) -> Result<Found<'a>, CliError> {
    let here = spec.transfers.iter().zip(&observed.transfers);
    let here: Vec<Vec<Here>> = here.map(|(t, seen)| installed(&session.host, t, seen)).collect();
    let offered = match ask {
        Ask::Nobody => vec![Vec::new(); spec.transfers.len()],
        Ask::Sources => {
            let desired = DesiredState::from_texts(Vec::new()).map_err(|e| session.invalid(&e))?;
            let cache = session.host.cache();
            let client = session.client(&desired);
            let reader = Reader::new(client, Some(&cache), session.now, jiff::SignedDuration::ZERO);
            offered_files(spec, observed, &reader, session.now)
                .await
                .map_err(|message| CliError::new(Exit::Failed, message))?
        }
    };
    let available: Vec<Vec<String>> =
        offered.iter().map(|files| files.iter().map(|(v, _)| v.clone()).collect()).collect();
    let instances: Vec<Vec<Installed>> =
        here.iter().map(|here| here.iter().map(|here| here.instance.clone()).collect()).collect();
    let transfers: Vec<Versions<'_>> = available
        .iter()
        .zip(&instances)
        .map(|(available, installed)| Versions {
            min_version: spec.min_version.as_deref(),
            protected_versions: &spec.protect,
            available,
            installed,
        })
        .collect();
    let sets = update_sets(&transfers);
    Ok(Found { sets, spec, here, offered })
}

/// What is here of a transfer, what systemd-sysupdate left half-done included.
fn installed(host: &Look, transfer: &Transfer, seen: &TransferObserved) -> Vec<Here> {
    let here = |version: &str, state, path: Utf8PathBuf, fields| Here {
        instance: Installed { version: version.to_owned(), state },
        path,
        fields,
    };
    let images = seen.images.iter().filter_map(|(version, image)| {
        let fields = transfer.image(&image.file).fields?;
        Some(here(version, State::Complete, seen.directory.join(&image.file), fields))
    });
    let items = host.list(&seen.directory).ok().flatten().unwrap_or_default();
    let half_done = items.iter().filter_map(|item| {
        let partial = item.name.strip_prefix(SYSUPDATE_PARTIAL).map(|name| (name, State::Partial));
        let pending = item.name.strip_prefix(SYSUPDATE_PENDING).map(|name| (name, State::Pending));
        let (name, state) = partial.or(pending)?;
        let fields = transfer.image(name).fields?;
        let version = fields.version.clone();
        Some(here(&version, state, seen.directory.join(&item.name), fields))
    });
    images.chain(half_done).collect()
}

impl Found<'_> {
    /// What a version is made of: for each transfer what is here, else what its source has.
    pub(super) fn contents(&self, session: &Session, set: &UpdateSet) -> Vec<Content> {
        let transfers = self.spec.transfers.iter().enumerate();
        let contents = transfers.filter_map(|(index, transfer)| {
            let target = set.targets.get(index).copied().flatten();
            let here = target.and_then(|at| self.here.get(index)?.get(at));
            if let Some(here) = here {
                return self::here(&session.host, transfer, here);
            }
            let source = set.sources.get(index).copied().flatten()?;
            let (_, file) = self.offered.get(index)?.get(source)?;
            there(session, transfer, file)
        });
        contents.collect()
    }
}

/// A file or directory that is here.
fn here(host: &Look, transfer: &Transfer, here: &Here) -> Option<Content> {
    let kind = match transfer.shape {
        Shape::Image => "regular-file",
        Shape::Directory => "directory",
    };
    let path = host.real(&here.path).into_string();
    Some(with(kind, path, &here.fields, Some(host.stat(&here.path).ok()??)))
}

/// What a source has.
fn there(session: &Session, transfer: &Transfer, file: &Artifact) -> Option<Content> {
    let url = file.urls.first()?;
    let fields = transfer.source.iter().find_map(|pattern| match pattern.compare(&file.name) {
        Match::Yes(fields) => Some(*fields),
        Match::Descend | Match::No => None,
    });
    let fields = fields.unwrap_or_default();
    let kind = match (transfer.stock, transfer.shape) {
        (Stock::Listed, Shape::Image) => "url-file",
        (Stock::Listed, Shape::Directory) => "url-tar",
        (Stock::Files, Shape::Image) => "regular-file",
        (Stock::Files, Shape::Directory) => "tar",
        (Stock::Directories, _) => "directory",
    };
    if transfer.stock == Stock::Listed {
        let sha256 = file.digest.as_ref().map(crate::model::Digest::hex);
        return Some(Content { sha256, ..with(kind, url.clone(), &fields, None) });
    }
    let path = Utf8PathBuf::from_path_buf(Url::parse(url).ok()?.to_file_path().ok()?).ok()?;
    // The source is on this machine, wherever what is installed is.
    let machine = Look::new("/".into(), session.host.places().clone());
    let stat = machine.stat(&path).ok().flatten();
    Some(with(kind, path.as_str().trim_end_matches('/').to_owned(), &fields, stat))
}

/// What a name says, and what a file says where the name does not.
fn with(kind: &str, path: String, fields: &Fields, stat: Option<Stat>) -> Content {
    let modified = |stat: &Stat| {
        let seconds = u64::try_from(stat.mtime.checked_mul(MICROSECONDS)?).ok()?;
        seconds.checked_add(stat.mtime_ns / NANOSECONDS)
    };
    Content {
        kind: kind.to_owned(),
        path,
        mtime: fields.modified_us.or_else(|| modified(stat.as_ref()?)),
        mode: fields.mode.or_else(|| Some(stat.as_ref()?.mode & MODE_MASK)),
        size: fields.size,
        tries_done: fields.tries_done,
        tries_left: fields.tries_left,
        sha256: fields.sha256.as_ref().map(crate::model::Digest::hex),
        ..Content::default()
    }
}
