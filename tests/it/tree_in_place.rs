//! Trees whose files are replaced one by one: what stays is left alone, whatever somebody does.

use std::fs;
use std::os::unix::fs::{MetadataExt, symlink};
use std::path::PathBuf;
use std::process::Command;
use std::sync::{Arc, Mutex};

use reconcile::format::casync::chunk::Form;
use reconcile::format::casync::index::Index;
use rustix::fs::{XattrFlags, getxattr, removexattr, setxattr};

use crate::support::casync::{Publisher, noise};
use crate::support::server::{Reply, Server};
use crate::support::trace::{Act, Ended, Program, trace};
use crate::support::tree::{self, render, snapshot};
use crate::support::world::World;

/// A host with a tree that is updated in place, and a publisher with a newer one.
struct Site {
    world: World,
    publisher: Publisher,
}

impl Site {
    fn new() -> Self {
        let mut world = World::new();
        let publisher = Publisher::new(&world.temp().join("publisher"));
        for number in 0..6 {
            tree::write(&publisher.source.join(format!("same/{number}")), &noise(number, 3_000));
        }
        tree::write(&publisher.source.join("conf/state"), b"one\n");
        publisher.publish();
        world.wish("desired", &publisher.wish("    layout: in-place\n"));
        world.pass();
        let site = Self { world, publisher };
        site.publish("two\n");
        site
    }

    fn publish(&self, state: &str) {
        tree::write(&self.publisher.source.join("conf/state"), state.as_bytes());
        tree::write(&self.publisher.source.join("new").join(state.trim()), b"new");
        self.publisher.publish();
    }

    fn path(&self, path: &str) -> PathBuf {
        self.world.path("srv/site").join(path)
    }

    fn tree(&self) -> String {
        render(&snapshot(&self.path("")))
    }

    fn published(&self) -> String {
        render(&snapshot(&self.publisher.source))
    }

    /// Inodes of what is the same in every version.
    fn inodes(&self) -> Vec<u64> {
        let file = |number: u64| self.path("same").join(number.to_string());
        (0..6).map(|number| file(number).metadata().unwrap().ino()).collect()
    }

    fn generations(&self) -> Vec<String> {
        let generations = self.world.path("srv/.site.reconcile/generations");
        let names = fs::read_dir(generations).unwrap().flatten().map(|entry| entry.file_name());
        names.map(|name| name.into_string().unwrap()).collect()
    }

    fn traced(&self, act: Act) -> Ended {
        let mut arguments = vec!["--root".to_owned(), self.world.root().display().to_string()];
        arguments.extend(["--desired".to_owned(), self.world.desired.display().to_string()]);
        let environment = vec![("PATH".to_owned(), "/usr/bin:/bin".to_owned())];
        let path = env!("CARGO_BIN_EXE_reconcile").into();
        trace(&Program { path, arguments, environment }, act)
    }

    /// A host whose update was staged and killed right before the first file moved.
    fn staged() -> Self {
        let (watched, killed) = (Self::new(), Self::new());
        let live = watched.path("");
        let ended = watched.traced(Act::Watch);
        let first =
            ended.calls.iter().position(|call| call.paths.iter().any(|p| p.starts_with(&live)));
        let before = killed.tree();
        killed.traced(Act::KillBefore(first.unwrap() + 1));
        assert_eq!((killed.tree(), killed.generations().len()), (before, 2));
        killed
    }
}

#[test]
fn update_that_was_staged_and_killed_is_gone_on_with_without_its_source() {
    let mut site = Site::staged();
    tree::remove(&site.publisher.store);
    tree::remove(&site.world.path("var/cache/reconcile/chunks"));
    site.world.pass();
    assert_eq!(site.tree(), site.published());
    site.world.nothing_to_do();
    assert_eq!(site.generations().len(), 1);
}

#[test]
fn file_edited_while_an_update_waits_is_mended_with_it_in_one_pass() {
    let mut site = Site::staged();
    let edited = site.path("same/3");
    fs::write(&edited, b"edited").unwrap();
    let ran = site.world.pass();
    assert_eq!(site.tree(), site.published(), "{ran:#?}");
    site.world.nothing_to_do();
    assert_eq!(site.generations().len(), 1);
}

#[test]
fn update_made_for_another_directory_is_made_anew() {
    let mut site = Site::staged();
    let aside = site.world.path("srv/aside");
    fs::rename(site.path(""), &aside).unwrap();
    assert!(
        Command::new("cp").arg("-a").args([&aside, &site.path("")]).status().unwrap().success()
    );
    tree::remove(&aside);
    site.world.pass();
    assert_eq!(site.tree(), site.published());
    site.world.nothing_to_do();
}

#[test]
fn edit_while_an_update_comes_is_left_and_told_by_the_next_pass() {
    let mut site = Site::new();
    let server = Server::start();
    let edit: Arc<Mutex<Option<PathBuf>>> = Arc::new(Mutex::new(Some(site.path("same/3"))));
    let (root, pending) = (site.publisher.store.clone(), Arc::clone(&edit));
    server.handle(move |request| {
        if let Some(path) = pending.lock().unwrap().take() {
            fs::write(path, b"edited").unwrap();
        }
        let chunk = request.bare_path().strip_prefix("/store/")?;
        fs::read(root.join(chunk)).ok().map(Reply::file)
    });
    let index = site.publisher.index.display();
    site.world.wish(
        "desired",
        &format!(
            "trees:\n  site:\n    path: /srv/site\n    layout: in-place\n    source: {{ casync: {{ index: {index}, \
             store: \"{}\" }} }}\n",
            server.url("/store")
        ),
    );
    site.world.pass();
    assert!(edit.lock().unwrap().is_none(), "no chunk was asked for");
    assert_eq!(fs::read(site.path("same/3")).unwrap(), b"edited");
    assert_eq!(fs::read(site.path("conf/state")).unwrap(), b"two\n");
    site.world.tick();
    let plan = site.world.run(&["--dry-run"]).exits(0).stdout;
    assert!(plan.contains("/srv/site/same/3"), "{plan}");
    site.world.pass();
    assert_eq!(site.tree(), site.published());
    site.world.nothing_to_do();
}

