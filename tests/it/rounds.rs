//! One slow source delays nobody: what is staged is switched while the rest is still on its way.
//!
//! Where one download is held back, it is the server that lets it go, once the host is as it shall be by then: a pass that
//! waits for everything never gets there.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use camino::Utf8PathBuf;
use jiff::{SignedDuration, Timestamp};
use reconcile::apply::rounds::Gathering;
use reconcile::apply::{Stop, StopReason};
use reconcile::controller::config::AgentConfig;
use reconcile::desired::DesiredState;
use reconcile::fetch::{Client, Credentials, NoProgress, Settings};
use reconcile::host::{Change, Look, Places};
use reconcile::model::outcome::{End, Outcome};
use reconcile::plan::guard::Removals;
use reconcile::plan::hold::Holds;
use reconcile::reconcile::{Effects, Hands, Request, perform, preview};
use reconcile::record::history;
use reconcile::resource::observe::Depth;

use crate::support::duo::{archive, archive_name, checksum_line, copy};
use crate::support::server::{Reply, Server};
#[cfg(target_arch = "x86_64")]
use crate::support::trace::{Act, Program, trace};
use crate::support::tree;
use crate::support::world::World;

/// How long the slow download is held back at most.
const HELD_MAX: Duration = Duration::from_secs(10);

/// Between two looks.
const POLL: Duration = Duration::from_millis(10);

/// What is staged is switched at once.
const AT_ONCE: Gathering = Gathering { quiet: Duration::ZERO, longest: Duration::ZERO };

/// Parts of a set that come slowly, too: as many as there are turns.
const PARTS: [&str; 4] = ["alpha", "beta", "gamma", "delta"];

/// Says whether the host is as it shall be while the slow download hangs.
type Gate = fn(&Path) -> bool;

/// A host on 1.0 of two programs, one of which comes slowly.
struct Race {
    world: World,
    server: Server,
    /// Whether the host was as it shall be before the slow download was let go.
    met: Arc<AtomicBool>,
}

/// The version that a program is linked to.
fn linked(root: &Path, app: &str) -> Option<String> {
    let link = fs::read_link(root.join("opt").join(app).join("bin/alpha")).ok()?;
    Some(link.parent()?.file_name()?.to_str()?.to_owned())
}

fn fast_is_new(root: &Path) -> bool {
    linked(root, "quick").as_deref() == Some("2.0")
}

/// The last that a round does is to remove the release before.
fn round_is_over(root: &Path) -> bool {
    fast_is_new(root) && fs::read_dir(root.join("opt/quick/releases")).unwrap().count() == 1
}

/// The wish: `more` lines of the one that comes fast, and `others`.
fn wish(world: &mut World, server: &Server, version: &str, more: &str) {
    let app = |name: &str, more: &str| {
        format!(
            "  {name}:\n    version: \"{version}\"\n    retain: 1\n    verify: {{ min: checksum }}\n    \
             source: {{ http: \"{}\" }}\n{more}",
            server.url(&format!("/{name}"))
        )
    };
    // In the plan the slow one comes first.
    let text = format!("apps:\n{}{}", app("dull", ""), app("quick", more));
    world.wish("desired", &text);
}

impl Race {
    /// 2.0 of both is wished; that of the slow one comes when `gate` says so.
    fn new(more: &str, gate: Gate) -> Self {
        let mut world = World::new();
        world.options = ["--effects", "run"].map(str::to_owned).to_vec();
        let (server, met) = (Server::start(), Arc::new(AtomicBool::new(false)));
        let (root, seen) = (world.root(), Arc::clone(&met));
        server.handle(move |request| {
            let (place, file) = request.path.rsplit_once('/')?;
            let versions = ["1.0", "2.0"];
            if place == "/set" && file == "SHA256SUMS" {
                let sums = PARTS.map(|part| checksum_line(&format!("{part}_1"), part.as_bytes()));
                return Some(Reply::file(sums.concat()));
            }
            if file == "SHA256SUMS" {
                let sums = versions.map(|v| checksum_line(&archive_name(v), &archive(v)));
                return Some(Reply::file(sums.concat()));
            }
            let part = PARTS.into_iter().find(|part| place == "/set" && file.starts_with(part));
            let version = versions.into_iter().find(|v| file == archive_name(v));
            part.or(version)?;
            let began = Instant::now();
            let held = part.is_some() || (place == "/dull" && version == Some("2.0"));
            while held && !seen.load(Ordering::SeqCst) && began.elapsed() < HELD_MAX {
                seen.store(gate(&root), Ordering::SeqCst);
                std::thread::sleep(POLL);
            }
            let body = match part {
                Some(part) => part.as_bytes().to_vec(),
                None => archive(version?),
            };
            Some(Reply::file(body))
        });
        wish(&mut world, &server, "1.0", more);
        world.run(&[]).exits(0);
        wish(&mut world, &server, "2.0", more);
        world.tick();
        Self { world, server, met }
    }

