//! What systemd-sysupdate does beside fetching: directories, read-only images, its list, listeners.

use std::fs;
use std::io::{Read, Write};
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::thread::JoinHandle;
use std::time::{Duration, SystemTime};

use rustix::fs::IFlags;
use serde_json::{Value, json};

use super::Host;
use crate::support::world::Ran;

/// Where the list of what was installed is.
const LIST: &str = "var/lib/systemd/sysupdate/installdb";

fn host() -> Host {
    let mut host = Host::new();
    host.world.wish("desired", "sysupdate: { as: sysupdate }\n");
    host
}

/// Writes a definition; `source` and `target` are what follows the types.
fn define(host: &Host, (directory, id): (&str, &str), (kind, source, target): (&str, &str, &str)) {
    let place = host.world.path("usr/lib").join(directory);
    fs::create_dir_all(&place).unwrap();
    let text = format!("[Source]\nType={kind}\n{source}\n[Target]\nInstancesMax=2\n{target}\n");
    fs::write(place.join(format!("{id}.transfer")), text).unwrap();
}

fn ask(host: &Host, arguments: &[&str]) -> Ran {
    host.world.run(&[&["sysupdate"], arguments].concat())
}

pub(super) fn names(place: &Path) -> Vec<String> {
    let entries = fs::read_dir(place).into_iter().flatten().flatten();
    let names = entries.map(|entry| entry.file_name().into_string().unwrap());
    let mut names: Vec<String> = names.filter(|name| !name.starts_with('.')).collect();
    names.sort();
    names
}

/// Texts of the entries of the list.
fn entries(host: &Host, list: &str) -> Vec<String> {
    let list = host.world.path(list);
    let text = |name: &String| fs::read_link(list.join(name)).unwrap().display().to_string();
    let mut texts: Vec<String> = names(&list).iter().map(text).collect();
    texts.sort();
    texts
}

/// A tree of an extension at the source.
fn tree(host: &Host, name: &str, text: &str) {
    let tree = host.world.path("srv/trees").join(name);
    let release = tree.join("usr/lib/extension-release.d");
    fs::create_dir_all(&release).unwrap();
    fs::write(release.join("extension-release.demo"), "ID=_any\n").unwrap();
    fs::create_dir_all(tree.join("usr/share/demo")).unwrap();
    fs::write(tree.join("usr/share/demo/text"), text).unwrap();
    symlink("text", tree.join("usr/share/demo/link")).unwrap();
}

pub(super) fn is_immutable(path: &Path) -> bool {
    let directory = fs::File::open(path).unwrap();
    rustix::fs::ioctl_getflags(&directory).is_ok_and(|flags| flags.contains(IFlags::IMMUTABLE))
}

/// Whether directories below one can be made immutable: the file system knows that, and this is root.
pub(super) fn can_be_immutable(place: &Path) -> bool {
    let probe = fs::File::open(place).unwrap();
    let flags = rustix::fs::ioctl_getflags(&probe).unwrap_or(IFlags::empty());
    let can = rustix::process::geteuid().is_root()
        && rustix::fs::ioctl_setflags(&probe, flags | IFlags::IMMUTABLE).is_ok();
    let _ = rustix::fs::ioctl_setflags(&probe, flags);
    can
}

#[test]
fn directory_of_this_host_is_copied_and_merged_and_cannot_be_written_to() {
    for kind in ["directory", "subvolume"] {
        let mut host = host();
        let target = "Path=/var/lib/extensions.d\nMatchPattern=demo_@v\nReadOnly=yes\n\
                      CurrentSymlink=/var/lib/extensions/demo";
        let source = "Path=/srv/trees\nMatchPattern=demo-@v";
        define(&host, ("sysupdate.d", "demo"), (kind, source, target));
        tree(&host, "demo-1", "one");
        host.converges();
        let place = host.world.path("var/lib/extensions.d");
        let text = host.world.path("var/lib/extensions/demo/usr/share/demo/link");
        assert_eq!(fs::read_to_string(&text).unwrap(), "one");
        assert_eq!(host.merged(), "demo\n");
        let sealed = is_immutable(&place.join("demo_1"));
        assert_eq!(sealed, can_be_immutable(&place), "immutable where the file system can");
        for (version, text) in [("2", "two"), ("3", "three")] {
            tree(&host, &format!("demo-{version}"), text);
            host.converges();
        }
        assert_eq!(fs::read_to_string(&text).unwrap(), "three");
        assert_eq!(names(&place), ["demo_2", "demo_3"], "what is immutable goes, too");
        fs::remove_dir_all(host.world.path("usr/lib/sysupdate.d")).unwrap();
        host.converges();
        assert!(names(&place).is_empty());
        assert_eq!(host.merged(), "");
    }
}

