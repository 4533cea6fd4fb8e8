//! What is asked about one resource, by its id or by its name alone, and the documents that answer.

use std::fs;

use serde_json::Value;

use crate::operator::{rolled_back, wish, world};
use crate::support::tree;
use crate::support::world::World;

/// Every command that is about one resource, without its name.
const ABOUT_ONE: [&[&str]; 10] = [
    &["status"],
    &["explain"],
    &["history"],
    &["diff"],
    &["list"],
    &["--dry-run", "rollback", "--reason", "1.1.0 loses data", "--to", "1.0.0"],
    &["suspend", "--reason", "audit"],
    &["resume"],
    &["plan", "--only"],
    &["request", "--only"],
];

#[test]
fn name_alone_is_enough_where_one_resource_has_it() {
    for about in ABOUT_ONE {
        let answers = ["app/tool", "tool"].map(|name| {
            let (mut world, mut offer) = world("");
            offer.publish("1.1.0");
            world.pass();
            let ran = world.run(&[about, &[name]].concat());
            let temp = world.temp().display().to_string();
            // A plan's name is a digest of where everything is, too.
            let told = ran.stdout.lines().filter(|line| !line.starts_with("Plan "));
            let told: Vec<String> = told.map(|line| line.replace(&temp, "")).collect();
            (ran.code, told, ran.stderr.replace(&temp, ""))
        });
        assert_eq!(answers[0], answers[1], "{about:?}");
        assert_ne!(answers[0].0, 64, "{about:?}: {answers:?}");
    }
}

#[test]
fn name_that_two_have_or_none_has_is_refused_in_the_same_words() {
    let (mut world, offer) = world("");
    let site = "trees: { tool: { path: /srv/tool, source: { casync: { index: /srv/t.caidx, store: \
                /srv/t.castr } } } }\n";
    world.wish("desired", &(wish(&offer, "") + site));
    for about in ABOUT_ONE {
        for (name, why) in [
            ("tool", "app/tool and tree/tool are called tool here; say which"),
            ("tol", "nothing here is called tol; did you mean tool?"),
            ("app/tol", "nothing here is called app/tol; did you mean app/tool?"),
            ("extension/tool", "nothing here is called extension/tool; did you mean app/tool?"),
            ("nonesuch", "nothing here is called nonesuch; `reconcile"),
        ] {
            if about[0] == "request" && name.contains('/') {
                // The agent may know what is not here yet.
                continue;
            }
            let told = world.run(&[about, &[name]].concat()).exits(64).stderr;
            assert!(told.contains(why), "{about:?} {name}: {told}");
        }
    }
}

#[test]
fn what_is_not_wished_any_more_is_found_by_its_name() {
    let (mut world, _offer) = rolled_back();
    world.wish("desired", "apps: {}\n");
    for about in [&["status"][..], &["explain"], &["history"], &["diff"]] {
        world.run(&[about, &["tool"]].concat()).exits(0);
    }
    for about in [&["list"][..], &["--dry-run", "rollback", "--reason", "no"], &["plan", "--only"]]
    {
        let told = world.run(&[about, &["tool"]].concat()).exits(64).stderr;
        assert!(told.contains("app/tool is installed, but not in the desired state"), "{told}");
    }
    world.run(&["suspend", "tool", "--reason", "audit"]).exits(0);
    world.run(&["resume", "tool"]).exits(0);
    world.run(&["--confirm-removals"]).exits(0);
    let told = world.run(&["history", "tool"]).exits(0).stdout;
    assert!(told.contains("remove"), "what was here is asked about, too: {told}");
}

/// The document that a command prints, which is what its schema says.
#[track_caller]
fn document(world: &World, arguments: &[&str], code: i32) -> Value {
    let printed = world.run(&[arguments, &["-o", "json"]].concat()).exits(code).json();
    let schema = world.run(&["schema", arguments[0]]).exits(0).json();
    let validator = jsonschema::validator_for(&schema).unwrap();
    let errors: Vec<String> = validator.iter_errors(&printed).map(|e| e.to_string()).collect();
    assert!(errors.is_empty(), "{arguments:?}: {errors:#?}");
    assert_eq!(printed["apiVersion"], "reconcile/v1", "{arguments:?}: {printed:#}");
    printed
}

