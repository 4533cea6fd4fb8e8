//! Extensions of which systemd picks the newest image by itself: going back from it, and on again.

use std::fs;
use std::path::PathBuf;

use super::followed::{can_be_immutable, is_immutable, names};
use super::{Host, image};

const LAYOUT: &str = "    layout: versioned\n";
const BACK: [&str; 4] = ["rollback", "extension/demo", "--reason", "test"];

/// A host that was upgraded from 1.0.0 to 1.1.0.
fn upgraded(more: &str) -> Host {
    let mut host = Host::new();
    host.publish("demo_1.0.0.raw", "one");
    host.wish(&[("demo", &format!("{LAYOUT}{more}"))]);
    host.converges();
    host.publish("demo_1.1.0.raw", "two");
    host.converges();
    host
}

fn place(host: &Host) -> PathBuf {
    host.world.path("var/lib/extensions/demo.raw.v")
}

/// What systemd picked at the last merge.
fn picked(host: &Host) -> String {
    let picked = fs::read_to_string(host.world.temp().join("picked")).unwrap_or_default();
    picked.lines().last().unwrap_or_default().to_owned()
}

/// Whether an image is there under a name that systemd passes over.
fn is_hidden(host: &Host, name: &str) -> bool {
    place(host).join(format!(".#hidden.reconcile.{name}")).exists()
}

#[test]
fn picked_image_is_gone_back_from_and_on_again_without_a_source() {
    let mut host = upgraded("");
    assert_eq!(picked(&host), "demo_1.1.0.raw");
    let before = host.refreshes();
    let back = host.world.run(&BACK).exits(0);
    assert!(
        back.stdout.contains("demo_1.1.0.raw (kept as .#hidden.reconcile.demo_1.1.0.raw"),
        "{back:#?}"
    );
    assert_eq!((picked(&host).as_str(), host.refreshes() - before), ("demo_1.0.0.raw", 1));
    assert!(is_hidden(&host, "demo_1.1.0.raw"));
    host.is_settled();
    let status = host.world.run(&["status"]).stdout;
    assert!(status.contains("1.0.0") && status.contains("RolledBack"), "{status}");
    // The source is not needed to go on again.
    host.withdraw("demo_1.0.0.raw");
    fs::rename(host.source().join("demo_1.1.0.raw"), host.world.temp().join("away")).unwrap();
    host.world.run(&["resume", "extension/demo"]).exits(0);
    host.converges();
    assert_eq!(picked(&host), "demo_1.1.0.raw");
    assert_eq!(fs::read(place(&host).join("demo_1.1.0.raw")).unwrap(), image("two"));
    assert!(!is_hidden(&host, "demo_1.1.0.raw"));
}

#[test]
fn picked_image_is_hidden_again_after_somebody_showed_it() {
    let mut host = upgraded("");
    host.world.run(&BACK).exits(0);
    let hidden = place(&host).join(".#hidden.reconcile.demo_1.1.0.raw");
    let shown = place(&host).join("demo_1.1.0.raw");
    fs::rename(&hidden, &shown).unwrap();
    host.converges();
    assert_eq!((picked(&host).as_str(), shown.exists()), ("demo_1.0.0.raw", false));
    // Also where it is there twice.
    fs::copy(&hidden, &shown).unwrap();
    host.converges();
    assert!(!shown.exists() && hidden.exists());
    // And the one to be on is shown again.
    fs::rename(
        place(&host).join("demo_1.0.0.raw"),
        place(&host).join(".#hidden.reconcile.demo_1.0.0.raw"),
    )
    .unwrap();
    host.converges();
    assert!(place(&host).join("demo_1.0.0.raw").exists() && !shown.exists());
}

#[test]
fn exact_version_below_a_picked_image_is_what_systemd_picks() {
    let mut host = upgraded("");
    host.wish(&[("demo", &format!("    version: 1.0.0\n{LAYOUT}"))]);
    host.converges();
    assert_eq!(picked(&host), "demo_1.0.0.raw");
    host.wish(&[("demo", LAYOUT)]);
    host.converges();
    assert_eq!(picked(&host), "demo_1.1.0.raw");
}

#[test]
fn newer_image_of_somebody_else_is_not_hidden() {
    let host = upgraded("");
    fs::write(place(&host).join("demo_9.raw"), image("theirs")).unwrap();
    let said = host.world.run(&["rollback", "extension/demo", "--to", "1.0.0", "--reason", "test"]);
    assert_eq!(said.code, 1, "{said:#?}");
    assert!(said.stderr.contains("demo_9.raw and was not put there by reconcile"), "{said:#?}");
    assert!(place(&host).join("demo_9.raw").exists() && !is_hidden(&host, "demo_1.1.0.raw"));
}

