//! Two names of one place: nothing that is in use goes because of the other name.

use std::fs;

use crate::support::casync::Publisher;
use crate::support::duo::{PASS, World as Duo, said};
use crate::support::tree;
use crate::support::world::World;

/// A tree that was installed by way of a link: `/alias` leads to `/srv`.
fn installed() -> (World, Publisher) {
    let mut world = World::new();
    fs::create_dir_all(world.path("/srv")).unwrap();
    tree::link(&world.path("/alias"), "srv");
    let publisher = Publisher::new(&world.temp().join("publisher"));
    tree::make(&publisher.source, "a \"a\"\n");
    publisher.publish();
    world.wish("desired", &wish(&publisher, "site", "/alias/site"));
    world.pass();
    (world, publisher)
}

fn wish(publisher: &Publisher, name: &str, path: &str) -> String {
    publisher.wish("").replace("  site:", &format!("  {name}:")).replace("/srv/site", path)
}

#[test]
fn tree_under_another_name_and_another_name_of_its_path_stays() {
    let (mut world, publisher) = installed();
    world.wish("desired", &wish(&publisher, "other", "/srv/site"));
    let plan = world.run(&["--dry-run"]).exits(0);
    assert!(!plan.stdout.contains("to remove"), "{plan:#?}");
    world.pass();
    assert_eq!(fs::read(world.path("/srv/site/a")).unwrap(), b"a");
    let inventory = fs::read_to_string(world.path("/var/lib/reconcile/inventory.json")).unwrap();
    assert!(inventory.contains("tree/other") && !inventory.contains("tree/site"), "{inventory}");
    let quiet = world.pass();
    assert!(quiet.stdout.contains("No changes"), "{quiet:#?}");
    // It is this one's now, and goes with it.
    world.wish("desired", "trees: {}\n");
    world.tick();
    world.run(&["--confirm-removals"]).exits(0);
    assert!(!world.path("/srv/site").exists());
}

#[test]
fn nobody_is_told_to_remove_the_directory_in_use_because_its_path_has_another_name() {
    let (mut world, publisher) = installed();
    world.wish("desired", &wish(&publisher, "site", "/srv/site"));
    let ran = world.pass();
    assert!(!ran.stdout.contains("by hand"), "{ran:#?}");
    assert_eq!(fs::read(world.path("/srv/site/a")).unwrap(), b"a");
}

#[test]
fn two_trees_of_one_place_are_refused_and_both_are_named() {
    let (mut world, publisher) = installed();
    let other = wish(&publisher, "other", "/srv/site").replace("trees:\n", "");
    world.wish("desired", &(wish(&publisher, "site", "/alias/site") + &other));
    world.tick();
    let refused = world.run(&[]).exits(1);
    for words in
        ["/alias/site and /srv/site of tree/other", "/srv/site and /alias/site of tree/site"]
    {
        assert!(refused.stdout.contains(words), "{words}: {refused:#?}");
    }
    assert_eq!(fs::read(world.path("/srv/site/a")).unwrap(), b"a");
}

#[test]
fn app_under_another_name_of_its_home_stays() {
    let mut duo = Duo::new();
    tree::link(&duo.host("alias"), "srv");
    fs::create_dir_all(duo.host("srv")).unwrap();
    duo.wish("2.0", 3);
    duo.wish_also("    home: /alias/duo\n");
    let done = duo.agent(&PASS);
    assert!(done.status.success() && duo.host("srv/duo/bin/alpha").exists(), "{}", said(&done));
    rename(&mut duo, "/alias/duo", "/srv/duo");
    assert!(duo.host("srv/duo/bin/alpha").exists());
}

#[test]
fn program_under_another_name_of_its_file_stays() {
    let mut duo = Duo::new();
    fs::create_dir_all(duo.host("srv")).unwrap();
    tree::link(&duo.host("alias"), "srv");
    duo.wish("2.0", 3);
    duo.wish_also("    layout: { file: /alias/alpha }\n");
    let done = duo.agent(&PASS);
    assert!(done.status.success() && duo.host("srv/alpha").exists(), "{}", said(&done));
    rename(&mut duo, "/alias/alpha", "/srv/alpha");
    assert!(duo.host("srv/alpha").exists());
}

/// The same place under another name, and the app, too.
fn rename(duo: &mut Duo, old: &str, new: &str) {
    let path = duo.path("desired/apps.yaml");
    let text = fs::read_to_string(&path).unwrap();
    fs::write(&path, text.replace("  duo:", "  other:").replace(old, new)).unwrap();
    for _ in 0..2 {
        let done = duo.agent(&PASS);
        assert!(done.status.success(), "{}", said(&done));
        assert!(!said(&done).contains(" to remove"), "{}", said(&done));
    }
}
