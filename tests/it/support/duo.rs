//! A small host: one app of two programs, a source of it, and a `systemctl` that takes notes.
//!
//! Both programs print the version they are of. The hook and `systemctl` note what the first program
//! prints at that moment, so that a test can tell whether an effect came after the switch that owed it.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use flate2::Compression;
use flate2::write::GzEncoder;
use sha2::{Digest as _, Sha256};

use super::server::{Reply, Server};

/// The program under test.
pub const RECONCILE: &str = env!("CARGO_BIN_EXE_reconcile");

/// The programs of the app.
pub const PROGRAMS: [&str; 2] = ["alpha", "beta"];

/// What the state directory may hold between passes.
const STATE_FILES: [&str; 9] = [
    "debts.json",
    "history.jsonl",
    "history.jsonl.1",
    "inventory.json",
    "last-pass.json",
    "lock",
    "overrides.json",
    "reported.json",
    "trust.json",
];

/// The host, its source, and everything around them.
pub struct World {
    dir: tempfile::TempDir,
    run: usize,
}

impl World {
    /// A host with nothing on it; the source has 1.0 and 2.0.
    pub fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let world = Self { dir, run: 0 };
        for name in ["source", "desired", "stub", "root"] {
            fs::create_dir(world.path(name)).unwrap();
        }
        let mut sums = String::new();
        for version in ["1.0", "2.0"] {
            let (name, bytes) = (archive_name(version), archive(version));
            sums.push_str(&checksum_line(&name, &bytes));
            fs::write(world.path("source").join(name), bytes).unwrap();
        }
        fs::write(world.path("source/SHA256SUMS"), sums).unwrap();
        let note = |what: &str| {
            format!(
                "#!/bin/sh\necho \"{what} $(\"$ROOT/opt/duo/bin/alpha\" 2>/dev/null)\" >> \"$LOG\"\n"
            )
        };
        world.script("stub/systemctl", &note("restart $4"));
        world.script("hook", &note("hook $RECONCILE_NEW_VERSION"));
        world
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// A path of the managed host.
    pub fn host(&self, path: &str) -> PathBuf {
        self.path("root").join(path)
    }

    fn script(&self, name: &str, text: &str) {
        fs::write(self.path(name), text).unwrap();
        fs::set_permissions(self.path(name), fs::Permissions::from_mode(0o755)).unwrap();
    }

    /// Wishes a version from the local source.
    pub fn wish(&self, version: &str, retain: u32) {
        let source = format!("{{ file: {} }}", self.path("source").display());
        self.wish_from(&source, version, retain);
    }

    /// Wishes a version from a source in YAML.
    pub fn wish_from(&self, source: &str, version: &str, retain: u32) {
        let hook = self.path("hook");
        let text = format!(
            "apps:\n  duo:\n    version: {version}\n    source: {source}\n    retain: {retain}\n    \
             verify: {{ min: checksum }}\n    restart: [duo.service]\n    run: [[{}]]\n",
            hook.display()
        );
        fs::write(self.path("desired/apps.yaml"), text).unwrap();
    }

    /// Adds lines to the wish of the app, indented as they shall be.
    pub fn wish_also(&self, lines: &str) {
        let path = self.path("desired/apps.yaml");
        let wish = fs::read_to_string(&path).unwrap();
        fs::write(path, format!("{wish}{lines}")).unwrap();
    }

    /// Wishes nothing any more.
    pub fn wish_nothing(&self) {
        fs::write(self.path("desired/apps.yaml"), "apps: {}\n").unwrap();
    }

    /// Where effects are noted.
    fn log(&self) -> PathBuf {
        self.path(&format!("log.{}", self.run))
    }

    /// What was noted since the last reset.
    pub fn noted(&self) -> BTreeSet<String> {
        let text = fs::read_to_string(self.log()).unwrap_or_default();
        text.lines().map(ToOwned::to_owned).collect()
    }

    pub fn arguments(&self, command: &[&str]) -> Vec<String> {
        let (root, desired) = (self.path("root"), self.path("desired"));
        let places = ["--root", root.to_str().unwrap(), "--desired", desired.to_str().unwrap()];
        places.iter().chain(command).map(|s| (*s).to_owned()).collect()
    }

