//! Definitions found and read below the root.

use std::borrow::Cow;
use std::io;

use camino::{Utf8Path, Utf8PathBuf};

use crate::format::sysupdate::definition::{
    Component as Described, DefinitionText, Feature, Transfer, component as read_component,
    feature, transfer,
};
use crate::format::sysupdate::ini::{FILE_BYTES_MAX, Warning};
use crate::format::sysupdate::search::{
    BASES, Folder, Found, Listed, ListedKind, components as find_components, definitions,
    folder_name,
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
    let mut reader = Reader::new(host);
    let bases: Vec<Folder> = BASES.iter().map(|base| reader.folder(base, 2)).collect();
    let specifiers = specifiers(host);
    let described = find_components(&bases).components.into_iter().filter_map(|component| {
        let texts = reader.texts(&component.metadata);
        Some(read_component(&component.name, &texts, &specifiers).ok()?.0)
    });
    described.collect()
}

/// Every component, the host first, those that are off included.
pub fn components(host: &Look, notes: &mut Vec<String>) -> Vec<Component> {
    Texts::read(host).components(notes)
}

/// Transfers and features of one directory alone, as `--definitions=` of systemd-sysupdate reads them. The directory is on
/// this machine. One that systemd itself looks into is read as it is there: files of the same name in the others of its
/// kind, and drop-ins in any of them, count.
pub fn definitions_in(directory: &Utf8Path, host: &Look, notes: &mut Vec<String>) -> Component {
    let machine = Look::new("/".into(), Places::default());
    let mut reader = Reader::new(&machine);
    let bases: Vec<Utf8PathBuf> =
        BASES.iter().filter_map(|base| host.real(base).canonicalize_utf8().ok()).collect();
    let name = directory.file_name().filter(|name| name.starts_with("sysupdate."));
    let of_systemd = bases.iter().any(|base| directory.parent() == Some(base));
    let alike: Vec<Utf8PathBuf> = match name.filter(|_| of_systemd) {
        Some(name) => bases.iter().map(|base| base.join(name)).collect(),
        None => vec![directory.to_owned()],
    };
    let folders: Vec<Folder> = alike.iter().map(|place| reader.folder(place.as_str(), 1)).collect();
    let mut texts = ComponentTexts::read(&mut reader, &folders, None);
    let named = folders.iter().find(|folder| folder.path == directory.as_str());
    let named = named.map_or(&[][..], |folder| folder.listed.as_slice());
    texts.transfers.retain(|(id, ..)| named.iter().any(|file| is_of(&file.name, id)));
    let unread = reader.unread.into_iter().map(|unread| unread.why).collect();
    ComponentTexts { unread, ..texts }.component(&specifiers(host), notes)
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
    /// What is there and could not be read.
    unread: Vec<String>,
}

/// A definition: its name, its main file and its drop-ins.
type Text = (String, DefinitionText, Vec<DefinitionText>);

impl Texts {
    /// Reads all there are.
    pub fn read(host: &Look) -> Self {
        let mut reader = Reader::new(host);
        let bases: Vec<Folder> = BASES.iter().map(|base| reader.folder(base, 2)).collect();
        let folders = |name: Option<&str>| -> Vec<Folder> {
            let directory = folder_name(name);
            let of = |base: &Folder| {
                let listed = base.listed.iter().find(|listed| listed.name == directory)?;
                let ListedKind::Directory(listed) = &listed.kind else { return None };
                Some(Folder { path: format!("{}/{directory}", base.path), listed: listed.clone() })
            };
            bases.iter().filter_map(of).collect()
        };
        let mut components = vec![ComponentTexts::read(&mut reader, &folders(None), None)];
        for found in find_components(&bases).components {
            let folders = folders(Some(&found.name));
            let metadata = reader.texts(&found.metadata);
            let read = ComponentTexts::read(&mut reader, &folders, Some(found.name));
            components.push(ComponentTexts { metadata, ..read });
        }
        for component in &mut components {
            let name = component.name.as_deref();
            let its = reader.unread.iter().filter(|unread| unread.concerns(name));
            component.unread = its.map(|unread| unread.why.clone()).collect();
        }
        Self { components, specifiers: specifiers(host) }
    }

    /// Another one whenever anything that they say may have changed.
    pub fn digest(&self) -> Digest {
        let mut all: Vec<Cow<'_, str>> = Vec::new();
        for component in &self.components {
            all.push(component.name.as_deref().unwrap_or_default().into());
            all.extend(component.unread.iter().map(|why| why.as_str().into()));
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
                Ok((Described { unclear: Some(why), .. }, _)) => {
                    components.push(texts.broken(said(&why), notes));
                }
                Ok((read, _)) => {
                    if !read.enabled {
                        notes.push(format!("the component {name} is off"));
                    }
                    let component = texts.component(&self.specifiers, notes);
                    components.push(Component { enabled: read.enabled, ..component });
                }
                Err(error) => components.push(texts.broken(chain(&error), notes)),
            }
        }
        components
    }
}

