//! Profiles: which properties of files are published.

use crate::format::casync::chunk::DigestKind;
use crate::format::casync::flags::Flags;

/// Which properties of files are published.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Profile {
    /// casync-updater's: names, contents and times in steps of two seconds; SHA-512/256.
    CasyncUpdater,
    /// Everything that casync stores by default and that can be read here: not the attributes of FAT and the
    /// project identifiers of quotas.
    #[default]
    Full,
    /// What two builds of the same sources have in common: permissions, links, pipes and capabilities, but no
    /// owners and no times.
    Reproducible,
}

impl Profile {
    /// Its feature flags with a digest; with the profile's own when not said: SHA-512/256 for casync-updater,
    /// whose clients compare with it, and SHA-256 otherwise, which processors compute several times faster.
    pub fn flags(self, digest: Option<DigestKind>) -> Flags {
        let (properties, usual) = match self {
            Self::CasyncUpdater => (Flags::TWO_SEC_TIME, DigestKind::Sha512_256),
            Self::Full => {
                let unread = Flags::FAT_ATTRIBUTES.with(Flags::QUOTA_PROJID);
                (Flags::BEST.without(unread), DigestKind::Sha256)
            }
            Self::Reproducible => {
                let kept = Flags::PERMISSIONS.with(Flags::SYMLINKS).with(Flags::FIFOS);
                (kept.with(Flags::FCAPS), DigestKind::Sha256)
            }
        };
        // As by casync, `.caexclude` files and `chattr +d` are always honoured.
        let flags = properties.with(Flags::EXCLUDE_FILE).with(Flags::EXCLUDE_NODUMP).normalised();
        match digest.unwrap_or(usual) {
            DigestKind::Sha512_256 => flags.with(Flags::SHA512_256),
            DigestKind::Sha256 => flags,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn casync_updaters_flags_are_those_it_publishes_with() {
        assert_eq!(Profile::CasyncUpdater.flags(None).bits(), 0xb000_0000_0000_0040);
        assert_eq!(Profile::Full.flags(None).bits(), 0x9000_0000_ffef_1e26);
        assert_eq!(Profile::Reproducible.flags(None).bits(), 0x9000_0000_8000_0b00);
    }

    #[test]
    fn digest_is_chosen_by_its_flag() {
        for profile in [Profile::CasyncUpdater, Profile::Full, Profile::Reproducible] {
            for digest in [DigestKind::Sha256, DigestKind::Sha512_256] {
                let flags = profile.flags(Some(digest));
                assert_eq!(flags.digest(), digest);
                assert_eq!(Flags::from_file(flags.bits()), Ok(flags));
            }
        }
    }
}
