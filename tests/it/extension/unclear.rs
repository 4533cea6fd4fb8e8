//! Definitions of the host that cannot be read: nothing that they may wish is taken away.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::Host;

const TRANSFER: &str = "usr/lib/sysupdate.extra.d/demo.transfer";
const FEATURE: &str = "usr/lib/sysupdate.extra.d/devel.feature";
const COMPONENT: &str = "usr/lib/sysupdate.extra.component";
const DROP_IN: &str = "etc/sysupdate.extra.d/devel.feature.d/50-on.conf";
const DIRECTORY: &str = "usr/lib/sysupdate.extra.d";

/// One extension behind a feature of a component, installed.
fn host(as_what: &str) -> Host {
    let mut host = Host::new();
    let source = host.source().display().to_string();
    let transfer = format!(
        "[Transfer]\nVerify=no\nFeatures=devel\n[Source]\nType=url-file\nPath=file://{source}\n\
         MatchPattern=demo_@v.raw\n[Target]\nType=regular-file\nPath=/var/lib/extensions.d\n\
         MatchPattern=demo_@v.raw\nCurrentSymlink=/var/lib/extensions/demo.raw\n"
    );
    for (path, text) in [
        (TRANSFER, transfer.as_str()),
        (FEATURE, "[Feature]\nEnabled=false\n"),
        (DROP_IN, "[Feature]\nEnabled=true\n"),
        (COMPONENT, "[Component]\nDescription=Extras\n"),
    ] {
        let path = host.world.path(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
    host.publish("demo_1.raw", "one");
    host.world.wish("desired", &format!("sysupdate: {{ as: {as_what} }}\n"));
    host.converges();
    host
}

fn link(host: &Host) -> PathBuf {
    host.world.path("var/lib/extensions/demo.raw")
}

/// Puts something else in the place of a file or directory, and the same back.
fn spoiled(host: &mut Host, path: &str, spoil: impl Fn(&Path), then: impl Fn(&mut Host)) {
    let place = host.world.path(path);
    let kept = place.with_file_name("kept-for-later");
    fs::rename(&place, &kept).unwrap();
    spoil(&place);
    then(host);
    let gone = fs::remove_file(&place).or_else(|_| fs::remove_dir_all(&place));
    gone.unwrap();
    fs::rename(&kept, &place).unwrap();
}

fn nothing_goes(host: &mut Host, what: &str) {
    let before = host.refreshes();
    let ran = host.pass();
    assert_eq!(ran.code, 1, "{what}: {ran:#?}");
    assert!(ran.stdout.contains("stays as it is until that is mended"), "{what}: {ran:#?}");
    assert!(fs::metadata(link(host)).is_ok(), "{what}: {ran:#?}");
    assert_eq!(host.refreshes(), before, "{what}");
}

#[test]
fn definition_that_cannot_be_read_takes_nothing_away() {
    for as_what in ["sysupdate", "updex"] {
        let mut host = host(as_what);
        let pipe = |place: &Path| {
            assert!(Command::new("mkfifo").arg(place).status().unwrap().success());
        };
        let turn = |place: &Path| symlink(place.file_name().unwrap(), place).unwrap();
        let nowhere = |place: &Path| symlink("/nowhere/at/all", place).unwrap();
        let large = |place: &Path| fs::write(place, "#".repeat(2 << 20)).unwrap();
        let garbage = |place: &Path| fs::write(place, "gar\0bage\n[[").unwrap();
        for (path, spoil) in [
            (TRANSFER, &pipe as &dyn Fn(&Path)),
            (TRANSFER, &turn),
            (TRANSFER, &nowhere),
            (TRANSFER, &large),
            (TRANSFER, &garbage),
            (TRANSFER, &|place| fs::write(place, "[Source]\nType=url-tr\n").unwrap()),
            (FEATURE, &pipe),
            (FEATURE, &garbage),
            (DROP_IN, &turn),
            (DROP_IN, &|place| fs::write(place, "[Feature]\nEnabled=maybe\n").unwrap()),
            ("etc/sysupdate.extra.d/devel.feature.d", &turn),
            (COMPONENT, &garbage),
            (COMPONENT, &|place| fs::write(place, "[Component]\nEnabled=maybe\n").unwrap()),
            (DIRECTORY, &turn),
            (DIRECTORY, &nowhere),
            (DIRECTORY, &garbage),
            ("usr/lib", &garbage),
        ] {
            let what = format!("{as_what}, {path}");
            spoiled(&mut host, path, spoil, |host| nothing_goes(host, &what));
        }
        host.is_settled();
    }
}

#[test]
fn component_that_is_broken_is_left_alone_while_another_one_goes_on() {
    let mut host = host("sysupdate");
    let other = host.world.path("usr/lib/sysupdate.d/other.transfer");
    fs::create_dir_all(other.parent().unwrap()).unwrap();
    let text = fs::read_to_string(host.world.path(TRANSFER)).unwrap();
    fs::write(&other, text.replace("demo", "other").replace("Features=devel\n", "")).unwrap();
    host.publish("other_1.raw", "one");
    host.publish("demo_2.raw", "two");
    spoiled(
        &mut host,
        FEATURE,
        |place| fs::write(place, "[[").unwrap(),
        |host| {
            nothing_goes_but_other(host);
        },
    );
    host.converges();
    assert!(fs::read_link(link(&host)).unwrap().ends_with("demo_2.raw"));
}

fn nothing_goes_but_other(host: &mut Host) {
    let ran = host.pass();
    assert_eq!(ran.code, 1, "{ran:#?}");
    assert!(fs::read_link(link(host)).unwrap().ends_with("demo_1.raw"));
    assert!(fs::metadata(host.world.path("var/lib/extensions/other.raw")).is_ok());
}

#[test]
fn what_is_masked_or_gone_is_read_as_such() {
    for spoil in [
        (|place| fs::write(place, "").unwrap()) as fn(&Path),
        |place| symlink("/dev/null", place).unwrap(),
        |place| fs::write(place.with_file_name("README"), "").unwrap(),
    ] {
        let mut host = host("sysupdate");
        fs::remove_file(host.world.path(TRANSFER)).unwrap();
        spoil(&host.world.path(TRANSFER));
        host.converges();
        assert!(!link(&host).is_symlink());
    }
}

#[test]
fn directory_of_definitions_behind_a_link_is_read() {
    let mut host = host("sysupdate");
    fs::rename(host.world.path(DIRECTORY), host.world.path("usr/lib/elsewhere")).unwrap();
    symlink("elsewhere", host.world.path(DIRECTORY)).unwrap();
    host.is_settled();
}
