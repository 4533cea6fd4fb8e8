//! What to do about an app that is not wished any more; pure.

use std::fmt::Write;

use camino::{Utf8Path, Utf8PathBuf};

use crate::model::ledger::{Debt, Owned};
use crate::model::plan::InUse;
use crate::model::{Change, Digest, ResourceId, Step};
use crate::resource::app::AppObserved;
use crate::resource::app::layout::{Layout, parse_link, tag_of_slot};
use crate::resource::decision::{forgive, removal};

/// Removes what is ours and leaves everything else. Where nothing of ours is there any more (an earlier
/// pass was cut off, or somebody was faster), it still ends that the app is ours.
pub fn remove(id: &ResourceId, owned: &Owned, observed: &AppObserved, debts: &[Debt]) -> Change {
    let layout = Layout::new(&owned.home);
    let mut steps: Vec<Step> = Vec::new();
    let mut stays: Vec<&Utf8PathBuf> = Vec::new();
    let mine = |name: &str| is_mine(name, id, owned, observed);
    let theirs =
        |slot: &str| observed.slots.get(slot).is_some_and(|s| s.manifest.is_some()) && !mine(slot);
    let ours = |text: &str| parse_link(text).is_some_and(|(slot, _)| !theirs(slot));
    if let Some(bin) = &observed.bin {
        // Not a removal of the directory: what somebody puts there meanwhile is carried along.
        if bin.links.values().any(|text| ours(text)) {
            let links = bin.links.iter().filter(|(_, text)| ours(text));
            steps.push(Step::Switch {
                bin: layout.bin(),
                beside: layout.staged_bin(),
                release: layout.releases(),
                links: Some(Vec::new()),
                expects: Some(links.map(|(name, text)| (name.clone(), text.clone())).collect()),
            });
        }
    }
    if let Some(file) = &observed.file {
        // Only what was put there is looked at; what is not of any release of ours is somebody else's by now.
        let ours = file.slot.as_ref().filter(|slot| !theirs(slot)).map(|_| file.path.clone());
        let known = |path: &Utf8Path, stat: Option<(u64, i64)>| {
            let mut known = owned.in_place.iter().flat_map(|in_place| &in_place.backups);
            known.any(|b| b.path == path && Some((b.size, b.mtime)) == stat)
        };
        let (mine, others): (Vec<_>, Vec<_>) =
            file.backups.iter().partition(|(path, stat)| known(path, *stat));
        let mine = mine.into_iter().map(|(path, _)| path.clone());
        let left = ours.into_iter().chain(mine).chain(file.leftover.clone());
        steps.extend(left.map(|path| Step::Remove { path, aside: None }));
        stays.extend(others.into_iter().map(|(path, _)| path));
    }
    for name in observed.slots.keys().filter(|name| mine(name)) {
        steps.push(layout.remove(layout.slot(name)));
    }
    for name in &observed.leftovers {
        steps.push(layout.sweep(name));
    }
    for path in [layout.releases(), layout.staging(), layout.bin(), layout.home.clone()] {
        steps.push(Step::RemoveEmpty { path });
    }
    steps.extend(forgive(id, debts));
    let mut change = removal(id, owned, before(observed), Digest::of_json(observed), steps);
    for path in stays {
        let _ = write!(change.reason, "; {path} stays, which is not reconcile's own");
    }
    change
}

/// Whether a release was made for this resource, or came to it by another name of the wish.
fn is_mine(name: &str, id: &ResourceId, owned: &Owned, observed: &AppObserved) -> bool {
    let manifest = observed.slots.get(name).and_then(|slot| slot.manifest.as_ref());
    let made = manifest.is_some_and(|manifest| manifest.resource == id.to_string());
    let known = |names: &[String]| names.iter().any(|known| known == name);
    made || known(&owned.adopted) || manifest.is_some() && known(&owned.activated)
}

/// What is in use.
pub fn before(observed: &AppObserved) -> Option<InUse> {
    let slot = observed.current()?;
    let manifest = observed.slots.get(slot)?.manifest.as_ref();
    Some(InUse {
        version: manifest
            .map(|m| m.version.clone())
            .or_else(|| tag_of_slot(slot).trim_start_matches('v').parse().ok())?,
        tag: tag_of_slot(slot),
        digest: manifest.map(|m| m.digest.clone()),
        evidence: manifest.map(|m| m.evidence.clone()),
        requested: None,
        floating: false,
    })
}
