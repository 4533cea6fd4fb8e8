//! Which part of a desired state is for a host: `match`, and the layout `common` and `hosts`.

use std::fs;
use std::path::Path;
use std::process::Command;

/// A host named `web-03` with labels, and a directory of documents.
struct World {
    root: tempfile::TempDir,
    desired: tempfile::TempDir,
}

fn app(name: &str, more: &str) -> String {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/repository");
    format!(
        "apps:\n  {name}:\n    version: 0.9.2\n{more}    source: {{ file: {{ path: {}, pattern: \
         \"weather-{{version}}.gz\" }} }}\n",
        source.display()
    )
}

impl World {
    fn new() -> Self {
        let world =
            Self { root: tempfile::tempdir().unwrap(), desired: tempfile::tempdir().unwrap() };
        let etc = world.root.path().join("etc");
        fs::create_dir_all(etc.join("reconcile")).unwrap();
        fs::write(etc.join("hostname"), "web-03\n").unwrap();
        fs::write(etc.join("machine-id"), "0123456789abcdef0123456789abcdef\n").unwrap();
        fs::write(etc.join("reconcile/labels"), "# what this is\nrole = web\ntier=prod\n").unwrap();
        world
    }

    fn write(&self, name: &str, text: &str) {
        let path = self.desired.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    #[track_caller]
    fn run(&self, more: &[&str], code: i32) -> String {
        let mut command = Command::new(env!("CARGO_BIN_EXE_reconcile"));
        command.arg("--root").arg(self.root.path()).arg("--desired").arg(self.desired.path());
        let output = command.args(more).output().unwrap();
        let text = String::from_utf8_lossy(&output.stdout).into_owned()
            + &String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(code), "{text}");
        text
    }

    /// The apps that a plan installs.
    fn wished(&self) -> Vec<String> {
        let text = self.run(&["plan", "-o", "json"], 0);
        let plan: serde_json::Value = serde_json::from_str(&text).unwrap();
        let changes = plan["spec"]["changes"].as_array().unwrap().iter();
        changes.map(|c| c["resource"].as_str().unwrap().to_owned()).collect()
    }
}

#[test]
fn resources_are_for_the_hosts_that_they_match() {
    let world = World::new();
    for (name, more, meant) in [
        ("a", "    match: { hostname: web-* }\n", true),
        ("b", "    match: { hostname: [db-*, web-03] }\n", true),
        ("c", "    match: { hostname: db-* }\n", false),
        ("d", "    match: { labels: { role: web, tier: [test, prod] } }\n", true),
        ("e", "    match: { labels: { role: db } }\n", false),
        ("f", "    match: { labels: { absent: \"*\" } }\n", false),
        ("g", "    match: { machine_id: 0123456789ABCDEF0123456789ABCDEF }\n", true),
        ("h", "    match: { arch: [aarch64], hostname: web-03 }\n", cfg!(target_arch = "aarch64")),
        ("i", "", true),
    ] {
        let document = world.desired.path().join("one.yaml");
        fs::write(&document, app("other", "") + &app(name, more).replace("apps:\n", "")).unwrap();
        let wished = world.wished();
        assert_eq!(wished.contains(&format!("app/{name}")), meant, "{more} {wished:?}");
    }
}

#[test]
fn whole_document_can_be_for_some_hosts_and_name_what_others_have_too() {
    let world = World::new();
    world.write("web.yaml", &format!("match: {{ hostname: web-* }}\n{}", app("tool", "")));
    world.write("db.yaml", &format!("match: {{ hostname: db-* }}\n{}", app("tool", "")));
    assert_eq!(world.wished(), ["app/tool"]);
    world.run(&["validate"], 0);
    world.write("more.yaml", &app("tool", ""));
    let text = world.run(&["plan"], 65);
    assert!(text.contains("declared twice"), "{text}");
}

#[test]
fn host_for_which_there_is_nothing_keeps_what_it_has() {
    let world = World::new();
    world.write("web.yaml", &app("tool", ""));
    world.run(&[], 0);
    world.write("web.yaml", &app("tool", "    match: { hostname: db-* }\n"));
    let text = world.run(&[], 3);
    assert!(text.contains("nothing in the desired state is for web-03"), "{text}");
    assert!(world.root.path().join("opt/tool/bin/weather").exists() || text.contains("is kept"));
    assert!(world.root.path().join("opt/tool/releases").exists());
    let status = world.run(&["status"], 0);
    assert!(status.contains("NoMatch"), "{status}");
    world.write(
        "web.yaml",
        &(app("tool", "    match: { hostname: db-* }\n") + &app("two", "").replace("apps:\n", "")),
    );
    world.run(&["--confirm-removals"], 0);
    assert!(!world.root.path().join("opt/tool/releases").exists());
}

#[test]
fn layout_with_a_directory_for_each_host_is_read_as_common_and_own() {
    let world = World::new();
    world.write("common/base.yaml", &app("base", ""));
    world.write("hosts/web-03/own.yaml", &app("own", ""));
    world.write("hosts/db-01/own.yaml", &app("own", "    retain: 1\n"));
    world.write("ignored.yaml", "not a wish");
    assert_eq!(world.wished(), ["app/base", "app/own"]);
    let text = world.run(&["validate"], 0);
    assert!(text.contains("db-01: 2 apps") && text.contains("web-03: 2 apps"), "{text}");
    fs::remove_dir_all(world.desired.path().join("hosts/web-03")).unwrap();
    assert_eq!(world.wished(), ["app/base"]);
    world.write("hosts/db-01/own.yaml", &app("base", ""));
    assert!(world.run(&["validate"], 65).contains("declared twice"));
}

#[test]
fn mistakes_in_a_match_are_told_at_their_place() {
    let world = World::new();
    for (more, told) in [
        ("    match: { hostname: [] }\n", "an empty list would match no host"),
        ("    match: { machine_id: abc }\n", "32 hexadecimal digits"),
        ("    match: { host: x }\n", "host"),
        ("    match: { arch: [sparc] }\n", "sparc"),
    ] {
        world.write("web.yaml", &app("tool", more));
        let text = world.run(&["plan"], 65);
        assert!(text.contains(told) && text.contains("web.yaml:4"), "{text}");
    }
    world.write("web.yaml", &app("tool", ""));
    fs::write(world.root.path().join("etc/reconcile/labels"), "role\n").unwrap();
    assert!(world.run(&["plan"], 78).contains("labels:1"));
}
