//! The facts of a host that specifiers in definitions stand for.

use crate::format::os_release::OsRelease;
use crate::format::sysupdate::specifier::Specifiers;
use crate::format::sysupdate::suggest;
use crate::host::{Look, facts};

/// A machine id and the like: one short line.
const LINE_BYTES_MAX: u64 = 4096;

/// The facts of the system below the root. What only a running system has is left empty for another one.
pub(super) fn specifiers(host: &Look) -> Specifiers {
    let observed = facts::observe(host);
    let release = crate::resource::extension::observe::os_release(host).unwrap_or_default();
    let machine = host.read("/etc/machine-info", LINE_BYTES_MAX).ok().flatten();
    let machine = machine.and_then(|b| OsRelease::parse(&b).ok()).unwrap_or_default();
    let of = |release: &OsRelease, key: &str| release.get(key).unwrap_or_default().to_owned();
    let line = |path: &str| {
        let bytes = host.read(path, LINE_BYTES_MAX).ok().flatten().unwrap_or_default();
        String::from_utf8_lossy(&bytes).trim().to_owned()
    };
    let running = |path: &str| if host.is_live() { line(path) } else { String::new() };
    let short = observed.hostname.split('.').next().unwrap_or_default().to_owned();
    Specifiers {
        architecture: observed.arch.in_systemd().to_owned(),
        image_version: of(&release, "IMAGE_VERSION"),
        boot_id: running("/proc/sys/kernel/random/boot_id").replace('-', ""),
        build_id: of(&release, "BUILD_ID"),
        host_name: observed.hostname,
        short_host_name: short,
        pretty_host_name: of(&machine, "PRETTY_HOSTNAME"),
        machine_id: line("/etc/machine-id"),
        image_id: of(&release, "IMAGE_ID"),
        os_id: of(&release, "ID"),
        kernel_release: running("/proc/sys/kernel/osrelease"),
        version_id: of(&release, "VERSION_ID"),
        variant_id: of(&release, "VARIANT_ID"),
        ..Specifiers::default()
    }
}

/// What decides what is proposed on a host.
pub fn suggests(host: &Look) -> suggest::Host {
    let facts = specifiers(host);
    let release = crate::resource::extension::observe::os_release(host).unwrap_or_default();
    let machine = host.read("/etc/machine-info", LINE_BYTES_MAX).ok().flatten();
    let machine = machine.and_then(|b| OsRelease::parse(&b).ok()).unwrap_or_default();
    let command_line = host.read("/proc/cmdline", LINE_BYTES_MAX).ok().flatten();
    let tags = machine.get("TAGS").unwrap_or_default().split(':');
    suggest::Host {
        architecture: facts.architecture,
        name: facts.host_name,
        machine_id: facts.machine_id,
        command_line: String::from_utf8_lossy(&command_line.unwrap_or_default()).into_owned(),
        os_release: release,
        machine_tags: tags.filter(|tag| !tag.is_empty()).map(str::to_owned).collect(),
    }
}
