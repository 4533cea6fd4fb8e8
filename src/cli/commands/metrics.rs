//! What a pass came to, for `node_exporter`'s textfile collector.

use crate::cli::commands::pass::about;
use crate::cli::output::json::plan_document;
use crate::cli::session::Session;
use crate::host::Change as Host;
use crate::model::outcome::Outcome;
use crate::monitor::{Pass, Reporter};
use crate::reconcile::{Preview, Request};

/// Writes the file that was asked for.
pub(super) fn tell(
    session: &Session,
    request: &Request<'_>,
    host: &Host,
    preview: &Preview,
    outcome: &Outcome,
) {
    let Some(file) = session.common.metrics_file.clone() else { return };
    let about = about(session, request.desired, &preview.observed);
    Reporter::new(Some(file)).ended(
        host,
        &Pass {
            desired: request.desired,
            plan: &plan_document(preview.plan.clone(), about),
            outcome,
            observed: &preview.observed,
            ledger: &preview.ledger,
            requests: preview.requests,
            trigger: "command",
            took: session.began.elapsed(),
            now: session.now,
        },
    );
}