#[test]
fn directory_with_something_else_than_files_is_refused_and_nothing_changes() {
    let mut host = host();
    let target = "Path=/var/lib/trees\nMatchPattern=demo_@v\nCurrentSymlink=demo";
    let source = "Path=/srv/trees\nMatchPattern=demo-@v";
    define(&host, ("sysupdate.d", "demo"), ("directory", source, target));
    tree(&host, "demo-1", "one");
    host.converges();
    tree(&host, "demo-2", "two");
    let _pipe = UnixListener::bind(host.world.path("srv/trees/demo-2/socket")).unwrap();
    let ran = host.pass();
    assert_ne!(ran.code, 0);
    assert!(format!("{ran:?}").contains("neither a file, a directory nor a link"), "{ran:#?}");
    assert_eq!(names(&host.world.path("var/lib/trees")), ["demo", "demo_1"]);
}

#[test]
fn file_of_this_host_brings_its_mode_and_time_unless_the_definition_states_others() {
    let mut host = host();
    let offered = host.world.path("srv/files/file_1");
    fs::create_dir_all(offered.parent().unwrap()).unwrap();
    fs::write(&offered, "one").unwrap();
    fs::set_permissions(&offered, fs::Permissions::from_mode(0o4750)).unwrap();
    let at = SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000);
    fs::File::open(&offered).unwrap().set_modified(at).unwrap();
    for (id, more) in [
        ("plain", ""),
        ("stated", "Mode=0604"),
        ("sealed", "ReadOnly=yes"),
        ("both", "Mode=0666\nReadOnly=1"),
    ] {
        let target = format!("Path=/var/lib/{id}\nMatchPattern=file_@v\n{more}");
        let source = "Path=/srv/files\nMatchPattern=file_@v";
        define(&host, ("sysupdate.d", id), ("regular-file", source, &target));
    }
    host.converges();
    let found = ["plain", "stated", "sealed", "both"].map(|id| {
        let stat = fs::metadata(host.world.path("var/lib").join(id).join("file_1")).unwrap();
        assert_eq!(stat.mtime(), 1_700_000_000);
        stat.mode() & 0o7777
    });
    assert_eq!(found.map(|mode| format!("{mode:o}")), ["750", "604", "550", "444"]);
}

#[test]
fn names_count_boot_attempts_from_what_is_stated() {
    let mut host = host();
    fs::create_dir_all(host.world.path("srv/files")).unwrap();
    fs::write(host.world.path("srv/files/uki_1.efi"), "one").unwrap();
    for (id, more) in [("usual", ""), ("stated", "TriesLeft=7\nTriesDone=1")] {
        let target =
            format!("Path=/var/lib/{id}\nMatchPattern=uki_@v+@l-@d.efi uki_@v.efi\n{more}");
        let source = "Path=/srv/files\nMatchPattern=uki_@v.efi";
        define(&host, ("sysupdate.d", id), ("regular-file", source, &target));
    }
    host.converges();
    assert_eq!(names(&host.world.path("var/lib/usual")), ["uki_1+3-0.efi"]);
    assert_eq!(names(&host.world.path("var/lib/stated")), ["uki_1+7-1.efi"]);
}

/// Files of one transfer and directories of another, as systemd's own test of cleaning up has them.
fn alpha_and_beta(host: &Host, directory: &str, id: &str) {
    let target = format!("Path=/target/{id}\nMatchPattern=alpha-@v.bin");
    let source = "Path=/source\nMatchPattern=alpha-@v.bin";
    define(host, (directory, "01-alpha"), ("regular-file", source, &target));
    let target = format!(
        "Path=/target/{id}\nMatchPattern=beta-@v @v/beta\nCurrentSymlink=/var/lib/extensions/{id}"
    );
    let source = "Path=/source\nMatchPattern=beta-@v";
    define(host, (directory, "02-beta"), ("directory", source, &target));
}

fn offer(host: &Host, version: &str) {
    let source = host.world.path("source");
    let release = source.join(format!("beta-{version}/usr/lib/extension-release.d"));
    fs::create_dir_all(&release).unwrap();
    fs::write(release.join("extension-release.a"), "ID=_any\n").unwrap();
    fs::write(source.join(format!("alpha-{version}.bin")), version).unwrap();
}

