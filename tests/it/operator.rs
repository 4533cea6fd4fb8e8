//! What an operator decides, asks and gets wrong: each is answered truly, and by one exit code.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use crate::support::offer::{Offer, TWO_RELEASES};
use crate::support::tree;
use crate::support::world::World;

/// A host with `tool` and what offers it.
pub(crate) fn world(more: &str) -> (World, Offer) {
    let mut world = World::new();
    let offer = Offer::start(TWO_RELEASES, world.temp());
    world.wish("desired", &wish(&offer, more));
    world.run(&[]).exits(0);
    world.tick();
    (world, offer)
}

/// The same after 1.1.0 did not work and was switched back.
pub(crate) fn rolled_back() -> (World, Offer) {
    let (mut world, mut offer) = world("");
    let health = "    health: { exec: [sh, -c, \"! grep -q 1.1.0 $RECONCILE_ROOT/opt/tool/bin/tool\"], interval: \
                  100ms, stable: 100ms, deadline: 3s }\n";
    world.options = vec!["--effects".to_owned(), "run".to_owned()];
    world.wish("desired", &wish(&offer, health));
    offer.publish("1.1.0");
    world.run(&[]).exits(6);
    (world, offer)
}

pub(crate) fn wish(offer: &Offer, more: &str) -> String {
    format!("apps:\n  tool:\n    source: {{ file: {} }}\n{more}", offer.address())
}

#[test]
fn release_that_was_taken_out_of_use_is_told_and_comes_back() {
    let (mut world, _offer) = world("");
    fs::remove_file(world.path("/opt/tool/bin/tool")).unwrap();
    let status = world.run(&["status"]).exits(0).stdout;
    assert!(status.contains("app/tool                 1.0.0"), "{status}");
    assert!(status.contains("Drifted (Modified): /opt/tool/bin/tool"), "{status}");
    assert!(!status.contains("NotInstalled"), "{status}");
    let ran = world.run(&[]).exits(0).stdout;
    assert!(ran.contains("repair 1.0.0") && ran.contains("/opt/tool/bin/tool is gone"), "{ran}");
    world.tick();
    let history = world.run(&["history"]).exits(0).stdout;
    assert!(!history.contains("- -> 1.0.0") || history.contains("install"), "{history}");
    assert!(history.contains("repair"), "{history}");
}

#[test]
fn rollback_is_not_lost_with_a_name_that_was_the_place_too() {
    let (mut world, mut offer) = world("");
    offer.publish("1.1.0");
    world.run(&[]).exits(0);
    world.run(&["rollback", "app/tool", "--reason", "1.1.0 loses data"]).exits(0);
    let renamed = wish(&offer, "").replace("tool:\n", "utility:\n");
    world.wish("desired", &renamed);
    let kept = world.run(&[]).exits(3).stdout;
    assert!(kept.contains("app/tool             suspended; staying on 1.0.0"), "{kept}");
    assert!(kept.contains("rolled back by an operator (1.1.0 loses data)"), "{kept}");
    assert!(!world.path("/opt/utility").exists(), "{kept}");
    let linked = fs::read_link(world.path("/opt/tool/bin/tool")).unwrap();
    assert!(linked.to_str().unwrap().contains("/1.0.0/"), "{linked:?}");
    // Either way that is named leads on.
    world.wish("desired", &format!("{renamed}    home: /opt/tool\n"));
    let followed = world.run(&["--dry-run"]).exits(0).stdout;
    assert!(followed.contains("app/utility: rolled back to 1.0.0"), "{followed}");
    world.wish("desired", &renamed);
    world.run(&["resume", "app/tool"]).exits(0);
    let moved = world.run(&[]).exits(0).stdout;
    assert!(moved.contains("app/utility          install 1.1.0"), "{moved}");
    world.nothing_to_do();
}

