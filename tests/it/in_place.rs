//! Programs replaced in place that somebody else had put there.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};

use data_encoding::{BASE64, HEXLOWER};
use reconcile::format::packed::Packing;
use rustix::fs::{XattrFlags, getxattr, setxattr};
use sha2::{Digest as _, Sha256};

use crate::crash::kill_at_every_call;
use crate::support::duo::{DRY, PASS, RECONCILE, World as Duo, said};
use crate::support::server::{Reply, Server};
use crate::support::trace::{Act, Call, Program, trace, trace_with};
use crate::support::tree;
use crate::support::world::World;

const TOOL: &str = "/usr/local/bin/tool";

fn program(version: &str) -> Vec<u8> {
    format!("#!/bin/sh\necho tool {version}\n").into_bytes()
}

fn offer(server: &Server, version: &str) {
    let sha256 = BASE64.encode(&Sha256::digest(program(version)));
    let manifest = format!(r#"{{"Version":"{version}","Sha256":"{sha256}"}}"#);
    server.serve("/tool/linux-amd64.json", Reply::file(manifest));
    let mut packed = Vec::new();
    Packing::Gzip.pack(&mut &program(version)[..], &mut packed).unwrap();
    server.serve(&format!("/tool/{version}/linux-amd64.gz"), Reply::file(packed));
}

/// A host with a program of somebody else, and the wish to replace it.
fn host(found: &[u8], more: &str) -> (Server, World) {
    let server = Server::start();
    offer(&server, "1.0");
    let mut world = World::new();
    let wish = format!(
        "apps:\n  tool:\n    source: {{ selfupdate: {{ api: \"{}\", cmd: tool, platform: linux-amd64 }} }}\n    \
         verify: {{ min: checksum }}\n    layout: {{ file: {TOOL} }}\n{more}",
        server.url("")
    );
    world.wish("desired", &wish);
    world.options = vec!["--effects".to_owned(), "run".to_owned()];
    tree::write(&world.path(TOOL), found);
    fs::set_permissions(world.path(TOOL), fs::Permissions::from_mode(0o750)).unwrap();
    (server, world)
}

fn installed(world: &World) -> (Vec<u8>, u32) {
    let mode = world.path(TOOL).metadata().unwrap().permissions().mode();
    (fs::read(world.path(TOOL)).unwrap(), mode & 0o7777)
}

#[test]
fn program_that_was_there_before_us_can_be_gone_back_to() {
    let (server, mut world) = host(b"mine", "");
    let plan = world.run(&["--dry-run"]).exits(0).stdout;
    assert!(
        plan.contains("/opt/tool/releases/adopted/ (what is there now, to go back to)"),
        "{plan}"
    );
    world.run(&[]).exits(0);
    assert_eq!(installed(&world), (program("1.0"), 0o750));
    world.tick();
    assert!(world.run(&[]).exits(0).stdout.contains("No changes"));
    world.run(&["rollback", "app/tool", "--reason", "it was better"]).exits(0);
    assert_eq!(installed(&world), (b"mine".to_vec(), 0o750));
    world.tick();
    assert!(world.run(&[]).exits(0).stdout.contains("No changes"));
    offer(&server, "1.1");
    world.run(&["resume", "app/tool"]).exits(0);
    world.tick();
    world.run(&[]).exits(0);
    assert_eq!(installed(&world), (program("1.1"), 0o750));
}

#[test]
fn program_that_was_there_before_us_comes_back_when_the_first_release_does_not_work() {
    let health = "    health:\n      exec: [\"false\"]\n      interval: 100ms\n      stable: 100ms\n      deadline: 300ms\n";
    let (_server, mut world) = host(b"mine", health);
    let said = world.run(&[]).exits(6).stdout;
    assert!(said.contains("what was there before is in use again"), "{said}");
    assert_eq!(installed(&world), (b"mine".to_vec(), 0o750));
    world.tick();
    world.run(&[]).exits(3);
    assert_eq!(installed(&world), (b"mine".to_vec(), 0o750));
}

#[test]
fn program_that_came_back_after_a_failed_check_is_not_fetched_again_as_the_release_that_it_is() {
    let mut world = World::new();
    let releases = world.temp().join("releases");
    let publish = |versions: &[&str]| {
        let mut sums = String::new();
        for version in versions {
            tree::write(&releases.join(format!("tool-{version}")), &program(version));
            let digest = HEXLOWER.encode(&Sha256::digest(program(version)));
            sums.push_str(&format!("{digest}  tool-{version}\n"));
        }
        tree::write(&releases.join("SHA256SUMS"), sums.as_bytes());
    };
    let log = world.temp().join("restarted");
    let wish = format!(
        "apps:\n  tool:\n    source: {{ file: {{ path: {}, pattern: \"tool-{{version}}\" }} }}\n    layout: {{ \
         file: {TOOL} }}\n    run: [[sh, -c, \"echo again >> {}\"]]\n    health:\n      exec: [grep, \"tool 1.0\", \
         {}]\n      interval: 100ms\n      stable: 100ms\n      deadline: 300ms\n",
        releases.display(),
        log.display(),
        world.path(TOOL).display(),
    );
    world.wish("desired", &wish);
    world.options = vec!["--effects".to_owned(), "run".to_owned()];
    publish(&["1.0"]);
    tree::write(&world.path(TOOL), &program("1.0"));
    fs::set_permissions(world.path(TOOL), fs::Permissions::from_mode(0o755)).unwrap();
    world.nothing_to_do();
    publish(&["1.0", "1.1"]);
    world.tick();
    world.run(&[]).exits(6);
    let inode = world.path(TOOL).metadata().unwrap().ino();
    let restarted = fs::read(&log).unwrap();
    for _ in 0..2 {
        world.tick();
        let ran = world.run(&[]).exits(3);
        assert!(!ran.stdout.contains("Changes:"), "{ran:#?}");
    }
    assert_eq!(installed(&world), (program("1.0"), 0o755));
    assert_eq!(world.path(TOOL).metadata().unwrap().ino(), inode);
    assert_eq!(fs::read(&log).unwrap(), restarted);
    publish(&["1.0", "1.0.1", "1.1"]);
    tree::write(&releases.join("tool-1.0.1"), b"#!/bin/sh\necho tool 1.0 again\n");
    let digest = HEXLOWER.encode(&Sha256::digest(b"#!/bin/sh\necho tool 1.0 again\n"));
    tree::write(&releases.join("SHA256SUMS"), format!("{digest}  tool-1.0.1\n").as_bytes());
    world.tick();
    world.run(&[]);
    assert!(installed(&world).0.ends_with(b"again\n"), "a newer one is taken");
}

#[test]
fn very_program_that_is_wished_is_left_where_it_is() {
    let (server, mut world) = host(&program("1.0"), "");
    let plan = world.run(&["--dry-run"]).exits(0).stdout;
    assert!(plan.starts_with("No changes"), "{plan}");
    world.run(&[]).exits(0);
    assert!(!world.path("/opt/tool").exists());
    let status = world.run(&["status"]).exits(0).stdout;
    assert!(status.contains("1.0") && !status.contains("not ready"), "{status}");
    let asked = server.paths();
    assert!(asked.iter().all(|path| path.ends_with(".json")), "{asked:?}");
    offer(&server, "1.1");
    world.tick();
    let plan = world.run(&["--dry-run"]).exits(0).stdout;
    assert!(plan.contains("1.0 -> 1.1") && plan.contains("the source has 1.1"), "{plan}");
    world.run(&[]).exits(0);
    assert_eq!(installed(&world), (program("1.1"), 0o750));
    let back = world.run(&["rollback", "app/tool", "--reason", "test"]).exits(0).stdout;
    assert!(back.contains("1.1 -> 1.0"), "{back}");
    assert_eq!(installed(&world), (program("1.0"), 0o750));
}

#[test]
fn program_that_was_recognised_and_changed_since_is_drift_and_never_gone_back_to() {
    let (server, mut world) = host(&program("1.0"), "");
    world.run(&[]).exits(0);
    tree::write(&world.path(TOOL), b"evil");
    let status = world.run(&["status"]).stdout;
    assert!(status.contains("Drifted (Modified): /usr/local/bin/tool"), "{status}");
    let wrong = |world: &World, action: &str| {
        let plan = world.run(&["--dry-run", "-o", "json"]).exits(0).json();
        let change = &plan["spec"]["changes"][0];
        assert_eq!(change["drift"][0]["expected"], "the program of 1.0", "{change:#}");
        assert_eq!(change["action"], action, "{change:#}");
        assert_eq!(change["before"]["version"], "1.0", "{change:#}");
    };
    world.tick();
    wrong(&world, "repair");
    offer(&server, "1.1");
    world.tick();
    wrong(&world, "upgrade");
    world.run(&[]).exits(0);
    assert_eq!(installed(&world).0, program("1.1"));
    assert!(!world.path("/opt/tool/releases/adopted").exists());
    let refused = world.run(&["rollback", "app/tool", "--reason", "test"]);
    assert_ne!(refused.code, 0, "{refused:#?}");
    assert_eq!(installed(&world).0, program("1.1"));
    assert_eq!(fs::read(world.path("/usr/local/bin/tool.backup")).unwrap(), b"evil");
    world.nothing_to_do();
}

/// `cap_net_bind_service+ep`, as the kernel keeps it: version 2, effective, permitted.
const CAPABILITY: [u8; 20] = [1, 0, 0, 2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];

#[test]
fn g5_s2_owner_group_mode_attributes_and_capabilities_stay() {
    let (_server, world) = host(b"mine", "");
    let file = world.path(TOOL);
    let own = file.metadata().unwrap();
    let root = rustix::process::geteuid().is_root();
    let (owner, group) = if root { (1234, 4321) } else { (own.uid(), own.gid()) };
    chown(&file, Some(owner), Some(group)).unwrap();
    // Not every file system has attributes, and not everybody may set all of them.
    let attributes: [(&str, &[u8]); 2] =
        [("user.reconcile.test", b"kept"), ("security.capability", &CAPABILITY)];
    let has = attributes.map(|(name, value)| setxattr(&file, name, value, XattrFlags::empty()));
    assert!(!root || has[1].is_ok(), "root can give capabilities: {has:?}");
    let ran = world.run(&[]).exits(0);
    assert!(!ran.stdout.contains("lost attributes"), "{ran:#?}");
    assert_eq!(installed(&world), (program("1.0"), 0o750));
    let now = file.metadata().unwrap();
    assert_eq!((now.uid(), now.gid()), (owner, group));
    for ((name, value), has) in attributes.iter().zip(has) {
        let mut found = [0; 32];
        let length = getxattr(&file, *name, &mut found).unwrap_or(0);
        assert_eq!(&found[..length], if has.is_ok() { *value } else { b"" }, "{name}");
    }
}

#[test]
#[cfg(target_arch = "x86_64")]
fn attribute_that_may_not_be_set_is_told_and_keeps_nothing_from_being_replaced() {
    let (_server, world) = host(b"mine", "");
    let file = world.path(TOOL);
    if setxattr(&file, "user.reconcile.test", b"x", XattrFlags::empty()).is_err() {
        println!("this file system has no attributes, so that none can be refused");
        return;
    }
    let before = world.temp().join("before");
    fs::rename(world.root(), &before).unwrap();
    let copied = |to: &std::path::Path| {
        let copy = ["-a", before.to_str().unwrap(), to.to_str().unwrap()];
        assert!(std::process::Command::new("cp").args(copy).status().unwrap().success());
    };
    copied(&world.root());
    let program = pass_of(&world);
    let watched = trace(&program, Act::Watch);
    assert_eq!(watched.code, Some(0), "{}", watched.said());
    let at = watched.calls.iter().position(|call| call.name == "setxattr").unwrap();
    tree::remove(&world.root());
    copied(&world.root());
    let refused = trace(&program, Act::Fail(at + 1, nix::errno::Errno::EPERM));
    assert_eq!(refused.code, Some(0), "{}", refused.said());
    assert!(refused.said().contains("lost attributes"), "{}", refused.said());
    assert!(refused.said().contains("user.reconcile.test"), "{}", refused.said());
    assert_eq!(installed(&world), (self::program("1.0"), 0o750));
}

/// A pass over a world, to be traced.
fn pass_of(world: &World) -> Program {
    let mut arguments = vec!["--root".to_owned(), world.root().display().to_string()];
    arguments.extend(["--desired".to_owned(), world.desired.display().to_string()]);
    let environment = vec![("PATH".to_owned(), "/usr/bin:/bin".to_owned())];
    Program { path: RECONCILE.into(), arguments, environment }
}

#[test]
fn g4_s3_new_program_is_on_the_disk_before_it_replaces_the_old() {
    let (_server, world) = host(b"mine", "");
    let ended = trace(&pass_of(&world), Act::Watch);
    assert_eq!(ended.code, Some(0), "{}", ended.said());
    let file = world.path(TOOL);
    let beside = file.with_file_name(".tool.reconcile-new");
    let at = |name: &str, path: &std::path::Path| {
        let is = |call: &Call| call.name == name && call.paths.iter().any(|found| found == path);
        ended.calls.iter().position(is)
    };
    let (synced, replaced) = (at("fsync", &beside), at("rename", &beside));
    assert!(synced.is_some() && synced < replaced, "{synced:?} {replaced:?}: {:#?}", ended.calls);
}

/// What a program of this host prints.
fn says(path: &std::path::Path) -> Result<String, String> {
    let output = std::process::Command::new(path).output().map_err(|e| e.to_string())?;
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

#[test]
fn killed_first_replacement_leaves_a_program_and_keeps_the_one_before() {
    let mut duo = Duo::new();
    let file = |duo: &Duo| duo.host("usr/local/bin/alpha");
    tree::write(&file(&duo), b"#!/bin/sh\necho mine\n");
    fs::set_permissions(file(&duo), fs::Permissions::from_mode(0o755)).unwrap();
    duo.wish("2.0", 3);
    duo.wish_also("    layout: { file: /usr/local/bin/alpha }\n");
    kill_at_every_call(&mut duo, ("first replacement", &PASS, 0), |duo| {
        let between = says(&file(duo));
        let again = duo.agent(&PASS);
        let (after, before) = (says(&file(duo)), says(&duo.host("opt/duo/releases/adopted/alpha")));
        let dry = said(&duo.agent(&DRY));
        let good = matches!(between.as_deref(), Ok("mine" | "2.0"))
            && again.status.success()
            && (after.as_deref(), before.as_deref()) == (Ok("2.0"), Ok("mine"))
            && dry.contains("No changes")
            && duo.leftovers().is_empty();
        if good {
            return Vec::new();
        }
        vec![format!("{between:?}, {after:?}, {before:?}: {} {dry}", said(&again))]
    });
}

#[test]
fn killed_move_leaves_a_program_somewhere_and_goes_on() {
    let mut duo = Duo::new();
    let (old, new) = ("usr/local/bin/alpha", "usr/local/sbin/alpha");
    duo.wish("2.0", 3);
    duo.wish_also("    layout: { file: /usr/local/bin/alpha }\n");
    duo.pass();
    duo.wish("2.0", 3);
    duo.wish_also("    layout: { file: /usr/local/sbin/alpha }\n");
    kill_at_every_call(&mut duo, ("move", &PASS, 0), |duo| {
        let between = [old, new].map(|file| says(&duo.host(file)));
        let again = duo.agent(&PASS);
        let after = says(&duo.host(new));
        let dry = said(&duo.agent(&DRY));
        let good = between.iter().any(|said| said.as_deref() == Ok("2.0"))
            && again.status.success()
            && after.as_deref() == Ok("2.0")
            && !duo.host(old).exists()
            && dry.contains("No changes")
            && duo.leftovers().is_empty();
        if good {
            return Vec::new();
        }
        vec![format!("{between:?}, {after:?}: {} {dry}", said(&again))]
    });
}

#[test]
fn killed_patching_leaves_a_program_that_runs() {
    let mut duo = Duo::new();
    let file = |duo: &Duo| duo.host("usr/local/bin/alpha");
    let repository = duo.path("repository").display().to_string();
    let mut noise = 11_u32;
    let noise: Vec<u8> = (0..20_000)
        .map(|_| {
            noise = noise.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (noise >> 24) as u8
        })
        .collect();
    for version in ["1.0", "2.0"] {
        let built = duo.path(&format!("built/{version}"));
        let program = [format!("#!/bin/sh\necho {version}\nexit\n").as_bytes(), &noise].concat();
        let mut packed = Vec::new();
        Packing::Gzip.pack(&mut &program[..], &mut packed).unwrap();
        tree::write(&built.join("alpha-linux-x86_64.gz"), &packed);
        let built = built.display().to_string();
        let published = duo.agent(&["publish", "release", &built, "--to", &repository]);
        assert!(published.status.success(), "{}", said(&published));
        duo.wish_from(&format!("{{ file: {repository} }}"), version, 3);
        duo.wish_also(
            "    asset: alpha-linux-x86_64.gz\n    layout: { file: /usr/local/bin/alpha }\n",
        );
        if version == "1.0" {
            duo.pass();
        }
    }
    let plan = said(&duo.agent(&DRY));
    assert!(plan.contains("patch /opt/duo/releases/1.0/"), "{plan}");
    kill_at_every_call(&mut duo, ("patching", &PASS, 0), |duo| {
        let between = says(&file(duo));
        let again = duo.agent(&PASS);
        let after = says(&file(duo));
        let dry = said(&duo.agent(&DRY));
        let good = matches!(between.as_deref(), Ok("1.0" | "2.0"))
            && again.status.success()
            && after.as_deref() == Ok("2.0")
            && dry.contains("No changes")
            && duo.leftovers().is_empty();
        if good {
            return Vec::new();
        }
        vec![format!("{between:?}, {after:?}: {} {dry}", said(&again))]
    });
}

#[test]
fn program_known_by_its_own_digest_is_not_fetched_before_its_window() {
    let (server, mut world) = host(b"mine", "");
    world.run(&[]).exits(0);
    let never = b"windows: { nights: { start: '00:00', for: 1m, zone: UTC0, days: [sun] } }";
    tree::write(&world.path("/etc/reconcile/agent.yaml"), never);
    offer(&server, "2.0");
    for _ in 0..2 {
        world.tick();
        server.take_requests();
        // What it comes in would be found again by a digest that nobody stated: each pass would fetch it anew.
        assert!(world.run(&[]).exits(3).stdout.contains("deferred"));
        assert!(
            !server.paths().iter().any(|path| path.starts_with("/tool/2.0")),
            "{:?}",
            server.paths()
        );
    }
    tree::write(&world.path("/etc/reconcile/agent.yaml"), b"{}");
    world.run(&[]).exits(0);
    assert_eq!(installed(&world).0, program("2.0"));
}

#[test]
fn saved_plan_that_names_a_backup_or_a_program_elsewhere_is_refused() {
    let (server, mut world) = host(b"mine", "");
    world.run(&[]).exits(0);
    offer(&server, "2.0");
    world.tick();
    let file = world.temp().join("plan.json");
    let name = file.to_str().unwrap();
    world.run(&["plan", "--out", name]);
    let text = fs::read_to_string(&file).unwrap();
    for (key, value) in [
        ("backup", serde_json::json!({ "path": "/etc/passwd", "replaces": true })),
        ("program", "../../../../../etc/shadow".into()),
        ("program", "/etc/shadow".into()),
    ] {
        let mut plan: serde_json::Value = serde_json::from_str(&text).unwrap();
        let steps = plan["spec"]["changes"][0]["steps"].as_array_mut().unwrap();
        let install = steps.iter_mut().find(|step| step["op"] == "install").unwrap();
        install[key] = value;
        let named = Sha256::digest(serde_json::to_vec(&plan["spec"]).unwrap());
        let named = data_encoding::HEXLOWER.encode(&named);
        plan["metadata"]["name"] = format!("sha256:{named}").into();
        fs::write(&file, plan.to_string()).unwrap();
        let refused = world.run(&["apply", name]).exits(5);
        assert!(refused.stderr.contains("leads out of"), "{key}: {}", refused.stderr);
        assert_eq!(installed(&world).0, program("1.0"));
    }
}

#[test]
fn every_edit_of_a_program_in_place_is_kept() {
    let (server, mut world) = host(b"mine", "");
    world.run(&[]).exits(0);
    let mut version = "1.0";
    for number in 1..10 {
        let edit = format!("edit {number}");
        tree::write(&world.path(TOOL), edit.as_bytes());
        if number == 3 {
            offer(&server, "1.1");
            version = "1.1";
        }
        world.tick();
        let kept = format!("{TOOL}.backup.{number}");
        let plan = world.run(&["--dry-run"]).exits(0).stdout;
        assert!(plan.contains(&kept), "{plan}");
        world.run(&[]).exits(0);
        assert_eq!(installed(&world).0, program(version));
        assert_eq!(fs::read(world.path(&kept)).unwrap(), edit.as_bytes());
    }
    assert_eq!(fs::read(world.path(&format!("{TOOL}.backup"))).unwrap(), b"mine");
    tree::write(&world.path(TOOL), b"one too many");
    world.tick();
    let said = world.run(&[]).exits(1).stdout;
    assert!(said.contains("every name from /usr/local/bin/tool.backup on is taken"), "{said}");
    assert_eq!(installed(&world).0, b"one too many");
}

#[test]
#[cfg(target_arch = "x86_64")]
fn link_that_is_exchanged_for_the_program_meanwhile_is_neither_read_nor_copied() {
    for comes_back in [false, true] {
        let (_server, world) = host(b"mine", "");
        let secret = world.temp().join("secret");
        tree::write(&secret, b"of somebody else");
        let (file, away) = (world.path(TOOL), world.temp().join("away"));
        let mut exchanged = 0;
        let ended = trace_with(&pass_of(&world), Act::Watch, &mut |call| {
            let of = |name: &str, end: &str| {
                call.name == name && call.paths.iter().any(|path| path.ends_with(end))
            };
            // When what is there now has been looked at, and before anything of it is kept.
            let kept = |path: &std::path::Path| path.to_string_lossy().contains("adopted");
            if exchanged == 0 && call.name == "mkdir" && kept(&call.paths[0]) {
                fs::rename(&file, &away).unwrap();
                std::os::unix::fs::symlink(&secret, &file).unwrap();
                exchanged = 1;
            } else if exchanged == 1 && comes_back && of("fsync", "bin/.tool.reconcile-new") {
                fs::rename(&away, &file).unwrap();
                exchanged = 2;
            }
        });
        assert_eq!(exchanged, 1 + i32::from(comes_back), "{:#?}", ended.calls);
        let adopted = fs::read(world.path("/opt/tool/releases/adopted/tool"));
        assert_ne!(adopted.unwrap_or_default(), b"of somebody else");
        assert!(!file.with_file_name(".tool.reconcile-new").exists(), "{}", ended.said());
        assert_eq!(fs::read(&secret).unwrap(), b"of somebody else");
        if comes_back {
            assert_eq!(ended.code, Some(0), "{}", ended.said());
            assert_eq!(installed(&world), (program("1.0"), 0o750));
        } else {
            assert_eq!(ended.code, Some(1), "{}", ended.said());
            assert_eq!(fs::read_link(&file).unwrap(), secret, "what is there is left alone");
        }
    }
}

#[test]
fn replacement_that_fails_leaves_nothing_beside_the_program() {
    let (_server, world) = host(b"mine", "");
    let copied = trace(&pass_of(&world), Act::Watch);
    assert_eq!(copied.code, Some(0), "{}", copied.said());
    let file = world.path(TOOL);
    let beside = file.with_file_name(".tool.reconcile-new");
    let is = |call: &Call| call.name == "rename" && call.paths.contains(&beside);
    let at = copied.calls.iter().position(is).unwrap();
    let (_server, world) = host(b"mine", "");
    let failed = trace(&pass_of(&world), Act::Fail(at + 1, nix::errno::Errno::EPERM));
    assert_eq!(failed.code, Some(1), "{}", failed.said());
    let file = world.path(TOOL);
    assert_eq!(fs::read(&file).unwrap(), b"mine");
    assert!(!file.with_file_name(".tool.reconcile-new").exists(), "{}", failed.said());
    assert!(!file.with_file_name("tool.backup").exists(), "{}", failed.said());
}

#[test]
fn edit_that_keeps_size_and_time_is_found_where_content_is_compared() {
    let (_server, mut world) = host(b"mine", "");
    world.run(&[]).exits(0);
    let file = world.path(TOOL);
    let modified = file.metadata().unwrap().modified().unwrap();
    let edited = program("1.0").into_iter().map(|byte| if byte == b't' { b'T' } else { byte });
    fs::write(&file, edited.collect::<Vec<u8>>()).unwrap();
    fs::File::options().write(true).open(&file).unwrap().set_modified(modified).unwrap();
    world.tick();
    let plan = world.run(&["--deep", "--dry-run"]).exits(0).stdout;
    assert!(plan.contains("/usr/local/bin/tool"), "{plan}");
    let status = world.run(&["--deep", "status"]).stdout;
    assert!(status.contains("Drifted (Modified)"), "{status}");
    world.run(&["--deep"]).exits(0);
    assert_eq!(installed(&world).0, program("1.0"));
}

/// A program of a fixed size that a patch to is short.
fn noisy(version: &str) -> Vec<u8> {
    let mut noise = 11_u32;
    let noise = (0..20_000).map(|_| {
        noise = noise.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (noise >> 24) as u8
    });
    format!("#!/bin/sh\necho {version}\nexit\n").into_bytes().into_iter().chain(noise).collect()
}

#[test]
fn program_that_somebody_puts_back_is_not_taken_for_the_one_that_was_patched_from_it() {
    let mut world = World::new();
    let repository = world.temp().join("repository").display().to_string();
    world.wish(
        "desired",
        &format!(
            "apps:\n  tool:\n    source: {{ file: {repository} }}\n    asset: tool-linux-x86_64.gz\n    retain: 1\n    \
             layout: {{ file: {TOOL} }}\n"
        ),
    );
    let saved = world.temp().join("saved");
    for version in ["1.0", "2.0"] {
        let mut packed = Vec::new();
        Packing::Gzip.pack(&mut &noisy(version)[..], &mut packed).unwrap();
        let built = world.temp().join("built").join(version);
        tree::write(&built.join("tool-linux-x86_64.gz"), &packed);
        let built = built.display().to_string();
        world.run(&["publish", "release", &built, "--to", &repository]).exits(0);
        if version == "2.0" {
            let file = world.path(TOOL);
            fs::rename(&file, &saved).unwrap();
            fs::copy(&saved, &file).unwrap();
            let modified = saved.metadata().unwrap().modified().unwrap();
            fs::File::options().write(true).open(&file).unwrap().set_modified(modified).unwrap();
            let plan = world.run(&["--dry-run"]).stdout;
            assert!(plan.contains("patch /opt/tool/releases/1.0/"), "{plan}");
        }
        world.pass();
    }
    fs::rename(&saved, world.path(TOOL)).unwrap();
    world.tick();
    let plan = world.run(&["--dry-run"]).exits(0).stdout;
    assert!(!plan.contains("No changes"), "{plan}");
    world.pass();
    assert_eq!(installed(&world).0, noisy("2.0"));
}

#[test]
fn directory_that_is_a_link_of_somebody_else_leads_nowhere() {
    if !rustix::process::geteuid().is_root() {
        println!("only root can have a link of somebody else's");
        return;
    }
    for owner in [1234, 0] {
        let (_server, world) = host(b"mine", "");
        let (bin, away) = (world.path("/usr/local/bin"), world.path("/usr/local/elsewhere"));
        fs::rename(&bin, &away).unwrap();
        std::os::unix::fs::symlink("elsewhere", &bin).unwrap();
        std::os::unix::fs::lchown(&bin, Some(owner), Some(owner)).unwrap();
        let ran = world.run(&[]);
        if owner == 0 {
            assert_eq!(ran.exits(0).stderr, "");
            assert_eq!(fs::read(away.join("tool")).unwrap(), program("1.0"));
            continue;
        }
        let said = ran.stdout;
        assert!(
            said.contains("/usr/local/bin is a symbolic link to /usr/local/elsewhere"),
            "{said}"
        );
        assert_eq!(fs::read(away.join("tool")).unwrap(), b"mine");
        assert!(!away.join("tool.backup").exists());
    }
}

#[test]
fn patch_that_is_no_shorter_than_the_program_is_not_taken() {
    let mut world = World::new();
    let public = world.temp().join("public");
    world.wish(
        "desired",
        &format!(
            "apps:\n  tool:\n    source: {{ selfupdate: {{ api: {}, cmd: tool, platform: linux-amd64 }} }}\n    layout: \
             {{ file: {TOOL} }}\n",
            public.display()
        ),
    );
    for version in ["1.0", "2.0"] {
        let built = world.temp().join("built/tool");
        tree::write(&built, &noisy(version));
        let (built, out) = (built.display().to_string(), public.join("tool").display().to_string());
        let fixed = ["publish", "selfupdate", &built, version, "--platform", "linux-amd64"];
        world.run(&[&fixed[..], &["--out", &out]].concat()).exits(0);
        if version == "1.0" {
            world.pass();
        }
    }
    world.tick();
    let plan = world.run(&["--dry-run"]).exits(0).stdout;
    assert!(plan.contains("patch /opt/tool"), "{plan}");
    let patch = public.join("tool/1.0/2.0/linux-amd64");
    let whole = fs::read(public.join("tool/2.0/linux-amd64.gz")).unwrap();
    assert!(fs::read(&patch).unwrap().len() < whole.len());
    fs::write(&patch, &whole).unwrap();
    let plan = world.run(&["--dry-run"]).exits(0).stdout;
    assert!(!plan.contains("patch /opt/tool"), "{plan}");
    world.pass();
    assert_eq!(installed(&world).0, noisy("2.0"));
}

#[test]
#[cfg(target_arch = "x86_64")]
fn file_that_may_not_become_as_large_as_needed_is_an_error_and_no_death() {
    let mut world = World::new();
    let built = world.temp().join("built/tool");
    tree::write(&built, format!("#!/bin/sh\n{}", "#".repeat(1 << 20)).as_bytes());
    let repository = world.temp().join("repository").display().to_string();
    let built = built.parent().unwrap().display().to_string();
    world.run(&["publish", "release", &built, "--version", "1.0", "--to", &repository]).exits(0);
    let source = format!("{{ file: {repository} }}");
    world.wish(
        "desired",
        &format!("apps:\n  tool:\n    source: {source}\n    layout: {{ file: {TOOL} }}\n"),
    );
    let agent = pass_of(&world);
    let limited = std::process::Command::new("/bin/sh")
        .args(["-c", "ulimit -f 512; exec \"$0\" \"$@\""])
        .arg(&agent.path)
        .args(&agent.arguments)
        .output()
        .unwrap();
    assert_eq!(limited.status.code(), Some(1), "{limited:?}");
    assert!(String::from_utf8_lossy(&limited.stdout).contains("File too large"), "{limited:?}");
}