#[test]
fn what_was_installed_is_on_the_list_and_goes_with_its_definition_when_asked() {
    let mut host = host();
    alpha_and_beta(&host, "sysupdate.d", "a");
    for version in ["v1", "v2"] {
        offer(&host, version);
        host.converges();
    }
    let all = ["/target/a/./@v/beta", "/target/a/./alpha-@v.bin", "/target/a/./beta-@v"];
    assert_eq!(entries(&host, LIST), all);
    ask(&host, &["cleanup"]).exits(0);
    let place = host.world.path("target/a");
    assert_eq!(names(&place), ["alpha-v1.bin", "alpha-v2.bin", "beta-v1", "beta-v2"]);
    assert_eq!(entries(&host, LIST), all, "what is owned stays");
    fs::remove_file(host.world.path("usr/lib/sysupdate.d/02-beta.transfer")).unwrap();
    fs::write(place.join("beta-v9"), "of another program, and not on a list of ours").unwrap();
    fs::write(place.join("gamma-v1"), "").unwrap();
    let planned = host.world.run(&["--dry-run", "sysupdate", "cleanup"]);
    assert_eq!(planned.stdout, "tidy v2\n", "{planned:#?}");
    assert!(place.join("beta-v1").exists());
    ask(&host, &["cleanup"]).exits(0);
    let history = host.world.run(&["history", "-o", "json"]).json();
    let entry = &history["entries"].as_array().unwrap().last().unwrap();
    assert_eq!((&entry["from"], &entry["to"]), (&json!("v2"), &json!("v2")), "v2 stays");
    assert_eq!(names(&place), ["alpha-v1.bin", "alpha-v2.bin", "gamma-v1"]);
    assert_eq!(entries(&host, LIST), ["/target/a/./alpha-@v.bin"]);
    assert!(!host.world.path("var/lib/extensions/a").is_symlink(), "its link goes along");
    assert_eq!(host.merged(), "");
    host.is_settled();
    fs::remove_file(host.world.path("usr/lib/sysupdate.d/01-alpha.transfer")).unwrap();
    ask(&host, &["cleanup"]).exits(0);
    assert_eq!(names(&place), ["gamma-v1"]);
    assert_eq!(entries(&host, LIST), [""; 0]);
    host.converges();
}

#[test]
fn update_cleans_up_when_it_is_told_to() {
    let mut host = host();
    alpha_and_beta(&host, "sysupdate.web.d", "a");
    offer(&host, "v1");
    host.converges();
    assert_eq!(entries(&host, &format!("{LIST}.web")).len(), 3, "each component has its own");
    fs::remove_file(host.world.path("usr/lib/sysupdate.web.d/02-beta.transfer")).unwrap();
    offer(&host, "v2");
    host.world.tick();
    ask(&host, &["-C", "web", "update"]).exits(0);
    let place = host.world.path("target/a");
    assert_eq!(names(&place), ["alpha-v1.bin", "alpha-v2.bin", "beta-v1"]);
    host.world.tick();
    ask(&host, &["-C", "web", "update", "--cleanup=yes"]).exits(0);
    assert_eq!(names(&place), ["alpha-v1.bin", "alpha-v2.bin"]);
    assert_eq!(entries(&host, &format!("{LIST}.web")), ["/target/a/./alpha-@v.bin"]);
    ask(&host, &["-C", "web", "update", "--cleanup=perhaps"]).exits(64);
}

#[test]
fn what_another_program_listed_is_cleaned_up_and_entries_that_say_nothing_go() {
    let mut host = host();
    alpha_and_beta(&host, "sysupdate.d", "a");
    offer(&host, "v1");
    host.converges();
    let list = host.world.path(LIST);
    let enter = |text: &str| {
        use sha2::Digest;
        symlink(text, list.join(data_encoding::HEXLOWER.encode(&sha2::Sha256::digest(text))))
            .unwrap();
    };
    enter("/target/b/./old-@v.bin");
    enter("/target/c/./gone-@v.bin");
    enter("relative/./old-@v.bin");
    enter("/no-pattern");
    // What two patterns fit belongs to the definition that is there: the entry stands for nothing else.
    enter("/target/a/./@v.bin");
    symlink("/target/b/./kept-@v.bin", list.join("not-its-digest")).unwrap();
    fs::create_dir_all(host.world.path("target/b/old-2.bin/inside")).unwrap();
    fs::write(host.world.path("target/b/old-1.bin"), "").unwrap();
    fs::write(host.world.path("target/b/kept-1.bin"), "").unwrap();
    ask(&host, &["cleanup"]).exits(0);
    assert_eq!(names(&host.world.path("target/b")), ["kept-1.bin"]);
    assert_eq!(names(&host.world.path("target/a")), ["alpha-v1.bin", "beta-v1"]);
    let left = ["/target/a/./@v/beta", "/target/a/./alpha-@v.bin", "/target/a/./beta-@v"];
    assert_eq!(entries(&host, LIST), left);
    let broken = host.world.path("usr/lib/sysupdate.d/03-broken.transfer");
    fs::write(broken, "[Source]\nType=regular-file\nPath=/source\nMatchPattern=$\n").unwrap();
    enter("/target/b/./kept-@v.bin");
    let ran = ask(&host, &["cleanup"]).exits(1);
    assert!(ran.stderr.contains("nothing is cleaned up"), "{ran:#?}");
    assert_eq!(names(&host.world.path("target/b")), ["kept-1.bin"]);
}

