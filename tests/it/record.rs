//! What passes leave behind for those who ask later.

use std::fs;
use std::os::unix::fs::symlink;

use camino::Utf8PathBuf;
use reconcile::host::{Look, Places};
use reconcile::record::history::Recent;
use serde_json::Value;

use crate::support::duo::{PASS, World, archive_name, said, web};
use crate::support::server::{Reply, Server};

/// Whether status calls a resource blocked.
fn is_blocked(world: &World, id: &str) -> bool {
    let output = world.agent(&["status", "-o", "json"]);
    let status: Value = serde_json::from_slice(&output.stdout).unwrap();
    let mut resources = status["resources"].as_array().unwrap().iter();
    let resource = resources.find(|resource| resource["id"] == id).unwrap();
    let mut conditions = resource["conditions"].as_array().unwrap().iter();
    conditions.any(|condition| condition["type"] == "Blocked")
}

#[test]
fn pass_over_some_says_how_they_are_now_and_leaves_what_is_known_of_others() {
    let world = World::new();
    world.wish("1.0", 3);
    let source = world.path("later");
    let source = source.display();
    world.wish_also(&format!("  other:\n    version: 1.0\n    source: {{ file: {source} }}\n"));
    world.wish_also("    asset: \"duo-{version}.tar.gz\"\n    verify: { min: checksum }\n");
    world.agent(&PASS);
    assert!(is_blocked(&world, "app/other") && !is_blocked(&world, "app/duo"));
    let only = |id| world.agent(&[&PASS[..], &["--only", id]].concat());
    let output = only("app/duo");
    assert!(is_blocked(&world, "app/other"), "nothing was said about it: {}", said(&output));
    fs::rename(world.path("source"), world.path("later")).unwrap();
    let output = only("app/other");
    assert!(!is_blocked(&world, "app/other"), "{}", said(&output));
}

#[test]
fn history_is_read_again_when_it_is_another_and_the_last_change_of_each_is_kept() {
    let dir = tempfile::tempdir().unwrap();
    let root = Utf8PathBuf::from_path_buf(dir.path().to_owned()).unwrap();
    let host = Look::new(root, Places::default());
    let state = dir.path().join("var/lib/reconcile");
    fs::create_dir_all(&state).unwrap();
    let line = |app: &str, at: u32| {
        format!(
            "{{\"at\":\"2026-06-01T00:00:{at:02}Z\",\"resource\":\"app/{app}\",\"action\":\"upgrade\",\
             \"attribution\":\"upstream-moved\",\"plan\":\"p\",\"reason\":\"r\",\"result\":\"done\"}}\n"
        )
    };
    let write = |name: &str, lines: &[String]| fs::write(state.join(name), lines.concat()).unwrap();
    let mut recent = Recent::default();
    let mut read = || {
        let entries = recent.of(&host, 2).unwrap();
        entries.iter().map(|e| format!("{} {}", e.resource.name, e.at)).collect::<Vec<_>>()
    };
    assert!(read().is_empty());
    write("history.jsonl.1", &[line("rare", 1), line("a", 2)]);
    write("history.jsonl", &[line("a", 3), line("b", 4), line("a", 5)]);
    let at = |app: &str, at: u32| format!("{app} 2026-06-01T00:00:{at:02}Z");
    assert_eq!(read(), [at("rare", 1), at("b", 4), at("a", 5)]);
    write("history.jsonl", &[line("a", 3), line("b", 4), line("a", 5), line("b", 6)]);
    assert_eq!(read(), [at("rare", 1), at("a", 5), at("b", 6)]);
}

#[test]
fn place_that_cannot_be_looked_at_any_more_does_not_lose_the_history_of_the_pass() {
    let world = World::new();
    let (server, source) = web();
    world.wish_from(&source, "2.0", 3);
    fs::create_dir_all(world.host("opt")).unwrap();
    let opt = world.host("opt");
    let mirror = Server::start();
    let archive = format!("/dl/{}", archive_name("2.0"));
    server.serve(&archive, Reply::redirect(&mirror.url(&archive)));
    mirror.handle(move |_| {
        if !opt.is_symlink() {
            fs::remove_dir_all(&opt).unwrap();
            symlink("opt", &opt).unwrap();
        }
        Some(Reply::status(500))
    });
    let output = world.agent(&PASS);
    assert_eq!(output.status.code(), Some(1), "{}", said(&output));
    fs::remove_file(world.host("opt")).unwrap();
    let history = said(&world.agent(&["history"]));
    assert!(history.contains("app/duo") && history.contains("failed"), "{history}");
    assert!(world.owns("app/duo"), "whether anything of it is there could not be told");
}

