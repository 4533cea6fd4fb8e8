//! What a target keeps.
//!
//! Source: the behaviour of systemd 262. Partial instances go, and pending ones that are not
//! protected. Then the oldest ones go until the limit is met, leaving out what is protected; when
//! only that is left, the limit is exceeded. A transfer that is disabled keeps only what is
//! protected.

use super::super::order;
use super::{Installed, State};

/// How many instances stay.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Keep {
    /// At most `instances_max` less `space`; `None` is without a limit.
    Limit {
        /// `InstancesMax=`.
        instances_max: Option<u64>,
        /// Room to make for instances to come.
        space: u64,
    },
    /// None: the transfer is disabled.
    Nothing,
}

/// What decides about a target's instances.
#[derive(Clone, Copy, Debug)]
pub struct VacuumRule<'a> {
    /// How many stay.
    pub keep: Keep,
    /// `ProtectVersion=` of all transfers.
    pub protected_versions: &'a [String],
    /// The version that is being installed.
    pub installing: Option<&'a str>,
}

/// Keeping nothing of a transfer that is enabled was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "making room for {space} instances where at most {instances_max} may be: one must always remain; \
     raise `InstancesMax=`"
)]
pub struct NoRoom {
    /// The limit.
    pub instances_max: u64,
    /// The room that was asked for.
    pub space: u64,
}

/// The indexes of the instances to remove, in the order of removing: unfinished ones, then the
/// oldest.
pub fn vacuum(installed: &[Installed], rule: &VacuumRule<'_>) -> Result<Vec<usize>, NoRoom> {
    let limit = match rule.keep {
        Keep::Nothing => 0,
        Keep::Limit { instances_max: None, .. } => u64::MAX,
        Keep::Limit { instances_max: Some(instances_max), space } => {
            let limit = instances_max.checked_sub(space).filter(|limit| *limit > 0);
            limit.ok_or(NoRoom { instances_max, space })?
        }
    };
    let protected = |instance: &Installed| {
        rule.installing == Some(instance.version.as_str())
            || rule.protected_versions.contains(&instance.version)
    };
    let (mut removed, mut left): (Vec<usize>, Vec<(usize, &Installed)>) = (Vec::new(), Vec::new());
    for (index, instance) in installed.iter().enumerate() {
        match instance.state {
            State::Partial => removed.push(index),
            State::Pending if !protected(instance) => removed.push(index),
            State::Pending | State::Complete => left.push((index, instance)),
        }
    }
    // Oldest first; of equal versions the one given last.
    left.sort_by(|(i, a), (j, b)| order::compare(&a.version, &b.version).then(j.cmp(i)));
    let kept = u64::try_from(left.len()).unwrap_or(u64::MAX);
    let surplus = usize::try_from(kept.saturating_sub(limit)).unwrap_or(usize::MAX);
    let unprotected = left.iter().filter(|(_, instance)| !protected(instance));
    removed.extend(unprotected.map(|(index, _)| *index).take(surplus));
    Ok(removed)
}
