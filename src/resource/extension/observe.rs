//! What the host has of an extension.

mod differs;
mod enlisted;
mod mounted;
mod namesakes;
mod ours;
mod places;
mod sealed;
mod seen;

use std::io;

use camino::{Utf8Path, Utf8PathBuf};

use crate::format::os_release::{OsRelease, RELEASE_BYTES_MAX};
use crate::format::sysext::{Wanted, pick};
use crate::format::sysupdate::order::compare;
use crate::host::{Item, ItemKind, Look, facts};
use crate::model::extension::{IMAGE_MANIFEST_FORMAT, ImageManifest, Shape};
use crate::model::{ExtensionClass, ResourceId};
use crate::resource::extension::layout::{
    STAGING_PREFIX, beside, hidden, hidden_image, image_of, manifest,
};
use crate::resource::extension::order::Order;
use crate::resource::extension::plan::names;
use crate::resource::extension::spec::{ExtensionSpec, Transfer, Upkeep};
use crate::resource::observe::Depth;
use crate::trust::openpgp::{KEYRING_BYTES_MAX, systemd_keyring_paths};
use differs::differs;
use enlisted::is_enlisted;
pub use namesakes::{Former, Namesake};
use ours::ours;
pub use places::Listings;
use sealed::sealed;
pub use sealed::{Sealed, elsewhere};
pub use seen::{ExtensionObserved, ImageSeen, Keyrings, LinkSeen, Pending, TransferObserved};

/// The manifest of an image has a few hundred bytes, that of a directory of 200,000 entries 40 MiB.
const MANIFEST_BYTES_MAX: u64 = 64 << 20;

/// systemd's list of merged names: a thousand names take less.
const MARKER_BYTES_MAX: u64 = 1 << 20;

/// Most directories that are looked into for images of one transfer: one for each version, and some more.
const DIRECTORIES_MAX: usize = 4096;

/// What systemd-sysupdate 262 puts before the names of what is not whole.
pub const SYSUPDATE_PARTIAL: &str = ".sysupdate.partial.";

/// What it puts before the names of what is whole and not in its place yet.
pub const SYSUPDATE_PENDING: &str = ".sysupdate.pending.";

/// Looks at an extension that is not wished any more: at what our manifests in its home or its directories say.
pub fn observe_ours(
    (host, id): (&Look, &ResourceId),
    places: (&Utf8Path, &[Utf8PathBuf]),
    depth: Depth,
) -> io::Result<ExtensionObserved> {
    let transfers = ours((host, id), places, depth)?;
    let mut linked = transfers.iter().filter_map(TransferObserved::linked_image);
    let current = linked.next().map(|(version, _)| version.to_owned());
    let sealed = sealed(host, &transfers)?;
    Ok(ExtensionObserved { transfers, sealed, current, ..ExtensionObserved::default() })
}

/// Looks at an extension.
pub fn observe(
    (host, listings): (&Look, &Listings),
    spec: &ExtensionSpec,
    depth: Depth,
) -> io::Result<ExtensionObserved> {
    let mut observed = ExtensionObserved::default();
    let (within, how) = ((host, listings), (depth, spec.upkeep));
    for transfer in &spec.transfers {
        let mut seen = look(within, transfer, how, &mut observed.leftovers)?;
        seen.namesakes = namesakes::find(within, spec, transfer, &mut seen.former)?;
        let follows = spec.follows.as_ref();
        seen.enlisted = follows.is_some_and(|followed| is_enlisted(host, followed, transfer));
        observed.transfers.push(seen);
    }
    for transfer in &spec.retired {
        let seen = look(within, transfer, how, &mut observed.leftovers)?;
        observed.retired.push(seen);
    }
    observed.leftovers.sort();
    observed.leftovers.dedup();
    observed.sealed = sealed(host, &observed.transfers)?;
    observed.sealed.extend(sealed(host, &observed.retired)?);
    for class in spec.classes() {
        observed.merged.insert(class, merged(host, class)?);
    }
    if observed.transfers.iter().any(|seen| seen.images.len() > 1) {
        observed.mounted = mounted::mounted(host)?;
    }
    observed.current = current(spec, &observed.transfers);
    observed.pending = pending(host, spec, &observed)?;
    observed.os = listings.host_in_words(host);
    observed.systemd = listings.systemd(host);
    if spec.verify.keyring.is_none() {
        observed.keyrings = keyrings(host)?;
    }
    Ok(observed)
}

