//! Lists what a release holds that was there before us, so that what becomes of it later is seen.

use std::io;

use crate::host::Change as Host;
use crate::model::ResourceId;
use crate::model::manifest::{MANIFEST_FORMAT, TAKEN_OVER_NAME, TakenOver};
use crate::record::commit::Pass;
use crate::resource::Found;
use crate::resource::app::layout::Layout;
use crate::resource::app::observe::Slot;
use crate::resource::app::observe::adopted::entries;

/// Lists it, once, beside its files. Where that cannot be written, the release goes on as it is.
pub(super) fn note(host: &Host, pass: &Pass<'_>, id: &ResourceId) {
    if let Err(error) = list(host, pass, id) {
        tracing::warn!(%error, resource = %id, "what was taken over is not listed");
    }
}

fn list(host: &Host, pass: &Pass<'_>, id: &ResourceId) -> io::Result<()> {
    let found = pass.observed.resources.get(id).and_then(|found| found.as_ref().ok());
    let (Some(Found::App(found)), Some(declared)) = (found, pass.desired.resources.get(id)) else {
        return Ok(());
    };
    let Some(current) = found.current().filter(|_| found.file.is_none()) else { return Ok(()) };
    let listed = |slot: &Slot| slot.manifest.is_some() || slot.taken_over.is_some();
    if found.slots.get(current).is_none_or(listed) {
        return Ok(());
    }
    let directory = Layout::new(declared.spec.home()).slot(current);
    let Some(entries) = entries(host.look(), &directory)? else { return Ok(()) };
    let list = TakenOver { format: MANIFEST_FORMAT, at: pass.now, entries };
    let json = serde_json::to_vec(&list).map_err(io::Error::from)?;
    host.write(directory.join(TAKEN_OVER_NAME), &json)
}
