//! Real git at the other end: over smart HTTP and SSH, with commits that git itself signed.
#![cfg(all(feature = "git", feature = "interop"))]

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use crate::support::smart::content;

/// A working copy whose pushes go to a bare repository, and a host that follows that.
struct World {
    home: tempfile::TempDir,
}

fn run(command: &mut Command) -> String {
    let output =
        command.output().unwrap_or_else(|e| panic!("{command:?}: {e}; apt-get install git"));
    let text = String::from_utf8_lossy(&output.stdout).into_owned()
        + &String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {text}");
    text
}

impl World {
    fn new() -> Self {
        let world = Self { home: tempfile::tempdir().unwrap() };
        fs::create_dir_all(world.path("root/etc")).unwrap();
        fs::write(world.path("root/etc/hostname"), "web-03\n").unwrap();
        run(Command::new("ssh-keygen")
            .args(["-q", "-t", "ed25519", "-N", "", "-C", "ops@example.net", "-f"])
            .arg(world.path("key")));
        let public = fs::read_to_string(world.path("key.pub")).unwrap();
        fs::write(world.path("signers"), format!("ops@example.net {public}")).unwrap();
        world.git("", &["init", "-q", "--bare", "-b", "main", "state.git"]);
        world.git("state.git", &["config", "http.receivepack", "true"]);
        world.git("", &["clone", "-q", "state.git", "work"]);
        let key = world.path("key");
        for (name, value) in [
            ("user.name", "Ops"),
            ("user.email", "ops@example.net"),
            ("gpg.format", "ssh"),
            ("user.signingkey", key.to_str().unwrap()),
        ] {
            world.git("work", &["config", name, value]);
        }
        world
    }

    fn path(&self, name: &str) -> PathBuf {
        self.home.path().join(name)
    }

    fn git(&self, directory: &str, arguments: &[&str]) -> String {
        let mut command = Command::new("git");
        command.current_dir(self.path(directory)).args(arguments);
        command.env("HOME", self.home.path()).env("GIT_CONFIG_NOSYSTEM", "1");
        run(&mut command)
    }

    /// Commits a wish and pushes it; returns the commit.
    fn push(&self, version: &str, commit: &[&str]) -> String {
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/repository");
        let text = format!(
            "apps:\n  weather:\n    version: {version}\n    source: {{ file: {{ path: {}, pattern: \
             \"weather-{{version}}.gz\" }} }}\n",
            source.display()
        );
        fs::write(self.path("work/web.yaml"), text).unwrap();
        self.git("work", &["add", "."]);
        let mut arguments = vec!["commit", "-q", "-m", version];
        arguments.extend(commit);
        self.git("work", &arguments);
        self.git("work", &["push", "-q", "-f", "origin", "HEAD:main"]);
        self.git("work", &["rev-parse", "HEAD"]).trim().to_owned()
    }

    fn command(&self, url: &str, more: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_reconcile"));
        command.arg("--root").arg(self.path("root")).args(["--git", url]);
        command.arg("--git-allowed-signers").arg(self.path("signers")).args(more);
        command
    }

    fn follow(&self, url: &str, more: &[&str], code: i32) -> String {
        said(&self.command(url, more).output().unwrap(), code)
    }

    fn installed(&self) -> String {
        let link = fs::read_link(self.path("root/opt/weather/bin/weather")).unwrap();
        link.components().nth(2).unwrap().as_os_str().to_str().unwrap().to_owned()
    }

