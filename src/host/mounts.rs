//! What is mounted at and below a path.

use std::borrow::Cow;
use std::fs::File;
use std::io;

use camino::{Utf8Path, Utf8PathBuf};
use rustix::fs::{Access, CWD, OFlags, access};
use rustix::io::Errno;

use crate::host::inside::open_plain;
use crate::host::{Look, read_bounded};

/// The kernel's table of mounts as this process sees them; see `proc_pid_mountinfo(5)`.
const MOUNTS: &str = "/proc/self/mountinfo";

/// A host of ten thousand containers has some 2 MiB of them.
const MOUNTS_BYTES_MAX: u64 = 64 << 20;

impl Look {
    /// Whether what is at a path, or the nearest directory above it that is there, is on a file system that nobody can
    /// write to.
    pub fn is_read_only(&self, path: &Utf8Path) -> bool {
        let mut above = path.ancestors().map(|path| self.real_followed(path));
        let there = above.find_map(|at| match access(at.as_std_path(), Access::WRITE_OK) {
            Err(Errno::NOENT | Errno::NOTDIR) => None,
            answer => Some(answer),
        });
        there == Some(Err(Errno::ROFS))
    }

    /// Places at and below a path where something is mounted, as host paths. Nothing where the system does not
    /// tell its mounts.
    pub fn mounts_within(&self, path: &Utf8Path) -> io::Result<Vec<Utf8PathBuf>> {
        let real = self.real(path);
        // Most often no link is on the way, which takes one call to see.
        let parent = real.parent().and_then(|parent| match open_plain(CWD, parent, OFlags::PATH) {
            Ok(_) => Some(parent.components().collect()),
            Err(_) => parent.canonicalize_utf8().ok(),
        });
        let Some(place) = parent.zip(real.file_name()).map(|(parent, name)| parent.join(name))
        else {
            return Ok(Vec::new());
        };
        match File::open(MOUNTS).and_then(|table| read_bounded(table, MOUNTS_BYTES_MAX)) {
            Ok(table) => {
                let found = mount_points(&table, place.as_str()).into_iter();
                Ok(found.map(|rest| Utf8PathBuf::from(format!("{path}{rest}"))).collect())
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
            Err(error) => Err(error),
        }
    }
}

/// What comes after `place` in the fifth field of each line, in which blanks and backslashes are written as three octal
/// digits, of the mounts at and below it.
fn mount_points(table: &[u8], place: &str) -> Vec<String> {
    let lines = table.split(|&byte| byte == b'\n');
    let fields = lines.filter_map(|line| line.split(|&byte| byte == b' ').nth(4));
    let inside = fields.filter_map(|field| {
        let field = if field.contains(&b'\\') { unescape(field).into() } else { Cow::from(field) };
        let rest = field.strip_prefix(place.as_bytes())?;
        let inside = rest.is_empty() || rest.starts_with(b"/");
        inside.then(|| String::from_utf8_lossy(rest).into_owned())
    });
    let mut points: Vec<String> = inside.collect();
    points.sort();
    points.dedup();
    points
}

fn unescape(mut field: &[u8]) -> Vec<u8> {
    let mut text = Vec::with_capacity(field.len());
    while let Some((&first, rest)) = field.split_first() {
        let octal = rest.get(..3).filter(|_| first == b'\\');
        let octal = octal.and_then(|digits| std::str::from_utf8(digits).ok());
        let byte = octal.and_then(|digits| u8::from_str_radix(digits, 8).ok());
        text.push(byte.unwrap_or(first));
        field = rest.get(if byte.is_some() { 3 } else { 0 }..).unwrap_or_default();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mount_points_with_blanks_are_read() {
        let table = b"22 1 8:1 / / rw - ext4 /dev/sda rw\n\
            30 22 8:1 /a /srv/two\\040words\\134x rw master:1 - ext4 /dev/sda rw\n\
            31 22 8:1 /b /srv/two\\040words\\134x rw - ext4 /dev/sda rw\n\ngarbage";
        assert_eq!(mount_points(table, "/srv/two words\\x"), [""]);
        assert_eq!(mount_points(table, "/srv"), ["/two words\\x"]);
        assert!(mount_points(table, "/srv/two").is_empty());
        assert_eq!(unescape(b"a\\04"), b"a\\04");
    }
}
