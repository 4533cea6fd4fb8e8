//! Repositories, caches and checkouts, damaged or made up: refused or repaired, never believed.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use gix::objs::Kind;

use crate::git::{Said, World, says, wish};
use crate::support::repository::raw_entry;
use crate::support::smart::{Manner, Smart};

/// How long anything here may take.
const PATIENCE: Duration = Duration::from_mins(1);

/// A host that follows a repository over HTTP.
struct Remote {
    world: World,
    server: Smart,
}

impl Remote {
    fn new() -> (Self, String) {
        let (world, first) = World::new();
        let server = Smart::start(&world.origin.path());
        (Self { world, server }, first)
    }

    fn command(&self) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_reconcile"));
        command.arg("--root").arg(self.world.root.path());
        command.args(["--git", &self.server.url(), "--ref", "main", "--git-allowed-signers"]);
        command.arg(self.world.origin.beside().join("allowed_signers"));
        command
    }

    fn run(&self, more: &[&str]) -> Said {
        Said(self.command().args(more).output().unwrap())
    }

    /// The one cache.
    fn cache(&self) -> PathBuf {
        let home = self.world.root.path().join("var/cache/reconcile/git");
        fs::read_dir(home).unwrap().next().unwrap().unwrap().path()
    }

    fn packs(&self) -> Vec<PathBuf> {
        let packs = fs::read_dir(self.cache().join("objects/pack")).into_iter().flatten();
        packs.map(|entry| entry.unwrap().path()).collect()
    }
}

#[test]
fn fetch_that_was_killed_leaves_nothing_in_the_way() {
    let (mut remote, first) = Remote::new();
    remote.run(&[]).exits(0);
    let second = remote.world.push(&wish("0.9.2"), &[&first]);
    fs::remove_dir_all(remote.cache()).unwrap();
    remote.server.be(Manner::Stalling);
    let mut child = remote.command().stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let began = Instant::now();
    let home = remote.world.root.path().join("var/cache/reconcile/git");
    while !home.exists() || fs::read_dir(&home).unwrap().count() == 0 || remote.packs().is_empty() {
        assert!(began.elapsed() < PATIENCE, "nothing is fetched");
        std::thread::yield_now();
    }
    child.kill().unwrap();
    child.wait().unwrap();
    for name in ["shallow.lock", "refs/reconcile/seen-0.lock", "packed-refs.lock"] {
        fs::create_dir_all(remote.cache().join(name).parent().unwrap()).unwrap();
        fs::write(remote.cache().join(name), "").unwrap();
    }
    remote.server.be(Manner::Plain);
    says(&remote.run(&["--dry-run"]).exits(0), &[&second[..10]]);
    says(&remote.run(&[]).exits(0), &[&second[..10]]);
    assert_eq!(remote.world.installed().as_deref(), Some("0.9.2"));
    let odd = |path: &PathBuf| path.extension().is_none_or(|e| e != "pack" && e != "idx");
    assert!(!remote.packs().iter().any(odd), "{:?}", remote.packs());
}

#[test]
fn damaged_cache_is_thrown_away_and_fetched_again() {
    let (mut remote, first) = Remote::new();
    remote.run(&[]).exits(0);
    let mut before = first;
    for (round, extension) in ["pack", "idx", "pack", "idx"].into_iter().enumerate() {
        let next = if round % 2 == 0 { "0.9.2" } else { "0.3.0" };
        for pack in remote.packs().iter().filter(|pack| pack.extension().unwrap() == extension) {
            fs::set_permissions(pack, std::os::unix::fs::PermissionsExt::from_mode(0o644)).unwrap();
            let mut bytes = fs::read(pack).unwrap();
            if round < 2 {
                bytes.truncate(bytes.len() / 2);
            } else {
                bytes.iter_mut().skip(12).for_each(|byte| *byte ^= 0x5a);
            }
            fs::write(pack, bytes).unwrap();
        }
        before = remote.world.push(&wish(next), &[&before]);
        says(&remote.run(&["--dry-run"]).exits(0), &[&before[..10]]);
        says(&remote.run(&[]).exits(0), &[&before[..10]]);
        assert_eq!(remote.world.installed().as_deref(), Some(next));
    }
}

#[test]
fn links_in_the_cache_of_a_repository_lead_nowhere_out_of_the_root() {
    for place in [None, Some(""), Some("objects"), Some("objects/pack")] {
        let (mut remote, first) = Remote::new();
        remote.run(&[]).exits(0);
        let home = remote.world.root.path().join("var/cache/reconcile/git");
        let link: PathBuf = match place {
            Some(inner) => remote.cache().join(inner).components().collect(),
            None => home,
        };
        // As a link is that leads there from inside of the root, too.
        let outside = remote.world.origin.beside().join("outside");
        fs::create_dir(&outside).unwrap();
        fs::remove_dir_all(&link).unwrap();
        symlink(&outside, &link).unwrap();
        let mut before = first;
        for version in ["0.9.2", "0.3.0"] {
            before = remote.world.push(&wish(version), &[&before]);
            says(&remote.run(&["--dry-run"]).exits(0), &[&before[..10]]);
            says(&remote.run(&[]).exits(0), &[&before[..10]]);
            assert_eq!(remote.world.installed().as_deref(), Some(version));
        }
        assert_eq!(fs::read_dir(&outside).unwrap().count(), 0, "{place:?}");
    }
}

