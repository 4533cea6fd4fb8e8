//! Definitions as a distribution ships them: 23 extensions, 9 transfers of the system itself.

use std::fs;

use super::Host;

/// Extensions of an image-based desktop, each behind a feature of its own.
const EXTENSIONS: [&str; 23] = [
    "1password-cli",
    "azurevpn",
    "bitwarden",
    "chromium",
    "cockpit",
    "code",
    "debdev",
    "dev",
    "docker",
    "edge",
    "fonts",
    "himmelblau",
    "incus",
    "k3s",
    "nix",
    "obsidian",
    "podman",
    "ssh",
    "tailscale",
    "telemetry",
    "vault",
    "vscode",
    "zed",
];

/// Transfers of the system: partitions, the boot file system, counters of boot attempts.
const SYSTEM: [(&str, &str); 9] = [
    (
        "10-root-verity-sig",
        "Type=partition\nPath=auto\nMatchPattern=os_@v_s\nMatchPartitionType=root-verity-sig\n",
    ),
    (
        "11-root-verity",
        "Type=partition\nPath=auto\nMatchPattern=os_@v_v\nMatchPartitionType=root-verity\n",
    ),
    (
        "12-root",
        "Type=partition\nPath=auto\nMatchPattern=os_@v\nMatchPartitionType=root\nReadOnly=1\n",
    ),
    ("13-usr", "Type=partition\nPath=auto\nMatchPattern=os_@v_u\nMatchPartitionType=usr\n"),
    (
        "14-usr-verity",
        "Type=partition\nPath=auto\nMatchPattern=os_@v_w\nMatchPartitionType=usr-verity\n",
    ),
    ("15-swap", "Type=partition\nPath=/dev/disk/by-label/swap\nMatchPattern=os_@v_x\n"),
    (
        "20-uki",
        "Type=regular-file\nPath=/EFI/Linux\nPathRelativeTo=boot\nMatchPattern=os_@v+@l-@d.efi \\\n   os_@v+@l.efi \\\n   \
         os_@v.efi\nMode=0444\nTriesLeft=3\nTriesDone=0\nInstancesMax=2\n",
    ),
    (
        "21-loader",
        "Type=regular-file\nPath=/loader/entries\nPathRelativeTo=esp\nMatchPattern=os_@v.conf\n",
    ),
    (
        "22-addons",
        "Type=regular-file\nPath=/loader/addons\nPathRelativeTo=xbootldr\nMatchPattern=os_@v.addon.efi\n",
    ),
];

fn ship(host: &Host) {
    let directory = host.world.path("usr/lib/sysupdate.d");
    fs::create_dir_all(&directory).unwrap();
    let source = host.source().display().to_string();
    for name in EXTENSIONS {
        let patterns = [".raw.zst", ".raw.xz", ".raw.gz", ".raw"];
        let patterns =
            patterns.map(|ending| format!("{name}_@v_%w_%a{ending}")).join(" \\\n             ");
        let text = format!(
            "[Transfer]\nFeatures={name}\nVerify=false\nInstancesMax=2\n\n[Source]\nType=url-file\n\
             Path=file://{source}/\nMatchPattern={patterns}\n\n[Target]\nType=regular-file\n\
             Path=/var/lib/extensions.d/\nMatchPattern={patterns}\nCurrentSymlink={name}.raw\nMode=0644\n"
        );
        let text = text.replacen("[Target]", "[Target]\nInstancesMax=2", 1);
        fs::write(directory.join(format!("{name}.transfer")), text).unwrap();
        let feature = format!("[Feature]\nDescription={name}\nEnabled=true\nX-Products=desktop\n");
        fs::write(directory.join(format!("{name}.feature")), feature).unwrap();
    }
    for (name, target) in SYSTEM {
        let text = format!(
            "[Transfer]\nProtectVersion=%A\nVerify=false\n[Source]\nType=url-file\nPath=file://{source}/\n\
             MatchPattern={name}_@v.img.xz\n[Target]\n{target}"
        );
        fs::write(directory.join(format!("{name}.transfer")), text).unwrap();
    }
}

#[test]
fn shipped_extensions_are_carried_out_and_the_system_is_left_alone() {
    let mut host = Host::new();
    ship(&host);
    let packed = zstd::encode_all(super::image("one").as_slice(), 1).unwrap();
    let arch = if cfg!(target_arch = "aarch64") { "arm64" } else { "x86-64" };
    for name in EXTENSIONS {
        // A host without os-release judges no image, and `%w` is nothing there.
        fs::write(host.source().join(format!("{name}_1.0__{arch}.raw.zst")), &packed).unwrap();
    }
    for (name, _) in SYSTEM {
        fs::write(host.source().join(format!("{name}_1.0.img.xz")), "x").unwrap();
    }
    host.list();
    host.world.wish("desired", "sysupdate: { as: updex }\n");
    let plan = host.world.run(&["--dry-run", "-o", "json"]).json();
    let notes = plan["spec"]["notes"].as_array().unwrap();
    for (name, target) in SYSTEM {
        let start = format!("/usr/lib/sysupdate.d/{name}.transfer is left alone: ");
        let note = notes.iter().find_map(|note| note.as_str()?.strip_prefix(&start));
        let note = note.unwrap_or_else(|| panic!("{name}: {notes:#?}"));
        let relative = target.lines().find(|line| line.starts_with("PathRelativeTo="));
        let why = relative.unwrap_or("[Target] Type=partition writes partitions");
        assert!(note.contains(why), "{name}: {note}");
    }
    assert_eq!(plan["spec"]["changes"].as_array().unwrap().len(), EXTENSIONS.len(), "{plan:#}");
    let ran = host.pass();
    assert_eq!(ran.code, 0, "{ran:#?}");
    assert_eq!(host.merged().lines().count(), EXTENSIONS.len());
    host.is_settled();
}
