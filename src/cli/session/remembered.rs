//! The desired state that questions are about where nobody says which.

use camino::{Utf8Path, Utf8PathBuf};

use crate::cli::args::{Cli, Command, GitArgs};
use crate::cli::session::{DESIRED, Session};
use crate::host::runtime::Runtime;
use crate::model::followed::{Followed, FollowedRepository};
use crate::record::last_pass;

impl Session {
    /// Reads what is in effect for the running agent, or, where there is nothing else, what the last pass did, if the command
    /// line does not say anything.
    pub(super) fn follow_remembered(&mut self, cli: &Cli) {
        let named = !self.common.desired.is_empty() || self.named_repository().is_some();
        if named || self.common.git.loose_option().is_some() || !asks(cli.command.as_ref()) {
            return;
        }
        let configured = self.common.git.git.is_some()
            || self.agent().is_ok_and(|agent| !agent.desired.is_empty());
        let known = configured || self.host.real(DESIRED).exists();
        if known && !Runtime::is_claimed(&self.host) {
            return;
        }
        let last = last_pass::load(&self.host);
        let Some(Followed { desired, repository }) = last.map(|last| last.followed) else { return };
        if let Some(FollowedRepository { url, reference, path, allowed_signers, keyring }) =
            repository
        {
            self.common.git = GitArgs {
                git: Some(url),
                reference,
                git_path: path,
                git_allowed_signers: allowed_signers,
                git_keyring: keyring,
            };
        } else if !desired.is_empty() {
            self.common.git = GitArgs::default();
            self.common.desired = desired;
        }
    }
}

/// Whether a command asks about this host or decides something on it, and makes no pass.
fn asks(command: Option<&Command>) -> bool {
    matches!(
        command,
        Some(
            Command::Request { .. }
                | Command::Diff { .. }
                | Command::Status { .. }
                | Command::Explain { .. }
                | Command::History { .. }
                | Command::List { .. }
                | Command::Suspend { .. }
                | Command::Resume { .. }
                | Command::AcceptHistory { .. }
                | Command::Gc { .. }
                | Command::Doctor
        )
    )
}

/// The repository of a command line, with the paths that are meant on this machine.
pub(super) fn repository(git: &GitArgs) -> Option<FollowedRepository> {
    let absolute = |path: &Utf8Path| {
        let absolute = std::path::absolute(path).ok();
        absolute.and_then(|path| Utf8PathBuf::from_path_buf(path).ok())
    };
    let url = git.git.as_ref()?;
    let local = Utf8Path::new(url).is_dir().then(|| absolute(Utf8Path::new(url))).flatten();
    Some(FollowedRepository {
        url: local.map_or_else(|| url.clone(), Utf8PathBuf::into_string),
        reference: git.reference.clone(),
        path: git.git_path.clone(),
        allowed_signers: git.git_allowed_signers.as_deref().and_then(absolute),
        keyring: git.git_keyring.as_deref().and_then(absolute),
    })
}