/// Somebody who listens for updates: what was said, call by call.
fn listener(
    host: &Host,
    name: &str,
    calls: usize,
    answer: &'static [u8],
) -> JoinHandle<Vec<Value>> {
    let place = host.world.path("run/systemd/sysupdate/notify");
    fs::create_dir_all(&place).unwrap();
    let listener = UnixListener::bind(place.join(name)).unwrap();
    std::thread::spawn(move || {
        let hear = |_| {
            let (mut caller, _) = listener.accept().unwrap();
            let mut heard = Vec::new();
            let mut byte = [0];
            while caller.read(&mut byte).unwrap() == 1 && byte != [0] {
                heard.push(byte[0]);
            }
            caller.write_all(answer).unwrap();
            serde_json::from_slice(&heard).unwrap()
        };
        (0..calls).map(hear).collect()
    })
}

#[test]
fn whoever_listens_is_told_once_of_each_update_and_nobody_can_make_it_fail() {
    let mut host = host();
    alpha_and_beta(&host, "sysupdate.d", "a");
    alpha_and_beta(&host, "sysupdate.web.d", "b");
    let good = listener(&host, "io.test.good", 4, b"{\"parameters\":{}}\0");
    let refuses = listener(&host, "io.test.refuses", 2, b"{\"error\":\"io.test.No\"}\0");
    let hangs_up = listener(&host, "io.test.silent", 2, b"");
    offer(&host, "v1");
    let ran = host.pass();
    assert_eq!(ran.code, 0, "{ran:#?}");
    let said = format!("{}{}", ran.stdout, ran.stderr);
    assert!(said.contains("io.test.refuses was not told of the update: io.test.No"), "{said}");
    assert!(said.contains("io.test.silent was not told"), "{said}");
    refuses.join().unwrap();
    hangs_up.join().unwrap();
    host.is_settled();
    host.converges();
    // Nobody is behind these any more.
    offer(&host, "v2");
    host.converges();
    let heard = good.join().unwrap();
    assert_eq!(heard.len(), 4, "a pass without news tells nobody");
    let expected = |component: Option<&str>, id: &str, version: &str| {
        let mut parameters = json!({
            "version": version,
            "resources": [
                { "transfer": "01-alpha", "path": format!("/target/{id}/alpha-{version}.bin") },
                { "transfer": "02-beta", "path": format!("/target/{id}/beta-{version}") },
            ],
        });
        if let Some(component) = component {
            parameters["component"] = json!(component);
        }
        json!({ "method": "io.systemd.SysUpdate.Notify.OnCompletedUpdate", "parameters": parameters })
    };
    for (component, id) in [(None, "a"), (Some("web"), "b")] {
        for version in ["v1", "v2"] {
            let call = expected(component, id, version);
            assert!(heard.contains(&call), "{call:#} in {heard:#?}");
        }
    }
}

#[test]
fn nobody_is_told_of_what_the_next_boot_merges_or_of_another_root() {
    for (wish, effects) in [("as: sysupdate, activate: boot", "run"), ("as: sysupdate", "skip")] {
        let mut host = host();
        host.world.wish("desired", &format!("sysupdate: {{ {wish} }}\n"));
        host.world.options = vec!["--effects".to_owned(), effects.to_owned()];
        alpha_and_beta(&host, "sysupdate.d", "a");
        offer(&host, "v1");
        let plan = host.world.run(&["--dry-run", "-o", "json"]).json();
        let steps = plan["spec"]["changes"][0]["steps"].as_array().unwrap();
        assert!(steps.iter().any(|step| step["op"] == "enlist"), "{plan:#}");
        assert!(steps.iter().all(|step| step["op"] != "announce"), "{plan:#}");
    }
}

