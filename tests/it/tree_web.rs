//! Trees from our own publisher on the web: packs, and what a plan tells before it fetches.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex};
use std::thread;
use std::time::Duration;

use camino::Utf8Path;
use jiff::Timestamp;
use reconcile::publish::tree::{Packing, Profile, Publication, Published, publish};

use crate::support::casync::noise;
use crate::support::server::{Reply, Request, Server};
use crate::support::tree::{self, render, snapshot};
use crate::support::world::{Ran, World};

/// A publisher on a web server, and a host that wants its tree.
struct Web {
    world: World,
    server: Server,
    site: PathBuf,
    packing: Packing,
    profile: Profile,
}

impl Web {
    fn new(packing: Packing) -> Self {
        let world = World::new();
        let site = world.temp().join("published");
        let server = Server::start();
        let root = site.clone();
        server.handle(move |request| {
            let path = root.join(request.bare_path().trim_start_matches('/'));
            fs::read(path).ok().map(Reply::file)
        });
        let mut web = Self { world, server, site, packing, profile: Profile::Reproducible };
        for (seed, name) in (1..).zip(["a", "b", "c"]) {
            web.write(&format!("data/{name}"), &noise(seed, 3_000_000));
        }
        web.write("conf.d/main", b"one\n");
        web.publish();
        let wish = web.wish("");
        web.world.wish("desired", &wish);
        web
    }

    fn source(&self) -> PathBuf {
        self.site.join("source")
    }

    fn write(&self, name: &str, bytes: &[u8]) {
        tree::write(&self.source().join(name), bytes);
    }

    fn publish(&self) -> Published {
        self.publish_with(&[])
    }

    fn publish_with(&self, deltas_from: &[&str]) -> Published {
        let path = |name: &str| Utf8Path::from_path(&self.site).unwrap().join(name);
        let (packing, profile) = (self.packing, self.profile);
        let wish = Publication::new(&path("source"), &path("site.caidx"), &path("site.castr"));
        let deltas_from = deltas_from.iter().map(|name| path(name)).collect();
        let wish = Publication { packing, profile, deltas_from, ..wish };
        publish(&wish, Timestamp::now()).unwrap()
    }

    fn wish(&self, more: &str) -> String {
        format!(
            "trees:\n  site:\n    path: /srv/site\n    verify: {{ min: none }}\n    source: {{ casync: {{ index: \
             \"{}\", store: [\"{}\"] }} }}\n{more}",
            self.server.url("/site.caidx"),
            self.server.url("/site.castr")
        )
    }

    fn pass(&mut self) -> Ran {
        self.world.tick();
        self.world.run(&[]).exits(0)
    }

    #[track_caller]
    fn is_published(&self) {
        let here = snapshot(&self.world.path("/srv/site"));
        assert_eq!(render(&here), render(&snapshot(&self.source())));
    }

    /// Requests since the last look, by what they were for.
    fn asked(&self) -> Asked {
        let requests = self.server.take_requests();
        let of = |part: &str| requests.iter().filter(|r| r.path.contains(part)).count();
        let (packs, chunks) = (of("/packs/"), of(".cacnk"));
        Asked { packs, chunks, requests }
    }
}

struct Asked {
    packs: usize,
    chunks: usize,
    requests: Vec<Request>,
}

#[test]
fn packs_bring_a_tree_in_a_hundredth_of_the_requests_and_the_plan_says_so() {
    let mut web = Web::new(Packing::ChunksAndPacks);
    let chunks = usize::try_from(web.publish().chunks).unwrap();
    web.world.tick();
    let plan = web.world.run(&["--dry-run"]).exits(0);
    let asked = web.asked();
    assert_eq!((asked.packs, asked.chunks), (0, 0), "a plan fetches no content");
    assert!(plan.stdout.contains("in packs by"), "{}", plan.stdout);
    web.pass();
    web.is_published();
    let asked = web.asked();
    assert!(asked.chunks == 0 && asked.packs * 20 < chunks, "{} {chunks}", asked.packs);
    let planned = format!("in packs by {} request", asked.packs);
    assert!(plan.stdout.contains(&planned), "{planned}: {}", plan.stdout);
    let parts = asked.requests.iter().filter(|r| r.path.contains("/packs/"));
    assert!(parts.clone().all(|request| request.status == 206));
    // An update reads only what changed, and a small one asks for no list.
    let mut changed = noise(2, 3_000_000);
    changed[1_500_000..1_500_100].fill(7);
    web.write("data/b", &changed);
    web.publish();
    web.pass();
    web.is_published();
    let asked = web.asked();
    let sent: u64 = asked.requests.iter().map(|request| request.sent).sum();
    assert!(asked.packs + asked.chunks <= 8 && sent < 1_000_000, "{sent}");
}

