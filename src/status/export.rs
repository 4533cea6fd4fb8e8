//! What a host has, as one document: enough to plan for it somewhere else.
//!
//! It holds no secret: versions, digests, paths and what an operator decided. Manifests are given beside what was
//! found, where only their digests stand.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::model::extension::ImageManifest;
use crate::model::ledger::{Inventory, Ledger, Overrides, Trust};
use crate::model::selection::Identity;
use crate::model::{HostFacts, Kind, Manifest, ResourceId};
use crate::observe::Observed;
use crate::resource::Found;

/// The kind of the document.
const KIND: &str = "HostExport";

/// The version of the document.
const API_VERSION: &str = "reconcile/v1";

/// The longest export that is read: manifests of ten thousand releases.
pub const EXPORT_BYTES_MAX: u64 = 256 << 20;

/// What a host has.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct HostExport {
    api_version: String,
    kind: String,
    exported_at: Timestamp,
    identity: Identity,
    facts: HostFacts,
    trust: Trust,
    inventory: Inventory,
    overrides: Overrides,
    resources: BTreeMap<ResourceId, serde_json::Value>,
    manifests: BTreeMap<ResourceId, Manifests>,
}

/// The manifests of one resource.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default)]
struct Manifests {
    /// Of an app, by release directory.
    releases: BTreeMap<String, Manifest>,
    /// Of an extension, for each transfer, those switched off last, by version.
    images: Vec<BTreeMap<String, ImageManifest>>,
}

/// Why an export cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ExportError {
    /// Not one.
    #[error("it is not what `reconcile status --export` of this version prints; export again")]
    Other,
    /// Not JSON, or something missing.
    #[error("it cannot be read; export again")]
    Json(#[from] serde_json::Error),
}

impl HostExport {
    /// What was found on this host.
    pub fn of(
        identity: Identity,
        observed: &Observed,
        ledger: &Ledger,
        now: Timestamp,
    ) -> Result<Self, ExportError> {
        let mut resources = BTreeMap::new();
        let mut manifests = BTreeMap::new();
        for (id, found) in &observed.resources {
            // What could not be looked at is as unknown there as here.
            let Ok(found) = found else { continue };
            resources.insert(id.clone(), serde_json::to_value(found)?);
            manifests.insert(id.clone(), Manifests::of(found));
        }
        Ok(Self {
            api_version: API_VERSION.to_owned(),
            kind: KIND.to_owned(),
            exported_at: now,
            identity,
            facts: observed.facts.clone(),
            trust: ledger.trust.clone(),
            inventory: ledger.inventory.clone(),
            overrides: ledger.overrides.clone(),
            resources,
            manifests,
        })
    }

    /// Reads one.
    pub fn parse(bytes: &[u8]) -> Result<Self, ExportError> {
        let export: Self = serde_json::from_slice(bytes)?;
        if export.api_version != API_VERSION || export.kind != KIND {
            return Err(ExportError::Other);
        }
        Ok(export)
    }

    /// What the host is chosen by.
    pub fn identity(&self) -> &Identity {
        &self.identity
    }

    /// What the host remembers.
    pub fn ledger(&self) -> Ledger {
        Ledger {
            trust: self.trust.clone(),
            inventory: self.inventory.clone(),
            overrides: self.overrides.clone(),
            ..Ledger::default()
        }
    }

    /// Lays what the host has over what was found on an empty one.
    pub fn lay_over(&self, observed: &mut Observed) -> Result<(), ExportError> {
        observed.facts = self.facts.clone();
        for (id, value) in &self.resources {
            let mut found = match id.kind {
                Kind::App => Found::App(serde_json::from_value(value.clone())?),
                Kind::Extension => Found::Extension(serde_json::from_value(value.clone())?),
                Kind::Tree => Found::Tree(serde_json::from_value(value.clone())?),
            };
            if let Some(manifests) = self.manifests.get(id) {
                manifests.put_into(&mut found);
            }
            observed.resources.insert(id.clone(), Ok(found));
        }
        Ok(())
    }
}

impl Manifests {
    fn of(found: &Found) -> Self {
        let mut manifests = Self::default();
        match found {
            Found::App(found) => {
                let slots = found.slots.iter().filter_map(|(name, slot)| {
                    Some((name.clone(), slot.manifest.as_deref()?.clone()))
                });
                manifests.releases.extend(slots);
            }
            Found::Extension(found) => {
                let all = found.transfers.iter().chain(&found.retired);
                manifests.images.extend(all.map(|transfer| {
                    let images = transfer.images.iter().filter_map(|(version, image)| {
                        Some((version.clone(), image.manifest.as_deref()?.clone()))
                    });
                    images.collect()
                }));
            }
            Found::Tree(_) => {}
        }
        manifests
    }

    fn put_into(&self, found: &mut Found) {
        match found {
            Found::App(found) => {
                for (name, slot) in &mut found.slots {
                    slot.manifest = self.releases.get(name).cloned().map(Box::new);
                }
            }
            Found::Extension(found) => {
                let all = found.transfers.iter_mut().chain(&mut found.retired);
                for (transfer, manifests) in all.zip(&self.images) {
                    for (version, image) in &mut transfer.images {
                        image.manifest = manifests.get(version).cloned().map(Box::new);
                    }
                }
            }
            Found::Tree(_) => {}
        }
    }
}
