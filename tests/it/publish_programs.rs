//! Publishers of programs: killed anywhere they leave a whole repository, and again does what was left.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use crate::support::duo::RECONCILE;
use crate::support::server::{Reply, Server};
use crate::support::trace::{Act, Ended, Program, trace};
use crate::support::tree::{self, copy, picture};
use crate::support::world::{Ran, World};

fn program(version: &str) -> Vec<u8> {
    let mut program = format!("#!/bin/sh\necho tool {version}\nexit\n").into_bytes();
    let mut noise = 5_u32;
    program.extend((0..20_000).map(|_| {
        noise = noise.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (noise >> 24) as u8
    }));
    program
}

/// A publisher and the host of somebody who reads what is published.
struct Site {
    world: World,
}

impl Site {
    fn new() -> Self {
        Self { world: World::new() }
    }

    fn built(&self, version: &str) -> String {
        let path = self.world.temp().join("built").join(version).join("tool");
        tree::write(&path, &program(version));
        path.display().to_string()
    }

    fn publish(&self, arguments: &[&str]) -> Ran {
        self.world.run(&[&["publish"], arguments].concat())
    }

    fn wish(&mut self, source: &str, version: &str) {
        let text = format!(
            "apps:\n  tool:\n    version: \"{version}\"\n    source: {source}\n    verify: {{ min: checksum }}\n"
        );
        self.world.wish("desired", &text);
        self.world.tick();
    }

    fn installed(&self) -> Option<Vec<u8>> {
        fs::read(self.world.path("opt/tool/bin/tool")).ok()
    }
}

/// One publisher's way to write 2.0 into a repository that has 1.0, and a reader's source.
struct Way {
    name: &'static str,
    publish: fn(&Site, version: &str) -> Vec<String>,
    source: fn(&Path) -> String,
}

const WAYS: [Way; 3] = [
    Way {
        name: "choria",
        publish: |site, version| {
            let file = site.built(version);
            let fixed =
                ["choria", &file, "--version", version, "--arch", "amd64", "--uncompressed"];
            fixed.iter().chain(&["--repo", "repository"]).map(|s| (*s).to_owned()).collect()
        },
        source: |at| format!("{{ choria: {{ url: {}, name: tool, arch: amd64 }} }}", at.display()),
    },
    Way {
        name: "selfupdate",
        publish: |site, version| {
            let file = site.built(version);
            let fixed = ["selfupdate", &file, version, "--platform", "linux-amd64"];
            fixed.iter().chain(&["--out", "repository/tool"]).map(|s| (*s).to_owned()).collect()
        },
        source: |at| {
            format!(
                "{{ selfupdate: {{ api: {}, cmd: tool, platform: linux-amd64 }} }}",
                at.display()
            )
        },
    },
    Way {
        name: "release",
        publish: |site, version| {
            let file = site.built(version);
            let directory = Path::new(&file).parent().unwrap().display().to_string();
            ["release", &directory, "--to", "repository"].map(str::to_owned).to_vec()
        },
        source: |at| format!("{{ file: {} }}", at.display()),
    },
];

fn killed(site: &Site, arguments: &[String], act: Act) -> Ended {
    let place = site.world.temp().display().to_string();
    // The publisher's paths are relative to where it is started.
    let line = format!("cd {place} && exec {RECONCILE} publish {}", arguments.join(" "));
    let program = Program {
        path: "/bin/sh".into(),
        arguments: vec!["-c".to_owned(), line],
        environment: vec![("PATH".to_owned(), "/usr/bin:/bin".to_owned())],
    };
    trace(&program, act)
}

