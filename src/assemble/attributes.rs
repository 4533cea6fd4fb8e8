//! Modes, owners, times and attributes of nodes.
//!
//! They are as the archive says, as far as it says so and this host allows it; the rest is told once.

use std::collections::BTreeSet;
use std::os::fd::{AsFd, BorrowedFd};

use rustix::fs::{AtFlags, Gid, Mode, Timespec, Timestamps, Uid, XattrFlags};
use rustix::io::Errno;
use sha2::{Digest as _, Sha256};

use crate::format::casync::catar::{AclEntry, Content, Metadata};
use crate::format::casync::flags::Flags;
use crate::model::snapshot::{NodeStat, Unsaid};
use crate::model::step::Special;

/// Mode of a file that the archive says nothing about.
const FILE_MODE: u32 = 0o644;

/// Mode of a directory that the archive says nothing about.
const DIRECTORY_MODE: u32 = 0o755;

/// Who owns the files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Owner {
    /// As the archive says.
    Archive,
    /// These, for all of them.
    Fixed {
        /// User.
        uid: u32,
        /// Group.
        gid: u32,
    },
}

/// What may be set on this host.
#[derive(Clone, Debug)]
pub struct Powers {
    /// Who owns the files.
    pub owner: Owner,
    /// What an archive may bring only when asked.
    pub allow: Vec<Special>,
    /// Users and groups of the host by name.
    pub accounts: Accounts,
    /// Who makes the files.
    pub me: Me,
}

/// Who this process is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Me {
    /// Effective user.
    pub uid: u32,
    /// Effective group.
    pub gid: u32,
}

impl Me {
    /// Asks the system once.
    pub fn now() -> Self {
        let (uid, gid) = (rustix::process::geteuid(), rustix::process::getegid());
        Self { uid: uid.as_raw(), gid: gid.as_raw() }
    }
}

/// Users and groups of the host by name, as in `/etc/passwd` and `/etc/group`.
#[derive(Clone, Debug, Default)]
pub struct Accounts {
    /// Numbers of users.
    pub users: std::collections::BTreeMap<String, u32>,
    /// Numbers of groups.
    pub groups: std::collections::BTreeMap<String, u32>,
}

impl Accounts {
    /// Reads the lines of both files: `name:password:number:…`.
    pub fn parse(passwd: &str, group: &str) -> Self {
        let numbers = |text: &str| {
            let lines = text.lines().filter_map(|line| {
                let mut fields = line.split(':');
                let name = fields.next()?.to_owned();
                Some((name, fields.nth(1)?.parse().ok()?))
            });
            lines.collect()
        };
        Self { users: numbers(passwd), groups: numbers(group) }
    }
}

/// What a node is to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Wanted {
    pub(super) mode: u32,
    /// User and group; `None` where they stay as they are made.
    pub(super) owner: Option<(u32, u32)>,
    /// Hash of everything else; 0 for nothing.
    pub(super) attributes: u64,
}

/// What is known about a node before it is made.
#[derive(Clone, Copy, Debug)]
pub(super) struct About<'a> {
    pub(super) flags: Flags,
    pub(super) metadata: &'a Metadata,
    pub(super) content: &'a Content,
    /// What is at its path now.
    pub(super) old: Option<&'a NodeStat>,
}

/// Things that were not set, each told once.
#[derive(Debug, Default)]
pub(super) struct Degraded(BTreeSet<String>);

impl Degraded {
    pub(super) fn note(&mut self, text: &str) {
        if !self.0.contains(text) {
            self.0.insert(text.to_owned());
        }
    }

    pub(super) fn into_notes(self) -> Vec<String> {
        self.0.into_iter().collect()
    }
}

impl Powers {
    /// What archives with these flags say nothing about.
    pub(super) fn unsaid(&self, flags: Flags) -> Unsaid {
        let modes = Flags::PERMISSIONS.with(Flags::ACL).with(Flags::READ_ONLY);
        let owners = Flags::UIDS.with(Flags::USER_NAMES);
        Unsaid {
            modes: !flags.intersects(modes),
            owners: self.owner == Owner::Archive && !flags.intersects(owners),
        }
    }

    /// What a node is to be.
    pub(super) fn wanted(&self, about: &About<'_>, degraded: &mut Degraded) -> Wanted {
        let About { flags, metadata, content, old } = *about;
        let directory = matches!(content, Content::Directory);
        let full = flags.intersects(Flags::PERMISSIONS.with(Flags::ACL));
        let default = if directory { DIRECTORY_MODE } else { FILE_MODE };
        let mut mode = if full {
            metadata.permissions
        } else if flags.contains(Flags::READ_ONLY) && metadata.permissions & 0o222 == 0 {
            default & !0o222
        } else {
            // casync-updater's archives say nothing about modes: those on the host stay.
            old.map_or(default, |old| old.mode & 0o777)
        };
        if mode & 0o6000 != 0 && !directory && full && !self.allow.contains(&Special::Setid) {
            mode &= !0o6000;
            degraded.note(
                "set-user-id and set-group-id bits were left out: `allow: [setid]` brings them",
            );
        }
        let owner = self.owner(flags, metadata, old, degraded);
        Wanted { mode, owner, attributes: fingerprint(metadata) }
    }

