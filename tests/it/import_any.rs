//! Configuration of other updaters is recognised, and the first pass after an import has nothing to do.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;

use data_encoding::HEXLOWER;
use sha2::{Digest as _, Sha256};

use crate::support::github::{FakeRelease, GitHub, release};
use crate::support::tree;
use crate::support::world::World;

/// Imports files, and makes the result the wish.
#[track_caller]
fn imported(world: &mut World, arguments: &[&str]) -> (String, String) {
    let ran = world.run(&[&["import"], arguments].concat()).exits(0);
    world.wish("desired", &ran.stdout);
    world.run(&["validate"]).exits(0);
    (ran.stdout, ran.stderr)
}

fn given(world: &World, name: &str, text: &str) -> String {
    let path = world.temp().join("given").join(name);
    tree::write(&path, text.as_bytes());
    path.to_str().unwrap().to_owned()
}

/// A host with a program, and a repository that offers the same.
fn published(sort: &[&str]) -> World {
    let mut world = World::new();
    world.wish("desired", "apps: {}\n");
    tree::write(&world.temp().join("built/tool"), b"#!/bin/sh\necho tool\n");
    tree::write(&world.path("/usr/sbin/tool"), b"#!/bin/sh\necho tool\n");
    world.run(&[&["publish", sort[0], "built/tool"], &sort[1..]].concat()).exits(0);
    world
}

#[track_caller]
fn nothing_to_do(world: &World) {
    let plan = world.run(&["--dry-run"]).exits(0).stdout;
    assert!(plan.starts_with("No changes"), "{plan}");
}

#[test]
fn settings_of_go_updater_become_an_app_that_is_as_wished() {
    let mut world = published(&["choria", "--version", "1.0", "--arch", "amd64", "--repo", "repo"]);
    let repository = world.temp().join("repo").display().to_string();
    let settings = format!(
        r#"{{"source_repo": "{repository}", "Version": "1.0", "Arch": "amd64", "TargetFile": "/usr/sbin/tool", "PublicKey": "x"}}"#
    );
    let file = given(&world, "updater.json", &settings);
    let (document, said) = imported(&mut world, &[&file]);
    assert!(document.contains("layout: { file: \"/usr/sbin/tool\" }"), "{document}");
    assert!(said.contains("have the program itself stop updating"), "{said}");
    assert!(said.contains("never looked at `PublicKey`"), "{said}");
    let out = world.temp().join("new/desired-state/imported.yaml");
    let save = ["import", &file, "--out", out.to_str().unwrap()];
    assert_eq!(world.run(&save).exits(0).stdout, "");
    assert_eq!(fs::read_to_string(&out).unwrap(), document);
    fs::write(&out, "mine\n").unwrap();
    world.run(&save).exits(73);
    assert_eq!(fs::read_to_string(&out).unwrap(), "mine\n", "what is there is not replaced");
    nothing_to_do(&world);
}

#[test]
fn go_source_with_selfupdate_becomes_an_app_that_is_as_wished() {
    let sort = ["selfupdate", "1.0", "--out", "public/tool", "--platform", "linux-amd64"];
    let mut world = published(&sort);
    let public = world.temp().join("public").display().to_string();
    let source = format!(
        "package main\n// ApiURL: \"https://old.example.net/\"\nvar updater = &selfupdate.Updater{{\n\t\
         CurrentVersion: version,\n\tApiURL:  \"{public}/\",\n\tBinURL: `{public}/`,\n\tCmdName: \"tool\",\n\t\
         CheckTime: 24,\n}}\n"
    );
    let file = given(&world, "main.go", &source);
    let refused = world.run(&["import", &file]).exits(1);
    assert!(refused.stderr.contains("--target"), "{refused:#?}");
    let (document, said) = imported(&mut world, &[&file, "--target", "/usr/sbin/tool"]);
    assert!(!document.contains("old.example"), "{document}");
    assert!(said.contains("every 24 h"), "{said}");
    nothing_to_do(&world);
}

