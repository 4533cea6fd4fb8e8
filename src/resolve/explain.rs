//! How a version and a file are chosen, for a person who asks.

use jiff::Timestamp;

use crate::fetch::Reader;
use crate::model::facts::Arch;
use crate::model::outcome::chain;
use crate::model::{Constraint, HostFacts, Release, ResourceId, Version};
use crate::resolve::asset::{Listing, Target, Verdict, select};
use crate::resolve::offer::names;
use crate::resolve::{policy, product};
use crate::resource::Spec;
use crate::resource::app::AppSpec;
use crate::resource::app::spec::VersionWish;
use crate::source::spec::Origin;
use crate::source::{self, SourceError};

/// Releases and files listed at most.
const SHOWN_MAX: usize = 8;

/// Asks the source and says, line by line, what is chosen and why the rest is not.
pub async fn explain(
    id: &ResourceId,
    spec: &Spec,
    facts: &HostFacts,
    reader: &Reader,
    now: Timestamp,
) -> Vec<String> {
    match spec {
        Spec::App(spec) => explain_app(id, spec, facts, reader, now).await,
    }
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
    spec: &Spec,
    arch: Arch,
    reader: &Reader,
) -> Result<Vec<Listed>, SourceError> {
    match spec {
        Spec::App(spec) => {
            let wish = VersionWish { want: Constraint::any(), ..spec.version.clone() };
            let mut releases = source::releases(&spec.source, &wish, arch, reader).await?;
            releases.sort_by(|a, b| b.version.cmp(&a.version));
            let accepts = |v: &Version| spec.version.want.accepts(v, spec.version.prereleases);
            let listed = releases.into_iter();
            Ok(listed
                .map(|release| Listed { accepted: accepts(&release.version), release })
                .collect())
        }
    }
}

async fn explain_app(
    id: &ResourceId,
    spec: &AppSpec,
    facts: &HostFacts,
    reader: &Reader,
    now: Timestamp,
) -> Vec<String> {
    let mut lines = Vec::new();
    let releases = match source::releases(&spec.source, &spec.version, facts.arch, reader).await {
        Ok(releases) => match &spec.source.origin {
            Origin::Directory { pattern: None, .. } => {
                match product::only_wanted(releases, &names(id, spec)) {
                    Ok(releases) => releases,
                    Err(problem) => return vec![problem.message],
                }
            }
            _ => releases,
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
            None => "acceptable".to_owned(),
            Some(objection) => format!("not acceptable: {}", objection.describe()),
        };
        lines.push(format!("  {} {verdict}", release.tag));
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
        lines.push(format!("  not {}: {}", name(rejected.index), rejected.reason));
    }
    lines
}