#[test]
fn rollback_that_ends_with_a_removal_is_told() {
    let (mut world, mut offer) = world("");
    offer.publish("1.1.0");
    world.run(&[]).exits(0);
    world.run(&["rollback", "app/tool", "--reason", "1.1.0 loses data"]).exits(0);
    world.wish("desired", "apps: {}\n");
    let gone = world.run(&["--confirm-removals"]).exits(0).stdout;
    let why =
        "app/tool is rolled back by an operator (1.1.0 loses data); that ends with its removal";
    assert!(gone.contains("remove 1.0.0") && gone.contains(why), "{gone}");
}

#[test]
fn advice_for_a_withdrawn_release_works_as_it_is_written() {
    let (mut world, mut offer) = world("");
    offer.publish("1.1.0");
    world.run(&[]).exits(0);
    offer.withdraw("1.1.0");
    let told = world.run(&["--dry-run"]).stdout;
    let advice = told.split('`').find(|part| part.starts_with("version: {")).unwrap();
    world.wish("desired", &wish(&offer, &format!("    {advice}\n")));
    let planned = world.run(&["--dry-run"]).exits(0).stdout;
    assert!(planned.contains("downgrade 1.1.0 -> 1.0.0"), "{planned}");
}

#[test]
fn suspension_keeps_what_is_not_wished_until_it_ends() {
    let (mut world, _offer) = world("");
    let until = (world.now + jiff::SignedDuration::from_mins(2)).to_string();
    world.run(&["suspend", "app/tool", "--reason", "audit", "--until", &until]).exits(0);
    world.wish("desired", "apps: {}\n");
    let kept = world.run(&["--confirm-removals"]).exits(3).stdout;
    assert!(kept.contains("app/tool             suspended; staying on 1.0.0"), "{kept}");
    assert!(kept.contains("not removed: suspended by an operator: audit"), "{kept}");
    let status = world.run(&["status"]).exits(0).stdout;
    assert!(status.contains("Suspended (Requested): audit"), "{status}");
    for _ in 0..3 {
        world.tick();
    }
    let status = world.run(&["status"]).exits(0).stdout;
    assert!(status.contains("it will be removed"), "{status}");
    world.run(&["--confirm-removals"]).exits(0);
    assert!(!world.path("/opt/tool/bin/tool").exists());
}

#[test]
fn decisions_that_are_over_or_say_nothing_are_refused() {
    let (world, _offer) = world("");
    for command in [&["suspend", "app/tool"][..], &["rollback", "app/tool"]] {
        let past = [command, &["--reason", "x", "--until", "2026-05-31"]].concat();
        let told = world.run(&past).exits(64).stderr;
        assert!(told.contains("is over already"), "{told}");
        let silent = [command, &["--reason", " "]].concat();
        let told = world.run(&silent).exits(64).stderr;
        assert!(told.contains("--reason is empty"), "{told}");
    }
    assert!(!world.path("/var/lib/reconcile/overrides.json").exists());
}

#[test]
fn what_is_for_all_hosts_needs_no_directory_of_any() {
    let (mut world, offer) = world("");
    world.wish("fleet/common", &wish(&offer, ""));
    world.desired = world.temp().join("fleet");
    let status = world.run(&["validate"]).exits(0).stdout;
    assert!(status.contains("is valid: 1 app."), "{status}");
    world.run(&["--dry-run"]).exits(0);
    fs::create_dir(world.desired.join("hosts")).unwrap();
    world.run(&["validate"]).exits(0);
    tree::remove(&world.desired.join("common"));
    tree::write(&world.desired.join("hosts/elsewhere/wish.yaml"), wish(&offer, "").as_bytes());
    let told = world.run(&[]).exits(3);
    assert!(told.stdout.contains("Nothing in the desired state is for this host"), "{told:#?}");
}

