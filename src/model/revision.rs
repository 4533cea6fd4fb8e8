//! Which commit the desired state was read from.

use std::fmt;

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Characters of a commit that people are shown.
const COMMIT_SHORT: usize = 10;

/// A commit of a repository, accepted as the desired state.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Revision {
    /// The repository, without credentials.
    pub url: String,
    /// The branch or tag that is followed.
    pub reference: String,
    /// The commit: 40 lower-case hexadecimal digits.
    pub commit: String,
    /// Who signed it; absent when no signature is demanded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub signed_by: Option<String>,
    /// When this host accepted it.
    pub accepted_at: Timestamp,
    /// Why the repository's present state is not used; absent when it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trouble: Option<Trouble>,
}

/// Why the repository's present state is not used.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Trouble {
    /// What kind.
    pub kind: TroubleKind,
    /// Why, in words.
    pub message: String,
}

/// Kinds of trouble with a repository.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum TroubleKind {
    /// It did not answer.
    Unreachable,
    /// What it has is not accepted: not signed, not by an allowed key, history rewritten.
    Refused,
    /// What it has cannot be used: no such branch or directory, too large, unsafe names.
    Unusable,
}

impl Revision {
    /// `main@sha1:` and the whole commit: the name in documents and history.
    pub fn name(&self) -> String {
        format!("{}@sha1:{}", self.reference, self.commit)
    }
}

/// The same with a commit as short as people want it.
impl fmt::Display for Revision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let short = self.commit.get(..COMMIT_SHORT).unwrap_or(&self.commit);
        write!(f, "{}@sha1:{short}", self.reference)?;
        match &self.signed_by {
            Some(signer) => write!(f, " (signed by {signer})"),
            None => f.write_str(" (not verified)"),
        }
    }
}
