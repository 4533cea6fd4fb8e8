//! Which hosts a document or a resource is for, as it is written.

use schemars::{JsonSchema, Schema, json_schema};
use serde::Deserialize;

use crate::desired::field::{Field, Short, Shorthand, Table};

/// Hosts that are meant. Everything that is given must fit; of a list, one item.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct MatchDocument {
    /// Names, in which `*` is any number of characters and `?` one: `web-*`, or a list.
    pub hostname: Field<Short<TextList>>,
    /// Machine ids as in `/etc/machine-id`: one, or a list.
    pub machine_id: Field<Short<TextList>>,
    /// Labels from `/etc/reconcile/labels` with their values, in which `*` and `?` stand for others: one, or a list.
    pub labels: Field<Table<Short<TextList>>>,
    /// Architectures.
    pub arch: Field<Vec<Field<ArchDocument>>>,
}

/// Several texts.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(transparent)]
#[schemars(extend("minItems" = 1))]
pub struct TextList(pub Vec<Field<String>>);

impl Shorthand for TextList {
    fn text() -> Schema {
        json_schema!({ "type": "string", "description": "One text." })
    }
}

/// An architecture.
#[derive(Clone, Copy, Debug, Deserialize, JsonSchema)]
pub enum ArchDocument {
    /// 64-bit x86.
    #[serde(rename = "x86_64")]
    X86,
    /// 64-bit ARM.
    #[serde(rename = "aarch64")]
    Arm,
}
