//! What somebody else put where an extension is: it stays, or it is told what becomes of it.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::PathBuf;

use super::{Host, directory};

/// Two releases of an extension, of which the newer one is in use.
fn host() -> (Host, PathBuf) {
    let mut host = Host::new();
    host.wish(&[("demo", "")]);
    for version in ["1", "2"] {
        host.publish(&format!("demo_{version}.raw"), version);
        host.converges();
    }
    let image = host.world.path("var/lib/extensions.d/demo/demo_2.raw");
    (host, image)
}

#[test]
fn image_in_whose_place_is_something_else_is_told_before_anything_is_done() {
    for with in ["link", "directory"] {
        let (mut host, image) = host();
        let kind = if with == "link" { "symbolic link" } else { with };
        fs::remove_file(&image).unwrap();
        match with {
            "link" => symlink("/srv/mine.raw", &image).unwrap(),
            _ => fs::create_dir(&image).unwrap(),
        }
        for _ in 0..2 {
            let ran = host.pass();
            assert_eq!(ran.code, 1, "{with}: {ran:#?}");
            let told = format!("demo_2.raw is a {kind} that reconcile did not put there");
            assert!(ran.stdout.contains(&told), "{with}: {ran:#?}");
        }
        assert!(fs::symlink_metadata(&image).is_ok_and(|found| !found.is_file()), "{with}");
    }
}

/// An extension that is a directory, in two releases, with a file of somebody else in the older one.
fn with_a_file_in_it(retain: u32) -> (Host, PathBuf) {
    let mut host = Host::new();
    let source = host.source().display().to_string();
    let wish = format!(
        "extensions:\n  demo:\n    layout: directory\n    retain: {retain}\n    source: {{ sysupdate: {{ path: \
         {source}, match: demo_@v.tar.gz }} }}\n"
    );
    host.world.wish("desired", &wish);
    directory::publish(&host, "demo_1.tar.gz", "one");
    host.converges();
    let mine = host.world.path("var/lib/extensions.d/demo/demo_1/usr/share/demo/mine");
    (host, mine)
}

#[test]
fn directory_with_a_file_of_somebody_else_stays_when_its_extension_goes() {
    let (mut host, mine) = with_a_file_in_it(2);
    directory::publish(&host, "demo_2.tar.gz", "two");
    host.converges();
    fs::write(&mine, "mine").unwrap();
    host.world.wish("desired", "extensions: {}\n");
    let plan = host.world.run(&["--dry-run"]).exits(0).stdout;
    assert!(plan.contains("demo_1 stays, in which somebody changed"), "{plan}");
    assert!(plan.contains("usr/share/demo/mine"), "{plan}");
    host.converges();
    assert_eq!(fs::read_to_string(&mine).unwrap(), "mine");
    assert_eq!(host.merged(), "");
    assert!(!host.world.path("var/lib/extensions.d/demo/demo_2").exists(), "what is ours goes");
}

#[test]
fn file_of_somebody_else_that_retention_takes_along_is_named() {
    let (mut host, mine) = with_a_file_in_it(1);
    fs::write(&mine, "mine").unwrap();
    directory::publish(&host, "demo_2.tar.gz", "two");
    let plan = host.world.run(&["--dry-run"]).exits(0).stdout;
    assert!(plan.contains("usr/share/demo/mine goes as well"), "{plan}");
    host.converges();
    assert!(!mine.exists());
}

#[test]
fn image_that_somebody_replaced_stays_when_its_extension_goes() {
    let (mut host, _) = host();
    let old = host.world.path("var/lib/extensions.d/demo/demo_1.raw");
    fs::write(&old, "mine").unwrap();
    host.wish(&[]);
    let plan = host.world.run(&["--dry-run"]).exits(0).stdout;
    assert!(plan.contains("demo_1.raw stays, which somebody changed"), "{plan}");
    host.converges();
    assert_eq!(fs::read_to_string(&old).unwrap(), "mine");
}

#[test]
fn place_of_a_suspended_extension_goes_to_nobody_else() {
    let definition = |host: &Host, directory: &str| {
        let source = host.source().display().to_string();
        let place = host.world.path("etc").join(directory);
        fs::create_dir_all(&place).unwrap();
        let text = format!(
            "[Transfer]\nVerify=no\n[Source]\nType=url-file\nPath=file://{source}\nMatchPattern=demo_@v.raw\n[Target]\n\
             Type=regular-file\nPath=/var/lib/images\nCurrentSymlink=/var/lib/extensions/demo.raw\n"
        );
        fs::write(place.join("demo.transfer"), text).unwrap();
    };
    let renamed = "sysupdate: { as: sysupdate, activate: now }\n".to_owned();
    for (by, wish) in [("definition", Some(renamed)), ("wish", None)] {
        let mut host = Host::new();
        definition(&host, "sysupdate.web.d");
        host.world.wish("desired", "sysupdate: { as: sysupdate, activate: now }\n");
        host.publish("demo_1.raw", "one");
        host.converges();
        host.world.run(&["suspend", "extension/web", "--reason", "hold"]).exits(0);
        host.publish("demo_2.raw", "two");
        fs::remove_dir_all(host.world.path("etc/sysupdate.web.d")).unwrap();
        if let Some(wish) = wish {
            definition(&host, "sysupdate.site.d");
            host.world.wish("desired", &wish);
        } else {
            host.wish(&[("demo", "    home: /var/lib/images\n")]);
        }
        let ran = host.pass();
        assert_eq!(ran.code, 1, "{by}: {ran:#?}");
        assert!(ran.stdout.contains("resume extension/web` ends that"), "{by}: {ran:#?}");
        assert_eq!(host.version("demo").as_deref(), Some("1"), "{by}");
        host.world.run(&["resume", "extension/web"]).exits(0);
        host.pass();
        host.converges();
        assert_eq!(host.version("demo").as_deref(), Some("2"), "{by}");
    }
}