#[test]
fn each_updater_in_go_source_becomes_an_app() {
    let mut world = World::new();
    world.wish("desired", "apps: {}\n");
    let source = "package main\nvar one = &selfupdate.Updater{\n\tCmdName: \"one\",\n\tApiURL: \"https://a.example/\",\n\t\
                  TargetFile: \"/usr/bin/one\",\n}\nvar two = &selfupdate.Updater{\n\tTargetFile: \"/usr/bin/two\",\n\t\
                  ApiURL: \"https://b.example/\",\n\tCmdName: \"two\",\n}\nfunc three() {\n\tupdater.Apply(\n\t\t\
                  updater.SourceRepo(\"https://c.example/\"),\n\t\tupdater.Version(\"0.7.0\"),\n\t\t\
                  updater.TargetFile(\"/usr/bin/three\"),\n\t)\n}\n";
    let file = given(&world, "main.go", source);
    let (document, _) = imported(&mut world, &[&file]);
    for (name, host) in [("one", "a"), ("two", "b"), ("three", "c")] {
        let app = document.split(&format!("  \"{name}\":")).nth(1).unwrap();
        let app = app.split("\n  \"").next().unwrap();
        let file = format!("/usr/bin/{name}");
        assert!(app.contains(&format!("https://{host}.example/")), "{document}");
        assert!(app.contains(&file), "{document}");
    }
}

#[test]
fn version_that_looks_like_a_prerelease_is_followed_as_go_selfupdate_did() {
    for version in ["1.1.0-5-gabc1234", "2024-01-02"] {
        let sort = ["selfupdate", version, "--out", "public/tool", "--platform", "linux-amd64"];
        let mut world = published(&sort);
        let public = world.temp().join("public").display().to_string();
        let source = format!(
            "var updater = &selfupdate.Updater{{ApiURL: \"{public}/\", CmdName: \"tool\", Platform: \"linux-amd64\"}}\n"
        );
        let file = given(&world, "main.go", &source);
        imported(&mut world, &[&file, "--target", "/usr/sbin/tool"]);
        nothing_to_do(&world);
    }
}

#[test]
fn everything_that_is_recognised_comes_into_one_document() {
    let mut world = World::new();
    world.wish("desired", "apps: {}\n");
    given(
        &world,
        "clock.env",
        "DISTRONOMICON_REPO=acme/clock\nDISTRONOMICON_PATTERN=clock-.*gz\n\
         DISTRONOMICON_CHECKSUM_PATTERN=SHA256SUMS\n",
    );
    let client = r#"[{"srcIndex": "https://a.example/s.caidx", "srcStore": "https://a.example/s.castr", "dstPath": "/srv/s"}]"#;
    given(&world, "casync/client.json", client);
    given(
        &world,
        "casync/server.json",
        r#"{"index": "a.caidx", "store": "a.castr", "source": "a"}"#,
    );
    let choria = r#"{"SourceRepo": "https://c.example", "Version": "0.7.0", "TargetFile": "/usr/sbin/choria"}"#;
    given(&world, "choria.json", choria);
    given(&world, "readme.txt", "nothing");
    tree::write(
        &world.path("/etc/sysupdate.d/demo.transfer"),
        b"[Source]\nType=url-file\nPath=https://e.example/\nMatchPattern=demo_@v.raw\n[Target]\n\
          Type=regular-file\nPath=/var/lib/extensions.d\nMatchPattern=demo_@v.raw\nCurrentSymlink=/var/lib/extensions/demo.raw\n",
    );
    let directory = world.temp().join("given").display().to_string();
    let definitions = world.path("/etc/sysupdate.d").display().to_string();
    let (document, said) = imported(&mut world, &[&directory, &definitions]);
    for part in ["acme/clock", "c.example", "a.example", "sysupdate: { as: sysupdate }"] {
        assert!(document.contains(part), "{part}: {document}");
    }
    assert_eq!(document.matches("apps:\n").count(), 1, "{document}");
    for part in [
        "systemctl disable --now distronomicon@clock.timer",
        "systemctl disable --now casync-updater.service",
        "systemctl disable --now systemd-sysupdate.timer",
        "reconcile publish tree --config",
    ] {
        assert!(said.contains(part), "{part}: {said}");
    }
}

