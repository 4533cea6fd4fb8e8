//! What a source offers, described in text and served as it is, or as it should not be.
//!
//! ```text
//! kind github acme/tool                   (or: kind local, kind http)
//! release v1.0.0
//!   tool-linux-x86_64.tar.gz: tar tool README+0644
//!   SHA256SUMS: sums
//! release v1.0.0-moved tag=v1.0.0 later   (only after `publish v1.0.0-moved`)
//!   tool-linux-x86_64.tar.gz: tar tool
//! ```
//!
//! A file is `tar`, `gz` or `plain` with entries, `sums` or `wrong-sums` of the files before it, or
//! `text` with words. An entry is `PATH[+MODE][=KIND]`; its kind is a script that says the release's
//! name, or `same`, which does not, or `text`, or a program for `aarch64`, or one that needs `glibc-9.99`.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use data_encoding::HEXLOWER;
use flate2::Compression;
use flate2::write::GzEncoder;
use sha2::{Digest as _, Sha256};

use super::github::{GitHub, release};
use super::server::{Reply, Server};
use super::tree;

/// When a release was published that does not say it.
const PUBLISHED: &str = "2026-01-01T00:00:00Z";

/// Version 1.0.0, and 1.1.0 once that is published.
pub const TWO_RELEASES: &str = "kind local
release 1.0.0
  tool-linux-x86_64.tar.gz: tar tool
  SHA256SUMS: sums
release 1.1.0 later
  tool-linux-x86_64.tar.gz: tar tool
  SHA256SUMS: sums
";

/// One release that is or could be offered.
#[derive(Clone, Debug)]
struct Block {
    name: String,
    tag: String,
    options: Vec<String>,
    offered: bool,
    files: Vec<(String, Vec<u8>, Vec<String>)>,
}

impl Block {
    fn option(&self, name: &str) -> Option<&str> {
        self.options.iter().find_map(|option| option.strip_prefix(name)?.strip_prefix('='))
    }

    fn has(&self, name: &str) -> bool {
        self.options.iter().any(|option| option == name)
    }
}

/// A source with what it offers now.
pub struct Offer {
    blocks: Vec<Block>,
    place: Place,
    mirror: Server,
}

enum Place {
    Local(PathBuf),
    Http { server: Server, files: PathBuf, down: Arc<AtomicBool> },
    Github { github: GitHub, repo: String },
}

impl Offer {
    /// A source as described; files of directories are made below `below`.
    pub fn start(text: &str, below: &Path) -> Self {
        let lines = text.lines().filter(|line| !line.trim().is_empty() && !line.starts_with('#'));
        let mut kind = Vec::new();
        let mut blocks: Vec<Block> = Vec::new();
        for line in lines {
            let words: Vec<&str> = line.split_whitespace().collect();
            match words[..] {
                ["kind", ..] => kind = words[1..].to_vec(),
                ["release", name, ..] => blocks.push(block(name, &words[2..])),
                _ => add_file(blocks.last_mut().unwrap(), &words),
            }
        }
        let files = below.join("source");
        std::fs::create_dir_all(&files).unwrap();
        let mirror = Server::start();
        mirror.handle(|_| Some(Reply::file("not what it should be")));
        let place = match kind[..] {
            ["local"] => Place::Local(files),
            ["http"] => http(files),
            ["github", repo] => Place::Github { github: GitHub::start(), repo: (*repo).to_owned() },
            _ => panic!("no such kind of source: {kind:?}"),
        };
        let offer = Self { blocks, place, mirror };
        offer.serve();
        offer
    }

    /// The text that a desired state names the source by, for `$SOURCE`.
    pub fn address(&self) -> String {
        match &self.place {
            Place::Local(files) => files.display().to_string(),
            Place::Http { server, .. } => server.url("/files"),
            Place::Github { github, .. } => github.api.url(""),
        }
    }

    /// Another place that offers the same names with other bytes, for `$MIRROR`.
    pub fn mirror(&self) -> String {
        self.mirror.url("/files")
    }

    /// `HOST:PORT` of the source, for `$HOST`; empty for a local directory.
    pub fn host(&self) -> String {
        match &self.place {
            Place::Local(_) => String::new(),
            Place::Http { server, .. } => server.authority(),
            Place::Github { github, .. } => github.api.authority(),
        }
    }

    /// Texts with port numbers, and what to write instead of them.
    pub fn moving_texts(&self) -> Vec<(String, &'static str)> {
        let mut texts = vec![(self.mirror.url(""), "[MIRROR]")];
        match &self.place {
            Place::Local(_) => {}
            Place::Http { server, .. } => texts.push((server.url(""), "[SERVER]")),
            Place::Github { github, .. } => {
                texts.push((github.api.url(""), "[API]"));
                texts.push((github.files.url(""), "[FILES]"));
                texts.push((github.api.authority(), "[API]"));
            }
        }
        texts
    }

