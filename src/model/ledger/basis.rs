//! What the release in use was chosen by, so that the next change can say what became different.

use serde::{Deserialize, Serialize};

/// What the release in use was chosen by.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Basis {
    /// The version that was asked for, as it was written.
    Request(String),
    /// An operator went back.
    Rollback,
    /// It was left alone.
    Suspension,
    /// What was asked for had not worked here, until an operator lifted that.
    Quarantine,
}

impl Basis {
    /// What holds no more once the wish counts again, where that did not.
    pub fn ended(&self) -> Option<&'static str> {
        match self {
            Self::Request(_) => None,
            Self::Rollback => Some("no longer rolled back"),
            Self::Suspension => Some("no longer suspended"),
            Self::Quarantine => Some("no longer quarantined"),
        }
    }
}
