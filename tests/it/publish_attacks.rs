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

/// An image of the extension demo.
fn image(content: &str) -> Vec<u8> {
    let packed = include_bytes!("../golden/images/squashfs-plain.raw.zst");
    [&zstd::decode_all(packed.as_slice()).unwrap(), content.as_bytes()].concat()
}

/// Publishes a file with this content as an extension.
fn extension(repository: &Path, version: &str, content: &str, more: &[&str]) -> Output {
    let file = repository.with_file_name(format!("{version}.raw"));
    tree::write(&file, &image(content));
    let (repository, image) = (repository.to_str().unwrap(), file.to_str().unwrap());
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
            let file = scratch.path().join(format!("{number}.raw"));
            tree::write(&file, &image(&format!("image {number}")));
            let version = format!("{number}.0");
            let (to, file) = (repository.to_str().unwrap(), file.to_str().unwrap());
            start(&["extension", "--name", "demo", "--version", &version, to, file])
        })
        .collect();
    for child in children {
        let output = child.wait_with_output().unwrap();
        assert!(output.status.success(), "{output:?}");
    }
    assert_eq!(fs::read_to_string(repository.join("ext/index")).unwrap(), "demo\n");
    let directory = repository.join("ext/demo");
    let list = fs::read_to_string(directory.join("SHA256SUMS")).unwrap();
    for number in 0..6 {
        let digest = HEXLOWER.encode(&Sha256::digest(image(&format!("image {number}"))));
        let line = format!("{digest}  demo_{number}.0.raw");
        assert!(list.contains(&line), "{list}");
    }
    assert_eq!(names(&directory).len(), 7, "nothing is left over");
}

#[test]
fn image_that_was_never_listed_keeps_its_bytes() {
    let scratch = scratch();
    let repository = scratch.path().join("repository");
    let there = repository.join("ext/demo/demo_1.0.raw");
    let killed = image("from a publisher who was killed");
    tree::write(&there, &killed);
    let refused = extension(&repository, "1.0", "other bytes", &[]);
    assert!(!refused.status.success(), "{refused:?}");
    assert_eq!(fs::read(&there).unwrap(), killed);
    assert!(!repository.join("ext/demo/SHA256SUMS").exists());
    let again = extension(&repository, "1.0", "from a publisher who was killed", &[]);
    assert!(again.status.success(), "{again:?}");
    assert!(repository.join("ext/demo/SHA256SUMS").exists());
}

#[test]
fn image_that_no_host_would_merge_is_refused_however_it_is_packed() {
    let scratch = scratch();
    let repository = scratch.path().join("repository");
    let pack = |bytes: &[u8]| zstd::encode_all(bytes, 0).unwrap();
    let mut archive = tar::Builder::new(Vec::new());
    let mut header = tar::Header::new_gnu();
    header.set_size(4);
    header.set_mode(0o644);
    archive.append_data(&mut header, "usr/share/demo/text", &b"text"[..]).unwrap();
    let archive = archive.into_inner().unwrap();
    let cut = pack(&archive[..700]);
    let publish = |file: &str, bytes: &[u8], name: &str| {
        let path = scratch.path().join(file);
        tree::write(&path, bytes);
        let (to, path) = (repository.to_str().unwrap(), path.to_str().unwrap());
        let base = ["extension", "--name", name, "--version", "1", to, path];
        command(&base).output().unwrap()
    };
    for (file, bytes, name, why) in [
        ("junk.raw", b"hello".to_vec(), "demo", "no host would merge it as demo"),
        ("junk.raw.zst", b"hello".to_vec(), "demo", "no host would merge it as demo"),
        ("packed-junk.raw.zst", pack(b"hello"), "demo", "no host would merge it as demo"),
        ("cut.raw.zst", pack(&image("one"))[..900].to_vec(), "demo", "damaged"),
        ("image.raw.xz", pack(&image("one")), "demo", "zstd data"),
        ("junk.tar.zst", pack(b"hello"), "demo", "no host would merge it as demo"),
        ("cut.tar.zst", cut[..cut.len() - 9].to_vec(), "demo", "damaged"),
        ("archive.zip", archive.clone(), "demo", "an image ends in"),
    ] {
        let refused = publish(file, &bytes, name);
        let said = String::from_utf8_lossy(&refused.stderr).into_owned();
        assert!(refused.status.code() == Some(1) && said.contains(why), "{file}: {said}");
        assert!(!repository.exists(), "{file} leaves nothing behind");
    }
    for (file, bytes, name) in [
        ("image.raw.zst", pack(&image("one")), "demo"),
        ("archive.tar", archive.clone(), "plain"),
        ("archive.tar.zst", pack(&archive), "packed"),
    ] {
        let published = publish(file, &bytes, name);
        assert!(published.status.success(), "{published:?}");
        let ending = &file[file.find('.').unwrap()..];
        let there = repository.join(format!("ext/{name}/{name}_1{ending}"));
        assert_eq!(fs::read(there).unwrap(), bytes, "as it was");
    }
}

