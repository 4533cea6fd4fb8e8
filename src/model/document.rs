//! Documents for programs: what each is, and then what it says, to which fields may be added.

use schemars::JsonSchema;
use serde::Serialize;

use crate::model::plan::PLAN_API_VERSION;

/// What a document may say.
pub trait Answer {
    /// What it is, in one CamelCase word.
    const KIND: &'static str;
}

/// A document.
#[derive(Clone, Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(rename = "{T}")]
pub struct Document<T> {
    /// [`PLAN_API_VERSION`].
    pub api_version: &'static str,
    /// What it is.
    pub kind: &'static str,
    /// What it says.
    #[serde(flatten)]
    pub answer: T,
}

impl<T: Answer> From<T> for Document<T> {
    fn from(answer: T) -> Self {
        Self { api_version: PLAN_API_VERSION, kind: T::KIND, answer }
    }
}
