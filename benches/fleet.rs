//! Two hundred agents of one fleet on this machine, one server, one repository.
//!
//! `cargo bench --bench fleet [-- --agents N] [--interval SECONDS] [--down SECONDS]`
//!
//! Each agent is a real `reconcile run` below a root of its own, with a machine id of its own. All follow one Git
//! repository and ask one server on the loopback in every pass. What is looked at:
//!
//! ```text
//! spread      when requests arrive over one interval: a histogram, the most in 100 ms, the most at once
//! comes back  the same after the server was down for a while and every agent has failed to reach it
//! push        from a commit to the release of that commit in use, on each host
//! ```
//!
//! The bars: a push is in use everywhere within the interval and a second; no 100 ms see more than a twentieth of the fleet, be it in
//! the steady state or when a server comes back. `RECONCILE_PROGRAM` names another program than the one built with it. Nothing
//! but `git` and `sha256sum` is needed.
#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::disallowed_methods,
    clippy::print_stdout,
    clippy::cast_precision_loss,
    reason = "a benchmark prints, and ends when something is wrong"
)]

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// The span in which a herd would be seen.
const MOMENT: Duration = Duration::from_millis(100);

/// What may come in that span however small a fleet is.
const MOMENT_LEAST: usize = 3;

/// How long a fleet may take to make its first passes, all at the same moment on one machine.
const START_MAX: Duration = Duration::from_mins(4);

/// Ticks of the kernel's accounting in a second.
const TICKS: f64 = 100.0;

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    let number = |name: &str, default: u64| {
        let at = arguments.iter().position(|argument| argument == name);
        at.map_or(default, |at| arguments[at + 1].parse().unwrap())
    };
    let (agents, interval) = (number("--agents", 200), number("--interval", 20));
    let down = Duration::from_secs(number("--down", 60));
    let interval = Duration::from_secs(interval);
    let fleet = Fleet::start(usize::try_from(agents).unwrap(), interval);
    fleet.spread(interval);
    fleet.comes_back(interval, down);
    fleet.push(interval);
}

/// Where artifacts come from: counts who asks, and when.
struct Server {
    address: SocketAddr,
    files: Arc<BTreeMap<String, Vec<u8>>>,
    seen: Arc<Seen>,
    up: Arc<AtomicBool>,
}

#[derive(Default)]
struct Seen {
    arrivals: Mutex<Vec<Instant>>,
    open: AtomicUsize,
    most_open: AtomicUsize,
}

impl Server {
    fn new(files: BTreeMap<String, Vec<u8>>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let (files, seen) = (Arc::new(files), Arc::new(Seen::default()));
        let mut server = Self { address, files, seen, up: Arc::new(AtomicBool::new(true)) };
        server.listen(listener);
        server
    }

    fn listen(&mut self, listener: TcpListener) {
        self.up = Arc::new(AtomicBool::new(true));
        let (files, seen) = (Arc::clone(&self.files), Arc::clone(&self.seen));
        let up = Arc::clone(&self.up);
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                if !up.load(Ordering::SeqCst) {
                    return;
                }
                let (Ok(stream), files, seen) = (stream, Arc::clone(&files), Arc::clone(&seen))
                else {
                    continue;
                };
                std::thread::spawn(move || serve(&stream, &files, &seen));
            }
        });
    }

    /// Refuses everybody from now on.
    fn goes_down(&self) {
        self.up.store(false, Ordering::SeqCst);
        // The listener ends at the next connection.
        let _ = TcpStream::connect(self.address);
        std::thread::sleep(Duration::from_millis(50));
    }

    fn comes_back(&mut self) -> Instant {
        let listener = TcpListener::bind(self.address).unwrap();
        self.take();
        self.listen(listener);
        Instant::now()
    }

    /// Arrivals since this was asked last, and the most connections open at once.
    fn take(&self) -> (Vec<Instant>, usize) {
        let arrivals = std::mem::take(&mut *self.seen.arrivals.lock().unwrap());
        (arrivals, self.seen.most_open.swap(0, Ordering::SeqCst))
    }
}

