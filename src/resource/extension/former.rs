//! What another layout or home of an extension left where systemd finds it by the same name; pure.
//!
//! systemd would merge that, or either of both. So it goes out of sight in the act that brings the new one into use, and comes
//! back where everything is put back; what it is made of stays where it is.

use crate::model::ResourceId;
use crate::model::extension::LinkTo;
use crate::model::plan::InUse;
use crate::resource::extension::ExtensionObserved;
use crate::resource::extension::observe::Former;
use crate::resource::extension::order::{Order, OrderWish};
use crate::resource::extension::pick::Picks;

/// Takes it out of systemd's sight.
pub(super) fn clear(former: &Former, (links, picks): (&mut Vec<LinkTo>, &mut Picks)) {
    if let Some(text) = &former.text {
        let expects = Some(Some(text.clone()));
        links.push(LinkTo { link: former.path.clone(), text: None, expects });
    } else if let (Some(directory), Some(file)) = (former.path.parent(), former.path.file_name()) {
        picks.hide(directory, file);
    }
}

/// The release that was in use by that layout: what systemd would pick.
pub(super) fn in_use_before(id: &ResourceId, observed: &ExtensionObserved) -> Option<InUse> {
    let former = || observed.transfers.iter().flat_map(|seen| seen.former_of(id));
    let order = Order::of(OrderWish::Uapi, former().map(|former| former.version.as_str()));
    let newest = former().max_by(|a, b| order.compare(a.version.as_str(), b.version.as_str()))?;
    Some(InUse {
        version: newest.version.clone(),
        tag: newest.version.to_string(),
        digest: None,
        evidence: None,
        requested: None,
        floating: false,
    })
}
