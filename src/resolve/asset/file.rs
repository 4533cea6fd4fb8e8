//! What a file is by its name: a payload in some container, or something beside the payload.

use crate::resolve::asset::Reason;
use crate::resolve::asset::reading::Context;
use crate::resolve::asset::words::listed;

/// How the program is packed. The order is the order of preference among equal builds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Container {
    TarGz,
    TarXz,
    TarZst,
    TarBz2,
    Tar,
    Zip,
    Bare,
    Gz,
    Xz,
    Zst,
    Bz2,
    AppImage,
}

/// Extensions of containers, longer ones first.
const CONTAINERS: &[(&str, Container)] = &[
    (".tar.gz", Container::TarGz),
    (".tar.xz", Container::TarXz),
    (".tar.zst", Container::TarZst),
    (".tar.bz2", Container::TarBz2),
    (".tgz", Container::TarGz),
    (".txz", Container::TarXz),
    (".tzst", Container::TarZst),
    (".tbz2", Container::TarBz2),
    (".tbz", Container::TarBz2),
    (".tar", Container::Tar),
    (".zip", Container::Zip),
    (".gz", Container::Gz),
    (".xz", Container::Xz),
    (".zst", Container::Zst),
    (".bz2", Container::Bz2),
    (".appimage", Container::AppImage),
];

/// Last words of files that vouch for or describe another file.
const SIDECARS: &str = "\
    md5 md5sum md5sums b3 b3sum b2 b2sum blake2 blake3 blake2b sum sums digest digests \
    checksum checksums asc sig sign signature gpg minisig pem crt cert cer pub p7s p7b \
    sigstore intoto att attestation provenance sbom spdx cdx cyclonedx zsync blockmap ots";

/// Last extensions of files that are neither programs nor archives of them.
const DOCUMENTS: &str = "\
    key bundle jsonl json yaml yml toml txt md rst xml html htm pdf log csv tsv torrent \
    meta4 metalink patch diff bsdiff delta caibx caidx map desktop images bash zsh fish elv \
    nu js cjs mjs ts wasm css svg png ico gif conf cfg ini service proto sql sum h hpp c rs \
    go lua vim el tmpl tpl lock env properties dat db sqlite list adoc asciidoc nix rb pdb \
    dbg debug symbols dsym ttf otf woff2 gguf onnx mo po";

/// Last extensions of packages, images and libraries, and of programs for other systems.
const PACKAGES: &str = "\
    deb udeb ddeb rpm apk ipk snap flatpak flatpakref msi msixbundle msix appx appxbundle \
    msu exe dll dmg pkg mpkg app vsix nupkg snupkg whl egg gem crate jar war ear raw img iso \
    qcow2 vhd vhdx vmdk vdi ova ovf squashfs so a o lib dylib node xpi crx aab aar ipa \
    framework xcframework nsis cab com efi uf2 hex oci eopkg xbps pup tcz lha 7z rar lz4 lz \
    lzma br z cpio mcpb dxt unitypackage plugin";

/// Last extensions of scripts: taken only when a name asks for one.
const SCRIPTS: &str = "\
    sh py pyz pex pl phar ps1 psm1 psd1 bat cmd run vbs";

/// First words of files that every release may carry.
const LISTINGS: &str = "\
    license licenses licence copying notice readme changelog manifest manifests install \
    installer b3sum b3sums authors";

/// The stem and the container of a lower-case name, or why it is no payload.
pub(super) fn payload<'a>(
    name: &'a str,
    context: &Context,
) -> Result<(&'a str, Container), Reason> {
    let first = name.split(|c: char| !c.is_ascii_alphanumeric()).next().unwrap_or(name);
    let starts_wanted = context.starts_wanted(name);
    if is_digest_listing(name) || (!starts_wanted && is_digest_word(first)) {
        return Err(Reason::Sidecar);
    }
    let found = CONTAINERS
        .iter()
        .find_map(|(end, container)| name.strip_suffix(end).map(|stem| (stem, *container)));
    let (stem, container) = found.unwrap_or((name, Container::Bare));
    if context.ends_whole(stem) {
        return Ok((stem, container));
    }
    extension(stem)?;
    if !starts_wanted && listed(LISTINGS, first) {
        return Err(Reason::Document);
    }
    if matches!(container, Container::Bare | Container::Gz) && is_man_page(stem) {
        return Err(Reason::Document);
    }
    Ok((stem, container))
}

