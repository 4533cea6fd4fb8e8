//! What waits for a maintenance window: what is in use stays whole, whatever was edited since.

use std::fs;

use crate::support::offer::{Offer, TWO_RELEASES};
use crate::support::tree;
use crate::support::world::World;
use crate::tree::site;

#[test]
fn tree_outside_its_window_is_repaired_though_its_owner_was_edited() {
    let (mut world, publisher) = site();
    let windows = "windows: { nights: { start: '02:00', for: 2h, zone: UTC0 } }\n";
    fs::create_dir_all(world.path("/etc/reconcile")).unwrap();
    fs::write(world.path("/etc/reconcile/agent.yaml"), windows).unwrap();
    world.tick();
    world.run(&["--windows", "ignore"]).exits(0);
    fs::write(publisher.source.join("conf.d/main"), "two\n").unwrap();
    publisher.publish();
    let ids = rustix::process::geteuid().as_raw();
    world.wish("desired", &publisher.wish(&format!("    owner: {{ user: {ids} }}\n")));
    fs::remove_file(world.path("/srv/site/bin/run")).unwrap();
    world.tick();
    let ran = world.run(&[]);
    assert!(world.path("/srv/site/bin/run").exists(), "{ran:#?}");
    assert_eq!(fs::read_to_string(world.path("/srv/site/conf.d/main")).unwrap(), "one\n");
}

/// A host with a tool in use, whose layout is edited outside its window.
fn edited_outside_its_window() -> (World, Offer) {
    let mut world = World::new();
    let offer = Offer::start(TWO_RELEASES, world.temp());
    let source = format!("    source: {{ file: {} }}\n", offer.address());
    world.wish("desired", &format!("apps:\n  tool:\n    version: 1.0.0\n{source}"));
    world.run(&[]).exits(0);
    let windows = b"windows: { nights: { start: '00:00', for: 1m, zone: UTC0, days: [sun] } }\n";
    tree::write(&world.path("/etc/reconcile/agent.yaml"), windows);
    let layout = "    layout: { file: /usr/local/bin/tool }\n";
    world.wish("desired", &format!("apps:\n  tool:\n    version: 1.0.0\n{layout}{source}"));
    world.tick();
    (world, offer)
}

#[test]
fn app_is_whole_where_it_is_while_its_move_waits() {
    let (mut world, _offer) = edited_outside_its_window();
    for damaged in ["/opt/tool/bin/tool", "/opt/tool/releases/1.0.0/tool"] {
        fs::remove_file(world.path(damaged)).unwrap();
        let ran = world.run(&[]).exits(0);
        assert!(ran.stdout.contains("deferred"), "{damaged}: {ran:#?}");
        assert!(world.path(damaged).exists(), "{damaged}: {ran:#?}");
        assert!(!world.path("/usr/local/bin/tool").exists(), "{damaged}: {ran:#?}");
        world.tick();
    }
    world.run(&["--windows", "ignore"]).exits(0);
    assert!(world.path("/usr/local/bin/tool").exists());
    assert!(!world.path("/opt/tool/bin/tool").exists());
}

#[test]
fn move_that_fails_its_check_as_the_place_before_did_keeps_that_until_it_holds() {
    let mut world = World::new();
    let offer = Offer::start(TWO_RELEASES, world.temp());
    let source = format!("    source: {{ file: {} }}\n", offer.address());
    let mended = world.temp().join("mended");
    let health = format!(
        "    health: {{ exec: [test, -e, {}], interval: 100ms, stable: 100ms, deadline: 1s }}\n",
        mended.display()
    );
    for layout in ["", "    layout: { file: /usr/local/bin/tool }\n"] {
        let more = if layout.is_empty() { "" } else { &health };
        world.wish(
            "desired",
            &format!("apps:\n  tool:\n    version: 1.0.0\n{layout}{more}{source}"),
        );
        world.tick();
        world.run(&["--effects", "run"]);
    }
    for _ in 0..2 {
        assert!(world.path("/usr/local/bin/tool").exists());
        assert!(world.path("/opt/tool/bin/tool").exists());
        world.tick();
        world.run(&["--effects", "run"]).exits(1);
    }
    tree::write(&mended, b"");
    world.tick();
    world.run(&["--effects", "run"]).exits(0);
    assert!(world.path("/usr/local/bin/tool").exists());
    assert!(!world.path("/opt/tool/bin/tool").exists());
}

#[test]
fn move_that_fails_its_check_keeps_the_place_that_works() {
    let mut world = World::new();
    let offer = Offer::start(TWO_RELEASES, world.temp());
    let source = format!("    source: {{ file: {} }}\n", offer.address());
    world.wish("desired", &format!("apps:\n  tool:\n    version: 1.0.0\n{source}"));
    world.run(&[]).exits(0);
    let mended = world.temp().join("mended");
    let check = format!(
        "test ! -e {} || test -e {}",
        world.path("/usr/local/bin/tool").display(),
        mended.display()
    );
    let more = format!(
        "    layout: {{ file: /usr/local/bin/tool }}\n    health: {{ exec: [sh, -c, \"{check}\"], interval: 100ms, stable: \
         100ms, deadline: 1s }}\n"
    );
    world.wish("desired", &format!("apps:\n  tool:\n    version: 1.0.0\n{more}{source}"));
    for _ in 0..2 {
        world.tick();
        let ran = world.run(&["--effects", "run"]).exits(1);
        assert!(ran.stdout.contains("stays until it holds"), "{ran:#?}");
        assert!(world.path("/opt/tool/bin/tool").exists(), "{ran:#?}");
    }
    tree::write(&mended, b"");
    world.tick();
    world.run(&["--effects", "run"]).exits(0);
    assert!(world.path("/usr/local/bin/tool").exists());
    assert!(!world.path("/opt/tool/bin/tool").exists());
    world.tick();
    assert!(world.run(&["--effects", "run"]).exits(0).stdout.contains("No changes"));
}