#[test]
fn definitions_of_updex_are_followed_as_updex_does() {
    let mut world = World::new();
    world.wish("desired", "apps: {}\n");
    tree::write(
        &world.path("/etc/sysupdate.d/demo.transfer"),
        b"[Transfer]\nInstancesMax=2\n[Source]\nType=url-file\nPath=https://e.example/\nMatchPattern=demo_@v.raw\n\
          [Target]\nPath=/var/lib/extensions.d\nMatchPattern=demo_@v.raw\n",
    );
    let definitions = world.path("/etc/sysupdate.d").display().to_string();
    let (document, said) = imported(&mut world, &[&definitions]);
    assert!(document.contains("as: updex"), "{document}");
    assert!(said.contains("updex-update.timer"), "{said}");
}

#[test]
fn definition_whose_link_is_in_another_place_is_to_be_followed() {
    let mut world = World::new();
    world.wish("desired", "apps: {}\n");
    let transfer = "[Transfer]\nVerify=no\n[Source]\nType=url-file\nPath=https://e.example/\n\
                    MatchPattern=docker_@v.raw\n[Target]\nType=regular-file\nPath=/var/lib/extensions.d\n\
                    MatchPattern=docker_@v.raw\nCurrentSymlink=/etc/extensions/docker.raw\n";
    let file = given(&world, "defs/docker.transfer", transfer);
    let directory = Path::new(&file).parent().unwrap().to_str().unwrap();
    let said = world.run(&["import", "sysupdate", directory]).exits(1).stderr;
    for part in ["linked in /var/lib/extensions", "this one is in /etc/extensions", "as: updex"] {
        assert!(said.contains(part), "{part}: {said}");
    }
}

#[test]
fn import_that_finds_nothing_is_an_error() {
    let mut world = World::new();
    world.wish("desired", "apps: {}\n");
    let text = given(&world, "readme.txt", "nothing");
    let directory = Path::new(&text).parent().unwrap().to_str().unwrap().to_owned();
    for arguments in [
        &["import", &text][..],
        &["import", &directory],
        &["import", "distronomicon", &directory],
        &["import", "casync-updater", &text],
        &["import", "sysupdate"],
        &["import", "updex"],
    ] {
        let ran = world.run(arguments).exits(1);
        assert_eq!(ran.stdout, "", "{arguments:?}");
    }
    let out = world.temp().join("imported.yaml");
    world.run(&["import", &text, "--out", out.to_str().unwrap()]).exits(1);
    assert!(!out.exists(), "an empty desired state would be refused by the next pass");
    assert!(world.run(&["import", &text]).stderr.contains("of no updater that is known"));
}

/// A release of an app as its publisher offers it.
fn release_of(app: &str, tag: &str) -> FakeRelease {
    let digest = HEXLOWER.encode(&Sha256::digest(b"x"));
    // Both repositories have it at one place.
    let sums = ["tool", "clock"].map(|app| format!("{digest}  {app}-linux-x86_64.tar.gz\n"));
    let name = format!("{app}-linux-x86_64.tar.gz");
    release(tag).asset(&name, "x").asset("SHA256SUMS", sums.concat())
}

