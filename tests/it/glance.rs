//! A host with so many apps that it is looked at while the wish is still read.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::fs;

use serde_json::Value;

use crate::support::duo::{archive, archive_name, checksum_line};
use crate::support::world::World;

/// Apps of the host: their inventory is long enough.
const APPS: usize = 120;

/// The inventory that is long enough, in bytes.
const INVENTORY_BYTES_MIN: u64 = 16 << 10;

fn name(index: usize) -> String {
    format!("app{index:03}")
}

/// Wishes every app, each with what `more` says of it; `None` for one that is not wished.
fn wish(world: &mut World, more: impl Fn(usize) -> Option<&'static str>) {
    let source = world.temp().join("source");
    let mut text = "apps:\n".to_owned();
    for (index, more) in (0..APPS).filter_map(|index| more(index).map(|more| (index, more))) {
        write!(
            text,
            "  {}:\n    version: 1.0\n    source: {{ file: {} }}\n    asset: \"duo-{{version}}.tar.gz\"\n    \
             verify: {{ min: checksum }}\n{more}",
            name(index),
            source.display()
        )
        .unwrap();
    }
    world.wish("desired", &text);
}

fn installed() -> World {
    let mut world = World::new();
    let source = world.temp().join("source");
    fs::create_dir(&source).unwrap();
    let (file, bytes) = (archive_name("1.0"), archive("1.0"));
    fs::write(source.join("SHA256SUMS"), checksum_line(&file, &bytes)).unwrap();
    fs::write(source.join(file), bytes).unwrap();
    wish(&mut world, |_| Some(""));
    world.run(&[]).exits(0);
    let inventory = world.path("var/lib/reconcile/inventory.json");
    assert!(fs::metadata(inventory).unwrap().len() > INVENTORY_BYTES_MIN);
    world
}

/// What a plan changes; the same by a glance and by a look at every byte, which glances at nothing.
fn changes(world: &World) -> BTreeSet<String> {
    let changes = |arguments: &[&str]| {
        let plan = world.run(&[&["--dry-run", "-o", "json"], arguments].concat()).exits(0).json();
        let changes = plan["spec"]["changes"].as_array().unwrap();
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        changes
            .iter()
            .map(|change| format!("{} {}", text(&change["action"]), text(&change["resource"])))
            .collect::<BTreeSet<_>>()
    };
    let glanced = changes(&[]);
    assert_eq!(glanced, changes(&["--deep"]));
    glanced
}

#[test]
fn glance_sees_what_a_look_sees() {
    let mut world = installed();
    assert!(changes(&world).is_empty());
    for gone in ["opt/app000/releases/1.0/alpha", "opt/app119/releases/1.0/share/data"] {
        fs::remove_file(world.path(gone)).unwrap();
    }
    fs::remove_dir_all(world.path("opt/app060")).unwrap();
    let broken: Vec<String> = changes(&world).into_iter().collect();
    assert_eq!(broken.len(), 3, "{broken:?}");
    for (change, app) in broken.iter().zip(["app000", "app060", "app119"]) {
        assert!(broken.iter().any(|change| change.ends_with(app)), "{change} {app}");
    }
    world.run(&[]).exits(0);
    assert!(changes(&world).is_empty());
    assert!(world.path("opt/app060/bin/alpha").exists());

    // The wish says another thing than what the inventory knows: not wished, elsewhere.
    wish(&mut world, |index| match index {
        3 => None,
        4 => Some("    home: /srv/app004\n"),
        _ => Some(""),
    });
    let edited: Vec<String> = changes(&world).into_iter().collect();
    assert_eq!(edited.len(), 2, "{edited:?}");
    world.run(&[]).exits(0);
    assert!(!world.path("opt/app003").exists() && world.path("srv/app004/bin/alpha").exists());
    assert!(changes(&world).is_empty());
}

#[test]
fn wish_that_is_refused_leaves_the_host_and_its_lock_alone() {
    let mut world = installed();
    let lock = world.path("var/lib/reconcile/lock");
    let good = fs::read_to_string(world.desired.join("wish.yaml")).unwrap();
    world.wish("desired", "apps: { app000: { verison: 1.0 } }\n");
    world.run(&[]).exits(65);
    assert!(world.path("opt/app001/bin/alpha").exists());
    // The lock is not taken by anybody any more, and whoever has it is respected.
    let file = fs::File::options().write(true).open(&lock).unwrap();
    file.try_lock().unwrap();
    world.wish("desired", &good);
    world.run(&["--lock-timeout", "0s"]).exits(75);
    drop(file);
    let ran = world.run(&[]).exits(0);
    assert!(ran.stdout.contains("No changes"), "{ran:?}");
}
