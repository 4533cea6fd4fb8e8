//! The systemd units: what they say, what systemd says of them, where they are put.

use std::path::Path;
use std::process::Command;

use reconcile::desired::DesiredState;
use reconcile::units::places;

use crate::support::tree;
use crate::support::world::{Ran, World};

/// One resource of each kind, in usual and in unusual places.
const WISH: &str = "apps:
  usual: { source: { github: a/b } }
  in-place:
    source: { github: a/c }
    layout: { file: /usr/local/bin/agent }
trees:
  site:
    version: latest
    path: '/srv/my sites/50%'
    source: { casync: { index: https://cdn.example/site.caidx, store: https://cdn.example/s.castr } }
auth:
  forge.example: { credential: forge }
";

fn world() -> World {
    let mut world = World::new();
    world.wish("desired", WISH);
    world
}

/// What is printed, with the paths of this test replaced.
fn printed(world: &World, arguments: &[&str]) -> String {
    let program = ["units", "--program", "/usr/bin/reconcile"];
    let ran: Ran = world.run(&[&program[..], arguments].concat()).exits(0);
    let desired = std::fs::canonicalize(&world.desired).unwrap_or(world.desired.clone());
    ran.stdout.replace(desired.to_str().unwrap(), "/etc/reconcile/here")
}

#[track_caller]
fn assert_golden(name: &str, text: String) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/units").join(name);
    snapbox::Assert::new()
        .action_env("SNAPSHOTS")
        .eq(text, snapbox::Data::read_from(&path, Some(snapbox::data::DataFormat::Text)).raw());
}

#[test]
fn service_leaves_open_only_where_the_wish_puts_things() {
    assert_golden("service.txt", printed(&world(), &[]));
}

#[test]
fn timer_and_path_start_a_pass_each() {
    assert_golden("timer.txt", printed(&world(), &["--mode", "timer"]));
}

#[test]
fn checkout_is_watched_by_its_log() {
    let world = world();
    let log = world.desired.join(".git/logs/HEAD");
    std::fs::create_dir_all(log.parent().unwrap()).unwrap();
    std::fs::write(&log, "").unwrap();
    let units = printed(&world, &["--mode", "timer"]);
    assert!(units.contains("PathChanged=/etc/reconcile/here/.git/logs/HEAD\n"), "{units}");
    assert!(units.contains("PathChanged=/etc/reconcile/here\n"), "{units}");
}

#[test]
fn metrics_file_and_configuration_are_named_and_open() {
    let mut world = world();
    tree::write(&world.temp().join("agent.yaml"), b"interval: 1m\n");
    let metrics = world.temp().join("metrics/host.prom").display().to_string();
    let config = world.temp().join("agent.yaml").display().to_string();
    world.options = ["--metrics-file", &metrics, "--config", &config].map(String::from).to_vec();
    let units = printed(&world, &[]);
    assert!(units.contains(&format!("--config {config} --metrics-file {metrics}\n")), "{units}");
    let open = format!("-{}/metrics", world.temp().display());
    assert!(
        units.lines().any(|l| l.starts_with("ReadWritePaths=") && l.contains(&open)),
        "{units}"
    );
}

/// The value of a setting of the service.
#[track_caller]
fn setting<'u>(units: &'u str, name: &str) -> &'u str {
    let value = |line: &'u str| line.strip_prefix(name)?.strip_prefix('=');
    units.lines().find_map(value).unwrap_or_else(|| panic!("no {name} in {units}"))
}

#[test]
fn sandbox_shows_whatever_the_wish_names_to_be_read() {
    let app = |source: &str, more: &str| {
        format!("apps:\n  tool:\n    source: {{ file: {source} }}\n{more}")
    };
    let tree = |source: &str, more: &str| {
        format!("trees:\n  site:\n    path: /srv/site\n    source: {source}\n{more}")
    };
    let copy = |at: &str| format!("{{ casync: {{ index: {at}/s.caidx, store: {at}/s.castr }} }}");
    let (web, home) = (copy("https://a.example"), copy("/home/me"));
    for (wish, seen) in [
        (app("/srv/tool", ""), ("Hidden", false)),
        (app("/home/build/tool", ""), ("ReadOnly", false)),
        (app("/var/tmp/tool", ""), ("Hidden", true)),
        (
            app("/srv/tool", "    verify: { gpg: { keyring: /root/keys.gpg } }\n"),
            ("ReadOnly", false),
        ),
        (tree(&web, ""), ("Hidden", false)),
        (tree(&home, ""), ("ReadOnly", false)),
        (tree(&web, &format!("    offline: {home}\n")), ("ReadOnly", false)),
        (tree(&web, "    seeds: [/tmp/seed]\n"), ("Hidden", true)),
        (tree(&web, "    verify: { gpg: { keyring: /root/keys.gpg } }\n"), ("ReadOnly", false)),
    ] {
        let mut world = World::new();
        world.wish("desired", &wish);
        let desired = DesiredState::load(&[world.desired.join("wish.yaml")]).unwrap();
        let places = places(Some(&desired), &[], &[]);
        let found = format!("{:?}", places.home);
        assert_eq!((found.as_str(), places.in_tmp), seen, "{wish}");
    }
}