/// An installation as distronomicon leaves it: a template with a drop-in for each app, a credential, releases that it
/// unpacked, links, its state, and what an update that was killed left.
fn installed_by_distronomicon(world: &World, github: &GitHub) {
    let system = world.path("/etc/systemd/system");
    let template = "[Service]\nType=oneshot\nExecStart=/usr/local/bin/distronomicon --app %i update\n\
                    StateDirectory=distronomicon\nReadWritePaths=/opt\n";
    tree::write(&system.join("distronomicon@.service"), template.as_bytes());
    let timer = "[Timer]\nOnBootSec=3m\nOnUnitActiveSec=3m\n";
    tree::write(&system.join("distronomicon@.timer"), timer.as_bytes());
    fs::create_dir_all(system.join("timers.target.wants")).unwrap();
    for app in ["tool", "clock"] {
        let text = format!(
            "[Service]\nEnvironment=DISTRONOMICON_REPO=acme/{app}\nEnvironment=GITHUB_HOST={}\n\
             Environment=\"DISTRONOMICON_PATTERN={app}-.*linux.*\\\\.tar\\\\.gz\"\n\
             Environment=DISTRONOMICON_CHECKSUM_PATTERN=SHA256SUMS\nEnvironment=DISTRONOMICON_RETAIN=3\n\
             Environment=\"DISTRONOMICON_RESTART_COMMAND=systemctl restart {app}.service\"\n",
            github.api.url("")
        );
        tree::write(
            &system.join(format!("distronomicon@{app}.service.d/app.conf")),
            text.as_bytes(),
        );
        let enabled = system.join(format!("timers.target.wants/distronomicon@{app}.timer"));
        symlink("/etc/systemd/system/distronomicon@.timer", enabled).unwrap();
        let home = world.path(&format!("/opt/{app}"));
        let releases = ["v1.8.0", "v1.9.0", "v1.10.0"].map(|tag| {
            for program in [app, "helper"] {
                let place = home.join("releases").join(tag).join(format!("{app}-dir/{program}"));
                tree::write(&place, format!("#!/bin/sh\necho {tag}\n").as_bytes());
                fs::set_permissions(&place, fs::Permissions::from_mode(0o755)).unwrap();
            }
            release_of(app, tag)
        });
        github.publish(&format!("acme/{app}"), releases.into_iter().rev());
        fs::create_dir_all(home.join("bin")).unwrap();
        for program in [app, "helper"] {
            let text = format!("../releases/v1.10.0/{app}-dir/{program}");
            symlink(text, home.join("bin").join(program)).unwrap();
        }
        tree::write(&home.join("staging/v1.10.0.a1B2c3/half"), b"done");
        let state = "{\n  \"latest_tag\": \"v1.10.0\",\n  \"etag\": \"\",\n  \"last_modified\": \
                     \"2026-01-01T00:00:00Z\",\n  \"installed_at\": \"2026-01-01T00:00:00Z\"\n}";
        let place = world.path(&format!("/var/lib/distronomicon/{app}"));
        tree::write(&place.join("state.json"), state.as_bytes());
        tree::write(&place.join("lock"), b"");
    }
}

#[test]
fn installation_of_distronomicon_is_taken_over_as_it_is() {
    let mut world = World::new();
    let github = GitHub::start();
    world.wish("desired", "apps: {}\n");
    installed_by_distronomicon(&world, &github);
    let before = tree::render(&tree::snapshot(&world.root()));
    let units = world.path("/etc/systemd/system").display().to_string();
    let (document, said) = imported(&mut world, &["distronomicon", &units]);
    for part in ["acme/tool", "acme/clock", "restart: [\"tool.service\"]", "retain: 3"] {
        assert!(document.contains(part), "{part}: {document}");
    }
    for app in ["tool", "clock"] {
        assert!(said.contains(&format!("distronomicon@{app}.timer")), "{said}");
    }
    nothing_to_do(&world);
    assert_eq!(tree::render(&tree::snapshot(&world.root())), before, "looking changes nothing");
    // The first pass has nothing to do either, and the next does as distronomicon would have done.
    world.tick();
    assert!(world.run(&[]).exits(0).stdout.starts_with("No changes"));
    let asked = github.files.paths();
    assert!(!asked.iter().any(|path| path.contains(".tar.gz")), "{asked:?}");
    assert!(world.path("/opt/tool/staging/v1.10.0.a1B2c3/half").exists(), "not ours");
    let link = fs::read_link(world.path("/opt/tool/bin/tool")).unwrap();
    assert_eq!(link.to_str(), Some("../releases/v1.10.0/tool-dir/tool"));
    fs::remove_file(world.path("/opt/tool/bin/helper")).unwrap();
    world.tick();
    let plan = world.run(&["--dry-run"]).exits(0).stdout;
    assert!(plan.contains("app/tool") && !plan.contains("app/clock"), "{plan}");
    world.run(&["rollback", "app/clock", "--reason", "test"]).exits(1);
    world.run(&["rollback", "app/clock", "--to", "v1.9.0", "--reason", "test"]).exits(0);
    let link = fs::read_link(world.path("/opt/clock/bin/clock")).unwrap();
    assert_eq!(link.to_str(), Some("../releases/v1.9.0/clock-dir/clock"));
}

