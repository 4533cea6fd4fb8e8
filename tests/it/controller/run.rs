//! The real program as a service: edits, signals, requests, outages, drift, and what systemd is told.
//!
//! A test never waits for a time but for what it expects to happen, as long as its patience lasts. The loop says
//! on `$NOTIFY_SOCKET` when it is ready and when it waits for the next pass.

use std::fs;
use std::io::{Read, Write};
use std::os::unix::net::UnixDatagram;
use std::process::{Child, Command, Output, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::support::duo::{World, archive, archive_name, checksum_line, said, web};
use crate::support::server::Reply;

/// How long something may take that is expected to happen, on a machine that is busy.
const PATIENCE: Duration = Duration::from_mins(1);

/// Between two looks.
const POLL: Duration = Duration::from_millis(10);

/// A loop that makes no pass without a cause.
const IDLE: [&str; 3] = ["run", "--interval", "1d"];

/// A running loop and what it says.
struct Loop<'w> {
    world: &'w World,
    agent: Child,
    notified: mpsc::Receiver<String>,
    heard: Vec<String>,
}

impl<'w> Loop<'w> {
    /// Starts it and returns once its first pass is over.
    fn start(world: &'w World, arguments: &[&str]) -> Self {
        Self::start_with(world, arguments, &[])
    }

    fn start_with(world: &'w World, arguments: &[&str], environment: &[(&str, &str)]) -> Self {
        let mut running = Self::begin(world, arguments, environment);
        running.hear("READY=1");
        running.settles();
        running
    }

    fn begin(world: &'w World, arguments: &[&str], environment: &[(&str, &str)]) -> Self {
        let mut agent = world.command(&["--effects", "run"]);
        agent.args(arguments).envs(environment.iter().copied());
        Self::begin_as(world, agent)
    }

    fn begin_as(world: &'w World, mut agent: Command) -> Self {
        let socket = world.path("notify.sock");
        let _ = fs::remove_file(&socket);
        let notified = notices(UnixDatagram::bind(&socket).unwrap());
        agent.env("NOTIFY_SOCKET", &socket);
        let log = fs::File::create(world.path("agent.log")).unwrap();
        agent.stdout(Stdio::null()).stderr(log);
        Self { world, agent: agent.spawn().unwrap(), notified, heard: Vec::new() }
    }

    /// Waits until something is said that holds a text; returns it.
    #[track_caller]
    fn hear(&mut self, text: &str) -> String {
        loop {
            let said = match self.notified.recv_timeout(PATIENCE) {
                Ok(said) => said,
                Err(error) => panic!("{error}: never said {text:?}, but: {:#?}", self.heard),
            };
            self.heard.push(said.clone());
            if said.contains(text) {
                return said;
            }
        }
    }

    /// Waits until it waits for its next pass; returns what it says about the last one.
    #[track_caller]
    fn settles(&mut self) -> String {
        self.hear("; next pass ")
    }

    fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(self.agent.id().try_into().unwrap()), signal).unwrap();
    }

    /// Asks for a pass, waits for it, and returns how that ended.
    fn request(&self, arguments: &[&str]) -> Output {
        self.world.agent(&[&["request", "--wait"], arguments].concat())
    }

    /// Ends it as a crash would.
    fn crash(&mut self) {
        self.agent.kill().unwrap();
        self.agent.wait().unwrap();
    }

    /// Ends it.
    #[track_caller]
    fn stop(mut self) {
        self.signal(Signal::SIGTERM);
        self.hear("STOPPING=1");
        let status = self.agent.wait().unwrap();
        assert!(status.success(), "{status}");
        for socket in ["api.sock", "control.sock"] {
            assert!(!self.world.host("run/reconcile").join(socket).exists(), "{socket} is left");
        }
    }
}

impl Drop for Loop<'_> {
    fn drop(&mut self) {
        let _ = self.agent.kill();
        let _ = self.agent.wait();
    }
}

/// What arrives at a socket, taken from it at once: an agent waits for room there, and its test may wait for it.
fn notices(socket: UnixDatagram) -> mpsc::Receiver<String> {
    let (tell, told) = mpsc::channel();
    std::thread::spawn(move || {
        let mut buffer = [0; 4096];
        loop {
            match socket.recv(&mut buffer) {
                Ok(length) => {
                    let said = String::from_utf8_lossy(&buffer[..length]).into_owned();
                    if tell.send(said).is_err() {
                        return;
                    }
                }
                // Other tests of this process are stopped and continued.
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                Err(_) => return,
            }
        }
    });
    told
}

