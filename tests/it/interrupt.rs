//! Passes that are asked to stop, that meet each other, or whose process dies.

use std::fs;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::support::casync::Publisher;
use crate::support::duo::{PASS, World, archive, archive_name, said, web};
use crate::support::server::{Reply, Server};
use crate::support::tree;

/// How long a pass may take to end after it was asked to.
const STOP_TIME_MAX: Duration = Duration::from_secs(5);

/// How long a download may take to begin, on a machine that is busy.
const PATIENCE: Duration = Duration::from_mins(1);

/// Between two looks.
const POLL: Duration = Duration::from_millis(10);

/// Bytes of the archive that come before nothing more comes.
const STALL_AFTER: usize = 100;

/// A host on 1.0 whose source stalls in the middle of 2.0.
fn stalling() -> (World, Server) {
    let world = World::new();
    world.wish("1.0", 3);
    world.pass();
    let (server, source) = web();
    let (name, bytes) = (archive_name("2.0"), archive("2.0"));
    let stalls = Reply::file(bytes.clone()).stalling_after(STALL_AFTER);
    server.serve_in_turn(&format!("/dl/{name}"), [stalls, Reply::file(bytes)]);
    world.wish_from(&source, "2.0", 3);
    (world, server)
}

/// Starts a pass and returns once its download hangs.
fn start_and_stall(world: &World, server: &Server) -> Child {
    let mut agent = world.command(&PASS);
    let agent = agent.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let began = Instant::now();
    // Sent is not received: the agent has noted whose bytes come once it has read the head of the answer.
    let received =
        || world.names("var/cache/reconcile/partial").iter().any(|n| n.ends_with(".json"));
    let hangs = || server.requests().iter().any(|r| r.sent == STALL_AFTER as u64) && received();
    while !hangs() {
        assert!(began.elapsed() < PATIENCE, "the download did not begin");
        std::thread::sleep(POLL);
    }
    agent
}

fn signal(agent: &Child, signal: Signal) {
    kill(Pid::from_raw(agent.id().try_into().unwrap()), signal).unwrap();
}

#[test]
fn pass_asked_to_stop_ends_soon_and_the_next_one_goes_on() {
    for (asked, how) in [(Signal::SIGTERM, "SIGTERM"), (Signal::SIGINT, "SIGINT")] {
        let (world, server) = stalling();
        let mut agent = start_and_stall(&world, &server);
        signal(&agent, asked);
        let began = Instant::now();
        while agent.try_wait().unwrap().is_none() {
            assert!(began.elapsed() < STOP_TIME_MAX, "{how} was not heard in {STOP_TIME_MAX:?}");
            std::thread::sleep(POLL);
        }
        let output = agent.wait_with_output().unwrap();
        assert_eq!(output.status.code(), Some(3), "{how}: {}", said(&output));
        assert_eq!(world.in_use(), Ok(Some("1.0".to_owned())));

        server.take_requests();
        world.pass();
        assert_eq!(world.in_use(), Ok(Some("2.0".to_owned())));
        let ranges: Vec<String> =
            server.requests().iter().filter_map(|r| r.header("range").map(str::to_owned)).collect();
        assert_eq!(ranges, [format!("bytes={STALL_AFTER}-")], "{how}: what was there is used");
        assert_eq!(world.leftovers(), [""; 0]);
    }
}

#[test]
fn effect_that_began_ends_and_none_begins_once_the_pass_is_asked_to_stop() {
    let world = World::new();
    let marker = world.path("marker");
    let slow =
        format!("#!/bin/sh\ntouch {}\nsleep 1\necho restarted >> \"$LOG\"\n", marker.display());
    fs::write(world.path("stub/systemctl"), slow).unwrap();
    world.wish("1.0", 3);
    let mut agent = world.command(&PASS);
    let agent = agent.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let began = Instant::now();
    while !marker.exists() {
        assert!(began.elapsed() < PATIENCE, "nothing was restarted");
        std::thread::sleep(POLL);
    }
    signal(&agent, Signal::SIGTERM);
    let output = agent.wait_with_output().unwrap();
    assert_eq!(world.noted(), ["restarted".to_owned()].into(), "{}", said(&output));
    assert_eq!(output.status.code(), Some(3), "{}", said(&output));
    assert!(said(&output).contains("stays owed"), "{}", said(&output));
    world.pass();
    assert!(world.noted().contains("hook 1.0 1.0"), "{:?}", world.noted());
}

#[test]
fn second_pass_leaves_everything_to_the_first() {
    let (world, server) = stalling();
    let mut first = start_and_stall(&world, &server);
    let before = world.picture();
    for command in [&PASS[..], &["rollback", "app/duo", "--reason", "x"]] {
        let second = world.agent(command);
        assert_eq!(second.status.code(), Some(75), "{command:?}: {}", said(&second));
        assert!(said(&second).contains("/var/lib/reconcile/lock"), "{}", said(&second));
    }
    assert_eq!(world.picture(), before);
    first.kill().unwrap();
    first.wait().unwrap();
}

#[test]
fn killed_holder_leaves_no_lock_behind() {
    let (world, server) = stalling();
    let mut first = start_and_stall(&world, &server);
    first.kill().unwrap();
    first.wait().unwrap();
    assert_eq!(world.in_use(), Ok(Some("1.0".to_owned())));
    world.pass();
    assert_eq!(world.in_use(), Ok(Some("2.0".to_owned())));
    assert_eq!(world.leftovers(), [""; 0]);
}

#[test]
fn pass_asked_to_stop_while_it_assembles_a_tree_says_so() {
    let mut world = crate::support::world::World::new();
    let publisher = Publisher::new(&world.temp().join("publisher"));
    tree::write(&publisher.source.join("file"), &vec![7; 100_000]);
    publisher.publish();
    let server = Server::start();
    let root = publisher.index.parent().unwrap().to_owned();
    server.handle(move |request| {
        let path = root.join(request.bare_path().trim_start_matches('/'));
        let reply = Reply::file(fs::read(path).ok()?);
        let chunk = request.bare_path().contains(".castr/");
        Some(if chunk { reply.stalling_after(10) } else { reply })
    });
    world.wish(
        "desired",
        &format!(
            "trees:\n  site:\n    path: /srv/site\n    verify: {{ min: none }}\n    source: {{ casync: {{ \
             index: \"{}\", store: [\"{}\"] }} }}\n",
            server.url("/site.caidx"),
            server.url("/site.castr")
        ),
    );
    world.tick();
    let mut agent = world.start(&[]);
    let began = Instant::now();
    while !server.requests().iter().any(|r| r.path.contains(".castr/") && r.sent == 10) {
        assert!(began.elapsed() < PATIENCE, "no chunk was asked for");
        std::thread::sleep(POLL);
    }
    signal(&agent, Signal::SIGTERM);
    let began = Instant::now();
    while agent.try_wait().unwrap().is_none() {
        assert!(began.elapsed() < STOP_TIME_MAX, "SIGTERM was not heard in {STOP_TIME_MAX:?}");
        std::thread::sleep(POLL);
    }
    let output = agent.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(3), "{}", said(&output));
    assert!(!said(&output).contains("panicked"), "{}", said(&output));
}
