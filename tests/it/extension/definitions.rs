//! The host's own `sysupdate.d`: followed, asked about, and published for.

use std::fs;
use std::os::unix::fs::symlink;

use serde_json::json;

use super::{Host, image};
use crate::support::server::Server;

/// Definitions as an operating system ships them: one extension behind a feature.
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
}

/// One of a partition beside it.
fn ship_partition(host: &Host) {
    let source = host.source().display().to_string();
    let partition = format!(
        "[Transfer]\nVerify=no\n[Source]\nType=url-file\nPath=file://{source}\nMatchPattern=os_@v.raw\n\
         [Target]\nType=partition\nPath=auto\nMatchPattern=os_@v\n"
    );
    fs::write(host.world.path("usr/lib/sysupdate.d/10-root.transfer"), partition).unwrap();
}

fn follow(host: &mut Host, as_what: &str) {
    host.world.wish("desired", &format!("sysupdate: {{ as: {as_what} }}\n"));
}

#[test]
fn definitions_are_followed_as_updex_does_and_features_switch_them() {
    let mut host = Host::new();
    ship(&host, "Features=devel");
    ship_partition(&host);
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
    let link = host.world.path("var/lib/extensions/demo.raw");
    let told = host.world.run(&["features", "disable", "devel"]).exits(0).stdout;
    assert!(told.contains("the next pass removes what was installed for it by demo"), "{told}");
    host.converges();
    assert!(!link.is_symlink());
    assert!(!host.world.path("var/lib/extensions.d/demo_1.0.raw").exists());
    assert_eq!(host.merged(), "");
    for (word, there) in [("enable", true), ("disable", false)] {
        host.world.tick();
        host.world.run(&["features", word, "devel", "--now"]).exits(0);
        assert_eq!(link.is_symlink(), there, "{word}");
    }
}

#[test]
fn feature_that_is_switched_off_needs_no_confirmation_and_comes_back_as_an_install() {
    for as_what in ["sysupdate", "updex"] {
        let mut host = Host::new();
        ship(&host, "Features=devel");
        let feature = host.world.path("usr/lib/sysupdate.d/devel.feature");
        fs::write(feature, "[Feature]\nEnabled=true\n").unwrap();
        host.publish("demo_1.0.raw", "one");
        // What is there was installed by another program.
        let images = host.world.path("var/lib/extensions.d");
        fs::create_dir_all(&images).unwrap();
        fs::create_dir_all(host.world.path("var/lib/extensions")).unwrap();
        fs::write(images.join("demo_1.0.raw"), image("one")).unwrap();
        let link = match as_what {
            "sysupdate" => "var/lib/extensions.d/demo.raw",
            _ => "var/lib/extensions/demo.raw",
        };
        symlink("../extensions.d/demo_1.0.raw", host.world.path(link)).unwrap();
        follow(&mut host, as_what);
        host.world.options.truncate(2);
        host.converges();
        host.world.run(&["features", "disable", "devel"]).exits(0);
        let plan = host.world.run(&["--dry-run"]).exits(0).stdout;
        assert!(plan.contains("its features are not enabled"), "{plan}");
        host.converges();
        assert!(!host.world.path(link).is_symlink(), "{as_what}");
        assert!(!images.join("demo_1.0.raw").exists(), "{as_what}");
        let status = host.world.run(&["status", "-o", "json"]).json();
        assert_eq!(status["resources"][0]["conditions"][0]["reason"], "Off", "{status:#}");
        host.world.run(&["features", "enable", "devel"]).exits(0);
        let plan = host.world.run(&["--dry-run", "-o", "json"]).json();
        assert_eq!(plan["spec"]["changes"][0]["attribution"], "first-install", "{plan:#}");
        host.converges();
    }
}

