//! Situations as data: every folder of `tests/scenarios` is a wish, a host, a source, a plan, a result.
//!
//! `tests/scenarios/README.md` says what the files are. `SNAPSHOTS=overwrite cargo test` writes the
//! expected ones anew.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use serde_json::Value;

use crate::support::offer::Offer;
use crate::support::tree::{self, Tree};
use crate::support::world::{Ran, World};

const FOLDERS: &str = "tests/scenarios";

/// One situation while it is played.
struct Scenario {
    folder: PathBuf,
    world: World,
    offer: Offer,
    /// The desired state that is in force, with its placeholders, and the directory it is in.
    wish: (String, String),
    /// Whether the pass is allowed to leave something to plan.
    unsettled: bool,
}

fn play(name: &str) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join(FOLDERS).join(name);
    let world = World::new();
    let offer = Offer::start(&text(&folder, "source").unwrap_or("kind local".into()), world.temp());
    tree::make(&world.root(), &text(&folder, "host.tree").unwrap_or_default());
    let wish = (text(&folder, "desired.yaml").unwrap_or_default(), "desired".to_owned());
    let mut scenario = Scenario { folder, world, offer, wish, unsettled: false };
    scenario.set_wish();
    for step in text(&scenario.folder, "steps").unwrap_or_default().lines() {
        if !step.trim().is_empty() && !step.starts_with('#') {
            scenario.step(step);
        }
    }
    scenario.pass();
}

fn text(folder: &Path, name: &str) -> Option<String> {
    std::fs::read_to_string(folder.join(name)).ok()
}

impl Scenario {
    fn set_wish(&mut self) {
        let filled = self.filled(&self.wish.0);
        let directory = self.wish.1.clone();
        self.world.wish(&directory, &filled);
    }

    fn filled(&self, text: &str) -> String {
        text.replace("$SOURCE", &self.offer.address())
            .replace("$MIRROR", &self.offer.mirror())
            .replace("$HOST", &self.offer.host())
            .replace("$ROOT", self.world.root().to_str().unwrap())
    }

    fn step(&mut self, step: &str) {
        let (verb, rest) = step.split_once(' ').unwrap_or((step, ""));
        let words: Vec<&str> = rest.split_whitespace().collect();
        match (verb, &words[..]) {
            ("reconcile", _) => self.run(&words, 0),
            ("exit", [code, "reconcile", arguments @ ..]) => {
                self.run(arguments, code.trim_end_matches(':').parse().unwrap());
            }
            ("publish", [name]) => self.offer.publish(name),
            ("withdraw", [name]) => self.offer.withdraw(name),
            ("down", []) => self.offer.go_down(),
            ("up", []) => self.offer.come_up(),
            ("limit", [until]) => {
                let until: jiff::Timestamp = until.parse().unwrap();
                self.offer.limit_until(until.as_second());
            }
            ("token", [token]) => self.offer.demand_token(token),
            ("desired", [file]) => self.edit(file, "desired"),
            ("desired", [file, "in", directory]) => self.edit(file, directory),
            ("now", [now]) => self.world.now = now.parse().unwrap(),
            ("env", [name, value]) => {
                self.world.environment.push(((*name).to_owned(), (*value).to_owned()));
            }
            ("options", _) => {
                self.world.options = words.iter().map(|word| (*word).to_owned()).collect();
            }
            ("unsettled", []) => self.unsettled = true,
            _ => self.touch_host(verb, &words, rest),
        }
    }

    /// What somebody else does to the host.
    fn touch_host(&self, verb: &str, words: &[&str], rest: &str) {
        let path = self.world.path(words[0]);
        let aside = self.world.temp().join("aside").join(words[0].trim_start_matches('/'));
        match (verb, words) {
            ("rm", _) => tree::remove(&path),
            ("mkdir", _) => std::fs::create_dir_all(&path).unwrap(),
            ("write", [name, ..]) => {
                let content = self.filled(rest.strip_prefix(name).unwrap().trim_start());
                tree::write(&path, tree::unquoted(&content).as_bytes());
            }
            ("link", [_, target]) => tree::link(&path, target),
            ("chmod", [_, mode]) => {
                use std::os::unix::fs::PermissionsExt;
                let mode = u32::from_str_radix(mode, 8).unwrap();
                std::fs::set_permissions(&path, PermissionsExt::from_mode(mode)).unwrap();
            }
            ("touch", _) => {
                let file = std::fs::File::options().write(true).open(&path).unwrap();
                file.set_modified(std::time::SystemTime::UNIX_EPOCH).unwrap();
            }
            ("save", _) => copy(&path, &aside),
            ("restore", _) => copy(&aside, &path),
            _ => panic!("no such step: {verb} {rest}"),
        }
    }

