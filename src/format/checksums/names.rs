//! Which files of a release are checksum files, by name.

/// Ends that make a checksum file of one artifact's name.
const SIDECAR_ENDS: [&str; 12] = [
    ".sha256",
    ".sha256sum",
    ".sha256.txt",
    ".sha256sum.txt",
    ".sha512",
    ".sha512sum",
    ".sha384",
    "_sha256.txt",
    "-sha256.txt",
    "_checksum.txt",
    ".checksum",
    ".checksum.txt",
];

/// Ends of files that sign or describe another file: never checksum files themselves.
const NOT_CHECKSUMS: [&str; 12] = [
    ".sig",
    ".asc",
    ".sign",
    ".gpg",
    ".pem",
    ".crt",
    ".cert",
    ".minisig",
    ".sigstore",
    ".bundle",
    ".sigstore.json",
    ".jsonl",
];

/// Whole names of files that hold the checksums of a release, best first.
const SHARED: [&str; 14] = [
    "sha256sums",
    "sha256sums.txt",
    "sha256sum.txt",
    "sha256sum",
    "shasums256.txt",
    "sha256.sum",
    "sha256.txt",
    "sha512sums",
    "sha512sums.txt",
    "checksums.txt",
    "checksums.sha256",
    "checksums",
    "checksum.txt",
    "sha512.sum",
];

/// The files of a release that may hold a checksum of `asset_name`, in the order in which to look: those
/// named after the artifact, then those of the release.
///
/// A file of the second kind may turn out not to name the artifact.
pub fn candidates<'a>(asset_name: &str, all_names: &[&'a str]) -> Vec<&'a str> {
    let mut ranked: Vec<(usize, &str)> = all_names
        .iter()
        .filter(|name| **name != asset_name)
        .filter_map(|name| rank(asset_name, name, all_names).map(|rank| (rank, *name)))
        .collect();
    ranked.sort_by_key(|(rank, _)| *rank);
    ranked.into_iter().map(|(_, name)| name).collect()
}

/// True when `file_name` is the checksum file of this artifact alone.
pub(super) fn is_sidecar(file_name: &str, asset_name: &str) -> bool {
    sidecar_rank(file_name, asset_name).is_some()
        || sidecar_rank(file_name, stem(asset_name)).is_some()
}

fn rank(asset: &str, name: &str, all: &[&str]) -> Option<usize> {
    let lower = name.to_ascii_lowercase();
    if NOT_CHECKSUMS.iter().any(|end| lower.ends_with(end)) {
        return None;
    }
    if let Some(rank) = sidecar_rank(name, asset) {
        return Some(rank);
    }
    if let Some(rank) = sidecar_rank(name, stem(asset)) {
        return Some(100 + rank);
    }
    if let Some(rank) = SHARED.iter().position(|shared| *shared == lower) {
        return Some(200 + rank);
    }
    let squeezed = lower.replace(['-', '_'], "");
    let holds = |words: &[&str]| words.iter().any(|word| squeezed.contains(word));
    let sums = holds(&["sha256sums", "sha2256sums", "shasums256"]);
    let plural = sums || holds(&["sha512sums", "sha2512sums", "checksums"]);
    let single = holds(&["sha256", "sha512"])
        && [".txt", ".sum", ".sha256", ".sha256sum", ".sha512"]
            .iter()
            .any(|end| lower.ends_with(end));
    let vouches = plural || single;
    if lower == "dist-manifest.json" {
        Some(500)
    } else if vouches && !is_of_another(name, asset, all) {
        Some(if sums {
            300
        } else if plural {
            301
        } else {
            400
        })
    } else {
        None
    }
}

fn sidecar_rank(name: &str, of: &str) -> Option<usize> {
    let end = name.strip_prefix(of)?.to_ascii_lowercase();
    SIDECAR_ENDS.iter().position(|known| *known == end)
}

/// True when a checksum file is named after some other file of the release.
fn is_of_another(name: &str, asset: &str, all: &[&str]) -> bool {
    all.iter().any(|other| {
        let stem = stem(other);
        *other != name && name.starts_with(stem) && !asset.starts_with(stem)
    })
}

/// A name without the extensions of an archive.
fn stem(name: &str) -> &str {
    let ends = [".gz", ".xz", ".zst", ".bz2", ".zip", ".tgz", ".txz", ".tbz", ".tar", ".exe"];
    let cut = |name| ends.iter().find_map(|end| str::strip_suffix(name, end)).unwrap_or(name);
    cut(cut(name))
}
