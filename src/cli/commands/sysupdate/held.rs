//! What keeps a component from being updated, and what ends that.

use crate::cli::CliError;
use crate::cli::session::Session;
use crate::model::plan::Blocked;
use crate::model::{BlockedReason, Plan, ResourceId};
use crate::record::ledger;

/// Why resources are not updated, each with the command that changes it. Nothing where there is nothing newer.
pub(super) fn held<'a>(
    session: &Session,
    plan: &Plan,
    ids: impl Iterator<Item = &'a ResourceId>,
) -> Result<Vec<String>, CliError> {
    let overrides = ledger::load(&session.host).map_err(|e| CliError::io(&e))?.overrides;
    let now = session.now;
    let mut held = Vec::new();
    for id in ids {
        let blocked = plan.blocked.iter().filter(|blocked| blocked.resource == *id);
        let mut news = blocked.filter(|blocked| is_news(blocked.reason)).peekable();
        let pinned = overrides.pinned.get(id).filter(|pinned| pinned.holds(now));
        // One that cannot be gone back to tells all of that itself.
        if let Some(pinned) = pinned.filter(|_| news.peek().is_none()) {
            held.push(format!(
                "{id} is rolled back to {} ({}), so nothing newer is installed; `reconcile resume {id}` ends that",
                pinned.slot, pinned.reason
            ));
        }
        let suspended = overrides.suspended.get(id).is_some_and(|order| order.holds(now));
        let resume = format!("; `reconcile resume {id}` ends that");
        held.extend(news.map(|Blocked { reason, message, .. }| {
            let end = match reason {
                BlockedReason::Suspended if suspended => resume.as_str(),
                BlockedReason::Deferred => "; `--windows ignore` does it now",
                _ => "",
            };
            format!("{id}: {message}{end}")
        }));
    }
    Ok(held)
}

/// Blocked wishes that an update of systemd-sysupdate would not fail for: there is just nothing newer.
fn is_news(reason: BlockedReason) -> bool {
    !matches!(reason, BlockedReason::NoVersion | BlockedReason::Downgrade)
}
