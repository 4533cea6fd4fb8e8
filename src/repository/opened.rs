//! Opening repositories: one on this host where it is, and the bare one that keeps what is fetched.
//!
//! Nothing of user, system and environment counts, and nothing that a repository says about itself may stand for
//! another object: replacements are not looked at.

use std::error::Error as StdError;
use std::io;
use std::path::{Path, PathBuf};

use gix::Repository;

use crate::repository::Source;

type Cause = Box<dyn StdError + Send + Sync>;

/// Files that are read when a repository is opened.
const FILES: [&str; 6] =
    ["HEAD", "config", "commondir", "packed-refs", "shallow", "objects/info/alternates"];

/// How `ssh` is run where nobody says: it asks nobody anything and gives up a connection that says nothing.
const SSH: &str =
    "ssh -o BatchMode=yes -o ConnectTimeout=20 -o ServerAliveInterval=15 -o ServerAliveCountMax=3";

/// What that understands, which needs no trial.
const SSH_VARIANT: &str = "ssh.variant=ssh";

/// A repository on this host.
pub(super) fn local(path: &Path) -> Result<Repository, Cause> {
    for directory in [path.to_owned(), path.join(".git")] {
        for file in FILES {
            plain(&directory.join(file))?;
        }
        for entry in std::fs::read_dir(directory.join("objects/pack")).into_iter().flatten() {
            plain(&entry?.path())?;
        }
    }
    let repository = options([]).open_path_as_is(false).open(path)?.to_thread_local();
    Ok(repository)
}

/// Refuses what is there and is no file: reading a pipe waits until somebody writes into it.
pub(super) fn plain(path: &Path) -> io::Result<()> {
    match std::fs::metadata(path) {
        Ok(metadata) if !metadata.is_file() && !metadata.is_dir() => {
            let why = format!("{} is not a regular file", path.display());
            Err(io::Error::new(io::ErrorKind::InvalidInput, why))
        }
        _ => Ok(()),
    }
}

/// Where a repository has an object by itself, outside packs.
pub(super) fn loose(repository: &Repository, id: gix::ObjectId) -> PathBuf {
    let hex = id.to_string();
    let (directory, file) = hex.split_at(2);
    repository.common_dir().join("objects").join(directory).join(file)
}

/// How repositories are opened: nothing of user and system counts.
fn options<'a>(overrides: impl IntoIterator<Item = &'a str>) -> gix::open::Options {
    let bounded = "gitoxide.objects.allocLimit=536870912";
    let connect = "gitoxide.http.connectTimeout=20000";
    let fixed = [bounded, connect, "protocol.version=2", "core.useReplaceRefs=false"];
    gix::open::Options::isolated()
        .with(gix::sec::Trust::Full)
        .config_overrides(fixed.into_iter().chain(overrides))
}

/// The bare repository in a directory, made when there is none; objects of another one count as its own.
pub(super) fn bare(
    source: &Source,
    directory: &Path,
    borrow: Option<&Path>,
) -> Result<Repository, Cause> {
    let (ssh, variant) = match &source.ssh_command {
        Some(command) => (command.as_str(), None),
        None => (SSH, Some(SSH_VARIANT)),
    };
    let ssh = format!("core.sshCommand={ssh}");
    let options = options([ssh.as_str()].into_iter().chain(variant)).open_path_as_is(true);
    if !directory.join("HEAD").exists() {
        let made = gix::ThreadSafeRepository::init_opts(
            directory,
            gix::create::Kind::Bare,
            gix::create::Options::default(),
            options.clone(),
        )?;
        if let Some(borrow) = borrow.filter(|borrow| borrow.join("HEAD").exists()) {
            lend(borrow, made.path())?;
        }
    }
    Ok(options.open(directory)?.to_thread_local())
}

/// Lets a new repository use the objects and know the references and the shallow end of another.
#[expect(clippy::disallowed_methods, reason = "a temporary directory, not the managed host")]
fn lend(from: &Path, to: &Path) -> io::Result<()> {
    let objects = from.join("objects");
    std::fs::write(to.join("objects/info/alternates"), format!("{}\n", objects.display()))?;
    let seen = from.join("refs/reconcile");
    if let Ok(entries) = std::fs::read_dir(&seen) {
        std::fs::create_dir_all(to.join("refs/reconcile"))?;
        let is_lock = |entry: &std::fs::DirEntry| {
            entry.path().extension().is_some_and(|extension| extension == "lock")
        };
        // A fetch that was killed leaves locks.
        for entry in entries.flatten().filter(|entry| !is_lock(entry)) {
            std::fs::copy(entry.path(), to.join("refs/reconcile").join(entry.file_name()))?;
        }
    }
    match std::fs::copy(from.join("shallow"), to.join("shallow")) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}