#[test]
fn chunks_are_kept_inside_of_the_root_wherever_a_link_leads() {
    let mut web = Web::new(Packing::Chunks);
    let outside = web.world.temp().join("outside");
    fs::create_dir(&outside).unwrap();
    tree::link(&web.world.path("/var/cache/reconcile/chunks"), outside.to_str().unwrap());
    // So that what was fetched is kept for another attempt.
    let store = web.site.join("site.castr");
    let lost = fs::read_dir(&store).unwrap().map(|entry| entry.unwrap().path()).next().unwrap();
    fs::rename(&lost, web.site.join("lost")).unwrap();
    web.world.tick();
    web.world.run(&[]);
    assert!(web.asked().chunks > 1);
    assert_eq!(fs::read_dir(&outside).unwrap().count(), 0);
    let inside = web.world.path(outside.to_str().unwrap());
    assert_ne!(fs::read_dir(inside).unwrap().count(), 0);
    fs::rename(web.site.join("lost"), lost).unwrap();
    web.pass();
    web.is_published();
}

#[test]
fn server_that_closes_each_connection_gets_no_more_than_its_queue_holds() {
    let mut web = Web::new(Packing::Chunks);
    let root = web.site.clone();
    let simple = Simple::serve(root);
    let wish = web.wish("").replace(&web.server.url(""), &format!("http://{}", simple.address));
    web.world.wish("desired", &wish);
    web.pass();
    web.is_published();
    let (open, most) = *simple.open.lock().unwrap();
    assert!(most <= 6, "{most} at once, {open} left");
}

/// A server that knows HTTP/1.0 only. The first requests are answered when more of them are there than may be, or
/// after a while.
struct Simple {
    address: SocketAddr,
    /// How many connections are open, and how many ever were at once.
    open: Arc<Mutex<(usize, usize)>>,
}

impl Simple {
    fn serve(root: PathBuf) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let open = Arc::new(Mutex::new((0, 0)));
        let (counted, more) = (Arc::clone(&open), Arc::new(Condvar::new()));
        thread::spawn(move || {
            for (number, stream) in listener.incoming().enumerate() {
                let Ok(stream) = stream else { return };
                let (root, open, more) = (root.clone(), Arc::clone(&counted), Arc::clone(&more));
                thread::spawn(move || {
                    let mut now = open.lock().unwrap();
                    *now = (now.0 + 1, now.1.max(now.0 + 1));
                    more.notify_all();
                    if number < 12 {
                        let while_few = |now: &mut (usize, usize)| now.1 <= 6;
                        let wait = Duration::from_millis(300);
                        now = more.wait_timeout_while(now, wait, while_few).unwrap().0;
                    }
                    drop(now);
                    let _ = Self::answer(&stream, &root);
                    // Before the other side sees the end, so that its next connection does not count beside this one.
                    open.lock().unwrap().0 -= 1;
                    let _ = stream.shutdown(Shutdown::Both);
                });
            }
        });
        Self { address, open }
    }

    fn answer(mut stream: &TcpStream, root: &Path) -> std::io::Result<()> {
        let mut lines = BufReader::new(stream).lines();
        let first = lines.next().transpose()?.unwrap_or_default();
        while lines.next().transpose()?.is_some_and(|line| !line.is_empty()) {}
        let path = first.split(' ').nth(1).unwrap_or_default().trim_start_matches('/');
        match fs::read(root.join(path)) {
            Ok(bytes) => {
                let head = format!("HTTP/1.0 200 OK\r\nContent-Length: {}\r\n\r\n", bytes.len());
                stream.write_all(&[head.as_bytes(), &bytes].concat())
            }
            Err(_) => stream.write_all(b"HTTP/1.0 404 No\r\nContent-Length: 0\r\n\r\n"),
        }
    }
}

