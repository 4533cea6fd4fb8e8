//! Hostile patches and decompression bombs: how much memory they make the agent take.
//!
//! What is counted is the most that the kernel ever gave the process, beside what the same pass takes with nothing hostile
//! in it.

use std::io::Write as _;

use data_encoding::{BASE64, HEXLOWER};
use reconcile::format::bsdiff;
use reconcile::format::packed::Packing;
use sha2::{Digest as _, Sha256};

use crate::support::duo::RECONCILE;
use crate::support::server::{Reply, Server};
use crate::support::trace::{Act, Program, trace};
use crate::support::tree;
use crate::support::world::World;

/// What one pass may take beyond a harmless one. Every bomb here unpacks to ten times as much.
const MORE_KIB_MAX: u64 = 24 << 10;

/// What bombs unpack to.
const BOMB_BYTES: usize = 256 << 20;

/// What one member or stream of a bomb unpacks to: those are repeated.
const PART_BYTES: usize = 1 << 20;

fn program(version: &str) -> Vec<u8> {
    let mut program = format!("#!/bin/sh\necho tool {version}\nexit\n").into_bytes();
    let mut noise = 3_u32;
    program.extend((0..200_000).map(|_| {
        noise = noise.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (noise >> 24) as u8
    }));
    program
}

fn packed(packing: Packing, bytes: &[u8]) -> Vec<u8> {
    let mut packed = Vec::new();
    packing.pack(&mut &*bytes, &mut packed).unwrap();
    packed
}

/// Zeros without end, in as many members or streams.
fn bomb(packing: Packing) -> Vec<u8> {
    packed(packing, &vec![0; PART_BYTES]).repeat(BOMB_BYTES / PART_BYTES)
}

/// A host with 1.0 of a server that offers 1.1 with a patch from 1.0.
struct Site {
    server: Server,
    world: World,
}

impl Site {
    fn new() -> Self {
        let server = Server::start();
        let mut world = World::new();
        let wish = format!(
            "apps:\n  tool:\n    source: {{ selfupdate: {{ api: \"{}\", cmd: tool, platform: linux-amd64 }} }}\n    \
             verify: {{ min: checksum }}\n    limits: {{ download: 1GiB, file: 1GiB, unpacked: 1GiB, ratio: 100000 }}\n",
            server.url("")
        );
        world.wish("desired", &wish);
        let site = Self { server, world };
        site.offer("1.0");
        site.world.run(&[]).exits(0);
        site.offer("1.1");
        site
    }

