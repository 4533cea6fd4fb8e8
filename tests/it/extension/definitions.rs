//! The host's own `sysupdate.d`: followed, asked about, and published for.

use std::fs;
use std::os::unix::fs::symlink;

use serde_json::json;

use super::{Host, image};

/// Definitions as an operating system ships them: one extension behind a feature, one partition.
fn ship(host: &Host, more: &str) {
    let directory = host.world.path("usr/lib/sysupdate.d");
    fs::create_dir_all(&directory).unwrap();
    let source = host.source().display().to_string();
    let transfer = format!(
        "[Transfer]\nVerify=no\n{more}\n[Source]\nType=url-file\nPath=file://{source}\n\
         MatchPattern=demo_@v.raw.xz \\\n    demo_@v.raw\n\n[Target]\nType=regular-file\n\
         Path=/var/lib/extensions.d\nMatchPattern=demo_@v.raw\nCurrentSymlink=demo.raw\nInstancesMax=2\n"
    );
    fs::write(directory.join("demo.transfer"), transfer).unwrap();
    let partition = format!(
        "[Transfer]\nVerify=no\n[Source]\nType=url-file\nPath=file://{source}\nMatchPattern=os_@v.raw\n\
         [Target]\nType=partition\nPath=auto\nMatchPattern=os_@v\n"
    );
    fs::write(directory.join("10-root.transfer"), partition).unwrap();
}

fn follow(host: &mut Host, as_what: &str) {
    host.world.wish("desired", &format!("sysupdate: {{ as: {as_what} }}\n"));
}

#[test]
fn definitions_are_followed_as_updex_does_and_features_switch_them() {
    let mut host = Host::new();
    ship(&host, "Features=devel");
    let feature = "[Feature]\nDescription=Tools\nEnabled=false\n";
    fs::write(host.world.path("usr/lib/sysupdate.d/devel.feature"), feature).unwrap();
    host.publish("demo_1.0.raw", "one");
    follow(&mut host, "updex");
    let plan = host.world.run(&["--dry-run", "-o", "json"]).json();
    assert_eq!(plan["spec"]["changes"], json!([]));
    let notes = plan["spec"]["notes"].to_string();
    assert!(notes.contains("10-root.transfer is left alone"), "{notes}");
    assert!(notes.contains("its features are not enabled"), "{notes}");
    host.world.run(&["features", "enable", "devel"]).exits(0);
    let switched = host.world.path("etc/sysupdate.d/devel.feature.d/00-updex.conf");
    assert_eq!(fs::read_to_string(&switched).unwrap(), "[Feature]\nEnabled=true\n");
    let listed = host.world.run(&["features", "list", "-o", "json"]).json();
    assert_eq!(listed[0]["name"], "devel");
    assert_eq!(listed[0]["enabled"], true);
    assert_eq!(listed[0]["transfers"], json!(["demo"]));
    host.converges();
    let link = fs::read_link(host.world.path("var/lib/extensions/demo.raw")).unwrap();
    assert_eq!(link.to_str(), Some("../extensions.d/demo_1.0.raw"));
    assert_eq!(host.merged(), "demo\n");
    let admin = host.world.path("etc/sysupdate.d/devel.feature.d/90-admin.conf");
    fs::write(admin, "[Feature]\nEnabled=yes\n").unwrap();
    host.world.run(&["features", "disable", "devel"]).exits(1);
}

#[test]
fn feature_that_is_switched_off_takes_its_images_along() {
    let mut host = Host::new();
    ship(&host, "Features=devel");
    fs::write(host.world.path("usr/lib/sysupdate.d/devel.feature"), "[Feature]\nEnabled=true\n")
        .unwrap();
    host.publish("demo_1.0.raw", "one");
    follow(&mut host, "updex");
    host.converges();
    host.world.run(&["features", "disable", "devel"]).exits(0);
    host.converges();
    assert!(!host.world.path("var/lib/extensions/demo.raw").is_symlink());
    assert!(!host.world.path("var/lib/extensions.d/demo_1.0.raw").exists());
    assert_eq!(host.merged(), "");
}

#[test]
fn transfers_of_a_component_are_one_release() {
    let mut host = Host::new();
    let directory = host.world.path("usr/lib/sysupdate.web.d");
    fs::create_dir_all(&directory).unwrap();
    let source = host.source().display().to_string();
    for name in ["alpha", "beta"] {
        let text = format!(
            "[Transfer]\nVerify=no\n[Source]\nType=url-file\nPath=file://{source}\nMatchPattern={name}_@v.raw\n\
             [Target]\nType=regular-file\nPath=/var/lib/extensions.d\nMatchPattern={name}_@v.raw\n\
             CurrentSymlink=/etc/extensions/{name}.raw\n"
        );
        fs::write(directory.join(format!("{name}.transfer")), text).unwrap();
        host.publish(&format!("{name}_1.raw"), name);
    }
    follow(&mut host, "sysupdate");
    host.converges();
    assert_eq!(host.merged(), "alpha\nbeta\n");
    host.publish("alpha_2.raw", "two");
    host.is_settled();
    host.publish("beta_2.raw", "two");
    host.converges();
    assert_eq!(host.version("alpha").as_deref(), Some("2"));
    assert_eq!(host.version("beta").as_deref(), Some("2"));
}