    pub fn environment(&self) -> Vec<(String, String)> {
        let path = format!("{}:{}", self.path("stub").display(), std::env::var("PATH").unwrap());
        let text = |path: PathBuf| path.display().to_string();
        let pairs = [("PATH", path), ("LOG", text(self.log())), ("ROOT", text(self.path("root")))];
        pairs.map(|(key, value)| (key.to_owned(), value)).to_vec()
    }

    /// The agent with these arguments, not started yet.
    pub fn command(&self, command: &[&str]) -> Command {
        let mut agent = Command::new(RECONCILE);
        agent.args(self.arguments(command)).envs(self.environment());
        agent
    }

    pub fn agent(&self, command: &[&str]) -> Output {
        self.command(command).output().unwrap()
    }

    /// A pass that must succeed.
    #[track_caller]
    pub fn pass(&self) {
        let output = self.agent(&PASS);
        assert!(output.status.success(), "{}", said(&output));
    }

    /// Remembers the host as it is now.
    pub fn remember(&self) {
        copy(&self.path("root"), &self.path("before"));
    }

    /// Makes the host as it was remembered.
    pub fn reset(&mut self) {
        fs::remove_dir_all(self.path("root")).unwrap();
        copy(&self.path("before"), &self.path("root"));
        self.run += 1;
    }

    /// The version in use, `None` when there is none; an error for anything between.
    pub fn in_use(&self) -> Result<Option<String>, String> {
        let bin = self.host("opt/duo/bin");
        let Ok(entries) = fs::read_dir(&bin) else { return Ok(None) };
        let names: BTreeSet<String> =
            entries.map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
        if names.is_empty() {
            return Ok(None);
        }
        if names != BTreeSet::from(PROGRAMS.map(ToOwned::to_owned)) {
            return Err(format!("bin has {names:?}"));
        }
        let mut releases = BTreeSet::new();
        let mut versions = BTreeSet::new();
        for name in PROGRAMS {
            let path = bin.join(name);
            let target = fs::read_link(&path).map_err(|e| format!("{name} is no link: {e}"))?;
            releases.insert(target.parent().map(Path::to_owned));
            let metadata =
                fs::metadata(&path).map_err(|e| format!("{name} -> {}: {e}", target.display()))?;
            if !metadata.is_file() || metadata.permissions().mode() & 0o111 == 0 {
                return Err(format!("{name} is no program"));
            }
            let output = Command::new(&path).output().map_err(|e| format!("{name}: {e}"))?;
            versions.insert(String::from_utf8_lossy(&output.stdout).trim().to_owned());
        }
        match (releases.len(), versions.pop_first()) {
            (1, Some(version)) if versions.is_empty() => Ok(Some(version)),
            _ => Err(format!("a mixture of {releases:?} printing {versions:?}")),
        }
    }

    /// Names in a directory of the host; none when there is no such directory.
    pub fn names(&self, directory: &str) -> BTreeSet<String> {
        let entries = fs::read_dir(self.host(directory)).into_iter().flatten();
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
    }

    /// Whether the inventory names a resource.
    pub fn owns(&self, resource: &str) -> bool {
        let inventory = self.host("var/lib/reconcile/inventory.json");
        fs::read_to_string(inventory).is_ok_and(|text| text.contains(resource))
    }

    /// Whether `latest` may not go below a version.
    pub fn trusts_from(&self, version: &str) -> bool {
        let text = fs::read_to_string(self.host("var/lib/reconcile/trust.json"));
        let trust: serde_json::Value =
            serde_json::from_str(&text.unwrap_or_default()).unwrap_or_default();
        trust["floors"]["app/duo"] == version
    }

    /// What passes that were cut off have left, although a later pass was complete.
    pub fn leftovers(&self) -> Vec<String> {
        let staging = self.names("opt/duo/staging").into_iter().map(|n| format!("staging/{n}"));
        let state = self.names("var/lib/reconcile").into_iter();
        let is_known = |name: &str| STATE_FILES.contains(&name) || name.starts_with("desired-");
        let state = state.filter(|name| !is_known(name));
        let partial = self.names("var/cache/reconcile/partial").into_iter();
        staging.chain(state).chain(partial.map(|n| format!("partial/{n}"))).collect()
    }

