//! What `reconcile sysupdate` prints, as systemd-sysupdate 262.1 printed it of the same host.

use std::fs;
use std::path::Path;
use std::time::{Duration, SystemTime};

use serde_json::json;

use super::Host;

/// When everything was made, in microseconds.
const MADE_US: u64 = 1_795_440_196_447_877;

const A: &str = "[Transfer]\nVerify=no\nProtectVersion=1.1\nChangeLog=https://x/cl-@v\n[Source]\nType=regular-file\n\
                 Path=/srv/a\nMatchPattern=a_@v.raw\n[Target]\nType=regular-file\nPath=/var/lib/a\n\
                 MatchPattern=a_@v.raw\nCurrentSymlink=a.raw\nInstancesMax=4\n";
const B: &str = "[Transfer]\nVerify=no\nMinVersion=1.1\nChangeLog=https://x/b\n[Source]\nType=url-file\n\
                 Path=file://SOURCE\nMatchPattern=b_@v.raw.xz b_@v.raw\n[Target]\nType=regular-file\n\
                 Path=/var/lib/b\nMatchPattern=b_@v+@l-@d.raw b_@v.raw\nTriesLeft=3\nInstancesMax=4\n";
const C: &str = "[Transfer]\nVerify=no\nFeatures=devel\n[Source]\nType=url-file\nPath=file://SOURCE\n\
                 MatchPattern=c_@v.raw.xz\n[Target]\nType=regular-file\nPath=/var/lib/c\nMatchPattern=c_@v.raw\n";

fn write(path: &Path, text: &str) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, text).unwrap();
    let made = SystemTime::UNIX_EPOCH + Duration::from_micros(MADE_US);
    fs::File::open(path).unwrap().set_modified(made).unwrap();
}

/// The host of which the real program was asked.
fn host() -> Host {
    let mut host = Host::new();
    host.world.environment.push(("TZ".to_owned(), "UTC".to_owned()));
    host.world.wish("desired", "sysupdate: { as: sysupdate }\n");
    let source = host.source().display().to_string();
    for (name, text) in [
        ("10-a.transfer", A),
        ("20-b.transfer", B),
        ("30-c.transfer", C),
        ("bare.feature", "[Feature]\nEnabled=no\n"),
        (
            "devel.feature",
            "[Feature]\nDescription=Development Tools\nDocumentation=https://doc.example\n\
             AppStream=https://as.example\n",
        ),
        ("other.feature", "[Feature]\nDescription=Other things\nEnabled=yes\n"),
    ] {
        let path = host.world.path(&format!("usr/lib/sysupdate.d/{name}"));
        write(&path, &text.replace("SOURCE", &source));
    }
    for version in ["1.1", "1.2", "1.3", "1.4"] {
        write(&host.world.path(&format!("srv/a/a_{version}.raw")), version);
    }
    for version in ["1.0", "1.1", "1.2", "1.3", "1.4"] {
        write(&host.source().join(format!("b_{version}.raw")), &format!("b {version}\n"));
    }
    host.list();
    for name in ["a/a_1.0.raw", "a/a_1.1.raw", "a/a_1.2.raw", "b/b_1.0.raw", "b/b_1.1+2-1.raw"] {
        write(&host.world.path("var/lib").join(name), "installed");
    }
    write(&host.world.path("var/lib/b/.sysupdate.partial.b_1.2.raw"), "x");
    host
}

/// Asks; paths of the host begin as they did for the real program.
fn ask(host: &Host, arguments: &[&str]) -> String {
    let ran = host.world.run(&[&["sysupdate"], arguments].concat()).exits(0);
    let (root, source) = (host.world.path(""), host.source());
    let root = root.display().to_string();
    let text = ran.stdout.replace(root.trim_end_matches('/'), "/root");
    text.replace(&source.display().to_string(), "/source")
}

/// Lines without what fills columns, whose widths depend on the paths.
fn words(text: &str) -> Vec<String> {
    text.lines().map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ")).collect()
}

#[test]
fn list_is_the_table_of_systemd_sysupdate() {
    let host = host();
    let table = "   VERSION INSTALLED AVAILABLE ASSESSMENT\n \
                 ↻ 1.4                   ✓     candidate\n   \
                 1.3                   ✓     available\n\
                 ⤵️ 1.2         ✓         ✓     current+partial\n \
                 ○ 1.1         ✓         ✓     protected\n \
                 × 1.0         ✓               installed+obsolete\n";
    assert_eq!(ask(&host, &["list"]), table);
    let bare = " ↻ 1.4   ✓ candidate\n   1.3   ✓ available\n⤵️ 1.2 ✓ ✓ current+partial\n \
                ○ 1.1 ✓ ✓ protected\n × 1.0 ✓   installed+obsolete\n";
    assert_eq!(ask(&host, &["--no-legend", "--no-pager", "list"]), bare);
    fs::rename(host.source(), host.source().with_file_name("away")).unwrap();
    let offline = "   VERSION INSTALLED AVAILABLE ASSESSMENT\n\
                   ⤵️ 1.2         ✓               current+partial\n \
                   ○ 1.1         ✓               protected\n \
                   × 1.0         ✓               installed+obsolete\n";
    assert_eq!(ask(&host, &["--offline", "list"]), offline);
    assert_eq!(ask(&host, &["check-new", "--offline"]), "1.2\n");
    host.world.run(&["sysupdate", "--offline", "list", "1.3"]).exits(1);
    host.world.run(&["sysupdate", "--offline", "update"]).exits(1);
}