#[test]
fn feature_that_is_switched_on_joins_what_is_in_use_and_is_no_drift() {
    let mut host = Host::new();
    let directory = host.world.path("usr/lib/sysupdate.d");
    fs::create_dir_all(&directory).unwrap();
    let source = host.source().display().to_string();
    for (name, more) in [("alpha", ""), ("beta", "Features=devel")] {
        let text = format!(
            "[Transfer]\nVerify=no\n{more}\n[Source]\nType=url-file\nPath=file://{source}\nMatchPattern={name}_@v.raw\n\
             [Target]\nType=regular-file\nPath=/var/lib/extensions.d\nMatchPattern={name}_@v.raw\n\
             CurrentSymlink=/var/lib/extensions/{name}.raw\n"
        );
        fs::write(directory.join(format!("{name}.transfer")), text).unwrap();
        host.publish(&format!("{name}_1.raw"), name);
    }
    fs::write(directory.join("devel.feature"), "[Feature]\nEnabled=false\n").unwrap();
    follow(&mut host, "sysupdate");
    host.converges();
    host.world.run(&["features", "enable", "devel"]).exits(0);
    let status = host.world.run(&["status", "-o", "json"]).json();
    assert_eq!(status["resources"][0]["drift"], json!([]), "{status:#}");
    for (version, action) in [("1", "replace"), ("2", "upgrade")] {
        host.publish(&format!("alpha_{version}.raw"), "alpha");
        host.publish(&format!("beta_{version}.raw"), "beta");
        let plan = host.world.run(&["--dry-run", "-o", "json"]).json();
        let change = &plan["spec"]["changes"][0];
        assert_eq!(change["attribution"], "desired-changed", "{plan:#}");
        assert_eq!((&change["action"], &change["drift"]), (&json!(action), &json!([])), "{plan:#}");
        assert_eq!(change["reason"], "beta is wished, too");
    }
    host.converges();
    assert_eq!(host.version("beta").as_deref(), Some("2"));
}

#[test]
fn definition_that_cannot_be_read_and_list_that_is_not_there_are_named() {
    let mut host = Host::new();
    ship(&host, "");
    follow(&mut host, "sysupdate");
    let (server, definition) = (Server::start(), "usr/lib/sysupdate.d/demo.transfer");
    let definition = host.world.path(definition);
    let text = fs::read_to_string(&definition).unwrap();
    let local = format!("file://{}", host.source().display());
    fs::write(&definition, text.replace(&local, &server.url("/images"))).unwrap();
    let missing = host.world.run(&["--dry-run"]).stdout;
    assert!(missing.contains(&format!("SHA256SUMS in {}", server.url("/images"))), "{missing}");
    host.world.options.clear();
    host.world.run(&["doctor"]).exits(0);
    fs::write(host.world.path("usr/lib/sysupdate.d/odd.transfer"), "[Source]\nType=none\n")
        .unwrap();
    let doctor = host.world.run(&["doctor"]).exits(1).stdout;
    assert!(
        doctor.contains("BAD  definitions of this host") && doctor.contains("odd.transfer"),
        "{doctor}"
    );
}

#[test]
fn transfers_of_a_component_are_one_release() {
    let mut host = Host::new();
    let directory = host.world.path("usr/lib/sysupdate.web.d");
    fs::create_dir_all(&directory).unwrap();
    let source = host.source().display().to_string();
    for (id, name) in [("10-beta", "beta"), ("20-alpha", "alpha")] {
        let text = format!(
            "[Transfer]\nVerify=no\n[Source]\nType=url-file\nPath=file://{source}\nMatchPattern={name}_@v.raw\n\
             [Target]\nType=regular-file\nPath=/var/lib/extensions.d\nMatchPattern={name}_@v.raw\n\
             CurrentSymlink=/var/lib/extensions/{name}.raw\n"
        );
        fs::write(directory.join(format!("{id}.transfer")), text).unwrap();
        host.publish(&format!("{name}_1.raw"), name);
    }
    follow(&mut host, "sysupdate");
    // They come into use in the order of their definitions.
    let plan = host.world.run(&["--dry-run", "-o", "json"]).json();
    let steps = plan["spec"]["changes"][0]["steps"].as_array().unwrap();
    let point = steps.iter().find(|step| step["op"] == "point").unwrap();
    let links =
        point["links"].as_array().unwrap().iter().map(|link| link["link"].as_str().unwrap());
    let links: Vec<&str> = links.collect();
    assert_eq!(
        links,
        ["/var/lib/extensions/beta.raw", "/var/lib/extensions/alpha.raw"],
        "{plan:#}"
    );
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
    fs::create_dir_all(host.world.path("usr/.systemd-sysext")).unwrap();
    fs::write(host.world.path("usr/.systemd-sysext/extensions"), "demo\n").unwrap();
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
    for (style, text) in [
        ("--json=short", "{\"available\":\"1.0\"}\n"),
        ("--json=pretty", "{\n  \"available\": \"1.0\"\n}\n"),
        ("--json=off", "1.0\n"),
    ] {
        assert_eq!(ask(&host, &[style, "check-new"]).exits(0).stdout, text);
    }
    assert_eq!(ask(&host, &["check-new"]).exits(0).stdout, "1.0\n");
    let components = ask(&host, &["--json", "components"]).exits(0);
    assert_eq!(components.stdout, "{\"default\":true,\"components\":[]}\n");
    ask(&host, &["-C", "none", "list"]).exits(1);
    follow(&mut host, "sysupdate");
    host.world.run(&["--effects", "skip"]).exits(0);
    let new = ask(&host, &["--json", "check-new"]).exits(1);
    assert_eq!(new.stdout, "{\"available\":null}\n");
    ask(&host, &["--exit-codes", "updex", "check-new"]).exits(2);
    ask(&host, &["pending"]).exits(1);
    ask(&host, &["--exit-codes", "updex", "pending"]).exits(2);
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
    let again = publish(&host, "1.0.0").exits(0);
    assert!(again.stderr.contains("nothing was written"), "{again:?}");
    fs::write(&made, image("two")).unwrap();
    publish(&host, "1.0.0").exits(1);
    fs::write(&made, image("one")).unwrap();
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
    assert!(status["conditions"].to_string().contains("RebootRequired"), "{status:#}");
    let metrics = host.world.temp().join("reconcile.prom");
    host.world.run(&["--metrics-file", metrics.to_str().unwrap()]).exits(0);
    let metrics = fs::read_to_string(metrics).unwrap();
    assert!(metrics.contains("\nreconcile_reboot_required 1\n"), "{metrics}");
}

