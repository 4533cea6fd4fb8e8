//! What the operator wrote, completed by facts of the host.
//!
//! Patterns may have specifiers, which stand for facts of the host; an extension may be there for features of the
//! host's own definitions only.

use crate::desired::{DesiredState, Unclear};
use crate::format::sysupdate::pattern::Pattern;
use crate::format::sysupdate::specifier::Specifiers;
use crate::host::Look;
use crate::model::Digest;
use crate::provider::Texts;
use crate::provider::specifiers::specifiers;
use crate::resource::Spec;
use crate::resource::extension::ExtensionSpec;
use crate::resource::extension::spec::FeatureWish;

/// Expands the patterns of extensions and drops those whose features are off.
pub(super) fn complete(host: &Look, desired: &mut DesiredState) {
    let extensions = || desired.resources.values().filter_map(|d| extension(&d.spec));
    let has_specifiers = extensions().any(|spec| {
        spec.transfers.iter().flat_map(|t| &t.source).any(|p| p.as_str().contains('%'))
    });
    let has_features = extensions().any(|spec| spec.features != FeatureWish::default());
    if has_specifiers {
        expand(&specifiers(host), desired);
    }
    if has_features {
        drop_what_is_off(host, desired);
    }
}

fn extension(spec: &Spec) -> Option<&ExtensionSpec> {
    match spec {
        Spec::Extension(spec) => Some(spec),
        Spec::App(_) | Spec::Tree(_) => None,
    }
}

fn expand(specifiers: &Specifiers, desired: &mut DesiredState) {
    let mut notes = Vec::new();
    for (id, declared) in &mut desired.resources {
        let Spec::Extension(spec) = &mut declared.spec else { continue };
        for pattern in spec.transfers.iter_mut().flat_map(|transfer| &mut transfer.source) {
            let expanded = specifiers.expand(pattern.as_str()).map_err(|e| e.to_string());
            match expanded.and_then(|text| Pattern::parse(&text).map_err(|e| e.to_string())) {
                Ok(expanded) => *pattern = expanded,
                // It stays as it is written and fits no name: nothing is installed, and nothing goes.
                Err(why) => notes.push(format!("{id}: the pattern {}: {why}", pattern.as_str())),
            }
        }
    }
    desired.notes.append(&mut notes);
}

fn drop_what_is_off(host: &Look, desired: &mut DesiredState) {
    let mut notes = Vec::new();
    let texts = Texts::read(host);
    let components = texts.components(&mut notes);
    desired.definitions = Some(texts.digest());
    let on = || components.iter().filter(|component| component.enabled);
    let features = || on().flat_map(|component| &component.features);
    let is_on = |name: &str| features().any(|feature| feature.id == name && feature.enabled);
    let is_known = |name: &String| features().any(|feature| feature.id == *name);
    let broken = components.iter().flat_map(|component| &component.broken).next();
    let mut unclear = Vec::new();
    desired.resources.retain(|id, declared| {
        let Spec::Extension(spec) = &mut declared.spec else { return true };
        if spec.features.holds(is_on) {
            return true;
        }
        if let Some(why) = broken {
            let (resource, root) = (Some(id.clone()), declared.root.clone());
            unclear.push(Unclear { resource, root, why: why.clone() });
            return false;
        }
        notes.push(format!("{id} is off: its features are not enabled"));
        // What it brought goes because somebody switched it off; where no definition says so, it is a removal
        // like any other.
        let named = spec.features.any.iter().chain(&spec.features.all).any(is_known);
        if named {
            spec.retired.append(&mut spec.transfers);
        }
        named
    });
    let states: Vec<(&str, bool)> = features().map(|f| (f.id.as_str(), f.enabled)).collect();
    desired.digest = Digest::of_json(&(&desired.digest, states));
    desired.unclear.append(&mut unclear);
    desired.notes.append(&mut notes);
}