fn serve(stream: &TcpStream, files: &BTreeMap<String, Vec<u8>>, seen: &Seen) {
    let open = seen.open.fetch_add(1, Ordering::SeqCst) + 1;
    seen.most_open.fetch_max(open, Ordering::SeqCst);
    let mut lines = BufReader::new(stream).lines().map_while(Result::ok);
    while let Some(request) = lines.next() {
        seen.arrivals.lock().unwrap().push(Instant::now());
        let mut known = false;
        for line in lines.by_ref().take_while(|line| !line.is_empty()) {
            known |= line.to_ascii_lowercase().starts_with("if-none-match:");
        }
        let path = request.split(' ').nth(1).unwrap_or_default();
        let (status, body) = match files.get(path) {
            Some(_) if known => ("304 Not Modified", &[][..]),
            Some(body) => ("200 OK", body.as_slice()),
            None => ("404 Not Found", &[][..]),
        };
        let head =
            format!("HTTP/1.1 {status}\r\nETag: \"1\"\r\nContent-Length: {}\r\n\r\n", body.len());
        let mut stream = stream;
        if stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(body)).is_err() {
            break;
        }
    }
    seen.open.fetch_sub(1, Ordering::SeqCst);
}

struct Fleet {
    home: PathBuf,
    server: Mutex<Server>,
    agents: Vec<Child>,
}

impl Drop for Fleet {
    fn drop(&mut self) {
        for agent in &mut self.agents {
            let _ = agent.kill();
            let _ = agent.wait();
        }
        let _ = fs::remove_dir_all(&self.home);
    }
}

fn run(program: &str, arguments: &[&str], directory: &Path) -> String {
    let output = Command::new(program).args(arguments).current_dir(directory).output().unwrap();
    assert!(output.status.success(), "{program} {arguments:?}: {output:?}");
    String::from_utf8(output.stdout).unwrap()
}

impl Fleet {
    fn start(count: usize, interval: Duration) -> Self {
        let memory = Path::new("/dev/shm");
        let memory = if memory.is_dir() { memory.to_owned() } else { std::env::temp_dir() };
        let home = memory.join(format!("fleet.{}", std::process::id()));
        fs::create_dir_all(home.join("offer")).unwrap();
        let mut files = BTreeMap::new();
        for version in ["1.0.0", "2.0.0"] {
            let name = format!("tool-{version}-linux-x86_64");
            fs::write(home.join("offer").join(&name), format!("#!/bin/sh\necho {version}\n"))
                .unwrap();
        }
        let names = ["tool-1.0.0-linux-x86_64", "tool-2.0.0-linux-x86_64"];
        let sums = run("sha256sum", &names, &home.join("offer"));
        let mut listing = String::new();
        for name in names {
            writeln!(listing, "<a href=\"{name}\">{name}</a>").unwrap();
            files.insert(format!("/dl/{name}"), fs::read(home.join("offer").join(name)).unwrap());
        }
        listing.push_str("<a href=\"SHA256SUMS\">SHA256SUMS</a>\n");
        files.insert("/dl/SHA256SUMS".to_owned(), sums.into_bytes());
        files.insert("/dl/".to_owned(), listing.into_bytes());
        let server = Server::new(files);
        let mut fleet = Self { home, server: Mutex::new(server), agents: Vec::new() };
        fs::create_dir_all(fleet.home.join("repository")).unwrap();
        run("git", &["init", "-q", "-b", "main"], &fleet.home.join("repository"));
        fleet.commit("<2");
        let program = std::env::var_os("RECONCILE_PROGRAM").map(PathBuf::from);
        let program = program
            .or_else(|| option_env!("CARGO_BIN_EXE_reconcile").map(PathBuf::from))
            .expect("RECONCILE_PROGRAM names the program");
        let began = Instant::now();
        for number in 0..count {
            let agent = fleet.agent(&program, number, interval);
            fleet.agents.push(agent);
        }
        while fleet.on("1.0.0") < count {
            assert!(began.elapsed() < START_MAX, "{} of {count} came up", fleet.on("1.0.0"));
            std::thread::sleep(MOMENT);
        }
        println!(
            "{count} agents every {} s; all up and converged after {:.1} s",
            interval.as_secs(),
            began.elapsed().as_secs_f64()
        );
        fleet
    }