#[track_caller]
fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let began = Instant::now();
    while !holds() {
        assert!(began.elapsed() < PATIENCE, "{what} did not happen");
        std::thread::sleep(POLL);
    }
}

/// A host that wishes 1.0.
fn world() -> World {
    let world = World::new();
    world.wish("1.0", 3);
    world
}

fn in_use(world: &World) -> Option<String> {
    world.in_use().ok().flatten()
}

#[test]
fn whoever_does_not_take_what_he_is_told_is_not_waited_for() {
    let world = world();
    let socket = world.path("notify.sock");
    // It never reads: there is room for a few messages.
    let _deaf = UnixDatagram::bind(&socket).unwrap();
    let mut agent = world.command(&["--effects", "run"]);
    agent.args(IDLE).env("NOTIFY_SOCKET", &socket).stdout(Stdio::null()).stderr(Stdio::null());
    let mut agent = agent.spawn().unwrap();
    let began = Instant::now();
    let mut answered = 0;
    while answered < 6 {
        assert!(began.elapsed() < PATIENCE, "{answered} requests were answered");
        match world.agent(&["request", "--wait"]).status.code() {
            Some(0) => answered += 1,
            // It has not begun to listen.
            _ => std::thread::sleep(POLL),
        }
    }
    kill(Pid::from_raw(agent.id().try_into().unwrap()), Signal::SIGTERM).unwrap();
    assert!(agent.wait().unwrap().success());
}

#[test]
fn edited_wish_arrives() {
    let world = world();
    let mut running = Loop::start(&world, &IDLE);
    assert_eq!(in_use(&world).as_deref(), Some("1.0"));
    world.wish("2.0", 3);
    running.settles();
    assert_eq!(in_use(&world).as_deref(), Some("2.0"));
    // As editors do it: a new file takes the place of the old one.
    let wish = fs::read_to_string(world.path("desired/apps.yaml")).unwrap();
    fs::write(world.path("desired/.apps.swp"), wish.replace("2.0", "1.0")).unwrap();
    fs::rename(world.path("desired/.apps.swp"), world.path("desired/apps.yaml")).unwrap();
    running.settles();
    assert_eq!(in_use(&world).as_deref(), Some("1.0"));
    running.stop();
}

#[test]
fn file_of_the_wish_that_is_not_there_for_a_moment_removes_nothing() {
    let world = world();
    fs::write(
        world.path("desired/rest.yaml"),
        "apps: { rest: { suspend: { reason: new }, source: { file: /srv } } }\n",
    )
    .unwrap();
    let mut running = Loop::start(&world, &IDLE);
    let file = world.path("desired/apps.yaml");
    let wish = fs::read_to_string(&file).unwrap();
    fs::remove_file(&file).unwrap();
    let said = running.settles();
    assert!(said.contains("deferred"), "{said}");
    fs::write(&file, wish).unwrap();
    running.settles();
    assert_eq!(in_use(&world).as_deref(), Some("1.0"));
    running.stop();
}

#[test]
fn wish_behind_a_link_arrives_when_the_link_is_set_anew() {
    let world = world();
    fs::rename(world.path("desired"), world.path("checkout-1")).unwrap();
    std::os::unix::fs::symlink("checkout-1", world.path("desired")).unwrap();
    let mut running = Loop::start(&world, &IDLE);
    fs::create_dir(world.path("checkout-2")).unwrap();
    let wish = fs::read_to_string(world.path("checkout-1/apps.yaml")).unwrap();
    fs::write(world.path("checkout-2/apps.yaml"), wish.replace("1.0", "2.0")).unwrap();
    std::os::unix::fs::symlink("checkout-2", world.path("desired.new")).unwrap();
    fs::rename(world.path("desired.new"), world.path("desired")).unwrap();
    running.settles();
    assert_eq!(in_use(&world).as_deref(), Some("2.0"));
    running.stop();
}