    /// Offers a release from now on, instead of another one of its tag.
    pub fn publish(&mut self, name: &str) {
        let tag = self.blocks.iter().find(|block| block.name == name).unwrap().tag.clone();
        for block in self.blocks.iter_mut().filter(|block| block.tag == tag) {
            block.offered = block.name == name;
        }
        self.serve();
    }

    /// Offers a release no longer.
    pub fn withdraw(&mut self, name: &str) {
        self.blocks.iter_mut().find(|block| block.name == name).unwrap().offered = false;
        self.serve();
    }

    /// Nothing can be had from the source any more.
    pub fn go_down(&self) {
        match &self.place {
            Place::Local(files) => std::fs::rename(files, files.with_extension("away")).unwrap(),
            Place::Http { down, .. } => down.store(true, Ordering::Relaxed),
            Place::Github { github, .. } => github.refuse_with(Some(Reply::status(401))),
        }
    }

    /// The source is rate-limited until then, in seconds since 1970.
    pub fn limit_until(&self, reset: i64) {
        if let Place::Github { github, .. } = &self.place {
            github.refuse_with(Some(Reply::rate_limited(403, reset)));
        }
    }

    /// The source is there again.
    pub fn come_up(&self) {
        match &self.place {
            Place::Local(files) => std::fs::rename(files.with_extension("away"), files).unwrap(),
            Place::Http { down, .. } => down.store(false, Ordering::Relaxed),
            Place::Github { github, .. } => github.refuse_with(None),
        }
    }

    /// Answers only to whoever has this token.
    pub fn demand_token(&self, token: &str) {
        if let Place::Github { github, .. } = &self.place {
            github.demand_token(token);
        }
    }

    fn serve(&self) {
        let offered = self.blocks.iter().filter(|block| block.offered);
        match &self.place {
            Place::Local(files) | Place::Http { files, .. } => {
                tree::remove(files);
                std::fs::create_dir_all(files).unwrap();
                for block in offered {
                    for (name, bytes, _) in &block.files {
                        tree::write(&files.join(&block.tag).join(name), bytes);
                    }
                }
            }
            Place::Github { github, repo } => {
                let newest_first: Vec<&Block> = offered.rev().collect();
                github.publish(repo, newest_first.into_iter().map(fake));
            }
        }
    }
}

fn fake(block: &Block) -> super::github::FakeRelease {
    let mut fake = release(&block.tag).published(block.option("published").unwrap_or(PUBLISHED));
    if block.has("prerelease") {
        fake = fake.prerelease();
    }
    for (name, bytes, options) in &block.files {
        fake = fake.asset(name, bytes.clone());
        for option in options {
            fake = match option.as_str() {
                "no-digest" => fake.without_digest(),
                "uploading" => fake.uploading(),
                other => panic!("no such option: {other}"),
            };
        }
    }
    fake
}

fn http(files: PathBuf) -> Place {
    let server = Server::start();
    let down = Arc::new(AtomicBool::new(false));
    let (root, flag) = (files.clone(), Arc::clone(&down));
    server.handle(move |request| {
        if flag.load(Ordering::Relaxed) {
            return Some(Reply::status(401));
        }
        let path = root.join(request.bare_path().strip_prefix("/files/")?);
        if !path.is_dir() {
            return std::fs::read(path).ok().map(Reply::file);
        }
        let mut names: Vec<String> = std::fs::read_dir(path)
            .unwrap()
            .map(|entry| {
                let entry = entry.unwrap();
                let slash = if entry.file_type().unwrap().is_dir() { "/" } else { "" };
                format!("{}{slash}", entry.file_name().to_str().unwrap())
            })
            .collect();
        names.sort();
        let links = names.iter().map(|name| format!("<a href=\"{name}\">{name}</a>\n"));
        Some(Reply::file(links.collect::<String>()).header("Content-Type", "text/html"))
    });
    Place::Http { server, files, down }
}

fn block(name: &str, options: &[&str]) -> Block {
    let options: Vec<String> = options.iter().map(|option| (*option).to_owned()).collect();
    let mut block = Block {
        name: name.to_owned(),
        tag: name.to_owned(),
        offered: !options.iter().any(|option| option == "later"),
        options,
        files: Vec::new(),
    };
    if let Some(tag) = block.option("tag") {
        block.tag = tag.to_owned();
    }
    block
}