#[test]
fn dry_run_refuses_what_removes_too_much_and_an_empty_directory_never_empties_a_tree() {
    let mut web = Web::new(Packing::Chunks);
    let wish = web.wish("    max_delete: 2\n");
    web.world.wish("desired", &wish);
    web.pass();
    let before = render(&snapshot(&web.world.path("/srv/site")));
    for name in ["data/a", "data/b", "data/c"] {
        tree::remove(&web.source().join(name));
    }
    web.publish();
    web.world.tick();
    // The listing tells and the archive decides.
    let plan = web.world.run(&["--dry-run"]).exits(0).stdout;
    assert!(plan.contains("at most 2 paths may go") && plan.contains("3 removed"), "{plan}");
    let refused = web.world.run(&[]).exits(1);
    assert!(refused.stdout.contains("max_delete"), "{refused:#?}");
    let wish = web.wish("");
    web.world.wish("desired", &wish);
    for name in ["data", "conf.d"] {
        tree::remove(&web.source().join(name));
    }
    web.publish();
    web.world.tick();
    let refused = web.world.run(&[]).exits(1);
    assert!(refused.stdout.contains("max_delete"), "{refused:#?}");
    assert_eq!(render(&snapshot(&web.world.path("/srv/site"))), before);
}

#[test]
fn trigger_is_planned_once_with_its_paths_and_going_back_runs_those_whose_paths_differ() {
    let mut web = Web::new(Packing::Chunks);
    let log = web.world.temp().join("log");
    let note = |word: &str| format!("[[sh, -c, \"echo {word} >> {}\"]]", log.display());
    let triggers = format!(
        "    triggers:\n      - {{ paths: [conf.d], run: {} }}\n      - {{ paths: [data], run: {} }}\n",
        note("conf"),
        note("data")
    );
    let wish = web.wish(&triggers);
    web.world.wish("desired", &wish);
    web.world.options = vec!["--effects".to_owned(), "run".to_owned()];
    let plan = web.world.run(&["--dry-run"]).exits(0).stdout;
    let quoted = format!("run sh -c 'echo conf >> {}'", log.display());
    assert_eq!(plan.matches(&format!("* if conf.d changed: {quoted}")).count(), 1, "{plan}");
    assert_eq!(plan.matches(&quoted).count(), 2, "once more under Disruption: {plan}");
    assert!(plan.contains(&format!("{quoted} (if conf.d changed)")), "{plan}");
    web.pass();
    web.write("conf.d/main", b"two\n");
    web.publish();
    web.pass();
    tree::remove(&log);
    web.world.tick();
    web.world.run(&["rollback", "tree/site", "--reason", "test"]).exits(0);
    assert_eq!(fs::read_to_string(&log).unwrap(), "conf\n");
    tree::remove(&log);
    web.world.run(&["resume", "tree/site"]).exits(0);
    web.pass();
    assert_eq!(fs::read_to_string(&log).unwrap(), "conf\n");
}

#[test]
fn packs_that_are_missing_torn_or_wrong_cost_only_requests() {
    type Spoil = fn(&[u8]) -> Reply;
    let spoilt: [(&str, Spoil); 4] = [
        ("missing", |_| Reply::status(404)),
        ("without ranges", |bytes| Reply::file(bytes).without_ranges()),
        ("torn", |bytes| Reply::file(bytes).truncated_after(1000)),
        ("wrong", |bytes| Reply::file(bytes.iter().map(|byte| byte ^ 1).collect::<Vec<_>>())),
    ];
    for (how, reply) in spoilt {
        let mut web = Web::new(Packing::ChunksAndPacks);
        for pack in fs::read_dir(web.site.join("site.castr/packs")).unwrap() {
            let pack = pack.unwrap().path();
            let name = pack.file_name().unwrap().to_str().unwrap().to_owned();
            let bytes = fs::read(&pack).unwrap();
            web.server.serve(&format!("/site.castr/packs/{name}"), reply(&bytes));
        }
        web.pass();
        web.is_published();
        // Packs that are read whole need no ranges.
        assert_eq!(web.asked().chunks > 50, how != "without ranges", "{how}");
    }
}

