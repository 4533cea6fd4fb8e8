//! What this process may use of the system.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Descriptors that are enough: a walk holds two for each level of a tree, and no path has more than some 4000.
const DESCRIPTORS: u64 = 65_536;

/// Allows as many descriptors as are needed and allowed: the usual limit is there for programs that call `select`.
pub fn raise() {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    let enough = maximum.map_or(DESCRIPTORS, |maximum| maximum.min(DESCRIPTORS));
    if current.is_some_and(|current| current < enough) {
        // With fewer a deep tree is refused, everything else goes on.
        let _ = setrlimit(Resource::Nofile, Rlimit { current: Some(enough), maximum });
    }
}
