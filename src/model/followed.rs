//! Where a pass read the desired state, so that questions asked without saying so are about the same.

use camino::Utf8PathBuf;
use serde::{Deserialize, Serialize};

/// Where a pass read the desired state.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Followed {
    /// Files and directories, absolute on this machine.
    pub desired: Vec<Utf8PathBuf>,
    /// A repository instead.
    pub repository: Option<FollowedRepository>,
}

/// A repository, as the command line names one.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct FollowedRepository {
    /// Its address.
    pub url: String,
    /// The branch or tag.
    pub reference: Option<String>,
    /// The directory in it.
    pub path: Option<Utf8PathBuf>,
    /// The file with the SSH keys whose signatures count.
    pub allowed_signers: Option<Utf8PathBuf>,
    /// The OpenPGP keyring with the keys whose signatures count.
    pub keyring: Option<Utf8PathBuf>,
}