#[test]
fn list_of_packs_that_is_broken_or_changes_after_the_plan_is_done_without() {
    let mut web = Web::new(Packing::ChunksAndPacks);
    let list = fs::read(web.site.join("site.caidx.packs")).unwrap();
    web.server.serve("/site.caidx.packs", Reply::file(&list[..list.len() - 1]));
    let plan = web.world.run(&["--dry-run"]).exits(0);
    assert!(!plan.stdout.contains("packs"), "{}", plan.stdout);
    let other = Reply::file(list.iter().rev().copied().collect::<Vec<_>>());
    web.server.serve_in_turn("/site.caidx.packs", [Reply::file(list), other]);
    web.pass();
    web.is_published();
    let asked = web.asked();
    assert!(asked.packs == 0 && asked.chunks > 50);
}

#[test]
fn interrupted_reading_of_packs_goes_on_where_it_stopped() {
    let mut web = Web::new(Packing::ChunksAndPacks);
    let packs: Vec<PathBuf> = fs::read_dir(web.site.join("site.castr/packs"))
        .unwrap()
        .map(|pack| pack.unwrap().path())
        .collect();
    // One pack is gone, and so are its chunks one by one.
    let hidden = web.world.temp().join("hidden");
    let chunks = web.site.join("site.castr");
    fs::rename(&packs[0], &hidden).unwrap();
    let aside = web.world.temp().join("aside");
    let chunk_dirs = || fs::read_dir(&chunks).unwrap().map(|entry| entry.unwrap().path());
    for directory in chunk_dirs().filter(|path| !path.ends_with("packs") && path.is_dir()) {
        let to: &Path = &aside.join(directory.file_name().unwrap());
        fs::create_dir_all(&aside).unwrap();
        fs::rename(&directory, to).unwrap();
    }
    web.world.tick();
    web.world.run(&[]).exits(1);
    web.asked();
    fs::rename(&hidden, &packs[0]).unwrap();
    for directory in fs::read_dir(&aside).unwrap() {
        let directory = directory.unwrap();
        fs::rename(directory.path(), chunks.join(directory.file_name())).unwrap();
    }
    web.pass();
    web.is_published();
    let sent: u64 = web.asked().requests.iter().map(|request| request.sent).sum();
    assert!(sent < 8_500_000, "{sent} of 9,000,000: what was there already was not read again");
}

#[test]
fn plan_and_diff_tell_each_path_before_anything_but_the_listing_is_fetched() {
    let mut web = Web::new(Packing::Chunks);
    web.profile = Profile::Full;
    web.write("conf.d/touched", b"as it was\n");
    web.write("conf.d/mode", b"x");
    web.publish();
    web.pass();
    web.write("conf.d/main", b"two\n");
    web.write("conf.d/new", b"new\n");
    tree::remove(&web.source().join("data/c"));
    let open = |name: &str| fs::File::options().append(true).open(web.source().join(name)).unwrap();
    open("conf.d/touched").set_modified(std::time::UNIX_EPOCH).unwrap();
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o600);
    fs::set_permissions(web.source().join("conf.d/mode"), mode).unwrap();
    web.publish();
    web.asked();
    web.world.tick();
    let lines = [
        "paths: 1 added (4 B), 2 changed (5 B), 1 removed (2.8 MiB), as the listing beside the index says, unchecked",
        "~ conf.d/main (4 B)",
        "~ conf.d/mode (1 B)",
        "+ conf.d/new (4 B)",
        "- data/c (2.8 MiB)",
    ];
    let plan = web.world.run(&["--dry-run"]).exits(0);
    let diff = web.world.run(&["diff", "tree/site"]).exits(0);
    for told in [&plan, &diff] {
        let told: Vec<&str> = told.stdout.lines().map(str::trim).collect();
        let from = told.iter().position(|line| *line == lines[0]);
        let from = from.unwrap_or_else(|| panic!("{told:#?}"));
        assert_eq!(told[from..from + lines.len()], lines);
    }
    let asked = web.asked();
    assert_eq!((asked.packs, asked.chunks), (0, 0));
    let json = web.world.run(&["--dry-run", "-o", "json"]).exits(0).json();
    let contents = &json["spec"]["changes"][0]["contents"];
    assert_eq!(contents["paths"].as_array().unwrap().len(), 4);
    assert_eq!(contents["removed"]["bytes"], 3_000_000);
    // Going back is told from what is there, and what is done is what was told.
    let ran = web.pass();
    assert!(ran.stdout.contains(lines[0]), "{}", ran.stdout);
    web.is_published();
    web.world.tick();
    let back = web.world.run(&["rollback", "tree/site", "--reason", "test", "--dry-run"]).exits(0);
    assert!(back.stdout.contains("+ data/c (2.8 MiB)"), "{}", back.stdout);
    let same = web.world.run(&["diff", "tree/site"]).exits(0);
    assert!(same.stdout.contains("No differences"), "{}", same.stdout);
}