#[test]
fn hidden_images_count_for_retention_and_go_with_the_extension() {
    let mut host = upgraded("");
    host.world.run(&BACK).exits(0);
    host.world.run(&["resume", "extension/demo"]).exits(0);
    host.publish("demo_1.2.0.raw", "three");
    host.converges();
    assert_eq!(picked(&host), "demo_1.2.0.raw");
    let images = || {
        let names = fs::read_dir(place(&host)).unwrap().flatten();
        let names = names.map(|e| e.file_name().into_string().unwrap());
        names.filter(|name| name.ends_with(".raw")).count()
    };
    assert_eq!(images(), 2, "as many as are kept");
    host.world.run(&BACK).exits(0);
    host.wish(&[]);
    host.converges();
    assert_eq!(host.merged(), "");
    assert!(!place(&host).exists());
}

/// A check that fails while 1.1.0 is in sight.
fn health(host: &Host) -> String {
    let place = place(host).join("demo_1.1.0.raw").display().to_string();
    format!(
        "    health:\n      exec: [/bin/sh, -c, \"! test -e {place}\"]\n      interval: 100ms\n      stable: 100ms\n      \
         deadline: 400ms\n"
    )
}

#[test]
fn picked_image_that_does_not_work_is_hidden_and_quarantined() {
    let mut host = Host::new();
    host.publish("demo_1.0.0.raw", "one");
    let wish = format!("{LAYOUT}{}", health(&host));
    host.wish(&[("demo", &wish)]);
    host.converges();
    host.publish("demo_1.1.0.raw", "two");
    let ran = host.pass();
    assert_eq!(ran.code, 6, "{ran:#?}");
    assert_eq!(picked(&host), "demo_1.0.0.raw");
    assert!(is_hidden(&host, "demo_1.1.0.raw"));
    assert_eq!(host.pass().code, 3, "it is not tried again");
    host.is_settled();
    let status = host.world.run(&["status"]).stdout;
    assert!(status.contains("1.0.0") && status.contains("switched back"), "{status}");
    host.publish("demo_1.2.0.raw", "mended");
    host.converges();
    assert_eq!(picked(&host), "demo_1.2.0.raw");
}

#[test]
fn first_picked_image_that_does_not_work_is_hidden() {
    let mut host = Host::new();
    host.publish("demo_1.1.0.raw", "two");
    let wish = format!("{LAYOUT}{}", health(&host));
    host.wish(&[("demo", &wish)]);
    let ran = host.pass();
    assert_eq!(ran.code, 6, "{ran:#?}");
    assert_eq!(host.merged(), "");
    assert!(!place(&host).join("demo_1.1.0.raw").exists());
}

#[test]
fn picked_image_that_breaks_the_merge_is_hidden_and_others_are_merged() {
    let mut host = Host::new();
    host.publish("demo_1.0.0.raw", "one");
    host.publish("other_1.0.0.raw", "other");
    host.wish(&[("demo", LAYOUT), ("other", "")]);
    host.converges();
    host.publish("demo_1.1.0.raw", "BREAKS");
    host.publish("other_1.1.0.raw", "more");
    let ran = host.pass();
    assert_eq!(ran.code, 6, "{ran:#?}");
    assert_eq!(picked(&host), "demo_1.0.0.raw");
    assert_eq!(host.version("other").as_deref(), Some("1.1.0"));
    assert_eq!(host.merged().lines().count(), 2);
    assert!(is_hidden(&host, "demo_1.1.0.raw"));
}

#[test]
fn prerelease_that_systemd_takes_for_newer_than_its_release_is_hidden() {
    let mut host = Host::new();
    let (early, release) = ("demo_1.1.0-rc1.raw", "demo_1.1.0.raw");
    host.publish(early, "early");
    host.wish(&[("demo", &format!("{LAYOUT}    version: '>=1.1.0-rc1'\n"))]);
    host.converges();
    assert_eq!(picked(&host), early);
    host.publish(release, "release");
    host.converges();
    assert_eq!(picked(&host), release);
    assert!(is_hidden(&host, early));
    // What systemd would pick is what is in use, whatever is newer by its own word.
    fs::rename(place(&host).join(format!(".#hidden.reconcile.{early}")), place(&host).join(early))
        .unwrap();
    let status = host.world.run(&["status"]).stdout;
    assert!(status.contains("1.1.0-rc1"), "{status}");
    host.converges();
    assert_eq!(picked(&host), release);
    assert!(is_hidden(&host, early));
    host.world.run(&BACK).exits(0);
    assert_eq!(picked(&host), early);
    host.is_settled();
    host.world.run(&["resume", "extension/demo"]).exits(0);
    host.converges();
    assert_eq!(picked(&host), release);
}

