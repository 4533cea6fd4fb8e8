//! What the documents say that answer questions; a plan and a status are documents of their own.

use schemars::JsonSchema;
use serde::Serialize;

use crate::desired::Diagnostic;
use crate::model::document::{Answer, Document};
use crate::model::{Drift, Release, ResourceId, Version};
use crate::status::ResourceStatus;

/// What `diff` says.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Diff {
    /// Those that somebody changed.
    pub resources: Vec<Drifted>,
}

impl Answer for Diff {
    const KIND: &'static str = "Diff";
}

/// What somebody changed of one resource.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Drifted {
    /// Which.
    pub resource: ResourceId,
    /// Path by path.
    pub drift: Vec<Drift>,
}

/// What `explain` says.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Explanation {
    /// What is known about the resource on this host.
    pub resource: Option<ResourceStatus>,
    /// Where it is declared; absent when it is not wished any more.
    pub declared_at: Option<String>,
    /// How its version and its file are chosen, line by line.
    pub choice: Vec<String>,
}

impl Answer for Explanation {
    const KIND: &'static str = "Explanation";
}

/// What `list` says.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Releases {
    /// The resource.
    pub resource: ResourceId,
    /// The version in use, whether its source still offers it or not.
    pub in_use: Option<Version>,
    /// What its source offers, newest first.
    pub releases: Vec<Offered>,
}

impl Answer for Releases {
    const KIND: &'static str = "Releases";
}

/// One release that a source offers.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Offered {
    /// The release.
    #[serde(flatten)]
    pub release: Release,
    /// Whether it is in use.
    pub in_use: bool,
    /// Whether the desired state accepts its version.
    pub accepted: bool,
    /// Why it is left out, where it did not work here.
    pub quarantined: Option<String>,
}

/// What `validate` says of a desired state that is the same for all hosts, or of what it is for one.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Validation {
    /// From where it was read.
    pub paths: Vec<String>,
    /// For which host.
    pub host: Option<String>,
    /// Whether nothing is wrong with it.
    pub valid: bool,
    /// What it declares.
    pub resources: Vec<ResourceId>,
    /// Everything that is wrong with it.
    pub errors: Vec<Diagnostic>,
}

impl Answer for Validation {
    const KIND: &'static str = "Validation";
}

/// What `validate` says where the desired state is another for each host.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ValidationList {
    /// Whether it is valid for all of them.
    pub valid: bool,
    /// One for each host.
    pub items: Vec<Document<Validation>>,
}

impl Answer for ValidationList {
    const KIND: &'static str = "ValidationList";
}

/// The one or the other.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(untagged)]
pub enum Validated {
    /// Of one host, or of all.
    Once(Document<Validation>),
    /// Of each host.
    Each(Document<ValidationList>),
}

/// What `doctor` says.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Diagnosis {
    /// Whether nothing was found wrong.
    pub ok: bool,
    /// Everything that was looked at.
    pub findings: Vec<Finding>,
}

impl Answer for Diagnosis {
    const KIND: &'static str = "Diagnosis";
}

/// One thing that the doctor looked at.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Finding {
    /// What.
    pub what: String,
    /// Whether it is as it should be.
    pub ok: bool,
    /// What was found.
    pub says: String,
}

/// What `gc` says.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Collection {
    /// Files that were removed from the cache.
    pub removed_files: usize,
    /// Their bytes.
    pub freed_bytes: u64,
}

impl Answer for Collection {
    const KIND: &'static str = "Collection";
}