    fn agent(&self, program: &Path, number: usize, interval: Duration) -> Child {
        let root = self.root(number);
        fs::create_dir_all(root.join("etc")).unwrap();
        fs::write(root.join("etc/machine-id"), format!("{:032x}\n", number + 1)).unwrap();
        fs::write(root.join("etc/hostname"), format!("host-{number}\n")).unwrap();
        let log = fs::File::create(self.home.join(format!("log.{number}"))).unwrap();
        Command::new(program)
            .arg("--root")
            .arg(root)
            .arg("--git")
            .arg(self.home.join("repository"))
            .args(["--ref", "main", "run", "--sources", "0s", "--interval"])
            .arg(format!("{}s", interval.as_secs()))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .unwrap()
    }

    fn root(&self, number: usize) -> PathBuf {
        self.home.join(format!("h/{number}"))
    }

    /// Pushes a wish.
    fn commit(&self, version: &str) {
        let repository = self.home.join("repository");
        let address = self.server.lock().unwrap().address;
        let wish = format!(
            "apps:\n  tool:\n    version: \"{version}\"\n    source: {{ http: {{ url: \"http://{address}/dl/\", pattern: \
             \"tool-{{version}}-linux-x86_64\" }} }}\n    verify: {{ min: checksum }}\n"
        );
        fs::write(repository.join("wish.yaml"), wish).unwrap();
        run("git", &["add", "wish.yaml"], &repository);
        let who = ["-c", "user.name=fleet", "-c", "user.email=fleet@example.net"];
        run("git", &[&who[..], &["commit", "-q", "-m", version]].concat(), &repository);
    }

    fn is_on(&self, number: usize, version: &str) -> bool {
        let link = self.root(number).join("opt/tool/bin");
        let mut links = fs::read_dir(link).into_iter().flatten().flatten();
        links.any(|link| {
            fs::read_link(link.path()).is_ok_and(|to| to.to_string_lossy().contains(version))
        })
    }

    /// How many hosts use a version.
    fn on(&self, version: &str) -> usize {
        (0..self.agents.len().max(1)).filter(|number| self.is_on(*number, version)).count()
    }

    fn spread(&self, interval: Duration) {
        // What was late at the start is over.
        std::thread::sleep(interval);
        self.server.lock().unwrap().take();
        let before = self.processor();
        let began = Instant::now();
        std::thread::sleep(interval);
        let (arrivals, most_open) = self.server.lock().unwrap().take();
        let used = self.processor() - before;
        println!("\nspread over {} s: {} requests", interval.as_secs(), arrivals.len());
        histogram(&arrivals, began, interval);
        self.judge_moment("the most in 100 ms", most_within(&arrivals, MOMENT));
        println!("  the most connections at once: {most_open}");
        let (least, most) = self.memory();
        println!("  resident memory of an agent: {least:.1} to {most:.1} MB");
        let share = 100.0 * used / interval.as_secs_f64() / self.agents.len() as f64;
        println!("  processor of an agent: {share:.3} %, one pass each");
    }