/// The version that all links lead to; without links, what systemd picks, or the newest image that is not hidden.
fn current(spec: &ExtensionSpec, transfers: &[TransferObserved]) -> Option<String> {
    let mut linked = spec.transfers.iter().zip(transfers).filter(|(t, _)| t.link.is_some());
    let version = |(transfer, seen): (&Transfer, &TransferObserved)| {
        let file = transfer.linked_file(seen.there.text()?)?;
        transfer.image(&file).fields.map(|fields| fields.version)
    };
    if let Some(first) = linked.next() {
        // A link that leads nowhere brings nothing into use.
        let there = |version: &String| transfers.iter().any(|t| t.images.contains_key(version));
        let first = version(first).filter(there)?;
        return linked.all(|other| version(other).as_ref() == Some(&first)).then_some(first);
    }
    let pairs = || spec.transfers.iter().zip(transfers);
    let versions = || pairs().flat_map(|(transfer, seen)| in_sight(transfer, seen));
    let wish = spec.transfers.first().map_or(spec.order, |first| first.order_in_use(spec.order));
    let order = Order::of(wish, versions().map(String::as_str));
    versions().max_by(|a, b| order.compare(a, b)).cloned()
}

/// The versions of which systemd may use the image: of a directory of versions it picks one, which need not be the newest.
fn in_sight<'s>(
    transfer: &Transfer,
    seen: &'s TransferObserved,
) -> impl Iterator<Item = &'s String> {
    let images = || seen.images.iter().filter(|(_, image)| !image.hidden);
    let directory = transfer.directory.file_name().filter(|_| transfer.is_picked());
    let picks = directory.and_then(|name| name.strip_suffix(".v")).map(|name| {
        let (name, suffix) = match transfer.shape {
            Shape::Image => (name.strip_suffix(".raw").unwrap_or(name), ".raw"),
            Shape::Directory => (name, ""),
        };
        let wanted = Wanted { name, suffix, architecture: facts::arch().in_systemd() };
        pick(images().map(|(_, image)| image.file.as_str()), wanted, compare)
    });
    images()
        .filter(move |(_, image)| {
            picks
                .as_ref()
                .is_none_or(|picked| picked.as_ref().is_some_and(|p| p.entry == image.file))
        })
        .map(|(version, _)| version)
}

