//! Archives and artifacts for tests, good and hostile, built byte by byte.

use std::io::Write;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use reconcile::model::manifest::{Entry, EntryKind};
use reconcile::model::step::{Binaries, Strip, UnpackLimits, UnpackRules};
use reconcile::model::{Algorithm, Blob, Digest, Evidence, Level, Subject};
use reconcile::trust::{self, Verified};
use reconcile::unpack::{Refused, UnpackError, Unpacked, unpack};
use sha2::{Digest as _, Sha256};

/// 2023-11-14, a time that is kept as it is.
pub const MTIME: u64 = 1_700_000_000;

/// A script that stands for a program.
pub const SCRIPT: &[u8] = b"#!/bin/sh\necho hello\n";

/// A place for an artifact and its staging directory, with a canary beside them.
pub struct World {
    dir: tempfile::TempDir,
    pub rules: UnpackRules,
}

impl World {
    pub fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("canary")).unwrap();
        std::fs::write(dir.path().join("canary/file"), "alive").unwrap();
        let rules = UnpackRules {
            strip: Strip::Auto,
            binaries: Binaries::AnyExecutable,
            bare_name: "tool".to_owned(),
            limits: UnpackLimits::default(),
        };
        Self { dir, rules }
    }

    pub fn staging(&self) -> PathBuf {
        self.dir.path().join("staging")
    }

    pub fn unpack(&self, name: &str, bytes: &[u8]) -> Result<Unpacked, UnpackError> {
        let path = self.dir.path().join("blob");
        std::fs::write(&path, bytes).unwrap();
        unpack(&verified(&path, bytes), name, &self.staging(), &self.rules)
    }

    /// Everything in the world but the artifact and the staging directory.
    pub fn outside(&self) -> Vec<(PathBuf, String)> {
        let mut found = Vec::new();
        for entry in walk(self.dir.path()) {
            if entry.starts_with(self.staging()) || entry.ends_with("blob") {
                continue;
            }
            let content = std::fs::read_to_string(&entry).unwrap_or_default();
            found.push((entry, content));
        }
        found
    }
}

/// Every path below `dir`, links not followed.
pub fn walk(dir: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(dir).unwrap() {
        let entry = entry.unwrap();
        found.push(entry.path());
        if entry.file_type().unwrap().is_dir() {
            found.extend(walk(&entry.path()));
        }
    }
    found.sort();
    found
}

pub fn verified(path: &Path, bytes: &[u8]) -> Verified<Blob> {
    let digest = Digest::new(Algorithm::Sha256, &Sha256::digest(bytes)).unwrap();
    let blob =
        Blob { path: path.to_owned(), size: bytes.len() as u64, digests: vec![digest.clone()] };
    let evidence = Evidence {
        signer: None,
        level: Level::Digest,
        digests: vec![digest],
        of: Subject::Artifact,
        stated_by: "the test".to_owned(),
    };
    trust::verify(blob, &evidence).unwrap()
}

/// Paths of entries with a letter for their kind: `f bin/x`, `d bin`, `l a -> b`.
pub fn listing(entries: &[Entry]) -> Vec<String> {
    let show = |entry: &Entry| match &entry.kind {
        EntryKind::File { mode, .. } if mode & 0o111 != 0 => format!("x {}", entry.path),
        EntryKind::File { .. } => format!("f {}", entry.path),
        EntryKind::Dir { .. } => format!("d {}", entry.path),
        EntryKind::Link { target } => format!("l {} -> {target}", entry.path),
    };
    entries.iter().map(show).collect()
}

/// A tar archive in the making.
#[derive(Clone, Default)]
pub struct Tar(pub Vec<u8>);

impl Tar {
    /// An entry with a header that `change` may spoil before its checksum is made.
    pub fn raw(
        mut self,
        name: &[u8],
        kind: u8,
        data: &[u8],
        change: impl FnOnce(&mut tar::Header),
    ) -> Self {
        let mut header = tar::Header::new_gnu();
        header.as_old_mut().name[..name.len()].copy_from_slice(name);
        header.set_entry_type(tar::EntryType::new(kind));
        header.set_mode(0o644);
        header.set_mtime(MTIME);
        header.set_uid(0);
        header.set_gid(0);
        header.set_size(data.len() as u64);
        change(&mut header);
        header.set_cksum();
        self.0.extend_from_slice(header.as_bytes());
        self.data(data)
    }

    /// Content, padded to whole blocks.
    pub fn data(mut self, data: &[u8]) -> Self {
        self.0.extend_from_slice(data);
        self.0.resize(self.0.len().next_multiple_of(512), 0);
        self
    }