#[test]
fn invalid_wish_keeps_the_last_valid_one_in_effect_also_over_a_restart() {
    let world = world();
    let mut running = Loop::start(&world, &IDLE);
    fs::write(world.path("desired/apps.yaml"), "apps:\n  duo: { sauce: 1 }\n").unwrap();
    let said = running.settles();
    assert!(said.contains("the desired state is invalid"), "{said}");
    assert!(
        said.contains("apps.yaml:2") && said.contains("last valid one stays in effect"),
        "{said}"
    );
    running.stop();

    fs::remove_file(world.host("opt/duo/bin/alpha")).unwrap();
    let mut running = Loop::start(&world, &IDLE);
    assert_eq!(in_use(&world).as_deref(), Some("1.0"), "repaired although the wish is not valid");
    world.wish("2.0", 3);
    let said = running.settles();
    assert!(!said.contains("invalid"), "{said}");
    assert_eq!(in_use(&world).as_deref(), Some("2.0"));
    running.stop();
}

#[test]
fn sighup_reads_the_configuration_again_and_makes_a_pass() {
    let world = world();
    let config = world.path("agent.yaml");
    fs::write(&config, "interval: 1d\n").unwrap();
    let arguments = ["run", "--config", config.to_str().unwrap()];
    let mut running = Loop::start(&world, &arguments);
    fs::remove_file(world.host("opt/duo/bin/alpha")).unwrap();
    fs::write(&config, "interval: 2h\nintervall: 1\n").unwrap();
    running.signal(Signal::SIGHUP);
    let said = running.hear("RELOADING=1");
    assert!(said.contains("MONOTONIC_USEC="), "{said}");
    let said = running.hear("READY=1");
    assert!(said.contains("agent.yaml:2:1") && said.contains("intervall"), "{said}");
    running.settles();
    assert_eq!(in_use(&world).as_deref(), Some("1.0"));
    running.stop();
}

#[test]
fn request_is_answered_when_its_pass_was_made_with_its_exit_code() {
    let world = world();
    let mut running = Loop::start(&world, &IDLE);
    fs::remove_file(world.host("opt/duo/bin/alpha")).unwrap();
    let asked = running.request(&[]);
    assert_eq!(asked.status.code(), Some(0), "{}", said(&asked));
    assert_eq!(in_use(&world).as_deref(), Some("1.0"), "repaired by the time of the answer");
    assert!(said(&asked).contains("1 repaired"), "{}", said(&asked));
    let asked = running.request(&["--only", "app/nobody"]);
    assert_eq!(asked.status.code(), Some(64), "{}", said(&asked));
    world.wish("3.0", 3);
    let asked = running.request(&["--only", "app/duo"]);
    assert_eq!(asked.status.code(), Some(1), "there is no 3.0: {}", said(&asked));
    running.settles();
    running.stop();
    let asked = world.agent(&["request", "--wait"]);
    assert_eq!(asked.status.code(), Some(69), "{}", said(&asked));
    assert!(said(&asked).contains("is `reconcile run` running"), "{}", said(&asked));
}

#[test]
fn agent_that_crashed_is_soon_known_to_be_none() {
    let world = world();
    let mut running = Loop::start(&world, &IDLE);
    running.crash();
    let began = Instant::now();
    let asked = world.agent(&["request", "--wait"]);
    assert_eq!(asked.status.code(), Some(69), "{}", said(&asked));
    // One that goes on as another program has ten seconds.
    assert!(began.elapsed() < Duration::from_secs(8), "{:?}", began.elapsed());
}

#[test]
fn second_loop_is_refused_and_passes_by_hand_are_not() {
    let world = world();
    let running = Loop::start(&world, &IDLE);
    let second = world.agent(&IDLE);
    assert_eq!(second.status.code(), Some(75), "{}", said(&second));
    world.wish("2.0", 3);
    until("an edit", || in_use(&world).as_deref() == Some("2.0"));
    let by_hand = world.agent(&["--effects", "run", "--lock-timeout", "30s"]);
    assert_eq!(by_hand.status.code(), Some(0), "{}", said(&by_hand));
    running.stop();
}

#[test]
fn told_to_stop_in_the_middle_of_a_pass_it_ends_at_a_safe_point() {
    let world = world();
    let (server, source) = web();
    let (name, bytes) = (archive_name("2.0"), archive("2.0"));
    let stalls = Reply::file(bytes.clone()).stalling_after(100);
    server.serve_in_turn(&format!("/dl/{name}"), [stalls, Reply::file(bytes)]);
    let running = Loop::start(&world, &IDLE);
    world.wish_from(&source, "2.0", 3);
    until("a download", || server.requests().iter().any(|request| request.sent == 100));
    running.stop();
    assert_eq!(in_use(&world).as_deref(), Some("1.0"));
    let running = Loop::start(&world, &IDLE);
    assert_eq!(in_use(&world).as_deref(), Some("2.0"));
    running.stop();
    assert_eq!(world.leftovers(), [""; 0]);
}

