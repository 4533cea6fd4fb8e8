//! What strangers do to a host that reconcile manages, on purpose or not.

use std::os::unix::fs::symlink;

use crate::support::offer::{Offer, TWO_RELEASES};
use crate::support::tree;
use crate::support::world::World;

const EVIL: &[u8] = b"#!/bin/sh\necho EVIL\n";

/// A host with apps at 1.1.0 after 1.0.0; the source, and what the desired state says of it.
pub(crate) fn upgraded(apps: &[&str]) -> (World, Offer, String) {
    let mut world = World::new();
    let mut offer = Offer::start(TWO_RELEASES, world.temp());
    let source = format!("    source: {{ file: {} }}\n", offer.address());
    let wished: Vec<String> = apps.iter().map(|app| format!("  {app}:\n{source}")).collect();
    world.wish("desired", &format!("apps:\n{}", wished.concat()));
    world.run(&[]).exits(0);
    offer.publish("1.1.0");
    world.tick();
    world.run(&[]).exits(0);
    world.tick();
    (world, offer, source)
}

fn in_use(world: &World) -> String {
    std::fs::read_link(world.path("/opt/tool/bin/tool")).unwrap().to_str().unwrap().to_owned()
}

#[test]
fn kept_release_that_was_changed_is_repaired_before_it_is_used() {
    let (mut world, _offer, source) = upgraded(&["tool"]);
    let kept = world.path("/opt/tool/releases/1.0.0/tool");
    tree::remove(&kept);
    tree::write(&kept, EVIL);
    world.wish("desired", &format!("apps:\n  tool:\n    version: 1.0.0\n{source}"));
    world.run(&[]).exits(0);
    assert!(in_use(&world).contains("1.0.0"));
    assert_ne!(std::fs::read(&kept).unwrap(), EVIL);
}

#[test]
fn copy_of_a_release_under_another_name_is_never_used() {
    let (mut world, _offer, source) = upgraded(&["tool"]);
    let copy = world.path("/opt/tool/releases/0-backup");
    std::fs::create_dir(&copy).unwrap();
    for name in ["tool", ".reconcile.json"] {
        std::fs::copy(world.path("/opt/tool/releases/1.0.0").join(name), copy.join(name)).unwrap();
    }
    world.wish("desired", &format!("apps:\n  tool:\n    version: 1.0.0\n{source}"));
    world.run(&[]).exits(0);
    assert!(in_use(&world).contains("releases/1.0.0/"), "{}", in_use(&world));
}

#[test]
fn directories_beside_our_releases_are_neither_adopted_nor_removed() {
    let (mut world, _offer, source) = upgraded(&["tool"]);
    tree::write(&world.path("/opt/tool/releases/local/tool"), b"mine");
    tree::write(&world.path("/opt/tool/releases/precious/data"), b"mine");
    tree::remove(&world.path("/opt/tool/bin/tool"));
    tree::link(&world.path("/opt/tool/bin/tool"), "../releases/local/tool");
    world.wish("desired", &format!("apps:\n  tool:\n    retain: 1\n{source}"));
    for _ in 0..3 {
        world.run(&[]);
        world.tick();
    }
    assert!(world.path("/opt/tool/releases/local/tool").exists());
    assert!(world.path("/opt/tool/releases/precious/data").exists());
}

