//! Where an image differs from its manifest.

use std::io;

use camino::Utf8Path;

use crate::host::Look;
use crate::model::extension::ImageManifest;
use crate::model::{Drift, DriftKind};
use crate::resource::app::observe::compare_entries;
use crate::resource::observe::Depth;

/// Where an image or a directory differs from its manifest.
pub(super) fn differs(
    host: &Look,
    path: &Utf8Path,
    manifest: &ImageManifest,
    depth: Depth,
) -> io::Result<Vec<Drift>> {
    if manifest.entries.is_empty() || host.stat(path)?.is_none() {
        return Ok(image_differs(host, path, manifest, depth)?.into_iter().collect());
    }
    compare_entries(host, path, &manifest.entries, (depth, None))
}

fn image_differs(
    host: &Look,
    path: &Utf8Path,
    manifest: &ImageManifest,
    depth: Depth,
) -> io::Result<Option<Drift>> {
    let drift = |kind, expected: String, found: String| {
        Some(Drift { path: path.to_string(), kind, expected, found })
    };
    let Some(stat) = host.stat(path)? else {
        return Ok(drift(DriftKind::Missing, "regular file".to_owned(), "nothing".to_owned()));
    };
    if stat.size != manifest.size {
        let bytes = |size: u64| format!("{size} bytes");
        return Ok(drift(DriftKind::Modified, bytes(manifest.size), bytes(stat.size)));
    }
    if depth == Depth::Deep || stat.mtime != manifest.mtime {
        let found = host.sha256(path)?;
        if found != manifest.image {
            let describe = |hex: String| format!("sha256 {hex}");
            let (was, is) = (manifest.image.short(), found.short());
            return Ok(drift(DriftKind::Modified, describe(was), describe(is)));
        }
    }
    if stat.mode != manifest.mode {
        let mode = |mode: u32| format!("mode {mode:04o}");
        return Ok(drift(DriftKind::ModeChanged, mode(manifest.mode), mode(stat.mode)));
    }
    Ok(None)
}
