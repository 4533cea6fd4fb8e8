//! What the directories of an extension offer: lists read, signatures checked, names matched.

use std::collections::BTreeMap;
use std::iter;

use camino::Utf8Path;
use jiff::Timestamp;
use jiff::tz::TimeZone;

use crate::fetch::Reader;
use crate::format::sysupdate::manifest::{self, Manifest};
use crate::format::sysupdate::pattern::{Fields, Match, Pattern, compare_all};
use crate::model::outcome::chain;
use crate::model::{Artifact, BlockedReason, Digest, Level, Version};
use crate::resolve::problem_of;
use crate::resolve::signed::keyring;
use crate::resource::decision::Problem;
use crate::resource::extension::observe::Keyrings;
use crate::resource::extension::order::Order;
use crate::resource::extension::spec::{Stock, Transfer};
use crate::resource::extension::{ExtensionObserved, ExtensionSpec};
use crate::source::spec::DirectoryUrl;
use crate::source::sysupdate::Directories;
use crate::source::{Class, sysupdate};
use crate::trust::openpgp::{Keyring, verify_detached};

/// One version that every transfer has.
#[derive(Clone, Debug)]
pub(super) struct Candidate {
    pub(super) version: Version,
    /// One file for each transfer, in order.
    pub(super) files: Vec<ListedFile>,
}

/// One file at a source.
#[derive(Clone, Debug)]
pub(super) struct ListedFile {
    pub(super) name: String,
    pub(super) url: Option<String>,
    pub(super) size: Option<u64>,
    pub(super) sha256: Option<Digest>,
    pub(super) level: Level,
    pub(super) stated_by: String,
    pub(super) fields: Fields,
}

impl ListedFile {
    /// As a file of a release.
    pub(super) fn into_artifact(self) -> Artifact {
        let urls = self.url.into_iter().collect();
        Artifact { name: self.name, urls, size: self.size, digest: self.sha256, content: None }
    }
}

/// A list of files and who vouches for it.
struct Listing {
    files: Vec<Listed>,
    level: Level,
    stated_by: String,
}

/// One line of a list.
struct Listed {
    path: String,
    size: Option<u64>,
    sha256: Option<Digest>,
    /// Permission bits of a file on this host.
    mode: Option<u32>,
    /// When it was modified, in microseconds since 1970.
    modified_us: Option<u64>,
}

/// Every version that all transfers of an extension have, and remarks.
pub(super) async fn candidates(
    spec: &ExtensionSpec,
    observed: &ExtensionObserved,
    reader: &Reader,
    now: Timestamp,
) -> Result<(Vec<Candidate>, Vec<String>), Problem> {
    let (lists, mut notes) = offered(spec, observed, reader, now).await?;
    let mut all: Option<BTreeMap<String, Vec<ListedFile>>> = None;
    let newest = newest_of_each(spec, &lists);
    for files in lists {
        all = Some(match all {
            None => files.into_iter().map(|(version, file)| (version, vec![file])).collect(),
            Some(mut all) => {
                // A version that one transfer lacks is not offered at all.
                all.retain(|version, _| files.contains_key(version));
                for (version, file) in files {
                    if let Some(set) = all.get_mut(&version) {
                        set.push(file);
                    }
                }
                all
            }
        });
    }
    let sets = all.unwrap_or_default().into_iter();
    let usable = sets.filter(|(version, _)| !version.starts_with('.'));
    let found =
        usable.filter_map(|(text, files)| Some(Candidate { version: text.parse().ok()?, files }));
    let found: Vec<Candidate> = found.collect();
    if found.is_empty() {
        let reason = BlockedReason::NoVersion;
        // What was passed over may be all that there is.
        let said: Vec<String> = iter::once(none(spec, &newest)).chain(notes).collect();
        return Err(Problem { reason, message: said.join("; "), until: None });
    }
    notes.sort();
    notes.dedup();
    Ok((found, notes))
}

/// The newest version that each transfer's source has.
fn newest_of_each(
    spec: &ExtensionSpec,
    lists: &[BTreeMap<String, ListedFile>],
) -> Vec<Option<String>> {
    let newest = |list: &BTreeMap<String, ListedFile>| {
        let order = Order::of(spec.order, list.keys().map(String::as_str));
        list.keys().max_by(|a, b| order.compare(a, b)).cloned()
    };
    lists.iter().map(newest).collect()
}

/// Why there is no version at all: no name matches, or no version has a file of every transfer.
fn none(spec: &ExtensionSpec, newest: &[Option<String>]) -> String {
    let check = if spec.follows.is_some() { "MatchPattern=" } else { "match" };
    if newest.iter().all(Option::is_none) {
        return format!(
            "choosing a version: the source lists none whose name matches; check `{check}`"
        );
    }
    let each = spec.transfers.iter().zip(newest).map(|(transfer, newest)| {
        let newest = newest.as_ref().map_or("none".to_owned(), |newest| format!("up to {newest}"));
        format!("{} ({newest})", transfer.definition.as_ref().unwrap_or(&transfer.name))
    });
    format!(
        "choosing a version: none is offered by all transfers: {}",
        each.collect::<Vec<_>>().join(", ")
    )
}