#[test]
fn removal_takes_our_links_and_nothing_else_out_of_bin() {
    use std::os::unix::ffi::OsStrExt;
    type Puts = fn(&std::path::Path);
    let bytes = std::ffi::OsStr::from_bytes;
    let stranger: [(&str, &[u8], Puts); 5] = [
        ("directory", b"d", |at| tree::write(&at.join("file"), b"mine")),
        ("pipe", b"p", |at| {
            let (cwd, fifo) = (rustix::fs::CWD, rustix::fs::FileType::Fifo);
            rustix::fs::mknodat(cwd, at, fifo, rustix::fs::Mode::RUSR, 0).unwrap();
        }),
        ("socket", b"s", |at| drop(std::os::unix::net::UnixListener::bind(at).unwrap())),
        ("link", b"l", |at| symlink(std::ffi::OsStr::from_bytes(b"/srv/data\xff"), at).unwrap()),
        ("name", b"n\xff", |at| std::fs::write(at, b"mine").unwrap()),
    ];
    for (what, name, put) in stranger {
        let (mut world, _offer, source) = upgraded(&["tool"]);
        let theirs = world.path("/opt/tool/bin").join(bytes(name));
        put(&theirs);
        let before = std::fs::symlink_metadata(&theirs).unwrap();
        let target = std::fs::read_link(&theirs).ok();
        world.wish(
            "desired",
            &format!(
                "apps:
  other:
{source}"
            ),
        );
        let planned = world.run(&["--dry-run"]).exits(0).stdout;
        assert!(planned.contains("stays, which is not"), "{what}: {planned}");
        assert!(planned.contains("- /opt/tool/bin/tool"), "{what}: {planned}");
        world.run(&[]).exits(0);
        let after = std::fs::symlink_metadata(&theirs).unwrap();
        assert_eq!(
            std::os::unix::fs::MetadataExt::ino(&after),
            std::os::unix::fs::MetadataExt::ino(&before),
            "{what}"
        );
        assert_eq!(std::fs::read_link(&theirs).ok(), target, "{what}");
        let left = std::fs::read_dir(world.path("/opt/tool/bin")).unwrap().count();
        assert_eq!(left, 1, "{what}: our link is gone");
        assert!(!world.path("/opt/tool/releases").exists(), "{what}");
        world.tick();
        assert!(world.run(&[]).stdout.contains("o changes"), "{what}");
    }
}

#[test]
fn app_that_gets_another_name_keeps_its_directory() {
    let (mut world, _offer, source) = upgraded(&["tool"]);
    world.wish("desired", &format!("apps:\n  renamed:\n    home: /opt/tool\n{source}"));
    for _ in 0..2 {
        world.run(&[]).exits(0);
        world.tick();
    }
    assert!(in_use(&world).contains("1.1.0"));
    assert!(world.path("/opt/tool/releases/1.0.0").exists(), "the kept release is kept");
}

#[test]
fn pipe_in_the_place_of_a_manifest_does_not_hang_a_pass() {
    let (world, _offer, _) = upgraded(&["tool"]);
    let place = world.path("/opt/tool/releases/x");
    std::fs::create_dir(&place).unwrap();
    let pipe = place.join(".reconcile.json");
    let made = std::process::Command::new("mkfifo").arg(&pipe).status();
    assert!(made.unwrap().success());
    world.run(&[]).exits(0);
}

#[test]
fn huge_file_in_the_place_of_a_program_is_told_by_its_size() {
    let (world, _offer, _) = upgraded(&["tool"]);
    let program = world.path("/opt/tool/releases/1.1.0/tool");
    tree::remove(&program);
    std::fs::File::create(&program).unwrap().set_len(1 << 42).unwrap();
    let seen = world.run(&["--dry-run"]).exits(0);
    assert!(seen.stdout.contains(&format!("{} bytes", 1_u64 << 42)), "{}", seen.stdout);
}

#[test]
fn links_in_the_place_of_our_directories_are_not_followed() {
    let (world, _offer, _) = upgraded(&["tool"]);
    let outside = world.temp().join("outside");
    tree::write(&outside.join("reconcile-mine/data"), b"mine");
    let staging = world.path("/opt/tool/staging");
    std::fs::remove_dir_all(&staging).unwrap();
    symlink(&outside, &staging).unwrap();
    let refused = world.run(&[]).exits(1);
    assert!(refused.stdout.contains("symbolic link"), "{}", refused.stdout);
    assert!(outside.join("reconcile-mine/data").exists());
}

#[test]
fn plan_that_leads_out_of_its_app_is_refused() {
    let (world, mut offer, _) = upgraded(&["tool"]);
    offer.withdraw("1.1.0");
    let removed = world.path("/opt/tool/bin/tool");
    tree::remove(&removed);
    let file = world.temp().join("plan.json");
    let name = file.to_str().unwrap();
    world.run(&["plan", "--out", name]);
    let text = std::fs::read_to_string(&file).unwrap();
    let mut plan: serde_json::Value = serde_json::from_str(&text).unwrap();
    let step = serde_json::json!({ "op": "remove", "path": "/etc/passwd", "aside": null });
    plan["spec"]["changes"][0]["steps"].as_array_mut().unwrap().push(step);
    let spec = serde_json::to_vec(&plan["spec"]).unwrap();
    let digest: [u8; 32] =
        sha2::Digest::finalize(<sha2::Sha256 as sha2::Digest>::new_with_prefix(spec)).into();
    let hex = data_encoding::HEXLOWER.encode(&digest);
    plan["metadata"]["name"] = format!("sha256:{hex}").into();
    std::fs::write(&file, plan.to_string()).unwrap();
    tree::write(&world.path("/etc/passwd"), b"root");
    let refused = world.run(&["apply", name]).exits(5);
    assert!(refused.stderr.contains("leads out of /opt/tool"), "{}", refused.stderr);
    assert!(world.path("/etc/passwd").exists());
}