#[test]
fn newer_wish_takes_the_place_of_one_that_is_being_fetched() {
    let world = world();
    let (server, source) = web();
    let (name, bytes) = (archive_name("2.0"), archive("2.0"));
    server.serve(&format!("/dl/{name}"), Reply::file(bytes).stalling_after(100));
    let mut running = Loop::start(&world, &IDLE);
    world.wish_from(&source, "2.0", 3);
    until("a download", || server.requests().iter().any(|request| request.sent == 100));
    world.wish("1.0", 2);
    // The download would hang for much longer than this takes.
    running.settles();
    assert_eq!(in_use(&world).as_deref(), Some("1.0"));
    running.stop();
}

#[test]
fn first_pass_is_one_pass_however_long_it_takes() {
    let world = world();
    let (server, source) = web();
    let (name, bytes) = (archive_name("1.0"), archive("1.0"));
    // Longer than it takes until the files are looked at after the watch has begun.
    let piece = bytes.len().div_ceil(5);
    server.serve(&format!("/dl/{name}"), Reply::file(bytes).slow(piece, Duration::from_millis(80)));
    world.wish_from(&source, "1.0", 3);
    let running = Loop::start(&world, &IDLE);
    assert_eq!(in_use(&world).as_deref(), Some("1.0"));
    let passes = running.heard.iter().filter(|said| said.contains("making a pass"));
    assert_eq!(passes.count(), 1, "{:#?}", running.heard);
    running.stop();
}

#[test]
fn source_is_asked_in_the_rhythm_that_its_resource_says() {
    let world = world();
    let (server, source) = web();
    world.wish_from(&source, "latest", 3);
    world.wish_also("    every: 1s\n");
    let mut running = Loop::start(&world, &IDLE);
    server.take_requests();
    running.hear("making a pass (every)");
    until("asking", || !server.requests().is_empty());
    running.stop();
}

#[test]
fn source_that_is_down_is_asked_again_until_it_is_back() {
    let world = world();
    let (server, source) = web();
    server.serve("/dl", Reply::status(500));
    server.serve("/dl/", Reply::status(500));
    server.serve("/dl/SHA256SUMS", Reply::status(500));
    world.wish_from(&source, "1.0", 3);
    let running = Loop::start(&world, &IDLE);
    assert_eq!(in_use(&world), None);
    let sums = checksum_line(&archive_name("1.0"), &archive("1.0"));
    server.serve("/dl/SHA256SUMS", Reply::file(sums));
    until("another attempt", || in_use(&world).as_deref() == Some("1.0"));
    // It was made for this resource alone, and is told all the same.
    until("good news", || ask(&world, "/status").contains("\"state\":\"Current\""));
    running.stop();
}

#[test]
fn what_is_owed_and_what_is_settled_is_shown_at_once() {
    let world = world();
    fs::write(world.path("hook"), "#!/bin/sh\nexit 1\n").unwrap();
    let running = Loop::start(&world, &IDLE);
    let owed = || {
        let status: serde_json::Value = serde_json::from_str(&ask(&world, "/status")).unwrap();
        status["resources"][0]["owed"].as_array().unwrap().len()
    };
    assert_eq!(owed(), 1);
    fs::write(world.path("hook"), "#!/bin/sh\nexit 0\n").unwrap();
    let asked = running.request(&[]);
    assert_eq!((asked.status.code(), owed()), (Some(0), 0), "{}", said(&asked));
    running.stop();
}

#[test]
fn requests_are_heard_again_after_there_were_too_many() {
    /// Files that the agent may have open, fewer than the askers that it takes at once.
    const FILES_MAX: usize = 64;
    let world = world();
    let mut agent = Command::new("sh");
    agent.args(["-c", &format!("ulimit -n {FILES_MAX}; exec \"$@\""), "sh"]);
    agent.arg(env!("CARGO_BIN_EXE_reconcile")).args(world.arguments(&["--effects", "run"]));
    agent.args(IDLE).envs(world.environment());
    let mut running = Loop::begin_as(&world, agent);
    running.settles();
    let socket = world.host("run/reconcile/control.sock");
    let connect = |_| std::os::unix::net::UnixStream::connect(&socket).unwrap();
    let many: Vec<_> = (0..FILES_MAX).map(connect).collect();
    let open = format!("/proc/{}/fd", running.agent.id());
    until("too many", || fs::read_dir(&open).unwrap().count() >= FILES_MAX);
    drop(many);
    let asked = running.request(&[]);
    assert_eq!(asked.status.code(), Some(0), "{}", said(&asked));
    running.stop();
}

