//! Images of every variant that the real tools make are read as the tree they were made from.
#![cfg(feature = "interop")]

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Command;

use reconcile::format::elf::ReadAt;
use reconcile::format::image::{ImageError, ImageFiles, contents, open};

/// A tree with names, sizes and depths that go past every boundary of a block.
fn make_tree(root: &Path) {
    let noise = |length: usize, seed: u64| -> Vec<u8> {
        let mut state = seed;
        (0..length)
            .map(|_| {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                state.to_be_bytes()[0]
            })
            .collect()
    };
    for directory in
        ["usr/lib/extension-release.d", "usr/share/deep/er/and/deeper", "opt/many", "etc"]
    {
        fs::create_dir_all(root.join(directory)).unwrap();
    }
    let release = root.join("usr/lib/extension-release.d/extension-release.x");
    fs::write(&release, "ID=_any\nSYSEXT_LEVEL=1\n").unwrap();
    for (index, length) in
        [0, 1, 100, 511, 512, 1023, 1024, 4095, 4096, 4097, 8192, 12_289, 65_536, 131_073, 300_000]
            .into_iter()
            .enumerate()
    {
        let seed = index as u64 + 1;
        fs::write(root.join(format!("opt/noise-{length}")), noise(length, seed)).unwrap();
        let text = "a line of text that is easy to pack\n".repeat(length / 36 + 1);
        fs::write(root.join(format!("opt/text-{length}")), &text.as_bytes()[..length]).unwrap();
    }
    for index in 0..700 {
        let name = format!("{index}-{}", "n".repeat(index % 120));
        fs::write(root.join("opt/many").join(name), index.to_string()).unwrap();
    }
    symlink("../deep", root.join("usr/share/deep/link")).unwrap();
}

struct Difference {
    unreadable: Vec<String>,
}

fn compare(files: &dyn ImageFiles, root: &Path, path: &str, difference: &mut Difference) {
    let mut names: Vec<String> = fs::read_dir(root.join(path))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    let mut found: Vec<String> =
        files.list(path).unwrap().into_iter().map(|entry| entry.name).collect();
    found.retain(|name| name != "lost+found");
    found.sort();
    assert_eq!(found, names, "{path}");
    for name in names {
        let path = if path.is_empty() { name } else { format!("{path}/{name}") };
        let kind = fs::symlink_metadata(root.join(&path)).unwrap();
        if kind.is_dir() {
            compare(files, root, &path, difference);
        } else if kind.is_file() && (!path.starts_with("opt/many/") || path.ends_with('7')) {
            match files.read(&path, 1 << 20) {
                Ok(read) => assert!(read.unwrap() == fs::read(root.join(&path)).unwrap(), "{path}"),
                Err(ImageError::Unreadable { .. }) => difference.unreadable.push(path),
                Err(error) => panic!("{path}: {error}"),
            }
        }
    }
}

struct File(fs::File);

impl ReadAt for File {
    fn read_at(&self, into: &mut [u8], offset: u64) -> std::io::Result<usize> {
        std::os::unix::fs::FileExt::read_at(&self.0, into, offset)
    }
}

/// Makes one image with one tool and returns what could not be read of it.
fn check(program: &str, arguments: &[&str], tree: &Path, image: &Path) -> Vec<String> {
    let _ = fs::remove_file(image);
    let output = Command::new(program).args(arguments).output().unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{program} {arguments:?}: {errors}");
    let file = File(fs::File::open(image).unwrap());
    let size = file.0.metadata().unwrap().len();
    let opened = open(&file, size).unwrap_or_else(|e| panic!("{program} {arguments:?}: {e}"));
    let mut difference = Difference { unreadable: Vec::new() };
    compare(&*opened.files, tree, "", &mut difference);
    let releases = contents(&*opened.files).map_or(0, |found| found.sysext.len());
    let readable = !difference.unreadable.iter().any(|path| path.contains("release"));
    assert_eq!(releases, usize::from(readable), "{arguments:?}");
    difference.unreadable
}

