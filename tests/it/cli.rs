//! The command line as scripts see it: exit codes, streams, documents.

use std::os::unix::fs::MetadataExt;
use std::path::Path;

use serde_json::Value;

use crate::support::offer::{Offer, TWO_RELEASES};
use crate::support::tree;
use crate::support::world::World;

/// A host with one app in its wish, and the source of it.
fn world() -> (World, Offer) {
    let mut world = World::new();
    let offer = Offer::start(TWO_RELEASES, world.temp());
    let wish = format!("apps:\n  tool:\n    source: {{ file: {} }}\n", offer.address());
    world.wish("desired", &wish);
    (world, offer)
}

/// The same with version 1.0.0 installed.
fn installed() -> (World, Offer) {
    let (mut world, offer) = world();
    world.run(&[]).exits(0);
    world.tick();
    (world, offer)
}

/// The same with 1.0.0 kept and 1.1.0 in use.
fn upgraded() -> (World, Offer) {
    let (mut world, mut offer) = installed();
    offer.publish("1.1.0");
    world.run(&[]).exits(0);
    world.tick();
    (world, offer)
}

fn version(world: &World) -> String {
    let target = std::fs::read_link(world.path("/opt/tool/bin/tool")).unwrap();
    target.to_str().unwrap().split('/').nth(2).unwrap().to_owned()
}

#[track_caller]
fn assert_valid(world: &World, kind: &str, document: &Value) {
    let schema = world.run(&["schema", kind]).exits(0).json();
    let validator = jsonschema::validator_for(&schema).unwrap();
    let errors: Vec<String> = validator.iter_errors(document).map(|e| e.to_string()).collect();
    assert!(errors.is_empty(), "{errors:#?}");
}

#[test]
fn pending_changes_exit_with_2_only_when_asked() {
    let (mut world, _offer) = world();
    world.run(&["--dry-run"]).exits(0);
    world.run(&["--dry-run", "--detailed-exitcode"]).exits(2);
    world.run(&["plan", "--detailed-exitcode"]).exits(2);
    world.run(&["--detailed-exitcode"]).exits(0);
    world.tick();
    world.run(&["--dry-run", "--detailed-exitcode"]).exits(0);
}

#[test]
fn wrong_command_lines_exit_with_64() {
    let (world, _offer) = world();
    for arguments in [
        &["--no-such-option"][..],
        &["no-such-command"],
        &["--only", "app/nobody"],
        &["explain", "app/nobody"],
        &["rollback", "app/tool"],
        &["apply", "no-such-file"],
    ] {
        let ran = world.run(arguments).exits(64);
        assert_eq!(ran.stdout, "", "{arguments:?}");
        assert!(!ran.stderr.is_empty(), "{arguments:?}");
    }
}

#[test]
fn three_mistakes_are_shown_at_once() {
    let mut world = World::new();
    world.wish(
        "desired",
        "apps:\n  tool:\n    source: { github: nonsense }\n    retian: 3\n    version: '>=banana'\n",
    );
    let ran = world.run(&["validate"]).exits(65);
    assert_eq!(ran.stdout, "");
    assert_eq!(ran.stderr.matches("\nerror: ").count(), 3, "{}", ran.stderr);
    assert!(ran.stderr.contains("has 3 errors"), "{}", ran.stderr);
    assert_eq!(world.run(&[]).exits(65).stdout, "");
}

#[test]
fn valid_files_need_no_host_and_no_network() {
    let world = World::new();
    let examples = concat!(env!("CARGO_MANIFEST_DIR"), "/examples/app-github-latest.yaml");
    let ran = world.run(&["validate", examples]).exits(0);
    assert!(ran.stdout.ends_with("is valid: 1 app.\n"), "{ran:?}");
}

#[test]
fn host_that_cannot_be_written_exits_with_73() {
    let (world, _offer) = world();
    tree::write(&world.path("/var"), b"a file where a directory is needed");
    world.run(&[]).exits(73);
    assert!(!world.path("/opt").exists());
}

#[test]
fn d17_two_passes_never_write_at_once() {
    let (world, _offer) = installed();
    let path = world.path("/var/lib/reconcile/lock");
    let lock = std::fs::File::options().write(true).open(&path).unwrap();
    lock.lock().unwrap();
    let ran = world.run(&[]).exits(75);
    assert!(ran.stderr.contains("another pass holds the lock"), "{}", ran.stderr);
    world.run(&["--dry-run"]).exits(0);
    world.run(&["status"]).exits(0);
    lock.unlock().unwrap();
    world.run(&[]).exits(0);
    let inode = lock.metadata().unwrap().ino();
    assert_eq!(path.metadata().unwrap().ino(), inode, "a lock file is never replaced");
}