/// Kills one way's publisher at every call; readers must find the old or the new version, and the same again must
/// make the repository what it is when nobody is killed.
fn kill_everywhere(way: &Way) -> Vec<String> {
    let mut site = Site::new();
    let repository = site.world.temp().join("repository");
    let before = site.world.temp().join("before");
    let first = (way.publish)(&site, "1.0");
    site.publish(&first.iter().map(String::as_str).collect::<Vec<_>>()).exits(0);
    copy(&repository, &before);
    let arguments = (way.publish)(&site, "2.0");
    let whole = killed(&site, &arguments, Act::Watch);
    assert_eq!(whole.code, Some(0), "{}", whole.said());
    let (points, wanted) = (whole.calls.len(), picture(&repository));
    assert!(points > 5, "{:?}", whole.calls);
    let mut bad = Vec::new();
    for point in 1..=points {
        copy(&before, &repository);
        let ended = killed(&site, &arguments, Act::KillBefore(point));
        let Some(call) = ended.calls.get(point - 1).filter(|_| ended.code.is_none()) else {
            continue;
        };
        let what = format!("{} killed before {point} of {points}, {call:?}", way.name);
        tree::remove(&site.world.root());
        fs::create_dir_all(site.world.root()).unwrap();
        let source = (way.source)(&repository);
        site.wish(&source, "latest");
        let read = site.world.run(&[]);
        let found = site.installed();
        if read.code != 0 || ![Some(program("1.0")), Some(program("2.0"))].contains(&found) {
            bad.push(format!("{what}: a reader got exit {} {read:?}", read.code));
        }
        let again = site.publish(&arguments.iter().map(String::as_str).collect::<Vec<_>>());
        let made = picture(&repository);
        if again.code != 0 || made != wanted {
            let names =
                |files: &BTreeMap<PathBuf, Vec<u8>>| files.keys().cloned().collect::<Vec<_>>();
            bad.push(format!("{what}: again made {:?}, {again:?}", names(&made)));
        }
    }
    println!("{}: {points} points, {} failures", way.name, bad.len());
    bad
}

#[test]
fn killed_publisher_leaves_a_whole_repository_and_again_does_what_was_left() {
    let bad: Vec<String> = WAYS.iter().flat_map(kill_everywhere).collect();
    assert!(bad.is_empty(), "\n{}", bad.join("\n"));
}

#[test]
fn same_version_again_is_nothing_and_other_bytes_are_refused() {
    for way in &WAYS {
        let site = Site::new();
        let repository = site.world.temp().join("repository");
        for version in ["1.0", "2.0"] {
            let arguments = (way.publish)(&site, version);
            site.publish(&arguments.iter().map(String::as_str).collect::<Vec<_>>()).exits(0);
        }
        let there = picture(&repository);
        for version in ["1.0", "2.0"] {
            let arguments = (way.publish)(&site, version);
            let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
            let again = site.publish(&arguments).exits(0);
            assert!(again.stderr.contains("nothing was written"), "{} {again:?}", way.name);
            let built = site.world.temp().join("built").join(version).join("tool");
            tree::write(&built, b"#!/bin/sh\necho other\n");
            let other = site.publish(&arguments).exits(1);
            assert!(other.stderr.contains("keeps its bytes"), "{} {other:?}", way.name);
            assert_eq!(picture(&repository), there, "{}", way.name);
            if version == "2.0" {
                site.publish(&[&arguments[..], &["--force"]].concat()).exits(0);
                assert_ne!(picture(&repository), there, "{}", way.name);
            }
        }
    }
}

#[test]
fn old_version_that_is_forced_leads_no_client_back() {
    let site = Site::new();
    let publish = |version: &str, more: &[&str]| {
        let arguments = (WAYS[1].publish)(&site, version);
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        site.publish(&[&arguments[..], more].concat()).exits(0)
    };
    for version in ["1.0", "1.1", "1.2"] {
        publish(version, &[]);
    }
    let repository = site.world.temp().join("repository/tool");
    let before = picture(&repository);
    let arguments = (WAYS[1].publish)(&site, "1.1");
    tree::write(&site.world.temp().join("built/1.1/tool"), b"#!/bin/sh\necho other\n");
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let said = site.publish(&[&arguments[..], &["--force"]].concat()).exits(0);
    assert!(said.stderr.contains("still names 1.2"), "{said:?}");
    let after = picture(&repository);
    for name in ["linux-amd64.json", "1.2/linux-amd64.gz", "1.0/1.2/linux-amd64"] {
        let path = repository.join(name);
        assert!(before[&path] == after[&path], "{name}");
    }
    for name in ["1.1/linux-amd64.gz", "1.0/1.1/linux-amd64"] {
        let path = repository.join(name);
        assert!(before.get(&path) != after.get(&path), "{name}");
    }
}

