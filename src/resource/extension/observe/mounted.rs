//! Images that the kernel has open: what is merged, whatever links lead to by now.

use std::io;

use camino::Utf8PathBuf;

use crate::host::Look;

/// Where the kernel tells of block devices.
const DEVICES: &str = "/sys/block";

/// The longest path that Linux knows.
const PATH_BYTES_MAX: u64 = 4096;

/// What the kernel says of the files of its loop devices. Of a file that was opened in another mount namespace, as
/// systemd does, it tells only what is below the mount point: the end of the path.
pub(super) fn mounted(host: &Look) -> io::Result<Vec<Utf8PathBuf>> {
    let mut files = Vec::new();
    for device in host.list(DEVICES)?.unwrap_or_default() {
        if !device.name.starts_with("loop") {
            continue;
        }
        let said = format!("{DEVICES}/{}/loop/backing_file", device.name);
        let text = host.read(&said, PATH_BYTES_MAX)?.unwrap_or_default();
        let text = String::from_utf8_lossy(&text);
        let end = text.trim_matches(['/', '\n']);
        if !end.is_empty() {
            files.push(end.into());
        }
    }
    Ok(files)
}
