//! Images that are found by their manifests: what is there of an extension that is not wished any more.

use std::collections::BTreeMap;
use std::io;

use camino::{Utf8Path, Utf8PathBuf};

use crate::host::{Item, ItemKind, Look};
use crate::model::ResourceId;
use crate::model::extension::ImageManifest;
use crate::resource::extension::layout::{hidden, image_of, searched};
use crate::resource::extension::observe::{
    DIRECTORIES_MAX, ImageSeen, LinkSeen, TransferObserved, below, differs, link_at, read_manifest,
};
use crate::resource::extension::spec::join;
use crate::resource::observe::Depth;

/// Images whose manifest names this resource: those of its directories, or of its home where it has none.
pub(super) fn ours(
    (host, id): (&Look, &ResourceId),
    (home, directories): (&Utf8Path, &[Utf8PathBuf]),
    depth: Depth,
) -> io::Result<Vec<TransferObserved>> {
    let mut found = Vec::new();
    for directory in directories {
        in_directory((host, id), directory, depth, &mut found)?;
    }
    if directories.is_empty() {
        // The home of what the host's own definitions wish is no directory: its images are beside it.
        let home = match home.parent() {
            Some(parent) if host.stat(home)?.is_none() => parent,
            _ => home,
        };
        in_directory((host, id), home, depth, &mut found)?;
    }
    Ok(found)
}

fn in_directory(
    (host, id): (&Look, &ResourceId),
    directory: &Utf8Path,
    depth: Depth,
    found: &mut Vec<TransferObserved>,
) -> io::Result<()> {
    let before = found.len();
    for (place, items) in places(host, directory)? {
        for item in &items {
            let Some(file) = image_of(&item.name).map(|file| below(&place, file)) else { continue };
            let manifest = read_manifest(host, directory, &file)?;
            let Some(manifest) = manifest.filter(|m| &m.head.resource == id) else { continue };
            let place = directory.join(&file);
            let aside = hidden(directory, &file);
            let hidden = host.stat(&place)?.is_none() && host.stat(&aside)?.is_some();
            let drift = differs(host, if hidden { &aside } else { &place }, &manifest, depth)?;
            let link = link_of(host, &manifest, &place)?;
            let version = manifest.head.version.to_string();
            let image = ImageSeen { file, hidden, manifest: Some(manifest), drift };
            let transfers = found.iter_mut().skip(before);
            // Several transfers may have no link, and then each has an image of this version.
            let mut of_link = transfers.filter(|seen| seen.link == link);
            match of_link.find(|seen| !seen.images.contains_key(&version)) {
                Some(seen) => {
                    seen.images.insert(version, image);
                }
                None => found.push(TransferObserved {
                    directory: directory.to_owned(),
                    there: link
                        .as_deref()
                        .map_or(Ok(LinkSeen::Nothing), |link| link_at(host, link))?,
                    link,
                    images: BTreeMap::from([(version, image)]),
                    ..TransferObserved::default()
                }),
            }
        }
    }
    Ok(())
}

/// The link that leads to an image: the one that it was made for, unless the wish named another directory for it since.
fn link_of(
    host: &Look,
    manifest: &ImageManifest,
    image: &Utf8Path,
) -> io::Result<Option<Utf8PathBuf>> {
    let Some(made_for) = &manifest.head.link else { return Ok(None) };
    let places = searched(manifest.class, None).map(Utf8Path::new);
    let elsewhere = made_for.file_name().map(|name| places.map(move |place| place.join(name)));
    for link in std::iter::once(made_for.clone()).chain(elsewhere.into_iter().flatten()) {
        let there = link_at(host, &link)?;
        let leads_to = there.text().zip(link.parent()).map(|(text, from)| join(from, text));
        if leads_to.as_deref() == Some(image) {
            return Ok(Some(link));
        }
    }
    Ok(Some(made_for.clone()))
}

/// A directory and those below it that may hold images: not those that are images themselves.
fn places(host: &Look, home: &Utf8Path) -> io::Result<Vec<(String, Vec<Item>)>> {
    let mut found = Vec::new();
    let mut pending = vec![String::new()];
    while let Some(place) = pending.pop().filter(|_| found.len() < DIRECTORIES_MAX) {
        let items = host.list(home.join(&place))?.unwrap_or_default();
        let is_image = |name: &str| items.iter().any(|item| image_of(&item.name) == Some(name));
        let directories = items.iter().filter(|item| item.kind == ItemKind::Dir);
        let deeper =
            directories.filter(|item| !item.name.starts_with('.') && !is_image(&item.name));
        pending.extend(deeper.map(|item| below(&place, &item.name)));
        found.push((place, items));
    }
    Ok(found)
}
