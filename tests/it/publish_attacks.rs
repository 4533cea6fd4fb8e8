//! Publishers at the same time, with failing keys, and where somebody planted something.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};

use data_encoding::HEXLOWER;
use sha2::{Digest, Sha256};

use crate::support::tree;
use crate::support::world::scratch;

fn command(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_reconcile"));
    command.arg("publish").args(arguments);
    command
}

fn start(arguments: &[&str]) -> Child {
    command(arguments).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
}

/// Publishes a file with this content as an extension.
fn extension(repository: &Path, version: &str, content: &str, more: &[&str]) -> Output {
    let image = repository.with_file_name(format!("{version}.raw"));
    tree::write(&image, content.as_bytes());
    let (repository, image) = (repository.to_str().unwrap(), image.to_str().unwrap());
    let base = ["extension", "--name", "demo", "--version", version, repository, image];
    command(&[&base, more].concat()).output().unwrap()
}

fn names(directory: &Path) -> Vec<String> {
    let entries = fs::read_dir(directory).unwrap();
    let mut names: Vec<String> =
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

#[test]
fn extensions_published_at_the_same_time_are_all_listed() {
    let scratch = scratch();
    let repository = scratch.path().join("repository");
    let children: Vec<Child> = (0..6)
        .map(|number| {
            let image = scratch.path().join(format!("{number}.raw"));
            tree::write(&image, format!("image {number}").as_bytes());
            let (name, version) = (["odd", "even"][number % 2], format!("{number}.0"));
            let (to, image) = (repository.to_str().unwrap(), image.to_str().unwrap());
            start(&["extension", "--name", name, "--version", &version, to, image])
        })
        .collect();
    for child in children {
        let output = child.wait_with_output().unwrap();
        assert!(output.status.success(), "{output:?}");
    }
    assert_eq!(fs::read_to_string(repository.join("ext/index")).unwrap(), "even\nodd\n");
    for (name, numbers) in [("odd", [0, 2, 4]), ("even", [1, 3, 5])] {
        let directory = repository.join("ext").join(name);
        let list = fs::read_to_string(directory.join("SHA256SUMS")).unwrap();
        for number in numbers {
            let digest = HEXLOWER.encode(&Sha256::digest(format!("image {number}")));
            let line = format!("{digest}  {name}_{number}.0.raw");
            assert!(list.contains(&line), "{list}");
        }
        assert_eq!(names(&directory).len(), 4, "nothing is left over");
    }
}

#[test]
fn image_that_was_never_listed_keeps_its_bytes() {
    let scratch = scratch();
    let repository = scratch.path().join("repository");
    let image = repository.join("ext/demo/demo_1.0.raw");
    tree::write(&image, b"from a publisher who was killed");
    let refused = extension(&repository, "1.0", "other bytes", &[]);
    assert!(!refused.status.success(), "{refused:?}");
    assert_eq!(fs::read(&image).unwrap(), b"from a publisher who was killed");
    assert!(!repository.join("ext/demo/SHA256SUMS").exists());
    let again = extension(&repository, "1.0", "from a publisher who was killed", &[]);
    assert!(again.status.success(), "{again:?}");
    assert!(repository.join("ext/demo/SHA256SUMS").exists());
}

#[test]
fn list_never_disagrees_with_its_signature() {
    let scratch = scratch();
    let repository = scratch.path().join("repository");
    let directory = repository.join("ext/demo");
    let failed = extension(&repository, "1.0", "one", &["--key", "nobody@example.invalid"]);
    assert!(!failed.status.success(), "{failed:?}");
    assert!(!directory.exists(), "a failing key leaves nothing behind");
    assert!(extension(&repository, "1.0", "one", &[]).status.success());
    let list = fs::read(directory.join("SHA256SUMS")).unwrap();
    tree::write(&directory.join("SHA256SUMS.gpg"), b"signature");
    for more in [&[][..], &["--key", "nobody@example.invalid"]] {
        let refused = extension(&repository, "2.0", "two", more);
        assert!(!refused.status.success(), "{refused:?}");
        assert_eq!(fs::read(directory.join("SHA256SUMS")).unwrap(), list);
        assert_eq!(names(&directory), ["SHA256SUMS", "SHA256SUMS.gpg", "demo_1.0.raw"]);
    }
}

#[test]
fn planted_links_are_not_written_through() {
    let scratch = scratch();
    let repository = scratch.path().join("repository");
    let (directory, victim) = (repository.join("ext/demo"), scratch.path().join("victim"));
    tree::write(&victim.join("precious"), b"precious");
    fs::create_dir_all(&directory).unwrap();
    symlink(&victim, directory.join(".reconcile-new")).unwrap();
    symlink(victim.join("precious"), directory.join(".demo_1.0.raw.new")).unwrap();
    let published = extension(&repository, "1.0", "one", &[]);
    assert!(published.status.success(), "{published:?}");
    assert_eq!(names(&victim), ["precious"]);
    assert_eq!(fs::read(victim.join("precious")).unwrap(), b"precious");
}

#[test]
fn release_published_twice_at_once_is_one_of_both_and_whole() {
    let scratch = scratch();
    let repository = scratch.path().join("repository");
    for side in ["one", "two"] {
        for name in ["both", side] {
            let path = scratch.path().join(side).join(name);
            tree::write(&path, side.repeat(200_000).as_bytes());
        }
    }
    for round in 0..4 {
        let version = format!("1.{round}");
        let children: Vec<Child> = ["one", "two"]
            .iter()
            .map(|side| {
                let artifacts = scratch.path().join(side);
                let (from, to) = (artifacts.to_str().unwrap(), repository.to_str().unwrap());
                start(&["release", from, "--to", to, "--version", &version])
            })
            .collect();
        let ended: Vec<bool> =
            children.into_iter().map(|c| c.wait_with_output().unwrap().status.success()).collect();
        assert_eq!(ended.iter().filter(|done| **done).count(), 1, "{ended:?}");
        let winner = if ended[0] { "one" } else { "two" };
        let home = repository.join(&version);
        assert_eq!(names(&home), ["SHA256SUMS", "both", winner]);
        assert_eq!(fs::read(home.join("both")).unwrap(), winner.repeat(200_000).as_bytes());
        let list = fs::read_to_string(repository.join("SHA256SUMS")).unwrap();
        assert!(list.contains(&format!("{version}/{winner}")), "{list}");
    }
    let all = names(&repository);
    assert_eq!(all.len(), 5, "nothing is left over: {all:?}");
}