/// What each transfer's source has, by version, and remarks.
pub(super) async fn offered(
    spec: &ExtensionSpec,
    observed: &ExtensionObserved,
    reader: &Reader,
    now: Timestamp,
) -> Result<(Vec<BTreeMap<String, ListedFile>>, Vec<String>), Problem> {
    let mut notes = Vec::new();
    let mut lists = Vec::new();
    let mut read: Vec<(&Transfer, Listing)> = Vec::new();
    for transfer in &spec.transfers {
        // Nobody's list is read twice by the same demands; a directory without one is looked at for each: patterns say
        // how far down.
        let demanded = spec.level_of(transfer);
        let same = |other: &Transfer| {
            (&other.from, &other.manifest, other.stock, spec.level_of(other))
                == (&transfer.from, &transfer.manifest, Stock::Listed, demanded)
        };
        if let Some((_, listing)) = read.iter().find(|(other, _)| same(other)) {
            lists.push(matching(transfer, listing, &mut notes));
            continue;
        }
        let asked = Asked { spec, observed, transfer, reader, now };
        let listing = asked.listing(&mut notes).await?;
        lists.push(matching(transfer, &listing, &mut notes));
        read.push((transfer, listing));
    }
    Ok((lists, notes))
}

/// The file of each version: where several match, that of the first pattern, then the first by name.
fn matching(
    transfer: &Transfer,
    listing: &Listing,
    notes: &mut Vec<String>,
) -> BTreeMap<String, ListedFile> {
    let mut found: BTreeMap<String, ((usize, String), ListedFile)> = BTreeMap::new();
    for Listed { path, size, sha256, mode, modified_us } in &listing.files {
        let Some((rank, fields)) = first_match(&transfer.source, path) else { continue };
        if transfer.is_of_another(path) {
            continue;
        }
        // A digest in the name that is not that of the file is somebody's mistake.
        if fields.sha256.is_some() && sha256.is_some() && fields.sha256 != *sha256 {
            let by = &listing.stated_by;
            notes.push(format!(
                "{path} is passed over: {by} has another digest of it than its name"
            ));
            continue;
        }
        let key = (rank, path.clone());
        let version = fields.version.clone();
        if found.get(&version).is_some_and(|(before, _)| *before <= key) {
            continue;
        }
        let file = ListedFile {
            url: match transfer.stock {
                Stock::Listed | Stock::Files => sysupdate::file_url(&transfer.from, path),
                Stock::Directories => sysupdate::directory_url(&transfer.from, path),
            },
            name: path.rsplit('/').next().unwrap_or(path).to_owned(),
            size: *size,
            sha256: sha256.clone(),
            level: listing.level,
            stated_by: listing.stated_by.clone(),
            fields: Fields {
                mode: fields.mode.or(*mode),
                modified_us: fields.modified_us.or(*modified_us),
                ..fields
            },
        };
        found.insert(version, (key, file));
    }
    found.into_iter().map(|(version, (_, file))| (version, file)).collect()
}

fn first_match(patterns: &[Pattern], path: &str) -> Option<(usize, Fields)> {
    patterns.iter().enumerate().find_map(|(rank, pattern)| match pattern.compare(path) {
        Match::Yes(fields) => Some((rank, *fields)),
        Match::Descend | Match::No => None,
    })
}

/// One transfer whose source is asked.
struct Asked<'a> {
    spec: &'a ExtensionSpec,
    observed: &'a ExtensionObserved,
    transfer: &'a Transfer,
    reader: &'a Reader,
    now: Timestamp,
}

