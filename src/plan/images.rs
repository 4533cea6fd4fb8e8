//! Images of extensions that lie in one directory: none takes away what another one uses.

use std::collections::{BTreeMap, BTreeSet};

use camino::{Utf8Path, Utf8PathBuf};

use crate::desired::DesiredState;
use crate::model::extension::LinkTo;
use crate::model::{Change, Kind, ResourceId, Step};
use crate::observe::Observed;
use crate::resource::extension::layout::image_of;
use crate::resource::extension::spec::{Transfer, join};
use crate::resource::{Found, Spec};

/// Which wished extension has which images.
#[derive(Debug, Default)]
pub(super) struct Images<'a> {
    /// By directory and pattern.
    patterns: BTreeMap<(&'a Utf8Path, &'a str), BTreeSet<&'a ResourceId>>,
    links: BTreeMap<&'a Utf8Path, BTreeSet<&'a ResourceId>>,
    in_use: BTreeMap<Utf8PathBuf, BTreeSet<&'a ResourceId>>,
}

impl<'a> Images<'a> {
    pub(super) fn new(desired: &'a DesiredState, observed: &'a Observed) -> Self {
        let mut images = Self::default();
        for (id, declared) in &desired.resources {
            for transfer in transfers(&declared.spec) {
                for pattern in &transfer.target {
                    let place = (transfer.directory.as_path(), pattern.as_str());
                    images.patterns.entry(place).or_default().insert(id);
                }
                let link = transfer.link.as_deref();
                link.map(|link| images.links.entry(link).or_default().insert(id));
            }
            let Some(Ok(Found::Extension(found))) = observed.resources.get(id) else { continue };
            let Some(current) = &found.current else { continue };
            for (seen, image) in found.transfers.iter().zip(found.images(current)) {
                let Some(image) = image else { continue };
                let path = seen.directory.join(&image.file);
                images.in_use.entry(path).or_default().insert(id);
            }
        }
        images
    }

    /// What is said of another extension that has the same images.
    pub(super) fn shared(&self, id: &ResourceId, spec: &Spec) -> Option<String> {
        transfers(spec).iter().find_map(|transfer| {
            let directory = transfer.directory.as_path();
            let mut patterns = transfer.target.iter().map(|pattern| (directory, pattern.as_str()));
            patterns.find_map(|place| {
                let other = self.patterns.get(&place)?.iter().find(|other| **other != id)?;
                let (directory, pattern) = place;
                Some(format!(
                    "images in {directory} that are called {pattern} are those of {other}, too, and each would take \
                     away the other's; drop one of them, or give it a directory of its own"
                ))
            })
        })
    }

    /// The same change without what would take an image or a link from another extension, if anything is left of it.
    /// `brought` are the images that changes before it in the plan bring into use.
    pub(super) fn spare(
        &self,
        mut change: Change,
        brought: &BTreeSet<Utf8PathBuf>,
    ) -> Option<Change> {
        if change.resource.kind != Kind::Extension {
            return Some(change);
        }
        let id = change.resource.clone();
        let another = |ids: Option<&BTreeSet<&ResourceId>>| {
            ids.is_some_and(|ids| ids.iter().any(|other| **other != id))
        };
        change.steps.retain_mut(|step| match step {
            Step::Remove { path, .. } => {
                let image = image(path);
                !another(self.in_use.get(&image)) && !brought.contains(&image)
            }
            // So that systemd passes over it, before it is taken away.
            Step::Promote { from, .. } => {
                !another(self.in_use.get(from)) && !brought.contains(from)
            }
            Step::Pick { shows, hides, .. } => {
                hides.retain(|hidden| {
                    !another(self.in_use.get(&hidden.from)) && !brought.contains(&hidden.from)
                });
                !shows.is_empty() || !hides.is_empty()
            }
            Step::Point { links, .. } => {
                links.retain(|to| to.text.is_some() || !another(self.links.get(to.link.as_path())));
                !links.is_empty()
            }
            _ => true,
        });
        (!change.steps.is_empty()).then_some(change)
    }
}

/// The images that changes bring into use.
pub(super) fn brought(changes: &[Change]) -> BTreeSet<Utf8PathBuf> {
    let mut brought = BTreeSet::new();
    for step in changes.iter().flat_map(|change| &change.steps) {
        if let Step::Point { links, .. } = step {
            let at = |to: &LinkTo| Some(join(to.link.parent()?, to.text.as_deref()?));
            brought.extend(links.iter().filter_map(at));
        }
    }
    brought
}

/// The image that is at a path, or that the manifest there is about.
fn image(path: &Utf8Path) -> Utf8PathBuf {
    let about = path.file_name().and_then(image_of);
    about.map_or_else(|| path.to_owned(), |file| path.with_file_name(file))
}

fn transfers(spec: &Spec) -> &[Transfer] {
    match spec {
        Spec::Extension(spec) => &spec.transfers,
        Spec::App(_) | Spec::Tree(_) => &[],
    }
}
