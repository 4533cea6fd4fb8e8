//! How the agent is that keeps a host: what the loop tells about itself while it runs.

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What the loop says about itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct AgentStatus {
    /// Its process.
    pub pid: u32,
    /// Since when it runs.
    pub since: Timestamp,
    /// `passing`, `waiting`, `stopping`, or `renewing`: about to go on as the program that replaced it.
    pub state: String,
    /// When the next pass is made at the latest, while it waits.
    pub next_pass_at: Option<Timestamp>,
    /// What asked for the pass that is made or was made last: `desired, request`.
    pub triggers: String,
    /// When the last pass that could be made ended.
    pub last_pass_at: Option<Timestamp>,
    /// When a pass over everything ended last after which everything wished was there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_converged_at: Option<Timestamp>,
    /// The exit code that it would have had on its own.
    pub exit: Option<u8>,
    /// What it came to, in one line.
    pub message: String,
    /// Why the last pass could not be made, if so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unmade: Option<String>,
    /// Why the desired state cannot be used, if so: the last valid one stays in effect.
    pub invalid: Option<String>,
    /// Why the configuration that was read last is not used, if so.
    pub misconfigured: Option<String>,
}
