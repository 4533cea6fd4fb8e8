//! Extensions that are directories: archives unpacked, and images that systemd picks by itself.

use std::fs;
use std::io::Write;
use std::os::unix::fs::symlink;

use flate2::Compression;
use flate2::write::GzEncoder;

use super::{Host, image};
use crate::archives::{bz2, gz, xz, zst};

/// An archive of an extension with some files, packed as the end of its name says.
fn archive(name: &str, files: &[(&str, &str)]) -> Vec<u8> {
    let mut tar = tar::Builder::new(Vec::new());
    for (path, text) in files {
        let mut header = tar::Header::new_gnu();
        header.set_mode(0o644);
        header.set_mtime(1_700_000_000);
        header.set_size(text.len() as u64);
        tar.append_data(&mut header, path, text.as_bytes()).unwrap();
    }
    let bytes = tar.into_inner().unwrap();
    match name.rsplit('.').next().unwrap() {
        "gz" => gz(&bytes),
        "xz" => xz(&bytes),
        "bz2" => bz2(&bytes),
        "zst" => zst(&bytes),
        _ => bytes,
    }
}

pub(super) fn publish(host: &Host, name: &str, text: &str) {
    let release = "usr/lib/extension-release.d/extension-release.demo";
    let bytes = archive(name, &[(release, "ID=_any\n"), ("usr/share/demo/text", text)]);
    fs::write(host.source().join(name), bytes).unwrap();
    host.list();
}

pub(super) fn define(host: &Host, more: &str) {
    let directory = host.world.path("usr/lib/sysupdate.d");
    fs::create_dir_all(&directory).unwrap();
    let source = host.source().display().to_string();
    let transfer = format!(
        "[Transfer]\nVerify=no\n[Source]\nType=url-tar\nPath=file://{source}\nMatchPattern=demo_@v.tar.gz\n\
         [Target]\nPath=/var/lib/extensions.d\nMatchPattern=demo_@v\nInstancesMax=2\n{more}"
    );
    fs::write(directory.join("demo.transfer"), transfer).unwrap();
}

#[test]
fn archive_of_a_definition_becomes_a_directory_that_is_linked_and_kept() {
    let mut host = Host::new();
    fs::create_dir_all(host.world.path("etc")).unwrap();
    fs::write(host.world.path("etc/os-release"), "ID=debian\nVERSION_ID=12\n").unwrap();
    define(&host, "CurrentSymlink=/var/lib/extensions/demo\n");
    host.world.wish("desired", "sysupdate: { as: sysupdate }\n");
    publish(&host, "demo_1.tar.gz", "one");
    host.converges();
    let text = host.world.path("var/lib/extensions/demo/usr/share/demo/text");
    assert_eq!(fs::read_to_string(&text).unwrap(), "one");
    assert_eq!(host.merged(), "demo\n");
    fs::write(&text, "changed").unwrap();
    fs::write(text.with_file_name("more"), "added").unwrap();
    host.converges();
    assert_eq!(fs::read_to_string(&text).unwrap(), "one");
    assert!(!text.with_file_name("more").exists());
    publish(&host, "demo_2.tar.gz", "two");
    host.converges();
    publish(&host, "demo_3.tar.gz", "three");
    host.converges();
    assert_eq!(fs::read_to_string(&text).unwrap(), "three");
    let mut kept: Vec<_> = fs::read_dir(host.world.path("var/lib/extensions.d"))
        .unwrap()
        .flatten()
        .map(|e| e.file_name().into_string().unwrap())
        .filter(|name| !name.starts_with('.'))
        .collect();
    kept.sort();
    assert_eq!(kept, ["demo_2", "demo_3"]);
    fs::write(host.source().join("demo_4.tar.gz"), b"no archive at all").unwrap();
    host.list();
    assert_ne!(host.pass().code, 0);
    assert_eq!(fs::read_to_string(&text).unwrap(), "three");
}