#[test]
fn sandbox_shows_whatever_the_configuration_names_and_a_repository_need_not_answer() {
    let world = World::new();
    let file = world.path("/etc/reconcile/agent.yaml");
    let program = ["units", "--program", "/usr/bin/reconcile"];
    for (config, home) in [
        ("interval: 1m\n", "yes"),
        ("desired: [/home/me/wish]\n", "read-only"),
        ("git: { url: https://127.0.0.1:1/state }\n", "yes"),
        ("git: { url: /home/me/state }\n", "read-only"),
        ("git: { url: 'file:///home/me/state' }\n", "read-only"),
        (
            "notify: { webhooks: [{ url: 'http://127.0.0.1/', secret_file: /root/key }] }\n",
            "read-only",
        ),
    ] {
        tree::write(&file, config.as_bytes());
        let mut command = Command::new(env!("CARGO_BIN_EXE_reconcile"));
        let command = command.arg("--root").arg(world.root()).args(program);
        let output = command.output().unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(0), "{config}: {said}");
        assert!(said.contains("the units allow for what is usual"), "{config}: {said}");
        let units = String::from_utf8(output.stdout).unwrap();
        assert_eq!(setting(&units, "ProtectHome"), home, "{config}");
    }
    tree::write(&file, b"notify: { file: /var/log/changes/events.jsonl }\n");
    let units = printed(&world, &[]);
    assert!(setting(&units, "ReadWritePaths").contains(" -/var/log/changes"), "{units}");
}

#[test]
fn units_can_be_had_before_there_is_a_wish() {
    let world = World::new();
    let units = printed(&world, &[]);
    assert!(
        units.contains("\nReadWritePaths=-/opt -/var/lib/confexts -/var/lib/extensions "),
        "{units}"
    );
    assert!(!units.contains("LoadCredential="), "{units}");
}

#[test]
fn invalid_wish_makes_no_units() {
    let mut world = world();
    world.wish("desired", "apps: { a: {} }\n");
    let ran = world.run(&["units"]).exits(65);
    assert_eq!(ran.stdout, "");
}

/// A `systemctl` that notes what it is asked.
fn with_systemctl(world: &mut World) -> std::path::PathBuf {
    use std::os::unix::fs::PermissionsExt;
    let bin = world.temp().join("bin");
    let log = world.temp().join("systemctl.log");
    std::fs::create_dir_all(&bin).unwrap();
    let script = format!("#!/bin/sh\necho \"$@\" >> {}\n", log.display());
    std::fs::write(bin.join("systemctl"), script).unwrap();
    let mode = std::fs::Permissions::from_mode(0o755);
    std::fs::set_permissions(bin.join("systemctl"), mode).unwrap();
    let path = format!("{}:/usr/bin:/bin", bin.display());
    world.environment.push(("PATH".to_owned(), path));
    log
}

#[test]
fn installing_the_other_mode_takes_the_first_away() {
    let mut world = world();
    let log = with_systemctl(&mut world);
    let unit = |world: &World, name: &str| world.path(&format!("/etc/systemd/system/{name}"));
    world.run(&["units", "--install", "--mode", "timer"]).exits(0);
    assert!(unit(&world, "reconcile.timer").exists() && unit(&world, "reconcile.path").exists());
    world.run(&["units", "--install"]).exits(0);
    assert!(unit(&world, "reconcile.service").exists());
    assert!(!unit(&world, "reconcile.timer").exists() && !unit(&world, "reconcile.path").exists());
    let asked = std::fs::read_to_string(log).unwrap();
    let root = format!("--no-ask-password --root={} ", world.root().display());
    let asked: Vec<&str> = asked.lines().map(|l| l.strip_prefix(&root).unwrap()).collect();
    let expected = [
        "enable reconcile.timer reconcile.path",
        "disable reconcile.timer reconcile.path",
        "enable reconcile.service",
    ];
    assert_eq!(asked, expected);
}

/// systemd's own opinion; `--features interop` makes its absence a failure.
#[test]
#[cfg_attr(not(feature = "interop"), ignore = "needs systemd-analyze")]
fn systemd_has_nothing_to_say_against_the_units() {
    let world = world();
    let directory = world.temp().join("units");
    std::fs::create_dir_all(&directory).unwrap();
    for mode in ["service", "timer"] {
        let ran = world.run(&["units", "--mode", mode]).exits(0);
        let mut files = Vec::new();
        for unit in ran.stdout.split("# /etc/systemd/system/").skip(1) {
            let (name, text) = unit.split_once('\n').unwrap();
            std::fs::write(directory.join(name), text).unwrap();
            files.push(directory.join(name));
        }
        let analyze = |arguments: &[&str], files: &[std::path::PathBuf]| {
            let command = Command::new("systemd-analyze").args(arguments).args(files).output();
            let command = command.unwrap();
            let said = [command.stdout.clone(), command.stderr.clone()].concat();
            (command, String::from_utf8_lossy(&said).into_owned())
        };
        let (verified, said) = analyze(&["verify", "--man=no"], &files);
        assert!(verified.status.success() && verified.stderr.is_empty(), "{mode}: {said}");
        let gate = ["security", "--offline=true", "--threshold=25"];
        let (secure, said) = analyze(&gate, &files[..1]);
        assert!(secure.status.success(), "{mode}: {said}");
    }
}
