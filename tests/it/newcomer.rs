//! First steps with the program: mistakes are told and harm nothing else.

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use crate::support::casync::Publisher;
use crate::support::offer::{Offer, TWO_RELEASES};
use crate::support::tree;
use crate::support::world::World;

fn world(more: &str) -> (World, Offer) {
    let mut world = World::new();
    let offer = Offer::start(TWO_RELEASES, world.temp());
    let wish = format!("apps:\n  tool:\n    source: {{ file: {} }}\n{more}", offer.address());
    world.wish("desired", &wish);
    (world, offer)
}

#[test]
fn release_of_the_readme_that_does_not_work_is_rolled_back_and_quarantined() {
    let mut world = World::new();
    let here = |path: &str| std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
    world.desired = here("desired-state");
    world.run(&["--only", "app/clock"]).exits(0);
    world.desired = here("examples/app-health.yaml");
    world.options.extend(["--effects", "run"].map(str::to_owned));
    world.tick();
    let said = world.run(&[]).exits(6).stdout;
    assert!(said.contains("ROLLED BACK") && said.contains("1.0.0 is in use again"), "{said}");
    world.tick();
    let said = world.run(&[]).exits(3).stdout;
    assert!(said.contains("quarantined; staying on 1.0.0"), "{said}");
    let clock = Command::new(world.path("/usr/local/bin/clock")).output().unwrap();
    assert!(clock.status.success());
}

#[test]
fn units_are_not_installed_by_a_dry_run() {
    let (world, _offer) = world("");
    world.run(&["units", "--install", "--dry-run"]).exits(64);
    assert!(!world.path("/etc").exists() && !world.path("/var").exists());
    world.run(&["units", "--dry-run"]).exits(0);
}

#[test]
fn missing_token_stops_only_what_needs_it() {
    let (world, _offer) = world(
        "  other:\n    verify: { min: none }\n    source: { http: { url: \"http://127.0.0.1:1/other\", pattern: \
         \"other-{version}.gz\" } }\nauth:\n  \"127.0.0.1:1\": { env: NO_SUCH }\n",
    );
    world.run(&["--only", "app/tool", "--dry-run"]).exits(0);
    let ran = world.run(&[]).exits(69);
    assert!(ran.stdout.contains("$NO_SUCH, which is not set"), "{ran:#?}");
    assert!(world.path("/opt/tool/bin/tool").exists());
    let ill = world.run(&["doctor"]).exits(1);
    assert!(ill.stdout.contains("BAD  token for 127.0.0.1:1: "), "{ill:#?}");
}

#[test]
fn directory_that_is_not_there_is_a_source_that_is_down() {
    let mut world = World::new();
    let gone = world.temp().join("gone").display().to_string();
    world.wish(
        "desired",
        &format!(
            "extensions:\n  demo:\n    verify: {{ min: checksum }}\n    source: {{ sysupdate: {{ path: {gone}, match: \
             \"demo_@v.raw\" }} }}\napps:\n  tool:\n    source: {{ file: {gone} }}\n"
        ),
    );
    let plan = world.run(&["--dry-run", "-o", "json"]).exits(69).json();
    let blocked = plan["spec"]["blocked"].as_array().unwrap();
    let reasons: Vec<&str> = blocked.iter().map(|b| b["reason"].as_str().unwrap()).collect();
    assert_eq!(reasons, ["source-unavailable"; 2], "{plan:#}");
}

#[test]
fn host_for_which_nothing_is_wished_is_told_so() {
    let (mut world, _offer) = world("");
    world.wish(
        "desired",
        "match: { hostname: \"web-*\" }\napps: { tool: { source: { file: /nowhere } } }\n",
    );
    let mut command = Command::new(env!("CARGO_BIN_EXE_reconcile"));
    command.env_clear().env("PATH", "/usr/bin:/bin").arg("--desired").arg(&world.desired);
    let told = command.args(["--dry-run", "--host", "db-1"]).output().unwrap();
    let text = String::from_utf8_lossy(&told.stdout);
    assert!(text.contains("Nothing in the desired state is for this host."), "{told:#?}");
}

#[test]
fn nothing_is_published_of_a_tree_that_is_not_there() {
    let world = World::new();
    let index = world.temp().join("srv/x.caidx").display().to_string();
    let ran = world.run(&["publish", "tree", "nope", "--index", &index]).exits(1);
    assert!(ran.stderr.contains("cannot read nope"), "{ran:#?}");
    assert!(!world.temp().join("srv").exists());
}