#[test]
fn leftovers_in_the_cache_are_no_answer_of_the_repository() {
    let (mut remote, first) = Remote::new();
    remote.run(&[]).exits(0);
    let leftover = fs::File::create(remote.cache().join("objects/pack/.tmpA1b2C3")).unwrap();
    leftover.set_len(600 << 20).unwrap();
    let second = remote.world.push(&wish("0.9.2"), &[&first]);
    says(&remote.run(&[]).exits(0), &[&second[..10]]);
}

#[test]
fn answer_without_end_is_cut_off_and_the_accepted_state_stays() {
    let (remote, first) = Remote::new();
    remote.run(&[]).exits(0);
    remote.server.be(Manner::Endless);
    let text = remote.run(&[]).exits(65);
    says(&text, &["more than 16777216 bytes", &first[..10], "stays in effect"]);
}

#[test]
fn history_is_read_from_objects_that_are_what_their_names_say() {
    // A commit without parents, and its object overwritten by one that names the accepted commit as parent.
    let (mut world, first) = World::new();
    world.run(&[]).exits(0);
    let middle = world.origin.commit(&[("web.yaml", &wish("0.3.0"))], &[], None);
    let forced = world.push(&wish("0.9.2"), &[&middle]);
    world.run(&[]).exits(77);
    let made_up = world.origin.commit(&[("web.yaml", &wish("0.3.0"))], &[&first], None);
    let object = |id: &str| world.origin.path().join("objects").join(&id[..2]).join(&id[2..]);
    let (honest, other) = (fs::read(object(&middle)).unwrap(), fs::read(object(&made_up)).unwrap());
    fs::remove_file(object(&middle)).unwrap();
    fs::write(object(&middle), other).unwrap();
    says(&world.run(&[]).exits(0), &["damaged", "stays in effect"]);
    assert_eq!(world.installed().as_deref(), Some("0.3.0"));
    fs::write(object(&middle), honest).unwrap();
    world.origin.point(&format!("refs/replace/{middle}"), &made_up);
    let grafts = world.origin.path().join("info/grafts");
    fs::create_dir_all(grafts.parent().unwrap()).unwrap();
    fs::write(grafts, format!("{middle} {first}\n")).unwrap();
    says(&world.run(&[]).exits(77), &["was rewritten", &forced]);
    assert_eq!(world.installed().as_deref(), Some("0.3.0"));
}

#[test]
fn move_to_a_branch_or_address_that_lacks_the_accepted_commit_waits_for_an_operator() {
    let (mut world, first) = World::new();
    let second = world.push(&wish("0.9.2"), &[&first]);
    world.run(&[]).exits(0);
    // Back to an older tag, and over to another history.
    world.origin.point("refs/tags/v1", &world.origin.tag("v1", &first, Some(&world.key)));
    let hint = format!("accept-history {first} --reason");
    says(&world.run(&["--ref", "v1"]).exits(77), &["does not descend from", &second, &hint]);
    let other = world.origin.commit(&[("web.yaml", &wish("0.3.0"))], &[], Some(&world.key));
    world.origin.point("refs/heads/other", &other);
    says(&world.run(&["--ref", "other"]).exits(77), &["`main` of", &other]);
    assert_eq!(world.installed().as_deref(), Some("0.9.2"));
    let spelling = format!("file://{}/.", world.origin.path().display());
    world.origin.point("refs/heads/main", &first);
    world.run(&["--git", &spelling]).exits(64);
    let elsewhere = world.origin.beside().join("elsewhere.git");
    symlink(world.origin.path(), &elsewhere).unwrap();
    let elsewhere = format!("file://{}", elsewhere.display());
    let moved = |world: &World| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_reconcile"));
        command.arg("--root").arg(world.root.path()).args(["--git", &elsewhere, "--ref", "main"]);
        let signers = world.origin.beside().join("allowed_signers");
        Said(command.arg("--git-allowed-signers").arg(signers).output().unwrap())
    };
    says(&moved(&world).exits(77), &["does not descend from", &second]);
    // What comes after it is taken from anywhere.
    let third = world.push(&wish("0.3.0"), &[&second]);
    says(&moved(&world).exits(0), &[&third[..10]]);
    // An operator may go back.
    world.run(&["--ref", "v1", "accept-history", &first, "--reason", "back to v1"]).exits(0);
    says(&world.run(&["--ref", "v1"]).exits(0), &["v1@sha1", "back to v1"]);
}