    fn edit(&mut self, file: &str, directory: &str) {
        self.wish = (text(&self.folder, file).unwrap(), directory.to_owned());
        self.set_wish();
    }

    #[track_caller]
    fn run(&mut self, arguments: &[&str], code: i32) {
        self.world.tick();
        self.world.run(arguments).exits(code);
    }

    /// The pass that the scenario is about, and what holds for every pass.
    fn pass(&mut self) {
        self.world.tick();
        let before = tree::snapshot(self.world.temp());
        let shown = self.world.run(&["--dry-run"]);
        let planned = self.world.run(&["--dry-run", "-o", "json"]);
        let markdown = self.world.run(&["--dry-run", "-o", "markdown"]);
        self.assert_nothing_written(&before);
        assert_eq!((shown.code, shown.code), (planned.code, markdown.code));
        let mut outcome = format!("dry run: exit {}\n", shown.code);
        self.compare("plan.txt", &format!("{}{}", shown.stdout, shown.stderr));
        if shown.stdout.is_empty() {
            let done = self.world.run(&[]);
            let _ = writeln!(outcome, "pass: exit {}", done.code);
            self.assert_nothing_written(&before);
            return self.compare("outcome.txt", &outcome);
        }
        assert!(markdown.stdout.starts_with("### reconcile plan"), "{markdown:#?}");
        let planned = planned.json();
        assert_valid(&planned);
        let done = self.world.run(&["-o", "json"]);
        let report = done.json();
        assert_eq!(report["plan"], planned, "what was planned is what was done");
        outcome.push_str(&results(&report, &done));
        outcome.push_str(&self.second_pass(&report));
        self.compare("outcome.txt", &outcome);
        let mut host = tree::snapshot(&self.world.root());
        host.retain(|path, _| !path.starts_with("var") && !path.starts_with("lib64"));
        self.compare("host-after.tree", &tree::render(&host));
    }

    fn second_pass(&mut self, report: &Value) -> String {
        self.world.tick();
        let again = self.world.run(&["--dry-run", "-o", "json"]);
        let plan = again.json();
        let changes = plan["spec"]["changes"].as_array().unwrap();
        let all_done = report["results"].as_array().unwrap().iter().all(|r| r["result"] == "done");
        let settled = changes.is_empty() || !all_done || self.unsettled;
        assert!(settled, "the second pass plans nothing: {changes:#?}");
        let what = match changes.len() {
            0 => "nothing planned".to_owned(),
            number => format!("{number} planned"),
        };
        format!("second pass: exit {}, {what}\n", again.code)
    }

    #[track_caller]
    fn assert_nothing_written(&self, before: &Tree) {
        let after = tree::snapshot(self.world.temp());
        let differing: Vec<&String> = before
            .keys()
            .chain(after.keys())
            .filter(|path| before.get(*path) != after.get(*path))
            .collect();
        assert!(differing.is_empty(), "a dry run wrote {differing:?}");
    }

    /// Compares with an expected file after everything that changes from run to run is replaced.
    fn compare(&self, name: &str, text: &str) {
        let mut text = text.to_owned();
        for (moving, fixed) in self.offer.moving_texts() {
            text = text.replace(&moving, fixed);
        }
        text = text.replace(self.world.root().to_str().unwrap(), "[ROOT]");
        text = text.replace(self.world.temp().to_str().unwrap(), "[TEMP]");
        let plan = regex::Regex::new("Plan [0-9a-f]+:").unwrap();
        let text = plan.replace_all(&text, "Plan [NAME]:");
        let log = regex::Regex::new("(?m)^[-0-9]{10}T[^\n]*\n").unwrap();
        let text = log.replace_all(&text, "").into_owned();
        let expected = snapbox::Data::read_from(
            &self.folder.join(name),
            Some(snapbox::data::DataFormat::Text),
        );
        snapbox::Assert::new().action_env("SNAPSHOTS").eq(text, expected.raw());
    }
}