#[test]
fn result_is_on_stdout_and_the_log_on_stderr() {
    let (world, _offer) = world();
    let quiet = world.run(&["--dry-run"]);
    assert_eq!(quiet.stderr, "");
    let loud = world.run(&["--dry-run", "-vv"]);
    assert_eq!(loud.stdout, quiet.stdout);
    assert!(!loud.stderr.is_empty());
    let done = world.run(&["-o", "json", "-vv"]).exits(0);
    assert_eq!(done.json()["kind"], "Pass");
}

#[test]
fn nothing_is_coloured_in_a_pipe() {
    let (mut world, _offer) = world();
    for no_color in [None, Some("1")] {
        world.environment =
            no_color.map(|v| ("NO_COLOR".to_owned(), v.to_owned())).into_iter().collect();
        for arguments in [&["--dry-run", "-vv"][..], &["validate", "/nowhere"], &["status"]] {
            let ran = world.run(arguments);
            assert!(!ran.stdout.contains('\x1b') && !ran.stderr.contains('\x1b'), "{ran:?}");
        }
    }
}

#[test]
fn saved_plan_is_applied_exactly_once() {
    let (world, _offer) = world();
    let planned = world.run(&["plan", "--out", "plan.json", "-o", "json"]).exits(0);
    let saved = std::fs::read_to_string(world.temp().join("plan.json")).unwrap();
    assert_eq!(saved, planned.stdout);
    let applied = world.run(&["apply", "plan.json", "-o", "json"]).exits(0).json();
    assert_eq!(applied["plan"]["spec"], planned.json()["spec"]);
    assert_eq!(version(&world), "1.0.0");
    let again = world.run(&["apply", "plan.json"]).exits(5);
    assert!(again.stderr.contains("changed since it was made; plan again"), "{}", again.stderr);
}

#[test]
fn stale_plan_is_refused() {
    let (world, mut offer) = installed();
    offer.publish("1.1.0");
    world.run(&["plan", "--out", "plan.json"]).exits(0);
    tree::link(&world.path("/opt/tool/bin/tool"), "/usr/bin/true");
    let before = tree::snapshot(&world.path("/opt"));
    world.run(&["apply", "plan.json"]).exits(5);
    assert_eq!(tree::snapshot(&world.path("/opt")), before);
}

#[test]
fn edited_plan_is_refused() {
    let (world, _offer) = world();
    world.run(&["plan", "--out", "plan.json"]).exits(0);
    let path = world.temp().join("plan.json");
    let text = std::fs::read_to_string(&path).unwrap();
    for (from, to) in [("1.0.0", "6.6.6"), ("\"reconcile/v1\"", "\"reconcile/v2\"")] {
        std::fs::write(&path, text.replace(from, to)).unwrap();
        let ran = world.run(&["apply", "plan.json"]);
        assert!(matches!(ran.code, 5 | 64), "{ran:?}");
        assert!(!world.path("/opt").exists());
    }
}

#[test]
fn plan_for_another_root_is_refused() {
    let (world, _offer) = world();
    world.run(&["plan", "--out", "plan.json"]).exits(0);
    let other = World::new();
    let plan = world.temp().join("plan.json");
    let desired = world.desired.to_str().unwrap();
    let ran = other.run(&["--desired", desired, "apply", plan.to_str().unwrap()]);
    assert!(matches!(ran.code, 5 | 65), "{ran:?}");
    assert!(!other.path("/opt").exists());
}

#[test]
fn status_says_what_is_and_validates() {
    let (world, _offer) = installed();
    let status = world.run(&["status", "-o", "json"]).exits(0).json();
    assert_valid(&world, "status", &status);
    assert_eq!(status["state"], "Current");
    assert_eq!(status["resources"][0]["version"], "1.0.0");
    tree::write(&world.path("/opt/tool/releases/1.0.0/tool"), b"edited");
    let status = world.run(&["status", "-o", "json"]).json();
    assert_valid(&world, "status", &status);
    let drift = &status["resources"][0]["drift"][0];
    assert_eq!(drift["path"], "/opt/tool/releases/1.0.0/tool");
    let diff = world.run(&["diff"]).exits(0);
    assert!(diff.stdout.contains("modified /opt/tool/releases/1.0.0/tool"), "{}", diff.stdout);
    assert!(world.run(&["status"]).stdout.contains("app/tool"));
}

