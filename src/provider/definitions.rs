//! Definitions found and read below the root.

use crate::format::sysupdate::definition::{
    DefinitionText, Feature, Transfer, component as read_component, feature, transfer,
};
use crate::format::sysupdate::ini::FILE_BYTES_MAX;
use crate::format::sysupdate::search::{
    BASES, Folder, Found, Listed, ListedKind, components as find_components, definitions,
    folder_name,
};
use crate::host::{Item, ItemKind, Look};
use crate::model::outcome::chain;
use crate::provider::specifiers::specifiers;

/// The transfers and features of one component, or of the host.
#[derive(Clone, Debug)]
pub struct Component {
    /// Its name; none for the host.
    pub name: Option<String>,
    /// Its transfers, in the order of their files' names.
    pub transfers: Vec<Transfer>,
    /// Its features, likewise.
    pub features: Vec<Feature>,
    /// Why definitions of it cannot be used.
    pub broken: Vec<String>,
}

/// Every component with a transfer that can be read, the host first.
pub fn components(host: &Look, notes: &mut Vec<String>) -> Vec<Component> {
    let bases: Vec<Folder> = BASES.iter().map(|base| folder(host, base, 2)).collect();
    let found = find_components(&bases);
    let mut names: Vec<Option<String>> = vec![None];
    for component in &found.components {
        let texts: Vec<DefinitionText> =
            component.metadata.iter().filter_map(|path| text(host, path)).collect();
        match read_component(&component.name, &texts, &specifiers(host)) {
            Ok((read, _)) if !read.enabled => {
                notes.push(format!("the component {} is off", component.name));
            }
            Ok(_) => names.push(Some(component.name.clone())),
            Err(error) => notes.push(chain(&error)),
        }
    }
    names.into_iter().map(|name| read(host, name, notes)).collect()
}

fn read(host: &Look, name: Option<String>, notes: &mut Vec<String>) -> Component {
    let directory = folder_name(name.as_deref());
    let folders: Vec<Folder> =
        BASES.iter().map(|base| folder(host, &format!("{base}/{directory}"), 1)).collect();
    let found = definitions(&folders);
    notes.extend(found.warning.map(|warning| format!("{directory}: {warning}")));
    let specifiers = specifiers(host);
    let mut component =
        Component { name, transfers: Vec::new(), features: Vec::new(), broken: Vec::new() };
    for file in &found.features {
        let Some((main, drop_ins)) = texts(host, file) else { continue };
        match feature(&file.id, &main, &drop_ins, &specifiers) {
            Ok((feature, warnings)) => {
                component.features.push(feature);
                notes.extend(warnings.iter().map(|w| format!("{}: {}", w.place, w.message)));
            }
            Err(error) => component.broken.push(chain(&error)),
        }
    }
    for file in &found.transfers {
        let Some((main, drop_ins)) = texts(host, file) else { continue };
        match transfer(&file.id, &main, &drop_ins, &specifiers) {
            Ok((transfer, warnings)) => {
                component.transfers.push(transfer);
                notes.extend(warnings.iter().map(|w| format!("{}: {}", w.place, w.message)));
            }
            Err(error) => component.broken.push(chain(&error)),
        }
    }
    notes.extend(component.broken.iter().cloned());
    component
}

fn texts(host: &Look, found: &Found) -> Option<(DefinitionText, Vec<DefinitionText>)> {
    let main = text(host, &found.main)?;
    Some((main, found.drop_ins.iter().filter_map(|path| text(host, path)).collect()))
}

/// What cannot be read has vanished since it was listed.
fn text(host: &Look, path: &str) -> Option<DefinitionText> {
    let bytes = host.read(path, FILE_BYTES_MAX as u64).ok().flatten()?;
    Some(DefinitionText { path: path.to_owned(), bytes })
}

/// A listing with this many levels of directories below it.
fn folder(host: &Look, path: &str, levels: usize) -> Folder {
    let items = host.list(path).ok().flatten().unwrap_or_default();
    let wanted = items.iter().filter(|item| levels < 2 || item.name.starts_with("sysupdate."));
    let listed = wanted.filter_map(|item| {
        let kind = kind(host, &format!("{path}/{}", item.name), item, levels)?;
        Some(Listed { name: item.name.clone(), kind })
    });
    Folder { path: path.to_owned(), listed: listed.collect() }
}

fn kind(host: &Look, path: &str, item: &Item, levels: usize) -> Option<ListedKind> {
    match item.kind {
        ItemKind::Dir => Some(ListedKind::Directory(match levels {
            0 => Vec::new(),
            _ => folder(host, path, levels - 1).listed,
        })),
        ItemKind::Link if host.read_link(path).ok()?? == "/dev/null" => Some(ListedKind::Mask),
        ItemKind::File | ItemKind::Link => {
            let bytes = host.read(path, FILE_BYTES_MAX as u64).ok()??;
            Some(if bytes.is_empty() { ListedKind::Mask } else { ListedKind::File })
        }
        ItemKind::Other => None,
    }
}
