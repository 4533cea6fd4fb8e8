//! Why bytes are no archive stream.

use std::io;

use super::{DEPTH_MAX, DIRECTORY_ENTRIES_MAX};
use crate::format::casync::flags::{Flags, FlagsError};

/// Why a stream cannot be decoded. `at` is the offset of the object in the stream.
#[derive(Debug, thiserror::Error)]
pub enum CatarError {
    /// The bytes cannot be read.
    #[error("cannot read the archive at byte {at}")]
    Read {
        /// Bytes read before.
        at: u64,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The stream ends within a node.
    #[error("the archive is cut short at byte {at}, {expected} should follow")]
    Truncated {
        /// Where it ends.
        at: u64,
        /// What should be there.
        expected: &'static str,
    },
    /// A type that is not defined.
    #[error("byte {at} of the archive begins an unknown object of type {kind:#x}")]
    UnknownObject {
        /// Where.
        at: u64,
        /// Its type.
        kind: u64,
    },
    /// A known object where it may not be.
    #[error("byte {at} of the archive begins a {found}, {expected} should follow")]
    Unexpected {
        /// Where.
        at: u64,
        /// Its type.
        found: &'static str,
        /// What should be there.
        expected: &'static str,
    },
    /// An object with an impossible size.
    #[error("the {object} at byte {at} of the archive has an impossible size of {size}")]
    ObjectSize {
        /// Where.
        at: u64,
        /// Its type.
        object: &'static str,
        /// Bytes with the header.
        size: u64,
    },
    /// An object of a property that the flags do not name.
    #[error("the {object} at byte {at} of the archive needs the feature flag {flag}")]
    FlagMissing {
        /// Where.
        at: u64,
        /// Its type.
        object: &'static str,
        /// What is missing.
        flag: Flags,
    },
    /// Flags that are not understood.
    #[error("cannot use the flags of the ENTRY at byte {at} of the archive")]
    Flags {
        /// Where.
        at: u64,
        /// Why.
        #[source]
        source: FlagsError,
    },
    /// Flags that differ from node to node.
    #[error(
        "the ENTRY at byte {at} of the archive has the flags {found:?}, those before {first:?}"
    )]
    OtherFlags {
        /// Where.
        at: u64,
        /// Of the first node.
        first: Flags,
        /// Of this one.
        found: Flags,
    },
    /// A number that cannot be.
    #[error("the {field} of the {object} at byte {at} of the archive cannot be {value:#x}")]
    Value {
        /// Where.
        at: u64,
        /// Its type.
        object: &'static str,
        /// Which number.
        field: &'static str,
        /// The number.
        value: u64,
    },
    /// Text that is empty, not ended by a zero, or goes on behind one.
    #[error(
        "the text of the {object} at byte {at} of the archive is empty or not ended by one zero"
    )]
    Text {
        /// Where.
        at: u64,
        /// Its type.
        object: &'static str,
    },
    /// Attributes or access list entries that are not sorted, or twice there.
    #[error("the {object} at byte {at} of the archive does not sort after the one before")]
    NotSorted {
        /// Where.
        at: u64,
        /// Its type.
        object: &'static str,
    },
    /// A file name that could lead out of its directory.
    #[error("byte {at} of the archive names an entry `{}`, which no file can have", escape(.name))]
    FileName {
        /// Where.
        at: u64,
        /// The name.
        name: Vec<u8>,
    },
    /// Names out of order or twice.
    #[error(
        "the entry `{}` at byte {at} of the archive does not sort after `{}`",
        escape(.name),
        escape(.previous)
    )]
    NameOrder {
        /// Where.
        at: u64,
        /// The name.
        name: Vec<u8>,
        /// The one before.
        previous: Vec<u8>,
    },
    /// Deeper than casync goes.
    #[error("the directory at byte {at} of the archive is more than {DEPTH_MAX} levels deep")]
    TooDeep {
        /// Where.
        at: u64,
    },
    /// Too many lists or attributes on one node, or entries in one directory.
    #[error(
        "the {object} at byte {at} of the archive is one too many: \
         at most {DIRECTORY_ENTRIES_MAX} entries a directory and 8192 attributes a node"
    )]
    TooMany {
        /// Where.
        at: u64,
        /// Its type.
        object: &'static str,
    },
    /// A table that does not fit its directory.
    #[error(
        "the GOODBYE at byte {at} of the archive does not fit its directory: its {field} differs"
    )]
    Goodbye {
        /// Where.
        at: u64,
        /// What differs.
        field: &'static str,
    },
    /// More bytes after the end.
    #[error("the archive ends at byte {at}, but more follows")]
    TrailingBytes {
        /// Where it ends.
        at: u64,
    },
}

fn escape(name: &[u8]) -> impl std::fmt::Display {
    name.escape_ascii()
}