#[test]
fn archive_is_unpacked_whatever_it_is_packed_by_and_from_a_directory_without_a_list() {
    for end in ["tar", "tar.gz", "tar.xz", "tar.bz2", "tar.zst"] {
        for kind in ["url-tar", "tar"] {
            let mut host = Host::new();
            define(&host, "CurrentSymlink=/etc/extensions/demo\n");
            let definition = host.world.path("usr/lib/sysupdate.d/demo.transfer");
            let text = fs::read_to_string(&definition).unwrap().replace("tar.gz", end);
            let (text, source) = match kind {
                // A path of the host itself, where nobody lists what there is.
                "tar" => (
                    text.replace("url-tar", kind)
                        .replace(&format!("file://{}", host.source().display()), "/srv/archives"),
                    host.world.path("srv/archives"),
                ),
                _ => (text, host.source()),
            };
            fs::write(&definition, text).unwrap();
            host.world.wish("desired", "sysupdate: { as: sysupdate, activate: now }\n");
            for version in ["1", "2"] {
                let name = format!("demo_{version}.{end}");
                publish(&host, &name, version);
                if kind == "tar" {
                    fs::create_dir_all(&source).unwrap();
                    fs::rename(host.source().join(&name), source.join(&name)).unwrap();
                }
                host.converges();
                let text = host.world.path("etc/extensions/demo/usr/share/demo/text");
                assert_eq!(fs::read_to_string(text).unwrap(), version, "{kind} {end}");
            }
        }
    }
}

#[test]
fn directory_without_a_link_is_unmerged_by_the_pass_that_takes_it_away() {
    for sealed in ["", "ReadOnly=yes\n"] {
        let mut host = Host::new();
        define(&host, sealed);
        let definition = host.world.path("usr/lib/sysupdate.d/demo.transfer");
        let text = fs::read_to_string(&definition).unwrap();
        fs::write(&definition, text.replace("/var/lib/extensions.d", "/var/lib/extensions"))
            .unwrap();
        host.world.wish("desired", "sysupdate: { as: sysupdate, activate: now }\n");
        for version in ["1", "2", "3", "4"] {
            publish(&host, &format!("demo_{version}.tar.gz"), version);
            host.converges();
        }
        assert_eq!(host.merged(), "demo_3\ndemo_4\n", "what is not kept is not merged");
        let text = host.world.path("var/lib/extensions/demo_4/usr/share/demo/text");
        fs::write(&text, "changed").unwrap();
        let before = host.refreshes();
        host.converges();
        assert_eq!(fs::read_to_string(&text).unwrap(), "4");
        assert_eq!(host.refreshes() - before, 1, "what is replaced is merged again");
        // Something in it is gone: it is there all the same.
        fs::remove_file(&text).unwrap();
        fs::remove_dir_all(host.world.path("usr/lib/sysupdate.d")).unwrap();
        host.converges();
        assert_eq!((host.merged().as_str(), host.refreshes() - before), ("", 2));
        let left = fs::read_dir(host.world.path("var/lib/extensions")).unwrap().count();
        assert_eq!(left, 0);
    }
}

#[test]
fn image_that_would_hide_the_programs_of_the_host_is_never_merged() {
    // A directory gives way to a link, and a link to a directory.
    for (path, on_the_host) in [("usr/lib64", "directory"), ("usr/sbin", "link")] {
        let mut host = Host::new();
        fs::create_dir_all(host.world.path("etc")).unwrap();
        fs::write(host.world.path("etc/os-release"), "ID=debian\nVERSION_ID=12\n").unwrap();
        let there = host.world.path(path);
        fs::create_dir_all(host.world.path("usr/lib")).unwrap();
        match on_the_host {
            "link" => symlink("lib", there).unwrap(),
            _ => fs::create_dir(there).unwrap(),
        }
        let source = host.source().display().to_string();
        let wish = format!(
            "extensions:\n  demo:\n    layout: directory\n    source: {{ sysupdate: {{ path: {source}, match: \
             demo_@v.tar.gz }} }}\n"
        );
        host.world.wish("desired", &wish);
        publish(&host, "demo_1.tar.gz", "one");
        host.converges();
        let mut tar = tar::Builder::new(GzEncoder::new(Vec::new(), Compression::fast()));
        let mut header = tar::Header::new_gnu();
        header.set_mode(0o644);
        header.set_size(8);
        let release = "usr/lib/extension-release.d/extension-release.demo";
        tar.append_data(&mut header, release, b"ID=_any\n".as_slice()).unwrap();
        if on_the_host == "link" {
            tar.append_data(&mut header, format!("{path}/tool"), b"tool1234".as_slice()).unwrap();
        } else {
            header.set_entry_type(tar::EntryType::Symlink);
            header.set_size(0);
            tar.append_link(&mut header, path, "lib").unwrap();
        }
        let bytes = tar.into_inner().unwrap().finish().unwrap();
        fs::write(host.source().join("demo_2.tar.gz"), bytes).unwrap();
        host.list();
        let ran = host.pass();
        assert_ne!(ran.code, 0, "{ran:#?}");
        assert!(ran.stdout.contains(&format!("it would hide the host's {path}")), "{ran:#?}");
        assert!(
            host.world.path("var/lib/extensions/demo").read_link().unwrap().ends_with("demo_1")
        );
    }
}

