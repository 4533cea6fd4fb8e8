//! Checks that cannot look: they say nothing about a release, and are made up for.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use crate::support::tree;
use crate::support::world::World;

const TIMES: &str = "interval: 100ms\n      stable: 100ms\n      deadline: 400ms\n";

fn script(path: &Path, text: &str) {
    tree::write(path, format!("#!/bin/sh\n{text}\n").as_bytes());
    fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
}

fn host() -> World {
    let mut world = World::new();
    world.options = vec!["--effects".to_owned(), "run".to_owned()];
    publish(&world, "1.0.0");
    world
}

fn publish(world: &World, version: &str) {
    let built = world.temp().join("built").join(version);
    tree::write(&built.join("tool"), format!("#!/bin/sh\necho tool {version}\n").as_bytes());
    let (built, to) = (built.display().to_string(), world.temp().join("repository"));
    world.run(&["publish", "release", &built, "--to", to.to_str().unwrap()]).exits(0);
}

fn wish(world: &mut World, probe: &str) {
    let source = world.temp().join("repository").display().to_string();
    let text = format!(
        "apps:\n  tool:\n    source: {{ file: {source} }}\n    health:\n      {probe}\n      {TIMES}"
    );
    world.wish("desired", &text);
}

fn in_use(world: &World) -> Option<String> {
    fs::read_to_string(world.path("/opt/tool/bin/tool")).ok()
}

#[test]
fn misspelt_program_of_a_check_keeps_the_first_release_out_until_it_is_corrected() {
    let mut world = host();
    wish(&mut world, "exec: [/nonexistent/check]");
    let said = world.run(&[]).exits(1).stdout;
    assert!(said.contains("/nonexistent/check") && said.contains("nothing was switched"), "{said}");
    assert_eq!(in_use(&world), None);
    wish(&mut world, "exec: [\"true\"]");
    world.pass();
    assert!(in_use(&world).unwrap().contains("1.0.0"));
    world.nothing_to_do();
}

#[test]
fn systemd_that_does_not_answer_keeps_the_first_release_out_until_it_does() {
    let mut world = host();
    let stub = world.temp().join("stub");
    let path = format!("{}:/usr/bin:/bin", stub.display());
    world.environment.push(("PATH".to_owned(), path));
    script(&stub.join("systemctl"), "echo 'Failed to connect to bus: Host is down' >&2; exit 1");
    wish(&mut world, "unit: tool.service");
    let said = world.run(&[]).exits(1).stdout;
    assert!(said.contains("Host is down") && said.contains("nothing was switched"), "{said}");
    script(
        &stub.join("systemctl"),
        "printf 'ActiveState=active\\nSubState=running\\nNRestarts=0\\n'",
    );
    world.pass();
    assert!(in_use(&world).unwrap().contains("1.0.0"));
}

#[test]
fn check_that_went_away_after_the_switch_blames_no_release_and_is_made_up_for() {
    let mut world = host();
    let (check, tool) = (world.temp().join("check"), world.path("/opt/tool/bin/tool"));
    script(&check, &format!("{} | grep -q 1.0.0 && exit 0\nrm \"$0\"; exit 1", tool.display()));
    let probe = format!("exec: [{}]", check.display());
    wish(&mut world, &probe);
    world.pass();
    publish(&world, "1.1.0");
    for _ in 0..2 {
        world.tick();
        let said = world.run(&[]).exits(1).stdout;
        assert!(said.contains("the next pass looks again"), "{said}");
        assert!(in_use(&world).unwrap().contains("1.1.0"), "nothing is known against it");
        assert!(world.path("/opt/tool/releases/1.0.0").exists(), "it can be gone back to");
    }
    script(&check, "exit 0");
    world.pass();
    world.nothing_to_do();
    assert!(in_use(&world).unwrap().contains("1.1.0"));
}

#[test]
fn program_of_a_check_that_comes_with_the_first_release_is_no_reason_to_wait() {
    let mut world = host();
    let tool = world.path("/opt/tool/bin/tool").display().to_string();
    wish(&mut world, &format!("exec: [{tool}]"));
    world.pass();
    world.nothing_to_do();
}

#[test]
fn what_a_failing_check_prints_ends_with_its_last_words_and_does_nothing_to_the_terminal() {
    let mut world = host();
    let check = world.temp().join("check");
    let told = "i=0; while [ $i -lt 300 ]; do echo INFO line $i >&2; i=$((i+1)); done\n\
                printf '\\033[2J\\033]0;pwn\\007\\342\\200\\256 FATAL: port 80 is taken\\n' >&2; exit 1";
    script(&check, told);
    wish(&mut world, &format!("exec: [{}]", check.display()));
    let said = world.run(&[]);
    let texts = [
        said.stdout,
        world.run(&["status"]).stdout,
        fs::read_to_string(world.path("/var/lib/reconcile/trust.json")).unwrap(),
    ];
    for text in texts {
        assert!(text.contains("FATAL: port 80 is taken"), "{text}");
        let odd = |c: char| c.is_control() && c != '\n' || c == '\u{202e}';
        assert!(!text.contains(odd), "{}", text.escape_debug());
        assert!(!text.contains("INFO line 0;"), "{text}");
    }
}
