//! Kills at every disk-changing system call while images change.
//!
//! The link leads to a whole image or there is none, always, and the next pass converges and merges.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use super::{SYSEXT, image};
use crate::crash::kill_at_every_call;
use crate::support::duo::{DRY, PASS, World, checksum_line, said};

const LINK: &str = "var/lib/extensions/demo.raw";
const HOME: &str = "var/lib/extensions.d/demo";

/// A source with these versions, and a systemd that takes notes of refreshes.
fn offer(versions: &[&str]) -> World {
    let world = World::new();
    let stub = world.path("stub/systemd-sysext");
    let noting = SYSEXT.replace("\"$R/../refreshes\"", "\"$LOG\"");
    fs::write(&stub, noting).unwrap();
    fs::set_permissions(&stub, PermissionsExt::from_mode(0o755)).unwrap();
    publish(&world, versions);
    wish(&world, "latest");
    world
}

fn publish(world: &World, versions: &[&str]) {
    let mut sums = String::new();
    for version in versions {
        let (name, bytes) = (format!("demo_{version}.raw"), image(version));
        sums.push_str(&checksum_line(&name, &bytes));
        fs::write(world.path("source").join(name), bytes).unwrap();
    }
    fs::write(world.path("source/SHA256SUMS"), sums).unwrap();
}

fn wish(world: &World, version: &str) {
    let text = format!(
        "extensions:\n  demo:\n    version: {version}\n    retain: 1\n    source: {{ sysupdate: {{ path: {}, match: \
         demo_@v.raw }} }}\n",
        world.path("source").display()
    );
    fs::write(world.path("desired/apps.yaml"), text).unwrap();
}

/// The version whose whole image the link leads to.
fn in_use(world: &World) -> Result<Option<String>, String> {
    let link = world.host(LINK);
    let Ok(text) = fs::read_link(&link) else { return Ok(None) };
    let name = text.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let version = name.strip_prefix("demo_").and_then(|n| n.strip_suffix(".raw"));
    let version = version.ok_or_else(|| format!("the link leads to {}", text.display()))?;
    let bytes = fs::read(&link).map_err(|e| format!("{}: {e}", text.display()))?;
    if bytes != image(version) {
        return Err(format!("{name} is not whole"));
    }
    Ok(Some(version.to_owned()))
}

/// What is wrong with the host after a kill and after the pass that follows.
fn check(world: &World, between: &[Option<&str>], end: Option<&str>) -> Vec<String> {
    let mut bad = Vec::new();
    match in_use(world) {
        Ok(version) if between.contains(&version.as_deref()) => {}
        found => bad.push(format!("in use is {found:?}")),
    }
    let again = world.agent(&PASS);
    if !again.status.success() {
        bad.push(format!("the next pass failed: {}", said(&again)));
    }
    if in_use(world) != Ok(end.map(str::to_owned)) {
        bad.push(format!("the next pass led to {:?}", in_use(world)));
    }
    let merged = fs::read_to_string(world.host("usr/.systemd-sysext/extensions"));
    if merged.unwrap_or_default() != end.map_or("", |_| "demo\n") || world.noted().is_empty() {
        bad.push("what is linked was not merged".to_owned());
    }
    let manifest = |version: &str| format!(".demo_{version}.raw.reconcile.json");
    let names = world.names(HOME);
    let expected = end.map(|v| [manifest(v), format!("demo_{v}.raw")].into()).unwrap_or_default();
    if names != expected {
        bad.push(format!("in the home are {names:?}"));
    }
    bad.extend(unsettled(world));
    bad
}

/// What a further pass would do, and what was left.
fn unsettled(world: &World) -> Vec<String> {
    let dry = world.agent(&DRY);
    let still = !said(&dry).lines().any(|line| line.starts_with("No changes"));
    let still = still.then(|| format!("a further pass would do something: {}", said(&dry)));
    still.into_iter().chain(world.leftovers()).collect()
}

#[test]
fn killed_first_image_ends_merged() {
    let mut world = offer(&["1.0.0"]);
    kill_at_every_call(&mut world, ("first image", &PASS, 0), |world| {
        check(world, &[None, Some("1.0.0")], Some("1.0.0"))
    });
}

