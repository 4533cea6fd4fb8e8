//! Conditions of a host as a whole.

use crate::desired::{DesiredState, Selection};
use crate::model::outcome::counted;
use crate::model::revision::TroubleKind;
use crate::resource::extension::merged::InEffectBy;
use crate::status::{Condition, Known, NOT_MADE, REBOOT_REQUIRED, ResourceStatus, State, holds};

/// Names shown in the summary of a host.
const IDS_SHOWN: usize = 5;

/// The summary over all resources, what is lost, and what the wish and the next start of the host are about.
pub(super) fn conditions(
    known: &Known<'_>,
    resources: &[ResourceStatus],
    state: State,
) -> Vec<Condition> {
    let ready = if let Some(why) = known.unmade().filter(|_| state == State::Failed) {
        Condition { status: "False".to_owned(), ..holds("Ready", NOT_MADE, why.to_owned()) }
    } else if state == State::Current {
        let resources = counted(resources.len(), "resource");
        holds("Ready", "Converged", format!("{resources} as desired"))
    } else if let Some(why) = known.desired.refused.as_ref().filter(|_| state == State::Stalled) {
        let message = format!("the desired state is not valid: {why}");
        Condition { status: "False".to_owned(), ..holds("Ready", "DesiredInvalid", message) }
    } else if resources.iter().all(|resource| resource.state != state) {
        let message = "the newest desired state is not used".to_owned();
        Condition { status: "False".to_owned(), ..holds("Ready", "DesiredRefused", message) }
    } else {
        let worst = resources.iter().filter(|resource| resource.state == state);
        let ids: Vec<String> = worst.map(|resource| resource.id.to_string()).collect();
        let shown = ids.get(..IDS_SHOWN).unwrap_or(&ids).join(", ");
        let more = ids.len().saturating_sub(IDS_SHOWN);
        let more = if more > 0 { format!(" and {more} more") } else { String::new() };
        let status = if state == State::Suspended { "True" } else { "False" };
        let message = format!("{shown}{more}");
        Condition { status: status.to_owned(), ..holds("Ready", state.name(), message) }
    };
    let lost = (!known.ledger.losses.is_empty())
        .then(|| holds("TrustStateLost", "Unreadable", known.ledger.losses.join("; ")));
    let pending = resources.iter().filter(|resource| {
        let found = known.observed.resources.get(&resource.id);
        let spec = known.desired.resources.get(&resource.id).map(|declared| &declared.spec);
        let by = found.and_then(|found| found.as_ref().ok()?.pending(spec));
        by == Some(InEffectBy::NextStart)
    });
    let pending: Vec<String> = pending.map(|resource| resource.id.to_string()).collect();
    let reboot = (!pending.is_empty()).then(|| {
        let message = format!("the next start brings into use: {}", pending.join(", "));
        holds(REBOOT_REQUIRED, "ExtensionChange", message)
    });
    [ready].into_iter().chain(lost).chain(of_wish(known.desired)).chain(reboot).collect()
}

/// What the wish says about the host as a whole.
fn of_wish(desired: &DesiredState) -> Vec<Condition> {
    let nothing = (desired.selection == Selection::Nothing).then(|| {
        let message =
            "nothing in the desired state is for this host; nothing is changed or removed";
        holds("NoMatch", "NothingSelected", message.to_owned())
    });
    let trouble = desired.revision.as_ref().and_then(|revision| revision.trouble.as_ref());
    let trouble = trouble.map(|trouble| {
        let (kind, reason) = match trouble.kind {
            TroubleKind::Unreachable => ("DesiredStale", "RepositoryUnreachable"),
            TroubleKind::Refused => ("DesiredRefused", "RevisionRefused"),
            TroubleKind::Unusable => ("DesiredRefused", "RevisionUnusable"),
        };
        holds(kind, reason, trouble.message.clone())
    });
    let refused = desired.refused.as_ref().map(|why| {
        let meanwhile = match desired.roots.as_slice() {
            [] => "nothing is changed until it is valid",
            _ => "the last valid one stays in effect until it is valid",
        };
        let message = format!("{why}; {meanwhile}");
        holds("DesiredRefused", "Invalid", message)
    });
    nothing.into_iter().chain(trouble).chain(refused).collect()
}