    fn linked(&self, app: &str) -> Option<String> {
        linked(&self.world.root(), app)
    }

    /// Makes a pass in this process, which is asked for a stop once something was switched if `stops` says why.
    fn pass(&self, stops: Option<StopReason>) -> Vec<End> {
        let host = (self.world.root(), self.world.desired.clone());
        let (look, outcome) = pass(host, self.world.now, stops);
        let names = outcome.results.iter().map(|result| result.resource.name.to_string());
        assert_eq!(names.collect::<Vec<_>>(), ["dull", "quick"], "in the order of the plan");
        for result in &outcome.results {
            let told = history::load(&look);
            let told = told.iter().rfind(|entry| entry.resource == result.resource).unwrap();
            assert_eq!(told.result, result.end.name());
        }
        outcome.results.into_iter().map(|result| result.end).collect()
    }
}

/// Makes a pass over a host, for which an hour goes by once something was switched. What is staged waits for nothing.
fn pass(
    (root, desired): (PathBuf, PathBuf),
    now: Timestamp,
    stops: Option<StopReason>,
) -> (Look, Outcome) {
    let desired = DesiredState::load(&[desired.join("wish.yaml")]).unwrap();
    let windows = fs::read_to_string(root.join("etc/reconcile/agent.yaml"));
    let windows = AgentConfig::from_text(&windows.unwrap_or_default()).unwrap().windows();
    let look = Look::new(Utf8PathBuf::from_path_buf(root.clone()).unwrap(), Places::default());
    let request = Request {
        desired: &desired,
        depth: Depth::Quick,
        removals: Removals::Guarded,
        only: None,
        holds: &Holds::by_windows(&desired, &windows, now),
        max_age: SignedDuration::ZERO,
        effects: Effects::Run,
        now,
    };
    let client = Client::new(Credentials::default(), Settings::default(), now);
    let stop = Stop::default();
    let later = SignedDuration::from_hours(1);
    let clock = || if fast_is_new(&root) { now + later } else { now };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let outcome = runtime.block_on(async {
        let mut planned = preview(&request, &look, &client).await.unwrap();
        let host = Change::lock(look.clone(), HELD_MAX).await.unwrap();
        let (client, progress, stop, clock) = (&client, &NoProgress, &stop, &clock);
        let hands = Hands { client, progress, stop, clock, gathering: AT_ONCE };
        let asks = async {
            while !fast_is_new(&root) {
                tokio::time::sleep(POLL).await;
            }
            stops.inspect(|why| stop.request(*why));
            std::future::pending::<()>().await;
        };
        tokio::select! {
            outcome = perform(&request, &mut planned, &host, hands) => outcome.unwrap(),
            () = asks => unreachable!(),
        }
    });
    (look, outcome)
}

/// Lines of a wish: a check that holds for what says one of these versions.
fn health(versions: &str) -> String {
    format!(
        "    health: {{ exec: [sh, -c, \"$RECONCILE_ROOT/opt/quick/bin/alpha | grep -q '{versions}'\"], interval: \
         100ms, stable: 100ms, deadline: 2s }}\n"
    )
}