fn in_tree(run: impl Fn(&Path, &Path)) {
    let directory = tempfile::tempdir().unwrap();
    let tree = directory.path().join("tree");
    make_tree(&tree);
    run(&tree, &directory.path().join("x.raw"));
}

#[test]
fn squashfs_images_are_read_in_every_variant() {
    in_tree(|tree, image| {
        let (tree_path, image_path) = (tree.to_str().unwrap(), image.to_str().unwrap());
        let plain = ["gzip", "xz", "zstd", "lz4"].map(|packer| (packer, "131072", &[][..]));
        let blocks = ["4096", "1048576"].map(|block| ("zstd", block, &[][..]));
        let flags: [&[&str]; 7] = [
            &["-no-fragments"],
            &["-always-use-fragments"],
            &["-noI", "-noX"],
            &["-noD"],
            &["-noF"],
            &["-no-exports"],
            &["-no-xattrs"],
        ];
        let flags = flags.map(|flags| ("gzip", "4096", flags));
        for (packer, block, flags) in plain.into_iter().chain(blocks).chain(flags) {
            let arguments = [tree_path, image_path, "-quiet", "-noappend", "-all-root"];
            let arguments = [&arguments[..], &["-comp", packer, "-b", block], flags].concat();
            assert_eq!(check("mksquashfs", &arguments, tree, image), [""; 0]);
        }
    });
}

#[test]
fn erofs_images_are_read_in_every_variant() {
    in_tree(|tree, image| {
        let (tree_path, image_path) = (tree.to_str().unwrap(), image.to_str().unwrap());
        for (arguments, packed) in [
            (vec![], ""),
            (vec!["-Eforce-inode-compact"], ""),
            (vec!["-Eforce-inode-extended"], ""),
            (vec!["-Enoinline_data"], ""),
            (vec!["--chunksize=4096"], ""),
            (vec!["--chunksize=65536"], ""),
            (vec!["-x-1"], ""),
            (vec!["-zlz4"], "opt/text-"),
            (vec!["-zlz4hc", "-C65536"], "opt/text-"),
            (vec!["-zlz4hc", "-Elegacy-compress"], "opt/text-"),
            (vec!["-zlz4hc", "-Eztailpacking"], "opt/"),
            (vec!["-zlz4hc", "-Efragments"], "opt/"),
        ] {
            let arguments = [arguments, vec![image_path, tree_path]].concat();
            let unreadable = check("mkfs.erofs", &arguments, tree, image);
            assert!(
                unreadable.iter().all(|path| !packed.is_empty() && path.starts_with(packed)),
                "{arguments:?}: {unreadable:?}"
            );
        }
    });
}

#[test]
fn ext4_images_are_read_in_every_variant() {
    in_tree(|tree, image| {
        let (tree_path, image_path) = (tree.to_str().unwrap(), image.to_str().unwrap());
        for (kind, block, features) in [
            ("ext4", "1024", "none"),
            ("ext4", "2048", "^64bit"),
            ("ext4", "4096", "64bit,metadata_csum"),
            ("ext4", "4096", "^metadata_csum,uninit_bg,^64bit"),
            ("ext4", "4096", "^flex_bg,^has_journal"),
            ("ext4", "4096", "sparse_super2"),
            ("ext4", "4096", "metadata_csum_seed,large_dir"),
            ("ext3", "4096", "none"),
            ("ext2", "4096", "none"),
        ] {
            let features = if features == "none" { "dir_index" } else { features };
            let arguments = [
                "-q", "-F", "-t", kind, "-b", block, "-O", features, "-N", "4096", "-d", tree_path,
            ];
            let arguments = [&arguments[..], &[image_path, "32M"]].concat();
            assert_eq!(check("mke2fs", &arguments, tree, image), [""; 0]);
        }
    });
}