fn look(
    (host, listings): (&Look, &Listings),
    transfer: &Transfer,
    (depth, upkeep): (Depth, Upkeep),
    leftovers: &mut Vec<Utf8PathBuf>,
) -> io::Result<TransferObserved> {
    let directory = &transfer.directory;
    let mut seen = TransferObserved {
        directory: directory.clone(),
        link: transfer.link.clone(),
        ..TransferObserved::default()
    };
    let mut pending = vec![String::new()];
    let mut looked_at = 0;
    while let Some(place) = pending.pop().filter(|_| looked_at < DIRECTORIES_MAX) {
        looked_at += 1;
        let items = listings.of(host, directory.join(&place))?;
        for item in items.iter() {
            let file = below(&place, hidden_image(&item.name).unwrap_or(&item.name));
            let found = transfer.image(&file);
            let hidden = hidden_image(&item.name).is_some();
            if found.fields.is_some() && !hidden && !is_of(transfer, item.kind) {
                seen.in_the_way.insert(file.clone(), item.kind.name().into());
            }
            if let Some(fields) = found.fields.filter(|_| is_of(transfer, item.kind)) {
                let image = image(host, directory, (&file, hidden), depth)?;
                if image.is_of_version(&fields.version) {
                    leftovers.extend(seen.enter(fields.version, image));
                }
            } else if found.descend && item.kind == ItemKind::Dir {
                pending.push(file);
            }
            leftovers.extend(leftover(transfer, (&place, item), (&items, upkeep)));
        }
    }
    if transfer.entry.is_some() {
        // Only what was installed knows the link that leads to it.
        let mut heads = seen.images.values().filter_map(|image| image.manifest.as_ref());
        seen.link = heads.find_map(|manifest| manifest.head.link.clone());
    }
    if let Some(link) = &seen.link {
        seen.there = link_at(host, link)?;
        seen.former.extend(namesakes::led_out(host, transfer, (link, &seen.there))?);
        let beside = beside(link);
        if host.stat(&beside)?.is_some() {
            leftovers.push(beside);
        }
    }
    Ok(seen)
}

/// Whether what is there of this type can be an image. What no definition owns any more may be either.
fn is_of(transfer: &Transfer, kind: ItemKind) -> bool {
    let either = transfer.entry.is_some();
    match kind {
        ItemKind::File => either || transfer.shape == Shape::Image,
        ItemKind::Dir => either || transfer.shape == Shape::Directory,
        ItemKind::Link | ItemKind::Other => false,
    }
}

/// What a pass that was cut off left: staged files of this transfer, and manifests without an image. Tidying takes
/// what systemd-sysupdate left half-done as well.
fn leftover(
    transfer: &Transfer,
    (place, item): (&str, &Item),
    (all, upkeep): (&[Item], Upkeep),
) -> Option<Utf8PathBuf> {
    let ours = |file: &str| transfer.image(&below(place, file)).fields.is_some();
    let staged = item.name.strip_prefix(STAGING_PREFIX);
    let staged = staged.map(|name| name.strip_suffix(".reconcile.json").unwrap_or(name));
    let is_there = |file: &str| all.binary_search_by(|other| other.name.as_str().cmp(file)).is_ok();
    let hidden = |file: &str| hidden("".into(), file).into_string();
    let orphan = image_of(&item.name).filter(|file| !is_there(file) && !is_there(&hidden(file)));
    let tidy = upkeep == Upkeep::Tidy && transfer.remove_temporary;
    let mut foreign = [SYSUPDATE_PARTIAL, SYSUPDATE_PENDING].into_iter().filter(|_| tidy);
    let foreign = foreign.find_map(|prefix| item.name.strip_prefix(prefix));
    let left = staged.or(orphan).or(foreign).is_some_and(ours);
    left.then(|| transfer.directory.join(below(place, &item.name)))
}

/// A path below a directory; `place` is empty at the top.
fn below(place: &str, name: &str) -> String {
    if place.is_empty() { name.to_owned() } else { format!("{place}/{name}") }
}

fn image(
    host: &Look,
    directory: &Utf8Path,
    (file, is_hidden): (&str, bool),
    depth: Depth,
) -> io::Result<ImageSeen> {
    let manifest = read_manifest(host, directory, file)?;
    let path = if is_hidden { hidden(directory, file) } else { directory.join(file) };
    let drift = match &manifest {
        Some(manifest) => differs(host, &path, manifest, depth)?,
        None => Vec::new(),
    };
    Ok(ImageSeen { file: file.to_owned(), hidden: is_hidden, manifest, drift })
}