#[test]
fn update_and_vacuum_are_passes_over_what_is_followed() {
    let mut host = Host::new();
    ship(&host, "");
    host.publish("demo_1.0.raw", "one");
    host.publish("demo_1.1.raw", "two");
    host.world.options = vec!["--effects".to_owned(), "skip".to_owned()];
    host.world.wish("desired", "apps: {}\n");
    let refused = host.world.run(&["sysupdate", "update"]).exits(1);
    assert!(refused.stderr.contains("does not follow"), "{refused:#?}");
    follow(&mut host, "sysupdate");
    host.world.run(&["sysupdate", "update", "9"]).exits(1);
    host.world.run(&["sysupdate", "--dry-run", "update"]).exits(0);
    assert!(!host.world.path("var/lib/extensions.d/demo_1.1.raw").exists());
    host.world.run(&["sysupdate", "update", "1.0"]).exits(0);
    let link = host.world.path("var/lib/extensions.d/demo.raw");
    assert!(fs::read_link(&link).unwrap().ends_with("demo_1.0.raw"));
    host.world.tick();
    host.world.run(&["sysupdate", "update"]).exits(0);
    assert!(fs::read_link(&link).unwrap().ends_with("demo_1.1.raw"));
    let again = host.world.run(&["sysupdate", "update"]).exits(0);
    assert!(again.stderr.contains("No update needed."), "{again:#?}");
    let (here, away) = (host.source(), host.world.temp().join("away"));
    fs::rename(&here, &away).unwrap();
    let unread = host.world.run(&["sysupdate", "update"]).exits(1);
    assert!(!unread.stderr.contains("No update needed."), "{unread:#?}");
    fs::rename(&away, &here).unwrap();
    let partial = host.world.path("var/lib/extensions.d/.sysupdate.partial.demo_1.2.raw");
    fs::write(&partial, "half").unwrap();
    let vacuumed = host.world.run(&["sysupdate", "--json", "-m", "1", "vacuum"]).exits(0);
    assert_eq!(vacuumed.stdout, "{\"removed\":1,\"disabledTransfers\":0}\n");
    assert!(!partial.exists(), "what systemd-sysupdate left half-done goes, too");
    assert!(!host.world.path("var/lib/extensions.d/demo_1.0.raw").exists());
    host.is_settled();
}

#[test]
fn extension_is_there_while_features_of_the_host_are_on() {
    let mut host = Host::new();
    let directory = host.world.path("usr/lib/sysupdate.d");
    fs::create_dir_all(&directory).unwrap();
    fs::write(directory.join("devel.feature"), "[Feature]\nEnabled=false\n").unwrap();
    host.publish("demo_1.0.0.raw", "one");
    host.wish(&[("demo", "    features: [devel, other]\n")]);
    host.is_settled();
    let plan = host.world.run(&["--dry-run"]).stdout;
    assert!(plan.contains("extension/demo is off"), "{plan}");
    host.world.run(&["features", "enable", "devel"]).exits(0);
    host.converges();
    assert_eq!(host.version("demo").as_deref(), Some("1.0.0"));
    host.wish(&[("demo", "    requisite_features: [devel, other]\n")]);
    host.converges();
    assert_eq!(host.link("demo"), None);
}