#[test]
fn what_is_installed_is_told_although_the_wish_is_not_valid() {
    let (mut world, _offer) = world("");
    world.wish("desired", "apps: { tool: { sauce: 1 } }\n");
    for arguments in [&["status"][..], &["explain", "app/tool"]] {
        let told = world.run(arguments).exits(65);
        assert!(told.stderr.contains("sauce"), "{told:#?}");
        assert!(told.stdout.contains("app/tool                 1.0.0"), "{told:#?}");
    }
    let told = world.run(&["status", "-o", "json"]).exits(65).json();
    assert_eq!(told["resources"][0]["version"], "1.0.0", "{told:#}");
    let told = world.run(&["status"]).exits(65).stdout;
    assert!(told.contains("the last valid one stays in effect until it is valid"), "{told}");
}

#[test]
fn programs_are_told_every_mistake_of_an_invalid_wish_wherever_they_asked_for_a_document() {
    let (mut world, _offer) = world("");
    world.wish("desired", "apps:\n  tool: { sauce: 1 }\n  other: { sauce: 2 }\n");
    let validated = world.run(&["validate", "-o", "json"]).exits(65).json();
    let errors = validated["errors"].as_array().unwrap();
    assert_eq!(
        (&errors[1]["line"], &errors[1]["column"]),
        (&2.into(), &11.into()),
        "{validated:#}"
    );
    let rollback = ["rollback", "app/none", "--reason", "x"];
    for command in [&[][..], &["--dry-run"], &["plan"], &["diff"], &["list", "app/tool"]] {
        let ran = world.run(&[command, &["-o", "json"]].concat()).exits(65);
        assert_eq!(ran.json(), validated, "{command:?}");
        assert!(ran.stderr.contains("sauce"), "{ran:#?}");
        assert!(world.run(command).exits(65).stdout.is_empty(), "{command:?}");
    }
    // What has another answer gives that alone.
    world.run(&["status", "-o", "json"]).exits(65).json();
    assert!(world.run(&[&rollback[..], &["-o", "json"]].concat()).exits(64).stdout.is_empty());
}

/// A host on 1.1.0 after 1.0.0, whose desired state is not valid any more. No agent ever ran there.
fn broken(edit: impl FnOnce(&mut World, &Offer)) -> World {
    let (mut world, mut offer) = world("");
    offer.publish("1.1.0");
    world.run(&[]).exits(0);
    world.tick();
    edit(&mut world, &offer);
    world.wish("desired", "apps: { tool: { sauce: 1 } }\n");
    world
}

fn links_to(world: &World, release: &str) -> bool {
    let link = fs::read_link(world.path("/opt/tool/bin/tool")).unwrap();
    link.to_str().unwrap().contains(release)
}

const ROLLBACK: [&str; 4] = ["rollback", "app/tool", "--reason", "incident"];

#[test]
fn release_is_gone_back_to_although_the_wish_is_not_valid() {
    let world = broken(|_, _| {});
    let told = world.run(&ROLLBACK);
    assert!(links_to(&world, "/1.0.0/"), "{told:#?}");
    assert!(told.stderr.contains("the last valid desired state stays in effect"), "{told:#?}");
}

#[test]
fn wish_from_before_says_nothing_of_what_was_moved_or_never_read_here() {
    let kept = |world: &World| {
        let state = fs::read_dir(world.path("/var/lib/reconcile")).unwrap();
        let mut copies = state
            .map(|entry| entry.unwrap().path())
            .filter(|path| path.file_name().unwrap().to_str().unwrap().starts_with("desired-"));
        copies.next().unwrap()
    };
    let world = broken(|world, offer| {
        let before = fs::read(kept(world)).unwrap();
        world.wish("desired", &wish(offer, "    home: /opt/other\n"));
        world.run(&[]).exits(0);
        world.tick();
        // As a version left it that did not keep the wish of every pass.
        fs::write(kept(world), before).unwrap();
    });
    let told = world.run(&ROLLBACK).exits(65).stderr;
    assert!(told.contains("has app/tool at /opt/tool, and it is at /opt/other now"), "{told}");
    assert!(links_to(&world, "/1.1.0/"), "{told}");
    assert!(!world.path("/var/lib/reconcile/overrides.json").exists());
    // A pass over other files, once, leaves what there is to go by as it was.
    let world = broken(|world, offer| {
        let other = world.temp().join("other.yaml");
        fs::write(&other, wish(offer, "").replace("tool:", "other:")).unwrap();
        let root = world.root();
        let once = std::process::Command::new(env!("CARGO_BIN_EXE_reconcile"))
            .args(["--root".as_ref(), root.as_os_str(), "--desired".as_ref(), other.as_os_str()])
            .output()
            .unwrap();
        assert!(once.status.success(), "{once:?}");
    });
    let told = world.run(&["status"]).exits(65).stdout;
    assert!(told.contains("the last valid one stays in effect until it is valid"), "{told}");
    world.run(&ROLLBACK);
    assert!(links_to(&world, "/1.0.0/"));
}