#[test]
fn history_that_cannot_be_written_hides_nothing_of_what_a_pass_did() {
    let world = World::new();
    fs::create_dir_all(world.host("var/lib/reconcile/history.jsonl")).unwrap();
    world.wish("1.0", 3);
    let passed = world.agent(&PASS);
    let told = said(&passed);
    assert_eq!(passed.status.code(), Some(0), "{told}");
    assert!(told.contains("1 done"), "{told}");
    assert!(told.contains("cannot write the history"), "{told}");
    assert_eq!(world.in_use(), Ok(Some("1.0".to_owned())));
    let again = said(&world.agent(&PASS));
    assert!(again.contains("No changes"), "{again}");
}

#[test]
fn ledger_of_a_newer_version_is_refused_and_left_alone() {
    let world = World::new();
    world.wish("1.0", 3);
    world.pass();
    let trust = world.host("var/lib/reconcile/trust.json");
    let text = fs::read_to_string(&trust).unwrap();
    assert!(text.contains("\"format\": 1"), "{text}");
    let newer = text.replace("\"format\": 1", "\"format\": 2");
    let renamed = world.host("var/lib/reconcile/renamed.json");
    fs::write(&renamed, "{ \"format\": 2 }").unwrap();
    let output = world.agent(&PASS);
    assert!(said(&output).contains("renamed.json has format 2"), "{}", said(&output));
    fs::remove_file(&renamed).unwrap();
    fs::write(&trust, &newer).unwrap();
    for command in [&PASS[..], &["status"]] {
        let output = world.agent(command);
        assert_eq!(output.status.code(), Some(1), "{}", said(&output));
        assert!(said(&output).contains("trust.json has format 2"), "{}", said(&output));
    }
    assert_eq!(fs::read_to_string(&trust).unwrap(), newer);
}

#[test]
fn digest_is_of_a_regular_file_and_nothing_else() {
    let root = tempfile::tempdir().unwrap();
    let at = |name: &str| root.path().join(name);
    fs::write(at("file"), "hello").unwrap();
    symlink("file", at("link")).unwrap();
    let (kind, mode) = (rustix::fs::FileType::Fifo, rustix::fs::Mode::RUSR);
    rustix::fs::mknodat(rustix::fs::CWD, at("pipe"), kind, mode, 0).unwrap();
    let root = Utf8PathBuf::from_path_buf(root.path().to_owned()).unwrap();
    let look = Look::new(root, Places::default());
    let hello = "2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824";
    assert_eq!(look.sha256("/file").unwrap().hex(), hello);
    for other in ["/link", "/pipe", "/nothing"] {
        let error = look.sha256(other).unwrap_err();
        assert!(error.to_string().contains(other), "{error}");
    }
}

/// A ledger that is exactly as long as one that is read may be: first uses of many releases.
fn longest_trust() -> String {
    let digest = format!("sha256:{}", "a".repeat(64));
    let entry = |n: usize, length: usize| {
        let tag = format!("{n:05}-{}", "v".repeat(length));
        format!("    \"app/prog{:02} {tag} a\": \"{digest}\"", n % 40)
    };
    let whole = |last: usize| {
        let locks: Vec<String> =
            (0..4000).map(|n| entry(n, if n == 0 { last } else { 4000 })).collect();
        let locks = locks.join(",\n");
        format!(
            "{{\n  \"format\": 1,\n  \"floors\": {{}},\n  \"locks\": {{\n{locks}\n  }},\n  \"unsuitable\": []\n}}\n"
        )
    };
    let spare = (16 << 20) - whole(0).len();
    whole(spare)
}

#[test]
fn ledger_is_never_written_longer_than_it_is_read() {
    let world = World::new();
    world.wish("1.0", 3);
    let trust = world.host("var/lib/reconcile/trust.json");
    fs::create_dir_all(trust.parent().unwrap()).unwrap();
    let before = longest_trust();
    assert_eq!(before.len(), 16 << 20);
    fs::write(&trust, &before).unwrap();
    let done = world.agent(&PASS);
    assert!(done.status.success(), "{}", said(&done));
    let after = fs::read_to_string(&trust).unwrap();
    assert!(after.len() <= 16 << 20, "{} bytes", after.len());
    assert!(after.len() > 15 << 20, "{} bytes: as much as possible is kept", after.len());
    assert!(after.contains("\"app/duo\": \"1.0\""), "what is new is kept");
    let again = world.agent(&PASS);
    assert!(again.status.success(), "{}", said(&again));
}