/// A host whose releases by distronomicon were taken over, so that nothing is left to do.
fn taken_over() -> (World, GitHub) {
    let mut world = World::new();
    let github = GitHub::start();
    world.wish("desired", "apps: {}\n");
    installed_by_distronomicon(&world, &github);
    let units = world.path("/etc/systemd/system").display().to_string();
    imported(&mut world, &["distronomicon", &units]);
    world.nothing_to_do();
    (world, github)
}

#[test]
fn release_that_was_taken_over_is_looked_after_from_then_on() {
    let (mut world, github) = taken_over();
    world.nothing_to_do();
    let told = world.run(&["explain", "app/tool"]).exits(0).stdout;
    assert!(told.contains("content taken over as it was found on 2026-06-01"), "{told}");
    let release = world.path("/opt/tool/releases/v1.10.0/tool-dir");
    fs::write(release.join("helper"), "#!/bin/sh\necho evil\n").unwrap();
    fs::remove_file(world.path("/opt/clock/releases/v1.10.0/clock-dir/helper")).unwrap();
    let status = world.run(&["status"]).stdout;
    for app in ["tool", "clock"] {
        let path = format!("/opt/{app}/releases/v1.10.0/{app}-dir/helper");
        assert!(status.contains(&format!("Drifted (Modified): {path}")), "{status}");
    }
    world.tick();
    let plan = world.run(&["--dry-run", "-o", "json"]).exits(0).json();
    let changes = plan["spec"]["changes"].as_array().unwrap();
    assert_eq!(changes.len(), 2, "{changes:#?}");
    for change in changes {
        assert_eq!(change["action"], "repair", "{change:#}");
        assert_eq!(change["drift"].as_array().unwrap().len(), 1, "{change:#}");
    }
    // Where nobody has it any more, that is said.
    for app in ["tool", "clock"] {
        github.publish(&format!("acme/{app}"), [release_of(app, "v1.9.0")]);
    }
    world.tick();
    let plan = world.run(&["--dry-run"]).stdout;
    assert_eq!(plan.matches("downgrade; staying on 1.10.0").count(), 2, "{plan}");
}

#[test]
fn what_a_program_writes_beside_itself_is_no_reason_to_replace_what_was_taken_over() {
    let (mut world, _github) = taken_over();
    let release = world.path("/opt/tool/releases/v1.10.0");
    tree::write(&release.join("tool-dir/state.db"), b"precious");
    tree::write(&release.join("log/today"), b"precious");
    world.nothing_to_do();
    let status = world.run(&["status"]).stdout;
    assert!(!status.contains("Drifted"), "{status}");
    for file in ["tool-dir/state.db", "log/today"] {
        assert_eq!(fs::read(release.join(file)).unwrap(), b"precious", "{file}");
    }
}

