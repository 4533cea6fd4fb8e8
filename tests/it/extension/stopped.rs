//! Passes that are asked to stop while they merge, or look at what they went back to.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Output;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::Host;
use super::classes::{self, links, merged_into_etc, offer, refreshed};

/// How long something may take that is expected to happen, on a machine that is busy.
const PATIENCE: Duration = Duration::from_mins(1);

/// How long a pass may take to end after it was asked to, and what it began is over.
const STOP_TIME_MAX: Duration = Duration::from_secs(10);

/// Between two looks.
const POLL: Duration = Duration::from_millis(10);

/// Makes a program of the host say that it began, take its time, and do its work then.
fn slow_down(host: &Host, program: &str) -> PathBuf {
    let stub = host.world.temp().join("stub").join(program);
    let began = host.world.temp().join("began");
    let text = fs::read_to_string(&stub).unwrap();
    let slow = format!("#!/bin/sh\ntouch {}\nsleep 1\n", began.display());
    fs::write(&stub, text.replacen("#!/bin/sh\n", &slow, 1)).unwrap();
    began
}

/// Makes a pass that is asked to stop once something is there.
#[track_caller]
fn stopped_at(host: &mut Host, there: &Path) -> String {
    host.world.tick();
    let mut agent = host.world.start(&[]);
    let until = |limit: Duration, what: &str, done: &mut dyn FnMut() -> bool| {
        let began = Instant::now();
        while !done() {
            assert!(began.elapsed() < limit, "{what}");
            std::thread::sleep(POLL);
        }
    };
    until(PATIENCE, "it did not begin", &mut || there.exists());
    kill(Pid::from_raw(agent.id().try_into().unwrap()), Signal::SIGTERM).unwrap();
    until(STOP_TIME_MAX, "it did not stop", &mut || agent.try_wait().unwrap().is_some());
    let Output { stdout, stderr, .. } = agent.wait_with_output().unwrap();
    format!("{}{}", String::from_utf8_lossy(&stdout), String::from_utf8_lossy(&stderr))
}

#[test]
fn refresh_that_began_ends_and_none_begins_once_the_pass_is_asked_to_stop() {
    let mut host = classes::host();
    offer(&host, "1", "one");
    host.converges();
    refreshed(&host);
    offer(&host, "2", "two");
    let began = slow_down(&host, "systemd-sysext");
    let said = stopped_at(&mut host, &began);
    assert_eq!(refreshed(&host), ["sysext"], "{said}");
    assert!(said.contains("systemd-confext refresh stays owed"), "{said}");
    assert!(said.contains("interrupted"), "{said}");
    host.converges();
    assert!(refreshed(&host).contains(&"confext"));
    let after = [Some("demo_2.raw".to_owned()), Some("demo_2.confext.raw".to_owned())];
    assert_eq!(links(&host), after);
}

#[test]
fn merge_that_fails_is_put_back_and_not_tried_again_once_the_pass_is_asked_to_stop() {
    let mut host = Host::new();
    let names = ["alpha", "beta"];
    for name in names {
        host.publish(&format!("{name}_1.0.0.raw"), "one");
    }
    host.wish(&names.map(|name| (name, "")));
    host.converges();
    let before = host.refreshes();
    host.publish("alpha_2.0.0.raw", "two");
    host.publish("beta_2.0.0.raw", "BREAKS");
    let began = slow_down(&host, "systemd-sysext");
    let said = stopped_at(&mut host, &began);
    assert_eq!(host.refreshes() - before, 1, "{said}");
    assert!(said.contains("systemd-sysext refresh stays owed"), "{said}");
    // Whoever merges next, a start of the host perhaps, finds what worked.
    for name in names {
        assert_eq!(host.version(name).as_deref(), Some("1.0.0"), "{said}");
    }
    let said = host.pass().exits(6).stdout;
    assert_eq!(host.version("alpha").as_deref(), Some("2.0.0"), "{said}");
    assert_eq!(host.version("beta").as_deref(), Some("1.0.0"), "{said}");
    assert_eq!(host.merged(), "alpha\nbeta\n");
}

#[test]
fn class_that_was_merged_is_merged_anew_by_the_next_pass_where_the_stop_came_before_that() {
    let mut host = classes::host();
    offer(&host, "1", "one");
    host.converges();
    refreshed(&host);
    offer(&host, "2", "BREAKS");
    let began = slow_down(&host, "systemd-confext");
    let said = stopped_at(&mut host, &began);
    assert_eq!(refreshed(&host), ["sysext", "confext"], "{said}");
    assert!(said.contains("interrupted"), "{said}");
    let before = [Some("demo_1.raw".to_owned()), Some("demo_1.confext.raw".to_owned())];
    assert_eq!(links(&host), before, "{said}");
    // Nothing new is offered any more: what is in use is merged all the same.
    host.withdraw("demo_2.raw");
    host.withdraw("demo_2.confext.raw");
    host.converges();
    assert_eq!(refreshed(&host), ["sysext", "confext"]);
    assert_eq!((host.merged().as_str(), merged_into_etc(&host).as_str()), ("demo\n", "demo\n"));
}

#[test]
fn release_that_was_gone_back_to_is_looked_at_by_the_next_pass_where_this_one_was_asked_to_stop() {
    let mut host = Host::new();
    let (looks, down) = (host.world.temp().join("looks"), host.world.temp().join("down"));
    let link = host.world.path("var/lib/extensions/demo.raw").display().to_string();
    // 2.0.0 fails at once and keeps 1.0.0 from working, which then is waited for.
    let script = format!(
        "readlink {link} | grep -q 2.0.0 && {{ touch {down}; exit 1; }}; test -e {down} || exit 0; touch {looks}; exit 1",
        down = down.display(),
        looks = looks.display()
    );
    let wish = |deadline: &str| {
        format!(
            "    health:\n      exec: [/bin/sh, -c, \"{script}\"]\n      interval: 100ms\n      stable: 100ms\n      \
             deadline: {deadline}\n"
        )
    };
    host.publish("demo_1.0.0.raw", "one");
    host.wish(&[("demo", &wish("5s"))]);
    host.converges();
    host.publish("demo_2.0.0.raw", "two");
    let said = stopped_at(&mut host, &looks);
    assert!(said.contains("1.0.0 is in use again"), "{said}");
    assert!(said.contains("confirm that extension/demo 1.0.0 works stays owed"), "{said}");
    let owed = host.world.run(&["--dry-run"]).stdout;
    assert!(owed.contains("an earlier pass owes effects"), "{owed}");
    // It does not work, and nobody says that it does.
    let said = host.pass().stdout;
    assert!(said.contains("has yet to show that it works"), "{said}");
    fs::remove_file(&down).unwrap();
    host.pass().exits(3);
    host.is_settled();
    assert_eq!(host.version("demo").as_deref(), Some("1.0.0"));
}