#[test]
fn installation_of_another_program_is_adopted_without_a_change() {
    let mut host = Host::new();
    ship(&host, "");
    host.publish("demo_1.0.raw", "one");
    let images = host.world.path("var/lib/extensions.d");
    fs::create_dir_all(&images).unwrap();
    fs::create_dir_all(host.world.path("var/lib/extensions")).unwrap();
    fs::write(images.join("demo_1.0.raw"), image("one")).unwrap();
    symlink("/var/lib/extensions.d/demo_1.0.raw", host.world.path("var/lib/extensions/demo.raw"))
        .unwrap();
    let imported = host.world.run(&["import", "updex"]).exits(0).stdout;
    host.world.wish("desired", &imported);
    host.is_settled();
    host.publish("demo_1.1.raw", "two");
    host.converges();
    let link = fs::read_link(host.world.path("var/lib/extensions/demo.raw")).unwrap();
    assert!(link.ends_with("demo_1.1.raw"), "{link:?}");
}

#[test]
fn questions_are_answered_as_systemd_sysupdate_answers_them() {
    let mut host = Host::new();
    ship(&host, "");
    host.publish("demo_1.0.raw", "one");
    host.world.options.clear();
    let ask = |host: &Host, arguments: &[&str]| {
        let mut all = vec!["sysupdate"];
        all.extend(arguments);
        host.world.run(&all)
    };
    let list = ask(&host, &["--json", "list"]).exits(0);
    assert_eq!(list.stdout, "{\"current\":null,\"all\":[\"1.0\"],\"appstreamUrls\":[]}\n");
    let new = ask(&host, &["--json", "check-new"]).exits(0);
    assert_eq!(new.stdout, "{\"available\":\"1.0\"}\n");
    assert_eq!(ask(&host, &["check-new"]).exits(0).stdout, "1.0\n");
    let components = ask(&host, &["--json", "components"]).exits(0);
    assert_eq!(components.stdout, "{\"default\":true,\"components\":[]}\n");
    ask(&host, &["-C", "none", "list"]).exits(1);
    follow(&mut host, "sysupdate");
    host.world.run(&["--effects", "skip"]).exits(0);
    let new = ask(&host, &["--json", "check-new"]).exits(1);
    assert_eq!(new.stdout, "{\"available\":null}\n");
    ask(&host, &["--exit-codes", "updex", "check-new"]).exits(2);
}

#[test]
fn what_is_published_can_be_installed_and_is_never_replaced() {
    let mut host = Host::new();
    let made = host.world.temp().join("made.raw");
    fs::write(&made, image("one")).unwrap();
    let repository = host.world.temp().join("repository");
    host.world.options.clear();
    let publish = |host: &Host, version: &str| {
        let (repository, made) = (repository.to_str().unwrap(), made.to_str().unwrap());
        let what =
            ["publish", "extension", repository, made, "--name", "demo", "--version", version];
        host.world.run(&what)
    };
    publish(&host, "1.0.0").exits(0);
    publish(&host, "1.0.0").exits(1);
    publish(&host, "1.1.0").exits(0);
    assert_eq!(fs::read_to_string(repository.join("ext/index")).unwrap(), "demo\n");
    host.world.options = vec!["--effects".to_owned(), "run".to_owned()];
    let from = repository.join("ext/demo");
    host.world.wish(
        "desired",
        &format!(
            "extensions:\n  demo:\n    source: {{ sysupdate: {{ path: {}, match: [\"demo_@v.raw.zst\", \"demo_@v.raw\"] }} }}\n",
            from.display()
        ),
    );
    host.converges();
    assert_eq!(host.version("demo").as_deref(), Some("1.1.0"));
}

#[test]
fn image_linked_for_the_next_boot_is_pending() {
    let mut host = Host::new();
    host.publish("demo_1.0.0.raw", "one");
    host.wish(&[("demo", "    activate: boot\n")]);
    host.converges();
    assert_eq!(host.refreshes(), 0);
    let status = host.world.run(&["status", "-o", "json"]).json();
    assert!(status["resources"][0]["conditions"].to_string().contains("Pending"), "{status:#}");
}
