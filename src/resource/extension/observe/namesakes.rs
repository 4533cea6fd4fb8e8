//! Extensions of somebody else that have the name of one of ours, and what another layout left.
//!
//! systemd merges one extension of a name, whichever it finds first, and says nothing of the others.

use std::io;

use camino::{Utf8Path, Utf8PathBuf};
use serde::{Deserialize, Serialize};

use crate::format::sysext::{EntryKind, image_name};
use crate::host::{Item, ItemKind, Look, facts};
use crate::model::extension::CLASSES;
use crate::model::extension::{ImageHead, Shape};
use crate::model::{ExtensionClass, ResourceId, Version};
use crate::resource::extension::layout::searched;
use crate::resource::extension::observe::{LinkSeen, Listings, read_manifest};
use crate::resource::extension::spec::{ExtensionSpec, Transfer, join};

/// Links followed from an entry to what it leads to: as many as Linux follows.
const LINKS_MAX: usize = 40;

/// An extension of somebody else.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Namesake {
    /// Where it is.
    pub path: Utf8PathBuf,
    /// The version whose image has its name; absent where every version is found under one name.
    pub version: Option<String>,
}

/// What reconcile put where systemd finds it by the same name, when the layout or the home was another.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Former {
    /// A link, or an image that systemd picks by itself.
    pub path: Utf8PathBuf,
    /// The text of a link.
    pub text: Option<String>,
    /// For which resource.
    pub resource: ResourceId,
    /// Which release it is.
    pub version: Version,
}

impl Former {
    fn of(path: Utf8PathBuf, text: Option<String>, head: ImageHead) -> Self {
        Self { path, text, resource: head.resource, version: head.version }
    }
}

/// Looks for them wherever systemd does.
pub(super) fn find(
    (host, listings): (&Look, &Listings),
    spec: &ExtensionSpec,
    transfer: &Transfer,
    former: &mut Vec<Former>,
) -> io::Result<Vec<Namesake>> {
    let Some(class) = transfer.class else { return Ok(Vec::new()) };
    let systemd = listings.systemd(host);
    let stem = stem(transfer);
    let mut found = Vec::new();
    // Of another class there is nobody's extension in the way, but there may be what it was before its class was edited.
    for (of, place) in CLASSES.into_iter().flat_map(|of| searched(of, None).map(move |at| (of, at)))
    {
        let items = match listings.of(host, place.into()) {
            // A link: what it leads to has other names that are looked at.
            Err(error) if error.kind() == io::ErrorKind::NotADirectory => continue,
            listed => listed?,
        };
        let from = items.partition_point(|item| item.name.as_str() < stem);
        let alike = items.get(from..).unwrap_or_default().iter();
        for item in alike.take_while(|item| item.name.starts_with(stem)) {
            let path = Utf8Path::new(place).join(&item.name);
            if is_ours(spec, &path) {
                continue;
            }
            former.extend(left_by_us(host, transfer, (item, &path))?);
            if of == class {
                found.extend(namesake((host, systemd), (class, transfer), item, path)?);
            }
        }
    }
    Ok(found)
}

/// What the names of all that may be in the way begin with.
fn stem(transfer: &Transfer) -> &str {
    match own_entry(transfer) {
        Some((entry, _)) => base(entry),
        None => "",
    }
}

/// The name of an entry without what says how it is to be read.
fn base(entry: &str) -> &str {
    let entry = entry.strip_suffix(".v").unwrap_or(entry);
    entry.strip_suffix(".raw").unwrap_or(entry)
}

/// The one entry by which systemd finds it, whatever the version; none where every image is an entry.
fn own_entry(transfer: &Transfer) -> Option<(&str, EntryKind)> {
    let kind = match transfer.shape {
        Shape::Image => EntryKind::File,
        Shape::Directory => EntryKind::Directory,
    };
    match &transfer.link {
        Some(link) => Some((link.file_name()?, kind)),
        None => {
            let name = transfer.directory.file_name()?;
            name.ends_with(".v").then_some((name, EntryKind::Directory))
        }
    }
}

/// Whether an entry is one of the extension's own.
fn is_ours(spec: &ExtensionSpec, path: &Utf8Path) -> bool {
    spec.transfers.iter().chain(&spec.retired).any(|transfer| {
        let image = path.parent() == Some(&transfer.directory)
            && path.file_name().is_some_and(|name| transfer.image(name).fields.is_some());
        image || transfer.link.as_deref() == Some(path) || transfer.directory == path
    })
}