#[test]
fn killed_upgrade_leaves_the_old_or_the_new_image_linked() {
    let mut world = offer(&["1.0.0"]);
    world.pass();
    publish(&world, &["1.0.0", "2.0.0"]);
    kill_at_every_call(&mut world, ("newer image", &PASS, 0), |world| {
        check(world, &[Some("1.0.0"), Some("2.0.0")], Some("2.0.0"))
    });
}

#[test]
fn killed_removal_ends_removed_and_unmerged() {
    let mut world = offer(&["1.0.0"]);
    world.pass();
    world.wish_nothing();
    kill_at_every_call(&mut world, ("image removed", &PASS, 0), |world| {
        check(world, &[None, Some("1.0.0")], None)
    });
}

/// The version of the newest image in systemd's sight, which must be whole.
fn picked(world: &World) -> Result<Option<String>, String> {
    let names = world.names(PICKED);
    let version = |name: &String| {
        name.strip_prefix("demo_").and_then(|n| n.strip_suffix(".raw")).map(str::to_owned)
    };
    let Some(version) = names.iter().filter_map(version).max() else { return Ok(None) };
    let path = world.host(PICKED).join(format!("demo_{version}.raw"));
    let whole = fs::read(path).map_err(|e| e.to_string())? == image(&version);
    whole.then_some(Some(version.clone())).ok_or_else(|| format!("{version} is not whole"))
}

const PICKED: &str = "var/lib/extensions/demo.raw.v";

/// A host on 2.0.0 with 1.0.0 beside it, where systemd picks.
fn two_to_pick_from() -> World {
    let world = offer(&["1.0.0"]);
    let wish = world.path("desired/apps.yaml");
    let text = fs::read_to_string(&wish).unwrap();
    fs::write(&wish, text.replace("retain: 1", "layout: versioned")).unwrap();
    world.pass();
    publish(&world, &["1.0.0", "2.0.0"]);
    world.pass();
    world
}

/// What is wrong after a kill and the passes that follow.
fn check_picked(
    world: &World,
    between: &[&str],
    end: impl Fn(&World) -> &'static str,
) -> Vec<String> {
    let mut bad = Vec::new();
    match picked(world) {
        Ok(Some(version)) if between.contains(&version.as_str()) => {}
        found => bad.push(format!("systemd picks {found:?}")),
    }
    let again = world.agent(&PASS);
    if !again.status.success() {
        bad.push(format!("the next pass failed: {}", said(&again)));
    }
    let end = end(world);
    if picked(world) != Ok(Some(end.to_owned())) {
        bad.push(format!("the next pass led to {:?}", picked(world)));
    }
    let merged = fs::read_to_string(world.path("picked")).unwrap_or_default();
    // What a round before this one merged is noted, too; all of them begin on 2.0.0.
    if end != "2.0.0" && merged.lines().last() != Some(&format!("demo_{end}.raw")) {
        bad.push(format!("merged last was {:?}", merged.lines().last()));
    }
    bad.extend(unsettled(world));
    bad
}

#[test]
fn killed_rollback_of_a_picked_image_leaves_one_in_sight() {
    let mut world = two_to_pick_from();
    let overrides = |world: &World| {
        let text = fs::read_to_string(world.host("var/lib/reconcile/overrides.json"));
        if text.unwrap_or_default().contains("1.0.0") { "1.0.0" } else { "2.0.0" }
    };
    let back = ["rollback", "extension/demo", "--reason", "test", "--effects", "run"];
    kill_at_every_call(&mut world, ("picked image back", &back, 0), |world| {
        check_picked(world, &["1.0.0", "2.0.0"], overrides)
    });
}

#[test]
fn killed_way_on_to_a_picked_image_leaves_one_in_sight() {
    let mut world = two_to_pick_from();
    publish(&world, &["1.0.0", "2.0.0", "3.0.0"]);
    kill_at_every_call(&mut world, ("newer picked image", &PASS, 0), |world| {
        check_picked(world, &["2.0.0", "3.0.0"], |_| "3.0.0")
    });
}
