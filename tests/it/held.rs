//! What waits for a maintenance window: what is in use stays whole, whatever was edited since.

use std::cell::Cell;
use std::fs;
use std::time::Duration;

use camino::Utf8PathBuf;
use jiff::{SignedDuration, Timestamp};
use reconcile::apply::Stop;
use reconcile::apply::rounds::Gathering;
use reconcile::controller::config::AgentConfig;
use reconcile::desired::DesiredState;
use reconcile::fetch::{Client, Credentials, NoProgress, Settings};
use reconcile::host::{Change, Look, Places};
use reconcile::model::outcome::End;
use reconcile::plan::guard::Removals;
use reconcile::plan::hold::Holds;
use reconcile::reconcile::{Effects, Hands, Request, perform, preview};
use reconcile::record::history;
use reconcile::resource::observe::Depth;

use crate::support::offer::{Offer, TWO_RELEASES};
use crate::support::tree;
use crate::support::world::World;
use crate::tree::site;

#[test]
fn tree_outside_its_window_is_repaired_though_its_owner_was_edited() {
    let (mut world, publisher) = site();
    let windows = "windows: { nights: { start: '02:00', for: 2h, zone: UTC0 } }\n";
    fs::create_dir_all(world.path("/etc/reconcile")).unwrap();
    fs::write(world.path("/etc/reconcile/agent.yaml"), windows).unwrap();
    world.tick();
    world.run(&["--windows", "ignore"]).exits(0);
    fs::write(publisher.source.join("conf.d/main"), "two\n").unwrap();
    publisher.publish();
    let ids = rustix::process::geteuid().as_raw();
    world.wish("desired", &publisher.wish(&format!("    owner: {{ user: {ids} }}\n")));
    fs::remove_file(world.path("/srv/site/bin/run")).unwrap();
    world.tick();
    let ran = world.run(&[]);
    assert!(world.path("/srv/site/bin/run").exists(), "{ran:#?}");
    assert_eq!(fs::read_to_string(world.path("/srv/site/conf.d/main")).unwrap(), "one\n");
}

/// A host with a tool in use, whose layout is edited outside its window.
fn edited_outside_its_window() -> (World, Offer) {
    let mut world = World::new();
    let offer = Offer::start(TWO_RELEASES, world.temp());
    let source = format!("    source: {{ file: {} }}\n", offer.address());
    world.wish("desired", &format!("apps:\n  tool:\n    version: 1.0.0\n{source}"));
    world.run(&[]).exits(0);
    let windows = b"windows: { nights: { start: '00:00', for: 1m, zone: UTC0, days: [sun] } }\n";
    tree::write(&world.path("/etc/reconcile/agent.yaml"), windows);
    let layout = "    layout: { file: /usr/local/bin/tool }\n";
    world.wish("desired", &format!("apps:\n  tool:\n    version: 1.0.0\n{layout}{source}"));
    world.tick();
    (world, offer)
}

#[test]
fn app_is_whole_where_it_is_while_its_move_waits() {
    let (mut world, _offer) = edited_outside_its_window();
    for damaged in ["/opt/tool/bin/tool", "/opt/tool/releases/1.0.0/tool"] {
        fs::remove_file(world.path(damaged)).unwrap();
        let ran = world.run(&[]).exits(0);
        assert!(ran.stdout.contains("deferred"), "{damaged}: {ran:#?}");
        assert!(world.path(damaged).exists(), "{damaged}: {ran:#?}");
        assert!(!world.path("/usr/local/bin/tool").exists(), "{damaged}: {ran:#?}");
        world.tick();
    }
    world.run(&["--windows", "ignore"]).exits(0);
    assert!(world.path("/usr/local/bin/tool").exists());
    assert!(!world.path("/opt/tool/bin/tool").exists());
}

#[test]
fn move_that_fails_its_check_as_the_place_before_did_keeps_that_until_it_holds() {
    let mut world = World::new();
    let offer = Offer::start(TWO_RELEASES, world.temp());
    let source = format!("    source: {{ file: {} }}\n", offer.address());
    let mended = world.temp().join("mended");
    let health = format!(
        "    health: {{ exec: [test, -e, {}], interval: 100ms, stable: 100ms, deadline: 1s }}\n",
        mended.display()
    );
    for layout in ["", "    layout: { file: /usr/local/bin/tool }\n"] {
        let more = if layout.is_empty() { "" } else { &health };
        world.wish(
            "desired",
            &format!("apps:\n  tool:\n    version: 1.0.0\n{layout}{more}{source}"),
        );
        world.tick();
        world.run(&["--effects", "run"]);
    }
    for _ in 0..2 {
        assert!(world.path("/usr/local/bin/tool").exists());
        assert!(world.path("/opt/tool/bin/tool").exists());
        world.tick();
        world.run(&["--effects", "run"]).exits(1);
    }
    tree::write(&mended, b"");
    world.tick();
    world.run(&["--effects", "run"]).exits(0);
    assert!(world.path("/usr/local/bin/tool").exists());
    assert!(!world.path("/opt/tool/bin/tool").exists());
}