#[test]
fn status_and_diff_tell_the_drift_that_a_plan_would_correct() {
    let (world, _offer, _) = upgraded(&["tool"]);
    tree::remove(&world.path("/opt/tool/bin/tool"));
    for command in [&["diff"][..], &["status"], &["--dry-run"]] {
        let said = world.run(command).stdout;
        assert!(said.contains("/opt/tool/bin/tool"), "{command:?}: {said}");
    }
}

#[test]
fn hook_may_leave_a_child_behind() {
    let (mut world, mut offer, source) = upgraded(&["tool"]);
    offer.withdraw("1.1.0");
    let hook = "    run: [[sh, -c, \"sleep 60 & exit 0\"]]\n";
    let wish = format!("apps:\n  tool:\n    version: 1.0.0\n{hook}{source}");
    world.wish("desired", &wish);
    let began = std::time::Instant::now();
    world.run(&["--effects", "run"]).exits(0);
    assert!(began.elapsed().as_secs() < 50, "the child is not waited for");
}

#[test]
fn pass_that_was_told_to_end_is_followed_by_none() {
    let (mut world, _offer, source) = upgraded(&["tool"]);
    let script = world.temp().join("hook");
    let edit =
        "sed -i 's/version: 1.0.0/version: 1.1.0/' desired/wish.yaml; kill -TERM $PPID; sleep 1";
    tree::write(&script, format!("cd {}; {edit}", world.temp().display()).as_bytes());
    let hook = format!("    run: [[sh, {}]]\n", script.display());
    world.wish("desired", &format!("apps:\n  tool:\n    version: 1.0.0\n{hook}{source}"));
    let ran = world.run(&["--effects", "run"]);
    assert!(in_use(&world).contains("1.0.0"), "{}{}", ran.stdout, ran.stderr);
    world.tick();
    world.run(&["--effects", "run"]);
    assert!(in_use(&world).contains("1.1.0"), "the wish was edited");
}

#[test]
fn link_that_leads_elsewhere_by_the_time_it_is_to_go_stays() {
    let (mut world, _offer, source) = upgraded(&["tool", "other"]);
    // What cannot be carried along in `bin`: links go one by one.
    let bin = world.path("/opt/other/bin");
    tree::write(&bin.join("mine/file"), b"mine");
    let retarget = format!("    run: [[ln, -sfn, /bin/true, {}/tool]]\n", bin.display());
    let wish = format!("apps:\n  tool:\n    version: 1.0.0\n{retarget}{source}");
    world.wish("desired", &wish);
    let effects = ["--effects", "run", "--confirm-removals"];
    let ran = world.run(&effects).exits(5);
    assert!(ran.stdout.contains("changed since the plan was made"), "{ran:#?}");
    let leads = || std::fs::read_link(bin.join("tool")).unwrap();
    assert_eq!(leads().to_str(), Some("/bin/true"));
    world.tick();
    let ran = world.run(&effects).exits(0);
    assert_eq!(leads().to_str(), Some("/bin/true"), "{ran:#?}");
    assert!(!world.path("/opt/other/releases").exists(), "{ran:#?}");
}

/// Version 1.0.0, and other bytes that are called the same.
const REPLACED: &str = "kind local
release 1.0.0
  tool-linux-x86_64.tar.gz: tar tool
  SHA256SUMS: sums
release evil tag=1.0.0 later
  tool-linux-x86_64.tar.gz: tar tool
  SHA256SUMS: sums
";