/// What an entry is that stands for the same extension and leads to images of ours, and to nothing else.
fn left_by_us(
    host: &Look,
    transfer: &Transfer,
    (item, path): (&Item, &Utf8Path),
) -> io::Result<Vec<Former>> {
    if own_entry(transfer).is_none_or(|(entry, _)| base(entry) != base(&item.name)) {
        return Ok(Vec::new());
    }
    let text = if item.kind == ItemKind::Link { host.link_in_utf8(path)? } else { None };
    if let Some(text) = text {
        return Ok(linked(host, path, text)?.into_iter().collect());
    }
    if item.kind != ItemKind::Dir || path.extension() != Some("v") {
        return Ok(Vec::new());
    }
    let images = host.list(path)?.unwrap_or_default();
    let in_sight = images.iter().filter(|image| !image.name.starts_with('.'));
    let found: io::Result<Vec<Option<Former>>> = in_sight
        .map(|image| {
            let head = read_manifest(host, path, &image.name)?.map(|manifest| manifest.head);
            Ok(head.map(|head| Former::of(path.join(&image.name), None, head)))
        })
        .collect();
    Ok(found?.into_iter().collect::<Option<Vec<Former>>>().unwrap_or_default())
}

/// What a link is that leads to an image of ours. One that somebody else made is not ours.
fn linked(host: &Look, path: &Utf8Path, text: String) -> io::Result<Option<Former>> {
    let at = join(path.parent().unwrap_or(path), &text);
    let (Some(directory), Some(file)) = (at.parent(), at.file_name()) else { return Ok(None) };
    let head = read_manifest(host, directory, file)?.map(|manifest| manifest.head);
    let head = head.filter(|head| head.link.as_deref() == Some(path));
    Ok(head.map(|head| Former::of(path.to_owned(), Some(text), head)))
}

/// What the link of a transfer is where it leads out of its directory.
pub(super) fn led_out(
    host: &Look,
    transfer: &Transfer,
    (link, there): (&Utf8Path, &LinkSeen),
) -> io::Result<Option<Former>> {
    let out = there.text().filter(|text| transfer.linked_file(text).is_none());
    out.map_or(Ok(None), |text| linked(host, link, text.to_owned()))
}

fn namesake(
    (host, systemd): (&Look, Option<u32>),
    (class, transfer): (ExtensionClass, &Transfer),
    item: &Item,
    path: Utf8PathBuf,
) -> io::Result<Option<Namesake>> {
    let (kind, at) = leads_to(host, item.kind, &path)?;
    let version = systemd.unwrap_or(facts::SYSTEMD_ASSUMED);
    let name = |entry, kind| image_name(class.into(), entry, kind, version).map(|found| found.name);
    let looked_at = searched(class, systemd).any(|place| path.parent() == Some(place.into()));
    let Some(theirs) = name(&item.name, kind).filter(|_| looked_at) else { return Ok(None) };
    if is_empty(host, &item.name, &at)? {
        return Ok(None);
    }
    let version = match own_entry(transfer) {
        Some((entry, kind)) if name(entry, kind) == Some(theirs) => None,
        Some(_) => return Ok(None),
        None => {
            let written = [item.name.clone(), theirs.to_owned(), format!("{theirs}.raw")];
            let fits = |name: &String| transfer.image(name).fields;
            let Some(fields) = written.iter().find_map(fits) else { return Ok(None) };
            Some(fields.version)
        }
    };
    // What another extension of ours has is for that one to tell.
    if let (Some(directory), Some(file)) = (at.parent(), at.file_name())
        && read_manifest(host, directory, file)?.is_some()
    {
        return Ok(None);
    }
    Ok(Some(Namesake { path, version }))
}

/// Whether an entry is a directory of versions in which nothing is in sight: systemd passes over it.
fn is_empty(host: &Look, entry: &str, at: &Utf8Path) -> io::Result<bool> {
    if !entry.ends_with(".v") {
        return Ok(false);
    }
    let versions = host.list(at)?;
    Ok(versions.is_some_and(|versions| versions.iter().all(|item| item.name.starts_with('.'))))
}

/// What an entry is and where, links followed.
fn leads_to(
    host: &Look,
    mut kind: ItemKind,
    path: &Utf8Path,
) -> io::Result<(EntryKind, Utf8PathBuf)> {
    let mut at = path.to_owned();
    for _ in 0..LINKS_MAX {
        match kind {
            ItemKind::File => return Ok((EntryKind::File, at)),
            ItemKind::Dir => return Ok((EntryKind::Directory, at)),
            ItemKind::Other => break,
            ItemKind::Link => {}
        }
        let Some(text) = host.link_in_utf8(&at)? else { break };
        at = join(at.parent().unwrap_or(&at), &text);
        let Some(stat) = host.stat(&at)? else { break };
        kind = stat.kind;
    }
    Ok((EntryKind::Other, at))
}
