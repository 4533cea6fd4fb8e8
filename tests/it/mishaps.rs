//! What people get wrong at first, and what they are told.

use crate::support::offer::{Offer, TWO_RELEASES};
use crate::support::tree;
use crate::support::world::World;

/// A host with a source of two versions, the second one not offered yet.
fn host(more: &str) -> (World, Offer) {
    let mut world = World::new();
    let offer = Offer::start(TWO_RELEASES, world.temp());
    let wish = format!("apps:\n  tool:\n    source: {{ file: {} }}\n{more}", offer.address());
    world.wish("desired", &wish);
    (world, offer)
}

/// What `validate` says about a wish.
fn refused(wish: &str) -> String {
    let mut world = World::new();
    world.wish("desired", wish);
    world.run(&["validate"]).exits(65).stderr
}

const SOURCE: &str = "source: { github: a/b }";
const CASYNC: &str = "source: { casync: \"https://example.net/x.caidx\" }, verify: { min: tls }";

#[test]
fn places_of_the_system_and_of_reconcile_are_refused() {
    let apps =
        ["/etc", "/usr", "/var", "/usr/local/bin", "/var/lib/reconcile", "/var/cache/reconcile/x"];
    for home in apps {
        let said = refused(&format!("apps: {{ tool: {{ {SOURCE}, home: {home} }} }}\n"));
        assert!(said.contains("`home` of app `tool` cannot be used"), "{home}: {said}");
        let said = refused(&format!("trees: {{ site: {{ {CASYNC}, path: {home} }} }}\n"));
        assert!(said.contains("`path` of tree `site` cannot be used"), "{home}: {said}");
        assert!(!said.contains("nowhere"), "{said}");
    }
    for file in ["/var/lib/reconcile/trust.json", "/proc/x"] {
        let said =
            refused(&format!("apps: {{ tool: {{ {SOURCE}, layout: {{ file: {file} }} }} }}\n"));
        assert!(said.contains("`layout.file` of app `tool` cannot be used"), "{file}: {said}");
    }
    let mut world = World::new();
    world.wish(
        "desired",
        &format!(
            "apps: {{ tool: {{ {SOURCE}, home: /srv/tool, layout: {{ file: /usr/bin/tool }} }} }}\n"
        ),
    );
    world.run(&["validate"]).exits(0);
}

#[test]
fn every_mistake_is_told_at_once() {
    let tree = format!(
        "trees: {{ site: {{ {CASYNC}, path: /srv/x, preserve: [\"/abs\", \"../x\", \"[a\"] }} }}\n"
    );
    let said = refused(&tree);
    assert!(said.contains("has 3 errors"), "{said}");
    assert!(!said.contains("nothing was done"), "{said}");
    let layout = "layout: { file: /usr/local/bin/tool }";
    let said = refused(&format!("apps: {{ tool: {{ {SOURCE}, {layout}, binaries: [a, b] }} }}\n"));
    assert!(said.contains("`layout.file` takes one program"), "{said}");
    let said = refused(&format!(
        "apps:\n  a: {{ {SOURCE}, home: /usr/local/bin/x }}\n  b: {{ {SOURCE}, layout: {{ file: /usr/local/bin/x/y }} }}\n  \
         c: {{ {SOURCE}, layout: {{ file: /usr/local/bin/x/y }} }}\n"
    ));
    assert!(said.contains("`app/b` and `app/c` have the same home"), "{said}");
    assert!(said.contains("is inside that of `app/a`"), "{said}");
}

#[test]
fn root_with_a_wrong_name_in_its_path_is_an_error_and_is_not_made() {
    let (world, _offer) = host("");
    std::fs::remove_dir_all(world.root()).unwrap();
    let said = world.run(&["--dry-run"]).exits(0);
    assert!(said.stderr.contains("does not exist: an empty host"), "{said:#?}");
    std::fs::write(world.root(), "").unwrap();
    for command in [&["--dry-run"][..], &[], &["status"], &["suspend", "app/tool", "--reason", "x"]]
    {
        let said = world.run(command).exits(64);
        assert!(said.stderr.contains("is no directory; correct --root"), "{said:#?}");
    }
    assert!(world.root().is_file());
    world.run(&["validate"]).exits(0);
}

#[test]
fn dates_and_bare_seconds_are_taken() {
    let (world, _offer) = host("");
    let suspend = ["suspend", "app/tool", "--reason", "fair", "--until", "2027-01-01"];
    let said = world.run(&suspend).exits(0).stdout;
    assert!(said.contains("until 2027-01-01T00:00:00Z"), "{said}");
    world.run(&["--dry-run", "--lock-timeout", "5"]).exits(0);
}