#[test]
fn listing_that_is_missing_or_broken_leaves_the_plan_with_counts() {
    let mut web = Web::new(Packing::Chunks);
    web.pass();
    web.write("conf.d/main", b"two\n");
    web.publish();
    for listing in [Reply::status(404), Reply::file(&b"conf.d/main type=file size=x\n"[..])] {
        web.server.serve("/site.caidx.mtree", listing);
        web.world.tick();
        let plan = web.world.run(&["--dry-run"]).exits(0);
        assert!(!plan.stdout.contains("paths:"), "{}", plan.stdout);
        assert!(plan.stdout.contains("from the tree in use"), "{}", plan.stdout);
    }
}

/// A tree in which one byte of each chunk changes with the version, as in a rebuilt program.
fn rebuilt(web: &Web, version: u8) {
    for (seed, name) in (1..).zip(["a", "b", "c"]) {
        let mut bytes = noise(seed, 3_000_000);
        for at in (0..bytes.len()).step_by(10_000) {
            bytes[at] = version;
        }
        web.write(&format!("data/{name}"), &bytes);
    }
}

#[test]
fn delta_makes_a_rebuilt_tree_of_the_one_in_use() {
    let mut web = Web::new(Packing::Chunks);
    rebuilt(&web, 1);
    web.publish();
    web.pass();
    rebuilt(&web, 2);
    assert_eq!(web.publish_with(&["site.caidx"]).deltas, 1);
    web.asked();
    web.world.tick();
    let plan = web.world.run(&["--dry-run"]).exits(0);
    assert!(plan.stdout.contains("made of that by a delta of"), "{}", plan.stdout);
    web.asked();
    web.pass();
    web.is_published();
    let asked = web.asked();
    let sent: u64 = asked.requests.iter().map(|request| request.sent).sum();
    assert!(asked.chunks == 0 && sent < 200_000, "{} {sent}", asked.chunks);
    // The next version has a delta of its own, and that of before is gone.
    rebuilt(&web, 3);
    web.publish_with(&["site.caidx"]);
    let deltas = fs::read_dir(&web.site).unwrap();
    let deltas =
        deltas.filter(|e| e.as_ref().unwrap().path().extension().is_some_and(|e| e == "cadelta"));
    assert_eq!(deltas.count(), 1);
}

#[test]
fn delta_that_is_damaged_or_for_files_somebody_changed_costs_only_requests() {
    for (how, drift) in [("damaged", false), ("drift", true)] {
        let mut web = Web::new(Packing::Chunks);
        rebuilt(&web, 1);
        web.publish();
        web.pass();
        rebuilt(&web, 2);
        web.publish_with(&["site.caidx"]);
        if drift {
            tree::write(&web.world.path("/srv/site/data/b"), &noise(9, 3_000_000));
        } else {
            for entry in fs::read_dir(&web.site).unwrap() {
                let path = entry.unwrap().path();
                if path.extension().is_some_and(|e| e == "cadelta") {
                    let mut bytes = fs::read(&path).unwrap();
                    let middle = bytes.len() / 2;
                    bytes[middle] ^= 1;
                    let name = path.file_name().unwrap().to_str().unwrap();
                    web.server.serve(&format!("/{name}"), Reply::file(bytes));
                }
            }
        }
        web.asked();
        web.pass();
        web.is_published();
        let chunks = web.asked().chunks;
        // In so small a tree every patch refers to some of the file that was changed.
        assert!(chunks > 0 && (drift || chunks < 120), "{how}: {chunks}");
    }
}

