//! How a version and a file are chosen, for a person who asks.

use std::collections::BTreeMap;

use jiff::Timestamp;

use crate::fetch::Reader;
use crate::model::facts::Arch;
use crate::model::ledger::Trust;
use crate::model::outcome::chain;
use crate::model::{Artifact, Constraint, HostFacts, Prereleases, Release, ResourceId, Version};
use crate::resolve::asset::{Listing, Target, Verdict, select};
use crate::resolve::listing::{Candidate, ListedFile, candidates, offered};
use crate::resolve::offer::names;
use crate::resolve::policy::Objection;
use crate::resolve::{policy, product, tree};
use crate::resource::app::AppSpec;
use crate::resource::app::spec::VersionWish;
use crate::resource::decision::Problem;
use crate::resource::extension::order::Order;
use crate::resource::extension::{ExtensionObserved, ExtensionSpec};
use crate::resource::tree::TreeSpec;
use crate::resource::tree::spec::TreeVersion;
use crate::resource::{Found, Spec};
use crate::source::spec::Origin;
use crate::source::{self, casync};

/// Releases and files listed at most.
const SHOWN_MAX: usize = 8;

/// What is known besides the wish and what the host has of it.
#[derive(Clone, Copy, Debug)]
pub struct About<'a> {
    /// The host.
    pub facts: &'a HostFacts,
    /// What did not work here.
    pub trust: &'a Trust,
}

/// Asks the source and says, line by line, what is chosen and why the rest is not.
pub async fn explain(
    id: &ResourceId,
    (spec, found): (&Spec, &Found),
    about: About<'_>,
    reader: &Reader,
    now: Timestamp,
) -> Vec<String> {
    match (spec, found) {
        (Spec::App(spec), _) => {
            let in_use = found.current().map(Found::tag_of);
            explain_app(id, (spec, in_use.as_deref()), about, reader, now).await
        }
        (Spec::Tree(spec), _) => explain_tree(spec, reader).await,
        (Spec::Extension(spec), Found::Extension(found)) => {
            explain_extension(id, (spec, found), about.trust, reader, now).await
        }
        (Spec::Extension(_), _) => Vec::new(),
    }
}

async fn explain_extension(
    id: &ResourceId,
    (spec, found): (&ExtensionSpec, &ExtensionObserved),
    trust: &Trust,
    reader: &Reader,
    now: Timestamp,
) -> Vec<String> {
    let (candidates, mut lines) = match candidates(spec, found, reader, now).await {
        Ok(found) => found,
        Err(problem) => return vec![format!("source: {}", problem.message)],
    };
    let releases = listed(spec, candidates);
    lines.push(format!(
        "the source offers {}; wished is {}",
        crate::model::outcome::counted(releases.len(), "complete version"),
        spec.version
    ));
    for Listed { release, accepted } in releases.iter().take(SHOWN_MAX) {
        let digests = release.artifacts.iter().filter_map(|artifact| artifact.digest.clone());
        let digests: Vec<_> = digests.collect();
        let verdict = match trust.quarantine_of(id, &release.tag, &digests) {
            _ if !accepted => "not acceptable".to_owned(),
            None => "acceptable".to_owned(),
            Some(failed) => format!("quarantined: {}", failed.reason),
        };
        let used = if found.current.as_ref() == Some(&release.tag) { "in use, " } else { "" };
        let names = release.artifacts.iter().map(|a| a.name.as_str()).collect::<Vec<_>>();
        lines.push(format!("  {} {used}{verdict} ({})", release.tag, names.join(", ")));
    }
    lines
}

/// What an extension's source offers, newest first.
fn listed(spec: &ExtensionSpec, candidates: Vec<Candidate>) -> Vec<Listed> {
    let order = Order::of(spec.order, candidates.iter().map(|c| c.version.as_str()));
    let accepted = |version: &str| {
        let too_old = |min: &String| order.compare(version, min).is_lt();
        order.accepts(&spec.version, version, spec.prereleases)
            && !spec.min_version.as_ref().is_some_and(too_old)
    };
    let mut listed: Vec<Listed> = candidates
        .into_iter()
        .map(|candidate| Listed {
            accepted: accepted(candidate.version.as_str()),
            release: Release {
                tag: candidate.version.to_string(),
                version: candidate.version,
                prerelease: false,
                published: None,
                artifacts: candidate.files.into_iter().map(ListedFile::into_artifact).collect(),
            },
        })
        .collect();
    listed.sort_by(|a, b| order.compare(&b.release.tag, &a.release.tag));
    listed
}

/// The files that each transfer's source of an extension has, by version, in lock-step or not.
pub async fn offered_files(
    spec: &ExtensionSpec,
    found: &ExtensionObserved,
    reader: &Reader,
    now: Timestamp,
) -> Result<Vec<Vec<(String, Artifact)>>, String> {
    let (lists, _) = offered(spec, found, reader, now).await.map_err(|problem| problem.message)?;
    let files = |list: BTreeMap<String, ListedFile>| {
        list.into_iter().map(|(version, file)| (version, file.into_artifact())).collect()
    };
    Ok(lists.into_iter().map(files).collect())
}

/// One release that a source offers.
#[derive(Clone, Debug)]
pub struct Listed {
    /// The release.
    pub release: Release,
    /// Whether the wish accepts its version.
    pub accepted: bool,
}

