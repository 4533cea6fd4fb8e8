//! Components that are off, updates of all of them, and definitions as they lie on the disk.

use std::fs;
use std::os::unix::fs::symlink;

use serde_json::json;

use super::Host;
use crate::support::world::Ran;

fn definition(host: &Host, name: &str, more: &str) -> String {
    let source = host.source().display().to_string();
    format!(
        "[Transfer]\nVerify=no\n[Source]\nType=url-file\nPath=file://{source}\nMatchPattern={name}_@v.raw\n[Target]\n\
         Type=regular-file\nPath=/var/lib/images\nCurrentSymlink=/var/lib/extensions/{name}.raw\n{more}"
    )
}

/// Writes a file of a directory of definitions.
fn write(host: &Host, path: &str, text: &str) {
    let path = host.world.path(path);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, text).unwrap();
}

/// A host with a component and definitions of its own, both followed.
fn host() -> Host {
    let mut host = Host::new();
    for (place, name) in [("sysupdate.d", "base"), ("sysupdate.web.d", "web")] {
        let text = definition(&host, name, "");
        write(&host, &format!("usr/lib/{place}/{name}.transfer"), &text);
        host.publish(&format!("{name}_1.raw"), "one");
    }
    host.world.wish("desired", "sysupdate: { as: sysupdate, activate: now }\n");
    host
}

fn ask(host: &Host, arguments: &[&str]) -> Ran {
    let mut all = vec!["sysupdate"];
    all.extend(arguments);
    host.world.run(&all)
}

fn linked(host: &Host, name: &str) -> Option<String> {
    let link = host.world.path(&format!("var/lib/extensions/{name}.raw"));
    Some(fs::read_link(link).ok()?.file_name()?.to_str()?.to_owned())
}

#[test]
fn component_that_is_switched_off_keeps_what_it_has_and_is_shown() {
    for as_what in ["sysupdate", "updex"] {
        let mut host = host();
        host.world.wish("desired", &format!("sysupdate: {{ as: {as_what}, activate: now }}\n"));
        host.converges();
        write(&host, "etc/sysupdate.web.component.d/off.conf", "[Component]\nEnabled=no\n");
        write(&host, "usr/lib/sysupdate.web.component", "[Component]\nDescription=Web\n");
        host.publish("web_2.raw", "two");
        let plan = host.world.run(&["--dry-run"]).exits(0);
        assert!(plan.stdout.contains("the component web is off"), "{plan:#?}");
        host.converges();
        assert_eq!(linked(&host, "web").as_deref(), Some("web_1.raw"), "nothing of it goes");
        assert!(host.merged().contains("web\n"));
        let status = host.world.run(&["status", "-o", "json"]).json();
        assert!(status.to_string().contains("its component is not enabled"), "{status:#}");
        fs::remove_file(host.world.path("etc/sysupdate.web.component.d/off.conf")).unwrap();
        host.converges();
        assert_eq!(linked(&host, "web").as_deref(), Some("web_2.raw"));
    }
}

#[test]
fn component_that_is_off_is_answered_about_as_systemd_answers() {
    let mut host = host();
    write(&host, "usr/lib/sysupdate.web.component", "[Component]\nEnabled=no\n");
    host.world.options = vec!["--effects".to_owned(), "skip".to_owned()];
    let components = ask(&host, &["--json", "components"]).exits(0).json();
    assert_eq!(components, json!({ "default": true, "components": ["web"] }));
    assert_eq!(ask(&host, &["components"]).exits(0).stdout, "web (disabled)\n");
    let list = ask(&host, &["--json", "-C", "web", "list"]).exits(0).json();
    assert_eq!(list, json!({ "current": null, "all": ["1"], "appstreamUrls": [] }));
    assert_eq!(ask(&host, &["-C", "web", "check-new"]).exits(0).stdout, "1\n");
    let refused = ask(&host, &["-C", "web", "update"]).exits(1);
    assert!(refused.stderr.contains("Component is disabled."), "{refused:#?}");
    ask(&host, &["-C", "web", "vacuum"]).exits(0);
    assert_eq!(linked(&host, "web"), None);
}