impl ComponentTexts {
    fn read(reader: &mut Reader<'_>, folders: &[Folder], name: Option<String>) -> Self {
        let found = definitions(folders);
        let mut texts = |found: &[Found]| -> Vec<Text> {
            let text = |found: &Found| {
                let drop_ins = reader.texts(&found.drop_ins);
                Some((found.id.clone(), reader.text(&found.main)?, drop_ins))
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
            unread: Vec::new(),
        }
    }

    /// A component of which it cannot even be told whether it is on.
    fn broken(&self, why: String, notes: &mut Vec<String>) -> Component {
        notes.push(why.clone());
        Component { broken: vec![why], ..Component::named(self.name.clone()) }
    }

    fn component(&self, specifiers: &Specifiers, notes: &mut Vec<String>) -> Component {
        notes.extend(self.warning.clone());
        let mut component = Component::named(self.name.clone());
        component.broken.extend(self.unread.iter().cloned());
        for (id, main, drop_ins) in &self.features {
            match feature(id, main, drop_ins, specifiers) {
                Ok((feature, warnings)) => {
                    let unclear = feature.unclear.as_ref();
                    component.broken.extend(unclear.map(said));
                    notes.extend(warnings.iter().filter(|w| Some(*w) != unclear).map(said));
                    component.features.push(feature);
                }
                Err(error) => component.broken.push(chain(&error)),
            }
        }
        for (id, main, drop_ins) in &self.transfers {
            match transfer(id, main, drop_ins, specifiers) {
                Ok((transfer, warnings)) => {
                    component.transfers.push(transfer);
                    notes.extend(warnings.iter().map(said));
                }
                Err(error) => component.broken.push(chain(&error)),
            }
        }
        notes.extend(component.broken.iter().cloned());
        component
    }
}

/// Whether a file has the name of a transfer.
fn is_of(file: &str, id: &str) -> bool {
    file.strip_prefix(id).is_some_and(|end| matches!(end, ".transfer" | ".conf"))
}

fn said(warning: &Warning) -> String {
    format!("{}: {}", warning.place, warning.message)
}

/// Something that is there and could not be read: what it says is not known, which is not the same as saying nothing.
#[derive(Debug)]
struct Unread {
    path: String,
    why: String,
}

impl Unread {
    /// Whether it is one of the files of a component, or may hold them.
    fn concerns(&self, component: Option<&str>) -> bool {
        let Some(below) = BASES.iter().find_map(|base| self.path.strip_prefix(base)) else {
            return true;
        };
        let entry = below.split('/').nth(1).unwrap_or_default();
        let metadata = component.is_some_and(|name| {
            let file = format!("sysupdate.{name}.component");
            entry.strip_prefix(&file).is_some_and(|rest| matches!(rest, "" | ".d"))
        });
        entry.is_empty() || metadata || entry == folder_name(component)
    }
}

/// Reads definitions, and remembers what of them could not be read.
struct Reader<'h> {
    host: &'h Look,
    unread: Vec<Unread>,
}

impl<'h> Reader<'h> {
    fn new(host: &'h Look) -> Self {
        Self { host, unread: Vec::new() }
    }

    fn unread(&mut self, path: &str, why: impl std::fmt::Display) {
        let why = format!("the definitions of this host cannot be told: {path}: {why}");
        self.unread.push(Unread { path: path.to_owned(), why });
    }

    fn texts(&mut self, paths: &[String]) -> Vec<DefinitionText> {
        paths.iter().filter_map(|path| self.text(path)).collect()
    }

    fn text(&mut self, path: &str) -> Option<DefinitionText> {
        match self.host.read(path, FILE_BYTES_MAX as u64) {
            Ok(Some(bytes)) => return Some(DefinitionText { path: path.to_owned(), bytes }),
            Ok(None) => self.unread(path, "it is listed and not there: a link that leads nowhere"),
            Err(error) => self.unread(path, error),
        }
        None
    }

    /// A listing with this many levels of directories below it.
    fn folder(&mut self, path: &str, levels: usize) -> Folder {
        let items = self.items(path).unwrap_or_else(|why| {
            self.unread(path, why);
            Vec::new()
        });
        let wanted = items.iter().filter(|item| levels < 2 || item.name.starts_with("sysupdate."));
        let listed = wanted.map(|item| {
            let kind = self.kind(&format!("{path}/{}", item.name), item, levels);
            Listed { name: item.name.clone(), kind }
        });
        Folder { path: path.to_owned(), listed: listed.collect() }
    }

    /// What is in a directory, or in the one that a link in its place leads to.
    fn items(&self, path: &str) -> io::Result<Vec<Item>> {
        let stat = self.host.stat(path)?;
        if stat.is_none_or(|stat| stat.kind != ItemKind::Link) {
            return Ok(self.host.list(path)?.unwrap_or_default());
        }
        let listed = self.host.list(format!("{path}/."))?;
        listed.ok_or_else(|| io::Error::new(io::ErrorKind::NotFound, "a link that leads nowhere"))
    }

    /// What is at a path. What cannot be looked at counts as a file, which will not be read either.
    fn kind(&mut self, path: &str, item: &Item, levels: usize) -> ListedKind {
        let link = match item.kind {
            ItemKind::Link => self.host.read_link(path).ok().flatten(),
            _ => None,
        };
        if link.as_deref() == Some("/dev/null") {
            return ListedKind::Mask;
        }
        if item.kind == ItemKind::Dir || (levels > 0 && is_directory_name(&item.name)) {
            return ListedKind::Directory(match levels {
                0 => Vec::new(),
                _ => self.folder(path, levels - 1).listed,
            });
        }
        let is_empty = match item.kind {
            ItemKind::File => self.host.stat(path).is_ok_and(|s| s.is_some_and(|s| s.size == 0)),
            ItemKind::Link => {
                let read = self.host.read(path, FILE_BYTES_MAX as u64);
                read.is_ok_and(|bytes| bytes.is_some_and(|bytes| bytes.is_empty()))
            }
            ItemKind::Dir | ItemKind::Other => false,
        };
        if is_empty { ListedKind::Mask } else { ListedKind::File }
    }
}

/// Whether a name is that of a directory with definitions or with drop-ins of one.
fn is_directory_name(name: &str) -> bool {
    let known = [".transfer.d", ".feature.d", ".conf.d"];
    let definitions = name.starts_with("sysupdate.") && name.ends_with(".d");
    definitions || known.iter().any(|ending| name.ends_with(ending))
}