#[test]
fn history_tells_every_change_and_its_cause() {
    let (world, _offer) = upgraded();
    let history = world.run(&["history", "-o", "json"]).exits(0).json();
    let entries = history["entries"].as_array().unwrap();
    let told: Vec<(&str, &str)> = entries
        .iter()
        .map(|e| (e["action"].as_str().unwrap(), e["attribution"].as_str().unwrap()))
        .collect();
    assert_eq!(told, [("install", "first-install"), ("upgrade", "upstream-moved")]);
    let text = world.run(&["history", "app/tool", "-n", "1"]).exits(0).stdout;
    assert!(text.contains("1.0.0 -> 1.1.0  done"), "{text}");
    assert_eq!(text.lines().count(), 1, "{text}");
}

#[test]
fn explain_and_list_say_what_there_is_to_choose_from() {
    let (world, mut offer) = installed();
    offer.publish("1.1.0");
    let text = world.run(&["explain", "app/tool"]).exits(0).stdout;
    for part in ["1.1.0 acceptable", "of 1.1.0 the file is tool-linux-x86_64.tar.gz", "wish.yaml:2"]
    {
        assert!(text.contains(part), "{part}: {text}");
    }
    let text = world.run(&["list", "app/tool"]).exits(0).stdout;
    let versions: Vec<&str> =
        text.lines().filter_map(|l| l[2..].split_whitespace().next()).collect();
    assert_eq!(versions, ["1.1.0", "1.0.0"]);
}

#[test]
fn rollback_holds_until_resume() {
    let (mut world, _offer) = upgraded();
    let seen = world.run(&["--dry-run", "rollback", "app/tool", "--reason", "crashes"]).exits(0);
    assert!(seen.stdout.contains("downgrade 1.1.0 -> 1.0.0"), "{}", seen.stdout);
    assert_eq!(version(&world), "1.1.0");
    world.run(&["rollback", "app/tool", "--to", "9.9.9", "--reason", "crashes"]).exits(1);
    world.run(&["rollback", "app/tool", "--reason", "crashes"]).exits(0);
    assert_eq!(version(&world), "1.0.0");
    world.tick();
    world.run(&[]).exits(0);
    assert_eq!(version(&world), "1.0.0");
    let status = world.run(&["status"]).stdout;
    assert!(status.contains("RolledBack (Operator): crashes"), "{status}");
    world.run(&["resume", "app/tool"]).exits(0);
    world.tick();
    world.run(&[]).exits(0);
    assert_eq!(version(&world), "1.1.0");
}

#[test]
fn suspension_holds_until_resume() {
    let (mut world, mut offer) = installed();
    offer.publish("1.1.0");
    world.run(&["suspend", "app/tool", "--reason", "incident 7"]).exits(0);
    world.run(&[]).exits(3);
    assert_eq!(version(&world), "1.0.0");
    let status = world.run(&["status", "-o", "json"]).json();
    assert_eq!(status["state"], "Suspended");
    world.run(&["resume", "app/tool"]).exits(0);
    world.tick();
    world.run(&[]).exits(0);
    assert_eq!(version(&world), "1.1.0");
    let text = world.run(&["resume", "app/tool"]).exits(0).stdout;
    assert!(text.contains("neither suspended nor rolled back"), "{text}");
}

#[test]
fn gc_removes_only_what_can_be_had_again() {
    let (mut world, _offer) = upgraded();
    tree::write(&world.path("/var/cache/reconcile/blobs/sha256/00"), b"of nobody");
    let before = tree::snapshot(&world.path("/opt"));
    let text = world.run(&["gc"]).exits(0).stdout;
    assert!(text.starts_with("Removed 1 file from the cache, 9 B freed"), "{text}");
    tree::write(&world.path("/var/cache/reconcile/chunks/ab12/ab12.cacnk"), b"chunk");
    world.run(&["gc", "--all"]).exits(0);
    for kept in ["blobs", "chunks"] {
        assert!(!world.path(&format!("/var/cache/reconcile/{kept}")).exists(), "{kept}");
    }
    assert_eq!(tree::snapshot(&world.path("/opt")), before);
    world.tick();
    let again = world.run(&["--dry-run"]).exits(0);
    assert!(again.stdout.starts_with("No changes."), "{}", again.stdout);
}

