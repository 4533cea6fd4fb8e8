//! What is published of one node beside its content.

use std::os::fd::{AsFd, BorrowedFd};

use rustix::fs::{FileType, IFlags, Stat};
use rustix::io::Errno;

use super::names::Names;
use crate::format::casync::catar::{Acl, AclEntry, DefaultAcl, Metadata, Xattr};
use crate::format::casync::flags::Flags;

/// Longest list of attribute names, and longest value of one, that Linux knows.
const XATTR_BYTES_MAX: usize = 64 << 10;

/// Version of access control lists in extended attributes. Source: `linux/posix_acl_xattr.h`.
const ACL_VERSION: [u8; 4] = 2_u32.to_le_bytes();

/// Attributes of chattr and the flags that publish them. Source: `linux/fs.h` and `caformat-util.c` in
/// systemd/casync.
const ATTRIBUTES: [(IFlags, u64); 10] = [
    (IFlags::APPEND, 1 << 16),
    (IFlags::NOATIME, 1 << 17),
    (IFlags::COMPRESSED, 1 << 18),
    (IFlags::NOCOW, 1 << 19),
    (IFlags::NODUMP, 1 << 20),
    (IFlags::DIRSYNC, 1 << 21),
    (IFlags::IMMUTABLE, 1 << 22),
    (IFlags::SYNC, 1 << 23),
    (IFlags::from_bits_retain(0x400), 1 << 24),
    (IFlags::PROJECT_INHERIT, 1 << 25),
];

/// Reads what the flags publish. `node` is an open file or directory; other nodes have nothing but their `stat`.
#[derive(Debug)]
pub(super) struct About {
    flags: Flags,
    names: Names,
    buffer: Vec<u8>,
}

impl About {
    pub(super) fn new(flags: Flags) -> Self {
        let mut names = Names::default();
        if flags.contains(Flags::USER_NAMES) {
            names = Names::of_this_host();
        }
        Self { flags, names, buffer: vec![0; XATTR_BYTES_MAX] }
    }

    /// Everything but type and content; none for a node that says `chattr +d`.
    pub(super) fn read(
        &mut self,
        stat: &Stat,
        node: Option<BorrowedFd<'_>>,
    ) -> Result<Option<Metadata>, Errno> {
        let nanoseconds = u64::try_from(stat.st_mtime).unwrap_or_default();
        let nanoseconds = nanoseconds.saturating_mul(1_000_000_000);
        let mut metadata = Metadata {
            permissions: stat.st_mode & 0o7777,
            uid: stat.st_uid,
            gid: stat.st_gid,
            mtime: nanoseconds.saturating_add(stat.st_mtime_nsec),
            user: self.names.user(stat.st_uid),
            group: self.names.group(stat.st_gid),
            ..Metadata::default()
        };
        let Some(node) = node else { return Ok(Some(metadata)) };
        if self.flags.intersects(Flags::CHATTR.with(Flags::EXCLUDE_NODUMP)) {
            let attributes = attributes(node)?;
            if attributes.contains(Flags::NODUMP) && self.flags.contains(Flags::EXCLUDE_NODUMP) {
                return Ok(None);
            }
            metadata.attributes = attributes;
        }
        let extended = Flags::XATTRS.with(Flags::ACL).with(Flags::SELINUX).with(Flags::FCAPS);
        if self.flags.intersects(extended) {
            self.extended(node, FileType::from_raw_mode(stat.st_mode), &mut metadata)?;
        }
        Ok(Some(metadata))
    }

