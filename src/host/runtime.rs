//! The runtime directory: what lasts as long as the one agent that keeps this host.

use std::fs::{DirBuilder, File, OpenOptions, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::time::Duration;

use camino::{Utf8Path, Utf8PathBuf};

use crate::host::{Look, about, create_anew, open_in_place, read_regular};

/// How often, and how far apart, a lock that is held is tried for.
const CLAIM_TRIES: u32 = 5;
const CLAIM_PAUSE: Duration = Duration::from_millis(20);

/// Held by the one agent. Whoever may open it may keep an agent from starting, so that is its owner alone.
const LOCK: &str = "run.lock";
const LOCK_MODE: u32 = 0o600;

/// Who holds which lock, for those who may not open it.
const LOCKS: &str = "/proc/locks";
const LOCKS_BYTES_MAX: u64 = 16 << 20;

/// Why an agent cannot keep this host.
#[derive(Debug, thiserror::Error)]
pub enum RuntimeError {
    /// Another agent does.
    #[error("another `reconcile run` keeps this host ({path} is locked); stop it first")]
    Taken {
        /// The lock file.
        path: Utf8PathBuf,
    },
    /// The directory cannot be written.
    #[error("cannot write the runtime directory {path}; run as root, or set RUNTIME_DIRECTORY")]
    Unwritable {
        /// The directory.
        path: Utf8PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
}

/// The runtime directory of the one agent.
#[derive(Debug)]
pub struct Runtime {
    directory: Utf8PathBuf,
    /// Held as long as this lives: it dies with the process and is never stale.
    _lock: File,
}

impl Runtime {
    /// Becomes the one agent of a host.
    pub fn claim(host: &Look) -> Result<Self, RuntimeError> {
        let directory = host.real_followed(&host.places().runtime);
        let unwritable = |source| RuntimeError::Unwritable { path: directory.clone(), source };
        DirBuilder::new().recursive(true).mode(0o755).create(&directory).map_err(unwritable)?;
        let path = directory.join(LOCK);
        let mut options = OpenOptions::new();
        let options = options.create(true).truncate(false).write(true).mode(LOCK_MODE);
        let lock = open_in_place(&path, options).map_err(|e| unwritable(about(&path, &e)))?;
        let permissions = Permissions::from_mode(LOCK_MODE);
        lock.set_permissions(permissions).map_err(unwritable)?;
        for attempt in 1..=CLAIM_TRIES {
            match lock.try_lock() {
                Ok(()) => return Ok(Self { directory, _lock: lock }),
                // Somebody may only be looking whether there is an agent.
                Err(std::fs::TryLockError::WouldBlock) if attempt < CLAIM_TRIES => {
                    std::thread::sleep(CLAIM_PAUSE);
                }
                Err(std::fs::TryLockError::WouldBlock) => {}
                Err(std::fs::TryLockError::Error(source)) => return Err(unwritable(source)),
            }
        }
        Err(RuntimeError::Taken { path })
    }

    /// Whether an agent keeps a host now.
    pub fn is_claimed(host: &Look) -> bool {
        Self::is_held(&host.real_followed(&host.places().runtime))
    }

    /// The same by the runtime directory on this machine.
    pub fn is_held(directory: &Utf8Path) -> bool {
        let path = directory.join(LOCK);
        match open_in_place(&path, OpenOptions::new().read(true)) {
            Ok(lock) => matches!(lock.try_lock_shared(), Err(std::fs::TryLockError::WouldBlock)),
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => is_listed(&path),
            Err(_) => false,
        }
    }

    /// A path in it, on this machine.
    pub fn path(&self, name: &str) -> Utf8PathBuf {
        self.directory.join(name)
    }

    /// Replaces a file as a whole; nothing in here has to outlive a crash.
    pub fn write(&self, name: &str, bytes: &[u8]) -> io::Result<()> {
        let (path, beside) = (self.path(name), self.path(&format!("{name}.new")));
        let attempt = || -> io::Result<()> {
            create_anew(&beside)?.write_all(bytes)?;
            Ok(rustix::fs::rename(beside.as_std_path(), path.as_std_path())?)
        };
        attempt().map_err(|error| about(&path, &error))
    }

    /// Removes a file; nothing there is fine.
    pub fn remove(&self, name: &str) -> io::Result<()> {
        remove(&self.path(name))
    }
}

/// Whether a lock is held by what the kernel tells everybody of locks:
/// `1: FLOCK  ADVISORY  WRITE 708 00:1a:13421 0 EOF`.
fn is_listed(path: &Utf8Path) -> bool {
    let Ok(metadata) = path.metadata() else { return false };
    let (major, minor) = (rustix::fs::major(metadata.dev()), rustix::fs::minor(metadata.dev()));
    let file = format!("{major:02x}:{minor:02x}:{}", metadata.ino());
    let held = |line: &str| {
        let mut words = line.split_whitespace();
        words.any(|word| word == "FLOCK") && words.nth(3).is_some_and(|word| word == file)
    };
    read_regular(Utf8Path::new(LOCKS), LOCKS_BYTES_MAX)
        .is_ok_and(|text| String::from_utf8_lossy(&text).lines().any(held))
}

fn remove(path: &Utf8Path) -> io::Result<()> {
    match rustix::fs::unlink(path.as_std_path()) {
        Err(error) if error != rustix::io::Errno::NOENT => Err(about(path, &error.into())),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::Places;

    fn mode(path: &Utf8Path) -> u32 {
        path.metadata().unwrap().permissions().mode() & 0o777
    }

    #[test]
    fn lock_is_for_its_owner_alone_also_where_an_earlier_agent_left_it_open_to_all() {
        let temp = tempfile::tempdir().unwrap();
        let root = Utf8PathBuf::from_path_buf(temp.path().to_owned()).unwrap();
        let host = Look::new(root.clone(), Places::default());
        let path = root.join("run/reconcile").join(LOCK);
        drop(Runtime::claim(&host).unwrap());
        assert_eq!(mode(&path), 0o600);
        std::fs::set_permissions(&path, Permissions::from_mode(0o644)).unwrap();
        let runtime = Runtime::claim(&host).unwrap();
        assert_eq!(mode(&path), 0o600);
        assert!(Runtime::is_claimed(&host) && is_listed(&path), "whoever may not open it sees it");
        drop(runtime);
        assert!(!Runtime::is_claimed(&host) && !is_listed(&path));
    }

    #[test]
    #[expect(clippy::disallowed_methods, reason = "the host of a test is made by hand")]
    fn nothing_of_the_agent_is_written_through_links_and_no_pipe_is_waited_for() {
        let temp = tempfile::tempdir().unwrap();
        let root = Utf8PathBuf::from_path_buf(temp.path().join("root")).unwrap();
        let host = Look::new(root.clone(), Places::default());
        let (victim, runtime) = (temp.path().join("victim"), root.join("run/reconcile"));
        std::fs::create_dir_all(&runtime).unwrap();
        std::fs::write(&victim, "precious").unwrap();
        std::fs::set_permissions(&victim, Permissions::from_mode(0o644)).unwrap();
        let (lock, beside) = (runtime.join(LOCK), runtime.join("agent.json.new"));
        std::os::unix::fs::symlink(&victim, &lock).unwrap();
        assert!(Runtime::claim(&host).is_err() && !Runtime::is_claimed(&host));
        std::fs::remove_file(&lock).unwrap();
        let (fifo, own) = (rustix::fs::FileType::Fifo, rustix::fs::Mode::RWXU);
        rustix::fs::mknodat(rustix::fs::CWD, lock.as_std_path(), fifo, own, 0).unwrap();
        assert!(Runtime::claim(&host).is_err() && !Runtime::is_claimed(&host));
        std::fs::remove_file(&lock).unwrap();
        let claimed = Runtime::claim(&host).unwrap();
        std::os::unix::fs::symlink(&victim, &beside).unwrap();
        claimed.write("agent.json", b"{}").unwrap();
        rustix::fs::mknodat(rustix::fs::CWD, beside.as_std_path(), fifo, own, 0).unwrap();
        claimed.write("agent.json", b"{}").unwrap();
        assert_eq!(std::fs::read(runtime.join("agent.json")).unwrap(), b"{}");
        assert_eq!(std::fs::read(&victim).unwrap(), b"precious");
        assert_eq!(mode(Utf8Path::from_path(&victim).unwrap()), 0o644);
    }
}
