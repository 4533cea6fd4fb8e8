//! Definitions found and read below the root.

use std::borrow::Cow;

use camino::Utf8Path;

use crate::format::sysupdate::definition::{
    Component as Described, DefinitionText, Feature, Transfer, component as read_component,
    feature, transfer,
};
use crate::format::sysupdate::ini::FILE_BYTES_MAX;
use crate::format::sysupdate::search::{
    BASES, Folder, Found, FoundComponent, Listed, ListedKind, components as find_components,
    definitions, folder_name,
};
use crate::format::sysupdate::specifier::Specifiers;
use crate::host::{Item, ItemKind, Look, Places};
use crate::model::Digest;
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
    /// Whether it is carried out.
    pub enabled: bool,
}

impl Component {
    /// One without any definition.
    pub fn named(name: Option<String>) -> Self {
        Self {
            name,
            transfers: Vec::new(),
            features: Vec::new(),
            broken: Vec::new(),
            enabled: true,
        }
    }
}

/// What is said of every component that has a name, whether it is on or not.
pub fn named_components(host: &Look) -> Vec<Described> {
    let bases: Vec<Folder> = BASES.iter().map(|base| folder(host, base, 2)).collect();
    let specifiers = specifiers(host);
    let described = find_components(&bases).components.into_iter().filter_map(|component| {
        let texts = metadata(host, &component);
        Some(read_component(&component.name, &texts, &specifiers).ok()?.0)
    });
    described.collect()
}

/// Every component, the host first, those that are off included.
pub fn components(host: &Look, notes: &mut Vec<String>) -> Vec<Component> {
    Texts::read(host).components(notes)
}

/// Transfers and features of one directory alone, as `--definitions=` of systemd-sysupdate reads them. The directory is on
/// this machine.
pub fn definitions_in(directory: &Utf8Path, host: &Look, notes: &mut Vec<String>) -> Component {
    let machine = Look::new("/".into(), Places::default());
    let folders = [folder(&machine, directory.as_str(), 1)];
    ComponentTexts::read(&machine, &folders, None).component(&specifiers(host), notes)
}

/// Definitions as they are written, and the facts that they may name.
#[derive(Debug)]
pub struct Texts {
    components: Vec<ComponentTexts>,
    specifiers: Specifiers,
}

/// The files of one component.
#[derive(Debug)]
struct ComponentTexts {
    name: Option<String>,
    /// What says whether it is on.
    metadata: Vec<DefinitionText>,
    features: Vec<Text>,
    transfers: Vec<Text>,
    warning: Option<String>,
}

/// A definition: its name, its main file and its drop-ins.
type Text = (String, DefinitionText, Vec<DefinitionText>);

impl Texts {
    /// Reads all there are.
    pub fn read(host: &Look) -> Self {
        let bases: Vec<Folder> = BASES.iter().map(|base| folder(host, base, 2)).collect();
        let folders = |name: Option<&str>| -> Vec<Folder> {
            let directory = folder_name(name);
            let of = |base: &Folder| {
                let listed = base.listed.iter().find(|listed| listed.name == directory)?;
                let ListedKind::Directory(listed) = &listed.kind else { return None };
                Some(Folder { path: format!("{}/{directory}", base.path), listed: listed.clone() })
            };
            bases.iter().filter_map(of).collect()
        };
        let mut components = vec![ComponentTexts::read(host, &folders(None), None)];
        for found in find_components(&bases).components {
            let folders = folders(Some(&found.name));
            let metadata = metadata(host, &found);
            let read = ComponentTexts::read(host, &folders, Some(found.name));
            components.push(ComponentTexts { metadata, ..read });
        }
        Self { components, specifiers: specifiers(host) }
    }

    /// Another one whenever anything that they say may have changed.
    pub fn digest(&self) -> Digest {
        let mut all: Vec<Cow<'_, str>> = Vec::new();
        for component in &self.components {
            all.push(component.name.as_deref().unwrap_or_default().into());
            let definitions = component.features.iter().chain(&component.transfers);
            let files =
                definitions.flat_map(|(_, main, drop_ins)| std::iter::once(main).chain(drop_ins));
            for file in component.metadata.iter().chain(files) {
                all.push(file.path.as_str().into());
                all.push(String::from_utf8_lossy(&file.bytes));
            }
        }
        let names = |specifier: &str| all.iter().any(|text| text.contains(specifier));
        if names("%") {
            let mut facts = self.specifiers.clone();
            // Every start of the host is another one, which only matters where it is asked for.
            if !names("%b") {
                facts.boot_id.clear();
            }
            all.push(format!("{facts:?}").into());
        }
        Digest::of_json(&all)
    }

    /// Every component, the host first, those that are off included.
    pub fn components(&self, notes: &mut Vec<String>) -> Vec<Component> {
        let mut components = Vec::new();
        for texts in &self.components {
            let name = texts.name.as_deref().unwrap_or_default();
            match read_component(name, &texts.metadata, &self.specifiers) {
                Ok((read, _)) => {
                    if !read.enabled {
                        notes.push(format!("the component {name} is off"));
                    }
                    let component = texts.component(&self.specifiers, notes);
                    components.push(Component { enabled: read.enabled, ..component });
                }
                Err(error) => notes.push(chain(&error)),
            }
        }
        components
    }
}

impl ComponentTexts {
    fn read(host: &Look, folders: &[Folder], name: Option<String>) -> Self {
        let found = definitions(folders);
        let texts = |found: &[Found]| -> Vec<Text> {
            let text = |found: &Found| {
                let drop_ins = found.drop_ins.iter().filter_map(|path| text(host, path)).collect();
                Some((found.id.clone(), text(host, &found.main)?, drop_ins))
            };
            found.iter().filter_map(text).collect()
        };
        let directory = folder_name(name.as_deref());
        Self {
            name,
            metadata: Vec::new(),
            features: texts(&found.features),
            transfers: texts(&found.transfers),
            warning: found.warning.map(|warning| format!("{directory}: {warning}")),
        }
    }

    fn component(&self, specifiers: &Specifiers, notes: &mut Vec<String>) -> Component {
        notes.extend(self.warning.clone());
        let mut component = Component::named(self.name.clone());
        for (id, main, drop_ins) in &self.features {
            match feature(id, main, drop_ins, specifiers) {
                Ok((feature, warnings)) => {
                    component.features.push(feature);
                    notes.extend(warnings.iter().map(|w| format!("{}: {}", w.place, w.message)));
                }
                Err(error) => component.broken.push(chain(&error)),
            }
        }
        for (id, main, drop_ins) in &self.transfers {
            match transfer(id, main, drop_ins, specifiers) {
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
}

fn metadata(host: &Look, component: &FoundComponent) -> Vec<DefinitionText> {
    component.metadata.iter().filter_map(|path| text(host, path)).collect()
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
        ItemKind::File => match host.stat(path).ok()??.size {
            0 => Some(ListedKind::Mask),
            _ => Some(ListedKind::File),
        },
        ItemKind::Link => {
            let bytes = host.read(path, FILE_BYTES_MAX as u64).ok()??;
            Some(if bytes.is_empty() { ListedKind::Mask } else { ListedKind::File })
        }
        ItemKind::Other => None,
    }
}
