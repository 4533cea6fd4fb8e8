//! A forge with any number of apps, and a host to keep them on.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use data_encoding::HEXLOWER;
use serde_json::json;
use sha2::{Digest as _, Sha256};

use super::measure::{Sample, program, run};
use super::server::{Reply, Server};

/// File name of every app's artifact, for both updaters.
const NAMES: [&str; 2] = ["app.tar.gz", "app.tar.zst"];

/// The validator of every answer about a release of version 1.0.0.
pub const ETAG: &str = "\"1.0.0\"";

/// A forge on this machine.
pub struct Forge {
    server: Server,
    replies: Arc<Mutex<HashMap<String, Reply>>>,
    delay: Arc<AtomicU64>,
}

impl Forge {
    pub fn start() -> Self {
        let server = Server::start();
        let replies: Arc<Mutex<HashMap<String, Reply>>> = Arc::default();
        let delay: Arc<AtomicU64> = Arc::default();
        let (known, wait) = (Arc::clone(&replies), Arc::clone(&delay));
        server.handle(move |request| {
            let millis = wait.load(Ordering::Relaxed);
            if millis > 0 {
                std::thread::sleep(Duration::from_millis(millis));
            }
            known.lock().unwrap().get(request.bare_path()).cloned()
        });
        Self { server, replies, delay }
    }

    /// Every answer comes this much later from now on.
    pub fn delay(&self, millis: u64) {
        self.delay.store(millis, Ordering::Relaxed);
    }

    pub fn url(&self) -> String {
        self.server.url("")
    }

    pub fn authority(&self) -> String {
        self.server.authority()
    }

    /// Requests since the last call.
    pub fn requests(&self) -> usize {
        self.server.take_requests().len()
    }

    /// Publishes `version` of an app as its latest release.
    pub fn publish(&self, app: &str, version: &str, artifact: &Artifact) {
        let Artifact { name, bytes, sha256 } = artifact;
        let base = self.url();
        let sums = format!("{sha256}  {name}\n");
        let sums_digest = HEXLOWER.encode(&Sha256::digest(sums.as_bytes()));
        let asset = |name: &str, size: usize, digest: &str| {
            json!({
                "url": format!("{base}/files/{app}/{version}/{name}"),
                "browser_download_url": format!("{base}/files/{app}/{version}/{name}"),
                "name": name, "size": size, "state": "uploaded",
                "digest": format!("sha256:{digest}"),
                "content_type": "application/gzip", "download_count": 12_345,
            })
        };
        let release = json!({
            "id": 1, "tag_name": format!("v{version}"), "draft": false, "prerelease": false,
            "created_at": "2026-01-01T00:00:00Z", "published_at": "2026-01-01T00:00:00Z",
            "assets": [asset(name, bytes.len(), sha256), asset("SHA256SUMS", sums.len(), &sums_digest)],
            // As long as release notes commonly are.
            "body": "notes ".repeat(300),
        });
        let document = Reply::file(release.to_string()).etag(Some(&format!("\"{version}\"")));
        let mut replies = self.replies.lock().unwrap();
        let releases = format!("/repos/bench/{app}/releases");
        replies.insert(format!("{releases}/latest"), document.clone());
        replies.insert(format!("{releases}/tags/v{version}"), document);
        let file = |name: &str| format!("/files/{app}/{version}/{name}");
        replies.insert(file(name), Reply::file(bytes.as_slice()));
        replies.insert(file("SHA256SUMS"), Reply::file(sums));
    }
}

/// What is published.
pub struct Artifact {
    name: &'static str,
    bytes: Vec<u8>,
    sha256: String,
}

impl Artifact {
    /// A packed tree from disk.
    pub fn read(path: &Path) -> Self {
        let zst = path.extension().is_some_and(|e| e == "zst");
        Self::new(NAMES[usize::from(zst)], fs::read(path).unwrap())
    }

    /// One small program.
    pub fn program(version: &str) -> Self {
        let text = format!("#!/bin/sh\necho {version}\n");
        let mut header = tar::Header::new_gnu();
        header.set_size(text.len() as u64);
        header.set_mode(0o755);
        let pack = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        let mut builder = tar::Builder::new(pack);
        builder.append_data(&mut header, "tool", text.as_bytes()).unwrap();
        Self::new(NAMES[0], builder.into_inner().unwrap().finish().unwrap())
    }

    fn new(name: &'static str, bytes: Vec<u8>) -> Self {
        let sha256 = HEXLOWER.encode(&Sha256::digest(&bytes));
        Self { name, bytes, sha256 }
    }

    pub fn url(&self, forge: &Forge, app: &str, version: &str) -> String {
        format!("{}/files/{app}/{version}/{}", forge.url(), self.name)
    }
}

/// A host of its own below a directory, which goes with it.
pub struct Host {
    root: tempfile::TempDir,
}

impl Host {
    pub fn new(place: &Path) -> Self {
        Self { root: tempfile::Builder::new().prefix("reconcile-bench").tempdir_in(place).unwrap() }
    }

    pub fn path(&self) -> &Path {
        self.root.path()
    }

    pub fn app(&self, app: &str) -> PathBuf {
        self.path().join("opt").join(app)
    }

    /// Writes a desired state for apps of `forge`, and gives its path.
    pub fn desire<'a>(
        &self,
        forge: &Forge,
        apps: impl IntoIterator<Item = &'a String>,
        version: &str,
        asset: &str,
    ) -> PathBuf {
        let mut text = "apps:\n".to_owned();
        for app in apps {
            write!(
                text,
                "  {app}:\n    version: {version}\n    source: {{ github: {{ repo: bench/{app}, api: \
                 \"{}\" }} }}\n    asset: {asset}\n    verify: {{ min: forge-digest }}\n    binaries: any-executable\n",
                forge.url()
            )
            .unwrap();
        }
        let path = self.path().join(format!("desired-{version}.yaml"));
        fs::write(&path, text).unwrap();
        path
    }

    /// Runs `reconcile` here.
    pub fn reconcile(&self, desired: &Path, more: &[&str]) -> Sample {
        let command = self.command(desired, more);
        let command: Vec<&str> = command.iter().map(String::as_str).collect();
        run(&command, &[], &self.log())
    }

    /// The command that does that.
    pub fn command(&self, desired: &Path, more: &[&str]) -> Vec<String> {
        let own = ["--root", self.path().to_str().unwrap(), "--desired", desired.to_str().unwrap()];
        let words = own.into_iter().chain(more.iter().copied()).map(str::to_owned);
        [program()].into_iter().chain(words).collect()
    }

    /// The command for the peer that installs one app here.
    pub fn distronomicon(&self, forge: &Forge, app: &str) -> Option<Vec<String>> {
        let program = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/peers/bin/distronomicon");
        let (host, repo) = (forge.url(), format!("bench/{app}"));
        let (opt, state) = (self.path().join("opt"), self.path().join("state"));
        fs::create_dir_all(&opt).unwrap();
        fs::create_dir_all(&state).unwrap();
        let words = [
            program.to_str()?,
            "--app",
            app,
            "--install-root",
            opt.to_str()?,
            "update",
            "--repo",
            &repo,
            "--state-directory",
            state.to_str()?,
            "--github-host",
            &host,
            "--pattern",
            NAMES[0],
            "--checksum-pattern",
            "SHA256SUMS",
        ];
        program.exists().then(|| words.map(str::to_owned).to_vec())
    }

    /// Where the last command's output is.
    pub fn log(&self) -> PathBuf {
        self.path().join("log")
    }

    pub fn printed(&self) -> String {
        fs::read_to_string(self.log()).unwrap()
    }
}
