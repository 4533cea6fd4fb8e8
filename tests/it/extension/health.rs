//! Extensions that are merged and do not work.

use std::fs;
use std::os::unix::fs::symlink;

use super::Host;

/// The wish of an extension that must not be at version 2.0.0, and a hook that notes its version.
fn wish(host: &Host) -> String {
    let link = host.world.path("var/lib/extensions/demo.raw").display().to_string();
    format!(
        "    health:\n      exec: [/bin/sh, -c, \"! readlink {link} | grep -q 2.0.0\"]\n      interval: 100ms\n      \
         stable: 100ms\n      deadline: 400ms\n    restart: [demo.service]\n    \
         run: [[sh, -c, \"echo hook $RECONCILE_NEW_VERSION >> $NOTES\"]]\n"
    )
}

fn noted(host: &Host) -> Vec<String> {
    let notes = host.world.temp().join("notes");
    let text = fs::read_to_string(&notes).unwrap_or_default();
    let _ = fs::remove_file(notes);
    text.lines().map(str::to_owned).collect()
}

/// The image in use: linked, or picked by the last merge.
fn in_use(host: &Host) -> Option<String> {
    let picked = fs::read_to_string(host.world.temp().join("picked")).unwrap_or_default();
    let linked = host.version("demo").map(|version| format!("demo_{version}.raw"));
    linked.or(picked.lines().last().map(str::to_owned))
}

#[test]
fn image_that_is_merged_and_does_not_work_goes_back_and_is_quarantined() {
    let mut host = Host::new();
    host.publish("demo_1.0.0.raw", "one");
    let wish = wish(&host);
    host.wish(&[("demo", &wish)]);
    host.converges();
    noted(&host);
    let before = host.refreshes();
    host.publish("demo_2.0.0.raw", "two");
    let ran = host.pass();
    assert_eq!(ran.code, 6, "{ran:#?}");
    assert_eq!(host.version("demo").as_deref(), Some("1.0.0"));
    assert_eq!(host.merged(), "demo\n");
    assert_eq!(host.refreshes() - before, 2, "merged anew there and back");
    let restart = "systemctl --no-ask-password restart -- demo.service";
    assert_eq!(noted(&host), [restart, "hook 2.0.0", restart, "hook 1.0.0"]);
    assert_eq!(host.pass().code, 3, "it is not tried again");
    host.is_settled();
    // The same bytes under another name are the same bytes.
    host.withdraw("demo_2.0.0.raw");
    host.publish("demo_2.0.1.raw", "two");
    assert_eq!(host.pass().code, 3);
    host.publish("demo_2.1.0.raw", "mended");
    host.converges();
    assert_eq!(host.version("demo").as_deref(), Some("2.1.0"));
}

#[test]
fn first_image_that_does_not_work_is_taken_away_again() {
    let mut host = Host::new();
    host.publish("demo_2.0.0.raw", "two");
    let wish = wish(&host);
    host.wish(&[("demo", &wish)]);
    let ran = host.pass();
    assert_eq!(ran.code, 6, "{ran:#?}");
    assert!(ran.stdout.contains("taken away again") || ran.stderr.contains("taken away again"));
    assert_eq!((host.link("demo"), host.merged().as_str()), (None, ""));
}

#[test]
fn health_of_an_image_for_the_next_boot_is_refused() {
    let mut host = Host::new();
    host.publish("demo_1.0.0.raw", "one");
    let wish = format!("{}    activate: boot\n", wish(&host));
    host.wish(&[("demo", &wish)]);
    let said = host.world.run(&["validate"]).exits(65).stderr;
    assert!(said.contains("next boot is not merged"), "{said}");
}