#[test]
fn all_components_are_updated_but_those_that_are_off() {
    let mut host = host();
    for (name, off) in [("first", ""), ("last", ""), ("off", "[Component]\nEnabled=no\n")] {
        let text = definition(&host, name, "");
        write(&host, &format!("usr/lib/sysupdate.{name}.d/{name}.transfer"), &text);
        if !off.is_empty() {
            write(&host, &format!("usr/lib/sysupdate.{name}.component"), off);
        }
        host.publish(&format!("{name}_1.raw"), "one");
    }
    host.world.options = vec!["--effects".to_owned(), "skip".to_owned()];
    ask(&host, &["-C", "web", "update", "-A"]).exits(64);
    let ran = ask(&host, &["update", "-A", "--cleanup=yes"]).exits(0);
    assert!(ran.stderr.contains("off: Component is disabled."), "{ran:#?}");
    for name in ["base", "web", "first", "last"] {
        assert_eq!(linked(&host, name), Some(format!("{name}_1.raw")));
    }
    assert_eq!(linked(&host, "off"), None);
    // One that cannot be had keeps no other back, and is told.
    host.world.tick();
    host.publish("last_2.raw", "two");
    host.publish("first_2.raw", "two");
    fs::write(host.source().join("first_2.raw"), "damaged").unwrap();
    ask(&host, &["update", "--component-all"]).exits(1);
    assert_eq!(linked(&host, "first").as_deref(), Some("first_1.raw"));
    assert_eq!(linked(&host, "last").as_deref(), Some("last_2.raw"));
}

#[test]
fn definitions_on_the_disk_are_overlaid_completed_and_masked() {
    let mut host = Host::new();
    for version in ["1", "2", "3"] {
        host.publish(&format!("demo_{version}.raw"), version);
    }
    host.world.wish("desired", "sysupdate: { as: sysupdate, activate: now }\n");
    host.world.options = ["--effects", "skip", "--confirm-removals"].map(str::to_owned).to_vec();
    let max = |host: &Host, kept: &str| definition(host, "demo", &format!("InstancesMax={kept}\n"));
    write(&host, "usr/lib/sysupdate.d/demo.transfer", &max(&host, "2"));
    // The whole file of a higher place counts, and drop-ins of all places in the order of their names.
    write(&host, "run/sysupdate.d/demo.transfer", &definition(&host, "demo", "Mode=0600\n"));
    write(&host, "usr/lib/sysupdate.d/demo.transfer.d/20-mode.conf", "[Target]\nMode=0640\n");
    write(
        &host,
        "etc/sysupdate.d/demo.transfer.d/10-min.conf",
        "[Transfer]\nMinVersion=9\n[Target]\nMode=0604\n",
    );
    let none = ask(&host, &["--json", "check-new"]).exits(1).json();
    assert_eq!(none, json!({ "available": null }), "MinVersion= of the drop-in holds");
    write(
        &host,
        "usr/local/lib/sysupdate.d/demo.transfer.d/30-min.conf",
        "[Transfer]\nMinVersion=2\n",
    );
    ask(&host, &["update"]).exits(0);
    let image = host.world.path("var/lib/images/demo_3.raw");
    let mode =
        std::os::unix::fs::PermissionsExt::mode(&fs::metadata(&image).unwrap().permissions());
    assert_eq!(mode & 0o7777, 0o640, "20-mode.conf is later than 10-min.conf wherever it is");
    // The same drop-in in a higher place takes the place of the one below.
    symlink("/dev/null", host.world.path("etc/sysupdate.d/demo.transfer.d/30-min.conf")).unwrap();
    assert_eq!(
        ask(&host, &["--json", "list", "3"]).json()["obsolete"],
        json!(true),
        "9 holds once more"
    );
    fs::remove_dir_all(host.world.path("etc/sysupdate.d")).unwrap();
    for mask in ["link", "empty"] {
        fs::create_dir_all(host.world.path("etc/sysupdate.d")).unwrap();
        let at = host.world.path("etc/sysupdate.d/demo.transfer");
        match mask {
            "link" => symlink("/dev/null", &at).unwrap(),
            _ => fs::write(&at, "").unwrap(),
        }
        ask(&host, &["list"]).exits(1);
        host.world.tick();
        host.world.run(&[]).exits(0);
        assert!(!image.exists(), "{mask}: what no definition brings goes");
        fs::remove_dir_all(host.world.path("etc/sysupdate.d")).unwrap();
        host.world.tick();
        host.world.run(&[]).exits(0);
        assert!(image.exists(), "{mask}");
    }
}

