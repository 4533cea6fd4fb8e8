//! Links among the directories above a place: they lead neither into another place nor out of the root.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

use crate::support::casync::Publisher;
use crate::support::duo::{PASS, World as Duo, said};
use crate::support::tree;
use crate::support::world::World;

fn files(directory: &Path) -> usize {
    tree::snapshot(directory).len()
}

/// A tree that may replace what is there, at a path.
fn wish(publisher: &Publisher, path: &str) -> String {
    publisher.wish("    existing: adopted\n").replace("/srv/site", path)
}

#[test]
fn tree_by_way_of_a_link_swallows_neither_our_own_nor_the_systems_places() {
    let mut world = World::new();
    let publisher = Publisher::new(&world.temp().join("publisher"));
    tree::make(&publisher.source, "a \"a\"\n");
    publisher.publish();
    for directory in ["/var/lib", "/opt/other"] {
        fs::create_dir_all(world.path(directory)).unwrap();
    }
    tree::link(&world.path("/here"), ".");
    tree::link(&world.path("/lib-link"), "var/lib");
    world.wish("desired", &wish(&publisher, "/srv/site"));
    world.run(&[]).exits(0);
    for (path, why) in [
        ("/lib-link/reconcile", "reconcile keeps"),
        ("/here/var", "reconcile keeps"),
        ("/here/opt", "belongs to the whole system"),
        ("/here/srv/site/inside", "are inside of one another"),
    ] {
        let first = wish(&publisher, "/srv/site");
        let second = wish(&publisher, path).replace("trees:\n", "").replace("site:", "other:");
        world.wish("desired", &(first + &second));
        world.tick();
        let ran = world.run(&[]).exits(1);
        assert!(ran.stdout.contains(why), "{path}: {ran:#?}");
        assert!(world.path("/opt/other").is_dir(), "{path}");
        assert!(world.path("/var/lib/reconcile/inventory.json").is_file(), "{path}");
        assert!(!world.path("/srv/site/inside").exists(), "{path}");
    }
}

#[test]
fn file_by_way_of_a_link_is_put_neither_over_our_own_nor_into_anothers_place() {
    let duo = Duo::new();
    tree::link(&duo.host("here"), ".");
    duo.wish("2.0", 3);
    let done = duo.agent(&PASS);
    assert!(done.status.success(), "{}", said(&done));
    let source = duo.path("source");
    for file in ["/here/var/lib/reconcile/trust.json", "/here/opt/duo/releases/2.0/bin/alpha"] {
        let before = tree::snapshot(&duo.path("root/opt"));
        duo.wish("2.0", 3);
        duo.wish_also(&format!(
            "  alpha:\n    version: 1.0\n    asset: \"duo-{{version}}.tar.gz\"\n    source: {{ file: {} }}\n    \
             layout: {{ file: {file} }}\n",
            source.display()
        ));
        let done = duo.agent(&PASS);
        assert_eq!(done.status.code(), Some(1), "{}", said(&done));
        let said = said(&done);
        let told = said.contains("reconcile keeps") || said.contains("inside of one another");
        assert!(told, "{said}");
        assert_eq!(tree::snapshot(&duo.path("root/opt")), before);
        let trust = fs::read_to_string(duo.host("var/lib/reconcile/trust.json")).unwrap();
        assert!(trust.starts_with('{'), "{trust}");
    }
}

#[test]
fn another_root_is_not_left_by_links_above_a_place() {
    let duo = Duo::new();
    let outside = duo.path("outside");
    for (name, at) in [("opt", "opt"), ("bin", "usr/local/bin"), ("up", "srv")] {
        fs::create_dir_all(outside.join(name)).unwrap();
        fs::create_dir_all(duo.host(at).parent().unwrap()).unwrap();
        let target = match name {
            "up" => Path::new("../outside/up").to_owned(),
            _ => outside.join(name),
        };
        symlink(target, duo.host(at)).unwrap();
    }
    // What would be there if that root were the system's.
    let inside = duo.path("root").join(outside.strip_prefix("/").unwrap());
    fs::create_dir_all(inside.join("bin")).unwrap();
    let source = duo.path("source");
    let more = |name: &str, place: &str| {
        format!(
            "  {name}:\n    version: 1.0\n    asset: \"duo-{{version}}.tar.gz\"\n    source: {{ file: {} }}\n    \
             {place}\n",
            source.display()
        )
    };
    duo.wish("2.0", 3);
    duo.wish_also(&more("alpha", "layout: { file: /usr/local/bin/alpha }"));
    duo.wish_also(&more("beta", "home: /srv/beta"));
    let before = files(&outside);
    for _ in 0..2 {
        let done = duo.agent(&PASS);
        assert!(done.status.success(), "{}", said(&done));
        assert_eq!(files(&outside), before, "{}", said(&done));
    }
    assert!(inside.join("opt/duo/bin/alpha").exists());
    assert!(inside.join("bin/alpha").exists());
    assert!(duo.host("outside/up/beta/bin/alpha").exists());
}
