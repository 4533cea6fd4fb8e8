//! Images and directories that systemd finds without a link, when the merge of new ones fails.

use std::fs;
use std::path::PathBuf;

use super::Host;
use super::directory::{define, publish};
use super::followed::{can_be_immutable, is_immutable, names};

fn place(host: &Host) -> PathBuf {
    host.world.path("var/lib/extensions")
}

#[test]
fn directory_that_breaks_the_merge_is_hidden_and_the_others_are_as_they_were() {
    for sealed in ["", "ReadOnly=yes\n"] {
        let mut host = Host::new();
        define(&host, sealed);
        let definition = host.world.path("usr/lib/sysupdate.d/demo.transfer");
        let text = fs::read_to_string(&definition).unwrap();
        let text = text.replace("/var/lib/extensions.d", "/var/lib/extensions");
        fs::write(&definition, text).unwrap();
        host.world.wish("desired", "sysupdate: { as: sysupdate, activate: now }\n");
        for version in ["1", "2"] {
            publish(&host, &format!("demo_{version}.tar.gz"), version);
            host.converges();
        }
        let is_sealed = !sealed.is_empty() && can_be_immutable(&place(&host));
        let sees = |host: &Host, visible: [&str; 2]| {
            assert_eq!(names(&place(host)), visible);
            assert_eq!(host.merged(), visible.map(|name| format!("{name}\n")).concat());
            for name in visible {
                assert_eq!(is_immutable(&place(host).join(name)), is_sealed, "{name}");
            }
        };
        sees(&host, ["demo_1", "demo_2"]);
        // What is kept no longer is out of sight while the new one is tried.
        publish(&host, "demo_3.tar.gz", "BREAKS");
        let said = host.pass().exits(6).stdout;
        assert!(said.contains("2 is in use again"), "{said}");
        sees(&host, ["demo_1", "demo_2"]);
        host.pass().exits(3);
        host.is_settled();
        sees(&host, ["demo_1", "demo_2"]);
        publish(&host, "demo_4.tar.gz", "mended");
        host.converges();
        sees(&host, ["demo_2", "demo_4"]);
    }
}

#[test]
fn image_that_is_switched_off_is_in_sight_again_where_everything_is_put_back() {
    let mut host = Host::new();
    let directory = host.world.path("usr/lib/sysupdate.d");
    fs::create_dir_all(&directory).unwrap();
    let source = host.source().display().to_string();
    for (name, more) in [("alpha", ""), ("beta", "Features=devel\n")] {
        let text = format!(
            "[Transfer]\nVerify=no\n{more}[Source]\nType=url-file\nPath=file://{source}\nMatchPattern={name}_@v.raw\n\
             [Target]\nType=regular-file\nPath=/var/lib/extensions\nMatchPattern={name}_@v.raw\nInstancesMax=2\n"
        );
        fs::write(directory.join(format!("{name}.transfer")), text).unwrap();
    }
    fs::write(directory.join("devel.feature"), "[Feature]\nEnabled=true\n").unwrap();
    host.world.wish("desired", "sysupdate: { as: sysupdate, activate: now }\n");
    host.publish("alpha_1.raw", "one");
    host.publish("beta_1.raw", "one");
    host.converges();
    assert_eq!(host.merged(), "alpha_1\nbeta_1\n");
    host.world.run(&["features", "disable", "devel"]).exits(0);
    host.publish("alpha_2.raw", "BREAKS");
    let said = host.pass().exits(6).stdout;
    assert_eq!(host.merged(), "alpha_1\nbeta_1\n", "{said}");
    host.pass().exits(3);
    assert_eq!(host.merged(), "alpha_1\n");
    assert_eq!(names(&place(&host)), ["alpha_1.raw"]);
    host.is_settled();
}
