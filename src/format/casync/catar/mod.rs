//! Archive streams, `.catar`: a tree as one sequence of bytes, the same for the same tree.
//!
//! The stream is a sequence of objects without padding: `u64` size including this header, `u64` type, body. One node is
//!
//! `ENTRY [USER] [GROUP] XATTR* ACL_USER* ACL_GROUP* [ACL_GROUP_OBJ] [ACL_DEFAULT ACL_DEFAULT_USER*
//! ACL_DEFAULT_GROUP*] [SELINUX] [FCAPS] [QUOTA_PROJID]`, then by its type `PAYLOAD` (files), `SYMLINK`,
//! `DEVICE`, nothing (pipes, sockets), or for directories `(FILENAME node)*` sorted by name and `GOODBYE`.
//!
//! | type | body |
//! |---|---|
//! | ENTRY | 6 `u64`: feature flags, mode, attributes, owner, group, time in ns |
//! | USER, GROUP, SYMLINK, FILENAME, SELINUX | text, zero |
//! | XATTR | name, zero, value |
//! | `ACL_USER`, `ACL_GROUP`, and the same of the default | `u64` id, `u64` rwx, and, if any, name, zero |
//! | `ACL_GROUP_OBJ` | `u64` rwx |
//! | `ACL_DEFAULT` | 4 `u64`: rwx of owner, group, others, mask (2^64-1 for none) |
//! | FCAPS | as in `security.capability` |
//! | `QUOTA_PROJID` | `u64` |
//! | PAYLOAD | the file |
//! | DEVICE | `u64` major, `u64` minor |
//! | GOODBYE | for each child `u64` distance back to its FILENAME, `u64` size from there, `u64` hash of its name; then `u64` distance back to the ENTRY, `u64` size of this object, `0x57446fa533702943` |
//!
//! Hard links, holes and other times than the last modification cannot be told. Source: `caformat.h`,
//! `caencoder.c` and `cadecoder.c` in systemd/casync.

mod decode;
mod encode;
mod error;
mod goodbye;
mod metadata;
mod object;
mod objects;
mod properties;

pub use decode::{Decoder, Event};
pub use encode::{EncodeError, Encoder};
pub use error::CatarError;
pub use metadata::{Acl, AclEntry, Content, DefaultAcl, Metadata, Node, Xattr};

/// Nodes above each other, the root counted: casync's own limit.
pub const DEPTH_MAX: usize = 64;

/// Entries of one directory: 24 bytes of memory each while it is read.
pub const DIRECTORY_ENTRIES_MAX: usize = 4 << 20;

/// Bytes of a file name: Linux has no longer ones (`NAME_MAX`).
pub const FILE_NAME_BYTES_MAX: usize = 255;