#[test]
fn saved_plan_waits_for_a_window_like_any_other() {
    let (mut world, mut offer) = installed();
    offer.publish("1.1.0");
    let config = "windows: { nights: { start: '00:00', for: 2h, zone: UTC0 } }";
    tree::write(&world.path("/etc/reconcile/agent.yaml"), config.as_bytes());
    let file = world.temp().join("saved.json").display().to_string();
    world.run(&["plan", "--out", &file]).exits(0);
    world.now = "2026-06-01T12:00:00Z".parse().unwrap();
    let ran = world.run(&["apply", &file]).exits(3);
    assert!(ran.stderr.contains("outside the maintenance window `nights`"), "{}", ran.stderr);
    assert_eq!(version(&world), "1.0.0");
    world.run(&["apply", &file, "--windows", "ignore"]).exits(0);
    assert_eq!(version(&world), "1.1.0");
}

#[test]
fn configuration_that_is_too_long_is_refused_and_not_cut() {
    let (world, _offer) = world();
    let config = format!("interval: 5m\n{}nonsense: 1\n", "# no more\n".repeat(200_000));
    tree::write(&world.path("/etc/reconcile/agent.yaml"), config.as_bytes());
    let file = world.path("/etc/reconcile/agent.yaml").display().to_string();
    let ran = world.run(&["--config", &file]).exits(78);
    assert!(ran.stderr.contains("it has more than"), "{}", ran.stderr);
}

#[test]
fn doctor_names_what_is_wrong() {
    let (world, _offer) = installed();
    let well = world.run(&["doctor"]).exits(0);
    assert!(!well.stdout.contains("BAD"), "{}", well.stdout);
    tree::write(&world.path("/var/lib/reconcile/trust.json"), b"{");
    let ill = world.run(&["doctor"]).exits(1);
    assert!(ill.stdout.contains("BAD  ledger: "), "{}", ill.stdout);
}

#[test]
fn completions_and_manual_pages_are_produced() {
    let world = World::new();
    for shell in ["bash", "zsh", "fish"] {
        let script = world.run(&["completions", shell]).exits(0).stdout;
        assert!(script.contains("rollback") && script.contains("detailed-exitcode"), "{shell}");
    }
    let directory = world.temp().join("man");
    std::fs::create_dir(&directory).unwrap();
    world.run(&["man", directory.to_str().unwrap()]).exits(0);
    let page = std::fs::read_to_string(directory.join("reconcile.1")).unwrap();
    assert!(page.contains(".TH reconcile 1"), "{page}");
    assert!(directory.join("reconcile-rollback.1").exists());
}

#[test]
fn help_and_version_are_answers() {
    let world = World::new();
    assert!(world.run(&["--help"]).exits(0).stdout.contains("--dry-run"));
    assert!(world.run(&["--version"]).exits(0).stdout.starts_with("reconcile "));
}

#[test]
fn distronomicon_is_imported_from_the_host() {
    let mut world = World::new();
    let unit = "[Service]\nExecStart=/usr/local/bin/distronomicon --app %i update\n";
    let settings = "[Service]\nEnvironment=DISTRONOMICON_REPO=acme/tool\n\
                    Environment=\"DISTRONOMICON_PATTERN=tool-.*linux\"\n\
                    Environment=DISTRONOMICON_CHECKSUM_PATTERN=SHA256SUMS\n";
    let system = world.path("/etc/systemd/system");
    tree::write(&system.join("distronomicon@.service"), unit.as_bytes());
    tree::write(&system.join("distronomicon@tool.service.d/app.conf"), settings.as_bytes());
    tree::link(&system.join("timers.target.wants/distronomicon@tool.timer"), "/nowhere");
    let imported = world.run(&["import", "distronomicon"]).exits(0);
    assert!(imported.stderr.contains("to do: "), "{}", imported.stderr);
    world.wish("imported", &imported.stdout);
    world.run(&["validate"]).exits(0);
    assert!(imported.stdout.contains("acme/tool"), "{}", imported.stdout);
    let named = world.run(&["import", "distronomicon", system.to_str().unwrap()]).exits(0);
    assert_eq!(named.stdout, imported.stdout);
    let missing = Path::new("/no/such/directory").to_str().unwrap();
    let failed = world.run(&["import", "distronomicon", missing]).exits(1);
    assert_eq!(failed.stdout, "");
}

