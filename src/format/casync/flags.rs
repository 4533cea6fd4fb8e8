//! Feature flags: which properties of files a stream holds, and which digest names its chunks.
//!
//! A `u64` at byte 16 of every index and of every ENTRY of an archive. Low bits name properties,
//! bits 60 to 63 name how the stream was made. Source: `caformat.h` and the rules of
//! `ca_feature_flags_normalize` in systemd/casync.

use std::fmt;

use super::chunk::DigestKind;

/// Every property and its name, in casync's order: bit `n` is the `n`th.
const PROPERTIES: [&str; 33] = [
    "16bit-uids",
    "32bit-uids",
    "user-names",
    "sec-time",
    "usec-time",
    "nsec-time",
    "2sec-time",
    "read-only",
    "permissions",
    "symlinks",
    "device-nodes",
    "fifos",
    "sockets",
    "flag-hidden",
    "flag-system",
    "flag-archive",
    "flag-append",
    "flag-noatime",
    "flag-compr",
    "flag-nocow",
    "flag-nodump",
    "flag-dirsync",
    "flag-immutable",
    "flag-sync",
    "flag-nocomp",
    "flag-projinherit",
    "subvolume",
    "subvolume-ro",
    "xattrs",
    "acl",
    "selinux",
    "fcaps",
    "quota-projid",
];

/// Bits 60 to 63. casync has no names for them on its command line.
const MANNERS: [(u64, &str); 4] = [
    (Flags::EXCLUDE_FILE.0, "exclude-file"),
    (Flags::SHA512_256.0, "sha512-256"),
    (Flags::EXCLUDE_SUBMOUNTS.0, "exclude-submounts"),
    (Flags::EXCLUDE_NODUMP.0, "exclude-nodump"),
];

/// A set of feature flags in which every bit is known.
#[derive(Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct Flags(u64);

/// Why a number is no set of feature flags.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FlagsError {
    /// Bits that casync 2 does not define.
    #[error("feature flags {flags:#018x} have the unknown bits {unknown:#x}: a newer format")]
    Unknown {
        /// The flags as read.
        flags: u64,
        /// Those that are not known.
        unknown: u64,
    },
    /// Bits that contradict each other or say the same twice.
    #[error("feature flags {flags} are redundant, {normalised} says the same")]
    NotNormalised {
        /// The flags as read.
        flags: Flags,
        /// The same in normal form.
        normalised: Flags,
    },
}