#[test]
fn definitions_of_a_directory_become_extensions_and_the_first_dry_run_changes_nothing() {
    let mut host = Host::new();
    let source = host.source().display().to_string();
    let elsewhere = host.world.temp().join("definitions");
    fs::create_dir_all(&elsewhere).unwrap();
    let write = |name: &str, text: &str| fs::write(elsewhere.join(name), text).unwrap();
    let transfer = |transfer: &str, from: &str, target: &str| {
        format!("[Transfer]\n{transfer}\n[Source]\n{from}\n[Target]\n{target}\n")
    };
    let from = |kind: &str, pattern: &str| {
        format!("Type={kind}\nPath=file://{source}\nMatchPattern={pattern}")
    };
    let linked = "Path=/var/lib/images\nMatchPattern=demo_@v.raw\nCurrentSymlink=/var/lib/extensions/demo.raw\n";
    write(
        "10-demo.transfer",
        &transfer(
            "Verify=no\nProtectVersion=1\nMinVersion=0.5",
            &from("url-file", "demo_@v.raw.xz demo_@v.raw"),
            &format!("{linked}InstancesMax=4"),
        ),
    );
    let picked = "Path=/var/lib/extensions/pick.raw.v\nMatchPattern=pick_@v.raw";
    write("20-pick.transfer", &transfer("Verify=no", &from("url-file", "pick_@v.raw"), picked));
    let other = "Path=/var/lib/images\nMatchPattern=other-@v.raw\nCurrentSymlink=/var/lib/extensions/other.raw";
    write("30-other.transfer", &transfer("Verify=no", &from("url-file", "other-@v.raw"), other));
    write(
        "40-root.transfer",
        &transfer(
            "",
            &from("url-file", "root_@v"),
            "Type=partition\nPath=auto\nMatchPattern=root_@v",
        ),
    );
    for name in ["demo_1.raw", "demo_2.raw", "pick_1.raw"] {
        host.publish(name, name);
    }
    // As systemd-sysupdate leaves it.
    let images = host.world.path("var/lib/images");
    fs::create_dir_all(&images).unwrap();
    fs::create_dir_all(host.world.path("var/lib/extensions")).unwrap();
    for name in ["demo_1.raw", "demo_2.raw"] {
        fs::copy(host.source().join(name), images.join(name)).unwrap();
    }
    let link = host.world.path("var/lib/extensions/demo.raw");
    symlink("../images/demo_2.raw", &link).unwrap();
    let picked = host.world.path("var/lib/extensions/pick.raw.v");
    fs::create_dir_all(&picked).unwrap();
    fs::copy(host.source().join("pick_1.raw"), picked.join("pick_1.raw")).unwrap();
    fs::create_dir_all(host.world.path("usr/.systemd-sysext")).unwrap();
    fs::write(host.world.path("usr/.systemd-sysext/extensions"), "demo\npick\n").unwrap();
    let imported = host.world.run(&["import", "sysupdate", elsewhere.to_str().unwrap()]).exits(0);
    for said in
        ["other_@v.raw", "[Target] Type=partition writes partitions", "systemd-sysupdate.timer"]
    {
        assert!(imported.stderr.contains(said), "{said} in {}", imported.stderr);
    }
    for said in
        ["retain: 4", "retain: 3", "protect: [\"1\"]", "min_version: \"0.5\"", "layout: versioned"]
    {
        assert!(imported.stdout.contains(said), "{said} in {}", imported.stdout);
    }
    host.world.wish("desired", &imported.stdout);
    let plan = host.world.run(&["--dry-run", "-o", "json"]).exits(0).json();
    assert_eq!(plan["spec"]["changes"], json!([]), "{plan:#}");
    host.publish("demo_3.raw", "three");
    host.converges();
    assert_eq!(fs::read_link(&link).unwrap().to_str(), Some("../images/demo_3.raw"));
    host.world.run(&["import", "sysupdate", "/nowhere/at/all"]).exits(1);
}

