//! A way back that fails: told by its own exit code and state, and mended once nothing is in the way.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

use crate::support::tree;
use crate::support::world::World;

/// A host on 1.0.0 of a program whose 1.1.0 fails its check; the check does something first.
struct Host {
    world: World,
}

impl Host {
    fn new(layout: &str, program: &str) -> Self {
        let mut world = World::new();
        let check = world.temp().join("check");
        // What the check does while 1.1.0 is in use is written later.
        let script = format!(
            "#!/bin/sh\n{0} | grep -q 1.0.0 && exit 0\n{0} | grep -q 1.1.0 && . {1}\nexit 1\n",
            world.path(program).display(),
            world.temp().join("sabotage").display()
        );
        tree::write(&check, script.as_bytes());
        fs::set_permissions(&check, fs::Permissions::from_mode(0o755)).unwrap();
        tree::write(&world.temp().join("sabotage"), b"");
        let wish = format!(
            "apps:\n  tool:\n    source: {{ file: {} }}\n{layout}    health:\n      exec: [{}]\n      \
             interval: 100ms\n      stable: 100ms\n      deadline: 300ms\n",
            world.temp().join("repository").display(),
            check.display()
        );
        world.wish("desired", &wish);
        world.options = vec!["--effects".to_owned(), "run".to_owned()];
        let host = Self { world };
        host.publish("1.0.0");
        host.world.run(&[]).exits(0);
        host.publish("1.1.0");
        host
    }

    fn publish(&self, version: &str) {
        let built = self.world.temp().join("built").join(version);
        tree::write(&built.join("tool"), format!("#!/bin/sh\necho tool {version}\n").as_bytes());
        let (built, to) = (built.display().to_string(), self.world.temp().join("repository"));
        let to = to.display().to_string();
        self.world.run(&["publish", "release", &built, "--to", &to]).exits(0);
    }

    /// What happens while 1.1.0 is looked at.
    fn sabotage(&self, script: &str) {
        let root = self.world.root();
        let script = script.replace("$R", root.to_str().unwrap());
        tree::write(&self.world.temp().join("sabotage"), script.as_bytes());
    }

    /// A pass that switches and cannot go back: what it says, and what its status is then.
    #[track_caller]
    fn stuck(&mut self) -> String {
        self.world.tick();
        let ran = self.world.run(&[]).exits(7);
        assert!(ran.stdout.contains("going back failed"), "{ran:#?}");
        let status = self.world.run(&["status", "-o", "json"]).json();
        let ready = status["resources"][0]["conditions"].as_array().unwrap().iter();
        let ready = ready.clone().find(|condition| condition["type"] == "Ready").unwrap();
        assert_eq!(ready["reason"], "RollbackFailed", "{status:#}");
        assert_eq!(status["resources"][0]["state"], "Inconsistent", "{status:#}");
        let history = self.world.run(&["history"]).exits(0).stdout;
        assert!(history.contains("rollback-failed"), "{history}");
        ran.stdout
    }

    /// Passes until nothing more is to be done: 1.0.0 is in use and 1.1.0 is not tried again.
    #[track_caller]
    fn mends(&mut self, program: &str) {
        self.sabotage("");
        let mut codes = Vec::new();
        for _ in 0..3 {
            self.world.tick();
            codes.push(self.world.run(&[]).code);
        }
        assert_eq!(codes.last(), Some(&3), "{codes:?}: {:?}", self.world.run(&["--dry-run"]));
        let text = fs::read_to_string(self.world.path(program)).unwrap();
        assert!(text.contains("1.0.0"), "{text}");
        let dry = self.world.run(&["--dry-run"]).stdout;
        assert!(dry.contains("quarantined; staying on 1.0.0"), "{dry}");
        let status = self.world.run(&["status"]).stdout;
        assert!(!status.contains("RollbackFailed"), "{status}");
    }
}

const FILE: &str = "usr/local/bin/tool";
const LINK: &str = "opt/tool/bin/tool";