#[test]
fn version_by_another_name_is_the_same_one() {
    let site = Site::new();
    let publish = |version: &str| {
        let (built, arguments) = (site.built("1.1"), ["--to", "repository", "--version", version]);
        let directory = Path::new(&built).parent().unwrap().display().to_string();
        [vec!["release".to_owned(), directory], arguments.map(str::to_owned).to_vec()].concat()
    };
    let run = |arguments: &[String]| {
        site.publish(&arguments.iter().map(String::as_str).collect::<Vec<_>>())
    };
    run(&publish("1.1")).exits(0);
    for version in ["v1.1", "1.1.0"] {
        let arguments = publish(version);
        assert!(run(&arguments).exits(0).stderr.contains("nothing was written"));
        tree::write(&site.world.temp().join("built/1.1/tool"), b"#!/bin/sh\necho other\n");
        let refused = run(&arguments).exits(1);
        assert!(refused.stderr.contains("keeps its bytes"), "{refused:?}");
    }
    let names = fs::read_dir(site.world.temp().join("repository")).unwrap();
    assert_eq!(names.count(), 2);
}

#[test]
fn publishers_at_the_same_time_take_turns() {
    for way in &WAYS {
        let site = Site::new();
        let versions = ["1.0", "1.1", "1.2", "1.3"];
        let children = versions.map(|version| {
            let arguments = (way.publish)(&site, version);
            let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
            site.world.start(&[&["publish"], &arguments[..]].concat())
        });
        let ended = children.map(|child| child.wait_with_output().unwrap());
        let left = picture(&site.world.temp().join("repository")).into_keys();
        let left: Vec<PathBuf> =
            left.filter(|path| path.to_string_lossy().contains("-new")).collect();
        assert!(left.is_empty(), "{}: {left:?}", way.name);
        // go-selfupdate has one newest version, and whoever comes late with an older one is told.
        let done = ended.iter().filter(|output| output.status.success()).count();
        assert!(done == 4 || (way.name == "selfupdate" && done > 0), "{} {ended:?}", way.name);
    }
}

/// A web server for everything below a directory, whatever is escaped in the address.
fn serving(root: PathBuf) -> Server {
    let server = Server::start();
    server.handle(move |request| {
        let path = percent_encoding::percent_decode_str(request.bare_path()).decode_utf8().ok()?;
        fs::read(root.join(path.trim_start_matches('/'))).ok().map(Reply::file)
    });
    server
}

#[test]
fn version_with_a_plus_is_published_and_read_and_one_with_a_blank_is_refused() {
    for way in &WAYS {
        let mut site = Site::new();
        for version in ["1.0+b1", "1.1+b2"] {
            let arguments = (way.publish)(&site, version);
            site.publish(&arguments.iter().map(String::as_str).collect::<Vec<_>>()).exits(0);
            let server = serving(site.world.temp().join("repository"));
            let url = server.url("");
            let local = (way.source)(&site.world.temp().join("repository"));
            let web = match way.name {
                "release" => format!("{{ http: \"{url}\" }}"),
                "choria" => format!("{{ choria: {{ url: \"{url}\", arch: amd64 }} }}"),
                _ => format!(
                    "{{ selfupdate: {{ api: \"{url}\", cmd: tool, platform: linux-amd64 }} }}"
                ),
            };
            for source in [local, web] {
                tree::remove(&site.world.path("opt"));
                site.wish(&source, version);
                site.world.run(&[]).exits(0);
                assert!(site.installed() == Some(program(version)), "{source}");
            }
        }
        let arguments = (way.publish)(&site, "1.0");
        let blank = arguments.iter().map(|a| if a == "1.0" { "1 .0" } else { a.as_str() });
        let blank: Vec<&str> = match way.name {
            "release" => blank.chain(["--version", "1 .0"]).collect(),
            _ => blank.collect(),
        };
        let said = site.publish(&blank).exits(64).stderr;
        assert!(said.contains("blanks"), "{said}");
    }
}