#[test]
fn what_is_staged_is_switched_while_another_download_hangs() {
    let is_refused = |root: &Path| {
        let trust = fs::read_to_string(root.join("var/lib/reconcile/trust.json")).unwrap();
        linked(root, "quick").as_deref() == Some("1.0") && trust.contains("\"app/quick\"")
    };
    let situations: [(&str, &str, Gate, &str, &str); 4] = [
        ("switched", "", fast_is_new, "done", "2.0"),
        ("all of its round", "", round_is_over, "done", "2.0"),
        ("shows that it works", &health("[12]"), round_is_over, "done", "2.0"),
        ("does not work", &health("1"), is_refused, "rolled-back", "1.0"),
    ];
    for (situation, more, gate, ends, version) in situations {
        let race = Race::new(more, gate);
        let ended = race.pass(None);
        assert!(race.met.load(Ordering::SeqCst), "{situation}: it waited for the slow one");
        assert_eq!([ended[0].name(), ended[1].name()], ["done", ends], "{situation}");
        assert_eq!(race.linked("dull").as_deref(), Some("2.0"), "{situation}");
        assert_eq!(race.linked("quick").as_deref(), Some(version), "{situation}");
    }
}

#[test]
fn unit_of_two_resources_whose_sources_are_fast_is_restarted_once() {
    let mut race = Race::new("", |_| true);
    let (log, stub) = (race.world.temp().join("log"), race.world.temp().join("stub"));
    let systemctl = format!("#!/bin/sh\necho \"$@\" >> {}\n", log.display());
    tree::write(&stub.join("systemctl"), systemctl.as_bytes());
    fs::set_permissions(stub.join("systemctl"), Permissions::from_mode(0o755)).unwrap();
    race.world.environment.push(("PATH".to_owned(), format!("{}:/usr/bin:/bin", stub.display())));
    let file = race.world.desired.join("wish.yaml");
    let wish = fs::read_to_string(&file).unwrap();
    let restart = "    retain: 1\n    restart: [shared.service]\n";
    fs::write(&file, wish.replace("    retain: 1\n", restart)).unwrap();
    race.world.pass();
    let ran = fs::read_to_string(&log).unwrap();
    assert_eq!(ran.matches("restart -- shared.service").count(), 1, "{ran}");
    assert_eq!(
        ["dull", "quick"].map(|app| race.linked(app)),
        ["2.0", "2.0"].map(|v| Some(v.into()))
    );
}

#[test]
fn pass_asked_to_stop_keeps_what_was_switched_and_the_next_one_goes_on() {
    for why in [StopReason::Asked, StopReason::Superseded] {
        let mut race = Race::new("", |_| false);
        assert_eq!(race.pass(Some(why)), [End::Interrupted, End::Done], "{why:?}");
        assert_eq!(race.linked("quick").as_deref(), Some("2.0"));
        assert_eq!(race.linked("dull").as_deref(), Some("1.0"));
        race.met.store(true, Ordering::SeqCst);
        race.world.pass();
        assert_eq!(race.linked("dull").as_deref(), Some("2.0"));
        race.world.nothing_to_do();
    }
}

#[test]
fn window_that_closes_between_two_rounds_keeps_the_second_from_being_switched() {
    let race = Race::new("", fast_is_new);
    let windows = "windows: { nights: { start: '00:00', for: 30m, zone: UTC0 } }\n";
    tree::write(&race.world.path("/etc/reconcile/agent.yaml"), windows.as_bytes());
    assert_eq!(race.pass(None), [End::Deferred, End::Done]);
    assert_eq!(race.linked("dull").as_deref(), Some("1.0"));
    let staging = race.world.path("/opt/dull/staging");
    assert_eq!(fs::read_dir(staging).unwrap().count(), 0, "nobody goes on with it");
}

#[test]
fn bad_release_of_a_round_excuses_none_of_a_later_one() {
    let race = Race::new("", fast_is_new);
    let file = race.world.desired.join("wish.yaml");
    let wish = fs::read_to_string(&file).unwrap();
    // What comes late depends on what comes early, whose 2.0 does not work.
    let checked = format!("    retain: 1\n{}", health("1"));
    fs::write(&file, wish.replacen("    retain: 1\n", &checked, 1)).unwrap();
    let ended = race.pass(None);
    assert!(race.met.load(Ordering::SeqCst), "it waited for the slow one");
    assert_eq!(race.linked("dull").as_deref(), Some("1.0"), "{ended:?}");
    assert_ne!(ended[0], End::Done);
}

#[test]
fn what_a_round_did_is_in_the_history_while_another_download_hangs() {
    let race = Race::new("", |root| {
        let history = fs::read_to_string(root.join("var/lib/reconcile/history.jsonl")).unwrap();
        history.lines().any(|line| line.contains("\"2.0\"") && line.contains("\"app/quick\""))
    });
    assert_eq!(race.pass(None), [End::Done, End::Done]);
    assert!(race.met.load(Ordering::SeqCst), "nobody was told");
}