#[test]
fn copy_of_a_desired_state_is_as_private_as_it_may_be_and_none_stops_a_pass() {
    let (mut world, mut offer) = world("");
    let state = world.path("/var/lib/reconcile");
    let copies = || {
        let names = fs::read_dir(&state).unwrap().map(|entry| entry.unwrap().path());
        let is_copy = |path: &std::path::PathBuf| path.to_str().unwrap().contains("/desired-");
        names.filter(is_copy).collect::<Vec<_>>()
    };
    let [copy] = &copies()[..] else { panic!("{:?}", copies()) };
    assert_eq!(fs::metadata(copy).unwrap().permissions().mode() & 0o777, 0o600);
    fs::remove_file(copy).unwrap();
    fs::create_dir(copy).unwrap();
    offer.publish("1.1.0");
    world.tick();
    let told = world.run(&[]).exits(0).stderr;
    assert!(links_to(&world, "/1.1.0/"), "{told}");
    fs::remove_dir(copy).unwrap();
    // Those of other paths do not pile up.
    for other in 0..6 {
        let file = world.temp().join(format!("{other}.yaml"));
        fs::write(&file, "apps: {}\n").unwrap();
        let file = file.to_str().unwrap();
        std::process::Command::new(env!("CARGO_BIN_EXE_reconcile"))
            .args(["--root", world.root().to_str().unwrap(), "--desired", file])
            .status()
            .unwrap();
    }
    assert_eq!(copies().len(), 4);
}

#[test]
fn rollback_tells_programs_one_document() {
    let (mut world, mut offer) = world("");
    offer.publish("1.1.0");
    world.run(&[]).exits(0);
    world.tick();
    let told = world.run(&[&ROLLBACK[..], &["-o", "json"]].concat()).exits(0).json();
    assert_eq!(told["kind"], "Pass", "{told:#}");
}

#[test]
fn resource_that_another_path_wishes_now_stays_while_its_source_is_away() {
    let (mut world, offer) = world("");
    let elsewhere = world.temp().join("elsewhere.yaml");
    let gone = wish(&offer, "").replace(&offer.address(), "/nowhere");
    fs::write(&elsewhere, gone).unwrap();
    std::process::Command::new(env!("CARGO_BIN_EXE_reconcile"))
        .arg("--root")
        .arg(world.root())
        .arg("--desired")
        .arg(&elsewhere)
        .status()
        .unwrap();
    world.wish("desired", "apps: {}\n");
    world.tick();
    world.run(&["--confirm-removals"]);
    assert!(links_to(&world, "/1.0.0/"));
}

#[test]
fn quarantine_is_lifted_although_the_wish_is_not_valid() {
    let (mut world, _offer) = rolled_back();
    let listed = world.run(&["list", "app/tool"]).exits(0).stdout;
    assert!(listed.contains("  1.1.0") && !listed.contains("* 1.1.0"), "{listed}");
    world.wish("desired", "apps: { tool: { sauce: 1 } }\n");
    let ended = world.run(&["resume", "app/tool"]).exits(0).stdout;
    assert!(ended.contains("quarantine of 1.1.0"), "{ended}");
    world.run(&["suspend", "app/tool", "--reason", "audit"]).exits(0);
}

