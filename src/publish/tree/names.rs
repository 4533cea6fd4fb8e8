//! Names of users and groups, as the host's own lists have them.

use std::collections::HashMap;
use std::io::Read;
use std::path::Path;

/// Bytes of a list that are read: some hundred thousand users.
const LIST_BYTES_MAX: u64 = 16 << 20;

/// Names by number.
#[derive(Debug, Default)]
pub(super) struct Names {
    users: HashMap<u32, Vec<u8>>,
    groups: HashMap<u32, Vec<u8>>,
}

impl Names {
    /// Those in `/etc/passwd` and `/etc/group`. A number without a name is published as a number.
    pub(super) fn of_this_host() -> Self {
        let list = |path: &str| read(Path::new(path)).unwrap_or_default();
        Self { users: list("/etc/passwd"), groups: list("/etc/group") }
    }

    /// The name of a user; none for root, whom everybody knows.
    pub(super) fn user(&self, id: u32) -> Option<Vec<u8>> {
        self.users.get(&id).filter(|_| id != 0).cloned()
    }

    /// The name of a group; none for root's.
    pub(super) fn group(&self, id: u32) -> Option<Vec<u8>> {
        self.groups.get(&id).filter(|_| id != 0).cloned()
    }
}

fn read(path: &Path) -> std::io::Result<HashMap<u32, Vec<u8>>> {
    let mut text = Vec::new();
    std::fs::File::open(path)?.take(LIST_BYTES_MAX).read_to_end(&mut text)?;
    let mut names = HashMap::new();
    for line in text.split(|&byte| byte == b'\n') {
        let mut fields = line.split(|&byte| byte == b':');
        let (Some(name), Some(id)) = (fields.next(), fields.nth(1)) else { continue };
        let id = std::str::from_utf8(id).ok().and_then(|id| id.parse().ok());
        if let (Some(id), false) = (id, name.is_empty()) {
            // The first of several names counts, as in getpwuid.
            names.entry(id).or_insert_with(|| name.to_vec());
        }
    }
    Ok(names)
}