    pub fn file(self, name: &str, mode: u32, data: &[u8]) -> Self {
        self.raw(name.as_bytes(), b'0', data, |header| header.set_mode(mode))
    }

    pub fn dir(self, name: &str) -> Self {
        self.raw(name.as_bytes(), b'5', b"", |header| header.set_mode(0o755))
    }

    pub fn link(self, name: &str, target: &str) -> Self {
        self.raw(name.as_bytes(), b'2', b"", |header| {
            header.set_link_name_literal(target).unwrap();
        })
    }

    pub fn hard(self, name: &str, target: &str) -> Self {
        self.raw(name.as_bytes(), b'1', b"", |header| {
            header.set_link_name_literal(target).unwrap();
        })
    }

    /// An extended header for the next entry.
    pub fn pax(self, records: &[(&str, &str)]) -> Self {
        self.raw(b"PaxHeaders/x", b'x', &pax_records(records), |_| ())
    }

    pub fn global(self, records: &[(&str, &str)]) -> Self {
        self.raw(b"pax_global_header", b'g', &pax_records(records), |_| ())
    }

    /// The finished archive.
    pub fn end(mut self) -> Vec<u8> {
        self.0.resize(self.0.len() + 1024, 0);
        self.0
    }
}

pub fn pax_records(records: &[(&str, &str)]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for (key, value) in records {
        let rest = key.len() + value.len() + 3;
        let mut length = rest + 1;
        while length != rest + length.to_string().len() {
            length += 1;
        }
        writeln!(bytes, "{length} {key}={value}").unwrap();
    }
    bytes
}

/// A release as most are: one top directory, a program, a text.
pub fn usual() -> Tar {
    Tar::default().dir("tool-1.0/").file("tool-1.0/README", 0o644, b"read me\n").file(
        "tool-1.0/tool",
        0o755,
        SCRIPT,
    )
}

/// What [`usual`] becomes.
pub const USUAL: [&str; 2] = ["f README", "x tool"];

pub fn gz(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::new(6));
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

