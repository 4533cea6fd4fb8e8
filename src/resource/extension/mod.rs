//! Extensions: disk images that systemd merges into `/usr`, `/opt` or `/etc`.
//!
//! ```text
//! /var/lib/extensions.d/<name>/<name>_<version>.raw      one installed image
//! /var/lib/extensions.d/<name>/.<file>.reconcile.json    its manifest
//! /var/lib/extensions/<name>.raw -> the image in use     (/var/lib/confexts for a confext)
//! .#hidden.reconcile.<file>                              an image that systemd would pick and shall not
//! .#reconcile.<file>                                     half-done work, which systemd passes over
//! ```
//!
//! Images stay outside of the directories that systemd looks in: there, an old one would be merged as well.

pub mod apart;
mod drift;
mod effects;
mod explain;
mod followed;
mod former;
pub mod layout;
pub mod merged;
pub mod observe;
pub mod order;
mod pick;
pub mod plan;
mod refuse;
pub mod remove;
pub mod retain;
mod retire;
pub mod spec;
mod steps;
mod theirs;
pub mod wanted;

pub use observe::ExtensionObserved;
pub use spec::ExtensionSpec;
