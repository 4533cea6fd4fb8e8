//! What a stream says of one node, and what of it given feature flags keep.

use crate::format::casync::flags::Flags;

/// Mode of a link: its permissions mean nothing.
const LINK_PERMISSIONS: u32 = 0o777;

/// One node of a tree.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Node {
    /// Name in its directory; empty for the root.
    pub name: Vec<u8>,
    /// Directories above it.
    pub depth: usize,
    /// Everything but type and content.
    pub metadata: Metadata,
    /// Type and content.
    pub content: Content,
}

/// Type and content of a node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Content {
    /// A regular file.
    File {
        /// Bytes.
        size: u64,
        /// Where they begin in the stream. Encoders do not look at it.
        offset: u64,
    },
    /// A directory, whose entries follow.
    Directory,
    /// A symbolic link.
    Symlink {
        /// Its text.
        target: Vec<u8>,
    },
    /// A block device.
    Block {
        /// Major and minor number.
        device: (u32, u32),
    },
    /// A character device.
    Character {
        /// Major and minor number.
        device: (u32, u32),
    },
    /// A named pipe.
    Fifo,
    /// A socket.
    Socket,
}

/// Everything about a node but its name, type and content.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Metadata {
    /// The twelve permission bits.
    pub permissions: u32,
    /// Attributes of chattr, FAT and btrfs, as the flags of the same name.
    pub attributes: Flags,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Last modification in nanoseconds since 1970.
    pub mtime: u64,
    /// Owner by name; none for root.
    pub user: Option<Vec<u8>>,
    /// Group by name; none for root.
    pub group: Option<Vec<u8>>,
    /// Extended attributes, sorted by name, each name once.
    pub xattrs: Vec<Xattr>,
    /// Access control list.
    pub acl: Acl,
    /// Access control list of new entries; directories only.
    pub default_acl: Option<DefaultAcl>,
    /// `SELinux` label.
    pub selinux: Option<Vec<u8>>,
    /// File capabilities, as in `security.capability`.
    pub fcaps: Option<Vec<u8>>,
    /// Project identifier of quotas, not 0.
    pub quota_projid: Option<u32>,
}

/// One extended attribute.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Xattr {
    /// Name with its namespace.
    pub name: Vec<u8>,
    /// Value.
    pub value: Vec<u8>,
}

/// An access control list beside the permission bits, whose group bits are its mask.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Acl {
    /// Named users, sorted.
    pub users: Vec<AclEntry>,
    /// Named groups, sorted.
    pub groups: Vec<AclEntry>,
    /// The owning group's bits; stored where there is a mask.
    pub group_obj: Option<u8>,
}

/// The access control list that new entries of a directory get.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DefaultAcl {
    /// The owner's bits.
    pub user_obj: u8,
    /// The group's bits.
    pub group_obj: u8,
    /// Everybody else's bits.
    pub other: u8,
    /// The mask.
    pub mask: Option<u8>,
    /// Named users, sorted.
    pub users: Vec<AclEntry>,
    /// Named groups, sorted.
    pub groups: Vec<AclEntry>,
}

/// What one user or group may do. Sorts by id, then name, then bits.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct AclEntry {
    /// User or group; 0 when numbers are not stored.
    pub id: u32,
    /// Its name.
    pub name: Option<Vec<u8>>,
    /// Read 4, write 2, execute 1.
    pub permissions: u8,
}

impl Content {
    /// The type bits of a mode.
    pub fn type_bits(&self) -> u32 {
        match self {
            Self::Fifo => 0o010_000,
            Self::Character { .. } => 0o020_000,
            Self::Directory => 0o040_000,
            Self::Block { .. } => 0o060_000,
            Self::File { .. } => 0o100_000,
            Self::Symlink { .. } => 0o120_000,
            Self::Socket => 0o140_000,
        }
    }

    /// The flag without which such a node is left out of a stream; none for files and directories.
    pub fn needs(&self) -> Flags {
        match self {
            Self::File { .. } | Self::Directory => Flags::NONE,
            Self::Symlink { .. } => Flags::SYMLINKS,
            Self::Block { .. } | Self::Character { .. } => Flags::DEVICE_NODES,
            Self::Fifo => Flags::FIFOS,
            Self::Socket => Flags::SOCKETS,
        }
    }

    /// chattr and FAT know files and directories only.
    pub(in crate::format::casync) fn has_attributes(&self) -> bool {
        matches!(self, Self::File { .. } | Self::Directory)
    }
}

impl Metadata {
    /// What remains of it in a stream with `flags`: as casync writes it, and sorted.
    #[must_use]
    pub fn seen_with(&self, flags: Flags, content: &Content) -> Self {
        let mut seen = self.clone();
        seen.permissions = self.permissions_with(flags, content);
        seen.attributes = self.attributes_with(flags, content);
        seen.mtime = flags.time_step().map_or(0, |step| self.mtime / step * step);
        if !flags.intersects(Flags::UIDS) {
            (seen.uid, seen.gid) = (0, 0);
        }
        if !flags.contains(Flags::USER_NAMES) {
            (seen.user, seen.group) = (None, None);
        }
        let link = matches!(content, Content::Symlink { .. });
        if link || !flags.contains(Flags::XATTRS) {
            seen.xattrs.clear();
        }
        if link || !flags.contains(Flags::ACL) {
            (seen.acl, seen.default_acl) = (Acl::default(), None);
        }
        if !matches!(content, Content::Directory) {
            seen.default_acl = None;
        }
        if !flags.contains(Flags::SELINUX) {
            seen.selinux = None;
        }
        if !flags.contains(Flags::FCAPS) || !matches!(content, Content::File { .. }) {
            seen.fcaps = None;
        }
        if !flags.contains(Flags::QUOTA_PROJID) {
            seen.quota_projid = None;
        }
        seen.quota_projid = seen.quota_projid.filter(|&project| project != 0);
        seen.xattrs.sort();
        let default = seen.default_acl.iter_mut().flat_map(|acl| [&mut acl.users, &mut acl.groups]);
        for list in [&mut seen.acl.users, &mut seen.acl.groups].into_iter().chain(default) {
            sort_acl(list, flags);
        }
        seen
    }

    fn permissions_with(&self, flags: Flags, content: &Content) -> u32 {
        let directory = matches!(content, Content::Directory);
        if matches!(content, Content::Symlink { .. }) {
            LINK_PERMISSIONS
        } else if flags.intersects(Flags::PERMISSIONS.with(Flags::ACL)) {
            self.permissions & 0o7777
        } else if flags.contains(Flags::READ_ONLY) && self.permissions & 0o222 == 0 {
            if directory { 0o555 } else { 0o444 }
        } else if directory {
            0o777
        } else {
            0o666
        }
    }

    fn attributes_with(&self, flags: Flags, content: &Content) -> Flags {
        let mut known = Flags::NONE;
        if content.has_attributes() {
            known = known.with(Flags::CHATTR).with(Flags::FAT_ATTRIBUTES);
        }
        if matches!(content, Content::Directory) {
            known = known.with(Flags::SUBVOLUME).with(Flags::SUBVOLUME_RO);
        }
        self.attributes.only(flags).only(known)
    }
}

fn sort_acl(list: &mut [AclEntry], flags: Flags) {
    for entry in list.iter_mut() {
        if !flags.intersects(Flags::UIDS) {
            entry.id = 0;
        }
        if !flags.contains(Flags::USER_NAMES) {
            entry.name = None;
        }
    }
    list.sort();
}
