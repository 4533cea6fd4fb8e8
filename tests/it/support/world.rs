//! A host below a temporary directory, its desired state, and the program that keeps it.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use serde_json::Value;

use super::tree;

/// A directory for one test: in memory where there is any, because most of a pass is waiting for disks
/// and nothing that uses this is about durability.
pub fn scratch() -> tempfile::TempDir {
    tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap()
}

/// A host that belongs to one test.
pub struct World {
    temp: tempfile::TempDir,
    /// The time that commands work with.
    pub now: jiff::Timestamp,
    /// Options given to every command.
    pub options: Vec<String>,
    /// Environment of every command.
    pub environment: Vec<(String, String)>,
    /// Where the desired state is.
    pub desired: PathBuf,
}

/// How a command ended and what it said.
#[derive(Debug)]
pub struct Ran {
    pub code: i32,
    pub stdout: String,
    pub stderr: String,
}

impl Ran {
    /// The document that it printed.
    #[track_caller]
    pub fn json(&self) -> Value {
        match serde_json::from_str(&self.stdout) {
            Ok(value) => value,
            Err(error) => panic!("{error}: {self:#?}"),
        }
    }

    /// Fails unless it ended with this exit code.
    #[track_caller]
    pub fn exits(self, code: i32) -> Self {
        assert_eq!(self.code, code, "{self:#?}");
        self
    }
}

impl World {
    pub fn new() -> Self {
        let temp = scratch();
        let world = Self {
            now: "2026-06-01T00:00:00Z".parse().unwrap(),
            options: Vec::new(),
            environment: Vec::new(),
            desired: temp.path().join("desired"),
            temp,
        };
        std::fs::create_dir_all(world.root()).unwrap();
        world
    }

    /// The temporary directory with everything in it.
    pub fn temp(&self) -> &Path {
        self.temp.path()
    }

    /// What the program takes for `/`.
    pub fn root(&self) -> PathBuf {
        self.temp.path().join("root")
    }

    /// A path of the host, absolute or not.
    pub fn path(&self, path: &str) -> PathBuf {
        self.root().join(path.trim_start_matches('/'))
    }

    /// Makes `text` the whole desired state, in `DIRECTORY/wish.yaml`.
    pub fn wish(&mut self, directory: &str, text: &str) {
        self.desired = self.temp.path().join(directory);
        tree::remove(&self.desired);
        tree::write(&self.desired.join("wish.yaml"), text.as_bytes());
    }

    /// Lets a minute go by.
    pub fn tick(&mut self) {
        self.now += jiff::SignedDuration::from_mins(1);
    }

    /// Makes a pass, a minute later, which does all there is to do.
    #[track_caller]
    pub fn pass(&mut self) -> Ran {
        self.tick();
        self.run(&[]).exits(0)
    }

    /// Makes a pass that has nothing to do.
    #[track_caller]
    pub fn nothing_to_do(&mut self) {
        let ran = self.pass();
        assert!(ran.stdout.contains("No changes"), "{ran:#?}");
    }

    /// Runs the program.
    pub fn run(&self, arguments: &[&str]) -> Ran {
        let output = self.command(arguments).output().unwrap();
        Ran {
            code: output.status.code().unwrap(),
            stdout: String::from_utf8(output.stdout).unwrap(),
            stderr: String::from_utf8(output.stderr).unwrap(),
        }
    }

    /// Starts the program.
    pub fn start(&self, arguments: &[&str]) -> Child {
        let mut command = self.command(arguments);
        command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_reconcile"));
        command
            .env_clear()
            .env("PATH", "/usr/bin:/bin")
            .envs(self.environment.iter().map(|(name, value)| (name, value)))
            .arg("--root")
            .arg(self.root())
            .arg("--desired")
            .arg(&self.desired)
            .args(["--clock", &self.now.to_string()])
            .args(arguments)
            .args(&self.options)
            .current_dir(self.temp.path());
        command
    }
}