    /// Type, mode, time and content of everything on the host.
    pub fn picture(&self) -> BTreeMap<PathBuf, String> {
        let mut picture = BTreeMap::new();
        describe(&self.path("root"), &mut picture);
        picture
    }
}

/// A pass whose effects run although the root is not the running system's.
pub const PASS: [&str; 3] = ["--effects", "run", "--confirm-removals"];

/// The same without changing anything.
pub const DRY: [&str; 4] = ["--effects", "run", "--confirm-removals", "--dry-run"];

/// Everything a program printed.
pub fn said(output: &Output) -> String {
    let text = |bytes| String::from_utf8_lossy(bytes).into_owned();
    format!("{}{}", text(&output.stdout), text(&output.stderr))
}

/// A web server with 1.0 and 2.0, and the source that reads it, in YAML.
pub fn web() -> (Server, String) {
    let server = Server::start();
    let mut sums = String::new();
    for version in ["1.0", "2.0"] {
        let (name, bytes) = (archive_name(version), archive(version));
        sums.push_str(&checksum_line(&name, &bytes));
        server.serve(&format!("/dl/{name}"), Reply::file(bytes));
    }
    server.serve("/dl/SHA256SUMS", Reply::file(sums));
    let source = format!("{{ http: \"{}\" }}", server.url("/dl"));
    (server, source)
}

pub fn archive_name(version: &str) -> String {
    format!("duo-{version}.tar.gz")
}

pub fn checksum_line(name: &str, bytes: &[u8]) -> String {
    format!("{}  {name}\n", data_encoding::HEXLOWER.encode(&Sha256::digest(bytes)))
}

/// Two programs, a file in a directory, and a link.
pub fn archive(version: &str) -> Vec<u8> {
    let mut tar = tar::Builder::new(GzEncoder::new(Vec::new(), Compression::fast()));
    let mut header = |path: &str, mode: u32, kind: tar::EntryType, text: &str| {
        let mut header = tar::Header::new_gnu();
        header.set_entry_type(kind);
        header.set_mode(mode);
        header.set_mtime(1_700_000_000);
        if kind == tar::EntryType::Symlink {
            header.set_size(0);
            tar.append_link(&mut header, path, text).unwrap();
        } else {
            header.set_size(text.len() as u64);
            tar.append_data(&mut header, path, text.as_bytes()).unwrap();
        }
    };
    let script = format!("#!/bin/sh\necho {version}\n");
    for name in PROGRAMS {
        header(&format!("duo/{name}"), 0o755, tar::EntryType::Regular, &script);
    }
    header("duo/share", 0o755, tar::EntryType::Directory, "");
    header("duo/share/data", 0o644, tar::EntryType::Regular, version);
    header("duo/share/link", 0o777, tar::EntryType::Symlink, "data");
    tar.into_inner().unwrap().finish().unwrap()
}

/// Copies a directory with modes, times and links.
pub fn copy(from: &Path, to: &Path) {
    fs::create_dir(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let (source, target) = (entry.path(), to.join(entry.file_name()));
        let metadata = source.symlink_metadata().unwrap();
        if metadata.is_dir() {
            copy(&source, &target);
        } else if metadata.is_symlink() {
            symlink(fs::read_link(&source).unwrap(), &target).unwrap();
        } else {
            fs::copy(&source, &target).unwrap();
            let file = fs::File::options().append(true).open(&target).unwrap();
            file.set_modified(metadata.modified().unwrap()).unwrap();
        }
    }
    fs::set_permissions(to, from.metadata().unwrap().permissions()).unwrap();
}

fn describe(directory: &Path, picture: &mut BTreeMap<PathBuf, String>) {
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        let metadata = path.symlink_metadata().unwrap();
        let content = if metadata.is_file() {
            format!("{:?}", fs::read(&path).unwrap())
        } else if metadata.is_symlink() {
            format!("{}", fs::read_link(&path).unwrap().display())
        } else {
            describe(&path, picture);
            String::new()
        };
        let mode = metadata.permissions().mode();
        picture.insert(path, format!("{mode:o} {:?} {content}", metadata.modified().unwrap()));
    }
}
