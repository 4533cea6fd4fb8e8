//! Which programs of a release are linked, and under which names. Pure.

use std::collections::BTreeMap;

use crate::model::manifest::{Binary, EntryKind};
use crate::model::step::{Binaries, UnpackRules};
use crate::unpack::error::BinariesError;
use crate::unpack::nodes::{Magic, Node, Nodes};
use crate::unpack::path::split;

/// Directories above a program that `auto` finds.
const AUTO_DEPTH_MAX: usize = 3;

/// Directories above a program that is looked for by its base name.
const NAMED_DEPTH_MAX: usize = 6;

/// Paths shown in an error.
const SHOWN_MAX: usize = 20;

/// Words that may follow a program's name in its file name: the platform it was built for.
const PLATFORM_WORDS: [&str; 24] = [
    "linux",
    "linux64",
    "gnu",
    "musl",
    "glibc",
    "static",
    "unknown",
    "pc",
    "x86",
    "64",
    "x86_64",
    "amd64",
    "x64",
    "64bit",
    "aarch64",
    "arm64",
    "armv8",
    "gnulinux",
    "linuxmusl",
    "release",
    "stable",
    "bin",
    "cli",
    "portable",
];

/// What is linked.
#[derive(Debug, Default)]
pub(super) struct Chosen {
    pub(super) binaries: Vec<Binary>,
    pub(super) notes: Vec<String>,
}

/// Chooses by the rule of the app.
pub(super) fn choose(nodes: &Nodes, rules: &UnpackRules) -> Result<Chosen, BinariesError> {
    match &rules.binaries {
        Binaries::Auto => auto(nodes),
        Binaries::AnyExecutable => Ok(any_executable(nodes)),
        Binaries::Listed(wanted) => listed(nodes, wanted),
    }
}

fn auto(nodes: &Nodes) -> Result<Chosen, BinariesError> {
    let mut by_name: BTreeMap<&str, &str> = BTreeMap::new();
    let found = nodes.files().filter(|(path, node)| {
        is_executable(node)
            && node.magic != Magic::Other
            && !is_library(split(path).1)
            && !split(path).1.starts_with('.')
            && depth(path) <= AUTO_DEPTH_MAX
    });
    for (path, _) in found {
        let name = split(path).1;
        if let Some(first) = by_name.insert(name, path) {
            return Err(BinariesError::SameName {
                name: name.to_owned(),
                first: first.to_owned(),
                second: path.to_owned(),
            });
        }
    }
    if by_name.is_empty() {
        return Err(missing(nodes, "to link"));
    }
    Ok(Chosen { binaries: links(by_name), notes: Vec::new() })
}

fn any_executable(nodes: &Nodes) -> Chosen {
    let mut by_name: BTreeMap<&str, &str> = BTreeMap::new();
    let mut chosen = Chosen::default();
    for (path, _) in nodes.files().filter(|(_, node)| is_executable(node)) {
        let name = split(path).1;
        if let Some(first) = by_name.insert(name, path) {
            chosen.notes.push(format!("`{path}` is linked as `{name}`, not `{first}`"));
        }
    }
    if by_name.is_empty() {
        chosen.notes.push("no file is executable, nothing is linked".to_owned());
    }
    chosen.binaries = links(by_name);
    chosen
}

fn listed(nodes: &Nodes, wanted: &[Binary]) -> Result<Chosen, BinariesError> {
    let mut by_name: BTreeMap<&str, String> = BTreeMap::new();
    for binary in wanted {
        let path = find(nodes, &binary.path, wanted.len())?;
        if let Some(first) = by_name.insert(&binary.name, path.clone())
            && first != path
        {
            return Err(BinariesError::SameName { name: binary.name.clone(), first, second: path });
        }
    }
    Ok(Chosen { binaries: links(by_name), notes: Vec::new() })
}

fn links<P: Into<String>>(by_name: BTreeMap<&str, P>) -> Vec<Binary> {
    let link = |(name, path): (&str, P)| Binary { name: name.to_owned(), path: path.into() };
    by_name.into_iter().map(link).collect()
}

