//! A directory of gpg's with keys, whose agent ends with it.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Output};

/// What `GNUPGHOME` names.
pub struct GpgHome(tempfile::TempDir);

impl Drop for GpgHome {
    fn drop(&mut self) {
        let mut command = Command::new("gpgconf");
        let _ = command.env("GNUPGHOME", self.path()).args(["--kill", "gpg-agent"]).status();
    }
}

impl GpgHome {
    /// With a key for each of these users, without a passphrase.
    pub fn with_keys(users: &[&str]) -> Self {
        let private = fs::Permissions::from_mode(0o700);
        let home = Self(tempfile::Builder::new().permissions(private).tempdir().unwrap());
        for user in users {
            let key =
                ["--passphrase", "", "--quick-generate-key", user, "ed25519", "sign", "never"];
            let ran = home.gpg(home.path(), &key);
            assert!(ran.status.success(), "{}", String::from_utf8_lossy(&ran.stderr));
        }
        home
    }

    pub fn path(&self) -> &Path {
        self.0.path()
    }

    /// Runs gpg in a directory.
    pub fn gpg(&self, directory: &Path, arguments: &[&str]) -> Output {
        let mut command = Command::new("gpg");
        command.env("GNUPGHOME", self.path()).current_dir(directory);
        command.args(["--batch", "--no-tty", "--yes", "--pinentry-mode", "loopback"]);
        command.args(arguments).output().unwrap()
    }
}
