//! Types of objects, and the limits on their sizes.

/// What an object is. The order is the order within one node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Object {
    Entry,
    User,
    Group,
    Xattr,
    AclUser,
    AclGroup,
    AclGroupObj,
    AclDefault,
    AclDefaultUser,
    AclDefaultGroup,
    Selinux,
    Fcaps,
    QuotaProjid,
    Payload,
    Symlink,
    Device,
    Filename,
    Goodbye,
}

/// Type number, name, and the least and most bytes of the body.
struct Row(Object, u64, &'static str, u64, u64);

/// Bytes of a list of access or of a label beside its text: names have up to 255 and a zero.
const NAME: u64 = 256;

/// Bytes of an attribute's value: the most Linux allows (`XATTR_SIZE_MAX`).
const VALUE: u64 = 64 << 10;

/// Bytes of a link's target or of a label with its zero: one page.
const PAGE: u64 = 4096;

static OBJECTS: [Row; 18] = [
    Row(Object::Entry, 0x1396_fabc_ea5b_bb51, "ENTRY", 48, 48),
    Row(Object::User, 0xf453_131a_aeea_ccb3, "USER", 2, NAME),
    Row(Object::Group, 0x25eb_6ac9_6939_6a52, "GROUP", 2, NAME),
    Row(Object::Xattr, 0xb815_7091_f80b_c486, "XATTR", 2, NAME + VALUE),
    Row(Object::AclUser, 0x297d_c88b_2ef1_2faf, "ACL_USER", 16, 16 + NAME),
    Row(Object::AclGroup, 0x36f2_acb5_6cb3_dd0b, "ACL_GROUP", 16, 16 + NAME),
    Row(Object::AclGroupObj, 0x2304_7110_441f_38f3, "ACL_GROUP_OBJ", 8, 8),
    Row(Object::AclDefault, 0xfe3e_eda6_823c_8cd0, "ACL_DEFAULT", 32, 32),
    Row(Object::AclDefaultUser, 0xbdf0_3df9_bd01_0a91, "ACL_DEFAULT_USER", 16, 16 + NAME),
    Row(Object::AclDefaultGroup, 0xa0cb_1168_782d_1f51, "ACL_DEFAULT_GROUP", 16, 16 + NAME),
    Row(Object::Selinux, 0x46fa_f060_2fd2_6c59, "SELINUX", 2, PAGE),
    Row(Object::Fcaps, 0xf726_7db0_afed_0629, "FCAPS", 0, VALUE),
    Row(Object::QuotaProjid, 0x161b_af2d_8772_a72b, "QUOTA_PROJID", 8, 8),
    Row(Object::Payload, 0x8b9e_1d93_d6dc_ffc9, "PAYLOAD", 0, u64::MAX),
    Row(Object::Symlink, 0x664a_6fb6_830e_0d6c, "SYMLINK", 2, PAGE),
    Row(Object::Device, 0xac3d_ace3_69df_e643, "DEVICE", 16, 16),
    Row(Object::Filename, 0x6dbb_6ebc_b316_1f0b, "FILENAME", 2, NAME),
    Row(Object::Goodbye, 0xdfd3_5c5e_8327_c403, "GOODBYE", 24, u64::MAX),
];

/// Bytes of an object's header.
pub(super) const HEADER_BYTES: u64 = 16;

/// Ends every table of a directory.
pub(super) const GOODBYE_MARKER: u64 = 0x5744_6fa5_3370_2943;

impl Object {
    pub(super) fn from_number(number: u64) -> Option<Self> {
        OBJECTS.iter().find(|row| row.1 == number).map(|row| row.0)
    }

    pub(super) fn number(self) -> u64 {
        self.row().map_or(0, |row| row.1)
    }

    pub(super) fn name(self) -> &'static str {
        self.row().map_or("unknown", |row| row.2)
    }

    /// Whether a body may have that many bytes.
    pub(super) fn fits(self, body: u64) -> bool {
        self.row().is_some_and(|row| (row.3..=row.4).contains(&body))
    }

    /// Whether several may follow each other in one node.
    pub(super) fn repeats(self) -> bool {
        matches!(
            self,
            Self::Xattr
                | Self::AclUser
                | Self::AclGroup
                | Self::AclDefaultUser
                | Self::AclDefaultGroup
        )
    }

    fn row(self) -> Option<&'static Row> {
        OBJECTS.iter().find(|row| row.0 == self)
    }
}
