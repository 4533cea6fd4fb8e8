//! The nouns of the program: plain data without I/O, shared by every phase of a pass.

pub mod agent;
pub mod cached;
pub mod check;
pub mod checked;
pub mod contents;
pub mod delta;
pub mod difference;
pub mod document;
pub mod digest;
pub mod extension;
pub mod facts;
pub mod followed;
pub mod glob;
pub mod id;
pub mod ledger;
pub mod manifest;
pub mod outcome;
pub mod pace;
pub mod plan;
pub mod release;
pub mod revision;
pub mod selection;
pub mod snapshot;
pub mod effect;
pub mod slot;
pub mod span;
pub mod spot;
pub mod step;
pub mod version;
pub mod window;

pub use check::{Check, Probe};
pub use delta::{Delta, Fallback, Patch, PatchFormat};
pub use digest::{Algorithm, Digest};
pub use effect::Effect;
pub use extension::ExtensionClass;
pub use facts::HostFacts;
pub use id::{Kind, Name, ResourceId};
pub use manifest::{Entry, EntryKind, Manifest};
pub use plan::{Action, Attribution, Blocked, BlockedReason, Change, Drift, DriftKind, Plan};
pub use release::{Artifact, Evidence, Level, Release, Subject};
pub use step::{Blob, Step, StepKind};
pub use version::{Constraint, Prereleases, Version};

/// JSON Schema of a newtype that is written as text.
macro_rules! text_schema {
    ($type:ty, $name:literal, $description:literal) => {
        impl schemars::JsonSchema for $type {
            fn schema_name() -> std::borrow::Cow<'static, str> {
                $name.into()
            }

            fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
                schemars::json_schema!({ "type": "string", "description": $description })
            }
        }
    };
}

text_schema!(Name, "Name", "A resource name: letters, digits and `. _ - +`.");
text_schema!(ResourceId, "ResourceId", "Kind and name, such as `app/ripgrep`.");
text_schema!(Digest, "Digest", "A digest with its algorithm, `sha256:<hex>`.");
text_schema!(Version, "Version", "A version as its publisher wrote it, without the tag's prefix.");
text_schema!(Constraint, "Constraint", "`latest`, a version, or a list such as `>=14, <15`.");
