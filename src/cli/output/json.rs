//! Documents for programs.

use serde::Serialize;

use crate::cli::output::answers::Validation;
use crate::desired::{DesiredState, Diagnostic};
use crate::model::document::{Answer, Document};
use crate::model::plan::{PLAN_API_VERSION, PlanDocument, PlanMetadata};
use crate::model::revision::Revision;
use crate::model::{Digest, Plan};

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
    /// SHA-256 over its texts.
    pub digest: Digest,
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
            digest: Some(about.digest),
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
) -> Validation {
    let ids = read.map(|desired| desired.resources.keys().cloned().collect());
    Validation {
        paths: paths.to_vec(),
        host: host.cloned(),
        valid: read.is_ok(),
        resources: ids.unwrap_or_default(),
        errors: read.err().unwrap_or_default().to_vec(),
    }
}

/// A document with what it says.
pub fn document(answer: impl Answer + Serialize) -> String {
    render(&Document::from(answer))
}

/// Pretty JSON with a final newline.
pub fn render(value: &impl Serialize) -> String {
    let mut text = serde_json::to_string_pretty(value).unwrap_or_default();
    text.push('\n');
    text
}
