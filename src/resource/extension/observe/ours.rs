//! Images that are found by their manifests: what is there of an extension that is not wished any more.

use std::collections::BTreeMap;
use std::io;

use camino::{Utf8Path, Utf8PathBuf};

use crate::host::{Item, ItemKind, Look};
use crate::model::ResourceId;
use crate::resource::app::observe::Depth;
use crate::resource::extension::layout::image_of;
use crate::resource::extension::observe::{
    DIRECTORIES_MAX, ImageSeen, TransferObserved, below, differs, link_at, read_manifest,
};

/// Images below `home` whose manifest names this resource, by the link that leads to them.
pub(super) fn ours(
    host: &Look,
    id: &ResourceId,
    home: &Utf8Path,
    depth: Depth,
) -> io::Result<Vec<TransferObserved>> {
    let mut by_link: BTreeMap<Option<Utf8PathBuf>, TransferObserved> = BTreeMap::new();
    // The home of what the host's own definitions wish is no directory: its images are beside it.
    let home = match home.parent() {
        Some(parent) if host.stat(home)?.is_none() => parent,
        _ => home,
    };
    for (place, items) in places(host, home)? {
        for item in &items {
            let Some(file) = image_of(&item.name).map(|file| below(&place, file)) else { continue };
            let manifest = read_manifest(host, home, &file)?;
            let Some(manifest) = manifest.filter(|m| &m.head.resource == id) else { continue };
            let drift = differs(host, &home.join(&file), &manifest, depth)?;
            let link = manifest.head.link.clone();
            let version = manifest.head.version.to_string();
            let transfer = by_link.entry(link.clone()).or_default();
            transfer.directory = home.to_owned();
            transfer.link = link;
            let image = ImageSeen { file, manifest: Some(manifest), drift };
            transfer.images.insert(version, image);
        }
    }
    for transfer in by_link.values_mut() {
        if let Some(link) = &transfer.link {
            transfer.there = link_at(host, link)?;
        }
    }
    Ok(by_link.into_values().collect())
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