#[test]
fn image_that_did_not_work_is_hidden_again_after_somebody_showed_it() {
    for offered in [true, false] {
        let mut host = Host::new();
        host.publish("demo_1.0.0.raw", "one");
        let wish = format!("{LAYOUT}    retain: 1\n{}", health(&host));
        host.wish(&[("demo", &wish)]);
        host.converges();
        host.publish("demo_1.1.0.raw", "two");
        host.pass().exits(6);
        let shown = place(&host).join("demo_1.1.0.raw");
        fs::rename(place(&host).join(".#hidden.reconcile.demo_1.1.0.raw"), &shown).unwrap();
        if !offered {
            host.withdraw("demo_1.0.0.raw");
        }
        let ran = host.pass().exits(3);
        assert_eq!(picked(&host), "demo_1.0.0.raw", "{offered}: {ran:#?}");
        assert!(!shown.exists(), "{offered}: {ran:#?}");
        host.is_settled();
        assert!(place(&host).join("demo_1.0.0.raw").exists(), "{offered}");
    }
}

/// Who put images where a definition has them.
#[derive(PartialEq)]
enum By {
    Us,
    Sysupdate,
}

/// A host that follows a definition for the same place, and was upgraded from 1.0.0 to 1.1.0.
fn followed(by: &By) -> Host {
    let mut host = Host::new();
    host.world.wish("desired", "sysupdate: { as: sysupdate }\n");
    let text = format!(
        "[Transfer]\nVerify=no\n[Source]\nType=url-file\nPath=file://{}\nMatchPattern=demo_@v.raw\n[Target]\n\
         Type=regular-file\nInstancesMax=3\nPath=/var/lib/extensions/demo.raw.v\nMatchPattern=demo_@v.raw\n",
        host.source().display()
    );
    let definition = host.world.path("usr/lib/sysupdate.demo.d/demo.transfer");
    crate::support::tree::write(&definition, text.as_bytes());
    for (version, text) in [("1.0.0", "one"), ("1.1.0", "two")] {
        let name = format!("demo_{version}.raw");
        host.publish(&name, text);
        if *by == By::Sysupdate {
            fs::create_dir_all(place(&host)).unwrap();
            fs::copy(host.source().join(&name), place(&host).join(&name)).unwrap();
        } else {
            host.converges();
        }
    }
    host.converges();
    host
}

#[test]
fn followed_image_that_systemd_picks_is_gone_back_from_and_on_again() {
    for by in [By::Us, By::Sysupdate] {
        let mut host = followed(&by);
        assert_eq!(picked(&host), "demo_1.1.0.raw");
        let back = ["rollback", "extension/demo", "--to", "1.0.0", "--reason", "test"];
        host.world.run(&back).exits(0);
        assert_eq!(picked(&host), "demo_1.0.0.raw");
        assert!(is_hidden(&host, "demo_1.1.0.raw"));
        host.is_settled();
        host.world.run(&["resume", "extension/demo"]).exits(0);
        host.converges();
        assert_eq!(picked(&host), "demo_1.1.0.raw");
        assert!(!is_hidden(&host, "demo_1.1.0.raw"));
    }
}

#[test]
fn followed_directory_that_systemd_picks_is_gone_back_from_and_on_again() {
    for sealed in ["", "ReadOnly=yes\n"] {
        let mut host = Host::new();
        host.world.wish("desired", "sysupdate: { as: sysupdate }\n");
        let text = format!(
            "[Source]\nType=directory\nPath=/srv/trees\nMatchPattern=demo-@v\n[Target]\nType=directory\nInstancesMax=3\n\
             Path=/var/lib/extensions/demo.v\nMatchPattern=demo_@v\n{sealed}"
        );
        let definition = host.world.path("usr/lib/sysupdate.demo.d/demo.transfer");
        crate::support::tree::write(&definition, text.as_bytes());
        for version in ["1", "2"] {
            let release = host.world.path(&format!(
                "srv/trees/demo-{version}/usr/lib/extension-release.d/extension-release.demo"
            ));
            crate::support::tree::write(&release, b"ID=_any\n");
            host.converges();
        }
        let place = host.world.path("var/lib/extensions/demo.v");
        let is_sealed = !sealed.is_empty() && can_be_immutable(&place);
        let sees = |host: &Host, visible: &[&str], version: &str| {
            assert_eq!(
                (names(&place), picked(host)),
                (visible.iter().map(ToString::to_string).collect(), version.into())
            );
            for name in visible {
                assert_eq!(is_immutable(&place.join(name)), is_sealed, "{name}");
            }
        };
        sees(&host, &["demo_1", "demo_2"], "demo_2");
        host.world.run(&BACK).exits(0);
        sees(&host, &["demo_1"], "demo_1");
        host.is_settled();
        host.world.run(&["resume", "extension/demo"]).exits(0);
        host.converges();
        sees(&host, &["demo_1", "demo_2"], "demo_2");
    }
}