#[test]
fn host_of_systemd_sysupdate_or_updex_is_taken_over_as_it_is() {
    for kind in ["sysupdate", "updex"] {
        let mut host = Host::new();
        host.world.wish("desired", "apps: {}\n");
        let source = format!("Path=file://{}\nMatchPattern=demo_@v.raw", host.source().display());
        let target = "Path=/var/lib/extensions.d\nMatchPattern=demo_@v.raw\nCurrentSymlink=/var/lib/extensions/demo.raw";
        let place = host.world.path("etc/sysupdate.d/demo.transfer");
        let text = format!(
            "[Transfer]\nVerify=no\n[Source]\nType=url-file\n{source}\n[Target]\nType=regular-file\nInstancesMax=2\n{target}\n"
        );
        crate::support::tree::write(&place, text.as_bytes());
        let images = host.world.path("var/lib/extensions.d");
        fs::create_dir_all(&images).unwrap();
        for name in ["demo_1.raw", "demo_2.raw"] {
            host.publish(name, name);
            fs::copy(host.source().join(name), images.join(name)).unwrap();
        }
        // updex has a directory and links of its own.
        let (link, text) = match kind {
            "updex" => ("var/lib/extensions/demo.raw", "/var/lib/extensions.d/demo_2.raw"),
            _ => ("var/lib/extensions/demo.raw", "../extensions.d/demo_2.raw"),
        };
        let link = host.world.path(link);
        fs::create_dir_all(link.parent().unwrap()).unwrap();
        symlink(text, &link).unwrap();
        fs::create_dir_all(host.world.path("usr/.systemd-sysext")).unwrap();
        fs::write(host.world.path("usr/.systemd-sysext/extensions"), "demo\n").unwrap();
        let imported = host.world.run(&["import", kind]).exits(0);
        assert!(imported.stdout.contains(&format!("as: {kind}")), "{imported:#?}");
        host.world.wish("desired", &imported.stdout);
        let plan = host.world.run(&["--dry-run"]).exits(0).stdout;
        assert!(plan.starts_with("No changes"), "{kind}: {plan}");
        host.converges();
        host.publish("demo_3.raw", "three");
        host.converges();
        let text = fs::read_link(&link).unwrap().display().to_string();
        assert!(text.ends_with("demo_3.raw"), "{kind}: {text}");
    }
}

#[test]
fn all_that_definitions_brought_goes_with_them_wherever_it_is() {
    let mut host = host();
    fs::create_dir_all(host.world.path("srv/files")).unwrap();
    // Two in one directory without a link, and one in a directory of its own.
    for (id, place) in [("a", "one"), ("b", "one"), ("c", "two")] {
        let target = format!("Path=/var/lib/{place}\nMatchPattern={id}_@v");
        let source = format!("Path=/srv/files\nMatchPattern={id}_@v");
        define(&host, ("sysupdate.d", id), ("regular-file", &source, &target));
    }
    for version in ["1", "2"] {
        for id in ["a", "b", "c"] {
            fs::write(host.world.path("srv/files").join(format!("{id}_{version}")), id).unwrap();
        }
        host.converges();
    }
    assert_eq!(names(&host.world.path("var/lib/one")), ["a_1", "a_2", "b_1", "b_2"]);
    assert_eq!(names(&host.world.path("var/lib/two")), ["c_1", "c_2"]);
    fs::remove_dir_all(host.world.path("usr/lib/sysupdate.d")).unwrap();
    let plan = host.world.temp().join("plan");
    host.world.run(&["plan", "--out", plan.to_str().unwrap()]).exits(0);
    host.world.run(&["apply", plan.to_str().unwrap()]).exits(0);
    for place in ["one", "two"] {
        let left = fs::read_dir(host.world.path("var/lib").join(place)).unwrap().count();
        assert_eq!(left, 0, "{place}");
    }
}

#[test]
fn what_is_followed_stays_wished_while_the_desired_state_is_not_valid() {
    let mut host = host();
    alpha_and_beta(&host, "sysupdate.d", "a");
    for version in ["v1", "v2"] {
        offer(&host, version);
        host.converges();
    }
    let mistake = host.world.temp().join("desired/mistake.yaml");
    fs::write(&mistake, "apps: [\n").unwrap();
    let status = host.world.run(&["status", "-o", "json"]).json();
    assert_eq!(status["resources"][0]["requested"], "latest", "{status:#}");
    let explained = host.world.run(&["explain", "extension/host"]);
    assert!(explained.stdout.contains("01-alpha.transfer"), "{explained:#?}");
    let ran = host.world.run(&["rollback", "extension/host", "--reason", "test"]).exits(0);
    let link = fs::read_link(host.world.path("var/lib/extensions/a")).unwrap();
    assert!(link.ends_with("beta-v1"), "{link:?} after {ran:#?}");
}
