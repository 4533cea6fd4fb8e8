//! One place of a host, whatever it is called.

/// A place: the same for all names of it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Spot {
    /// Device number of the nearest directory above it that exists.
    pub device: u64,
    /// Inode of that directory.
    pub inode: u64,
    /// What of the path is below it: text, since paths take long to compare.
    pub rest: String,
}