fn results(report: &Value, done: &Ran) -> String {
    let mut text = format!("pass: exit {}\n", done.code);
    for result in report["results"].as_array().unwrap() {
        let string = |name: &str| result[name].as_str().unwrap_or_default();
        let (resource, end, bytes) =
            (string("resource"), string("result"), &result["fetchedBytes"]);
        let _ = writeln!(text, "  {resource} {end}, {bytes} bytes fetched");
        for note in result["notes"].as_array().unwrap() {
            let _ = writeln!(text, "    note: {}", note.as_str().unwrap());
        }
        if !string("error").is_empty() {
            let _ = writeln!(text, "    {}", string("error"));
        }
    }
    text.push_str(&done.stderr);
    text
}

#[track_caller]
fn assert_valid(plan: &Value) {
    static SCHEMA: LazyLock<jsonschema::Validator> = LazyLock::new(|| {
        let schema = World::new().run(&["schema", "plan"]).exits(0).json();
        jsonschema::validator_for(&schema).unwrap()
    });
    let errors: Vec<String> = SCHEMA
        .iter_errors(plan)
        .map(|error| format!("{}: {error}", error.instance_path()))
        .collect();
    assert!(errors.is_empty(), "{errors:#?}");
}

/// Makes `to` a copy of `from`, times and links included.
fn copy(from: &Path, to: &Path) {
    tree::remove(to);
    std::fs::create_dir_all(to.parent().unwrap()).unwrap();
    let copied = std::process::Command::new("cp").arg("-a").args([from, to]).status().unwrap();
    assert!(copied.success());
}

#[test]
fn every_failure_of_distronomicon_is_covered() {
    let readme = text(&Path::new(env!("CARGO_MANIFEST_DIR")).join(FOLDERS), "README.md").unwrap();
    for number in 1..=20 {
        let row = format!("| D{number} | ");
        let row = readme.lines().find(|line| line.starts_with(&row)).unwrap();
        let covered_by = row.rsplit(" | ").next().unwrap();
        assert!(covered_by.matches('`').count() >= 2, "{row}");
        for name in covered_by.split('`').skip(1).step_by(2) {
            assert!(is_covered_by(name), "{name}: {row}");
        }
    }
}

/// Whether a name is that of a folder, of a file or of a test.
fn is_covered_by(name: &str) -> bool {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let there = root.join(FOLDERS).join(name).exists() || root.join(name).exists();
    let files = ["cli.rs", "unpack.rs", "import.rs", "fetch/documents.rs", "fetch/blobs.rs"];
    let test = format!("fn {name}(");
    let tests = files.iter().filter_map(|file| text(&root.join("tests/it"), file));
    there || name == "notes" || tests.into_iter().any(|text| text.contains(&test))
}

macro_rules! scenarios {
    ($($name:ident)*) => {
        $(#[test]
        fn $name() {
            play(&stringify!($name).replace('_', "-"));
        })*

        #[test]
        fn every_folder_is_played() {
            let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join(FOLDERS);
            let mut folders: Vec<String> = std::fs::read_dir(folder)
                .unwrap()
                .map(Result::unwrap)
                .filter(|entry| entry.file_type().unwrap().is_dir())
                .map(|entry| entry.file_name().into_string().unwrap())
                .collect();
            folders.sort();
            let mut played = vec![$(stringify!($name).replace('_', "-")),*];
            played.sort();
            assert_eq!(folders, played);
        }
    };
}