#[test]
fn one_version_is_told_with_its_files_as_systemd_sysupdate_tells_it() {
    let host = host();
    let at = "Mon 2026-11-23 13:23:16 UTC";
    let told = ask(&host, &["list", "1.1"]);
    let head = "○ Version: 1.1\n    State: protected\nInstalled: yes\nAvailable: yes\nProtected: yes\n \
                Obsolete: no\nChangeLog: https://x/cl-1.1\nChangeLog: https://x/b\n\nTYPE         PATH ";
    assert!(told.starts_with(head), "{told}");
    assert_eq!(
        words(&told)[9..],
        [
            "TYPE PATH MTIME MODE TRIES-DONE TRIES-LEFT".to_owned(),
            format!("regular-file /root/var/lib/a/a_1.1.raw {at} 0644 - -"),
            format!("regular-file /root/var/lib/b/b_1.1+2-1.raw {at} 0644 1 2"),
        ]
    );
    let told = ask(&host, &["list", "1.2"]);
    assert!(told.contains("\nInstalled: yes (newest) (partial)\nAvailable: yes\n"), "{told}");
    assert!(told.contains("/root/var/lib/b/.sysupdate.partial.b_1.2.raw"), "{told}");
    let told = ask(&host, &["list", "1.4"]);
    assert!(told.contains("\nInstalled: no\nAvailable: yes (newest)\n"), "{told}");
    let digest = "47a8a7f32c981ab53f70052bbf2351984bdba12f217774ba743aa844256ceef3";
    let line = words(&ask(&host, &["--no-legend", "list", "1.3"])).pop().unwrap();
    assert_eq!(line, format!("url-file file:///source/b_1.3.raw - - {digest}"));
    let detail = ask(&host, &["--json=short", "list", "1.3"]);
    let detail: serde_json::Value = serde_json::from_str(&detail).unwrap();
    assert_eq!(
        detail["contents"],
        json!([
            { "type": "regular-file", "path": "/root/srv/a/a_1.3.raw", "mtime": MADE_US, "mode": 420, "sha256": null },
            { "type": "url-file", "path": "file:///source/b_1.3.raw", "mtime": null, "mode": null, "sha256": digest },
        ])
    );
}

#[test]
fn what_is_missing_of_an_incomplete_version_is_told_from_its_source() {
    let host = host();
    fs::remove_file(host.world.path("var/lib/b/.sysupdate.partial.b_1.2.raw")).unwrap();
    let told = ask(&host, &["list", "1.2"]);
    assert!(told.contains("Installed: yes (newest) (incomplete)\n"), "{told}");
    let files: Vec<String> = words(&told).split_off(10);
    assert!(files[0].starts_with("regular-file /root/var/lib/a/a_1.2.raw Mon "), "{told}");
    assert!(files[1].starts_with("url-file file:///source/b_1.2.raw - - 8800e5d1"), "{told}");
}

#[test]
fn features_are_the_tables_of_systemd_sysupdate() {
    let host = host();
    let table = "ENABLED SUGGESTED FEATURE DESCRIPTION       DOCUMENTATION\n\
                 ✗       ✗         bare    -                 -\n\
                 ✗       ✗         devel   Development Tools https://doc.example\n\
                 ✓       ✗         other   Other things      -\n\n3 features listed.\n";
    assert_eq!(ask(&host, &["features"]), table);
    let bare = "✗ ✗ bare  -                 -\n✗ ✗ devel Development Tools https://doc.example\n\
                ✓ ✗ other Other things      -\n";
    assert_eq!(ask(&host, &["--no-legend", "features"]), bare);
    let devel = "           KEY VALUE\n         Name: devel\n      Enabled: no\n    Suggested: no\n  \
                 Description: Development Tools\nDocumentation: https://doc.example\n    \
                 AppStream: https://as.example\n    Transfers: 30-c\n";
    assert_eq!(ask(&host, &["features", "devel"]), devel);
    let bare = "     Name: bare\n  Enabled: no\nSuggested: no\n";
    assert_eq!(ask(&host, &["features", "bare", "--no-legend"]), bare);
}

#[test]
fn options_of_systemd_sysupdate_stand_before_or_after_the_verb() {
    let host = host();
    host.world.run(&["sysupdate", "-a", "enable-feature"]).exits(0);
    let devel = ask(&host, &["--json", "features", "devel"]);
    assert!(devel.contains("\"enabled\":true"), "{devel}");
    host.world.run(&["sysupdate", "disable-feature", "--feature-all"]).exits(0);
    host.world.run(&["sysupdate", "disable-feature", "-a", "devel"]).exits(64);
    host.world.run(&["sysupdate", "disable-feature"]).exits(64);
    host.world.run(&["sysupdate", "--verify=yes", "check-new"]).exits(1);
    host.world.run(&["sysupdate", "--verify=no", "check-new"]).exits(0);
    host.world.run(&["sysupdate", "--verify=perhaps", "check-new"]).exits(64);
    host.world.run(&["sysupdate", "-A", "--cleanup=yes", "update"]).exits(0);
    let pending = host.world.run(&["sysupdate", "--no-legend", "pending"]).exits(1);
    assert!(pending.stderr.contains("is in effect"), "{pending:#?}");
}

#[test]
fn questions_are_answered_about_a_directory_of_definitions() {
    let host = host();
    let elsewhere = host.world.temp().join("elsewhere");
    fs::rename(host.world.path("usr/lib/sysupdate.d"), &elsewhere).unwrap();
    host.world.run(&["sysupdate", "list"]).exits(1);
    let named = format!("--definitions={}", elsewhere.display());
    assert_eq!(ask(&host, &[&named, "check-new"]), "1.4\n");
    assert!(ask(&host, &["features", &named]).contains("3 features listed."));
    let refused = host.world.run(&["sysupdate", &named, "update"]).exits(64);
    assert!(refused.stderr.contains("import sysupdate"), "{refused:#?}");
}