    fn offer(&self, version: &str) {
        let sha256 = BASE64.encode(&Sha256::digest(program(version)));
        let manifest = format!(r#"{{"Version":"{version}","Sha256":"{sha256}"}}"#);
        self.server.serve("/tool/linux-amd64.json", Reply::file(manifest));
        self.whole(version, packed(Packing::Gzip, &program(version)));
    }

    fn whole(&self, version: &str, bytes: Vec<u8>) {
        let path = format!("/tool/{version}/linux-amd64.gz");
        self.server.serve(&path, Reply::file(bytes));
    }

    fn patch(&self, bytes: Vec<u8>) {
        self.server.serve("/tool/1.0/1.1/linux-amd64", Reply::file(bytes));
    }

    /// The exit code of a pass, the most memory that it took, and what it said.
    fn pass(&self) -> (i32, u64, String) {
        pass(&self.world)
    }
}

fn pass(world: &World) -> (i32, u64, String) {
    let text = |path: &std::path::Path| path.display().to_string();
    let arguments = ["--root".to_owned(), text(&world.root()), "--desired".to_owned()];
    let program = Program {
        path: RECONCILE.into(),
        arguments: arguments.into_iter().chain([text(&world.desired)]).collect(),
        environment: vec![("PATH".to_owned(), "/usr/bin:/bin".to_owned())],
    };
    let ended = trace(&program, Act::Watch);
    assert!(ended.peak_kib > 0, "{}", ended.said());
    (ended.code.unwrap(), ended.peak_kib, ended.said())
}

/// A patch in which each stream is given, and that promises so many bytes.
fn patch(promise: usize, control: &[u8], difference: &[u8], extra: &[u8]) -> Vec<u8> {
    let number = |value: usize| u64::try_from(value).unwrap().to_le_bytes();
    let mut patch = b"BSDIFF40".to_vec();
    for value in [control.len(), difference.len(), promise] {
        patch.extend(number(value));
    }
    [&patch, control, difference, extra].concat()
}

fn triple(add: usize, copy: usize) -> Vec<u8> {
    let number = |value: usize| u64::try_from(value).unwrap().to_le_bytes();
    packed(Packing::Bzip2, &[number(add), number(copy), number(0)].concat())
}

/// What a pass takes with a patch that is what it should be.
fn harmless() -> u64 {
    let site = Site::new();
    site.patch(bsdiff::make(&program("1.0"), &program("1.1")).unwrap());
    let (code, peak, said) = site.pass();
    assert_eq!(code, 0, "{said}");
    peak
}

#[test]
fn hostile_patches_take_no_more_memory_than_good_ones() {
    let harmless = harmless();
    let bomb = bomb(Packing::Bzip2);
    let own = bsdiff::make(&program("1.0"), &program("1.1")).unwrap();
    let mut promise = own.clone();
    promise[24..32].copy_from_slice(&(1_u64 << 60).to_le_bytes());
    let mut control = own.clone();
    control[8..16].copy_from_slice(&(1_u64 << 60).to_le_bytes());
    let cases = [
        ("a result of an exabyte", promise),
        ("a control stream of an exabyte", control),
        ("zeros added", patch(BOMB_BYTES, &triple(BOMB_BYTES, 0), &bomb, &[])),
        ("zeros copied", patch(BOMB_BYTES, &triple(0, BOMB_BYTES), &[], &bomb)),
        ("a control stream of zeros", patch(BOMB_BYTES, &bomb, &bomb, &bomb)),
        ("one stream for another", patch(1000, &bomb, &[], &[])),
        ("a patch in a patch", patch(BOMB_BYTES, &triple(BOMB_BYTES, 0), &own, &own)),
    ];
    for (name, patch) in cases {
        let site = Site::new();
        site.patch(patch);
        let (code, peak, said) = site.pass();
        println!("{name}: {peak} KiB, a good one {harmless} KiB");
        assert!(code == 0 && said.contains("was fetched whole"), "{name}: {code} {said}");
        assert!(peak < harmless + MORE_KIB_MAX, "{name}: {peak} KiB, a good one {harmless} KiB");
    }
}

#[test]
fn bomb_in_the_place_of_a_program_takes_no_more_memory_than_a_program() {
    let harmless = harmless();
    let site = Site::new();
    site.whole("1.1", bomb(Packing::Gzip));
    let (code, peak, said) = site.pass();
    println!("gzip: {peak} KiB, a good one {harmless} KiB");
    assert_ne!(code, 0, "{said}");
    assert!(peak < harmless + MORE_KIB_MAX, "{peak} KiB, a good one {harmless} KiB");
}

#[test]
fn zstd_patches_take_memory_by_the_program_that_is_here() {
    let mut world = World::new();
    let (built, repository) = (world.temp().join("built"), world.temp().join("repository"));
    let publish = |version: &str| {
        tree::write(&built.join("tool"), &program(version));
        let (built, to) = (built.display().to_string(), repository.display().to_string());
        world.run(&["publish", "release", &built, "--to", &to, "--version", version]).exits(0);
    };
    publish("1.0");
    let wish = format!(
        "apps:\n  tool:\n    source: {{ file: {} }}\n    asset: tool\n    limits: {{ file: 1GiB, ratio: 100000 }}\n",
        repository.display()
    );
    publish("1.1");
    let list = repository.join("1.1/deltas.json");
    let good = std::fs::read(repository.join("1.1/deltas/1.0/tool.zst")).unwrap();
    // Much of a window is only taken once something is in it.
    let mut encoder = zstd::stream::write::Encoder::new(Vec::new(), 1).unwrap();
    encoder.window_log(30).unwrap();
    for _ in 0..BOMB_BYTES / PART_BYTES {
        encoder.write_all(&vec![0; PART_BYTES]).unwrap();
    }
    let wide = encoder.finish().unwrap();
    let mut peaks = Vec::new();
    for patch in [&good, &wide] {
        let text = std::fs::read_to_string(&list).unwrap();
        let mut listed: serde_json::Value = serde_json::from_str(&text).unwrap();
        let entry = first_object(&mut listed);
        entry["size"] = patch.len().into();
        entry["sha256"] = HEXLOWER.encode(&Sha256::digest(patch)).into();
        let text = listed.to_string();
        std::fs::write(&list, &text).unwrap();
        std::fs::write(repository.join("1.1/deltas/1.0/tool.zst"), patch).unwrap();
        let digest = HEXLOWER.encode(&Sha256::digest(&text));
        for sums in ["1.1/SHA256SUMS", "SHA256SUMS"] {
            let old = std::fs::read_to_string(repository.join(sums)).unwrap();
            let line = |line: &str| match line.split_once("  ") {
                Some((_, name)) if name.ends_with("deltas.json") => format!("{digest}  {name}\n"),
                _ => format!("{line}\n"),
            };
            std::fs::write(repository.join(sums), old.lines().map(line).collect::<String>())
                .unwrap();
        }
        tree::remove(&world.root());
        std::fs::create_dir_all(world.root()).unwrap();
        world.wish("desired", &wish.replace("    asset", "    version: \"1.0\"\n    asset"));
        world.run(&[]).exits(0);
        world.wish("desired", &wish);
        let plan = world.run(&["--dry-run"]).exits(0).stdout;
        assert!(plan.contains("patch /opt/tool/releases/1.0/tool"), "{plan}");
        let (code, peak, said) = pass(&world);
        assert_eq!(code, 0, "{said}");
        assert_eq!(said.contains("was fetched whole"), patch == &wide, "{said}");
        peaks.push(peak);
    }
    println!("zstd: {peaks:?} KiB");
    assert!(peaks[1] < peaks[0] + MORE_KIB_MAX, "{peaks:?}");
}

/// The first entry of a list, wherever in its document the list is.
fn first_object(value: &mut serde_json::Value) -> &mut serde_json::Value {
    match value {
        serde_json::Value::Array(list) => &mut list[0],
        serde_json::Value::Object(map) => {
            let list = map.values_mut().find(|value| value.is_array()).unwrap();
            first_object(list)
        }
        _ => panic!("a list is expected"),
    }
}

/// A program of that size in a packing, of which almost all is zeros.
fn large(end: &str) -> Vec<u8> {
    let script = b"#!/bin/sh\nexit\n";
    match end {
        "gz" => [packed(Packing::Gzip, script), bomb(Packing::Gzip)].concat(),
        "bz2" => [packed(Packing::Bzip2, script), bomb(Packing::Bzip2)].concat(),
        "xz" => {
            let mut encoder = liblzma::write::XzEncoder::new(Vec::new(), 1);
            encoder.write_all(script).unwrap();
            for _ in 0..BOMB_BYTES / PART_BYTES {
                encoder.write_all(&vec![0; PART_BYTES]).unwrap();
            }
            encoder.finish().unwrap()
        }
        _ => {
            let part = zstd::encode_all(&vec![0; PART_BYTES][..], 1).unwrap();
            let parts = part.repeat(BOMB_BYTES / PART_BYTES);
            [zstd::encode_all(&script[..], 1).unwrap(), parts].concat()
        }
    }
}

#[test]
fn packed_programs_of_any_size_take_the_same_memory() {
    let harmless = harmless();
    for end in ["gz", "bz2", "xz", "zst"] {
        let mut world = World::new();
        let name = format!("tool-1.0-linux-x86_64.{end}");
        let (place, bytes) = (world.temp().join("source"), large(end));
        std::fs::create_dir(&place).unwrap();
        std::fs::write(place.join(&name), &bytes).unwrap();
        let wish = format!(
            "apps:\n  tool:\n    source: {{ file: {} }}\n    asset: {name}\n    verify: {{ min: lock }}\n    \
             limits: {{ file: 1GiB, unpacked: 1GiB, ratio: 100000 }}\n",
            place.display()
        );
        world.wish("desired", &wish);
        let (code, peak, said) = pass(&world);
        println!("{end}: {} bytes, {peak} KiB, a good one {harmless} KiB", bytes.len());
        assert_eq!(code, 0, "{end}: {said}");
        assert!(peak < harmless + MORE_KIB_MAX, "{end}: {peak} KiB, a good one {harmless} KiB");
    }
}
