//! What counts as working, looked at with real probes.

use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::sync::Mutex;

use reconcile::host::runner::{RunError, run_within};

use crate::support::duo::{PASS, World, said};
use crate::support::server::{Reply, Server};
use crate::support::tree;
use crate::support::world::World as Host;

/// A `systemctl` that keeps the effects' notes away and answers about a unit.
fn systemctl(world: &World, script: &str) {
    let path = world.path("stub/systemctl");
    fs::write(&path, format!("#!/bin/sh\n{script}\n")).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
}

fn upgraded(world: &World, health: &str) -> std::process::Output {
    let lines = format!(
        "    health:\n{health}      interval: 100ms\n      stable: 300ms\n      deadline: 2s\n"
    );
    for version in ["1.0", "2.0"] {
        world.wish(version, 3);
        world.wish_also(&lines);
        if version == "1.0" {
            world.pass();
        }
    }
    world.agent(&PASS)
}

#[test]
fn unit_url_port_and_program_hold_together() {
    let world = World::new();
    systemctl(&world, "printf 'ActiveState=active\\nSubState=running\\nNRestarts=0\\n'");
    let server = Server::start();
    server.serve("/healthz", Reply::file(b"ok".to_vec()));
    let address = server.url("/").trim_start_matches("http://").trim_end_matches('/').to_owned();
    let health = format!(
        "      unit: duo.service\n      http: \"{}\"\n      tcp: \"{address}\"\n      exec: [\"true\"]\n",
        server.url("/healthz")
    );
    let output = upgraded(&world, &health);
    assert!(output.status.success(), "{}", said(&output));
    assert_eq!(world.in_use(), Ok(Some("2.0".to_owned())));
}

#[test]
fn url_with_another_status_and_port_without_listener_do_not_hold() {
    let server = Server::start();
    server.serve("/healthz", Reply::file(b"ok".to_vec()));
    let wrong = format!("      http: {{ url: \"{}\", status: 204 }}\n", server.url("/healthz"));
    for (health, why) in
        [(wrong.as_str(), "the answer is 200"), ("      tcp: 127.0.0.1:1\n", "refused")]
    {
        let world = World::new();
        // With nothing in use before, nobody can say that it failed before.
        world.wish("2.0", 3);
        world.wish_also(&format!(
            "    health:\n{health}      interval: 100ms\n      stable: 100ms\n      deadline: 2s\n"
        ));
        let output = world.agent(&PASS);
        assert_eq!(output.status.code(), Some(1), "{}", said(&output));
        assert!(said(&output).contains(why), "{}", said(&output));
    }
}

#[test]
fn url_that_fails_after_an_upgrade_brings_the_release_before_back() {
    let world = World::new();
    let (server, alpha) = (Server::start(), world.host("opt/duo/bin/alpha"));
    server.handle(move |_| {
        let works = fs::read_to_string(&alpha).is_ok_and(|program| program.contains("1.0"));
        Some(if works { Reply::file(b"ok".to_vec()) } else { Reply::status(503) })
    });
    let output = upgraded(&world, &format!("      http: \"{}\"\n", server.url("/healthz")));
    assert_eq!(output.status.code(), Some(6), "{}", said(&output));
    assert!(said(&output).contains("the answer is 503"), "{}", said(&output));
    assert_eq!(world.in_use(), Ok(Some("1.0".to_owned())));
    assert_eq!(world.agent(&PASS).status.code(), Some(3), "it is not tried again");
}

/// A check that holds as long as the first release is in use, and counts each look in `looks`.
fn of_the_first_release(world: &World, before: &str) -> String {
    let looks = world.path("looks");
    let script = format!(
        "echo look >> {}; {before}; case \\\"$($ROOT/opt/duo/bin/alpha)\\\" in 1.0) exit 0;; esac; exit 1",
        looks.display()
    );
    format!("      exec: [sh, -c, \"{script}\"]\n")
}