#[test]
fn link_to_a_directory_with_the_same_files_is_replaced_by_the_directory() {
    let mut site = Site::new();
    let aside = site.world.path("srv/aside");
    fs::rename(site.path("same"), &aside).unwrap();
    symlink(&aside, site.path("same")).unwrap();
    site.world.pass();
    assert_eq!(site.tree(), site.published());
    assert!(aside.join("3").exists());
    site.world.nothing_to_do();
}

#[test]
fn file_of_which_only_the_times_moved_stays_the_same_file() {
    let mut site = Site::new();
    let file = site.path("same/3");
    let inode = file.metadata().unwrap().ino();
    // A second name, and gone again: nothing that anybody sees but the time of the change.
    fs::hard_link(&file, site.path("same/name")).unwrap();
    fs::remove_file(site.path("same/name")).unwrap();
    site.world.pass();
    assert_eq!(site.tree(), site.published());
    assert_eq!(file.metadata().unwrap().ino(), inode);
    site.world.nothing_to_do();
}

#[test]
fn killed_at_any_call_what_stays_is_left_alone_and_the_next_passes_end_on_the_new_tree() {
    let points = Site::new().traced(Act::Watch).calls.len();
    let mut failures = Vec::new();
    for point in 1..=points {
        let mut site = Site::new();
        let same: Vec<u64> = site.inodes();
        let ended = site.traced(Act::KillBefore(point));
        // Threads take turns differently from run to run, so the last points may not be reached.
        let Some(call) = ended.calls.get(point - 1) else { continue };
        let state = fs::read_to_string(site.path("conf/state")).unwrap();
        let mut good = ["one\n", "two\n"].contains(&state.as_str()) && site.inodes() == same;
        let again = site.world.run(&[]);
        good &= again.code == 0 && site.tree() == site.published() && site.inodes() == same;
        good &= site.world.run(&["--dry-run"]).stdout.contains("No changes");
        good &= site.generations().len() == 1;
        // Whatever was moved by which pass is known to be what it is: no chunk of it is asked for.
        let here = Index::read(fs::read(&site.publisher.index).unwrap().as_slice()).unwrap();
        site.publish("three\n");
        for chunk in here.chunks {
            tree::remove(&site.publisher.store.join(chunk.id.path(Form::Compressed)));
        }
        tree::remove(&site.world.path("var/cache/reconcile/chunks"));
        site.world.tick();
        let next = site.world.run(&[]);
        good &= next.code == 0 && site.tree() == site.published() && site.inodes() == same;
        if !good {
            let (name, paths) = (call.name, &call.paths);
            failures.push(format!("at {point} of {points}, {name} {paths:?}: {again:?} {next:?}"));
        }
    }
    println!("update in place: {points} points, {} failures", failures.len());
    assert!(failures.is_empty(), "\n{}", failures.join("\n"));
}

#[test]
fn attributes_of_directories_are_as_published() {
    let mut world = World::new();
    let publisher = Publisher::new(&world.temp().join("publisher"));
    world.wish("desired", &publisher.wish("    layout: in-place\n"));
    let give = |directory: &str, name: &str, value: &[u8]| {
        let directory = publisher.source.join(directory);
        tree::write(&directory.join("file"), b"the same");
        setxattr(&directory, name, value, XattrFlags::empty())
    };
    if give("stays", "user.stays", b"1").is_err() {
        println!("this file system has no attributes");
        return;
    }
    give("changes", "user.changes", b"1").unwrap();
    give("loses", "user.goes", b"1").unwrap();
    give("loses", "user.stays", b"1").unwrap();
    let publish = || {
        let (index, store) = (publisher.index.as_os_str(), publisher.store.as_os_str());
        let mut command = Command::new(env!("CARGO_BIN_EXE_reconcile"));
        command.args(["publish", "tree", "--profile", "full"]).arg(&publisher.source);
        command.args(["--index".as_ref(), index, "--store".as_ref(), store]);
        let output = command.output().unwrap();
        assert!(output.status.success(), "{output:?}");
    };
    publish();
    world.pass();
    let own = world.path("srv/site/stays");
    setxattr(&own, "user.own", b"of somebody else", XattrFlags::empty()).unwrap();
    give("changes", "user.changes", b"2").unwrap();
    removexattr(publisher.source.join("loses"), "user.goes").unwrap();
    give("comes/too", "user.comes", b"1").unwrap();
    tree::write(&publisher.source.join("stays/new"), b"new");
    publish();
    world.pass();
    let has = |directory: &str, name: &str| {
        let mut value = [0; 32];
        let found = getxattr(world.path("srv/site").join(directory), name, &mut value);
        found.ok().map(|length| String::from_utf8(value[..length].to_vec()).unwrap())
    };
    let found = [
        has("stays", "user.stays"),
        has("stays", "user.own"),
        has("changes", "user.changes"),
        has("loses", "user.goes"),
        has("loses", "user.stays"),
        has("comes/too", "user.comes"),
    ];
    let wanted = [Some("1"), Some("of somebody else"), Some("2"), None, Some("1"), Some("1")];
    assert_eq!(found, wanted.map(|value| value.map(str::to_owned)));
    world.nothing_to_do();
}