pub fn xz(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = liblzma::write::XzEncoder::new(Vec::new(), 0);
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

pub fn zst(bytes: &[u8]) -> Vec<u8> {
    zstd::encode_all(bytes, 1).unwrap()
}

pub fn bz2(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = bzip2::write::BzEncoder::new(Vec::new(), bzip2::Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

/// A zip archive of `(name, Unix mode or none, content)`.
pub fn zip_of(entries: &[(&str, Option<u32>, &[u8])]) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut central = Vec::new();
    for (name, mode, content) in entries {
        zip_entry(&mut bytes, &mut central, name.as_bytes(), *mode, content);
    }
    zip_end(bytes, &central, entries.len())
}

pub fn zip_entry(
    bytes: &mut Vec<u8>,
    central: &mut Vec<u8>,
    name: &[u8],
    mode: Option<u32>,
    content: &[u8],
) {
    let mut crc = flate2::Crc::new();
    crc.update(content);
    let mut packed = flate2::write::DeflateEncoder::new(Vec::new(), flate2::Compression::new(6));
    packed.write_all(content).unwrap();
    let packed = packed.finish().unwrap();
    let offset = u32::try_from(bytes.len()).unwrap();
    let mut fields = Vec::new();
    fields.extend(20_u16.to_le_bytes());
    fields.extend(0_u16.to_le_bytes());
    fields.extend(8_u16.to_le_bytes());
    // 12:00:00 on 2023-11-14.
    fields.extend(0x6000_u16.to_le_bytes());
    fields.extend(0x576e_u16.to_le_bytes());
    fields.extend(crc.sum().to_le_bytes());
    fields.extend(u32::try_from(packed.len()).unwrap().to_le_bytes());
    fields.extend(u32::try_from(content.len()).unwrap().to_le_bytes());
    fields.extend(u16::try_from(name.len()).unwrap().to_le_bytes());
    fields.extend(0_u16.to_le_bytes());
    bytes.extend(b"PK\x03\x04");
    bytes.extend(&fields);
    bytes.extend(name);
    bytes.extend(packed);
    central.extend(b"PK\x01\x02");
    let system = if mode.is_some() { 3_u16 } else { 0 };
    central.extend((0x14 | system << 8).to_le_bytes());
    central.extend(&fields);
    central.extend([0; 6]);
    central.extend((mode.unwrap_or(0) << 16).to_le_bytes());
    central.extend(offset.to_le_bytes());
    central.extend(name);
}

pub fn zip_end(mut bytes: Vec<u8>, central: &[u8], entries: usize) -> Vec<u8> {
    let start = u32::try_from(bytes.len()).unwrap();
    let entries = u16::try_from(entries).unwrap();
    bytes.extend(central);
    bytes.extend(b"PK\x05\x06\0\0\0\0");
    bytes.extend(entries.to_le_bytes());
    bytes.extend(entries.to_le_bytes());
    bytes.extend(u32::try_from(central.len()).unwrap().to_le_bytes());
    bytes.extend(start.to_le_bytes());
    bytes.extend(0_u16.to_le_bytes());
    bytes
}

/// What an archive must be refused with.
#[derive(Clone, Copy, Debug)]
pub enum Expect {
    Entry(Refused),
    Damaged,
    Zip,
    CutShort,
    Limit(&'static str),
    Stream,
    Disagrees,
    Unknown,
}

impl Expect {
    pub fn fits(self, error: &UnpackError) -> bool {
        match (self, error) {
            (Self::Entry(wanted), UnpackError::Entry { why, .. }) => wanted == *why,
            (Self::Limit(wanted), UnpackError::Limit { what, .. }) => wanted == *what,
            (Self::Damaged, UnpackError::Damaged { .. })
            | (Self::Zip, UnpackError::Zip(_) | UnpackError::Damaged { .. })
            | (Self::CutShort, UnpackError::CutShort { .. })
            | (Self::Stream, UnpackError::Stream { .. })
            | (Self::Disagrees, UnpackError::Disagrees { .. })
            | (Self::Unknown, UnpackError::Unknown { .. }) => true,
            _ => false,
        }
    }
}

/// Unpacks in a fresh world and looks that the rest of it is as before.
pub fn assert_refused(what: &str, name: &str, bytes: &[u8], expect: Expect) {
    assert_refused_in(&World::new(), what, name, bytes, expect);
}

pub fn assert_refused_in(world: &World, what: &str, name: &str, bytes: &[u8], expect: Expect) {
    let before = world.outside();
    let error = match world.unpack(name, bytes) {
        Ok(unpacked) => panic!("{what}: unpacked to {:?}", unpacked.entries),
        Err(error) => error,
    };
    assert!(expect.fits(&error), "{what}: expected {expect:?}, got {error:?}");
    assert!(!error.to_string().chars().any(char::is_control), "{what}: {error:?}");
    assert_eq!(world.outside(), before, "{what}");
    assert!(!world.staging().exists(), "{what}: staging stays");
}

pub fn assert_tars_refused(cases: Vec<(&str, Tar, Refused)>) {
    for (what, tar, why) in cases {
        let tar = tar.file("tool", 0o755, SCRIPT).end();
        assert_refused(what, "t.tar.gz", &gz(&tar), Expect::Entry(why));
    }
}

/// An empty archive.
pub fn tar() -> Tar {
    Tar::default()
}

/// Writes the same into the first local header and the first central one.
pub fn patched(zip: &[u8], local: usize, central: usize, value: &[u8]) -> Vec<u8> {
    let mut zip = zip.to_vec();
    let directory = zip.windows(4).position(|window| window == b"PK\x01\x02").unwrap();
    zip[local..local + value.len()].copy_from_slice(value);
    let at = directory + central;
    zip[at..at + value.len()].copy_from_slice(value);
    zip
}

/// The disk must hold exactly what the entries say.
pub fn assert_disk_agrees(world: &World, entries: &[Entry]) {
    let into = world.staging();
    assert_eq!(std::fs::metadata(&into).unwrap().mode() & 0o7777, 0o755);
    let mut on_disk: Vec<PathBuf> =
        walk(&into).iter().map(|path| path.strip_prefix(&into).unwrap().to_owned()).collect();
    on_disk.sort();
    let mut listed: Vec<PathBuf> = entries.iter().map(|entry| PathBuf::from(&entry.path)).collect();
    listed.sort();
    assert_eq!(on_disk, listed);
    for entry in entries {
        let path = into.join(&entry.path);
        let about = std::fs::symlink_metadata(&path).unwrap();
        match &entry.kind {
            EntryKind::Dir { mode } => {
                assert!(about.is_dir());
                assert_eq!(about.mode() & 0o7777, *mode);
            }
            EntryKind::Link { target } => {
                assert_eq!(std::fs::read_link(&path).unwrap(), PathBuf::from(target));
                assert!(path.exists(), "{} leads nowhere", entry.path);
            }
            EntryKind::File { mode, size, mtime, sha256 } => {
                let content = std::fs::read(&path).unwrap();
                let hash = <sha2::Sha256 as sha2::Digest>::digest(&content);
                assert_eq!(*sha256, data_encoding::HEXLOWER.encode(&hash));
                assert_eq!(
                    (about.mode() & 0o7777, about.len(), about.mtime()),
                    (*mode, *size, *mtime)
                );
            }
        }
    }
}