#[test]
fn repair_fetches_no_more_than_its_plan_says() {
    for packing in [Packing::Chunks, Packing::ChunksAndPacks] {
        let mut web = Web::new(packing);
        web.pass();
        tree::write(&web.world.path("/srv/site/data/a"), &noise(9, 3_000_000));
        let mut touched = noise(2, 3_000_000);
        touched[0] ^= 1;
        tree::write(&web.world.path("/srv/site/data/b"), &touched);
        tree::write(&web.world.path("/srv/site/data/mine"), b"mine");
        web.world.tick();
        let plan = web.world.run(&["--dry-run", "-o", "json"]).exits(0).json();
        let planned = plan["spec"]["changes"][0]["fetchBytes"].as_u64().unwrap();
        let done = web.world.run(&["-o", "json"]).exits(0).json();
        let fetched = done["results"][0]["fetchedBytes"].as_u64().unwrap();
        assert!(0 < fetched && fetched <= planned, "{fetched} of {planned}");
        // A chunk that is as it was made is not counted, whatever else became of its file.
        assert!(planned < 4_000_000, "{planned}");
    }
}

/// How long a pass may take to end after it was asked to.
const STOP_TIME_MAX: Duration = Duration::from_secs(10);

#[test]
fn offline_copy_stays_behind_where_the_pass_is_asked_to_stop_and_the_next_one_goes_on() {
    let mut web = Web::new(Packing::Chunks);
    let stick = web.world.temp().join("stick");
    fs::create_dir_all(&stick).unwrap();
    // Once the tree is in use, a chunk of it is nowhere here any more, and the server that has it stalls.
    let (file, lost) = (web.world.path("/srv/site/conf.d/main"), web.world.temp().join("lost"));
    let cache = web.world.path("/var/cache/reconcile/chunks");
    let script = format!(
        "test -e {lost} || {{ echo edited > {file}; rm -rf {cache}; touch {lost}; }}",
        lost = lost.display(),
        file = file.display(),
        cache = cache.display()
    );
    let more = format!(
        "    offline: {{ casync: {{ index: {0}/site.caidx, store: {0}/site.castr, refresh: true }} }}\n    health:\n      \
         exec: [/bin/sh, -c, \"{script}\"]\n      interval: 100ms\n      stable: 100ms\n      deadline: 5s\n",
        stick.display()
    );
    let wish = web.wish(&more);
    web.world.wish("desired", &wish);
    web.world.options = ["--effects", "run"].map(str::to_owned).to_vec();
    let (root, marker) = (web.site.clone(), lost.clone());
    web.server.handle(move |request| {
        let bytes = fs::read(root.join(request.bare_path().trim_start_matches('/'))).ok()?;
        let reply = Reply::file(bytes);
        Some(if marker.exists() { reply.stalling_after(1) } else { reply })
    });
    web.world.tick();
    let mut agent = web.world.start(&[]);
    let until = |limit: Duration, done: &mut dyn FnMut() -> bool| {
        let began = std::time::Instant::now();
        while !done() {
            assert!(began.elapsed() < limit, "it did not happen in {limit:?}");
            thread::sleep(Duration::from_millis(10));
        }
    };
    let stalls = || web.server.requests().iter().any(|request| request.sent == 1);
    until(Duration::from_mins(1), &mut || stalls());
    let id = nix::unistd::Pid::from_raw(agent.id().try_into().unwrap());
    nix::sys::signal::kill(id, nix::sys::signal::Signal::SIGTERM).unwrap();
    until(STOP_TIME_MAX, &mut || agent.try_wait().unwrap().is_some());
    let said = agent.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&said.stdout).into_owned();
    assert!(said.contains("stays behind: the agent was told to end"), "{said}");
    assert!(!stick.join("site.caidx").exists());
    let root = web.site.clone();
    web.server.handle(move |request| {
        fs::read(root.join(request.bare_path().trim_start_matches('/'))).ok().map(Reply::file)
    });
    web.pass();
    web.is_published();
    let index = |directory: &Path| fs::read(directory.join("site.caidx")).unwrap();
    assert_eq!(index(&stick), index(&web.site));
}
