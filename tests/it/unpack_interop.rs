//! Archives made by the real tools unpack to the tree that they were made of.
#![cfg(feature = "interop")]

use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::Path;
use std::process::Command;

use crate::archives::{SCRIPT, World, assert_disk_agrees, walk};

/// A tree with everything that releases have.
fn tree(top: &Path) {
    let long = format!("{}/{}", "d".repeat(80), "long".repeat(30));
    std::fs::create_dir_all(top.join("bin")).unwrap();
    std::fs::create_dir_all(top.join(&long).parent().unwrap()).unwrap();
    std::fs::write(top.join("bin/tool"), SCRIPT).unwrap();
    std::fs::set_permissions(top.join("bin/tool"), PermissionsExt::from_mode(0o755)).unwrap();
    std::fs::write(top.join("empty"), "").unwrap();
    std::fs::write(top.join("naïve"), "text").unwrap();
    std::fs::write(top.join(long), "long").unwrap();
    std::fs::hard_link(top.join("bin/tool"), top.join("bin/same")).unwrap();
    symlink("bin/tool", top.join("link")).unwrap();
    let holes = std::fs::File::create(top.join("holes")).unwrap();
    for at in 0..60 {
        std::os::unix::fs::FileExt::write_all_at(&holes, b"data", at * 100_000).unwrap();
    }
    holes.set_len(7_000_000).unwrap();
}

/// Runs `command` with a shell in `dir`.
fn shell(dir: &Path, command: &str) {
    let status = Command::new("sh").args(["-ec", command]).current_dir(dir).status().unwrap();
    assert!(status.success(), "{command}");
}

/// Paths, contents and link targets below a directory.
fn contents(dir: &Path) -> Vec<(String, u64, Vec<u8>)> {
    let one = |path: &std::path::PathBuf| {
        let about = std::fs::symlink_metadata(path).unwrap();
        let content = match about.file_type() {
            kind if kind.is_symlink() => {
                std::fs::read_link(path).unwrap().into_os_string().into_encoded_bytes()
            }
            kind if kind.is_dir() => Vec::new(),
            _ => std::fs::read(path).unwrap(),
        };
        let mtime = if about.is_file() { about.mtime().unsigned_abs() } else { 0 };
        (path.strip_prefix(dir).unwrap().display().to_string(), mtime, content)
    };
    walk(dir).iter().map(one).collect()
}

fn assert_round_trip(command: &str, name: &str) {
    let made = tempfile::tempdir().unwrap();
    tree(&made.path().join("tool-1.0"));
    shell(made.path(), command);
    let world = World::new();
    let bytes = std::fs::read(made.path().join(name)).unwrap();
    let unpacked =
        world.unpack(name, &bytes).unwrap_or_else(|error| panic!("{command}: {error:?}"));
    assert_disk_agrees(&world, &unpacked.entries);
    assert_eq!(contents(&world.staging()), contents(&made.path().join("tool-1.0")), "{command}");
}

#[test]
fn every_format_of_gnu_tar_unpacks() {
    for format in ["gnu", "oldgnu", "posix"] {
        for sparse in ["", "--sparse"] {
            let command = format!("tar --format={format} {sparse} -czf t.tar.gz tool-1.0");
            assert_round_trip(&command, "t.tar.gz");
            let command = format!("tar --format={format} {sparse} -cf t.tar ./tool-1.0");
            assert_round_trip(&command, "t.tar");
        }
    }
    for format in ["ustar", "v7"] {
        // These cannot hold names this long.
        let command = format!("rm -r tool-1.0/d*; tar --format={format} -cf t.tar tool-1.0");
        assert_round_trip(&command, "t.tar");
    }
}

#[test]
fn every_compressor_unpacks() {
    for (command, name) in [
        ("tar -cf - tool-1.0 | gzip -9 > t.tar.gz", "t.tar.gz"),
        ("tar -cf - tool-1.0 | xz -9e > t.tar.xz", "t.tar.xz"),
        ("tar -cf - tool-1.0 | xz -T2 --block-size=65536 > t.tar.xz", "t.tar.xz"),
        ("tar -cf - tool-1.0 | bzip2 > t.tar.bz2", "t.tar.bz2"),
        ("tar -cf - tool-1.0 | zstd -19 --long=27 > t.tar.zst", "t.tar.zst"),
    ] {
        assert_round_trip(command, name);
    }
}

#[test]
fn info_zip_archives_unpack() {
    // Zip has no hard links; the second name becomes a file of its own with the same content.
    assert_round_trip("zip -qry t.zip tool-1.0", "t.zip");
    assert_round_trip("zip -qry0 t.zip tool-1.0", "t.zip");
    assert_round_trip("zip -qry - tool-1.0 > t.zip", "t.zip");
}

#[test]
fn git_archives_unpack() {
    let make = "cd tool-1.0; export GIT_AUTHOR_DATE='1700000000 +0000' GIT_COMMITTER_DATE='1700000000 +0000'
        git init -q; git add .; git -c user.name=a -c user.email=a@b.c commit -qm x
        git archive --prefix=tool-1.0/ -o ../t.tar.gz HEAD; rm -rf .git
        find . -type f -exec touch -d @1700000000 {} +";
    assert_round_trip(make, "t.tar.gz");
}
