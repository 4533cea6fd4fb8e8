//! Directory trees as text, to compare them and to make them.
//!
//! ```text
//! opt/tool/bin/tool -> ../releases/1.0.0/tool
//! opt/tool/releases/1.0.0/tool 0755 "#!/bin/sh\n"
//! opt/tool/staging/
//! ```
//!
//! A directory has a mode only when it is not 0755, a file only when it is not 0644.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use data_encoding::HEXLOWER;
use sha2::{Digest as _, Sha256};

/// Longer content is shown by size and digest.
const SHOWN_BYTES_MAX: usize = 160;

/// One entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Node {
    kind: Kind,
    mode: u32,
    /// Seconds and nanoseconds since 1970.
    mtime: (i64, i64),
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Kind {
    Dir,
    File(Vec<u8>),
    Link(String),
}

/// Everything below a directory, by path.
pub type Tree = BTreeMap<String, Node>;

/// Reads everything below `root`.
pub fn snapshot(root: &Path) -> Tree {
    let mut tree = Tree::new();
    let mut pending = vec![root.to_owned()];
    while let Some(directory) = pending.pop() {
        for entry in fs::read_dir(&directory).unwrap() {
            let path = entry.unwrap().path();
            let metadata = path.symlink_metadata().unwrap();
            let kind = if metadata.is_symlink() {
                Kind::Link(fs::read_link(&path).unwrap().to_str().unwrap().to_owned())
            } else if metadata.is_dir() {
                pending.push(path.clone());
                Kind::Dir
            } else {
                Kind::File(fs::read(&path).unwrap())
            };
            let name = path.strip_prefix(root).unwrap().to_str().unwrap().to_owned();
            let mtime = (metadata.mtime(), metadata.mtime_nsec());
            tree.insert(name, Node { kind, mode: metadata.mode() & 0o7777, mtime });
        }
    }
    tree
}

/// The text of a tree, without modification times.
pub fn render(tree: &Tree) -> String {
    let mut text = String::new();
    for (path, node) in tree {
        let mode = |usual: u32| {
            if node.mode == usual { String::new() } else { format!(" {:04o}", node.mode) }
        };
        let _ = match &node.kind {
            Kind::Dir => writeln!(text, "{path}/{}", mode(0o755)),
            Kind::Link(target) => writeln!(text, "{path} -> {target}"),
            Kind::File(bytes) => writeln!(text, "{path}{} {}", mode(0o644), content(path, bytes)),
        };
    }
    text
}

fn content(path: &str, bytes: &[u8]) -> String {
    // Digests of recipes and times are in it.
    if path.ends_with("/.reconcile.json") {
        return "(manifest)".to_owned();
    }
    if path.ends_with("/.reconcile-taken-over.json") {
        return "(list)".to_owned();
    }
    match std::str::from_utf8(bytes) {
        Ok(text) if bytes.len() <= SHOWN_BYTES_MAX => format!("{text:?}"),
        _ => {
            let digest = HEXLOWER.encode(&Sha256::digest(bytes)[..6]);
            format!("({} bytes, sha256 {digest})", bytes.len())
        }
    }
}

/// Makes what a text describes below `root`; empty lines and those that start with `#` are comments.
pub fn make(root: &Path, text: &str) {
    for line in text.lines().filter(|line| !line.trim().is_empty() && !line.starts_with('#')) {
        make_line(root, line);
    }
}

fn make_line(root: &Path, line: &str) {
    if let Some((path, target)) = line.split_once(" -> ") {
        return link(&root.join(path), target);
    }
    let (head, content) = match line.split_once(" \"") {
        Some((head, content)) => (head, Some(unquoted(content.strip_suffix('"').unwrap()))),
        None => (line, None),
    };
    let (path, mode) = head.split_once(' ').unwrap_or((head, ""));
    let path = root.join(path);
    let mode = |usual| if mode.is_empty() { usual } else { u32::from_str_radix(mode, 8).unwrap() };
    let mode = if let Some(content) = content {
        write(&path, content.as_bytes());
        mode(0o644)
    } else {
        fs::create_dir_all(&path).unwrap();
        mode(0o755)
    };
    fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
}

/// Writes a file and makes its directories.
pub fn write(path: &Path, bytes: &[u8]) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, bytes).unwrap();
}

/// Makes a link, also where one is already, and its directories.
pub fn link(path: &Path, target: &str) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    remove(path);
    symlink(target, path).unwrap();
}

/// Removes whatever is there.
pub fn remove(path: &Path) {
    match path.symlink_metadata() {
        Ok(metadata) if metadata.is_dir() => fs::remove_dir_all(path).unwrap(),
        Ok(_) => fs::remove_file(path).unwrap(),
        Err(_) => {}
    }
}

/// `\n`, `\"` and `\\` in quoted content.
pub fn unquoted(text: &str) -> String {
    text.replace("\\n", "\n").replace("\\\"", "\"").replace("\\\\", "\\")
}

/// Every file below a directory.
pub fn picture(directory: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut files = BTreeMap::new();
    let mut pending = vec![directory.to_owned()];
    while let Some(directory) = pending.pop() {
        for entry in fs::read_dir(&directory).into_iter().flatten() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                pending.push(path);
            } else {
                files.insert(path.clone(), fs::read(&path).unwrap());
            }
        }
    }
    files
}

/// Makes a directory what another one is.
pub fn copy(from: &Path, to: &Path) {
    remove(to);
    fs::create_dir_all(to).unwrap();
    for (path, bytes) in picture(from) {
        write(&to.join(path.strip_prefix(from).unwrap()), &bytes);
    }
}