#[test]
fn list_of_what_was_taken_over_that_cannot_be_read_is_made_anew_unless_it_is_newer() {
    let (mut world, _github) = taken_over();
    let list = world.path("/opt/tool/releases/v1.10.0/.reconcile-taken-over.json");
    let whole = fs::read(&list).unwrap();
    fs::write(&list, &whole[..whole.len() / 2]).unwrap();
    for _ in 0..3 {
        world.nothing_to_do();
    }
    let listed: serde_json::Value = serde_json::from_slice(&fs::read(&list).unwrap()).unwrap();
    let entries = listed["entries"].as_array().unwrap();
    let ours =
        |entry: &&serde_json::Value| entry["path"].as_str().unwrap().starts_with(".reconcile");
    assert_eq!(entries.iter().filter(ours).count(), 0, "{listed:#}");
    let newer = br#"{"format":2,"at":"2026-06-01T00:00:00Z","more":[]}"#;
    fs::write(&list, newer).unwrap();
    for _ in 0..2 {
        world.nothing_to_do();
    }
    assert_eq!(fs::read(&list).unwrap(), newer, "whoever wrote it reads it");
}

#[test]
fn variables_of_a_host_below_a_root_are_read_there() {
    let world = World::new();
    let unit = "[Service]\nEnvironmentFile=/etc/distronomicon/%i.env\nExecStart=/usr/bin/distronomicon --app %i update\n";
    tree::write(&world.path("/etc/systemd/system/distronomicon@.service"), unit.as_bytes());
    let variables = b"DISTRONOMICON_REPO=BurntSushi/ripgrep\nDISTRONOMICON_PATTERN=x86_64.*musl\n";
    tree::write(&world.path("/etc/distronomicon/ripgrep.env"), variables);
    let wants = world.path("/etc/systemd/system/timers.target.wants");
    fs::create_dir_all(&wants).unwrap();
    symlink("../distronomicon@.timer", wants.join("distronomicon@ripgrep.timer")).unwrap();
    for given in [&["import", "distronomicon"][..], &["import", world.root().to_str().unwrap()]] {
        let ran = world.run(given).exits(0);
        assert!(
            ran.stdout.contains("BurntSushi/ripgrep"),
            "{given:?}: {}{}",
            ran.stdout,
            ran.stderr
        );
    }
}

#[test]
fn what_an_import_of_definitions_leaves_out_is_named_and_what_is_added_to_them_counts() {
    let mut world = World::new();
    world.wish("desired", "apps: {}\n");
    let transfer = "[Transfer]\nVerify=no\nChangeLog=https://e.example/@v\nAppStream=https://e.example/a\n\
                    [Source]\nType=url-file\nPath=https://e.example/\nMatchPattern=demo_@v.raw\n\
                    [Target]\nType=regular-file\nPath=/var/lib/images\nMatchPattern=demo_@v.raw\n\
                    CurrentSymlink=LINK\nMode=0600\nReadOnly=yes\nTriesLeft=3\nTriesDone=0\n\
                    RemoveTemporary=no\nInstancesMax=4\n";
    let search = "/var/lib/extensions/demo.raw";
    let transfer = transfer.replace("LINK", search);
    tree::write(&world.path("/usr/lib/sysupdate.d/demo.transfer"), transfer.as_bytes());
    tree::write(&world.path("/run/sysupdate.d/other.transfer"), transfer.as_bytes());
    tree::write(
        &world.path("/etc/sysupdate.d/demo.transfer.d/10-more.conf"),
        b"[Target]\nInstancesMax=5\n[Transfer]\nMinVersion=2\n",
    );
    let definitions = world.path("/usr/lib/sysupdate.d").display().to_string();
    let ran = world.run(&["import", "sysupdate", &definitions]).exits(0);
    let keys =
        ["Mode", "ReadOnly", "TriesLeft", "TriesDone", "RemoveTemporary", "ChangeLog", "AppStream"];
    for key in keys {
        let said = ran.stderr.matches(&format!("{key}= is not carried over")).count();
        assert_eq!(said, 1, "{key}: {ran:#?}");
    }
    for part in ["retain: 5", "min_version: \"2\""] {
        assert!(ran.stdout.contains(part), "{part}: {ran:#?}");
    }
    assert!(!ran.stdout.contains("other"), "{ran:#?}");
}