#[test]
fn release_that_was_lost_is_not_replaced_by_other_bytes_of_its_version() {
    for lost in [&[][..], &["opt/tool/releases"], &["opt/tool/releases", "var/cache/reconcile"]] {
        let mut world = World::new();
        let mut offer = Offer::start(REPLACED, world.temp());
        let source = offer.address();
        let wish = |more: &str| format!("apps:\n  tool:\n    source: {{ file: {source} }}\n{more}");
        world.wish("desired", &wish(""));
        world.pass();
        let program = world.path("/opt/tool/bin/tool");
        let good = std::fs::read(&program).unwrap();
        offer.publish("evil");
        for path in lost {
            tree::remove(&world.path(path));
        }
        world.tick();
        let said = world.run(&[]).exits(77).stdout;
        assert!(said.contains("a published version must not change"), "{lost:?}: {said}");
        assert!(said.contains("verify: { digest: "), "{lost:?}: {said}");
        // What was accepted is put back where the cache has it.
        let here = std::fs::read(&program).ok();
        assert_eq!(here, (lost.len() < 2).then_some(good), "{lost:?}: {said}");
        let archive = std::path::Path::new(&source).join("1.0.0/tool-linux-x86_64.tar.gz");
        let archive = std::fs::read(archive).unwrap();
        let digest =
            data_encoding::HEXLOWER.encode(&<sha2::Sha256 as sha2::Digest>::digest(&archive));
        world.wish("desired", &wish(&format!("    verify: {{ digest: \"sha256:{digest}\" }}\n")));
        world.pass();
        let accepted = std::fs::read_to_string(&program).unwrap();
        assert!(accepted.contains("evil"), "{lost:?}: {accepted}");
        world.wish("desired", &wish(""));
        world.nothing_to_do();
    }
}

#[test]
fn release_that_was_lost_is_made_of_what_the_cache_has_while_the_source_is_away() {
    let mut world = World::new();
    let offer = Offer::start(REPLACED, world.temp());
    world
        .wish("desired", &format!("apps:\n  tool:\n    source: {{ file: {} }}\n", offer.address()));
    world.pass();
    tree::remove(&world.path("/opt/tool/releases"));
    offer.go_down();
    world.pass();
    assert!(world.path("/opt/tool/bin/tool").exists());
    offer.come_up();
    world.nothing_to_do();
}

#[test]
fn files_of_somebody_in_releases_stay_when_their_app_goes() {
    let (mut world, _offer, _) = upgraded(&["tool"]);
    let mine = ["/opt/tool/releases/1.1.0/local.conf", "/opt/tool/releases/1.0.0/more/x"];
    for path in mine {
        tree::write(&world.path(path), b"mine");
    }
    world.wish("desired", "apps: {}\n");
    let said = world.run(&["--confirm-removals"]).exits(0).stdout;
    for told in ["1.1.0/local.conf", "1.0.0/more"] {
        let told = format!("/opt/tool/releases/{told} stays, which is not reconcile's own");
        assert!(said.contains(&told), "{said}");
    }
    for path in mine {
        assert_eq!(std::fs::read(world.path(path)).unwrap(), b"mine", "{said}");
    }
    for gone in ["bin", "staging", "releases/1.1.0/tool", "releases/1.0.0/.reconcile.json"] {
        assert!(!world.path("/opt/tool").join(gone).exists(), "{gone}: {said}");
    }
    world.nothing_to_do();
}

#[test]
fn files_of_somebody_that_go_with_a_release_are_told() {
    let (mut world, _offer, source) = upgraded(&["tool"]);
    tree::write(&world.path("/opt/tool/releases/1.0.0/local.conf"), b"mine");
    world.wish("desired", &format!("apps:\n  tool:\n    retain: 1\n{source}"));
    let said = world.run(&["--dry-run"]).exits(0).stdout;
    let told = "/opt/tool/releases/1.0.0/local.conf goes as well, which is not reconcile's own";
    assert!(said.contains(told), "{said}");
}

#[test]
fn file_of_somebody_in_the_place_of_a_link_is_told_as_what_it_is() {
    let (mut world, _offer, _) = upgraded(&["tool"]);
    let link = world.path("/opt/tool/bin/tool");
    tree::remove(&link);
    tree::write(&link, b"mine");
    for question in [&["diff"][..], &["explain", "app/tool"]] {
        let said = world.run(question).stdout;
        assert!(said.contains("regular file") && !said.contains("nothing"), "{said}");
    }
    world.run(&[]).exits(1);
    world.tick();
    let status = world.run(&["status"]);
    assert!(status.stdout.contains("Stalled"), "{status:#?}");
    assert!(status.stdout.contains("Blocked (Foreign)"), "{status:#?}");
    assert_eq!(std::fs::read(&link).unwrap(), b"mine");
}