fn add_file(block: &mut Block, words: &[&str]) {
    let name = words[0].strip_suffix(':').unwrap();
    let (options, entries): (Vec<&str>, Vec<&str>) =
        words[2..].iter().partition(|word| matches!(**word, "no-digest" | "uploading"));
    let entries = || entries.iter().map(|entry| Entry::parse(entry, &block.name));
    let bytes = match words[1] {
        "tar" => gzipped(&tarred(entries())),
        "gz" => gzipped(&entries().next().unwrap().content),
        "plain" => entries().next().unwrap().content,
        "text" => format!("{}\n", words[2..].join(" ")).into_bytes(),
        "sums" => sums(block, |bytes| HEXLOWER.encode(&Sha256::digest(bytes))),
        "wrong-sums" => sums(block, |_| "0".repeat(64)),
        other => panic!("no such kind of file: {other}"),
    };
    let options = options.into_iter().map(ToOwned::to_owned).collect();
    block.files.push((name.to_owned(), bytes, options));
}

fn sums(block: &Block, digest: impl Fn(&[u8]) -> String) -> Vec<u8> {
    let lines = block.files.iter().map(|(name, bytes, _)| format!("{}  {name}\n", digest(bytes)));
    lines.collect::<String>().into_bytes()
}

/// One file of an archive.
struct Entry {
    path: String,
    mode: u32,
    content: Vec<u8>,
}

impl Entry {
    fn parse(text: &str, release: &str) -> Self {
        let (text, kind) = text.split_once('=').unwrap_or((text, "script"));
        let (path, mode) = text.split_once('+').unwrap_or((text, "0755"));
        let name = path.rsplit('/').next().unwrap();
        let content = match kind.split_once('-') {
            Some(("glibc", version)) => elf(62, Some(version)),
            None if kind == "aarch64" => elf(183, None),
            None if kind == "text" => format!("{name} of {release}\n").into_bytes(),
            None if kind == "same" => format!("#!/bin/sh\necho {name}\n").into_bytes(),
            None if kind == "script" => format!("#!/bin/sh\necho {name} {release}\n").into_bytes(),
            _ => panic!("no such kind of entry: {kind}"),
        };
        Self { path: path.to_owned(), mode: u32::from_str_radix(mode, 8).unwrap(), content }
    }
}

fn tarred(entries: impl Iterator<Item = Entry>) -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    for Entry { path, mode, content } in entries {
        let mut header = tar::Header::new_gnu();
        header.set_mode(mode);
        header.set_mtime(1_700_000_000);
        header.set_size(content.len() as u64);
        builder.append_data(&mut header, &path, content.as_slice()).unwrap();
    }
    builder.into_inner().unwrap()
}

fn gzipped(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

/// A 64-bit program for a machine, which needs a version of GNU libc if one is given.
fn elf(machine: u64, glibc: Option<&str>) -> Vec<u8> {
    const HEADERS: u64 = 64 + 2 * 56;
    const DYNAMIC: u64 = 4 * 16;
    let needs = HEADERS + DYNAMIC;
    let names = needs + 32;
    let name = format!("\0GLIBC_{}\0", glibc.unwrap_or("2.2.5"));
    let end = names + name.len() as u64;
    let mut file = b"\x7fELF\x02\x01\x01".to_vec();
    file.resize(16, 0);
    // Type, machine, version, entry, phoff, shoff, flags; sizes and numbers of headers.
    put(&mut file, 2, &[2, machine]);
    put(&mut file, 4, &[1]);
    put(&mut file, 8, &[0, 64, 0]);
    put(&mut file, 4, &[0]);
    put(&mut file, 2, &[64, 56, 2, 0, 0, 0]);
    // One loaded segment that is the whole file, and the dynamic section in it.
    for (kind, offset, size) in [(1, 0, end), (2, HEADERS, DYNAMIC)] {
        put(&mut file, 4, &[kind, 5]);
        put(&mut file, 8, &[offset, offset, offset, size, size, 8]);
    }
    // DT_STRTAB, DT_VERNEED, DT_VERNEEDNUM, DT_NULL.
    let number = u64::from(glibc.is_some());
    put(&mut file, 8, &[5, names, 0x6fff_fffe, needs, 0x6fff_ffff, number, 0, 0]);
    // One needed library with one needed version.
    put(&mut file, 2, &[1, 1]);
    put(&mut file, 4, &[0, 16, 0, 0]);
    put(&mut file, 2, &[0, 2]);
    put(&mut file, 4, &[1, 0]);
    file.extend(name.as_bytes());
    file
}

/// Appends numbers of so many bytes each.
fn put(file: &mut Vec<u8>, width: usize, numbers: &[u64]) {
    for number in numbers {
        file.extend(&number.to_le_bytes()[..width]);
    }
}
