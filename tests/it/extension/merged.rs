//! Extensions that are linked and not merged: after a start of the host, or unmerged by somebody.

use std::fs;
use std::time::SystemTime;

use super::Host;

/// As after a start of the host at which no unit of systemd merged anything.
fn unmerge(host: &Host) {
    fs::remove_dir_all(host.world.path("usr/.systemd-sysext")).unwrap();
}

fn noted(host: &Host) -> String {
    let notes = host.world.temp().join("notes");
    let text = fs::read_to_string(&notes).unwrap_or_default();
    let _ = fs::remove_file(notes);
    text
}

/// Replaces what merges by something that leaves out everything but the names given.
fn merges_only(host: &Host, names: &str) {
    let script = format!(
        "#!/bin/sh\nfor a; do case $a in --root=*) R=${{a#--root=}};; esac; done\necho \"$@\" >> \"$R/../refreshes\"\n\
         mkdir -p \"$R/usr/.systemd-sysext\"\nprintf '{names}' > \"$R/usr/.systemd-sysext/extensions\"\n"
    );
    fs::write(host.world.temp().join("stub/systemd-sysext"), script).unwrap();
}

fn state(host: &Host, index: usize) -> (String, Vec<String>) {
    let status = host.world.run(&["status", "-o", "json"]).json();
    let resource = &status["resources"][index];
    let conditions = resource["conditions"].as_array().unwrap().iter();
    let words = conditions.map(|c| format!("{} {}", c["type"], c["reason"]).replace('"', ""));
    (resource["state"].as_str().unwrap().to_owned(), words.collect())
}

/// A host with two images that somebody unmerged.
fn unmerged() -> Host {
    let mut host = Host::new();
    host.publish("demo_1.0.0.raw", "one");
    host.publish("other_1.0.0.raw", "one");
    host.wish(&[("demo", "    restart: [demo.service]\n"), ("other", "")]);
    host.converges();
    noted(&host);
    unmerge(&host);
    host
}

#[test]
fn image_that_is_not_merged_after_a_start_of_the_host_is_merged_by_one_refresh() {
    let mut host = unmerged();
    let before = host.refreshes();
    let (_, conditions) = state(&host, 0);
    assert!(conditions.contains(&"Pending NotMerged".to_owned()), "{conditions:?}");
    let status = host.world.run(&["status", "-o", "json"]).json();
    assert!(status["resources"][0].to_string().contains("the next pass merges it"), "{status:#}");
    assert!(!status["conditions"].to_string().contains("RebootRequired"), "{status:#}");
    let plan = host.world.run(&["--dry-run"]).exits(0).stdout;
    assert!(plan.contains("systemd has not merged it"), "{plan}");
    host.converges();
    assert_eq!(host.refreshes() - before, 1, "one refresh serves all");
    assert_eq!(host.merged(), "demo\nother\n");
    assert!(noted(&host).contains("restart -- demo.service"), "it could not start before");
}

#[test]
fn image_for_the_next_boot_is_left_to_that() {
    let mut host = Host::new();
    host.publish("demo_1.0.0.raw", "one");
    host.wish(&[("demo", "    activate: boot\n")]);
    host.converges();
    host.is_settled();
    assert_eq!((host.refreshes(), host.merged().as_str()), (0, ""));
}

#[test]
fn image_that_is_merged_is_not_pending_however_often_its_link_was_set() {
    let mut host = Host::new();
    host.wish(&[("demo", "    activate: boot\n")]);
    for version in ["1", "2"] {
        host.publish(&format!("demo_{version}.raw"), version);
        host.converges();
    }
    // The next boot merged it.
    let device = host.world.path("sys/block/loop0/loop");
    fs::create_dir_all(&device).unwrap();
    fs::write(device.join("backing_file"), "/var/lib/extensions.d/demo/demo_2.raw\n").unwrap();
    fs::create_dir_all(host.world.path("usr/.systemd-sysext")).unwrap();
    let merged = host.world.path("usr/.systemd-sysext/extensions");
    fs::write(&merged, "demo\n").unwrap();
    fs::File::open(&merged).unwrap().set_modified(SystemTime::UNIX_EPOCH).unwrap();
    let pending = |host: &Host| state(host, 0).1.contains(&"Pending NotMerged".to_owned());
    host.world.run(&["rollback", "demo", "--reason", "test"]).exits(0);
    assert!(pending(&host), "1 is linked and 2 is merged");
    host.world.run(&["resume", "demo"]).exits(0);
    host.converges();
    assert_eq!(host.version("demo").as_deref(), Some("2"));
    assert!(!pending(&host), "2 is linked again, and was merged all the time");
}

#[test]
fn what_systemd_leaves_out_is_told_and_not_tried_again_until_the_system_changes() {
    let mut host = unmerged();
    merges_only(&host, "other\\n");
    let ran = host.pass();
    assert_eq!(ran.code, 1, "{ran:#?}");
    assert!(ran.stdout.contains("left demo out"), "{ran:#?}");
    assert_eq!(host.merged(), "other\n");
    let tried = host.refreshes();
    let ran = host.pass();
    assert!(ran.stdout.contains("left it out since the host started"), "{ran:#?}");
    host.is_settled();
    assert_eq!(host.refreshes(), tried, "a refresh would end the same");
    assert_eq!(state(&host, 0).0, "Stalled");
    assert_eq!(state(&host, 1).0, "Current");
    assert_eq!(noted(&host), "", "what is not merged is not restarted");
    fs::create_dir_all(host.world.path("etc")).unwrap();
    fs::write(host.world.path("etc/os-release"), "ID=debian\nVERSION_ID=13\n").unwrap();
    merges_only(&host, "demo\\nother\\n");
    host.converges();
    assert_eq!(host.merged(), "demo\nother\n");
    assert_eq!(state(&host, 0).0, "Current");
}