    /// All that a repository goes through, over one transport.
    fn drill(&self, url: &str) {
        let first = self.push("0.3.0", &["-S"]);
        let text = self.follow(url, &["--dry-run"], 0);
        assert!(
            text.contains(&first[..10]) && text.contains("signed by ops@example.net"),
            "{text}"
        );
        self.follow(url, &[], 0);
        assert_eq!(self.installed(), "0.3.0");
        // Several commits at once: the one in use is far down the history.
        for number in 0..5 {
            self.push("0.3.0", &["-S", "--allow-empty", "-m", &number.to_string()]);
        }
        let second = self.push("0.9.2", &["-S"]);
        assert!(self.follow(url, &["--dry-run"], 0).contains("upgrade 0.3.0 -> 0.9.2"));
        self.follow(url, &[], 0);
        assert_eq!(self.installed(), "0.9.2");
        let refused = self.push("0.3.0", &["--no-gpg-sign"]);
        assert!(self.follow(url, &[], 77).contains(&format!("commit {refused} is not signed")));
        // Rewritten: what was refused is gone, and with it what was accepted.
        self.git("work", &["checkout", "-q", "--orphan", "again"]);
        let rewritten = self.push("0.3.0", &["-S"]);
        let text = self.follow(url, &[], 77);
        assert!(text.contains(&second) && text.contains(&rewritten), "{text}");
        // The cache is nothing that anybody relies on.
        fs::remove_dir_all(self.path("root/var/cache/reconcile/git")).ok();
        self.follow(url, &[], 77);
        self.follow(url, &["accept-history", &rewritten, "--reason", "a drill"], 0);
        self.follow(url, &[], 0);
        assert_eq!(self.installed(), "0.3.0");
        fs::remove_dir_all(self.path("root/var/cache/reconcile/git")).ok();
        self.push("0.9.2", &["-S"]);
        self.follow(url, &[], 0);
        assert_eq!(self.installed(), "0.9.2");
        self.git("work", &["tag", "-s", "-m", "a release", "v1"]);
        self.git("work", &["push", "-q", "origin", "v1"]);
        assert!(self.follow(url, &["--ref", "v1"], 0).contains("v1@sha1"));
        self.git("work", &["tag", "-f", "-a", "-m", "moved", "v1"]);
        self.git("work", &["push", "-q", "-f", "origin", "v1"]);
        assert!(self.follow(url, &["--ref", "v1"], 77).contains("is not signed"));
        let missing = self.follow(url, &["--ref", "nowhere", "--dry-run"], 65);
        assert!(missing.contains("no branch or tag"), "{missing}");
    }
}

fn said(output: &Output, code: i32) -> String {
    let text = String::from_utf8_lossy(&output.stdout).into_owned()
        + &String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(code), "{text}");
    text
}

/// `git http-backend` behind a small web server.
struct Web {
    address: SocketAddr,
    requests: Arc<AtomicUsize>,
    /// Status lines answered instead of git's answers.
    instead: Arc<Mutex<Option<&'static str>>>,
}

impl Web {
    fn start(projects: &Path) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let web = Self {
            address: listener.local_addr().unwrap(),
            requests: Arc::default(),
            instead: Arc::default(),
        };
        let (requests, instead) = (Arc::clone(&web.requests), Arc::clone(&web.instead));
        let projects = projects.to_owned();
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                requests.fetch_add(1, Ordering::Relaxed);
                let instead = *instead.lock().unwrap();
                let projects = projects.clone();
                std::thread::spawn(move || answer(stream, &projects, instead));
            }
        });
        web
    }

    fn url(&self) -> String {
        format!("http://{}/state.git", self.address)
    }
}

