//! Places that are inside of one another by way of links: what the texts of their paths do not tell.

use std::collections::{BTreeMap, BTreeSet};

use camino::Utf8Path;

use crate::desired::{DesiredState, file_place, own_directory};
use crate::model::ResourceId;
use crate::observe::Observed;
use crate::resource::Spec;

/// Every wished place without links, and whose it is.
#[derive(Debug, Default)]
pub(super) struct Nesting<'a>(BTreeMap<&'a Utf8Path, BTreeSet<(&'a ResourceId, &'a Utf8Path)>>);

impl<'a> Nesting<'a> {
    pub(super) fn new(desired: &'a DesiredState, observed: &'a Observed) -> Self {
        let mut all = Self::default();
        if observed.through_links.is_empty() {
            // The texts were compared already.
            return all;
        }
        for (id, declared) in &desired.resources {
            for path in declared.spec.paths() {
                all.0.entry(observed.without_links(path)).or_default().insert((id, path));
            }
        }
        all
    }

    /// Why a place is none for this resource, once the links on the way to it are followed.
    pub(super) fn refuse(
        &self,
        id: &ResourceId,
        spec: &Spec,
        observed: &Observed,
    ) -> Option<String> {
        let home = std::iter::once((spec.home(), own_directory as fn(&str) -> _));
        let file = spec.file().map(|file| (file, file_place as fn(&str) -> _));
        home.chain(file).find_map(|(path, check)| {
            let really = observed.without_links(path);
            let own = |own: &&camino::Utf8PathBuf| {
                really.starts_with(own) || own.starts_with(really)
            };
            if let Some(own) = observed.own.iter().find(own) {
                return Some(format!(
                    "{} cannot be used: reconcile keeps its own files in {own}; choose another path",
                    named(path, really)
                ));
            }
            if really.as_str() != path.as_str()
                && let Err(why) = check(really.as_str())
            {
                return Some(format!("{} cannot be used: {why}", named(path, really)));
            }
            let (other, theirs) = self.beside(id, (path, really), observed)?;
            let theirs_really = observed.without_links(theirs);
            Some(format!(
                "{} and {} of {other} are inside of one another, and each would replace a part of the other; give one \
                 of them a place of its own",
                named(path, really),
                named(theirs, theirs_really)
            ))
        })
    }

    /// Another resource with a place inside of this one or around it, where one of the two is reached through a link:
    /// the texts of all others were compared already.
    fn beside(
        &self,
        id: &ResourceId,
        (path, really): (&Utf8Path, &Utf8Path),
        observed: &Observed,
    ) -> Option<(&'a ResourceId, &'a Utf8Path)> {
        let around = really.ancestors().skip(1).filter_map(|above| self.0.get(above));
        let inside = self.0.range(really..).skip_while(|(other, _)| **other == really);
        let inside = inside.take_while(|(other, _)| other.starts_with(really)).map(|(_, ids)| ids);
        let mut others = around.chain(inside).flatten();
        others
            .find(|(other, theirs)| {
                let linked = path != really || observed.without_links(theirs) != *theirs;
                *other != id && linked
            })
            .copied()
    }
}

/// A path, and where it leads.
fn named(path: &Utf8Path, really: &Utf8Path) -> String {
    if path == really { path.to_string() } else { format!("{path}, which is {really},") }
}