#[test]
fn definitions_may_have_every_specifier_of_systemd() {
    let mut host = Host::new();
    for (place, text) in [
        (
            "etc/os-release",
            "ID=debian\nVERSION_ID=12\nVARIANT_ID=edge\nBUILD_ID=b7\nIMAGE_ID=img\nIMAGE_VERSION=v9\n",
        ),
        ("etc/hostname", "web.example.net\n"),
        ("etc/machine-info", "PRETTY_HOSTNAME=pretty\n"),
        ("etc/machine-id", "0123456789abcdef0123456789abcdef\n"),
    ] {
        crate::support::tree::write(&host.world.path(place), text.as_bytes());
    }
    let architecture = if cfg!(target_arch = "aarch64") { "arm64" } else { "x86-64" };
    // What only a running system has is nothing below a root.
    let name = format!(
        "{architecture},v9,,b7,web.example.net,web,pretty,0123456789abcdef0123456789abcdef,img,debian,,12,edge"
    );
    let temporary = host.source().join("tmp/var/tmp");
    let image = format!("demo_1_{name}.raw");
    host.publish(&image, "one");
    fs::create_dir_all(&temporary).unwrap();
    for file in [image.as_str(), "SHA256SUMS"] {
        fs::rename(host.source().join(file), temporary.join(file)).unwrap();
    }
    let write = |host: &Host, pattern: &str| {
        let source = host.source().display().to_string();
        let text = format!(
            "[Transfer]\nVerify=no\n[Source]\nType=url-file\nPath=file://{source}%T%V\nMatchPattern={pattern}\n\
             [Target]\nType=regular-file\nPath=/var/lib/%M\nMatchPattern=demo_@v.raw\nCurrentSymlink=/var/lib/extensions/demo.raw\n"
        );
        crate::support::tree::write(
            &host.world.path("etc/sysupdate.d/demo.transfer"),
            text.as_bytes(),
        );
    };
    let pattern = "demo_@v_%a,%A,%b,%B,%H,%l,%q,%m,%M,%o,%v,%w,%W.raw";
    write(&host, pattern);
    follow(&mut host, "sysupdate");
    host.world.options = vec!["--effects".to_owned(), "skip".to_owned()];
    host.converges();
    assert_eq!(host.link("demo").as_deref(), Some("../img/demo_1.raw"));
    write(&host, "demo_@v_%z.raw");
    let ran = host.pass();
    assert!(ran.code == 1 && ran.stdout.contains("%z"), "{ran:#?}");
    let source = temporary.display();
    let wish = format!(
        "extensions:\n  demo: {{ source: {{ sysupdate: {{ path: {source}, match: \"demo_@v_%o%z.raw\" }} }} }}\n"
    );
    host.world.wish("desired", &wish);
    host.world.run(&["--dry-run"]).exits(65);
}

#[test]
fn repositories_and_catalogs_are_listed() {
    let host = Host::new();
    let made = host.world.temp().join("made.raw");
    fs::write(&made, image("one")).unwrap();
    let repository = host.world.temp().join("repository");
    let (to, image) = (repository.to_str().unwrap(), made.to_str().unwrap());
    let run = |arguments: &[&str]| host.world.run(arguments);
    for (name, version) in [("demo", "1.9"), ("demo", "1.10"), ("other", "2")] {
        run(&["publish", "extension", to, image, "--name", name, "--version", version]).exits(0);
    }
    fs::write(repository.join("ext/index"), "demo # the best\n\nother\nlost\n../demo\n").unwrap();
    let found = run(&["discover", to, "-o", "json"]).exits(0).json();
    assert_eq!(
        (&found["apiVersion"], &found["kind"]),
        (&json!("reconcile/v1"), &json!("Discovery"))
    );
    assert_eq!(found["extensions"][0], json!({ "name": "demo", "versions": ["1.10", "1.9"] }));
    assert_eq!(found["extensions"][1]["versions"], json!(["2"]));
    assert!(found["extensions"][2]["error"].as_str().unwrap().contains("/lost"), "{found:#}");
    assert_eq!(found["extensions"].as_array().unwrap().len(), 3);
    let text = run(&["discover", to]).exits(0).stdout;
    assert!(text.contains("1.10, 1.9"), "{text}");
    run(&["discover", host.source().to_str().unwrap()]).exits(69);
    let list = host.world.temp().join("list.json");
    fs::write(&list, r#"[{"name":"demo","type":"dir"},{"name":"README.md","type":"file"}]"#)
        .unwrap();
    let catalogs = host.world.path("usr/lib/updex/catalogs.d");
    fs::create_dir_all(&catalogs).unwrap();
    let catalog =
        format!("[Catalog]\nSiteURL=file://{to}/ext\nListURL=file://{}\n", list.display());
    fs::write(catalogs.join("site.catalog"), catalog).unwrap();
    let found = run(&["discover", "-o", "json"]).exits(0).json();
    assert_eq!(found["kind"], "DiscoveryList");
    let first = &found["items"][0]["extensions"][0];
    assert_eq!(first["versions"], json!(["1.10", "1.9"]), "{found:#}");
}