#[test]
fn single_failure_before_the_switch_excuses_no_release() {
    let world = World::new();
    let flap = world.path("flap").display().to_string();
    fs::write(&flap, "").unwrap();
    let flaps =
        format!("if test -e {flap} && test -e $ROOT/opt/duo/bin; then rm {flap}; exit 1; fi");
    world.wish("1.0", 1);
    world.pass();
    world.wish("2.0", 1);
    world.wish_also(&format!(
        "    health:\n{}      interval: 100ms\n      stable: 200ms\n      deadline: 5s\n",
        of_the_first_release(&world, &flaps)
    ));
    let output = world.agent(&PASS);
    assert_eq!(output.status.code(), Some(6), "{}", said(&output));
    assert!(!std::path::Path::new(&flap).exists(), "it failed once");
    assert_eq!(world.in_use(), Ok(Some("1.0".to_owned())));
}

#[test]
fn release_before_is_kept_until_one_that_is_excused_shows_that_it_works() {
    let world = World::new();
    world.wish("1.0", 1);
    world.pass();
    world.wish("2.0", 1);
    let down = world.path("down").display().to_string();
    fs::write(&down, "").unwrap();
    world.wish_also(&format!(
        "    health:\n      exec: [sh, -c, \"! test -e {down}\"]\n      interval: 100ms\n      stable: 100ms\n      \
         deadline: 600ms\n"
    ));
    let floor = || fs::read_to_string(world.host("var/lib/reconcile/trust.json")).unwrap();
    for pass in ["the first", "the next"] {
        let output = world.agent(&PASS);
        assert!(output.status.success(), "{pass}: {}", said(&output));
        assert!(said(&output).contains("has yet to show that it works, and"), "{}", said(&output));
        assert_eq!(world.in_use(), Ok(Some("2.0".to_owned())));
        assert_eq!(world.names("opt/duo/releases").len(), 2, "{pass}");
        assert!(!floor().contains("\"app/duo\": \"2.0\""), "{pass}: {}", floor());
    }
    fs::remove_file(&down).unwrap();
    world.pass();
    assert_eq!(world.in_use(), Ok(Some("2.0".to_owned())));
    assert_eq!(world.names("opt/duo/releases").len(), 1);
    assert!(floor().contains("\"app/duo\": \"2.0\""), "{}", floor());
    assert!(said(&world.agent(&PASS)).contains("o changes"), "{}", said(&world.agent(&PASS)));
}

#[test]
fn release_that_is_kept_in_doubt_keeps_none_whose_name_has_its_name_in_it() {
    let mut world = Host::new();
    let publish = |world: &Host, version: &str| {
        let built = world.temp().join("built").join(version);
        tree::write(&built.join("tool"), format!("#!/bin/sh\necho {version}\n").as_bytes());
        let places =
            [built, world.temp().join("repository")].map(|path| path.display().to_string());
        world.run(&["publish", "release", &places[0], "--to", &places[1]]).exits(0);
    };
    let wish = |world: &mut Host, more: &str| {
        let source = world.temp().join("repository").display().to_string();
        world.wish("desired", &format!("apps:\n  tool:\n    source: {{ file: {source} }}\n{more}"));
    };
    world.options = vec!["--effects".to_owned(), "run".to_owned()];
    for version in ["1.1.0-rc.1", "1.1.0", "1.2.0"] {
        publish(&world, version);
        let health = if version == "1.2.0" {
            "    retain: 1\n    health: { exec: [\"false\"], interval: 100ms, stable: 100ms, deadline: 300ms }\n"
        } else {
            ""
        };
        wish(&mut world, &format!("    version: {version}\n{health}"));
        let ran = world.run(&[]).exits(0);
        assert!(health.is_empty() || ran.stdout.contains("and 1.1.0 is kept"), "{ran:#?}");
        world.tick();
    }
    let releases = fs::read_dir(world.path("/opt/tool/releases")).unwrap();
    let mut releases: Vec<_> = releases.map(|entry| entry.unwrap().file_name()).collect();
    releases.sort();
    assert_eq!(releases, ["1.1.0", "1.2.0"]);
}