#[test]
fn quarantined_release_is_told_although_something_else_was_done() {
    let (mut world, mut offer) = world("");
    let source = offer.address();
    let wish = |state: &str| {
        format!(
            "apps:\n  tool:\n    source: {{ file: {source} }}\n    health:\n      exec: [sh, -c, \"! grep -q 1.1.0 \
             $RECONCILE_ROOT/opt/tool/bin/tool\"]\n      interval: 100ms\n      stable: 100ms\n      deadline: 500ms\n{state}"
        )
    };
    let publisher = Publisher::new(&world.temp().join("publisher"));
    tree::make(&publisher.source, "a \"a\"\n");
    publisher.publish();
    world.wish("desired", &wish(&publisher.wish("")));
    world.options = vec!["--effects".to_owned(), "run".to_owned()];
    world.run(&[]).exits(0);
    offer.publish("1.1.0");
    world.tick();
    world.run(&[]).exits(6);
    let explained = world.run(&["explain", "app/tool"]).exits(0);
    assert!(!explained.stdout.contains("kept to go back to"), "{explained:#?}");
    tree::remove(&world.path("/srv/site/a"));
    world.tick();
    let ran = world.run(&[]).exits(3);
    assert!(ran.stdout.contains("Applied: 1 done, 1 blocked"), "{ran:#?}");
    assert!(fs::read(world.path("/srv/site/a")).is_ok());
}

#[test]
fn check_that_cannot_look_is_told_by_the_doctor() {
    let (world, _offer) = world("    health: { exec: [no-such-prog] }\n");
    let ill = world.run(&["doctor"]).exits(1);
    assert!(ill.stdout.contains("BAD  app/tool is looked at by no-such-prog: "), "{ill:#?}");
}

/// The program without a word about the desired state.
fn bare(world: &World, arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_reconcile"));
    command.env_clear().env("PATH", "/usr/bin:/bin").arg("--root").arg(world.root());
    command.args(arguments).output().unwrap()
}

#[test]
fn saved_plan_says_itself_where_the_desired_state_is() {
    let (world, _offer) = world("");
    let plan = world.temp().join("plan.json").display().to_string();
    world.run(&["plan", "--out", &plan]).exits(0);
    let applied = bare(&world, &["apply", &plan]);
    assert!(applied.status.success(), "{applied:#?}");
    assert!(world.path("/opt/tool/bin/tool").exists());
}

#[test]
fn what_is_installed_is_told_without_a_desired_state() {
    let (world, _offer) = world("");
    world.run(&[]).exits(0);
    let told = bare(&world, &["status"]);
    let text = String::from_utf8_lossy(&told.stdout);
    assert!(told.status.success() && text.contains("app/tool"), "{told:#?}");
    assert!(bare(&world, &["gc"]).status.success());
    assert!(world.path("/opt/tool/bin/tool").exists());
}

#[test]
fn mistake_is_told_once() {
    let mut world = World::new();
    let app = "source: { file: /nowhere }, layout: { file: /usr/local/bin/x }";
    world.wish("desired", &format!("apps:\n  a: {{ {app} }}\n  b: {{ {app} }}\n"));
    let desired = world.desired.display().to_string();
    let told = world.run(&["validate", &desired]).exits(65);
    assert!(told.stderr.contains("the desired state has 1 error"), "{told:#?}");
}

#[test]
fn rare_options_are_in_the_long_help_only() {
    let world = World::new();
    let (short, long) = (world.run(&["status", "-h"]), world.run(&["status", "--help"]));
    for help in [&short, &long] {
        assert!(help.stdout.contains("Global options:"), "{}", help.stdout);
    }
    assert!(!short.stdout.contains("--git-keyring") && long.stdout.contains("--git-keyring"));
}

#[test]
fn word_that_names_no_updater_is_answered_with_those_that_do() {
    let world = World::new();
    let told = world.run(&["import", "foo"]).exits(64);
    assert!(told.stderr.contains("distronomicon, casync-updater, sysupdate, updex"), "{told:#?}");
}

#[test]
fn unit_that_is_written_by_hand_is_imported_like_one_of_the_template() {
    let world = World::new();
    let unit = "[Service]\nExecStart=/usr/local/bin/distronomicon --app rg --repo BurntSushi/ripgrep --pattern x update\n";
    tree::write(&world.path("/etc/systemd/system/tools.service"), unit.as_bytes());
    for arguments in [&["import", "distronomicon"][..], &["import", "root/etc/systemd/system"]] {
        let told = world.run(arguments).exits(0);
        assert!(told.stdout.contains("BurntSushi/ripgrep"), "{told:#?}");
        assert!(told.stderr.contains("tools.service runs distronomicon"), "{told:#?}");
        assert!(!told.stderr.contains("distronomicon@rg"), "{told:#?}");
        assert!(!told.stdout.contains("distronomicon@rg"), "{told:#?}");
    }
}

#[test]
fn unit_that_is_written_by_hand_is_read_behind_env_with_its_drop_ins_and_specifiers() {
    let world = World::new();
    let system = world.path("/etc/systemd/system");
    let unit = "[Service]\nExecStart=/usr/bin/env DISTRONOMICON_PATTERN=%N-x distronomicon --app rg update\n";
    tree::write(&system.join("tools.service"), unit.as_bytes());
    let drop_in =
        b"[Service]\nEnvironment=DISTRONOMICON_REPO=BurntSushi/ripgrep\nExecStartPre=/bin/x\n";
    tree::write(&system.join("tools.service.d/10.conf"), drop_in);
    let told = world.run(&["import", "distronomicon"]).exits(0);
    assert!(told.stdout.contains("BurntSushi/ripgrep"), "{told:#?}");
    assert!(told.stdout.contains("first_match: \"tools-x\""), "{told:#?}");
    let place = "tools.service.d/10.conf:3)";
    assert!(told.stderr.contains("`ExecStartPre=`") && told.stderr.contains(place), "{told:#?}");
}

