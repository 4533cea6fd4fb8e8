//! What is asked about one resource, by its id or by its name alone, and the documents that answer.

use crate::operator::{rolled_back, wish, world};

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