#[test]
fn file_that_became_a_directory_keeps_the_way_back_from_being_gone() {
    let mut host = Host::new("    layout: { file: /usr/local/bin/tool }\n", FILE);
    host.sabotage("rm $R/usr/local/bin/tool; mkdir $R/usr/local/bin/tool");
    let said = host.stuck();
    assert!(said.contains("usr/local/bin/tool is a directory"), "{said}");
    fs::remove_dir(host.world.path(FILE)).unwrap();
    host.mends(FILE);
}

#[test]
fn file_whose_release_before_is_gone_stays_and_is_gone_back_from_later() {
    let mut host = Host::new("    layout: { file: /usr/local/bin/tool }\n", FILE);
    host.sabotage("rm -rf $R/opt/tool/releases/1.0.0");
    host.stuck();
    // Something that starts is there all the same.
    let text = fs::read_to_string(host.world.path(FILE)).unwrap();
    assert!(text.contains("1.1.0"), "{text}");
    host.mends(FILE);
}

#[test]
fn links_whose_release_before_is_gone_stay_and_are_gone_back_from_later() {
    let mut host = Host::new("", LINK);
    host.sabotage("rm -rf $R/opt/tool/releases/1.0.0");
    host.stuck();
    let text = fs::read_to_string(host.world.path(LINK)).unwrap();
    assert!(text.contains("1.1.0"), "{text}");
    host.mends(LINK);
}

#[test]
fn links_whose_directory_became_a_file_are_there_again_once_that_is_moved_away() {
    let mut host = Host::new("", LINK);
    host.sabotage("mv $R/opt/tool/bin $R/opt/tool/bin.away; echo mine > $R/opt/tool/bin");
    host.stuck();
    let bin: PathBuf = host.world.path("opt/tool/bin");
    assert_eq!(fs::read_to_string(&bin).unwrap(), "mine\n", "what somebody put there stays");
    fs::remove_file(&bin).unwrap();
    host.mends(LINK);
}

#[test]
fn way_back_that_something_is_in_is_gone_by_the_pass_after_it_was_moved_away() {
    let mut host = Host::new("    layout: { file: /usr/local/bin/tool }\n", FILE);
    host.sabotage("mkdir -p $R/usr/local/bin/.tool.reconcile-new");
    let repository = host.world.temp().join("repository");
    // Nothing else is offered that could be gone to.
    fs::remove_dir_all(repository.join("1.0.0")).unwrap();
    let said = host.stuck();
    assert!(said.contains("rollback app/tool` does it at once"), "{said}");
    let dry = host.world.run(&["--dry-run"]).stdout;
    assert!(dry.contains("rollback app/tool"), "what helps is named: {dry}");
    // As long as it is in the way, each pass tries and says so.
    host.stuck();
    host.sabotage("");
    fs::remove_dir(host.world.path("usr/local/bin/.tool.reconcile-new")).unwrap();
    host.world.tick();
    let said = host.world.run(&[]).exits(6).stdout;
    assert!(said.contains("1.0.0 is in use again"), "{said}");
    host.mends(FILE);
}

#[test]
fn release_that_an_operator_went_back_to_and_that_fails_is_not_tried_by_every_pass() {
    let mut host = Host::new("    layout: { file: /usr/local/bin/tool }\n", FILE);
    host.world.tick();
    host.world.run(&[]).exits(6);
    let in_use = |host: &Host| fs::read_to_string(host.world.path(FILE)).unwrap();
    for _ in 0..2 {
        host.world.tick();
        let back = ["rollback", "app/tool", "--to", "1.1.0", "--reason", "once more"];
        host.world.run(&back).exits(6);
        assert!(in_use(&host).contains("1.0.0"));
        for _ in 0..2 {
            host.world.tick();
            let said = host.world.run(&[]).exits(3).stdout;
            assert!(said.contains("rollback app/tool` insists"), "{said}");
            assert!(in_use(&host).contains("1.0.0"));
        }
    }
    host.world.run(&["resume", "app/tool"]).exits(0);
    host.mends(FILE);
}
