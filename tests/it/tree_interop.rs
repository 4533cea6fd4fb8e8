//! Trees that casync archived are installed so that casync sees no difference.
//!
//! Needs `casync` and root; runs with `--features interop`, where a missing tool is a failure.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use rustix::fs::{CWD, FileType, Mode, XattrFlags, makedev, mknodat, setxattr};

use crate::support::tree;
use crate::support::world::World;

fn casync(arguments: &[&str]) -> String {
    let output = Command::new("casync").args(arguments).output().unwrap();
    assert!(output.status.success(), "{arguments:?}: {output:?}");
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

/// Every type of node and every property that a file system in memory has.
fn corpus(root: &Path) {
    tree::make(
        root,
        "plain \"x\"\nempty \"\"\nbin/run 0755 \"#!\"\nlink -> bin/run\ndangling -> no/where\nvoid/\n",
    );
    tree::write(
        &root.join("big"),
        &(0..1_500_000_u32).flat_map(u32::to_le_bytes).collect::<Vec<_>>(),
    );
    tree::write(&root.join("zeros"), &vec![0; 3_000_000]);
    tree::write(&root.join(OsStr::from_bytes(b"n\xc3\xa4me\xff with\nblank")), b"odd");
    for mode in [0o4755, 0o2755, 0o1777, 0o000, 0o640] {
        let path = root.join(format!("mode-{mode:o}"));
        tree::write(&path, b"m");
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
    }
    fs::set_permissions(root.join("void"), fs::Permissions::from_mode(0o2770)).unwrap();
    for owned in ["plain", "link", "bin"] {
        std::os::unix::fs::lchown(root.join(owned), Some(1234), Some(4321)).unwrap();
    }
    let node = |name: &str, kind, device| {
        mknodat(CWD, root.join(name), kind, Mode::from_raw_mode(0o600), device).unwrap();
    };
    node("pipe", FileType::Fifo, 0);
    node("socket", FileType::Socket, 0);
    node("null", FileType::CharacterDevice, makedev(1, 3));
    node("loop", FileType::BlockDevice, makedev(7, 200));
    let xattr = |path: &str, name: &str, value: &[u8]| {
        setxattr(root.join(path), name, value, XattrFlags::empty()).unwrap();
    };
    xattr("plain", "user.note", b"\x00\xff");
    xattr("bin", "user.other", b"on a directory");
    // An access list and a default one, as `setfacl` would write them.
    let entries = |named: u32| {
        let mut acl = 2_u32.to_le_bytes().to_vec();
        for (tag, bits, id) in [
            (1_u16, 7_u16, u32::MAX),
            (2, 6, named),
            (4, 5, u32::MAX),
            (16, 7, u32::MAX),
            (32, 4, u32::MAX),
        ] {
            acl.extend(tag.to_le_bytes());
            acl.extend(bits.to_le_bytes());
            acl.extend(id.to_le_bytes());
        }
        acl
    };
    xattr("bin/run", "system.posix_acl_access", &entries(77));
    xattr("bin", "system.posix_acl_default", &entries(78));
    // `cap_net_bind_service=ep` in the second version of the format.
    let capability = [1, 0, 0, 2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    xattr("empty", "security.capability", &capability);
}

#[test]
fn every_node_that_casync_archives_is_installed_as_casync_would() {
    if !cfg!(feature = "interop") {
        return;
    }
    let mut world = World::new();
    let source = world.temp().join("source");
    corpus(&source);
    let text = |path: &Path| path.display().to_string();
    let (index, store) = (world.temp().join("site.caidx"), world.temp().join("site.castr"));
    let store_option = format!("--store={}", store.display());
    let mut failures = Vec::new();
    for with in ["best", "unix", "2sec-time", "always-writable"] {
        let with = format!("--with={with}");
        let flags: Vec<&str> = match with.as_str() {
            "--with=always-writable" => vec!["--with=sec-time", "--with=symlinks"],
            "--with=2sec-time" => vec!["--with=2sec-time"],
            other => vec![other],
        };
        let flags: Vec<&str> = if with == "--with=best" { Vec::new() } else { flags };
        let mut make = vec!["make", &store_option];
        make.extend(&flags);
        let (index_text, source_text) = (text(&index), text(&source));
        make.extend([index_text.as_str(), source_text.as_str()]);
        casync(&make);
        world.wish(
            "desired",
            &format!(
                "trees:\n  site:\n    path: /srv/site\n    source: {{ casync: {{ index: {}, store: {} }} }}\n    \
                 allow: [devices, setid, capabilities]\n    max_delete: unlimited\n",
                index.display(),
                store.display()
            ),
        );
        world.tick();
        let ran = world.run(&[]).exits(0);
        let mut digest = vec!["digest"];
        digest.extend(&flags);
        let site = text(&world.path("/srv/site"));
        digest.push(&site);
        let (here, there) = (casync(&digest), casync(&["digest", &store_option, &index_text]));
        if here != there {
            failures.push(format!("{flags:?}: {here} instead of {there}: {}", ran.stdout));
        }
        world.tick();
        let again = world.run(&[]).exits(0);
        if !again.stdout.contains("No changes") {
            failures.push(format!("{flags:?}: not settled: {}", again.stdout));
        }
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}