#[test]
fn rollback_says_what_there_is_and_list_what_is_in_use() {
    let (mut world, mut offer) = host("");
    world.run(&[]).exits(0);
    let said = world.run(&["rollback", "app/tool", "--reason", "x"]).exits(1).stderr;
    assert!(said.contains("has no other release to go back to"), "{said}");
    let said =
        world.run(&["rollback", "app/tool", "--reason", "x", "--to", "1.0.0"]).exits(1).stderr;
    assert!(said.contains("1.0.0 of app/tool is in use already"), "{said}");
    offer.publish("1.1.0");
    world.tick();
    let ran = world.run(&["list", "app/tool"]).exits(0);
    let listed = ran.stdout;
    assert!(listed.lines().any(|l| l.contains("1.0.0") && l.ends_with("in use")), "{listed}");
    assert!(ran.stderr.contains("(* is what the desired state accepts)"), "{}", ran.stderr);
    let said = world.run(&["status", "--only", "tool"]).exits(64).stderr;
    assert!(said.contains("`status` does not take --only"), "{said}");
}

#[test]
fn quarantined_version_is_called_so() {
    let health = "    health:\n      exec: [/bin/sh, -c, \"! grep -q 1.1.0 $ROOT/opt/tool/bin/tool\"]\n      \
                  interval: 100ms\n      stable: 100ms\n      deadline: 300ms\n";
    let (mut world, mut offer) = host("");
    let root = world.root();
    let wish = format!(
        "apps:\n  tool:\n    source: {{ file: {} }}\n{}",
        offer.address(),
        health.replace("$ROOT", root.to_str().unwrap())
    );
    world.wish("desired", &wish);
    world.options = vec!["--effects".to_owned(), "run".to_owned()];
    world.run(&[]).exits(0);
    offer.publish("1.1.0");
    world.tick();
    world.run(&[]).exits(6);
    world.tick();
    world.run(&[]).exits(3);
    for command in ["list", "explain"] {
        let said = world.run(&[command, "app/tool"]).exits(0).stdout;
        let line = said.lines().find(|line| line.contains("1.1.0") && line.contains("quarantined"));
        assert!(line.is_some_and(|line| !line.contains(" acceptable")), "{said}");
    }
    let status = world.run(&["status"]).exits(0).stdout;
    assert_eq!(status.matches("switched back").count(), 1, "{status}");
    assert!(status.contains("Stalled") && !status.contains("InProgress"), "{status}");
}

#[test]
fn app_of_another_path_is_kept_and_said_to_be() {
    let (mut world, offer) = host("");
    world.run(&[]).exits(0);
    let other = format!("apps:\n  other:\n    source: {{ file: {} }}\n", offer.address());
    world.wish("elsewhere", &other);
    let plan = world.run(&["--dry-run"]).stdout;
    let status = world.run(&["status"]).exits(0).stdout;
    assert!(plan.contains("app/tool is kept"), "{plan}");
    assert!(status.contains("it is kept") && !status.contains("will be removed"), "{status}");
}

#[test]
fn health_check_that_is_not_looked_at_is_told() {
    let (world, _offer) = host("    health: { exec: [\"true\"] }\n");
    let plan = world.run(&["--dry-run"]).exits(0).stdout;
    assert!(plan.contains("restarts, hooks and health checks are not run"), "{plan}");
}

#[test]
fn pattern_over_directories_of_versions_is_explained() {
    let mut world = World::new();
    tree::write(&world.temp().join("built/1.0/tool-linux-x86_64"), b"#!/bin/sh\n");
    world.run(&["publish", "release", "built/1.0", "--to", "repository"]).exits(0);
    let wish = "apps:\n  tool:\n    source: { file: { path: ../repository, pattern: \"tool-{version}.gz\" } }\n";
    world.wish("desired", wish);
    let said = world.run(&["--dry-run"]);
    assert!(said.stdout.contains("leave `pattern` out"), "{said:#?}");
    assert!(!said.stdout.contains("token"), "{said:#?}");
}