impl Flags {
    /// Numeric owners up to 65535.
    pub const UIDS_16BIT: Self = Self(0x1);
    /// Numeric owners.
    pub const UIDS_32BIT: Self = Self(0x2);
    /// Owners by name.
    pub const USER_NAMES: Self = Self(0x4);
    /// Modification times in seconds.
    pub const SEC_TIME: Self = Self(0x8);
    /// Modification times in microseconds.
    pub const USEC_TIME: Self = Self(0x10);
    /// Modification times in nanoseconds.
    pub const NSEC_TIME: Self = Self(0x20);
    /// Modification times in steps of two seconds, as FAT has them.
    pub const TWO_SEC_TIME: Self = Self(0x40);
    /// Whether a file may be written by anybody.
    pub const READ_ONLY: Self = Self(0x80);
    /// The twelve permission bits.
    pub const PERMISSIONS: Self = Self(0x100);
    /// Symbolic links.
    pub const SYMLINKS: Self = Self(0x200);
    /// Block and character devices.
    pub const DEVICE_NODES: Self = Self(0x400);
    /// Named pipes.
    pub const FIFOS: Self = Self(0x800);
    /// Sockets.
    pub const SOCKETS: Self = Self(0x1000);
    /// FAT's hidden attribute.
    pub const HIDDEN: Self = Self(0x2000);
    /// FAT's system attribute.
    pub const SYSTEM: Self = Self(0x4000);
    /// FAT's archive attribute.
    pub const ARCHIVE: Self = Self(0x8000);
    /// `chattr +a`.
    pub const APPEND: Self = Self(0x1_0000);
    /// `chattr +d`.
    pub const NODUMP: Self = Self(0x10_0000);
    /// `chattr +i`.
    pub const IMMUTABLE: Self = Self(0x40_0000);
    /// All attributes of chattr.
    pub const CHATTR: Self = Self(0x3ff_0000);
    /// All attributes of FAT.
    pub const FAT_ATTRIBUTES: Self = Self(0xe000);
    /// Directories that are btrfs subvolumes.
    pub const SUBVOLUME: Self = Self(0x400_0000);
    /// Subvolumes that cannot be written.
    pub const SUBVOLUME_RO: Self = Self(0x800_0000);
    /// Extended attributes.
    pub const XATTRS: Self = Self(0x1000_0000);
    /// POSIX access control lists.
    pub const ACL: Self = Self(0x2000_0000);
    /// `SELinux` labels.
    pub const SELINUX: Self = Self(0x4000_0000);
    /// File capabilities.
    pub const FCAPS: Self = Self(0x8000_0000);
    /// Project identifiers of quotas.
    pub const QUOTA_PROJID: Self = Self(0x1_0000_0000);
    /// `.caexclude` files were honoured.
    pub const EXCLUDE_FILE: Self = Self(1 << 60);
    /// Digests are SHA-512/256, not SHA-256.
    pub const SHA512_256: Self = Self(1 << 61);
    /// Other file systems were left out.
    pub const EXCLUDE_SUBMOUNTS: Self = Self(1 << 62);
    /// Files with `chattr +d` were left out.
    pub const EXCLUDE_NODUMP: Self = Self(1 << 63);
    /// No property: types, names and contents only.
    pub const NONE: Self = Self(0);
    /// `--with=unix`: the conservative properties of UNIX.
    pub const UNIX: Self = Self(0x1f09);
    /// `--with=best`: all a Linux file system can hold.
    pub const BEST: Self = Self(0x1_ffff_fe26);
    /// What casync uses unless told otherwise.
    pub const DEFAULT: Self = Self(0xb000_0001_ffef_fe26);
    /// What casync-updater publishes: two-second times and nothing else.
    pub const UPDATER: Self = Self(0xb000_0000_0000_0040);
    /// Numeric owners of either width.
    pub const UIDS: Self = Self(0x3);

    const KNOWN: u64 = ((1 << PROPERTIES.len()) - 1) | (0xf << 60);

    /// Flags from their number; refuses bits nobody defined.
    pub fn from_bits(flags: u64) -> Result<Self, FlagsError> {
        match flags & !Self::KNOWN {
            0 => Ok(Self(flags)),
            unknown => Err(FlagsError::Unknown { flags, unknown }),
        }
    }

    /// Flags from their number as they stand in a file: known, and in normal form as casync demands.
    pub fn from_file(flags: u64) -> Result<Self, FlagsError> {
        let flags = Self::from_bits(flags)?;
        let normalised = flags.normalised();
        if flags == normalised {
            Ok(flags)
        } else {
            Err(FlagsError::NotNormalised { flags, normalised })
        }
    }

    /// The flag of a property by casync's name for it, such as `sec-time`, or of a usual group of
    /// them: `best`, `unix`, `chattr`, `fat-attrs`.
    pub fn from_name(name: &str) -> Option<Self> {
        match name {
            "best" => Some(Self::BEST),
            "unix" => Some(Self::UNIX),
            "chattr" => Some(Self::CHATTR),
            "fat-attrs" => Some(Self::FAT_ATTRIBUTES),
            _ => {
                let manner = MANNERS.iter().find(|(_, known)| *known == name);
                let bit = PROPERTIES.iter().position(|known| *known == name);
                manner.map(|(flag, _)| Self(*flag)).or_else(|| bit.map(|bit| Self(1 << bit)))
            }
        }
    }

    /// The number.
    pub fn bits(self) -> u64 {
        self.0
    }

