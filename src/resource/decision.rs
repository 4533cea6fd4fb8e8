//! What is decided about one resource, whatever its kind.

use jiff::Timestamp;

use crate::model::plan::Unchanged;
use crate::model::{Blocked, BlockedReason, Change};

/// What resolving came to; `W` is the kind's own description of the release to be on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Resolution<W> {
    /// The release to be on; where there is a problem, the one to stay on and keep whole.
    pub wanted: Option<W>,
    /// Why the wish itself cannot be carried out now.
    pub problem: Option<Problem>,
    /// Things an operator should know.
    pub notes: Vec<String>,
}

impl<W> Default for Resolution<W> {
    fn default() -> Self {
        Self { wanted: None, problem: None, notes: Vec::new() }
    }
}

/// Why a wish cannot be carried out now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// Which rule.
    pub reason: BlockedReason,
    /// What was attempted, why it did not go, what to do.
    pub message: String,
    /// When it will be looked at again.
    pub until: Option<Timestamp>,
}

impl Problem {
    /// Something of somebody else stands in the way.
    pub fn foreign(message: String) -> Self {
        Self { reason: BlockedReason::Foreign, message, until: None }
    }
}

/// What is to be done.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Decision {
    /// The change, if anything is to be done.
    pub change: Option<Change>,
    /// Why the wish is not carried out, if so.
    pub blocked: Option<Blocked>,
    /// What is as desired, if neither.
    pub unchanged: Option<Unchanged>,
}