#[test]
fn drift_is_repaired_when_it_is_time() {
    let world = world();
    let mut running = Loop::start(&world, &["run", "--interval", "1s"]);
    fs::remove_file(world.host("opt/duo/bin/alpha")).unwrap();
    until("a repair", || in_use(&world).as_deref() == Some("1.0"));
    running.hear("1 repaired");
    running.stop();
}

#[test]
fn watchdog_is_fed_by_the_waiting_loop() {
    let world = world();
    let environment = [("WATCHDOG_USEC", "100000")];
    let mut running = Loop::start_with(&world, &IDLE, &environment);
    for _ in 0..3 {
        running.hear("WATCHDOG=1");
    }
    running.stop();
}

/// Resident memory of a process, in KiB.
fn resident(process: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{process}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.split_whitespace().next().unwrap().parse().unwrap()
}

#[test]
fn memory_is_given_back_between_passes() {
    let world = world();
    let mut running = Loop::start(&world, &IDLE);
    for version in ["2.0", "1.0"] {
        let busy = resident(running.agent.id());
        until("rest", || resident(running.agent.id()) < busy * 3 / 4);
        world.wish(version, 3);
        running.settles();
        assert_eq!(in_use(&world).as_deref(), Some(version), "it goes on as if nothing had been");
    }
    running.stop();
}

#[test]
fn counts_of_the_last_moments_outlive_the_agent() {
    let world = world();
    let mut running = Loop::start(&world, &["run", "--interval", "1s"]);
    running.settles();
    running.settles();
    let counted = |text: &str| {
        let name = "reconcile_run_duration_seconds_count ";
        let line = text.lines().find_map(|line| line.strip_prefix(name));
        line.unwrap().parse::<u64>().unwrap()
    };
    let passes = counted(&ask(&world, "/metrics"));
    running.stop();
    let metrics = world.path("metrics.prom");
    world.agent(&["--metrics-file", metrics.to_str().unwrap()]);
    assert!(counted(&fs::read_to_string(metrics).unwrap()) > passes);
}

#[test]
fn copy_of_the_wish_that_somebody_removed_is_made_again() {
    let world = world();
    let running = Loop::start(&world, &IDLE);
    let state = fs::read_dir(world.host("var/lib/reconcile")).unwrap();
    let mut state = state.map(|entry| entry.unwrap().path());
    let copy = state.find(|path| path.to_str().unwrap().contains("/desired-")).unwrap();
    let text = fs::read(&copy).unwrap();
    fs::remove_file(&copy).unwrap();
    assert_eq!(running.request(&[]).status.code(), Some(0));
    assert_eq!(fs::read(&copy).unwrap(), text);
    running.stop();
}

#[test]
fn hooks_cannot_speak_to_systemd_in_the_name_of_the_agent() {
    let world = world();
    let seen = world.path("seen");
    let hook = format!("#!/bin/sh\nprintenv > {}\n", seen.display());
    fs::write(world.path("hook"), hook).unwrap();
    let running = Loop::start(&world, &IDLE);
    let environment = fs::read_to_string(&seen).unwrap();
    assert!(environment.contains("RECONCILE_NEW_VERSION"), "{environment}");
    assert!(!environment.contains("NOTIFY_SOCKET"), "{environment}");
    running.stop();
}

