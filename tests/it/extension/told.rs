//! What people are told of definitions that are followed: in plans, in refusals, where something holds.

use std::fs;
use std::path::Path;

use super::Host;

/// A followed definition of files in a directory.
pub(super) fn define(host: &Host, (id, verify): (&str, &str), (source, end): (&Path, &str)) {
    let text = format!(
        "[Transfer]\n{verify}\n[Source]\nType=url-file\nPath=file://{}\nMatchPattern={id}_@v{end}\n[Target]\n\
         Type=regular-file\nPath=/var/lib/files\nMatchPattern={id}_@v\n",
        source.display()
    );
    let place = host.world.path("usr/lib/sysupdate.d");
    fs::create_dir_all(&place).unwrap();
    fs::write(place.join(format!("{id}.transfer")), text).unwrap();
}

pub(super) fn host() -> Host {
    let mut host = Host::new();
    host.world.wish("desired", "sysupdate: { as: sysupdate }\n");
    host
}

#[test]
fn each_file_of_a_release_is_announced_with_what_vouches_for_it() {
    let host = host();
    host.publish("alpha_1.raw", "alpha");
    host.publish("beta_1.tar.xz", "beta");
    define(&host, ("alpha", "Verify=no"), (&host.source(), ".raw"));
    define(&host, ("beta", "Verify=no"), (&host.source(), ".tar.xz"));
    for format in ["text", "markdown"] {
        let plan = host.world.run(&["--dry-run", "-o", format]).stdout;
        for name in ["alpha_1.raw", "beta_1.tar.xz"] {
            let line = format!("fetch {name} (size unknown), verified by checksum (SHA256SUMS)");
            assert!(plan.contains(&line), "{line}: {plan}");
        }
    }
}
