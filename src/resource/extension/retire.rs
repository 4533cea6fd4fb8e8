//! What to take away of transfers that are switched off; pure.

use crate::model::Step;
use crate::model::extension::LinkTo;
use crate::resource::extension::observe::{ImageSeen, TransferObserved};
use crate::resource::extension::pick::Picks;
use crate::resource::extension::plan::Situation;
use crate::resource::extension::spec::Transfer;
use crate::resource::extension::steps::take_away;

/// Links and images of transfers that are switched off.
#[derive(Debug, Default)]
pub(super) struct Retired {
    /// Links that go.
    pub(super) links: Vec<LinkTo>,
    /// What hides images that no link leads to.
    pub(super) picks: Picks,
    /// Images that go with their manifests.
    pub(super) removals: Vec<Step>,
}

impl Situation<'_> {
    /// Only what is ours goes, and nothing that is protected.
    pub(super) fn retired(&self) -> Retired {
        let mut retired = Retired::default();
        for (transfer, seen) in self.spec.retired.iter().zip(&self.observed.retired) {
            let goes: Vec<(&String, &ImageSeen)> = self.retired_of((transfer, seen)).collect();
            retired.links.extend(link_of(seen, &goes));
            let all = goes.len() == seen.images.len();
            for (version, image) in goes {
                retired.picks.hide_all(seen, std::iter::once(image));
                retired.removals.extend(take_away(seen, (version, image), &retired.picks));
            }
            let entry = transfer.entry.iter().filter(|_| all);
            retired.removals.extend(entry.cloned().map(Step::remove));
        }
        retired
    }

    /// Images of a transfer that is switched off, by version.
    pub(super) fn retired_of<'a>(
        &'a self,
        (transfer, seen): (&'a Transfer, &'a TransferObserved),
    ) -> impl Iterator<Item = (&'a String, &'a ImageSeen)> {
        let goes = move |(version, image): &(&String, &ImageSeen)| {
            self.is_retired((transfer, seen), version, image)
        };
        seen.images.iter().filter(goes)
    }

    fn is_retired(
        &self,
        (transfer, seen): (&Transfer, &TransferObserved),
        version: &str,
        image: &ImageSeen,
    ) -> bool {
        let named = |versions: &[String]| versions.iter().any(|v| v == version);
        let ours = match &image.manifest {
            // The list says that a definition brought it.
            _ if transfer.entry.is_some() => true,
            Some(manifest) => manifest.head.resource == *self.id,
            None => named(&self.observed.adopted(self.owned)),
        };
        ours && !named(&self.spec.protect) && !self.is_of_another(seen, &image.file)
    }

    /// Patterns of several transfers may fit one file.
    fn is_of_another(&self, seen: &TransferObserved, file: &str) -> bool {
        let mut beside = self.observed.transfers.iter().filter(|t| t.directory == seen.directory);
        beside.any(|transfer| transfer.images.values().any(|image| image.file == file))
    }
}

/// The link of a transfer, when it leads to one of these images.
fn link_of(seen: &TransferObserved, images: &[(&String, &ImageSeen)]) -> Option<LinkTo> {
    let text = seen.there.text()?;
    let leads = images.iter().any(|(_, image)| image.is_named_by(text));
    let link = seen.link.clone().filter(|_| leads)?;
    Some(LinkTo { link, text: None, expects: Some(Some(text.to_owned())) })
}