#[test]
fn word_for_a_commit_is_for_that_one_and_not_for_ever() {
    let (mut world, _) = World::new();
    world.run(&["--clock", "2026-01-01T00:00:00Z"]).exits(0);
    let forced = world.push(&wish("0.9.2"), &[]);
    let after = world.push(&wish("0.9.2"), &[&forced]);
    let accept = |world: &World| {
        let words = ["--clock", "2026-01-01T01:00:00Z", "accept-history", &forced, "--reason", "x"];
        world.run(&words).exits(0)
    };
    says(&accept(&world), &["before 2026-01-02T01:00:00Z"]);
    says(&world.run(&["--clock", "2026-01-01T02:00:00Z"]).exits(77), &[&after]);
    world.origin.point("refs/heads/main", &forced);
    world.run(&["--clock", "2026-01-02T02:00:00Z"]).exits(77);
    assert_eq!(world.installed().as_deref(), Some("0.3.0"));
    world.run(&["--clock", "2026-01-02T00:00:00Z"]).exits(0);
    assert_eq!(world.installed().as_deref(), Some("0.9.2"));
}

#[test]
fn edited_checkout_is_not_called_signed_and_is_written_anew() {
    let (world, first) = World::new();
    world.run(&[]).exits(0);
    let file = world.state().join("repository").join(&first).join("web.yaml");
    for more in [wish("0.9.2"), "apps: {}\n".to_owned()] {
        fs::write(&file, more).unwrap();
        fs::write(file.with_file_name("more.yaml"), "apps: {}\n").unwrap();
        let status = world.run(&["status"]).exits(0);
        says(&status, &["were changed"]);
        assert!(!status.contains("signed by"), "{status}");
        says(&world.run(&[]).exits(0), &["were changed by somebody", "No changes"]);
        assert_eq!(fs::read_to_string(&file).unwrap(), wish("0.3.0"));
        assert!(!file.with_file_name("more.yaml").exists());
    }
    fs::write(&file, wish("0.9.2")).unwrap();
    world.origin.hide();
    world.run(&[]).exits(69);
    assert_eq!(world.installed().as_deref(), Some("0.3.0"));
}

#[test]
fn tree_with_one_name_twice_is_refused() {
    let (mut world, _) = World::new();
    let document = world.origin.object(Kind::Blob, wish("0.3.0").as_bytes());
    let link = world.origin.object(Kind::Blob, b"elsewhere");
    let inner = raw_entry("100644", "x.yaml", &document);
    let inner = world.origin.object(Kind::Tree, &inner);
    for entries in [
        [raw_entry("120000", "a", &link), raw_entry("40000", "a", &inner)],
        [raw_entry("100644", "a", &document), raw_entry("100644", "a", &link)],
    ] {
        let tree = world.origin.object(Kind::Tree, &entries.concat());
        let commit = world.origin.commit_tree(&tree, &[], Some(&world.key));
        world.origin.point("refs/heads/main", &commit);
        says(&world.run(&[]).exits(77), &["`a` is there twice", &commit]);
    }
}

#[test]
fn modules_count_as_entries() {
    let (mut world, _) = World::new();
    let nowhere = "1".repeat(40);
    let entries = (0..20_001).map(|at| raw_entry("160000", &format!("m{at:05}"), &nowhere));
    let tree = world.origin.object(Kind::Tree, &entries.collect::<Vec<_>>().concat());
    let commit = world.origin.commit_tree(&tree, &[], Some(&world.key));
    world.origin.point("refs/heads/main", &commit);
    says(&world.run(&[]).exits(65), &["more than 20000 files"]);
}

#[test]
fn pipe_in_the_place_of_a_file_of_a_repository_is_not_waited_for() {
    let (mut world, first) = World::new();
    world.run(&[]).exits(0);
    let second = world.push(&wish("0.9.2"), &[&first]);
    let object = format!("objects/{}/{}", &second[..2], &second[2..]);
    for name in ["refs/heads/main", "packed-refs", "config", "HEAD", &object] {
        let path = world.origin.path().join(name);
        let aside = path.with_extension("aside");
        let moved = fs::rename(&path, &aside).is_ok();
        rustix::fs::mknodat(
            rustix::fs::CWD,
            &path,
            rustix::fs::FileType::Fifo,
            rustix::fs::Mode::RUSR,
            0,
        )
        .unwrap();
        says(&world.run(&[]).exits(0), &["is not a regular file", "stays in effect"]);
        fs::remove_file(&path).unwrap();
        if moved {
            fs::rename(&aside, &path).unwrap();
        }
    }
    world.run(&[]).exits(0);
    assert_eq!(world.installed().as_deref(), Some("0.9.2"));
}