#[test]
fn what_systemd_left_half_done_goes_by_a_vacuum_unless_it_is_to_stay() {
    let mut host = Host::new();
    host.publish("demo_1.raw", "one");
    host.world.wish("desired", "sysupdate: { as: sysupdate }\n");
    host.world.options = vec!["--effects".to_owned(), "skip".to_owned()];
    let half = host.world.path("var/lib/images/.sysupdate.partial.demo_2.raw");
    for (says, there) in
        [("RemoveTemporary=no\n", true), ("RemoveTemporary=yes\n", false), ("", false)]
    {
        write(&host, "usr/lib/sysupdate.d/demo.transfer", &definition(&host, "demo", says));
        ask(&host, &["update"]).exits(0);
        fs::write(&half, "half").unwrap();
        host.world.tick();
        ask(&host, &["vacuum"]).exits(0);
        assert_eq!(half.exists(), there, "{says}");
    }
}

#[test]
fn updex_keeps_two_images_and_takes_the_transfer_of_the_last_component() {
    for (as_what, kept, used) in [("updex", 2, "last"), ("sysupdate", 3, "host")] {
        let mut host = Host::new();
        for (directory, name) in
            [("sysupdate.d", "host"), ("sysupdate.first.d", "first"), ("sysupdate.last.d", "last")]
        {
            let source = host.source().display().to_string();
            let text = format!(
                "[Transfer]\nVerify=no\n[Source]\nType=url-file\nPath=file://{source}\nMatchPattern={name}_@v.raw\n\
                 [Target]\nType=regular-file\nPath=/var/lib/{name}\n"
            );
            write(&host, &format!("usr/lib/{directory}/demo.transfer"), &text);
        }
        host.world.wish("desired", &format!("sysupdate: {{ as: {as_what}, activate: now }}\n"));
        for version in ["1", "2", "3", "4"] {
            for name in ["host", "first", "last"] {
                host.publish(&format!("{name}_{version}.raw"), name);
            }
            host.converges();
        }
        let images = |name: &str| {
            let items = fs::read_dir(host.world.path(&format!("var/lib/{name}"))).into_iter();
            let names = items.flatten().flatten().map(|e| e.file_name().into_string().unwrap());
            names.filter(|name| !name.starts_with('.')).count()
        };
        assert_eq!(images(used), kept, "{as_what}");
        let updex = as_what == "updex";
        assert_eq!(images("host") == 0, updex, "{as_what}");
        assert_eq!(linked(&host, "demo"), updex.then(|| "last_4.raw".to_owned()), "{as_what}");
    }
}

#[test]
fn feature_of_two_components_is_switched_in_the_one_that_is_named() {
    let host = Host::new();
    let on = |host: &Host| -> Vec<bool> {
        let rows = host.world.run(&["features", "list", "-o", "json"]).json();
        rows.as_array().unwrap().iter().map(|row| row["enabled"].as_bool().unwrap()).collect()
    };
    for directory in ["sysupdate.d", "sysupdate.web.d"] {
        write(&host, &format!("usr/lib/{directory}/devel.feature"), "[Feature]\n");
    }
    let ran = host.world.run(&["features", "enable", "devel"]).exits(1);
    assert!(ran.stderr.contains("say which with `--component web`"), "{ran:#?}");
    host.world.run(&["features", "enable", "devel", "--component", "web"]).exits(0);
    assert_eq!(on(&host), [false, true]);
    host.world.run(&["features", "enable", "devel", "-C", "host"]).exits(0);
    host.world.run(&["features", "disable", "devel", "-C", "web"]).exits(0);
    assert_eq!(on(&host), [true, false]);
    let ran = host.world.run(&["features", "enable", "devel", "-C", "none"]).exits(1);
    assert!(ran.stderr.contains("in component none"), "{ran:#?}");
}

#[test]
fn component_by_a_name_that_no_resource_has_says_so() {
    let mut host = Host::new();
    write(&host, "usr/lib/sysupdate.\u{fc}ber.d/demo.transfer", &definition(&host, "demo", ""));
    host.publish("demo_1.raw", "one");
    host.world.wish("desired", "sysupdate: { as: sysupdate }\n");
    for question in ["list", "check-new", "update"] {
        let ran = ask(&host, &["-C", "\u{fc}ber", question]).exits(1);
        assert!(ran.stderr.contains("cannot be a name"), "{question}: {ran:#?}");
    }
}