/// Refuses a stem whose last extension, or last word if it names a digest, says that it is not a
/// program.
fn extension(stem: &str) -> Result<(), Reason> {
    let last_word = stem.rsplit(['.', '-', '_']).next().unwrap_or(stem);
    let last_extension = stem.rsplit_once('.').map_or("", |(_, end)| end);
    if is_digest_word(last_word) || listed(SIDECARS, last_extension) {
        Err(Reason::Sidecar)
    } else if listed(DOCUMENTS, last_extension) {
        Err(Reason::Document)
    } else if listed(PACKAGES, last_extension) {
        Err(Reason::Package)
    } else if listed(SCRIPTS, last_extension) {
        Err(Reason::Script)
    } else {
        Ok(())
    }
}

/// `SHA256SUMS`, `tool_1.2_checksums.txt`, `sha256.txt`.
fn is_digest_listing(name: &str) -> bool {
    name.contains("checksums")
        || name.contains("shasums")
        || name.split(['.', '-', '_']).any(|word| word.starts_with("sha") && word.ends_with("sums"))
}

/// `sha256`, `sha512sum`, `shasum`, `sha1sums`, `checksum`, `sig`.
fn is_digest_word(word: &str) -> bool {
    let bare = word.strip_suffix("sums").or_else(|| word.strip_suffix("sum")).unwrap_or(word);
    let sha = bare.strip_prefix("sha").is_some_and(|size| {
        matches!(size, "1" | "2" | "224" | "256" | "384" | "512")
            || (size.is_empty() && bare != word)
    });
    sha || (matches!(word, "checksum" | "checksums" | "md5" | "md5sum" | "md5sums" | "sig" | "asc"))
}

/// `tool.1`, but not `tool-1.1`.
fn is_man_page(stem: &str) -> bool {
    let Some((page, section)) = stem.rsplit_once('.') else { return false };
    let one_digit = section.len() == 1 && section.bytes().all(|b| (b'1'..=b'8').contains(&b));
    one_digit && page.ends_with(|c: char| c.is_ascii_alphabetic())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn reads(name: &str, expected: Result<(&str, Container), &Reason>) {
        let context = Context::new(&["node.js", "tool"], "v1.2.3", "1.2.3");
        assert_eq!(payload(name, &context).as_ref().map(|p| *p), expected, "{name}");
    }

    #[test]
    fn payloads_are_told_from_what_lies_beside_them() {
        reads("tool-linux.tar.gz", Ok(("tool-linux", Container::TarGz)));
        reads("tool-1.2.3", Ok(("tool-1.2.3", Container::Bare)));
        reads("node.js.zip", Ok(("node.js", Container::Zip)));
        reads("tool.linux-amd64", Ok(("tool.linux-amd64", Container::Bare)));
        for name in [
            "tool.tar.gz.sha256",
            "tool.tar.gz.sha256sum",
            "SHA256SUMS".to_lowercase().as_str(),
            "tool_1.2_checksums.txt",
            "tool-linux-amd64-sha256",
            "tool.asc",
            "shasums256.txt",
            "tool-linux.sigstore",
            "sha256.txt",
            "tool_1.0_sha256sums",
            "sha512-sums.txt",
        ] {
            reads(name, Err(&Reason::Sidecar));
        }
        for name in ["tool.deb", "tool.pkg.tar.zst", "tool.exe.zip", "tool.dmg", "tool.app.tar.gz"]
        {
            reads(name, Err(&Reason::Package));
        }
        for name in ["tool.1", "tool.1.gz", "readme", "license.tar.gz", "dist-manifest.json"] {
            reads(name, Err(&Reason::Document));
        }
        reads("install.sh", Err(&Reason::Script));
    }
}