#[test]
fn directory_of_programs_is_published_for_every_platform_or_for_none() {
    let site = Site::new();
    let programs = site.world.temp().join("programs");
    for (name, version) in [("linux-amd64", "a"), ("linux-arm64", "b"), ("darwin-arm64", "c")] {
        tree::write(&programs.join(name), &program(version));
    }
    for version in ["1.0", "1.1"] {
        let said =
            site.publish(&["selfupdate", "programs", version, "--out", "public/tool"]).exits(0);
        assert_eq!(
            said.stdout.lines().filter(|line| line.ends_with(".json")).count(),
            3,
            "{said:?}"
        );
    }
    let there = picture(&site.world.temp().join("public"));
    let patches = there.keys().filter(|path| path.to_string_lossy().contains("1.0/1.1/")).count();
    assert_eq!((there.len(), patches), (12, 3), "{:?}", there.keys());
    tree::write(&programs.join("README"), b"read me");
    let said = site.publish(&["selfupdate", "programs", "1.2", "--out", "public/tool"]).exits(1);
    assert!(said.stderr.contains("`README` cannot be a platform"), "{said:?}");
    assert_eq!(picture(&site.world.temp().join("public")), there, "nothing of it is published");
}

#[test]
fn manifests_programs_and_patches_are_published_and_read_at_places_of_their_own() {
    let mut site = Site::new();
    for version in ["1.0", "1.1"] {
        let file = site.built(version);
        let places = ["--out", "api/tool", "--bin", "bin/tool", "--diff", "diff/tool"];
        let what = ["selfupdate", &file, version, "--platform", "linux-amd64"];
        site.publish(&[&what[..], &places].concat()).exits(0);
        let at = |name: &str| site.world.temp().join(name).display().to_string();
        let source = format!(
            "{{ selfupdate: {{ api: {}, bin: {}, diff: {}, cmd: tool, platform: linux-amd64 }} }}",
            at("api"),
            at("bin"),
            at("diff")
        );
        site.wish(&source, "latest");
        let plan = site.world.run(&["--dry-run"]).exits(0).stdout;
        assert_eq!(plan.contains("patch /opt/tool/releases/1.0/tool"), version == "1.1", "{plan}");
        site.world.run(&[]).exits(0);
        assert!(site.installed() == Some(program(version)));
    }
    let names = |name: &str| {
        let place = site.world.temp().join(name);
        let files = picture(&place).into_keys();
        let relative = files.map(|path| path.strip_prefix(&place).unwrap().display().to_string());
        relative.collect::<Vec<_>>()
    };
    assert_eq!(names("api"), ["tool/linux-amd64.json"]);
    assert_eq!(names("bin"), ["tool/1.0/linux-amd64.gz", "tool/1.1/linux-amd64.gz"]);
    assert_eq!(names("diff"), ["tool/1.0/1.1/linux-amd64"]);
}

#[test]
fn patch_that_is_no_shorter_than_the_whole_is_not_published() {
    let site = Site::new();
    let mut programs = Vec::new();
    for (version, mut noise) in [("1.0", 5_u32), ("2.0", 77)] {
        let path = site.world.temp().join("built").join(version);
        let bytes = (0..20_000).map(|_| {
            noise = noise.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (noise >> 24) as u8
        });
        tree::write(&path, &bytes.collect::<Vec<u8>>());
        programs.push(path.display().to_string());
        let fixed = ["selfupdate", programs.last().unwrap(), version, "--platform", "linux-amd64"];
        site.publish(&[&fixed[..], &["--out", "repository/tool"]].concat()).exits(0);
    }
    let files = picture(&site.world.temp().join("repository"));
    assert!(!format!("{files:?}").contains("1.0/2.0"), "{files:#?}");
}
