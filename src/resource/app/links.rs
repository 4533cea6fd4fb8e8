//! The links of an app's `bin`: which there should be, which are ours; pure.

use std::collections::BTreeMap;

use crate::model::manifest::Binary;
use crate::model::step::Binaries;
use crate::resource::app::layout::{link_text, parse_link};
use crate::resource::app::plan::Situation;
use crate::resource::app::wanted::Wanted;
use crate::resource::decision::SlotState;

impl Situation<'_> {
    /// The links `bin` should have, as far as they are known before unpacking.
    pub(super) fn links(&self, wanted: &Wanted, state: &SlotState) -> Option<Vec<Binary>> {
        let slot = self.observed.slots.get(&wanted.slot)?;
        let anew = state.must_be_made();
        match &slot.manifest {
            Some(manifest) => {
                let same_bytes = !anew || *state == SlotState::Damaged;
                same_bytes.then(|| manifest.binaries.clone())
            }
            None if anew => None,
            None => Some(self.adopted_links(&wanted.slot, &slot.executables)),
        }
    }

    /// What an adopted release links: what it links now, unless that is nothing or every
    /// executable is wished.
    fn adopted_links(&self, slot: &str, executables: &[String]) -> Vec<Binary> {
        let mut by_name = BTreeMap::new();
        let linked = self.observed.linked_slots().contains(slot);
        if self.spec.binaries == Binaries::AnyExecutable || !linked {
            for path in executables {
                let name = path.rsplit_once('/').map_or(path.as_str(), |(_, name)| name);
                by_name.insert(name.to_owned(), path.clone());
            }
        } else {
            for (name, text) in self.observed.bin.iter().flat_map(|bin| &bin.links) {
                if let Some((_, path)) = parse_link(text).filter(|(s, _)| *s == slot) {
                    by_name.insert(name.clone(), path.to_owned());
                }
            }
        }
        by_name.into_iter().map(|(name, path)| Binary { name, path }).collect()
    }

    /// The programs that a release will have, before it was unpacked: those that are listed, else those of the
    /// release before it, else one of the app's name.
    pub(super) fn likely_names(&self) -> Vec<&str> {
        if let Binaries::Listed(listed) = &self.spec.binaries {
            return listed.iter().map(|binary| binary.name.as_str()).collect();
        }
        let before = self.stands_on().and_then(|slot| self.observed.slots.get(slot));
        match before.and_then(|slot| slot.manifest.as_ref()) {
            Some(manifest) => manifest.binaries.iter().map(|b| b.name.as_str()).collect(),
            None => vec![self.id.name.as_str()],
        }
    }

    /// Whether this release is the one that was made the one in use last.
    pub(super) fn was_in_use(&self, slot: &str) -> bool {
        self.last().or(self.observed.current()) == Some(slot)
    }

    /// Links of `bin` that point into `releases`, and those that bear a name of the release in use.
    pub(super) fn our_links(&self) -> BTreeMap<String, String> {
        let linked = self.observed.linked_slots();
        let names: Vec<&str> = self
            .observed
            .slots
            .iter()
            .filter(|(name, _)| self.was_in_use(name) || linked.contains(name.as_str()))
            .filter_map(|(_, slot)| slot.manifest.as_ref())
            .flat_map(|manifest| manifest.binaries.iter().map(|b| b.name.as_str()))
            .collect();
        let links = self.observed.bin.iter().flat_map(|bin| &bin.links);
        links
            .filter(|(name, text)| parse_link(text).is_some() || names.contains(&name.as_str()))
            .map(|(name, text)| (name.clone(), text.clone()))
            .collect()
    }
}

/// Link texts by name.
pub(super) fn texts(slot: &str, links: &[Binary]) -> BTreeMap<String, String> {
    links.iter().map(|b| (b.name.clone(), link_text(slot, &b.path))).collect()
}