    fn owner(
        &self,
        flags: Flags,
        metadata: &Metadata,
        old: Option<&NodeStat>,
        degraded: &mut Degraded,
    ) -> Option<(u32, u32)> {
        let wanted = match self.owner {
            Owner::Fixed { uid, gid } => Some((uid, gid)),
            Owner::Archive if flags.intersects(Flags::UIDS.with(Flags::USER_NAMES)) => {
                let named = |map: &std::collections::BTreeMap<String, u32>,
                             name: &Option<Vec<u8>>| {
                    let name = std::str::from_utf8(name.as_deref()?).ok()?;
                    map.get(name).copied()
                };
                let user = named(&self.accounts.users, &metadata.user);
                let group = named(&self.accounts.groups, &metadata.group);
                if !flags.intersects(Flags::UIDS)
                    && (user.is_none() && metadata.user.is_some()
                        || group.is_none() && metadata.group.is_some())
                {
                    degraded.note(
                        "users or groups of the archive do not exist here: root has their files",
                    );
                }
                Some((user.unwrap_or(metadata.uid), group.unwrap_or(metadata.gid)))
            }
            Owner::Archive => old.map(|old| (old.uid, old.gid)),
        };
        let mine = (self.me.uid, self.me.gid);
        if mine.0 != 0 && wanted.is_some_and(|wanted| wanted != mine) {
            degraded.note("owners were not set: only root may give files away");
            return None;
        }
        wanted.filter(|wanted| *wanted != mine)
    }
}

/// A hash of everything about a node beyond mode, owner and time; 0 for nothing.
fn fingerprint(metadata: &Metadata) -> u64 {
    let plain = Metadata {
        permissions: metadata.permissions,
        attributes: metadata.attributes,
        uid: metadata.uid,
        gid: metadata.gid,
        mtime: metadata.mtime,
        user: metadata.user.clone(),
        group: metadata.group.clone(),
        quota_projid: metadata.quota_projid,
        ..Metadata::default()
    };
    if &plain == metadata {
        return 0;
    }
    let Metadata { xattrs, acl, default_acl, selinux, fcaps, .. } = metadata;
    let text = format!("{:?}", (xattrs, acl, default_acl, selinux, fcaps));
    let hash: [u8; 32] = Sha256::digest(text.as_bytes()).into();
    let (first, _) = hash.split_first_chunk::<8>().unwrap_or((&[0; 8], &[]));
    u64::from_le_bytes(*first).max(1)
}

/// Owner first, because changing it clears mode bits and capabilities; the time last.
pub(super) fn apply(
    node: BorrowedFd<'_>,
    wanted: &Wanted,
    metadata: &Metadata,
    powers: &Powers,
    degraded: &mut Degraded,
) -> Result<(), Errno> {
    if let Some((uid, gid)) = wanted.owner {
        rustix::fs::fchown(node, Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid)))?;
    }
    rustix::fs::fchmod(node, Mode::from_raw_mode(wanted.mode))?;
    if wanted.attributes != 0 {
        extended(node, wanted.mode, metadata, powers, degraded)?;
    }
    Ok(())
}

/// Sets the times of an open node; a link or a pipe gets its times by [`apply_at`].
pub(super) fn times(flags: Flags, metadata: &Metadata) -> Option<Timestamps> {
    flags.time_step()?;
    let seconds = i64::try_from(metadata.mtime / 1_000_000_000).ok()?;
    let nanoseconds = i64::try_from(metadata.mtime % 1_000_000_000).ok()?;
    let time = Timespec { tv_sec: seconds, tv_nsec: nanoseconds };
    Some(Timestamps { last_access: time, last_modification: time })
}

/// Sets owner and time of something that is not opened.
pub(super) fn apply_at(
    directory: impl AsFd,
    name: &[u8],
    wanted: &Wanted,
    times: Option<&Timestamps>,
) -> Result<(), Errno> {
    if let Some((uid, gid)) = wanted.owner {
        let (uid, gid) = (Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid)));
        rustix::fs::chownat(&directory, name, uid, gid, AtFlags::SYMLINK_NOFOLLOW)?;
    }
    if let Some(times) = times {
        rustix::fs::utimensat(&directory, name, times, AtFlags::SYMLINK_NOFOLLOW)?;
    }
    Ok(())
}

