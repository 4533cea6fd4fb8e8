//! What a release must show before it counts as working, as it is written.

use schemars::{JsonSchema, Schema, json_schema};
use serde::Deserialize;

use crate::desired::document::Argv;
use crate::desired::field::{Field, Short, Shorthand};

/// What a release must show after a switch. Everything given must hold; at least one thing must be given.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct HealthDocument {
    /// A systemd unit that must be active, and not be restarted meanwhile.
    pub unit: Field<String>,
    /// A program that must end with exit status 0: a list of program and arguments, without a shell.
    /// `RECONCILE_ROOT` in its environment is what comes before paths of another root. While it cannot be started,
    /// nothing is switched, unless the release itself may bring it.
    #[schemars(with = "Argv")]
    pub exec: Field<Short<Argv>>,
    /// A URL that must answer with status 200, or a map with another status. Redirects are not followed.
    pub http: Field<Short<HttpProbeDocument>>,
    /// Where something must accept connections: `HOST:PORT`.
    pub tcp: Field<String>,
    /// Time between two looks. Default `1s`.
    pub interval: Field<String>,
    /// How long everything must hold without a break. Default `10s`.
    pub stable: Field<String>,
    /// How long is waited for that at most. Default `60s`.
    pub deadline: Field<String>,
    /// What happens when it does not hold: `rollback` (the default) goes back to the release before and does
    /// not install this one again; `report` only says so.
    pub on_failure: Field<OnFailureDocument>,
}

/// What happens when a release does not work.
#[derive(Clone, Copy, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum OnFailureDocument {
    /// The release before is used again.
    Rollback,
    /// It is reported.
    Report,
}

/// A URL and the answer expected of it.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(extend("required" = ["url"]))]
pub struct HttpProbeDocument {
    /// The URL, `http:` or `https:`.
    pub url: Field<String>,
    /// The status of the answer. Default 200.
    #[schemars(range(min = 100, max = 599))]
    pub status: Field<u32>,
}

impl Shorthand for HttpProbeDocument {
    fn text() -> Schema {
        json_schema!({ "type": "string", "pattern": "^https?://", "description": "The URL." })
    }
}