/// The file that a listed program means; `wishes` is how many programs are listed.
fn find(nodes: &Nodes, wanted: &str, wishes: usize) -> Result<String, BinariesError> {
    let exact = wanted.trim_start_matches("./");
    if nodes.get(exact).is_some_and(|node| leads_to_file(nodes, exact, node)) {
        return Ok(exact.to_owned());
    }
    if !wanted.contains('/') {
        let near = || nodes.iter().filter(|(path, _)| depth(path) <= NAMED_DEPTH_MAX);
        let named: Vec<_> = near()
            .filter(|(path, node)| split(path).1 == wanted && leads_to_file(nodes, path, node))
            .collect();
        let programs = |found: &[(&str, &Node)]| -> Vec<String> {
            let programs = found.iter().filter(|(_, node)| node.magic != Magic::Other);
            programs.map(|(path, _)| (*path).to_owned()).collect()
        };
        let all = named.iter().map(|(path, _)| (*path).to_owned()).collect();
        let decorated: Vec<_> =
            near().filter(|(path, _)| is_decorated(split(path).1, wanted)).collect();
        for candidates in [programs(&named), all, programs(&decorated)] {
            if let Some(path) = single(wanted, candidates)? {
                return Ok(path);
            }
        }
    }
    if wishes == 1 {
        let elf = nodes.files().filter(|(_, node)| node.magic == Magic::Elf);
        let only: Vec<_> = elf.map(|(path, _)| path.to_owned()).take(2).collect();
        let files: Vec<_> = nodes.files().map(|(path, _)| path.to_owned()).take(2).collect();
        for only in [only, files] {
            if let [path] = only.as_slice() {
                return Ok(path.clone());
            }
        }
    }
    Err(missing(nodes, &format!("`{}`", wanted.escape_debug())))
}

/// The only candidate, none, or an error that names all.
fn single(wanted: &str, candidates: Vec<String>) -> Result<Option<String>, BinariesError> {
    if candidates.len() > 1 {
        return Err(BinariesError::Ambiguous {
            wanted: wanted.to_owned(),
            more: candidates.len().saturating_sub(SHOWN_MAX),
            candidates: candidates.into_iter().take(SHOWN_MAX).collect(),
        });
    }
    Ok(candidates.into_iter().next())
}

fn missing(nodes: &Nodes, wanted: &str) -> BinariesError {
    let all = || nodes.iter().filter(|(_, node)| !matches!(node.kind, EntryKind::Dir { .. }));
    BinariesError::Missing {
        wanted: wanted.to_owned(),
        holds: all().map(|(path, _)| path.to_owned()).take(SHOWN_MAX).collect(),
        more: all().count().saturating_sub(SHOWN_MAX),
    }
}

/// A regular file, or a link that leads to one.
fn leads_to_file(nodes: &Nodes, path: &str, node: &Node) -> bool {
    match &node.kind {
        EntryKind::File { .. } => true,
        EntryKind::Dir { .. } => false,
        EntryKind::Link { target } => {
            let end = nodes.follow(path, target).ok();
            end.and_then(|end| nodes.get(&end))
                .is_some_and(|node| matches!(node.kind, EntryKind::File { .. }))
        }
    }
}

fn is_executable(node: &Node) -> bool {
    matches!(node.kind, EntryKind::File { mode, .. } if mode & 0o111 != 0)
}

/// `libx.so`, `libx.so.1.2`.
fn is_library(name: &str) -> bool {
    name.split('.').skip(1).any(|part| part == "so")
}

/// Directories above a path.
fn depth(path: &str) -> usize {
    path.matches('/').count()
}

/// Whether a file name is `wanted` followed by nothing but words for platforms and versions:
/// `rg-15.1.0-x86_64-unknown-linux-musl`.
fn is_decorated(name: &str, wanted: &str) -> bool {
    let Some(rest) = name.strip_prefix(wanted) else { return false };
    rest.starts_with(['-', '_', '.', '@'])
        && rest.split(['-', '_', '.', '@', '+']).filter(|word| !word.is_empty()).all(|word| {
            let word = word.to_ascii_lowercase();
            PLATFORM_WORDS.contains(&word.as_str())
                || word.trim_start_matches('v').bytes().all(|byte| byte.is_ascii_digit())
        })
}