/// Every release that the source of a resource offers, newest first.
pub async fn versions(
    id: &ResourceId,
    (spec, found): (&Spec, &Found),
    arch: Arch,
    reader: &Reader,
    now: Timestamp,
) -> Result<Vec<Listed>, String> {
    match (spec, found) {
        (Spec::Extension(spec), Found::Extension(found)) => {
            let found = candidates(spec, found, reader, now).await;
            Ok(listed(spec, found.map_err(|problem| problem.message)?.0))
        }
        (Spec::Extension(_), _) => Ok(Vec::new()),
        (Spec::App(spec), _) => {
            let wish = VersionWish { want: Constraint::any(), ..spec.version.clone() };
            let releases = source::releases(&spec.source, &wish, arch, reader).await;
            let releases = releases.map_err(|error| chain(&error))?;
            let mut releases = of_its_own(id, spec, releases).map_err(|problem| problem.message)?;
            releases.sort_by(|a, b| b.version.cmp(&a.version));
            let accepts = |v: &Version| spec.version.want.accepts(v, spec.version.prereleases);
            let listed = releases.into_iter();
            Ok(listed
                .map(|release| Listed { accepted: accepts(&release.version), release })
                .collect())
        }
        (Spec::Tree(spec), _) => {
            let TreeVersion::Constraint(want) = &spec.version else { return Ok(Vec::new()) };
            if !casync::has_versions(&spec.source.index) {
                return Ok(Vec::new());
            }
            let wish = tree::wish(&Constraint::any());
            let listed = casync::releases(&spec.source.index, &wish, reader).await;
            let listed = listed.map_err(|error| chain(&error))?.into_iter();
            let accepts = |v: &Version| want.accepts(v, Prereleases::Refused);
            Ok(listed
                .map(|release| Listed { accepted: accepts(&release.version), release })
                .collect())
        }
    }
}

async fn explain_tree(spec: &TreeSpec, reader: &Reader) -> Vec<String> {
    let place = &spec.source.index;
    if casync::has_versions(place) {
        return vec![format!("the source has an index for each version: {}", place.text())];
    }
    match casync::read(&place.url(), reader).await {
        Ok(index) => vec![
            format!("the index {} is {}", place.text(), index.sha256),
            format!("wished is {}", spec.requested()),
        ],
        Err(error) => vec![format!("source: {}", chain(&error))],
    }
}

/// Without the files of other programs of the same directory.
fn of_its_own(
    id: &ResourceId,
    spec: &AppSpec,
    releases: Vec<Release>,
) -> Result<Vec<Release>, Problem> {
    match &spec.source.origin {
        Origin::Directory { pattern: None, .. } => product::only_wanted(releases, &names(id, spec)),
        _ => Ok(releases),
    }
}

async fn explain_app(
    id: &ResourceId,
    (spec, in_use): (&AppSpec, Option<&str>),
    About { facts, trust }: About<'_>,
    reader: &Reader,
    now: Timestamp,
) -> Vec<String> {
    let mut lines = Vec::new();
    let releases = match source::releases(&spec.source, &spec.version, facts.arch, reader).await {
        Ok(releases) => match of_its_own(id, spec, releases) {
            Ok(releases) => releases,
            Err(problem) => return vec![problem.message],
        },
        Err(error) => return vec![format!("source: {}", chain(&error))],
    };
    lines.push(format!(
        "the source offers {} that can matter; wished is {}",
        crate::model::outcome::counted(releases.len(), "release"),
        spec.version.want
    ));
    for release in releases.iter().take(SHOWN_MAX) {
        let verdict = match policy::objection(release, &spec.version) {
            None => match trust.quarantine_of(id, &release.tag, &[]) {
                None => "acceptable".to_owned(),
                Some(failed) => format!("quarantined: {}", failed.reason),
            },
            Some(Objection::OutsideConstraint) => {
                format!("not acceptable: it is not `{}`", spec.version.want)
            }
            Some(objection) => format!("not acceptable: it {}", objection.describe()),
        };
        let used = if in_use == Some(&release.tag) { "in use, " } else { "" };
        lines.push(format!("  {} {used}{verdict}", release.tag));
    }
    let chosen = match policy::choose(&releases, &spec.version, now) {
        Ok(choices) => choices.first().copied(),
        Err(no_choice) => {
            lines.push(no_choice.to_string());
            None
        }
    };
    let Some(release) = chosen else { return lines };
    if let [only] = release.artifacts.as_slice()
        && only.content.is_some()
    {
        lines.push(format!("of {} the file is {}, the only one", release.tag, only.name));
        return lines;
    }
    let listing = Listing::of(release, names(id, spec));
    let selection = select(&listing, &spec.asset, &Target::of(facts));
    let name = |index: usize| listing.names.get(index).copied().unwrap_or_default();
    match &selection.verdict {
        Verdict::Chosen { index, .. } => {
            lines.push(format!("of {} the file is {}", release.tag, name(*index)));
        }
        Verdict::Refused(refusal) => lines.push(chain(refusal)),
    }
    for rejected in selection.rejected.iter().take(SHOWN_MAX) {
        lines.push(format!("  passed over {}: {}", name(rejected.index), rejected.reason));
    }
    lines
}
