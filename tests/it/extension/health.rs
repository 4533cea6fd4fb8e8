//! Extensions that are merged and do not work.

use std::fs;

use super::Host;

/// The wish of an extension that must not be at version 2.0.0, and a hook that notes its version.
fn wish(host: &Host) -> String {
    let link = host.world.path("etc/extensions/demo.raw").display().to_string();
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