/// One request by CGI, as RFC 3875 has it.
fn answer(stream: TcpStream, projects: &Path, instead: Option<&str>) -> Option<()> {
    let mut reader = BufReader::new(stream.try_clone().ok()?);
    let mut line = String::new();
    reader.read_line(&mut line).ok()?;
    let mut words = line.split_whitespace();
    let (method, target) = (words.next()?.to_owned(), words.next()?.to_owned());
    let (path, query) = target.split_once('?').unwrap_or((&target, ""));
    let mut command = Command::new("git");
    command.arg("http-backend").env("GIT_PROJECT_ROOT", projects).env("GIT_HTTP_EXPORT_ALL", "1");
    command.env("REQUEST_METHOD", method).env("PATH_INFO", path).env("QUERY_STRING", query);
    command.env("REMOTE_ADDR", "127.0.0.1").env("HOME", projects);
    let (mut length, mut chunked) = (0, false);
    loop {
        let mut header = String::new();
        reader.read_line(&mut header).ok()?;
        let Some((name, value)) = header.trim().split_once(':') else { break };
        let value = value.trim();
        match name.to_ascii_lowercase().as_str() {
            "content-length" => length = value.parse().ok()?,
            "transfer-encoding" => chunked = value == "chunked",
            "content-type" => drop(command.env("CONTENT_TYPE", value)),
            "git-protocol" => drop(command.env("GIT_PROTOCOL", value)),
            _ => {}
        }
    }
    let body = content(&mut reader, (length, chunked))?;
    let mut stream = stream;
    if let Some(status) = instead {
        write!(stream, "HTTP/1.1 {status}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
            .ok()?;
        return Some(());
    }
    command.env("CONTENT_LENGTH", body.len().to_string());
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().ok()?;
    child.stdin.take()?.write_all(&body).ok()?;
    let output = child.wait_with_output().ok()?.stdout;
    let end = output.windows(4).position(|w| w == b"\r\n\r\n")?;
    let head = String::from_utf8_lossy(&output[..end]).into_owned();
    let status = head.lines().find_map(|line| line.strip_prefix("Status: ")).unwrap_or("200 OK");
    write!(stream, "HTTP/1.1 {status}\r\nConnection: close\r\n{head}\r\n\r\n").ok()?;
    stream.write_all(&output[end + 4..]).ok()
}

#[test]
fn real_git_over_smart_http_goes_through_the_drill() {
    let world = World::new();
    let web = Web::start(world.home.path());
    world.drill(&web.url());
}

#[test]
fn real_git_on_this_host_goes_through_the_drill() {
    let world = World::new();
    world.drill(&format!("file://{}", world.path("state.git").display()));
}

#[test]
fn unchanged_repository_costs_one_question_and_outage_nothing() {
    let world = World::new();
    let web = Web::start(world.home.path());
    world.push("0.3.0", &["-S"]);
    world.follow(&web.url(), &[], 0);
    web.requests.store(0, Ordering::Relaxed);
    world.follow(&web.url(), &[], 0);
    // The protocol greets first; then the references are asked for.
    assert_eq!(web.requests.load(Ordering::Relaxed), 2);
    for status in ["503 Service Unavailable", "404 Not Found", "500 Internal Server Error"] {
        *web.instead.lock().unwrap() = Some(status);
        let text = world.follow(&web.url(), &[], 0);
        assert!(text.contains("stays in effect") && text.contains(&status[..3]), "{text}");
    }
    *web.instead.lock().unwrap() = None;
    // A signed push with another key.
    run(Command::new("ssh-keygen")
        .args(["-q", "-t", "ed25519", "-N", "", "-f"])
        .arg(world.path("other")));
    let other = format!("user.signingkey={}", world.path("other").display());
    fs::write(world.path("work/more.yaml"), "apps: {}\n").unwrap();
    world.git("work", &["add", "."]);
    world.git("work", &["-c", &other, "commit", "-q", "-S", "-m", "other"]);
    world.git("work", &["push", "-q", "origin", "HEAD:main"]);
    let text = world.follow(&web.url(), &[], 77);
    assert!(text.contains("is not in the allowed signers"), "{text}");
}

#[test]
fn commits_signed_by_gpg_are_accepted_by_keyring() {
    let world = World::new();
    let home = world.path("gnupg");
    fs::create_dir(&home).unwrap();
    fs::set_permissions(&home, std::os::unix::fs::PermissionsExt::from_mode(0o700)).unwrap();
    let gpg = |arguments: &[&str]| {
        let mut command = Command::new("gpg");
        run(command.env("GNUPGHOME", &home).args(["--batch", "--quiet"]).args(arguments))
    };
    let made = ["--passphrase", "", "--quick-gen-key", "Ops <ops@example.net>", "ed25519", "sign"];
    gpg(&made);
    let keyring = world.path("keyring");
    gpg(&["--output", keyring.to_str().unwrap(), "--export"]);
    let wrapper = world.path("gpg.sh");
    let script = format!("#!/bin/sh\nexport GNUPGHOME={}\nexec gpg \"$@\"\n", home.display());
    fs::write(&wrapper, script).unwrap();
    fs::set_permissions(&wrapper, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    for (name, value) in [
        ("gpg.format", "openpgp"),
        ("gpg.program", wrapper.to_str().unwrap()),
        ("user.signingkey", "ops@example.net"),
    ] {
        world.git("work", &["config", name, value]);
    }
    world.push("0.3.0", &["-S"]);
    let url = format!("file://{}", world.path("state.git").display());
    let mut command = Command::new(env!("CARGO_BIN_EXE_reconcile"));
    command.arg("--root").arg(world.path("root")).args(["--git", &url]);
    let output = command.arg("--git-keyring").arg(&keyring).output().unwrap();
    assert!(said(&output, 0).contains("signed by Ops <ops@example.net>"));
    // The SSH keys alone do not speak for it.
    let text = world.follow(&url, &["--ref", "main"], 77);
    assert!(text.contains("is signed by OpenPGP"), "{text}");
    drop(Command::new("gpgconf").env("GNUPGHOME", &home).args(["--kill", "all"]).status());
}

/// An SSH server of this test's own.
struct Ssh(Child);

impl Drop for Ssh {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn real_git_over_ssh_is_followed_and_outlived() {
    let world = World::new();
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let keygen = |name: &str| {
        run(Command::new("ssh-keygen")
            .args(["-q", "-t", "ed25519", "-N", "", "-f"])
            .arg(world.path(name)));
    };
    keygen("host");
    keygen("id");
    fs::copy(world.path("id.pub"), world.path("authorized")).unwrap();
    fs::create_dir_all("/run/sshd").unwrap();
    let home = world.home.path().display();
    let config = format!(
        "Port {port}\nListenAddress 127.0.0.1\nHostKey {home}/host\nAuthorizedKeysFile {home}/authorized\n\
         PidFile none\nStrictModes no\nUsePAM no\nPermitRootLogin prohibit-password\nAcceptEnv GIT_PROTOCOL\n"
    );
    fs::write(world.path("sshd.conf"), config).unwrap();
    let mut sshd = Command::new("/usr/sbin/sshd");
    sshd.arg("-D").arg("-f").arg(world.path("sshd.conf")).stderr(Stdio::null());
    let server =
        sshd.spawn().unwrap_or_else(|e| panic!("sshd: {e}; apt-get install openssh-server"));
    let _server = Ssh(server);
    let began = std::time::Instant::now();
    while TcpStream::connect(("127.0.0.1", port)).is_err() {
        assert!(began.elapsed().as_secs() < 60, "sshd does not listen");
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    let ssh = format!(
        "ssh -i {home}/id -o IdentitiesOnly=yes -o UserKnownHostsFile={home}/known -o \
         StrictHostKeyChecking=accept-new -o BatchMode=yes"
    );
    let user = run(Command::new("id").arg("-un"));
    let url =
        format!("ssh://{}@127.0.0.1:{port}{}", user.trim(), world.path("state.git").display());
    world.push("0.3.0", &["-S"]);
    let mut command = world.command(&url, &[]);
    said(&command.env("GIT_SSH_COMMAND", &ssh).output().unwrap(), 0);
    world.push("0.9.2", &["-S"]);
    let mut command = world.command(&url, &[]);
    said(&command.env("GIT_SSH_COMMAND", &ssh).output().unwrap(), 0);
    assert_eq!(world.installed(), "0.9.2");
    fs::write(world.path("authorized"), "").unwrap();
    let mut command = world.command(&url, &[]);
    let text = said(&command.env("GIT_SSH_COMMAND", &ssh).output().unwrap(), 0);
    assert!(text.contains("stays in effect"), "{text}");
}