#[test]
fn what_runs_distronomicon_in_another_way_is_to_be_written_by_hand() {
    let world = World::new();
    let shell = "[Service]\nExecStart=/bin/sh -c 'exec /usr/bin/distronomicon --app a update'\n";
    tree::write(&world.path("/etc/systemd/system/a.service"), shell.as_bytes());
    let other = "[Service]\nExecStart=/usr/bin/other /etc/distronomicon/x --app a\n";
    tree::write(&world.path("/etc/systemd/system/other.service"), other.as_bytes());
    let cron = "# distronomicon\n*/5 * * * * root /usr/bin/distronomicon --app b update\n";
    tree::write(&world.path("/etc/cron.d/tools"), cron.as_bytes());
    for arguments in [&["import", "distronomicon"][..], &["import", "root/etc"]] {
        let told = world.run(arguments).exits(1).stderr;
        assert_eq!(told.matches("write this app by hand").count(), 2, "{told}");
        assert!(told.contains("a.service:2)") && told.contains("cron.d/tools:2)"), "{told}");
    }
}

#[test]
fn what_is_put_back_while_its_source_is_away_is_what_the_host_stays_on() {
    let (mut world, offer) = world("");
    world.run(&[]).exits(0);
    fs::rename(offer.address(), world.temp().join("aside")).unwrap();
    fs::remove_file(world.path("/opt/tool/bin/tool")).unwrap();
    world.tick();
    let ran = world.run(&[]).exits(0).stdout;
    assert!(ran.contains("source-unavailable; staying on 1.0.0"), "{ran}");
    assert!(ran.contains("Applied: 1 done, 1 blocked"), "{ran}");
}

#[test]
fn source_that_is_not_mounted_is_one_that_is_down_for_every_kind() {
    let (mut world, offer) = world("");
    let publisher = Publisher::new(&world.temp().join("publisher"));
    tree::make(&publisher.source, "a \"a\"\n");
    publisher.publish();
    let app = format!("apps:\n  tool:\n    source: {{ file: {} }}\n", offer.address());
    world.wish("desired", &format!("{app}{}", publisher.wish("")));
    world.run(&[]).exits(0);
    let directories = [Path::new(&offer.address()).to_owned(), world.temp().join("publisher")];
    for (number, directory) in directories.iter().enumerate() {
        fs::rename(directory, world.temp().join(format!("aside-{number}"))).unwrap();
    }
    for hint in ["mount it", "it is empty; mount what belongs there"] {
        world.tick();
        let ran = world.run(&[]).exits(0).stdout;
        assert_eq!(ran.matches("source-unavailable; staying on").count(), 2, "{ran}");
        assert_eq!(ran.matches(hint).count(), 2, "{ran}");
        let ill = world.run(&["doctor"]).exits(1).stdout;
        assert_eq!(ill.matches("BAD  source of ").count(), 2, "{ill}");
        for directory in &directories {
            let _ = fs::create_dir(directory);
        }
    }
}

#[test]
fn doctor_reads_the_configuration_and_the_history() {
    let (world, _offer) = world("");
    world.run(&[]).exits(0);
    world.run(&["doctor"]).exits(0);
    tree::write(&world.path("/etc/reconcile/agent.yaml"), b"intervall: 1h\n");
    let ill = world.run(&["doctor"]).exits(1).stdout;
    assert!(ill.contains("BAD  configuration: ") && ill.contains("intervall"), "{ill}");
    fs::remove_file(world.path("/etc/reconcile/agent.yaml")).unwrap();
    tree::write(&world.path("/var/lib/reconcile/history.jsonl"), b"junk\nmore\n");
    let ill = world.run(&["doctor"]).exits(1).stdout;
    assert!(ill.contains("BAD  history: 2 lines of "), "{ill}");
}

#[test]
fn history_that_cannot_be_read_is_not_taken_for_an_empty_one() {
    let (world, _offer) = world("");
    world.run(&[]).exits(0);
    tree::write(&world.path("/var/lib/reconcile/history.jsonl"), b"junk\nmore\n");
    let told = world.run(&["history"]).exits(0);
    assert!(told.stderr.contains("2 lines of "), "{told:#?}");
    assert!(!told.stdout.contains("Nothing was changed yet"), "{told:#?}");
    let told = world.run(&["history", "app/nonesuch"]).exits(64);
    assert!(told.stderr.contains("nothing here is called app/nonesuch"), "{told:#?}");
}
