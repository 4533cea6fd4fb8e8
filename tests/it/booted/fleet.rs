//! A bare Git repository that a machine follows, and the releases that its desired state names.

use std::fs;
use std::path::Path;
use std::process::Command;

use super::machine::Machine;

/// The agent's configuration as the README has it.
pub const AGENT: &str = "git:\n  url: /share/fleet.git\n  ref: main\n  allowed_signers: /etc/reconcile/allowed_signers\n";

/// What somebody pushes to, from outside of the machine.
pub struct Fleet<'a>(pub &'a Machine);

impl<'a> Fleet<'a> {
    /// An empty repository, a key, and a machine that trusts it.
    pub fn new(machine: &'a Machine) -> Self {
        let fleet = Self(machine);
        let key = machine.share("key");
        run(Command::new("ssh-keygen").args(["-q", "-t", "ed25519", "-N", "", "-f"]).arg(&key));
        let public = fs::read_to_string(machine.share("key.pub")).unwrap();
        machine.write("/etc/reconcile/allowed_signers", &format!("ops@example.net {public}"));
        fleet.git("", &["init", "-q", "--bare", "-b", "main", "fleet.git"]);
        fleet.git("", &["clone", "-q", "fleet.git", "work"]);
        for (name, value) in [
            ("user.name", "Ops"),
            ("user.email", "ops@example.net"),
            ("gpg.format", "ssh"),
            ("user.signingkey", key.to_str().unwrap()),
        ] {
            fleet.git("work", &["config", name, value]);
        }
        fs::create_dir_all(machine.share("releases")).unwrap();
        let examples = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/repository");
        for file in fs::read_dir(examples).unwrap().flatten() {
            if file.file_type().unwrap().is_file() {
                fs::copy(file.path(), machine.share("releases").join(file.file_name())).unwrap();
            }
        }
        fleet
    }

    fn git(&self, directory: &str, arguments: &[&str]) {
        let mut command = Command::new("git");
        command.current_dir(self.0.share(directory)).args(arguments);
        run(command.env("HOME", self.0.share("")).env("GIT_CONFIG_NOSYSTEM", "1"));
    }

    /// Pushes a signed commit of this desired state.
    pub fn push(&self, wish: &str) {
        fs::write(self.0.share("work/wish.yaml"), wish).unwrap();
        self.git("work", &["add", "."]);
        self.git("work", &["commit", "-q", "-S", "-m", "A change"]);
        self.git("work", &["push", "-q", "origin", "HEAD:main"]);
    }
}

fn run(command: &mut Command) {
    let output = command.output();
    let output = output.unwrap_or_else(|e| panic!("{command:?}: {e}; apt-get install git"));
    assert!(output.status.success(), "{command:?}: {output:#?}");
}

/// A desired state with one program and what else is said about it.
pub fn weather(version: &str, more: &str) -> String {
    format!(
        "apps:\n  weather:\n    version: {version}\n    source: {{ file: {{ path: /share/releases, pattern: \
         \"weather-{{version}}.gz\" }} }}\n{more}"
    )
}
