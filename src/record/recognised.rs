//! Notes what is in use without having been put there by us.

use std::borrow::Cow;

use crate::model::ledger::{Inventory, Recognised};
use crate::model::plan::Unchanged;
use crate::record::commit::Pass;
use crate::resource::Found;
use crate::resource::app::AppObserved;

/// Notes which release a program or a tree of somebody else is.
pub(super) fn note(inventory: &mut Cow<'_, Inventory>, pass: &Pass<'_>, unchanged: &Unchanged) {
    let id = &unchanged.resource;
    let found = pass.observed.resources.get(id).and_then(|found| found.as_ref().ok());
    let sha256 = found.filter(|found| found.current().is_none()).and_then(Found::program);
    let Some(sha256) = sha256 else { return };
    let path = match found {
        Some(Found::App(AppObserved { file: Some(file), .. })) => Some(file.path.clone()),
        _ => None,
    };
    let Some(owned) = inventory.to_mut().resources.get_mut(id) else { return };
    let (version, digest) = (unchanged.in_use.version.clone(), unchanged.in_use.digest.clone());
    owned.recognised = Some(Recognised { path, sha256: sha256.to_owned(), version, digest });
}