#[test]
fn resource_that_nobody_wishes_is_named_for_what_it_is() {
    let (mut world, _offer) = world("");
    world.wish("desired", "apps: {}\n");
    let told = world.run(&["suspend", "app/other", "--reason", "audit"]).exits(64).stderr;
    assert!(told.contains("nothing here is called app/other"), "{told}");
    world.run(&["suspend", "app/tool", "--reason", "audit"]).exits(0);
    let told = world.run(&["explain", "app/tool"]).exits(0).stdout;
    assert!(told.contains("1.0.0") && told.contains("not desired"), "{told}");
}

#[test]
fn release_that_is_gone_back_to_is_not_the_latest() {
    let (mut world, mut offer) = world("");
    offer.publish("1.1.0");
    world.run(&[]).exits(0);
    world.tick();
    let planned = world.run(&["rollback", "app/tool", "--reason", "x", "--dry-run"]).exits(0);
    assert!(planned.stdout.contains("downgrade 1.1.0 -> 1.0.0\n"), "{planned:#?}");
}

#[test]
fn image_that_is_not_there_leaves_no_extension_behind() {
    let world = World::new();
    let repository = world.temp().join("repository");
    let place = repository.display().to_string();
    let publish = ["publish", "extension", &place, "none.raw", "--name", "zz", "--version", "1"];
    let told = world.run(&publish).exits(1);
    assert!(told.stderr.contains("cannot read none.raw"), "{told:#?}");
    assert!(!repository.exists());
}

#[test]
fn directory_without_a_list_is_not_taken_for_a_private_one() {
    let mut world = World::new();
    let empty = world.temp().join("empty");
    fs::create_dir(&empty).unwrap();
    world.wish(
        "desired",
        &format!(
            "extensions:\n  zz:\n    verify: {{ min: checksum }}\n    source: {{ sysupdate: {{ path: {}, match: \
             \"zz_@v.raw\" }} }}\n",
            empty.display()
        ),
    );
    let told = world.run(&["--dry-run"]);
    assert!(told.stdout.contains("something is published there"), "{told:#?}");
    assert!(!told.stdout.contains("token"), "{told:#?}");
}

#[test]
fn format_that_a_command_has_not_is_refused() {
    let (world, _offer) = world("");
    let suspend = ["suspend", "app/tool", "--reason", "audit"];
    world.run(&[&suspend[..], &["-o", "json"]].concat()).exits(64);
    assert!(!world.path("/var/lib/reconcile/overrides.json").exists());
    world.run(&["status", "-o", "markdown"]).exits(64);
    fs::remove_file(world.path("/opt/tool/bin/tool")).unwrap();
    let diff = world.run(&["diff", "-o", "json"]).exits(0).json();
    assert_eq!((&diff["apiVersion"], &diff["kind"]), (&"reconcile/v1".into(), &"Diff".into()));
    assert_eq!(diff["resources"][0]["resource"], "app/tool", "{diff:#}");
    assert_eq!(diff["resources"][0]["drift"][0]["path"], "/opt/tool/bin/tool", "{diff:#}");
}

#[test]
fn commands_are_named_as_they_would_have_to_be_typed() {
    let (mut world, _offer) = rolled_back();
    world.tick();
    let told = world.run(&["--dry-run"]).exits(0);
    let (root, desired) = (world.root(), world.desired.clone());
    let typed = format!(
        "`reconcile --root {} --desired {} resume app/tool`",
        root.display(),
        desired.display()
    );
    assert!(told.stdout.contains(&typed), "{told:#?}");
    let told = world.run(&["--dry-run", "-o", "json"]).exits(0);
    assert!(told.stdout.contains("`reconcile resume app/tool`"), "{told:#?}");
}