#[test]
fn archive_that_does_not_fit_the_host_is_not_linked() {
    let mut host = Host::new();
    fs::create_dir_all(host.world.path("etc")).unwrap();
    fs::write(host.world.path("etc/os-release"), "ID=debian\nVERSION_ID=12\n").unwrap();
    let source = host.source().display().to_string();
    let wish = format!(
        "extensions:\n  demo:\n    layout: directory\n    source: {{ sysupdate: {{ path: {source}, match: \
         demo_@v.tar.gz }} }}\n"
    );
    host.world.wish("desired", &wish);
    let forbidden = archive(
        "plain.tar.gz",
        &[
            ("usr/lib/extension-release.d/extension-release.demo", "ID=_any\n"),
            ("usr/lib/os-release", "ID=other\n"),
        ],
    );
    fs::write(host.source().join("demo_1.0.0.tar.gz"), forbidden).unwrap();
    host.list();
    let ran = host.pass();
    assert_ne!(ran.code, 0, "{ran:#?}");
    assert!(!host.world.path("var/lib/extensions/demo").is_symlink());
    assert!(!host.world.path("var/lib/extensions.d/demo/demo_1.0.0").exists());
    publish(&host, "demo_1.0.1.tar.gz", "good");
    host.converges();
    let text = host.world.path("var/lib/extensions/demo/usr/share/demo/text");
    assert_eq!(fs::read_to_string(text).unwrap(), "good");
    host.world.wish("desired", "extensions: {}\n");
    host.converges();
    assert!(!host.world.path("var/lib/extensions.d/demo").exists());
}

#[test]
fn release_file_of_another_name_is_told_where_no_host_says_what_it_is() {
    let mut host = Host::new();
    define(&host, "CurrentSymlink=/var/lib/extensions/demo\n");
    host.world.wish("desired", "sysupdate: { as: sysupdate }\n");
    let release = "usr/lib/extension-release.d/extension-release.other";
    let bytes = archive("plain.tar.gz", &[(release, "ID=_any\n"), ("usr/share/demo/text", "one")]);
    fs::write(host.source().join("demo_1.tar.gz"), bytes).unwrap();
    host.list();
    let ran = host.pass().exits(0);
    let told = "it has no `usr/lib/extension-release.d/extension-release.demo`";
    assert!(ran.stdout.contains(told), "{ran:#?}");
    publish(&host, "demo_2.tar.gz", "two");
    let ran = host.pass().exits(0);
    assert!(!ran.stdout.contains("no host would merge it"), "{ran:#?}");
}