fn read_manifest(
    host: &Look,
    directory: &Utf8Path,
    file: &str,
) -> io::Result<Option<Box<ImageManifest>>> {
    let bytes = match host.read(manifest(directory, file), MANIFEST_BYTES_MAX) {
        Err(error)
            if matches!(
                error.kind(),
                io::ErrorKind::InvalidInput | io::ErrorKind::FileTooLarge
            ) =>
        {
            None
        }
        read => read?,
    };
    Ok(bytes
        .and_then(|bytes| serde_json::from_slice::<Box<ImageManifest>>(&bytes).ok())
        .filter(|manifest| manifest.format == IMAGE_MANIFEST_FORMAT))
}

fn link_at(host: &Look, link: &Utf8Path) -> io::Result<LinkSeen> {
    Ok(match host.stat(link)? {
        None => LinkSeen::Nothing,
        Some(stat) if stat.kind == ItemKind::Link => {
            let other = || LinkSeen::Other("link to a name that is not UTF-8".into());
            host.link_in_utf8(link)?.map_or_else(other, LinkSeen::Text)
        }
        Some(stat) => LinkSeen::Other(stat.kind.name().into()),
    })
}

/// Names of merged extensions, by systemd's own record: no program is asked.
pub fn merged(host: &Look, class: ExtensionClass) -> io::Result<Vec<String>> {
    let mut names: Vec<String> = Vec::new();
    for marker in class.markers() {
        let bytes = host.read(marker, MARKER_BYTES_MAX)?.unwrap_or_default();
        let text = String::from_utf8_lossy(&bytes).into_owned();
        names.extend(text.lines().filter(|line| !line.is_empty()).map(str::to_owned));
    }
    names.sort();
    names.dedup();
    Ok(names)
}

/// Whether something that systemd looks for is linked and not merged, or was linked after the last merge.
fn pending(host: &Look, spec: &ExtensionSpec, observed: &ExtensionObserved) -> io::Result<Pending> {
    let mut pending = Pending::Nothing;
    for (transfer, seen) in spec.transfers.iter().zip(&observed.transfers) {
        let image = observed.current.as_ref().and_then(|version| seen.images.get(version));
        let Some((image, class)) = image.zip(transfer.class) else { continue };
        if !observed.is_merged(class, &names(transfer, &image.file)) {
            return Ok(Pending::NotMerged);
        }
        if observed.has_open(&seen.path_of(image)) {
            // A link that was set to another image and back is newer than the merge, and nothing is pending.
            continue;
        }
        let mut merged_at = None;
        for marker in class.markers() {
            merged_at = merged_at.max(host.stat(marker)?.map(|stat| stat.mtime));
        }
        let at = transfer.link.clone().unwrap_or_else(|| seen.path_of(image));
        if host.stat(at)?.map(|stat| stat.mtime) > merged_at {
            pending = Pending::Relinked;
        }
    }
    Ok(pending)
}

/// The host's os-release, where it has one that can be read.
pub fn os_release(host: &Look) -> Option<OsRelease> {
    let files = ["/etc/os-release", "/usr/lib/os-release"];
    let bytes = files.iter().find_map(|p| host.read(p, RELEASE_BYTES_MAX as u64).ok().flatten())?;
    OsRelease::parse(&bytes).ok()
}

/// systemd's own keyrings below the root, or the one that the environment names, which is on this machine.
pub fn keyrings(host: &Look) -> io::Result<Keyrings> {
    let chosen = host.places().keyring.as_deref();
    let machine = Look::new("/".into(), host.places().clone());
    let host = if chosen.is_some() { &machine } else { host };
    let places = systemd_keyring_paths(chosen)
        .map_err(|error| io::Error::new(io::ErrorKind::InvalidInput, error.to_string()))?;
    let own = places.iter().flatten().next().cloned().unwrap_or_default();
    let mut found = Keyrings { own, contents: Vec::new() };
    for (number, place) in places.into_iter().enumerate() {
        for path in place {
            if let Some(bytes) = host.read(&path, KEYRING_BYTES_MAX as u64)? {
                found.contents.push(bytes);
                if number == 0 {
                    found.own = path;
                }
                break;
            }
        }
    }
    Ok(found)
}