#[test]
fn list_never_disagrees_with_its_signature() {
    let scratch = scratch();
    let repository = scratch.path().join("repository");
    let directory = repository.join("ext/demo");
    let failed = extension(&repository, "1.0", "one", &["--sign", "nobody@example.invalid"]);
    assert!(!failed.status.success(), "{failed:?}");
    assert!(!directory.exists(), "a failing key leaves nothing behind");
    assert!(extension(&repository, "1.0", "one", &[]).status.success());
    let list = fs::read(directory.join("SHA256SUMS")).unwrap();
    tree::write(&directory.join("SHA256SUMS.gpg"), b"signature");
    for more in [&[][..], &["--sign", "nobody@example.invalid"]] {
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
fn what_killed_publishers_left_half_done_goes_with_the_next_one() {
    let scratch = scratch();
    let repository = scratch.path().join("repository");
    let directory = repository.join("ext/demo");
    tree::write(&directory.join(".demo_0.9.raw.reconcile-new"), b"half");
    tree::write(&directory.join(".theirs"), b"theirs");
    let published = extension(&repository, "1.0", "one", &[]);
    assert!(published.status.success(), "{published:?}");
    assert_eq!(names(&directory), [".theirs", "SHA256SUMS", "demo_1.0.raw"]);
    let (releases, made) = (scratch.path().join("releases"), scratch.path().join("made"));
    tree::write(&releases.join(".0.9.reconcile-new/tool"), b"half");
    tree::write(&made.join("tool"), b"tool");
    let (from, to) = (made.to_str().unwrap(), releases.to_str().unwrap());
    let arguments = ["release", from, "--to", to, "--version", "1.0"];
    let published = command(&arguments).output().unwrap();
    assert!(published.status.success(), "{published:?}");
    assert!(!names(&releases).iter().any(|name| name.ends_with(".reconcile-new")));
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

/// Runs a publisher in a directory; what it ended with and said.
fn told(place: &Path, arguments: &[&str]) -> (Option<i32>, String) {
    let output = command(arguments).current_dir(place).output().unwrap();
    let said = [output.stdout, output.stderr].concat();
    (output.status.code(), String::from_utf8(said).unwrap())
}

#[test]
fn what_no_client_accepts_is_not_published() {
    let scratch = scratch();
    let place = scratch.path();
    tree::write(&place.join("release/tool"), b"one");
    tree::write(&place.join("none.raw"), b"no image");
    tree::write(&place.join("image.raw"), &image(""));
    for (index, name) in [" blank", "back\\slash", "deltas"].iter().enumerate() {
        tree::write(&place.join(format!("{index}.0")).join(name), b"one");
    }
    let extension = |name: &'static str, image: &'static str| {
        vec!["extension", "repository", image, "--name", name, "--version", "1"]
    };
    let bare = include_bytes!("../golden/publish/bare.raw.zst");
    tree::write(&place.join("bare.raw"), &zstd::decode_all(bare.as_slice()).unwrap());
    tree::write(&place.join("short.raw"), &image("")[..8192]);
    let cases: [(Vec<&str>, i32, &str); 7] = [
        (vec!["release", "release", "--to", "to"], 64, "write --version"),
        (vec!["release", "0.0", "--to", "to"], 1, "cannot be an artifact's name"),
        (vec!["release", "1.0", "--to", "to"], 1, "cannot be an artifact's name"),
        (vec!["release", "2.0", "--to", "to"], 1, "`deltas` cannot be an artifact's name"),
        (extension("demo", "none.raw"), 1, "it is no disk image"),
        (extension("demo", "short.raw"), 1, "is cut short"),
        (extension("demo", "bare.raw"), 1, "extension-release.demo"),
    ];
    for (arguments, code, why) in cases {
        let (ended, said) = told(place, &arguments);
        assert!(ended == Some(code) && said.contains(why), "{arguments:?}: {ended:?} {said}");
        assert!(
            !place.join("to/SHA256SUMS").exists() && !place.join("repository/ext/index").exists()
        );
    }
    assert_eq!(told(place, &["release", "release", "--to", "to", "--version", "v1"]).0, Some(0));
    assert_eq!(told(place, &extension("demo", "image.raw")).0, Some(0));
}

#[test]
fn what_is_left_out_of_a_release_is_told() {
    use std::os::unix::ffi::OsStrExt;
    let scratch = scratch();
    let place = scratch.path();
    for name in ["tool", ".hidden", "nested/tool"] {
        tree::write(&place.join("1.0").join(name), b"one");
    }
    let odd = std::ffi::OsStr::from_bytes(b"n\xffne");
    tree::write(&place.join("1.0").join(odd), b"one");
    let (code, said) = told(place, &["release", "1.0", "--to", "to"]);
    assert_eq!(code, Some(0), "{said}");
    for name in [".hidden", "nested", "n\\xffne"] {
        assert!(said.contains(&format!("{name} is left out")), "{name}: {said}");
    }
    assert_eq!(names(&place.join("to/1.0")), ["SHA256SUMS", "tool"]);
}

#[test]
fn what_is_published_is_for_everybody_whatever_the_mask_of_its_publisher() {
    use std::os::unix::fs::PermissionsExt;
    let scratch = scratch();
    let place = scratch.path();
    tree::write(&place.join("1.0/tool"), b"#!/bin/sh\n");
    tree::write(&place.join("image.raw"), &image(""));
    let publishers = [
        "choria 1.0/tool --version 1.0 --arch amd64 --repo public/choria",
        "selfupdate 1.0/tool 1.0 --platform linux-amd64 --out public/self/tool",
        "release 1.0 --to public/release",
        "extension public/images image.raw --name demo --version 1",
        "tree 1.0 --index public/tree/site.caidx --packs",
    ];
    for publisher in publishers {
        let line =
            format!("umask 077; exec {} publish {publisher}", env!("CARGO_BIN_EXE_reconcile"));
        let mut shell = Command::new("/bin/sh");
        let ended = shell.current_dir(place).args(["-c", &line]).output().unwrap();
        assert!(ended.status.success(), "{ended:?}");
    }
    let mut pending = vec![place.join("public")];
    while let Some(path) = pending.pop() {
        let metadata = path.symlink_metadata().unwrap();
        let (mode, kind) = (metadata.permissions().mode(), metadata.is_dir());
        // What publishers remember is theirs.
        let name = path.file_name().unwrap().to_str().unwrap();
        if name.ends_with(".cache") || name.starts_with(".reconcile") {
            continue;
        }
        let wanted = if kind { 0o755 } else { 0o444 };
        assert_eq!(mode & wanted, wanted, "{} {mode:o}", path.display());
        if kind {
            pending.extend(fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
        }
    }
}

#[test]
fn publishers_wait_for_another_one_as_long_as_they_are_told() {
    let scratch = scratch();
    let place = scratch.path();
    tree::write(&place.join("1.0/tool"), b"#!/bin/sh\n");
    tree::write(&place.join("image.raw"), &image(""));
    let cases = [
        ("choria 1.0/tool --version 1.0 --arch amd64 --repo choria", vec!["choria"]),
        (
            "selfupdate 1.0/tool 1.0 --platform linux-amd64 --out out --bin bin --diff diff",
            vec!["out", "bin", "diff"],
        ),
        ("selfupdate 1.0/tool 1.0 --platform linux-amd64 --out same", vec!["same"]),
        ("release 1.0 --to release", vec!["release"]),
        ("extension images image.raw --name demo --version 1", vec!["images/ext"]),
        ("tree 1.0 --index tree/site.caidx", vec!["tree/site.caidx.cache"]),
        (
            "tree 1.0 --index tree/site.caidx --seed-cache other",
            vec!["tree/site.caidx.cache", "tree/default.castr/.reconcile.lock"],
        ),
    ];
    for (publisher, locks) in cases {
        let words: Vec<&str> = publisher.split(' ').collect();
        let run = || {
            let mut command = Command::new(env!("CARGO_BIN_EXE_reconcile"));
            command.args(["--lock-timeout", "0s", "publish"]).args(&words);
            command.current_dir(place).output().unwrap()
        };
        // It makes the directories, too.
        assert!(run().status.success(), "{publisher}");
        for lock in locks {
            let held = fs::File::open(place.join(lock)).unwrap();
            held.lock().unwrap();
            let ended = run();
            assert_eq!(ended.status.code(), Some(75), "{publisher} {lock}: {ended:?}");
            held.unlock().unwrap();
        }
        assert!(run().status.success(), "{publisher}");
    }
}

#[test]
fn pipe_is_no_program_to_publish() {
    let scratch = scratch();
    let place = scratch.path();
    assert!(Command::new("mkfifo").arg(place.join("pipe")).status().unwrap().success());
    let publishers = [
        vec!["choria", "pipe", "--version", "1.0", "--arch", "amd64", "--repo", "to"],
        vec!["selfupdate", "pipe", "1.0", "--platform", "linux-amd64", "--out", "to"],
    ];
    for publisher in publishers {
        // Whoever waits for somebody to write there is ended.
        let mut guarded = Command::new("timeout");
        guarded.args(["20", env!("CARGO_BIN_EXE_reconcile"), "publish"]).args(&publisher);
        let ended = guarded.current_dir(place).output().unwrap();
        assert_eq!(ended.status.code(), Some(1), "{ended:?}");
        assert!(String::from_utf8_lossy(&ended.stderr).contains("pipe"), "{ended:?}");
    }
}