#[test]
fn every_question_is_answered_to_programs_by_an_object_of_its_schema() {
    let (mut world, mut offer) = rolled_back();
    tree::write(&world.path("/opt/tool/releases/1.0.0/tool"), b"edited");
    for (asked, code, kind, has) in [
        (&["history"][..], 0, "History", "/entries/0/resource"),
        (&["list", "tool"], 0, "Releases", "/releases/1/tag"),
        (&["doctor"], 0, "Diagnosis", "/findings/0/what"),
        (&["explain", "tool"], 0, "Explanation", "/resource/id"),
        (&["diff"], 0, "Diff", "/resources/0/drift/0/path"),
        (&["validate"], 0, "Validation", "/resources/0"),
        (&["gc"], 0, "Collection", "/removedFiles"),
        (&["status"], 0, "HostStatus", "/resources/0/id"),
        (&["plan"], 0, "Plan", "/spec"),
    ] {
        let printed = document(&world, asked, code);
        assert_eq!(printed["kind"], kind, "{asked:?}: {printed:#}");
        assert!(printed.pointer(has).is_some(), "{asked:?}: {has}: {printed:#}");
    }
    let listed = document(&world, &["list", "tool"], 0);
    assert_eq!(listed["inUse"], "1.0.0", "{listed:#}");
    let releases: Vec<_> = listed["releases"].as_array().unwrap().iter().collect();
    let told = |release: &Value| (release["inUse"].clone(), release["quarantined"].is_string());
    assert_eq!(told(releases[0]), (false.into(), true), "{listed:#}");
    assert_eq!(told(releases[1]), (true.into(), false), "{listed:#}");
    offer.withdraw("1.0.0");
    assert_eq!(document(&world, &["list", "tool"], 0)["inUse"], "1.0.0");
    world.wish("desired", "apps: { tool: { sauce: 1 } }\n");
    let refused = document(&world, &["validate"], 65);
    assert!(refused.pointer("/errors/0/title").is_some(), "{refused:#}");
    fs::remove_file(world.desired.join("wish.yaml")).unwrap();
    for host in ["hosts/a/a.yaml", "hosts/b/b.yaml"] {
        tree::write(&world.desired.join(host), b"apps: {}\n");
    }
    let each = document(&world, &["validate"], 0);
    assert_eq!((&each["kind"], &each["items"][1]["host"]), (&"ValidationList".into(), &"b".into()));
}

#[test]
fn saved_plan_without_changes_is_applied_with_a_document_all_the_same() {
    let (world, _offer) = world("");
    let file = world.temp().join("plan.json");
    let file = file.to_str().unwrap();
    world.run(&["plan", "--out", file]).exits(0);
    let applied = world.run(&["apply", file, "-o", "json"]).exits(0).json();
    assert_eq!(
        (&applied["apiVersion"], &applied["kind"]),
        (&"reconcile/v1".into(), &"Pass".into())
    );
    assert_eq!(applied["results"], serde_json::json!([]), "{applied:#}");
    let told = world.run(&["apply", file]).exits(0).stdout;
    assert!(told.contains("Nothing to do"), "{told}");
}

#[test]
fn what_is_kept_by_a_rollback_is_not_said_to_be_removed() {
    let (mut world, mut offer) = world("");
    offer.publish("1.1.0");
    world.pass();
    world.run(&["rollback", "tool", "--reason", "1.1.0 loses data"]).exits(0);
    world.wish("desired", &wish(&offer, "").replace("tool:\n", "utility:\n"));
    world.run(&[]).exits(3);
    let status = world.run(&["status", "tool"]).exits(0).stdout;
    assert!(
        status.contains("not removed: app/utility is the same, and it is rolled back by"),
        "{status}"
    );
    assert!(!status.contains("it will be removed"), "{status}");
    let told = world.run(&["status", "tool", "-o", "json"]).exits(0).json();
    assert_eq!(told["resources"][0]["state"], "Suspended", "{told:#}");
}

#[test]
fn one_file_that_got_another_name_while_it_is_left_alone_is_told_with_its_version() {
    let (mut world, offer) = world("    layout: { file: /usr/local/bin/tool }\n");
    world.run(&["suspend", "tool", "--reason", "audit"]).exits(0);
    let file = wish(&offer, "    layout: { file: /usr/local/bin/tool }\n");
    world.wish("desired", &file.replace("  tool:\n", "  utility:\n"));
    for _ in 0..2 {
        let status = world.run(&["status", "utility", "-o", "json"]).exits(0).json();
        assert_eq!(status["resources"][0]["version"], "1.0.0", "{status:#}");
        let told = world.run(&[]).exits(3).stdout;
        assert!(!told.contains("remove the old directory"), "it does not move: {told}");
    }
}