#[test]
fn damaged_decisions_stop_a_pass_instead_of_lifting_them() {
    let (world, _) = installed();
    world.run(&["suspend", "app/tool", "--reason", "incident"]).exits(0);
    tree::write(&world.path("/var/lib/reconcile/overrides.json"), b"{");
    let refused = world.run(&[]).exits(1);
    assert!(refused.stderr.contains("overrides.json"), "{}", refused.stderr);
    // Questions are answered all the same, and the answers say what to do.
    let status = world.run(&["status"]).exits(0).stdout;
    assert!(status.contains("repair it, or remove it"), "{status}");
    for command in [&["diff"][..], &["explain", "app/tool"], &["gc"]] {
        world.run(command).exits(0);
    }
    assert!(world.run(&["doctor"]).exits(1).stdout.contains("overrides.json"));
}

#[test]
fn release_that_an_operator_goes_back_to_is_fetched_again_when_it_is_gone() {
    let (mut world, _offer) = upgraded();
    let lose = |world: &World| {
        tree::remove(&world.path("/opt/tool/releases/1.0.0"));
        tree::remove(&world.path("/var/cache/reconcile"));
    };
    lose(&world);
    world.run(&["rollback", "app/tool", "--to", "0.9.0", "--reason", "x"]).exits(1);
    world.run(&["rollback", "app/tool", "--to", "1.0.0", "--reason", "incident"]).exits(0);
    assert_eq!(version(&world), "1.0.0");
    lose(&world);
    world.tick();
    let said = world.run(&[]).exits(0).stdout;
    assert!(said.contains("it is fetched again"), "{said}");
    assert!(world.path("/opt/tool/releases/1.0.0/tool").is_file());
    assert_eq!(version(&world), "1.0.0");
}

#[test]
fn every_answer_can_be_had_as_json() {
    let (world, _) = installed();
    let explained = world.run(&["explain", "app/tool", "-o", "json"]).exits(0).json();
    assert_eq!(explained["resource"]["version"], "1.0.0");
    assert!(!explained["choice"].as_array().unwrap().is_empty());
    let findings = world.run(&["doctor", "-o", "json"]).json();
    let found = findings["findings"].as_array().unwrap();
    assert!(found.iter().any(|f| f["what"] == "ledger" && f["ok"] == true));
    let removed = world.run(&["gc", "-o", "json"]).exits(0).json();
    assert_eq!(removed["removedFiles"], 0);
    let valid = world.run(&["validate", "-o", "json"]).exits(0).json();
    assert_eq!(valid["resources"], serde_json::json!(["app/tool"]));
    let mut world = world;
    world.wish("desired", "apps:\n  tool:\n    sauce: x\n");
    let invalid = world.run(&["validate", "-o", "json"]).exits(65).json();
    assert_eq!((&invalid["valid"], &invalid["errors"][0]["line"]), (&false.into(), &2.into()));
}

#[test]
fn markdown_of_a_pass_is_markdown_to_its_end() {
    let (world, _) = world();
    let said = world.run(&["-o", "markdown"]).exits(0).stdout;
    assert!(said.starts_with("### reconcile plan"), "{said}");
    assert!(said.ends_with("| `app/tool` | `install 1.0.0 (latest)` | done |\n"), "{said}");
}

#[test]
fn release_that_was_published_anew_in_a_directory_is_noticed() {
    let (world, offer) = installed();
    let place = std::path::PathBuf::from(offer.address()).join("1.0.0");
    let archive = place.join("tool-linux-x86_64.tar.gz");
    let mut bytes = std::fs::read(&archive).unwrap();
    bytes.push(0);
    std::fs::write(&archive, &bytes).unwrap();
    let hex = data_encoding::HEXLOWER.encode(&<sha2::Sha256 as sha2::Digest>::digest(&bytes));
    let sums = format!("{hex}  tool-linux-x86_64.tar.gz\n");
    std::fs::write(place.join("SHA256SUMS"), sums).unwrap();
    let said = world.run(&["--dry-run"]).exits(77).stdout;
    assert!(said.contains("a published version must not change"), "{said}");
    assert_eq!(version(&world), "1.0.0");
}

#[test]
fn saved_plan_yields_to_a_later_suspension() {
    let (world, _) = world();
    let plan = world.temp().join("plan.json");
    world.run(&["plan", "--out", plan.to_str().unwrap()]).exits(0);
    world.run(&["suspend", "app/tool", "--reason", "incident"]).exits(0);
    let refused = world.run(&["apply", plan.to_str().unwrap()]).exits(5);
    assert!(refused.stderr.contains("suspended"), "{}", refused.stderr);
}
