//! What becomes of a host while its desired state is deployed, moved and replaced.

use std::fs;
use std::os::unix::fs::symlink;

use crate::strangers::upgraded;
use crate::support::offer::{Offer, TWO_RELEASES};
use crate::support::tree;
use crate::support::world::World;

/// A host whose desired state is a link to the directory `v1`, which wishes two apps; `v2` wishes one of them.
fn deployed() -> (World, Offer) {
    let mut world = World::new();
    let offer = Offer::start(TWO_RELEASES, world.temp());
    let source = format!("    source: {{ file: {} }}\n", offer.address());
    let (both, one) = (
        format!("apps:\n  tool:\n{source}  other:\n{source}"),
        format!("apps:\n  other:\n{source}"),
    );
    tree::write(&world.temp().join("deploy/v1/wish.yaml"), both.as_bytes());
    tree::write(&world.temp().join("deploy/v2/wish.yaml"), one.as_bytes());
    world.desired = world.temp().join("deploy/current");
    symlink("v1", &world.desired).unwrap();
    world.run(&[]).exits(0);
    assert!(world.path("/opt/tool/bin/tool").exists());
    world.tick();
    (world, offer)
}

#[test]
fn app_that_a_deploy_strikes_out_by_another_link_is_removed() {
    let (world, _offer) = deployed();
    fs::remove_file(&world.desired).unwrap();
    symlink("v2", &world.desired).unwrap();
    world.run(&[]).exits(0);
    assert!(!world.path("/opt/tool").exists());
    assert!(world.path("/opt/other/bin/tool").exists());
}

#[test]
fn directory_that_is_named_by_where_it_is_and_by_a_link_is_one() {
    let (mut world, _offer) = deployed();
    // As a ledger has it in which links were followed.
    let inventory = world.path("/var/lib/reconcile/inventory.json");
    let text = fs::read_to_string(&inventory).unwrap();
    assert!(text.contains("deploy/current\""), "{text}");
    fs::write(&inventory, text.replace("deploy/current\"", "deploy/v1\"")).unwrap();
    fs::copy(world.temp().join("deploy/v2/wish.yaml"), world.temp().join("deploy/v1/wish.yaml"))
        .unwrap();
    world.run(&[]).exits(0);
    assert!(!world.path("/opt/tool").exists());
    // Another directory says nothing about what this one wished.
    world.desired = world.temp().join("deploy/v2");
    fs::write(world.desired.join("wish.yaml"), "apps: {}\n").unwrap();
    world.tick();
    let said = world.run(&["--confirm-removals"]).stdout;
    assert!(said.contains("strike it out again"), "{said}");
    assert!(world.path("/opt/other/bin/tool").exists());
}

#[test]
fn directory_in_the_place_of_a_document_removes_nothing() {
    let (world, _offer) = deployed();
    let document = world.temp().join("deploy/v1/wish.yaml");
    let more = world.temp().join("deploy/v1/more.yaml");
    fs::rename(&document, &more).unwrap();
    fs::create_dir(&document).unwrap();
    let said = world.run(&[]).exits(65).stderr;
    assert!(said.contains("is a directory and named like a document"), "{said}");
    assert!(said.contains("help: documents in directories are not read"), "{said}");
    assert!(world.path("/opt/tool/bin/tool").exists());
}

#[test]
fn pin_of_an_app_that_was_removed_binds_no_later_one() {
    let (mut world, _offer, source) = upgraded(&["tool", "other"]);
    world.run(&["rollback", "app/tool", "--reason", "old"]).exits(0);
    let both = fs::read_to_string(world.desired.join("wish.yaml")).unwrap();
    world.wish("desired", &format!("apps:\n  other:\n{source}"));
    world.tick();
    world.run(&[]).exits(0);
    assert!(!world.path("/opt/tool").exists());
    world.wish("desired", &both);
    world.tick();
    world.run(&[]).exits(0);
    let used = fs::read_link(world.path("/opt/tool/bin/tool")).unwrap();
    assert!(used.to_str().unwrap().contains("1.1.0"), "{used:?}");
}

#[test]
fn decisions_that_were_lost_are_told_once() {
    let (mut world, _offer, _) = upgraded(&["tool", "other"]);
    world.run(&["rollback", "app/tool", "--reason", "1.1.0 eats data"]).exits(0);
    fs::remove_file(world.path("/var/lib/reconcile/overrides.json")).unwrap();
    for tells in [true, false] {
        world.tick();
        let said = world.run(&[]).exits(0).stdout;
        assert_eq!(
            said.contains("what was suspended or rolled back is not known"),
            tells,
            "{said}"
        );
    }
}

#[test]
fn program_in_place_is_removed_although_the_inventory_was_lost() {
    let (mut world, _offer, source) = upgraded(&["tool", "other"]);
    let (place, rest) = (world.path("/usr/local/bin/tool"), format!("  other:\n{source}"));
    let layout = "    layout: { file: /usr/local/bin/tool }\n";
    world.wish("desired", &format!("apps:\n  placed:\n{layout}{source}{rest}"));
    world.run(&["--confirm-removals"]).exits(0);
    assert!(place.exists());
    fs::remove_file(world.path("/var/lib/reconcile/inventory.json")).unwrap();
    world.tick();
    world.run(&[]).exits(0);
    world.wish("desired", &format!("apps:\n{rest}"));
    world.tick();
    world.run(&[]).exits(0);
    assert!(!place.exists());
}