    /// The names of all flags that are set, in order of their bits.
    pub fn names(self) -> impl Iterator<Item = &'static str> {
        let properties = PROPERTIES.iter().enumerate();
        let properties = properties.filter(move |(bit, _)| self.0 >> bit & 1 == 1);
        let manners = MANNERS.iter().filter(move |(flag, _)| self.0 & flag != 0);
        properties.map(|(_, name)| *name).chain(manners.map(|(_, name)| *name))
    }

    /// Whether all of `other` are set.
    pub fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// Whether any of `other` is set.
    pub fn intersects(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }

    /// Those of either set.
    #[must_use]
    pub fn with(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Those not in the other set.
    #[must_use]
    pub fn without(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }

    /// Those in both sets.
    #[must_use]
    pub fn only(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }

    /// The same meaning in the fewest bits: what is implied by a finer flag is dropped, what a flag
    /// needs is added.
    #[must_use]
    pub fn normalised(self) -> Self {
        let mut flags = self;
        if flags.contains(Self::ACL) && !flags.intersects(Self::UIDS.with(Self::USER_NAMES)) {
            flags = flags.with(Self::UIDS_32BIT).with(Self::USER_NAMES);
        }
        if flags.contains(Self::SUBVOLUME_RO) {
            flags = flags.with(Self::SUBVOLUME);
        }
        let coarse = Self::SEC_TIME.with(Self::TWO_SEC_TIME);
        for (finer, implied) in [
            (Self::UIDS_32BIT, Self::UIDS_16BIT),
            (Self::NSEC_TIME, coarse.with(Self::USEC_TIME)),
            (Self::USEC_TIME, coarse),
            (Self::SEC_TIME, Self::TWO_SEC_TIME),
            (Self::ACL, Self::PERMISSIONS.with(Self::READ_ONLY)),
            (Self::PERMISSIONS, Self::READ_ONLY),
            (Self::EXCLUDE_NODUMP, Self::NODUMP),
        ] {
            if flags.contains(finer) {
                flags = flags.without(implied);
            }
        }
        flags
    }

    /// The step of modification times in nanoseconds; none when times are not stored.
    pub fn time_step(self) -> Option<u64> {
        let steps = [
            (Self::NSEC_TIME, 1),
            (Self::USEC_TIME, 1_000),
            (Self::SEC_TIME, 1_000_000_000),
            (Self::TWO_SEC_TIME, 2_000_000_000),
        ];
        steps.into_iter().find(|(flag, _)| self.contains(*flag)).map(|(_, step)| step)
    }

    /// The digest that names chunks and sums up the stream.
    pub fn digest(self) -> DigestKind {
        if self.contains(Self::SHA512_256) { DigestKind::Sha512_256 } else { DigestKind::Sha256 }
    }
}

impl fmt::Display for Flags {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<&str> = self.names().collect();
        if names.is_empty() { f.write_str("none") } else { f.write_str(&names.join(" ")) }
    }
}

impl fmt::Debug for Flags {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Flags({:#018x})", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_flag_seen_in_practice_is_in_normal_form() {
        for flags in [
            0xb000_0001_ffef_fe26,
            0xb000_0000_0000_1f09,
            0xb000_0000_0000_0000,
            0xb000_0000_1000_1f22,
            0xa000_0000_0000_1f22,
            0xa000_0000_ffef_fe26,
            0xb000_0000_0000_0040,
        ] {
            assert_eq!(Flags::from_file(flags).map(Flags::bits), Ok(flags));
        }
    }

    #[test]
    fn normal_form_drops_what_a_finer_flag_implies() {
        let all = Flags(Flags::KNOWN).normalised();
        assert_eq!(all, Flags::DEFAULT.with(Flags::EXCLUDE_SUBMOUNTS));
        assert_eq!(all.normalised(), all);
        assert_eq!(Flags::ACL.normalised(), Flags(0x2000_0006));
        assert!(matches!(Flags::from_file(0x18), Err(FlagsError::NotNormalised { .. })));
    }

    #[test]
    fn unknown_bits_are_named() {
        let error = Flags::from_bits(1 << 33 | 8).expect_err("bit 33 has no meaning");
        assert_eq!(error, FlagsError::Unknown { flags: 1 << 33 | 8, unknown: 1 << 33 });
    }

    #[test]
    fn every_name_means_its_flag() {
        for name in Flags(Flags::KNOWN).names() {
            let flag = Flags::from_name(name).expect("a listed name is known");
            assert_eq!(flag.names().collect::<Vec<_>>(), [name]);
        }
        assert_eq!(Flags::from_name("sec-time"), Some(Flags::SEC_TIME));
        assert_eq!(Flags::from_name("quota-projid"), Some(Flags::QUOTA_PROJID));
    }
}