#[test]
fn definition_of_a_compressed_image_writes_it_decompressed_by_its_first_bytes() {
    let mut host = Host::new();
    let directory = host.world.path("usr/lib/sysupdate.d");
    fs::create_dir_all(&directory).unwrap();
    let source = host.source().display().to_string();
    let transfer = format!(
        "[Transfer]\nVerify=no\n[Source]\nType=url-file\nPath=file://{source}\nMatchPattern=tiny_@v.bin\n\
         [Target]\nType=regular-file\nPath=/var/lib/tiny\nMatchPattern=tiny_@v\nMode=0600\nCurrentSymlink=tiny\n"
    );
    fs::write(directory.join("tiny.transfer"), transfer).unwrap();
    host.world.wish("desired", "sysupdate: { as: sysupdate }\n");
    // Two bytes are fewer than any magic number has.
    fs::write(host.source().join("tiny_1.bin"), b"ab").unwrap();
    host.list();
    host.converges();
    assert_eq!(fs::read(host.world.path("var/lib/tiny/tiny")).unwrap(), b"ab");
    let mut packed = GzEncoder::new(Vec::new(), Compression::fast());
    packed.write_all(b"unpacked").unwrap();
    fs::write(host.source().join("tiny_2.bin"), packed.finish().unwrap()).unwrap();
    host.list();
    host.converges();
    assert_eq!(fs::read(host.world.path("var/lib/tiny/tiny")).unwrap(), b"unpacked");
    let link = fs::read_link(host.world.path("var/lib/tiny/tiny")).unwrap();
    assert_eq!(link.to_str(), Some("tiny_2"), "links are relative, as systemd writes them");
}

#[test]
fn versioned_layout_needs_no_link_and_keeps_what_systemd_picks() {
    let mut host = Host::new();
    host.publish("demo_1.0.0.raw", "one");
    host.wish(&[("demo", "    layout: versioned\n")]);
    host.converges();
    host.publish("demo_1.1.0.raw", "two");
    host.converges();
    host.publish("demo_1.2.0.raw", "three");
    host.converges();
    let place = host.world.path("var/lib/extensions/demo.raw.v");
    assert_eq!(fs::read(place.join("demo_1.2.0.raw")).unwrap(), image("three"));
    assert!(place.join("demo_1.1.0.raw").exists() && !place.join("demo_1.0.0.raw").exists());
    assert_eq!((host.link("demo"), host.merged().as_str()), (None, "demo\n"));
    let before = host.refreshes();
    host.wish(&[]);
    let plan = host.world.run(&["--dry-run"]).stdout;
    assert!(
        plan.contains("- /var/lib/extensions/demo.raw.v/demo_1.2.0.raw") && !plan.contains(".#"),
        "{plan}"
    );
    host.converges();
    assert_eq!(
        (host.merged().as_str(), host.refreshes() - before),
        ("", 1),
        "what goes is unmerged"
    );
    assert!(!place.exists());
}

#[test]
fn directory_that_was_gone_back_to_and_edited_is_fetched_again() {
    let mut host = Host::new();
    let source = host.source().display().to_string();
    let wish = format!(
        "extensions:\n  demo:\n    layout: directory\n    source: {{ sysupdate: {{ path: {source}, match: \
         demo_@v.tar.gz }} }}\n"
    );
    host.world.wish("desired", &wish);
    for version in ["1.0", "1.1"] {
        publish(&host, &format!("demo_{version}.tar.gz"), version);
        host.converges();
    }
    host.world.run(&["rollback", "extension/demo", "--reason", "test"]).exits(0);
    let text = host.world.path("var/lib/extensions/demo/usr/share/demo/text");
    let edit = |host: &mut Host| {
        fs::write(&text, "changed").unwrap();
        crate::support::tree::remove(&host.world.path("var/cache/reconcile"));
    };
    edit(&mut host);
    host.world.tick();
    let said = host.pass();
    assert!(
        said.stdout.contains("which is not whole here any more: it is fetched again"),
        "{said:#?}"
    );
    assert_eq!((said.code, fs::read_to_string(&text).unwrap().as_str()), (0, "1.0"), "{said:#?}");
    host.is_settled();
    // Other bytes of that version are not what was gone back to.
    edit(&mut host);
    publish(&host, "demo_1.0.tar.gz", "evil");
    let said = host.pass();
    assert_eq!(
        (said.code, fs::read_to_string(&text).unwrap().as_str()),
        (77, "changed"),
        "{said:#?}"
    );
}