#[test]
fn other_program_does_not_replace_a_published_choria_version() {
    let world = World::new();
    tree::write(&world.temp().join("a/tool"), b"#!/bin/sh\necho a\n");
    tree::write(&world.temp().join("b/other"), b"#!/bin/sh\necho b\n");
    let publish = |program: &str, more: &[&str]| {
        let wish =
            ["publish", "choria", program, "--version", "1.0", "--arch", "amd64", "--repo", "repo"];
        world.run(&[&wish, more].concat())
    };
    publish("a/tool", &[]).exits(0);
    let pointer = world.temp().join("repo/1.0/linux/amd64/release.json");
    let before = std::fs::read(&pointer).unwrap();
    let said = publish("b/other", &[]).exits(1).stderr;
    assert!(said.contains("a version keeps its bytes"), "{said}");
    assert_eq!(std::fs::read(&pointer).unwrap(), before);
    publish("b/other", &["--force"]).exits(0);
    assert_ne!(std::fs::read(&pointer).unwrap(), before);
}

/// A `systemctl` that cannot restart, and says in which state the unit is.
fn systemctl(world: &mut World, state: &str) {
    use std::os::unix::fs::PermissionsExt;
    let stub = world.temp().join("stub/systemctl");
    let script = format!(
        "#!/bin/sh\ncase \"$*\" in *ActiveState*) echo ActiveState={state}; exit 0;; esac\n\
         echo 'System has not been booted with systemd' >&2\necho 'Failed to connect to bus' >&2\nexit 1\n"
    );
    tree::write(&stub, script.as_bytes());
    std::fs::set_permissions(&stub, std::fs::Permissions::from_mode(0o755)).unwrap();
    let path = format!("{}:/usr/bin:/bin", stub.parent().unwrap().display());
    world.environment = vec![("PATH".to_owned(), path)];
    world.options = vec!["--effects".to_owned(), "run".to_owned()];
}

#[test]
fn restart_that_cannot_be_done_is_not_the_releases_fault() {
    let more = "    restart: [tool.service]\n    health:\n      exec: [\"true\"]\n      interval: 100ms\n      \
                stable: 100ms\n      deadline: 300ms\n";
    for (state, code, version) in [("inactive", 1, "1.1.0"), ("failed", 7, "1.0.0")] {
        let (mut world, mut offer) = host(more);
        world.run(&[]).exits(0);
        systemctl(&mut world, state);
        offer.publish("1.1.0");
        world.tick();
        let said = world.run(&[]).exits(code).stdout;
        assert!(said.contains("with systemd; Failed to connect"), "{said}");
        let link = std::fs::read_link(world.path("/opt/tool/bin/tool")).unwrap();
        assert!(link.to_str().unwrap().contains(version), "{state}: {link:?}");
        let status = world.run(&["status"]).exits(0).stdout;
        assert_eq!(status.contains("Quarantined"), state == "failed", "{status}");
    }
}

#[test]
fn options_that_a_command_would_not_heed_are_refused() {
    let (world, _offer) = host("");
    world.run(&["plan", "--only", "app/nobody"]).exits(64);
    let said = world.run(&["apply", "plan.json", "--only", "app/tool"]).exits(64).stderr;
    assert!(said.contains("a saved plan is applied whole"), "{said}");
    for command in ["status", "history", "gc"] {
        let said = world.run(&[command, "--only", "app/tool"]).exits(64).stderr;
        assert!(said.contains("does not take --only"), "{said}");
    }
    let said = world.run(&["request", "--confirm-removals"]).exits(64).stderr;
    assert!(said.contains("does not take --confirm-removals"), "{said}");
    let help = world.run(&["rollback", "--help"]).exits(0).stdout;
    assert!(help.contains("--effects") && !help.contains("--only"), "{help}");
    let help = world.run(&["publish", "tree", "--help"]).exits(0).stdout;
    assert!(!help.contains("--confirm-removals"), "{help}");
}

#[test]
fn rollback_of_a_release_that_was_taken_away_never_goes_forward() {
    let (mut world, mut offer) = host("");
    world.run(&[]).exits(0);
    offer.publish("1.1.0");
    world.tick();
    world.run(&[]).exits(0);
    world.run(&["rollback", "app/tool", "--reason", "corrupts"]).exits(0);
    std::fs::remove_dir_all(world.path("/opt/tool/releases/1.0.0")).unwrap();
    let said = world.run(&["rollback", "app/tool", "--reason", "again"]).exits(1).stderr;
    assert!(said.contains("was in use before this one"), "{said}");
}

#[test]
fn log_that_nobody_reads_ends_no_pass() {
    let (mut world, _offer) = host("");
    world.options = ["-v", "-v"].map(str::to_owned).to_vec();
    let mut pass = world.start(&[]);
    drop(pass.stderr.take());
    assert_eq!(pass.wait_with_output().unwrap().status.code(), Some(0));
    world.nothing_to_do();
}