#[test]
fn set_whose_images_come_slowly_leaves_others_a_turn() {
    let mut race = Race::new("", |root| root.join("srv/.site.reconcile").exists());
    for part in PARTS {
        let place = race.world.path("etc/sysupdate.d").join(format!("{part}.transfer"));
        let text = format!(
            "[Transfer]\nVerify=no\n[Source]\nType=url-file\nPath={}\nMatchPattern={part}_@v\n[Target]\n\
             Type=regular-file\nPath=/srv/set\nMatchPattern={part}_@v\n",
            race.server.url("/set")
        );
        tree::write(&place, text.as_bytes());
    }
    let site = concat!(env!("CARGO_MANIFEST_DIR"), "/examples/site/site");
    let text = format!(
        "sysupdate: {{ as: sysupdate }}\ntrees:\n  site:\n    path: /srv/site\n    source: {{ casync: {{ \
         index: {site}.caidx, store: {site}.castr }} }}\n"
    );
    race.world.wish("desired", &text);
    race.world.run(&["--confirm-removals"]).exits(0);
    assert!(race.met.load(Ordering::SeqCst), "the set had all turns");
    let installed = PARTS.map(|part| race.world.path("srv/set").join(format!("{part}_1")));
    assert!(installed.iter().all(|image| image.exists()));
}

/// What a pass that is killed is told about its host.
const TOLD: [&str; 3] = ["ROUNDS_ROOT", "ROUNDS_DESIRED", "ROUNDS_NOW"];

#[test]
#[ignore = "the pass that `pass_killed_between_and_in_rounds_is_gone_on_with` kills"]
fn pass_in_rounds() {
    let [root, desired, now] = TOLD.map(|name| std::env::var(name).unwrap());
    let host = (root.into(), desired.into());
    let (_, outcome) = pass(host, now.parse().unwrap(), None);
    assert!(outcome.results.iter().all(|result| result.end == End::Done), "{outcome:?}");
}

#[cfg(target_arch = "x86_64")]
#[test]
fn pass_killed_between_and_in_rounds_is_gone_on_with() {
    let race = Race::new(&health("[12]"), round_is_over);
    let (root, before) = (race.world.root(), race.world.temp().join("before"));
    let told = [root.display(), race.world.desired.display()].map(|path| path.to_string());
    let told = told.into_iter().chain([race.world.now.to_string()]);
    let program = Program {
        path: std::env::current_exe().unwrap(),
        arguments: ["--exact", "rounds::pass_in_rounds", "--ignored"].map(str::to_owned).to_vec(),
        environment: TOLD.map(str::to_owned).into_iter().zip(told).collect(),
    };
    copy(&root, &before);
    let whole = trace(&program, Act::Watch);
    assert_eq!(whole.code, Some(0), "{}", whole.said());
    assert!(race.met.load(Ordering::SeqCst), "both were switched in one round");
    let points = whole.calls.len();
    let mut failures = Vec::new();
    for point in 1..=points {
        tree::remove(&root);
        copy(&before, &root);
        race.met.store(false, Ordering::SeqCst);
        let killed = trace(&program, Act::KillBefore(point));
        // What the server still holds back is of nobody.
        race.met.store(true, Ordering::SeqCst);
        let between = ["dull", "quick"].map(|app| race.linked(app));
        let again = race.world.run(&[]);
        let after = ["dull", "quick"].map(|app| race.linked(app));
        let further = race.world.run(&[]);
        let whole = |version: &Option<String>| matches!(version.as_deref(), Some("1.0" | "2.0"));
        let new = |version: &Option<String>| version.as_deref() == Some("2.0");
        let good = between.iter().all(whole)
            && after.iter().all(new)
            && again.code == 0
            && further.stdout.contains("No changes")
            && round_is_over(&root);
        if !good {
            let call = killed.calls.get(point - 1);
            failures.push(format!(
                "{point}, {call:?}: {between:?}, {after:?}, {again:#?} {further:#?}"
            ));
        }
    }
    println!("{points} points, {} failures", failures.len());
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}