#[test]
fn tree_of_this_machine_is_verified_by_nobody_but_it() {
    let (mut world, _publisher) = crate::tree::site();
    world.pass();
    let status = world.run(&["status"]).exits(0).stdout;
    let line = status.lines().find(|line| line.contains("tree/site")).unwrap();
    assert!(line.ends_with("Current        local"), "{status}");
}

#[test]
fn trees_that_were_set_aside_are_named_with_what_else_is_known() {
    let (mut world, publisher) = crate::tree::site();
    world.pass();
    let aside = "/srv/.site.reconcile/generations/adopted";
    for number in ["", ".2"] {
        tree::write(&world.path("/srv/site/mine"), b"mine\n");
        fs::remove_file(world.path("/srv/site/conf.d/main")).unwrap();
        world.pass();
        let kept = format!("{aside}{number}/tree");
        assert!(world.path(&kept).join("mine").is_file(), "{kept}");
        for asked in [&["status"][..], &["status", "site"], &["explain", "site"]] {
            let told = world.run(asked).exits(0).stdout;
            assert!(
                told.contains(&format!("files of somebody else are kept in {kept};")),
                "{told}"
            );
        }
    }
    let told = document(&world, &["status"], 0);
    let paths = serde_json::json!([format!("{aside}/tree"), format!("{aside}.2/tree")]);
    assert_eq!(told["resources"][0]["setAside"], paths, "{told:#}");
    drop(publisher);
}

#[test]
fn saved_plan_that_is_older_than_the_wish_says_so() {
    let (mut world, mut offer) = world("");
    offer.publish("1.1.0");
    let plan = world.temp().join("plan.json").display().to_string();
    world.run(&["plan", "--out", &plan]).exits(0);
    let edited = "the desired state was edited since the plan was saved";
    let shown = world.run(&["--dry-run", "apply", &plan]).exits(0).stderr;
    assert!(!shown.contains(edited), "{shown}");
    world.wish("desired", &wish(&offer, "    retain: 2\n"));
    for arguments in [&["--dry-run", "apply", &plan][..], &["apply", &plan]] {
        let told = world.run(arguments).exits(0).stderr;
        assert!(told.contains(edited), "{arguments:?}: {told}");
    }
}

#[test]
fn single_pass_that_cannot_be_made_is_counted_and_told_once() {
    let (mut world, offer) = world("");
    let metrics = world.temp().join("reconcile.prom");
    // The file of events is one of the host.
    let events = world.root().join("var/log/events.jsonl");
    fs::create_dir_all(events.parent().unwrap()).unwrap();
    let agent = world.temp().join("agent.yaml");
    fs::write(&agent, "notify: { file: /var/log/events.jsonl }\n").unwrap();
    let options = ["--effects", "run", "--config", agent.to_str().unwrap(), "--metrics-file"];
    world.options = options.map(ToOwned::to_owned).to_vec();
    world.options.push(metrics.display().to_string());
    world.run(&[]).exits(0);
    let ready = || fs::read_to_string(&metrics).unwrap().contains("condition{type=\"Ready\"} 1");
    assert!(ready());
    world.wish("desired", "apps: { tool: { sauce: 1 } }\n");
    for _ in 0..2 {
        world.tick();
        world.run(&[]).exits(65);
        let numbers = fs::read_to_string(&metrics).unwrap();
        assert!(!ready() && numbers.contains("trigger=\"command\",result=\"failed\""), "{numbers}");
    }
    let told = fs::read_to_string(&events).unwrap();
    assert_eq!(told.matches("wish.yaml:1: `source` of app `tool` is missing").count(), 1, "{told}");
    world.wish("desired", &wish(&offer, ""));
    world.pass();
    assert!(ready());
    // What was typed wrong says nothing of the host.
    let before = fs::read(&metrics).unwrap();
    world.tick();
    world.run(&["--only", "nonesuch"]).exits(64);
    assert_eq!(fs::read(&metrics).unwrap(), before);
}