    fn comes_back(&self, interval: Duration, down: Duration) {
        self.server.lock().unwrap().goes_down();
        std::thread::sleep(down);
        let began = self.server.lock().unwrap().comes_back();
        std::thread::sleep(interval);
        let (arrivals, most_open) = self.server.lock().unwrap().take();
        println!("\nafter {} s without a server: {} requests", down.as_secs(), arrivals.len());
        histogram(&arrivals, began, interval);
        self.judge_moment("the most in 100 ms", most_within(&arrivals, MOMENT));
        let first = arrivals.iter().filter(|at| at.duration_since(began) < Duration::from_secs(1));
        println!("  in the first second: {}", first.count());
        println!("  the most connections at once: {most_open}");
    }

    fn push(&self, interval: Duration) {
        let count = self.agents.len();
        let mut took: Vec<Option<f64>> = vec![None; count];
        let began = Instant::now();
        self.commit("<3");
        let patience = 3 * interval + Duration::from_secs(30);
        while took.contains(&None) && began.elapsed() < patience {
            for (number, took) in took.iter_mut().enumerate().filter(|(_, took)| took.is_none()) {
                if self.is_on(number, "2.0.0") {
                    *took = Some(began.elapsed().as_secs_f64());
                }
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        let mut all: Vec<f64> = took.into_iter().flatten().collect();
        all.sort_by(f64::total_cmp);
        assert_eq!(all.len(), count, "not every host has the new wish after {patience:?}");
        let bar = interval.as_secs_f64() + 1.0;
        let (median, last) = (all[all.len() / 2], all[all.len() - 1]);
        println!("\nfrom push to in use: median {median:.2} s, last {last:.2} s");
        println!("  bar {bar:.0} s: {}", if last <= bar { "held" } else { "MISSED" });
    }

    fn judge_moment(&self, what: &str, most: usize) {
        let bar = self.agents.len().div_ceil(20).max(MOMENT_LEAST);
        println!("  {what}: {most}; bar {bar}: {}", if most <= bar { "held" } else { "MISSED" });
    }

    /// Processor seconds of all agents so far.
    fn processor(&self) -> f64 {
        let of = |agent: &Child| {
            let stat = fs::read_to_string(format!("/proc/{}/stat", agent.id())).unwrap_or_default();
            let rest = stat.rsplit(')').next().unwrap_or_default().to_owned();
            let fields: Vec<f64> =
                rest.split_whitespace().map(|field| field.parse().unwrap_or(0.0)).collect();
            fields.get(11).zip(fields.get(12)).map_or(0.0, |(user, system)| user + system)
        };
        self.agents.iter().map(of).sum::<f64>() / TICKS
    }

    /// The least and the most resident memory of any agent, in MB.
    fn memory(&self) -> (f64, f64) {
        let of = |agent: &Child| {
            let path = format!("/proc/{}/status", agent.id());
            let status = fs::read_to_string(path).unwrap_or_default();
            let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
            let number = line.and_then(|line| line.split_whitespace().next()?.parse::<f64>().ok());
            number.unwrap_or(0.0) / 1024.0
        };
        let all: Vec<f64> = self.agents.iter().map(of).collect();
        (all.iter().copied().fold(f64::MAX, f64::min), all.iter().copied().fold(0.0, f64::max))
    }
}

/// The most arrivals in any span of this length.
fn most_within(arrivals: &[Instant], span: Duration) -> usize {
    let mut sorted = arrivals.to_vec();
    sorted.sort_unstable();
    let mut from = 0;
    let mut most = 0;
    for (at, arrival) in sorted.iter().enumerate() {
        while arrival.duration_since(sorted[from]) >= span {
            from += 1;
        }
        most = most.max(at - from + 1);
    }
    most
}

/// One line for each tenth of a time.
fn histogram(arrivals: &[Instant], began: Instant, over: Duration) {
    let tenth = over / 10;
    for part in 0..10 {
        let (from, to) = (began + tenth * part, began + tenth * (part + 1));
        let count = arrivals.iter().filter(|at| (from..to).contains(at)).count();
        println!("  {:>5.1} s {count:>4} {}", (tenth * part).as_secs_f64(), "#".repeat(count / 2));
    }
}