impl Asked<'_> {
    async fn listing(&self, notes: &mut Vec<String>) -> Result<Listing, Problem> {
        let Transfer { from, manifest: name, .. } = self.transfer;
        let demanded = self.spec.level_of(self.transfer);
        if let (Stock::Directories, DirectoryUrl::Local(directory)) = (self.transfer.stock, from) {
            return self.unlisted(directory, Directories::Wanted);
        }
        let mut bytes = match (sysupdate::manifest(from, name, self.reader).await, from) {
            (Ok(bytes), _) => bytes,
            (Err(error), DirectoryUrl::Local(directory))
                if error.class() == Class::NotFound && demanded < Level::Checksum =>
            {
                return self.unlisted(directory, Directories::PassedOver);
            }
            (Err(error), _) => return Err(problem_of(&error)),
        };
        let (level, stated_by) = if demanded >= Level::Signature {
            (Level::Signature, self.signed(&mut bytes).await?)
        } else {
            if matches!(from, DirectoryUrl::Web(_)) {
                notes.push(format!(
                    "SIGNATURES ARE OFF: whoever can write to {} decides what is merged here",
                    sysupdate::shown(from)
                ));
            }
            (Level::Checksum, name.clone())
        };
        let manifest = manifest::parse(&bytes).map_err(|error| Problem {
            reason: BlockedReason::SourceUnavailable,
            message: chain(&error),
            until: None,
        })?;
        self.check_freshness(&manifest)?;
        let warnings = manifest.warnings().iter().take(3);
        notes.extend(warnings.map(|w| format!("{name} line {}: {}", w.line, w.message)));
        let files = manifest.entries().iter();
        let files = files.map(|entry| Listed {
            path: entry.path.clone(),
            size: None,
            sha256: Some(entry.sha256.clone()),
            mode: None,
            modified_us: None,
        });
        Ok(Listing { files: files.collect(), level, stated_by })
    }

    /// What is in a directory on this host for which nobody states digests.
    fn unlisted(&self, directory: &Utf8Path, directories: Directories) -> Result<Listing, Problem> {
        let descend = |path: &str| compare_all(&self.transfer.source, path).descend;
        let found = sysupdate::found(directory, directories, &descend);
        let found = found.map_err(|error| problem_of(&error))?.into_iter();
        let inherits = self.transfer.stock == Stock::Files;
        let files = found.map(|file| Listed {
            path: file.path,
            size: file.size,
            sha256: None,
            mode: Some(file.mode).filter(|_| inherits),
            modified_us: file.modified_us.filter(|_| inherits),
        });
        let stated_by = "nobody".to_owned();
        Ok(Listing { files: files.collect(), level: Level::Lock, stated_by })
    }

    fn check_freshness(&self, manifest: &Manifest) -> Result<(), Problem> {
        let today = self.now.to_zoned(TimeZone::UTC).date();
        match manifest.stale_since(today) {
            None => Ok(()),
            Some(date) => Err(Problem {
                reason: BlockedReason::SourceUnavailable,
                message: format!(
                    "{} says of itself that it is out of date since {}; ask the publisher for a new one",
                    self.transfer.manifest, date.0
                ),
                until: None,
            }),
        }
    }

    /// Who signed the list. Where list and signature do not belong together, one of them may be an older one that the
    /// server took for unchanged: both are read once more.
    async fn signed(&self, bytes: &mut Vec<u8>) -> Result<String, Problem> {
        let Transfer { from, manifest: name, .. } = self.transfer;
        let problem = match self.signer(bytes).await {
            Err(problem) if problem.reason == BlockedReason::Unverified => problem,
            signed => return signed,
        };
        if !sysupdate::forget(from, name, self.reader) {
            return Err(problem);
        }
        let read = sysupdate::manifest(from, name, self.reader).await;
        *bytes = read.map_err(|error| problem_of(&error))?;
        self.signer(bytes).await
    }

    /// Checks the signature of a manifest, every time: what was remembered is no evidence.
    async fn signer(&self, bytes: &[u8]) -> Result<String, Problem> {
        let unverified =
            |message: String| Problem { reason: BlockedReason::Unverified, message, until: None };
        let (keyring, place) = self.keyring().map_err(unverified)?;
        let Transfer { from, manifest: name, .. } = self.transfer;
        let signed = sysupdate::signature(from, name, self.reader).await;
        let (file, signature) = signed.map_err(|error| match error.class() {
            Class::NotFound => unverified(format!(
                "{} has no signature of {name} (`{name}.gpg`); to go without, write {}",
                sysupdate::shown(from),
                self.going_without()
            )),
            _ => problem_of(&error),
        })?;
        let signed = verify_detached(bytes, &signature, &keyring, self.now).map_err(|error| {
            let (from, why) = (sysupdate::shown(from), chain(&error));
            unverified(format!("{file} of {from}: {why}; the keyring is {place}"))
        })?;
        let key = signed.primary.get(signed.primary.len().saturating_sub(16)..);
        Ok(format!("{name}, signed by {}", key.unwrap_or(&signed.primary)))
    }

    /// What to write where no signature is wished for.
    fn going_without(&self) -> String {
        match &self.transfer.definition {
            Some(id) => format!("`Verify=no` in the section [Transfer] of {id}.transfer"),
            None => "`verify: { min: checksum }`".to_owned(),
        }
    }

    /// The keys that count, and where somebody puts more of them.
    fn keyring(&self) -> Result<(Keyring, &Utf8Path), String> {
        if let Some(path) = &self.spec.verify.keyring {
            return Ok((keyring(path)?, path));
        }
        let Keyrings { contents, own } = &self.observed.keyrings;
        let mut joined: Option<Keyring> = None;
        for bytes in contents {
            let keyring = Keyring::read(bytes).map_err(|error| chain(&error))?;
            joined = Some(match joined {
                Some(joined) => joined.join(keyring),
                None => keyring,
            });
        }
        let joined = joined.ok_or_else(|| {
            let Transfer { from, manifest, definition, .. } = self.transfer;
            let named = match definition {
                Some(_) => "",
                None => ", or name one with `verify: { gpg: { keyring: PATH } }`",
            };
            format!(
                "a signature of {manifest} in {} is demanded, but there is no keyring; put it at {own}{named}; to go \
                 without, write {}",
                sysupdate::shown(from),
                self.going_without()
            )
        })?;
        Ok((joined, own))
    }
}