scenarios! {
    allow_downgrade
    app_removed_from_wish
    app_removed_keeps_foreign_files
    bare_program
    bin_directory_lost
    bin_is_a_file
    binaries_edited
    build_for_newer_glibc
    cache_lost
    checksum_wrong
    constraint_excludes_newest
    d01_check_then_update
    d02_crashed_after_promote
    d03_several_links_into_two_releases
    d04_restart_failed
    d04_restart_owed_after_crash
    d05_links_and_state_survive_a_lost_tree
    d06_one_link_of_three_missing
    d07_down_and_up_again
    d08_five_killed_unpackings
    d09_ledger_corrupt
    d10_release_without_programs
    d11_setuid_in_archive
    d13_plain_file_in_bin
    d15_checksum_file_listed_first
    d18_program_named_like_a_temporary_file
    damaged_release_is_not_gone_back_to
    desired_version_goes_back
    digest_pinned
    digest_pinned_elsewhere
    distronomicon_installation_is_adopted
    distronomicon_installation_is_updated
    distronomicon_installation_with_mixed_links
    distronomicon_installation_with_too_many_releases
    distronomicon_program_lost
    everything_lost
    everything_too_young
    extra_file_in_release
    file_edited
    file_mode_changed
    file_touched
    first_install
    first_release_incomplete
    first_use_is_locked
    foreign_directory_in_bin
    foreign_file_in_bin
    foreign_link_bears_our_name
    foreign_link_in_bin
    foreign_program_collides
    foreign_release_directory
    health_check_cannot_start
    health_failed_before_the_switch
    health_fails_and_rolls_back
    health_first_install_failed_before
    health_first_install_fails
    health_first_install_fails_and_an_older_release_works
    health_holds
    health_newer_release_after_quarantine
    health_not_looked_at_on_another_root
    health_only_reported
    health_pinned_release_is_quarantined_too
    health_quarantine_lifted_by_resume
    health_quarantined_release_has_other_bytes
    health_quarantined_release_is_left_alone
    health_resumed_release_is_looked_at
    health_rollback_fails
    home_edited
    in_place_backup_of_somebody_else
    in_place_directory_in_the_way
    in_place_displaced_program_is_kept
    in_place_failing_release_goes_back
    in_place_file_edited
    in_place_file_lost
    in_place_file_of_somebody_else
    in_place_first_install
    in_place_first_install_fails_and_gives_way
    in_place_link_is_followed
    in_place_link_leads_elsewhere
    in_place_link_made_after_install
    in_place_mode_is_kept
    in_place_mode_takes_the_program_away
    in_place_newer_release
    in_place_outside_the_window_and_edited
    in_place_removed_from_wish
    in_place_removed_with_its_backups
    in_place_rolled_back
    in_place_same_bytes_are_there
    in_place_same_program_in_two_versions
    in_place_several_programs
    in_place_taken_over_by_another_app
    in_place_tampered_and_failing_release
    in_place_tampered_is_no_backup
    inside_the_window
    inventory_lost_and_unwished
    json_error_document
    layout_edited_and_cut_off
    layout_edited_and_file_changed
    layout_edited_and_old_place_taken
    layout_edited_back_to_links
    layout_edited_by_another_name
    layout_edited_of_adopted
    layout_edited_to_a_file
    layout_edited_to_another_file
    layout_edited_twice_and_removed
    layout_edited_two_apps_exchange
    layout_edited_with_newer_release
    ledger_lost
    ledger_lost_and_newer_available
    link_missing
    link_retargeted
    local_source_not_mounted
    locked_bytes_moved
    manifest_lost
    manifest_lost_without_network
    mass_removal
    mass_removal_confirmed
    mass_removal_counts_what_is_installed
    min_age
    mirror_with_wrong_bytes
    monorepo_tags
    monorepo_tags_without_pattern
    newer_release_available
    newest_withdrawn
    no_asset_for_this_host
    no_build_can_run
    no_checksum_refused
    no_version_satisfies_the_wish
    nothing_to_do
    one_source_down_others_go_on
    order_published
    other_desired_path
    outside_the_window
    outside_the_window_and_damaged
    outside_the_window_and_edited
    overrides_corrupt
    pinned_below_newest
    pinned_release_without_network
    prerelease_only
    prereleases_wanted
    private_asset_with_token
    private_asset_without_token
    protected_version
    rate_limited
    release_brings_no_program
    release_directory_lost
    release_without_asset_for_host_yet
    renamed_and_its_name_given_away
    renamed_names_exchanged
    renamed_then_resumed
    renamed_while_quarantined
    renamed_while_rolled_back
    renamed_while_suspended
    renamed_with_a_hook_owed
    retain_lowered
    retain_one
    retain_two
    retargeted_link_and_failing_release
    rollback_expired
    rolled_back
    rolled_back_then_resumed
    rolling_nightly
    several_assets_fit
    several_programs
    single_compressed_program
    source_edited_same_tag
    source_unreachable_and_cache_lost
    source_unreachable_and_damaged
    source_unreachable_and_not_installed
    source_unreachable_but_in_sync
    staging_leftover
    suspended
    suspended_and_damaged
    suspension_expired
    tag_moved_to_other_bytes
    tampered_link_and_failing_release
    trust_lost
    verification_raised
    verify_none_is_loud
    verify_none_over_plain_http
    version_text_keeps_its_digits
    web_directory
    window_ignored
    window_of_its_own
    wish_empty
    wish_invalid
    wrong_architecture
}