fn extended(
    node: BorrowedFd<'_>,
    mode: u32,
    metadata: &Metadata,
    powers: &Powers,
    degraded: &mut Degraded,
) -> Result<(), Errno> {
    let mut set = |name: &[u8], value: &[u8]| match rustix::fs::fsetxattr(
        node,
        name,
        value,
        XattrFlags::empty(),
    ) {
        Ok(()) => Ok(()),
        Err(Errno::PERM | Errno::OPNOTSUPP | Errno::ACCESS | Errno::INVAL) => {
            let name = String::from_utf8_lossy(name);
            let kind = name.split('.').next().unwrap_or_default().to_owned();
            degraded.note(&match name.as_ref() {
                "security.capability" => "file capabilities could not be set here".to_owned(),
                "security.selinux" => "`SELinux` labels could not be set here".to_owned(),
                acl if acl.starts_with("system.posix_acl") => {
                    "access control lists could not be set here".to_owned()
                }
                _ => format!("extended attributes of `{kind}.` could not be set here"),
            });
            Ok(())
        }
        Err(error) => Err(error),
    };
    for xattr in &metadata.xattrs {
        if xattr.name == b"security.capability" && !powers.allow.contains(&Special::Capabilities) {
            continue;
        }
        set(&xattr.name, &xattr.value)?;
    }
    if let Some(label) = &metadata.selinux {
        set(b"security.selinux", label)?;
    }
    let acl = &metadata.acl;
    if let Some(group_obj) = acl.group_obj {
        let bits = |shift: u32| u8::try_from(mode >> shift & 7).unwrap_or_default();
        let base = Base { user: bits(6), group: group_obj, mask: Some(bits(3)), other: bits(0) };
        set(b"system.posix_acl_access", &posix_acl(&base, &acl.users, &acl.groups))?;
    }
    if let Some(default) = &metadata.default_acl {
        let base = Base {
            user: default.user_obj,
            group: default.group_obj,
            mask: default.mask,
            other: default.other,
        };
        set(b"system.posix_acl_default", &posix_acl(&base, &default.users, &default.groups))?;
    }
    match &metadata.fcaps {
        Some(capabilities) if powers.allow.contains(&Special::Capabilities) => {
            set(b"security.capability", capabilities)?;
        }
        _ => {}
    }
    if metadata.fcaps.is_some() && !powers.allow.contains(&Special::Capabilities) {
        degraded.note("file capabilities were left out: `allow: [capabilities]` brings them");
    }
    Ok(())
}

/// The entries of an access list that every one has.
struct Base {
    user: u8,
    group: u8,
    mask: Option<u8>,
    other: u8,
}

/// An access list as the kernel takes it in `system.posix_acl_*` (`linux/posix_acl_xattr.h`): `u32` 2, then for
/// each entry `u16` tag, `u16` rwx, `u32` id, ordered by tag and id.
fn posix_acl(base: &Base, users: &[AclEntry], groups: &[AclEntry]) -> Vec<u8> {
    const NOBODY: u32 = u32::MAX;
    let mut bytes = 2_u32.to_le_bytes().to_vec();
    let mut entry = |tag: u16, permissions: u8, id: u32| {
        bytes.extend(tag.to_le_bytes());
        bytes.extend(u16::from(permissions).to_le_bytes());
        bytes.extend(id.to_le_bytes());
    };
    let sorted = |entries: &[AclEntry]| {
        let mut sorted: Vec<(u32, u8)> = entries.iter().map(|e| (e.id, e.permissions)).collect();
        sorted.sort_unstable();
        sorted
    };
    entry(0x01, base.user, NOBODY);
    for (id, permissions) in sorted(users) {
        entry(0x02, permissions, id);
    }
    entry(0x04, base.group, NOBODY);
    for (id, permissions) in sorted(groups) {
        entry(0x08, permissions, id);
    }
    if let Some(mask) = base.mask {
        entry(0x10, mask, NOBODY);
    }
    entry(0x20, base.other, NOBODY);
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accounts_are_read_from_their_files() {
        let accounts = Accounts::parse("root:x:0:0::/:\nwww:x:33:33::/:\nbad\n", "adm:x:4:\n");
        assert_eq!(accounts.users.get("www"), Some(&33));
        assert_eq!(accounts.groups.get("adm"), Some(&4));
        assert_eq!(accounts.users.len(), 2);
    }

    #[test]
    fn access_list_is_what_the_kernel_takes() {
        let user = AclEntry { id: 7, name: None, permissions: 6 };
        let base = Base { user: 7, group: 5, mask: Some(7), other: 4 };
        let bytes = posix_acl(&base, &[user], &[]);
        assert_eq!(bytes.len(), 4 + 5 * 8);
        assert_eq!(bytes[..12], [2, 0, 0, 0, 1, 0, 7, 0, 255, 255, 255, 255]);
        assert_eq!(bytes[12..20], [2, 0, 6, 0, 7, 0, 0, 0]);
    }
}
