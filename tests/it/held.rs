//! What waits for a maintenance window: what is in use stays whole, whatever was edited since.

use std::fs;

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
