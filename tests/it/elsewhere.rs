//! Plans made on one machine for a host that is another one.

use std::fs;
use std::path::Path;
use std::process::Command;

/// A host, and a desired state beside it.
struct World {
    home: tempfile::TempDir,
}

/// Where a command runs.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    Host,
    Elsewhere,
}

impl World {
    fn new() -> Self {
        let world = Self { home: tempfile::tempdir().unwrap() };
        fs::create_dir_all(world.home.path().join("root/etc/reconcile")).unwrap();
        fs::write(world.home.path().join("root/etc/hostname"), "web-03\n").unwrap();
        fs::write(world.home.path().join("root/etc/reconcile/labels"), "role=web\n").unwrap();
        world.wish("0.3.0");
        world
    }

    fn wish(&self, version: &str) {
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/repository");
        let text = format!(
            "apps:\n  weather:\n    version: {version}\n    match: {{ labels: {{ role: web }} }}\n    source: {{ \
             file: {{ path: {0}, pattern: \"weather-{{version}}.gz\" }} }}\n  clock:\n    version: 1.0.0\n    \
             match: {{ hostname: web-* }}\n    layout: {{ file: /usr/local/bin/clock }}\n    source: {{ file: {{ path: \
             {0}, pattern: \"clock-{{version}}.gz\" }} }}\n",
            source.display()
        );
        fs::write(self.home.path().join("desired.yaml"), text).unwrap();
    }

    #[track_caller]
    fn run(&self, place: Place, more: &[&str], code: i32) -> String {
        let mut command = Command::new(env!("CARGO_BIN_EXE_reconcile"));
        if place == Place::Host {
            command.arg("--root").arg(self.home.path().join("root"));
        }
        command.arg("--desired").arg(self.home.path().join("desired.yaml")).args(more);
        let output = command.output().unwrap();
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(code), "{text}{said}");
        text + &said
    }

    fn facts(&self) -> String {
        let file = self.home.path().join("web-03.json");
        fs::write(&file, self.run(Place::Host, &["status", "--export"], 0)).unwrap();
        file.to_str().unwrap().to_owned()
    }
}

/// The changes of a plan document, without what only says who made it.
fn changes(text: &str) -> serde_json::Value {
    let plan: serde_json::Value = serde_json::from_str(text).unwrap();
    plan["spec"]["changes"].clone()
}

#[test]
fn host_known_by_name_only_is_planned_for_as_an_empty_one() {
    let world = World::new();
    let text = world.run(Place::Elsewhere, &["--dry-run", "--host", "web-99"], 0);
    assert!(text.contains("install 1.0.0") && !text.contains("weather"), "{text}");
    let markdown = world.run(Place::Elsewhere, &["plan", "--host", "web-99", "-o", "markdown"], 0);
    assert!(markdown.contains("plan for `web-99`") && markdown.contains("app/clock"), "{markdown}");
    let nothing = world.run(Place::Elsewhere, &["--dry-run", "--host", "db-01"], 3);
    assert!(nothing.contains("nothing in the desired state is for db-01"), "{nothing}");
}

#[test]
fn exported_host_is_planned_for_as_it_would_plan_itself() {
    let world = World::new();
    world.run(Place::Host, &[], 0);
    let unchanged = world.facts();
    let text =
        world.run(Place::Elsewhere, &["--dry-run", "--host", "web-03", "--facts", &unchanged], 0);
    assert!(text.contains("No changes"), "{text}");
    // Something was damaged, something is wished anew. What is cached there is not known here.
    fs::remove_dir_all(world.home.path().join("root/var/cache")).unwrap();
    let program = world.home.path().join("root/opt/weather/releases/0.3.0/weather");
    fs::write(&program, "damaged").unwrap();
    let damaged = world.facts();
    let plan = ["plan", "-o", "json"];
    let elsewhere = ["plan", "-o", "json", "--facts", &damaged];
    let here = changes(&world.run(Place::Host, &plan, 0));
    assert_eq!(changes(&world.run(Place::Elsewhere, &elsewhere, 0)), here);
    assert_eq!(here.as_array().unwrap().len(), 1);
    world.wish("0.9.2");
    let here = changes(&world.run(Place::Host, &plan, 0));
    assert_eq!(changes(&world.run(Place::Elsewhere, &elsewhere, 0)), here);
    assert_eq!(here[0]["after"]["version"], "0.9.2");
}

#[test]
fn exports_that_do_not_fit_are_refused() {
    let world = World::new();
    world.run(Place::Host, &[], 0);
    let facts = world.facts();
    let other =
        world.run(Place::Elsewhere, &["--dry-run", "--host", "db-01", "--facts", &facts], 64);
    assert!(other.contains("was exported by web-03"), "{other}");
    fs::write(&facts, "{}").unwrap();
    world.run(Place::Elsewhere, &["--dry-run", "--facts", &facts], 64);
    let saved = (&["plan", "--out", "f", "--host", "x"][..], "leave out --out");
    let previews = "preview another host";
    for (command, says) in
        [(&["--host", "x"][..], previews), (&["status", "--host", "x"], previews), saved]
    {
        let text = world.run(Place::Elsewhere, command, 64);
        assert!(text.contains(says), "{text}");
    }
}
