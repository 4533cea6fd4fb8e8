//! Documents for programs.

use serde::Serialize;
use serde_json::{Value, json};

use crate::desired::{DesiredState, Diagnostic};
use crate::model::Plan;
use crate::model::plan::{PLAN_API_VERSION, PlanDocument, PlanMetadata};
use crate::model::revision::Revision;

/// About a plan that is going to be printed or saved.
#[derive(Clone, Debug)]
pub struct About {
    /// When.
    pub now: jiff::Timestamp,
    /// Which host.
    pub hostname: String,
    /// Below which root.
    pub root: String,
    /// From which paths the wish came.
    pub desired: Vec<String>,
    /// From which commit.
    pub revision: Option<Revision>,
}

/// A plan as a document.
pub fn plan_document(plan: Plan, about: About) -> PlanDocument {
    PlanDocument {
        api_version: PLAN_API_VERSION.to_owned(),
        kind: "Plan".to_owned(),
        metadata: PlanMetadata {
            name: plan.name(),
            created_at: about.now,
            hostname: about.hostname,
            root: about.root,
            generator: concat!("reconcile ", env!("CARGO_PKG_VERSION")).to_owned(),
            desired: about.desired,
            revision: about.revision,
        },
        status: plan.summary(),
        spec: plan,
    }
}

/// Whether a desired state is valid: for one host, or for all alike.
pub fn verdict(
    paths: &[String],
    host: Option<&String>,
    read: Result<&DesiredState, &[Diagnostic]>,
) -> Value {
    let ids = read.map(|desired| desired.resources.keys().collect::<Vec<_>>());
    json!({
        "apiVersion": PLAN_API_VERSION,
        "kind": "Validation",
        "paths": paths,
        "host": host,
        "valid": read.is_ok(),
        "resources": ids.unwrap_or_default(),
        "errors": read.err().unwrap_or_default(),
    })
}

/// Pretty JSON with a final newline.
pub fn render(value: &impl Serialize) -> String {
    let mut text = serde_json::to_string_pretty(value).unwrap_or_default();
    text.push('\n');
    text
}