#[test]
fn outside_its_window_a_release_is_fetched_and_inside_it_comes_into_use() {
    let world = world();
    let (server, source) = web();
    let config = world.path("agent.yaml");
    let now = jiff::Timestamp::now().to_zoned(jiff::tz::TimeZone::UTC);
    let window = |from: &jiff::Zoned| {
        let start = from.strftime("%H:%M");
        format!("windows:\n  w: {{ start: '{start}', for: 1h, zone: 'UTC0' }}\n")
    };
    fs::write(&config, window(&(&now + jiff::SignedDuration::from_hours(5)))).unwrap();
    let arguments = ["run", "--interval", "1d", "--config", config.to_str().unwrap()];
    let mut running = Loop::start(&world, &arguments);
    assert_eq!(in_use(&world).as_deref(), Some("1.0"), "a first install waits for no window");
    world.wish_from(&source, "2.0", 3);
    let last = running.settles();
    assert!(last.contains("1 fetched ahead") && last.contains("1 blocked"), "{last}");
    assert_eq!(in_use(&world).as_deref(), Some("1.0"));
    let preview = world.agent(&["--dry-run", "--config", config.to_str().unwrap()]);
    let text = said(&preview);
    assert!(text.contains("deferred until") && text.contains("`w`"), "{text}");
    assert!(!text.contains("fetch 2.0"), "it is here already: {text}");

    let archive = format!("/dl/{}", archive_name("2.0"));
    server.serve(&archive, Reply::status(500));
    server.take_requests();
    fs::write(&config, window(&now)).unwrap();
    running.signal(Signal::SIGHUP);
    running.hear("READY=1");
    running.settles();
    assert_eq!(in_use(&world).as_deref(), Some("2.0"));
    assert!(!server.paths().contains(&archive), "{:?}", server.paths());
    running.stop();
}

/// What the API says, by its socket.
fn ask(world: &World, path: &str) -> String {
    let socket = world.host("run/reconcile/api.sock");
    let mut stream = std::os::unix::net::UnixStream::connect(socket).unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    assert!(head.starts_with("HTTP/1.1 200"), "{path}: {answer}");
    body.to_owned()
}

#[test]
fn what_passes_come_to_is_shown_and_told() {
    let world = world();
    let events = world.host("events.jsonl");
    let config = "notify: { file: /events.jsonl }\n";
    fs::create_dir_all(world.host("etc/reconcile")).unwrap();
    fs::write(world.host("etc/reconcile/agent.yaml"), config).unwrap();
    let mut running = Loop::start(&world, &IDLE);
    let version = || {
        let status: serde_json::Value = serde_json::from_str(&ask(&world, "/status")).unwrap();
        assert_eq!(status["state"], "Current", "{status}");
        status["resources"][0]["version"].as_str().unwrap().to_owned()
    };
    assert_eq!(version(), "1.0");
    world.wish("2.0", 3);
    running.settles();
    assert_eq!(version(), "2.0");
    let metrics = ask(&world, "/metrics");
    for series in [
        "reconcile_next_run_timestamp_seconds ",
        "reconcile_runs_total{trigger=\"start\",result=\"changed\"} 1",
        "reconcile_runs_total{trigger=\"desired\",result=\"changed\"} 1",
    ] {
        assert!(metrics.contains(series), "{series} in {metrics}");
    }
    assert_eq!(ask(&world, "/healthz"), "ok\n");
    assert!(ask(&world, "/").contains("1.0 →</span> 2.0"));
    until("telling", || {
        let told = fs::read_to_string(&events).unwrap_or_default();
        told.matches("\"reason\":\"ChangeApplied\"").count() == 2
    });
    running.stop();
}

#[test]
fn port_that_somebody_else_has_keeps_no_agent_from_its_work() {
    let world = world();
    let theirs = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = theirs.local_addr().unwrap();
    fs::create_dir_all(world.host("etc/reconcile")).unwrap();
    fs::write(world.host("etc/reconcile/agent.yaml"), format!("listen: \"{address}\"\n")).unwrap();
    let agent = Loop::start(&world, &IDLE);
    assert_eq!(in_use(&world).as_deref(), Some("1.0"));
    let log = fs::read_to_string(world.path("agent.log")).unwrap();
    assert!(log.contains(&format!("cannot listen on {address}")), "{log}");
    agent.stop();
}