#[test]
fn extension_goes_back_past_those_that_never_showed_that_they_work() {
    for layout in ["link", "versioned"] {
        let mut host = Host::new();
        let down = host.world.temp().join("down");
        let link = host.world.path("var/lib/extensions/demo.raw").display().to_string();
        let place = host.world.path("var/lib/extensions/demo.raw.v").display().to_string();
        host.publish("demo_1.0.0.raw", "one");
        // Whatever is in use fails as long as this is there.
        let wish = format!(
            "    layout: {layout}\n    health:\n      exec: [/bin/sh, -c, \"! test -e {0} && ! {{ readlink {link}; ls {place}; }} | \
             grep -q 4.0.0\"]\n      interval: 100ms\n      stable: 100ms\n      deadline: 400ms\n",
            down.display()
        );
        host.wish(&[("demo", &wish)]);
        host.converges();
        fs::write(&down, "").unwrap();
        for version in ["2.0.0", "3.0.0"] {
            host.publish(&format!("demo_{version}.raw"), version);
            let said = host.pass().exits(0).stdout;
            assert!(said.contains("yet to show that it works, and 1.0.0 is kept"), "{said}");
        }
        fs::remove_file(&down).unwrap();
        host.publish("demo_4.0.0.raw", "four");
        let said = host.pass().exits(6).stdout;
        assert!(said.contains("1.0.0 is in use again"), "{layout}: {said}");
        assert_eq!(in_use(&host).as_deref(), Some("demo_1.0.0.raw"), "{layout}");
        // Nobody knows of the one before that it does not work.
        host.pass().exits(3);
        host.is_settled();
        let status = host.world.run(&["status"]).stdout;
        assert!(status.contains("3.0.0"), "{layout}: {status}");
    }
}

#[test]
fn only_image_that_worked_is_there_until_the_next_has_shown_that_it_works() {
    let mut host = Host::new();
    let place = host.world.path("var/lib/extensions");
    let second = place.join("demo_1.1.0.raw").display().to_string();
    host.publish("demo_1.0.0.raw", "one");
    // Without a link and a directory for its versions, systemd merges every image there is.
    let wish = format!(
        "    layout: versioned\n    home: /var/lib/extensions\n    retain: 1\n    health:\n      exec: [/bin/sh, -c, \"! test -e \
         {second}\"]\n      interval: 100ms\n      stable: 100ms\n      deadline: 400ms\n"
    );
    host.wish(&[("demo", &wish)]);
    host.converges();
    host.publish("demo_1.1.0.raw", "two");
    host.pass().exits(6);
    assert_eq!(host.merged(), "demo_1.0.0\n");
    host.pass().exits(3);
    host.is_settled();
    assert_eq!(
        (host.merged().as_str(), place.join("demo_1.0.0.raw").exists()),
        ("demo_1.0.0\n", true)
    );
    host.publish("demo_1.2.0.raw", "three");
    host.converges();
    assert_eq!(
        (host.merged().as_str(), place.join("demo_1.0.0.raw").exists()),
        ("demo_1.2.0\n", false)
    );
}

#[test]
fn release_that_did_not_work_is_not_gone_back_to_and_excuses_none_where_somebody_linked_it_again() {
    for layout in ["link", "versioned"] {
        let mut host = Host::new();
        let link = host.world.path("var/lib/extensions/demo.raw");
        let place = host.world.path("var/lib/extensions/demo.raw.v");
        host.publish("demo_1.0.0.raw", "one");
        let wish = format!(
            "    layout: {layout}\n    health:\n      exec: [/bin/sh, -c, \"! {{ readlink {}; ls {}; }} | grep -q              '[23].0.0'\"]\n      interval: 100ms\n      stable: 100ms\n      deadline: 400ms\n",
            link.display(),
            place.display()
        );
        host.wish(&[("demo", &wish)]);
        host.converges();
        host.publish("demo_2.0.0.raw", "two");
        host.pass().exits(6);
        if layout == "link" {
            fs::remove_file(&link).unwrap();
            symlink("../extensions.d/demo/demo_2.0.0.raw", &link).unwrap();
        } else {
            let hidden = place.join(".#hidden.reconcile.demo_2.0.0.raw");
            fs::rename(hidden, place.join("demo_2.0.0.raw")).unwrap();
        }
        host.publish("demo_3.0.0.raw", "three");
        let said = host.pass().exits(6).stdout;
        assert!(said.contains("1.0.0 is in use again"), "{layout}: {said}");
        assert_eq!(in_use(&host).as_deref(), Some("demo_1.0.0.raw"), "{layout}: {said}");
        host.pass().exits(3);
        host.is_settled();
        host.publish("demo_4.0.0.raw", "mended");
        host.converges();
        assert_eq!(in_use(&host).as_deref(), Some("demo_4.0.0.raw"), "{layout}");
        host.world.run(&["rollback", "extension/demo", "--reason", "test"]).exits(0);
        assert_eq!(in_use(&host).as_deref(), Some("demo_1.0.0.raw"), "{layout}: it is kept");
    }
}