#[test]
fn port_that_nobody_listens_on_after_an_upgrade_brings_the_release_before_back() {
    let world = World::new();
    let (server, alpha) = (Server::start(), world.host("opt/duo/bin/alpha"));
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let listener = Mutex::new(Some(listener));
    // Whoever asks the one learns nothing, but the other then listens as long as the release works.
    server.handle(move |_| {
        let works = fs::read_to_string(&alpha).is_ok_and(|program| program.contains("1.0"));
        let mut listener = listener.lock().unwrap();
        match (works, listener.is_some()) {
            (true, false) => *listener = TcpListener::bind(address).ok(),
            (false, true) => *listener = None,
            _ => {}
        }
        Some(Reply::file(b"ok".to_vec()))
    });
    let health = format!("      http: \"{}\"\n      tcp: \"{address}\"\n", server.url("/"));
    let output = upgraded(&world, &health);
    assert_eq!(output.status.code(), Some(6), "{}", said(&output));
    assert!(said(&output).contains(&address.to_string()), "{}", said(&output));
    assert_eq!(world.in_use(), Ok(Some("1.0".to_owned())));
}

#[test]
fn unit_that_is_restarted_again_and_again_does_not_work() {
    let world = World::new();
    // Steady while the first release is linked, one life after another with the second.
    systemctl(
        &world,
        "n=0\ncase \"$(\"$ROOT/opt/duo/bin/alpha\" 2>/dev/null)\" in 2.0) n=$(date +%s%N);; esac\n\
         printf 'ActiveState=active\\nSubState=running\\nNRestarts=%s\\n' \"$n\"",
    );
    let output = upgraded(&world, "      unit: duo.service\n");
    assert_eq!(output.status.code(), Some(6), "{}", said(&output));
    assert_eq!(world.in_use(), Ok(Some("1.0".to_owned())));
}

#[test]
fn hook_that_hangs_is_killed_with_all_it_started_and_in_time() {
    let world = World::new();
    let pid = world.path("pid");
    fs::create_dir_all(pid.parent().unwrap()).unwrap();
    let script = format!("sleep 600 & echo $! > {}; wait", pid.display());
    let argv = ["sh", "-c", &script].map(str::to_owned);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let most = std::time::Duration::from_millis(500);
    let ended = runtime.block_on(run_within(&argv, &[], most)).unwrap_err();
    assert!(matches!(ended, RunError::TimedOut { after, .. } if after == most), "{ended}");
    is_gone(&fs::read_to_string(pid).unwrap());
}

/// Gone, or dead and not yet waited for by whoever inherited it.
#[track_caller]
fn is_gone(pid: &str) {
    let mut stat = String::new();
    // The signal is sent; the process gets it when it is its turn.
    for _ in 0..500 {
        stat = fs::read_to_string(format!("/proc/{}/stat", pid.trim())).unwrap_or_default();
        if stat.is_empty() || stat.contains(") Z") || stat.contains(") X") {
            break;
        }
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    assert!(stat.is_empty() || stat.contains(") Z") || stat.contains(") X"), "{stat}");
}

#[test]
fn probe_that_hangs_is_killed_with_all_it_started_and_in_time() {
    let world = World::new();
    world.wish("1.0", 3);
    let pid = world.path("pid");
    let script = format!("sleep 600 & echo $! > {}; wait", pid.display());
    world.wish_also(&format!(
        "    health:\n      exec: [sh, -c, \"{script}\"]\n      interval: 100ms\n      stable: 100ms\n      \
         deadline: 500ms\n"
    ));
    let output = world.agent(&PASS);
    assert_eq!(output.status.code(), Some(1), "{}", said(&output));
    assert!(said(&output).contains("before the deadline"), "{}", said(&output));
    assert!(
        said(&output).contains("'`: there was no answer before"),
        "the probe is named: {}",
        said(&output)
    );
    is_gone(&fs::read_to_string(pid).unwrap());
}
