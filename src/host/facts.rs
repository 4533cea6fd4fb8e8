//! Facts about the host that decisions may depend on.

use std::collections::BTreeMap;

use camino::{Utf8Path, Utf8PathBuf};

use crate::host::Look;
use crate::model::HostFacts;
use crate::model::facts::{Arch, Libc};
use crate::model::selection::Identity;

/// Program interpreters looked for: GNU libc and musl, on the architectures we know.
const LOADERS: [&str; 6] = [
    "/lib64/ld-linux-x86-64.so.2",
    "/lib/ld-linux-x86-64.so.2",
    "/lib/ld-linux-aarch64.so.1",
    "/lib64/ld-linux-aarch64.so.1",
    "/lib/ld-musl-x86_64.so.1",
    "/lib/ld-musl-aarch64.so.1",
];

/// Places of GNU libc itself.
const GLIBC: [&str; 6] = [
    "/lib/x86_64-linux-gnu/libc.so.6",
    "/usr/lib/x86_64-linux-gnu/libc.so.6",
    "/lib64/libc.so.6",
    "/usr/lib64/libc.so.6",
    "/lib/aarch64-linux-gnu/libc.so.6",
    "/usr/lib/libc.so.6",
];

/// Bytes of a start's name: a UUID.
const START_BYTES_MAX: usize = 64;

/// GNU libc is about 2 MiB; a debug build stays below this.
const GLIBC_BYTES_MAX: u64 = 64 << 20;

/// The cheap facts. `glibc` is left out: see [`glibc`].
pub fn observe(host: &Look) -> HostFacts {
    let loaders: Vec<String> = LOADERS
        .iter()
        .filter(|loader| host.real_followed(loader).exists())
        .map(|loader| (*loader).to_owned())
        .collect();
    let musl_only = !loaders.is_empty() && loaders.iter().all(|l| l.contains("musl"));
    HostFacts {
        hostname: hostname(host),
        arch: arch(),
        libc: if musl_only { Libc::Musl } else { Libc::Gnu },
        glibc: None,
        loaders,
        agent: None,
        started: if host.is_live() { start_of_host() } else { None },
        live: host.is_live(),
    }
}

/// The file that this program runs from, as the host names it; `None` when it is outside of the root.
pub fn executable(host: &Look) -> Option<Utf8PathBuf> {
    let real = Utf8PathBuf::from_path_buf(std::env::current_exe().ok()?).ok()?;
    let inside = real.strip_prefix(host.root()).ok()?;
    Some(Utf8Path::new("/").join(inside))
}

/// Where an operator says what a host is: lines `name=value`.
pub const LABELS: &str = "/etc/reconcile/labels";

/// Labels of a host are a handful of lines.
const LABELS_BYTES_MAX: u64 = 64 << 10;

/// What a host is chosen by. The error says what is wrong with its labels.
pub fn identity(host: &Look) -> Result<Identity, String> {
    let text = |path: &str| {
        let bytes = host.read(path, LABELS_BYTES_MAX).map_err(|error| error.to_string())?;
        Ok::<_, String>(bytes.map(|bytes| String::from_utf8_lossy(&bytes).into_owned()))
    };
    let mut labels = BTreeMap::new();
    for (index, line) in text(LABELS)?.unwrap_or_default().lines().enumerate() {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let (name, value) = line
            .split_once('=')
            .filter(|(name, _)| !name.trim().is_empty())
            .ok_or_else(|| format!("{LABELS}:{}: not `name=value`", index + 1))?;
        labels.insert(name.trim().to_owned(), value.trim().to_owned());
    }
    // Anybody may be without one: an image that has not booted, a directory.
    let machine_id = text("/etc/machine-id").ok().flatten();
    let machine_id = machine_id.map(|id| id.trim().to_owned()).filter(|id| id.len() == 32);
    Ok(Identity { hostname: hostname(host), machine_id, labels, arch: arch() })
}

/// The architecture that this program was built for.
pub fn arch() -> Arch {
    if cfg!(target_arch = "aarch64") { Arch::Aarch64 } else { Arch::X86_64 }
}

/// A name of the running system's start that no other start has.
pub fn start_of_host() -> Option<String> {
    let text = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?;
    let name = text.trim();
    (!name.is_empty() && name.len() <= START_BYTES_MAX).then(|| name.to_owned())
}

fn hostname(host: &Look) -> String {
    let named = if host.is_live() {
        Some(rustix::system::uname().nodename().to_string_lossy().into_owned())
    } else {
        let bytes = host.read("/etc/hostname", 4096).ok().flatten();
        bytes.map(|b| String::from_utf8_lossy(&b).trim().to_owned())
    };
    named.filter(|name| !name.is_empty()).unwrap_or_else(|| "localhost".to_owned())
}

/// The version of GNU libc, read from the banner inside the library itself: the file is the truth for a
/// `--root` too, and reading it costs a few milliseconds, so it is asked for only before something new
/// is staged.
pub fn glibc(host: &Look) -> Option<(u32, u32)> {
    let bytes = GLIBC.iter().find_map(|p| host.read(p, GLIBC_BYTES_MAX).ok().flatten())?;
    let banner = b"GNU C Library";
    let at = bytes.windows(banner.len()).position(|w| w == banner)?;
    let text = String::from_utf8_lossy(bytes.get(at..bytes.len().min(at + 200))?).into_owned();
    let (_, rest) = text.split_once("version ")?;
    let version: String = rest.chars().take_while(|c| c.is_ascii_digit() || *c == '.').collect();
    let mut numbers = version.split('.').map(str::parse);
    match (numbers.next(), numbers.next()) {
        (Some(Ok(major)), Some(Ok(minor))) => Some((major, minor)),
        _ => None,
    }
}

/// Where systemd's own library is, by architecture and distribution.
const SYSTEMD: [&str; 5] = [
    "/usr/lib/systemd",
    "/usr/lib/x86_64-linux-gnu/systemd",
    "/usr/lib/aarch64-linux-gnu/systemd",
    "/usr/lib64/systemd",
    "/lib/systemd",
];

/// Assumed where the version of systemd cannot be told.
pub const SYSTEMD_ASSUMED: u32 = 257;

/// The version of systemd, by the name of its shared library (`libsystemd-shared-257.so`,
/// `libsystemd-shared-252.38-1~deb12u1.so`): true for a `--root` too, and no program is asked.
pub fn systemd(host: &Look) -> Option<u32> {
    SYSTEMD.iter().find_map(|directory| {
        let items = host.list(directory).ok()??;
        items.iter().find_map(|item| {
            let rest = item.name.strip_prefix("libsystemd-shared-")?;
            let end = rest.find(|c: char| !c.is_ascii_digit())?;
            rest.get(..end)?.parse().ok()
        })
    })
}