#[test]
fn move_that_fails_its_check_keeps_the_place_that_works() {
    let mut world = World::new();
    let offer = Offer::start(TWO_RELEASES, world.temp());
    let source = format!("    source: {{ file: {} }}\n", offer.address());
    world.wish("desired", &format!("apps:\n  tool:\n    version: 1.0.0\n{source}"));
    world.run(&[]).exits(0);
    let mended = world.temp().join("mended");
    let check = format!(
        "test ! -e {} || test -e {}",
        world.path("/usr/local/bin/tool").display(),
        mended.display()
    );
    let more = format!(
        "    layout: {{ file: /usr/local/bin/tool }}\n    health: {{ exec: [sh, -c, \"{check}\"], interval: 100ms, stable: \
         100ms, deadline: 1s }}\n"
    );
    world.wish("desired", &format!("apps:\n  tool:\n    version: 1.0.0\n{more}{source}"));
    for _ in 0..2 {
        world.tick();
        let ran = world.run(&["--effects", "run"]).exits(1);
        assert!(ran.stdout.contains("stays until it holds"), "{ran:#?}");
        assert!(world.path("/opt/tool/bin/tool").exists(), "{ran:#?}");
    }
    tree::write(&mended, b"");
    world.tick();
    world.run(&["--effects", "run"]).exits(0);
    assert!(world.path("/usr/local/bin/tool").exists());
    assert!(!world.path("/opt/tool/bin/tool").exists());
    world.tick();
    assert!(world.run(&["--effects", "run"]).exits(0).stdout.contains("No changes"));
}

/// A host whose upgrade is planned while its window is open, and what becomes of that where the change is to be switched
/// so much later: how it ends, and at what time as the history says.
fn switched_after(staging: SignedDuration) -> (End, Timestamp, String) {
    let mut world = World::new();
    let mut offer = Offer::start(TWO_RELEASES, world.temp());
    let source = format!("    source: {{ file: {} }}\n", offer.address());
    world.wish("desired", &format!("apps:\n  tool:\n    version: latest\n{source}"));
    world.run(&[]).exits(0);
    offer.publish("1.1.0");
    world.tick();
    let desired = world.desired.join("wish.yaml");
    let windows = "windows: { nights: { start: '00:00', for: 30m, zone: UTC0 } }\n";
    let windows = AgentConfig::from_text(windows).unwrap().windows();
    let desired = DesiredState::load(&[desired]).unwrap();
    let root = Utf8PathBuf::from_path_buf(world.root()).unwrap();
    let host = Look::new(root, Places::default());
    let request = Request {
        desired: &desired,
        depth: Depth::Quick,
        removals: Removals::Guarded,
        only: None,
        holds: &Holds::by_windows(&desired, &windows, world.now),
        max_age: SignedDuration::ZERO,
        effects: Effects::Skip,
        now: world.now,
    };
    let client = Client::new(Credentials::default(), Settings::default(), world.now);
    let stop = Stop::default();
    // Planning asks nobody what time it is; by the time that something is staged it is later.
    let later = Cell::new(world.now + staging);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let outcome = runtime.block_on(async {
        let mut planned = preview(&request, &host, &client).await.unwrap();
        let host = Change::lock(host.clone(), Duration::from_secs(10)).await.unwrap();
        let clock = || later.get();
        let hands = Hands {
            client: &client,
            progress: &NoProgress,
            stop: &stop,
            clock: &clock,
            gathering: Gathering::default(),
        };
        perform(&request, &mut planned, &host, hands).await.unwrap()
    });
    let entry = history::load(&host).pop().unwrap();
    let link = fs::read_link(world.path("/opt/tool/bin/tool")).unwrap();
    assert_eq!(entry.result, outcome.results[0].end.name());
    (outcome.results[0].end.clone(), entry.at, link.display().to_string())
}

#[test]
fn change_is_not_switched_once_its_window_has_closed_while_it_was_staged() {
    // It is a minute past midnight, and the window is open until half past.
    let at = |text: &str| text.parse::<Timestamp>().unwrap();
    let in_time = switched_after(SignedDuration::from_mins(28));
    let (done, new) = (End::Done, "../releases/1.1.0/tool".to_owned());
    assert_eq!(in_time, (done, at("2026-06-01T00:29:00Z"), new));
    let too_late = switched_after(SignedDuration::from_mins(29));
    let old = "../releases/1.0.0/tool".to_owned();
    assert_eq!(too_late, (End::Deferred, at("2026-06-01T00:30:00Z"), old));
}