#[test]
fn pass_that_cannot_be_made_is_told_everywhere_until_one_is() {
    let world = world();
    let mut running = Loop::start(&world, &["run", "--interval", "1d", "-v"]);
    let decided = world.host("var/lib/reconcile/overrides.json");
    let read = |text: &str| serde_json::from_str::<serde_json::Value>(text).unwrap();
    let by_hand = || read(&said(&world.agent(&["status", "-o", "json"])));
    for _ in 0..2 {
        fs::write(&decided, "junk").unwrap();
        assert_eq!(running.request(&[]).status.code(), Some(1));
        running.settles();
        for status in [read(&ask(&world, "/status")), by_hand()] {
            assert_eq!(status["state"], "Failed", "{status:#}");
            let conditions = status["conditions"].as_array().unwrap();
            let ready = conditions.iter().find(|c| c["type"] == "Ready").unwrap();
            assert_eq!(ready["status"], "False", "{status:#}");
            // It says which file, and not that of this machine's own host.
            let why = ready["message"].as_str().unwrap();
            assert!(why.starts_with(decided.to_str().unwrap()), "{why}");
        }
        let metrics = ask(&world, "/metrics");
        for series in [
            "reconcile_host_condition{type=\"Ready\"} 0",
            "reconcile_host_condition{type=\"TrustStateLost\"} 1",
        ] {
            assert!(metrics.contains(series), "{series} in {metrics}");
        }
        assert!(ask(&world, "/").contains("No pass is made"));
    }
    let log = fs::read_to_string(world.path("agent.log")).unwrap();
    assert_eq!(log.matches("HostDegraded").count(), 1, "{log}");
    fs::remove_file(&decided).unwrap();
    assert_eq!(running.request(&[]).status.code(), Some(0));
    running.settles();
    assert_eq!(read(&ask(&world, "/status"))["state"], "Current");
    let status = by_hand();
    assert_eq!(status["state"], "Current", "{status:#}");
    let log = fs::read_to_string(world.path("agent.log")).unwrap();
    assert!(log.contains("the host is Current, it was Failed"), "{log}");
    running.stop();
}

#[test]
fn wish_that_was_never_valid_is_told_everywhere() {
    let world = world();
    fs::write(world.path("desired/apps.yaml"), "apps:\n  duo: { sauce: 1 }\n").unwrap();
    let mut running = Loop::start(&world, &["run", "--interval", "1d", "-v"]);
    for _ in 0..2 {
        let status: serde_json::Value = serde_json::from_str(&ask(&world, "/status")).unwrap();
        assert_eq!(status["state"], "Failed", "{status:#}");
        for (kind, reason) in [("Ready", "PassNotMade"), ("DesiredRefused", "Invalid")] {
            let conditions = status["conditions"].as_array().unwrap();
            let told = conditions.iter().find(|c| c["type"] == kind).unwrap();
            assert_eq!(told["reason"], reason, "{status:#}");
            let why = told["message"].as_str().unwrap();
            assert!(why.contains("apps.yaml:2: `source` of app"), "{why}");
        }
        let metrics = ask(&world, "/metrics");
        assert!(metrics.contains("reconcile_host_condition{type=\"Ready\"} 0"), "{metrics}");
        let alive = ask(&world, "/healthz");
        assert!(
            alive.starts_with("ok, but no pass is made: the desired state is invalid"),
            "{alive}"
        );
        assert!(ask(&world, "/").contains("No pass is made"));
        assert_eq!(running.request(&[]).status.code(), Some(65));
        running.settles();
    }
    let log = fs::read_to_string(world.path("agent.log")).unwrap();
    assert_eq!(log.matches("unknown key").count(), 1, "told once: {log}");
    world.wish("1.0", 3);
    until("a valid wish", || {
        ask(&world, "/status").contains("\"state\":\"Current\",\"lastPassAt\"")
    });
    assert_eq!(ask(&world, "/healthz"), "ok\n");
    running.stop();
}

#[test]
fn last_pass_is_the_one_that_the_running_agent_made_last() {
    let world = world();
    let mut running = Loop::start(&world, &IDLE);
    assert_eq!(running.request(&[]).status.code(), Some(0));
    running.settles();
    let status = said(&world.agent(&["status", "-o", "json"]));
    let status: serde_json::Value = serde_json::from_str(&status).unwrap();
    assert_eq!(status["lastPassAt"], status["agent"]["lastPassAt"], "{status:#}");
    assert_eq!(status["lastConvergedAt"], status["lastPassAt"], "{status:#}");
    // One over a part of it says nothing of the rest.
    assert_eq!(running.request(&["--only", "duo"]).status.code(), Some(0));
    running.settles();
    let later = said(&world.agent(&["status", "-o", "json"]));
    let later: serde_json::Value = serde_json::from_str(&later).unwrap();
    assert_eq!(later["lastConvergedAt"], status["lastConvergedAt"], "{later:#}");
    assert_ne!(later["lastPassAt"], status["lastPassAt"], "{later:#}");
    running.stop();
}
