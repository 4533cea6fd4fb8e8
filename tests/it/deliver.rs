//! Single programs from the repositories of go-updater and go-selfupdate, whole and by patches.
//!
//! Names that start with `g` or `s` and a number are failures of those programs that do not happen here.

use data_encoding::{BASE64, HEXLOWER};
use reconcile::format::bsdiff;
use reconcile::format::packed::Packing;
use sha2::{Digest as _, Sha256};

use crate::support::server::{Reply, Server};
use crate::support::tree;
use crate::support::world::World;

const CHORIA: &str = "/1.0.0/linux/amd64";

/// A program that says its version and is large enough for patches to be worth something.
fn program(version: &str) -> Vec<u8> {
    let mut program = format!("#!/bin/sh\necho tool {version}\nexit\n").into_bytes();
    let mut state = 11_u32;
    program.extend((0..20_000).map(|_| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 24) as u8
    }));
    program
}

fn packed(packing: Packing, bytes: &[u8]) -> Vec<u8> {
    let mut packed = Vec::new();
    packing.pack(&mut &*bytes, &mut packed).unwrap();
    packed
}

fn release_json(binary: &str, program: &[u8]) -> String {
    format!(r#"{{"binary":"{binary}","hash":"{}"}}"#, HEXLOWER.encode(&Sha256::digest(program)))
}

fn manifest(version: &str, program: &[u8]) -> String {
    let sha256 = BASE64.encode(&Sha256::digest(program));
    format!(r#"{{"Version":"{version}","Sha256":"{sha256}"}}"#)
}

/// A host that wishes for `tool`.
fn host(wish: &str) -> World {
    let mut world = World::new();
    again(&mut world, wish);
    world
}

fn again(world: &mut World, wish: &str) {
    world.wish("desired", &format!("apps:\n  tool:\n{wish}"));
    world.tick();
}

fn selfupdate(server: &Server, more: &str) -> String {
    format!(
        "    source: {{ selfupdate: {{ api: \"{}\", cmd: tool, platform: linux-amd64 }} }}\n    \
         verify: {{ min: checksum }}\n{more}",
        server.url("")
    )
}

fn installed(world: &World) -> Vec<u8> {
    std::fs::read(world.path("/opt/tool/bin/tool")).unwrap()
}

/// Names below a directory of the host.
fn below(world: &World, path: &str) -> Vec<String> {
    let Ok(entries) = std::fs::read_dir(world.path(path)) else { return Vec::new() };
    entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
}

fn offer(server: &Server, version: &str, program: &[u8]) {
    server.serve("/tool/linux-amd64.json", Reply::file(manifest(version, program)));
    let whole = format!("/tool/{version}/linux-amd64.gz");
    server.serve(&whole, Reply::file(packed(Packing::Gzip, program)));
}

fn offer_patch(server: &Server, patch: impl Into<Vec<u8>>) {
    server.serve("/tool/1.0/1.1/linux-amd64", Reply::file(patch.into()));
}

/// A host with 1.0 of a server that now has 1.1.
fn outdated(more: &str) -> (Server, World) {
    let server = Server::start();
    offer(&server, "1.0", &program("1.0"));
    let mut world = host(&selfupdate(&server, more));
    world.run(&[]).exits(0);
    world.tick();
    offer(&server, "1.1", &program("1.1"));
    server.take_requests();
    (server, world)
}

#[test]
fn choria_release_is_installed_once_and_then_nothing_is_asked() {
    let server = Server::start();
    server.serve(
        &format!("{CHORIA}/release.json"),
        Reply::file(release_json("tool.bz2", &program("1"))),
    );
    let two =
        [packed(Packing::Bzip2, &program("1")[..9]), packed(Packing::Bzip2, &program("1")[9..])];
    server.serve(&format!("{CHORIA}/tool.bz2"), Reply::file(two.concat()));
    let world = host(&format!(
        "    version: 1.0.0\n    source: {{ choria: {{ url: \"{}\", name: tool, arch: amd64 }} }}\n    \
         verify: {{ min: checksum }}\n",
        server.url("")
    ));
    world.run(&[]).exits(0);
    assert!(installed(&world) == program("1"));
    server.take_requests();
    assert!(world.run(&[]).exits(0).stdout.starts_with("No changes"));
    assert_eq!(server.paths(), [""; 0]);
}

#[test]
fn choria_on_this_host_tells_its_versions_and_takes_raw_programs() {
    let world = World::new();
    for version in ["1.0.0", "1.10.0", "1.9.0"] {
        let place = world.temp().join("repo").join(version).join("linux/amd64");
        let program = program(version);
        tree::write(&place.join("release.json"), release_json("tool", &program).as_bytes());
        tree::write(&place.join("tool"), &program);
    }
    let mut world = world;
    again(&mut world, "    source: { choria: { url: ../repo, arch: amd64 } }\n");
    let listed = world.run(&["list", "app/tool"]).exits(0).stdout;
    assert!(listed.find("1.10.0").unwrap() < listed.find("1.9.0").unwrap(), "{listed}");
    world.run(&[]).exits(0);
    assert!(installed(&world) == program("1.10.0"));
}

#[test]
fn choria_on_the_web_needs_a_version() {
    let mut world = host("    source: { choria: \"https://repo.example.net/updater\" }\n");
    let said = world.run(&["validate"]).exits(65).stderr;
    assert!(said.contains("no list of its versions: write an exact one"), "{said}");
    again(
        &mut world,
        "    version: 1.0\n    source: { choria: \"https://repo.example.net/updater\" }\n",
    );
    world.run(&["validate"]).exits(0);
}

#[test]
fn g3_program_with_another_digest_leaves_nothing_behind() {
    let server = Server::start();
    server.serve(
        &format!("{CHORIA}/release.json"),
        Reply::file(release_json("tool.bz2", &program("1"))),
    );
    let other = packed(Packing::Bzip2, &program("evil"));
    server.serve(&format!("{CHORIA}/tool.bz2"), Reply::file(other));
    let world = host(&format!(
        "    version: 1.0.0\n    source: {{ choria: {{ url: \"{}\", arch: amd64 }} }}\n    \
         verify: {{ min: checksum }}\n",
        server.url("")
    ));
    let said = world.run(&[]).exits(77);
    assert!(
        said.stdout.contains("its source says") || said.stderr.contains("its source says"),
        "{said:#?}"
    );
    for place in ["/opt/tool/releases", "/opt/tool/bin", "/opt/tool/staging"] {
        assert_eq!(below(&world, place), [""; 0], "{place}");
    }
}

#[test]
fn archive_in_the_place_of_a_program_is_never_opened() {
    let mut tar = tar::Builder::new(Vec::new());
    let mut header = tar::Header::new_gnu();
    header.set_mode(0o755);
    header.set_size(9);
    tar.append_data(&mut header, "tool", &b"#!/bin/sh"[..]).unwrap();
    let tar = tar.into_inner().unwrap();
    for (stated, code) in [(&tar[..], 1), (&b"something else"[..], 77)] {
        let server = Server::start();
        server.serve("/tool/linux-amd64.json", Reply::file(manifest("1.0", stated)));
        server.serve("/tool/1.0/linux-amd64.gz", Reply::file(packed(Packing::Gzip, &tar)));
        let world = host(&selfupdate(&server, ""));
        world.run(&[]).exits(code);
        assert_eq!(below(&world, "/opt/tool/releases"), [""; 0]);
    }
}

#[test]
fn g12_plain_http_needs_a_stated_level() {
    let world = host("    version: 1.0\n    source: { choria: \"http://repo.example.net\" }\n");
    let said = world.run(&["validate"]).exits(65).stderr;
    assert!(said.contains("not protected on its way"), "{said}");
}

#[test]
fn patch_from_the_release_in_use_is_applied_instead_of_the_whole() {
    let (server, world) = outdated("");
    let patch = bsdiff::make(&program("1.0"), &program("1.1")).unwrap();
    let size = patch.len();
    offer_patch(&server, patch);
    let plan = world.run(&["--dry-run"]).exits(0).stdout;
    let way =
        format!("patch /opt/tool/releases/1.0/tool (fetch {size} B), else fetch linux-amd64.gz");
    assert!(plan.contains(&way), "{plan}");
    assert!(plan.contains("verified by checksum (the manifest)"), "{plan}");
    world.run(&[]).exits(0);
    assert!(installed(&world) == program("1.1"));
    let asked = server.paths();
    assert!(!asked.iter().any(|path| path.ends_with(".gz")), "{asked:?}");
    assert!(world.run(&[]).exits(0).stdout.starts_with("No changes"));
}

#[test]
fn s9_patch_of_no_use_is_told_and_the_whole_is_fetched() {
    let other = bsdiff::make(&program("1.0"), &program("1.2")).unwrap();
    for patch in [other, b"BSDIFF40 and no more".to_vec(), program("garbage")] {
        let (server, world) = outdated("");
        offer_patch(&server, patch);
        let said = world.run(&[]).exits(0);
        let noted = "the shorter way was of no use";
        assert!(said.stdout.contains(noted) || said.stderr.contains(noted), "{said:#?}");
        assert!(installed(&world) == program("1.1"));
    }
}

#[test]
fn patch_of_a_base_that_somebody_changed_gives_way_to_the_whole() {
    let edited = |world: &World, bytes: &[u8]| {
        let base = world.path("/opt/tool/releases/1.0/tool");
        let time = base.metadata().unwrap().modified().unwrap();
        std::fs::write(&base, bytes).unwrap();
        let file = std::fs::File::options().append(true).open(&base).unwrap();
        file.set_modified(time).unwrap();
    };
    let patch = bsdiff::make(&program("1.0"), &program("1.1")).unwrap();
    // As long as before and at the same time: nobody sees it who does not read it.
    let (server, world) = outdated("");
    offer_patch(&server, patch.clone());
    let mut other = program("1.0");
    *other.last_mut().unwrap() ^= 1;
    edited(&world, &other);
    let ran = world.run(&[]).exits(0);
    assert!(ran.stdout.contains("was fetched whole"), "{ran:#?}");
    assert!(installed(&world) == program("1.1"));
    assert!(server.paths().iter().any(|path| path.ends_with(".gz")), "{:?}", server.paths());
    // Where it is seen nothing is planned from it.
    let (server, world) = outdated("");
    offer_patch(&server, patch);
    edited(&world, b"#!/bin/sh\n");
    let plan = world.run(&["--dry-run"]).exits(0).stdout;
    assert!(plan.contains("fetch linux-amd64.gz") && !plan.contains("patch /opt"), "{plan}");
    world.run(&[]).exits(0);
    assert!(installed(&world) == program("1.1"));
    // And where the whole is not to be fetched, what is in use stays.
    let (server, world) = outdated("    delta: { fallback: fail }\n");
    offer_patch(&server, bsdiff::make(&program("1.0"), &program("1.1")).unwrap());
    edited(&world, &other);
    world.run(&[]).exits(1);
    assert!(installed(&world) == other);
}

#[test]
fn fallback_is_what_the_desired_state_says() {
    for (fallback, works) in [("fail", false), ("limit:1kB", false), ("limit:1MiB", true)] {
        let (server, world) = outdated(&format!("    delta: {{ fallback: \"{fallback}\" }}\n"));
        offer_patch(&server, program("garbage"));
        let (code, version) = if works { (0, "1.1") } else { (1, "1.0") };
        world.run(&[]).exits(code);
        assert!(installed(&world) == program(version), "{fallback}");
    }
    let (server, world) = outdated("    delta: none\n");
    offer_patch(&server, program("garbage"));
    world.run(&[]).exits(0);
    assert!(!server.paths().iter().any(|path| path.contains("1.0/1.1")));
}

#[test]
fn s5_bombs_and_promises_end_at_the_limit() {
    let mut promise = bsdiff::make(&program("1.0"), &program("1.1")).unwrap();
    promise[24..32].copy_from_slice(&(1_u64 << 40).to_le_bytes());
    let (server, world) = outdated("    limits: { file: 1MiB }\n");
    offer_patch(&server, promise);
    let bomb = packed(Packing::Gzip, &vec![0; 32 << 20]);
    server.serve("/tool/1.1/linux-amd64.gz", Reply::file(bomb));
    world.run(&[]).exits(1);
    assert!(installed(&world) == program("1.0"));
    assert_eq!(below(&world, "/opt/tool/staging"), [""; 0]);
}

#[test]
fn s6_manifest_that_goes_back_is_not_followed() {
    let (server, mut world) = outdated("");
    world.run(&[]).exits(0);
    world.tick();
    offer(&server, "1.0", &program("1.0"));
    let plan = world.run(&["--dry-run"]).stdout;
    assert!(plan.contains("downgrade"), "{plan}");
    world.run(&[]);
    assert!(installed(&world) == program("1.1"));
}

#[test]
fn s7_update_that_failed_is_tried_again_by_the_next_pass() {
    let (server, world) = outdated("");
    server.serve("/tool/1.1/linux-amd64.gz", Reply::status(500));
    assert_ne!(world.run(&[]).code, 0);
    assert!(installed(&world) == program("1.0"));
    offer(&server, "1.1", &program("1.1"));
    world.run(&[]).exits(0);
    assert!(installed(&world) == program("1.1"));
}

#[test]
fn s8_same_program_under_another_version_is_not_fetched() {
    let (server, world) = outdated("");
    offer(&server, "1.1", &program("1.0"));
    let plan = world.run(&["--dry-run"]).exits(0).stdout;
    assert!(plan.contains("copy /opt/tool/releases/1.0/tool"), "{plan}");
    world.run(&[]).exits(0);
    assert!(world.path("/opt/tool/releases/1.1/tool").is_file());
    let asked = server.paths();
    assert!(asked.iter().all(|path| path.ends_with(".json")), "{asked:?}");
}

#[test]
fn s8_program_of_somebody_else_in_place_is_not_fetched() {
    let server = Server::start();
    offer(&server, "1.0", &program("1.0"));
    let world = host(&selfupdate(&server, "    layout: { file: /usr/local/bin/tool }\n"));
    tree::write(&world.path("/usr/local/bin/tool"), &program("1.0"));
    world.run(&[]).exits(0);
    let asked = server.paths();
    assert!(asked.iter().all(|path| path.ends_with(".json")), "{asked:?}");
}

#[test]
fn same_version_with_another_program_is_refused() {
    let (server, world) = outdated("");
    offer(&server, "1.0", &program("1.1"));
    let said = world.run(&[]).exits(77);
    assert!(said.stdout.contains("a published version must not change"), "{said:#?}");
    assert!(installed(&world) == program("1.0"));
}

#[test]
fn pinned_digest_is_of_the_program() {
    let hex = HEXLOWER.encode(&Sha256::digest(program("1.0")));
    for (digest, code) in [(hex, 0), ("0".repeat(64), 77)] {
        let server = Server::start();
        offer(&server, "1.0", &program("1.0"));
        let wish = selfupdate(&server, "")
            .replace("min: checksum", &format!("digest: \"sha256:{digest}\""));
        let world = host(&wish);
        world.run(&[]).exits(code);
    }
}

/// What `publish` is given and where it writes, beside the host.
fn published(world: &World, arguments: &[&str], code: i32) -> String {
    let said = world.run(&[&["publish"], arguments].concat()).exits(code);
    said.stdout + &said.stderr
}

fn program_file(world: &World, version: &str) -> String {
    let path = world.temp().join(format!("built-{version}/tool"));
    tree::write(&path, &program(version));
    path.to_str().unwrap().to_owned()
}

#[test]
fn published_choria_repository_is_read_by_our_client() {
    let mut world = host("    source: { choria: { url: ../repo, arch: amd64 } }\n");
    for version in ["1.0", "1.1"] {
        let file = program_file(&world, version);
        let wish = [
            "choria",
            &file,
            "--version",
            version,
            "--arch",
            "amd64",
            "--repo",
            "repo",
            "--uncompressed",
        ];
        let said = published(&world, &wish, 0);
        let directory = format!("repo/{version}/linux/amd64");
        let name = format!("{directory}/tool-linux-amd64-{version}");
        assert_eq!(said, format!("{name}.bz2\n{name}\n{directory}/release.json\n"));
        assert!(published(&world, &wish, 0).contains("nothing was written"));
        tree::write(file.as_ref(), b"another");
        assert!(published(&world, &wish, 1).contains("a version keeps its bytes"));
        published(&world, &[&wish[..], &["--force"]].concat(), 0);
        program_file(&world, version);
        published(&world, &[&wish[..], &["--force"]].concat(), 0);
        world.tick();
        world.run(&[]).exits(0);
        assert!(installed(&world) == program(version));
    }
}

#[test]
fn s10_s11_published_selfupdate_repository_has_patches_of_the_last_versions_and_its_manifest_last()
{
    let mut world =
        host("    source: { selfupdate: { api: ../public, cmd: tool, platform: linux-amd64 } }\n");
    for version in ["1.0", "1.9", "1.10", "1.11"] {
        let file = program_file(&world, version);
        let wish =
            ["selfupdate", &file, version, "--out", "public/tool", "--platform", "linux-amd64"];
        let said = published(&world, &[&wish[..], &["--patches", "2"]].concat(), 0);
        assert!(said.ends_with("public/tool/linux-amd64.json\n"), "{said}");
        if version == "1.11" {
            let patches = ["1.10/1.11", "1.9/1.11"];
            let patches = patches.map(|p| format!("public/tool/{p}/linux-amd64\n"));
            assert_eq!(said.lines().count(), 4, "{said}");
            assert!(patches.iter().all(|patch| said.contains(patch)), "{said}");
            let plan = world.run(&["--dry-run"]).exits(0).stdout;
            assert!(plan.contains("patch /opt/tool/releases/1.10/tool (fetch"), "{plan}");
        }
        world.tick();
        world.run(&[]).exits(0);
        assert!(installed(&world) == program(version));
    }
    let file = program_file(&world, "1.0");
    let wish = ["selfupdate", &file, "1.0", "--out", "public/tool", "--platform", "linux-amd64"];
    assert!(published(&world, &wish, 0).contains("nothing was written"));
    tree::write(file.as_ref(), b"another");
    assert!(published(&world, &wish, 1).contains("is there already"));
    let wish = ["selfupdate", &file, "0.9", "--out", "public/tool", "--platform", "linux-amd64"];
    assert!(published(&world, &wish, 1).contains("clients keep to it"));
}

#[test]
fn replaced_selfupdate_version_leaves_no_stale_patches() {
    let world = World::new();
    for version in ["1.0", "1.1", "1.2"] {
        let file = program_file(&world, version);
        published(&world, &["selfupdate", &file, version, "--platform", "linux-amd64"], 0);
    }
    let file = program_file(&world, "other");
    let wish =
        ["selfupdate", &file, "1.1", "--platform", "linux-amd64", "--patches", "0", "--force"];
    published(&world, &wish, 0);
    let public = world.temp().join("public");
    assert!(!public.join("1.0/1.1/linux-amd64").exists());
    assert!(!public.join("1.1/1.2/linux-amd64").exists());
    assert!(public.join("1.0/1.2/linux-amd64").exists());
}

/// Publishes a version of a compressed program and of an archive as a release.
fn publish_release(world: &World, version: &str) {
    let built = world.temp().join(format!("build/{version}"));
    tree::write(&built.join("tool-linux-x86_64.gz"), &packed(Packing::Gzip, &program(version)));
    tree::write(&built.join("README.md"), b"read me");
    let built = built.to_str().unwrap();
    published(world, &["release", built, "--to", "repository"], 0);
    let said = published(world, &["release", built, "--to", "repository"], 0);
    assert!(said.contains("nothing was written"), "{said}");
    tree::write(&world.temp().join(format!("build/{version}/more")), b"more");
    let said = published(world, &["release", built, "--to", "repository"], 1);
    assert!(said.contains("a version keeps its bytes"), "{said}");
}

#[test]
fn published_release_is_read_from_disk_and_by_patch() {
    let mut world = host("    source: { file: ../repository }\n    asset: tool-linux-x86_64.gz\n");
    for (version, way) in
        [("1.0", "fetch tool-linux"), ("1.1", "patch /opt/tool/releases/1.0/tool")]
    {
        publish_release(&world, version);
        let plan = world.run(&["--dry-run"]).exits(0).stdout;
        assert!(plan.contains(way), "{plan}");
        let said = world.run(&[]).exits(0);
        assert!(!said.stdout.contains("of no use"), "{said:#?}");
        assert!(installed(&world) == program(version));
        world.tick();
        assert!(world.run(&[]).exits(0).stdout.starts_with("No changes"));
    }
}

#[test]
fn published_release_is_read_from_a_plain_web_server_without_an_index() {
    let world = World::new();
    publish_release(&world, "1.0");
    let server = Server::start();
    let root = world.temp().join("repository");
    server.handle(move |request| {
        std::fs::read(root.join(request.bare_path().trim_start_matches('/'))).ok().map(Reply::file)
    });
    let mut world = world;
    let wish = format!(
        "    source: {{ http: \"{}\" }}\n    asset: tool-linux-x86_64.gz\n    verify: {{ min: checksum }}\n",
        server.url("")
    );
    again(&mut world, &wish);
    world.run(&[]).exits(0);
    publish_release(&world, "1.1");
    world.tick();
    server.take_requests();
    world.run(&[]).exits(0);
    assert!(installed(&world) == program("1.1"));
    let asked = server.paths();
    assert!(
        asked.iter().any(|path| path.ends_with("deltas/1.0/tool-linux-x86_64.gz.zst")),
        "{asked:?}"
    );
    assert!(!asked.iter().any(|path| path.ends_with(".gz")), "{asked:?}");
}

#[test]
fn list_of_patches_that_nobody_vouches_for_is_not_used() {
    let mut world = host("    source: { file: ../repository }\n    asset: tool-linux-x86_64.gz\n");
    publish_release(&world, "1.0");
    world.run(&[]).exits(0);
    publish_release(&world, "1.1");
    let list = world.temp().join("repository/1.1/deltas.json");
    let text = std::fs::read_to_string(&list).unwrap();
    std::fs::write(&list, text + " ").unwrap();
    world.tick();
    let said = world.run(&[]).exits(0).stdout;
    assert!(said.contains("no checksum file vouches for deltas.json"), "{said}");
    assert!(installed(&world) == program("1.1"));
}