#[test]
fn paths_that_are_not_there_and_files_that_are_no_plans_are_told_in_words() {
    let (world, _offer) = world("");
    let missing = world.temp().join("nope").display().to_string();
    let told = world.run(&["import", &missing]).exits(1).stderr;
    assert!(told.contains("there is no such file or directory"), "{told}");
    let told = world.run(&["validate", &missing]).exits(65).stderr;
    assert!(told.contains("it does not exist") && !told.contains("--desired"), "{told}");
    let plan = world.temp().join("plan.json");
    tree::write(&plan, b"{");
    let told = world.run(&["apply", plan.to_str().unwrap()]).exits(64).stderr;
    assert!(told.contains("what `plan --out` saves") && !told.contains("column"), "{told}");
}

#[test]
fn import_counts_only_the_transfers_that_are_followed() {
    let world = World::new();
    let source = "[Source]\nType=url-file\nPath=https://images.example\nMatchPattern=x_@v.raw\n";
    for (name, target) in [
        ("x", "[Target]\nType=regular-file\nPath=/var/lib/extensions.d\nMatchPattern=x_@v.raw\n"),
        ("10-root", "[Target]\nType=partition\nPath=auto\nMatchPattern=x_@v\n"),
    ] {
        let place = world.path(&format!("/usr/lib/sysupdate.d/{name}.transfer"));
        tree::write(&place, format!("{source}{target}").as_bytes());
    }
    let told = world.run(&["import", "sysupdate"]).exits(0).stderr;
    assert!(told.contains("10-root.transfer is left alone: "), "{told}");
    assert!(told.contains("1 transfer found; it is followed, not copied"), "{told}");
}

#[test]
fn root_whose_parent_is_missing_is_told_with_it() {
    let world = World::new();
    let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_reconcile"));
    command.current_dir(world.temp()).args(["--root", "target/demo", "--dry-run"]);
    let output = command.output().unwrap();
    let told = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(64), "{told}");
    assert!(told.contains("target does not exist; make that directory"), "{told}");
}

#[test]
fn one_resource_is_told_in_full_by_its_id_and_by_its_name() {
    let (mut world, offer) = rolled_back();
    world.tick();
    world.run(&["suspend", "app/tool", "--reason", "audit"]).exits(0);
    let told = world.run(&["status", "app/tool"]).exits(0).stdout;
    assert_eq!(world.run(&["status", "tool"]).exits(0).stdout, told);
    let (source, wish) = (offer.address(), world.desired.join("wish.yaml"));
    for part in [
        "app/tool                 1.0.0          latest",
        "Suspended (Requested): audit",
        "Quarantined (",
        &format!("declared at {}:2", wish.display()),
        &format!("comes from {source}"),
        "made from sha256:",
        "last change 2026-06-01T00:01:00Z: ",
    ] {
        assert!(told.contains(part), "{part}: {told}");
    }
    let listed = world.run(&["status", "tool", "-o", "json"]).exits(0).json();
    assert_eq!(listed["resources"][0]["id"], "app/tool", "{listed:#}");
    let line = world.run(&["status", "tool", "-o", "oneline"]).exits(0).stdout;
    assert!(line.starts_with("app/tool 1.0.0 Failed (`sh -c "), "{line}");
    assert_eq!(line.lines().count(), 1, "{line}");
    let meant = world.run(&["status", "tol"]).exits(64).stderr;
    assert!(meant.contains("nothing here is called tol; did you mean tool?"), "{meant}");
    world.run(&["status", "tool", "--export"]).exits(64);
}

#[test]
fn what_nobody_knows_is_not_resumed() {
    let (world, _offer) = world("");
    let told = world.run(&["resume", "app/tol"]).exits(64).stderr;
    assert!(told.contains("nothing here is called app/tol; did you mean app/tool?"), "{told}");
    let told = world.run(&["resume", "app/tool"]).exits(0).stdout;
    assert!(told.contains("was neither suspended"), "{told}");
}