    fn extended(
        &mut self,
        node: BorrowedFd<'_>,
        kind: FileType,
        metadata: &mut Metadata,
    ) -> Result<(), Errno> {
        let length = match rustix::fs::flistxattr(node, self.buffer.as_mut_slice()) {
            Ok(0) | Err(Errno::NOTSUP) => return Ok(()),
            Ok(length) => length,
            Err(error) => return Err(error),
        };
        let list = self.buffer.get(..length).unwrap_or_default().to_vec();
        for name in list.split(|&byte| byte == 0).filter(|name| !name.is_empty()) {
            let published = match name {
                b"security.capability" => kind == FileType::RegularFile,
                b"security.selinux" | b"system.posix_acl_access" | b"system.posix_acl_default" => {
                    true
                }
                _ => name.starts_with(b"user.") || name.starts_with(b"trusted."),
            };
            if !published {
                continue;
            }
            let value = match rustix::fs::fgetxattr(node, name, self.buffer.as_mut_slice()) {
                Ok(length) => self.buffer.get(..length).unwrap_or_default().to_vec(),
                // Went away in between.
                Err(Errno::NODATA) => continue,
                Err(error) => return Err(error),
            };
            match name {
                b"security.capability" => metadata.fcaps = Some(value),
                b"security.selinux" => {
                    let label = value.strip_suffix(b"\0").unwrap_or(&value);
                    metadata.selinux = Some(label.to_vec());
                }
                b"system.posix_acl_access" => {
                    metadata.acl = self.access_list(&value).ok_or(Errno::INVAL)?;
                }
                b"system.posix_acl_default" => {
                    metadata.default_acl = Some(self.default_list(&value).ok_or(Errno::INVAL)?);
                }
                _ => metadata.xattrs.push(Xattr { name: name.to_vec(), value }),
            }
        }
        Ok(())
    }

    fn access_list(&self, value: &[u8]) -> Option<Acl> {
        let list = self.list(value)?;
        // Without a mask the group's bits are those of the mode.
        let group_obj = list.group_obj.filter(|_| list.mask.is_some());
        Some(Acl { users: list.users, groups: list.groups, group_obj })
    }

    fn default_list(&self, value: &[u8]) -> Option<DefaultAcl> {
        let list = self.list(value)?;
        Some(DefaultAcl {
            user_obj: list.user_obj?,
            group_obj: list.group_obj?,
            other: list.other?,
            mask: list.mask,
            users: list.users,
            groups: list.groups,
        })
    }

    /// A list as the kernel keeps it: version, then tag, permissions and id of each entry.
    fn list(&self, value: &[u8]) -> Option<List> {
        let (entries, []) = value.strip_prefix(&ACL_VERSION)?.as_chunks::<8>() else {
            return None;
        };
        let mut list = List::default();
        for &[t0, t1, p0, p1, i0, i1, i2, i3] in entries {
            let permissions = u8::try_from(u16::from_le_bytes([p0, p1])).ok()?;
            let id = u32::from_le_bytes([i0, i1, i2, i3]);
            match u16::from_le_bytes([t0, t1]) {
                0x01 => list.user_obj = Some(permissions),
                0x02 => {
                    let name = self.names.user(id);
                    list.users.push(AclEntry { id, name, permissions });
                }
                0x04 => list.group_obj = Some(permissions),
                0x08 => {
                    let name = self.names.group(id);
                    list.groups.push(AclEntry { id, name, permissions });
                }
                0x10 => list.mask = Some(permissions),
                0x20 => list.other = Some(permissions),
                _ => return None,
            }
        }
        Some(list)
    }
}

#[derive(Debug, Default)]
struct List {
    user_obj: Option<u8>,
    group_obj: Option<u8>,
    other: Option<u8>,
    mask: Option<u8>,
    users: Vec<AclEntry>,
    groups: Vec<AclEntry>,
}

fn attributes(node: impl AsFd) -> Result<Flags, Errno> {
    let found = match rustix::fs::ioctl_getflags(node) {
        Ok(found) => found,
        // File systems without attributes say so in several ways.
        Err(Errno::NOTTY | Errno::NOTSUP | Errno::NOSYS | Errno::INVAL) => return Ok(Flags::NONE),
        Err(error) => return Err(error),
    };
    let set = ATTRIBUTES.iter().filter(|(attribute, _)| found.contains(*attribute));
    Ok(set.fold(Flags::NONE, |all, (_, bit)| all.with(Flags::from_bits(*bit).unwrap_or_default())))
}
