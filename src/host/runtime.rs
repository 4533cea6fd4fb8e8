//! The runtime directory: what lasts as long as the one agent that keeps this host.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::time::Duration;

use camino::{Utf8Path, Utf8PathBuf};

use crate::host::{Look, about};

/// How often, and how far apart, a lock that is held is tried for.
const CLAIM_TRIES: u32 = 5;
const CLAIM_PAUSE: Duration = Duration::from_millis(20);

/// Held by the one agent.
const LOCK: &str = "run.lock";

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
        let options = options.create(true).truncate(false).write(true).mode(0o644);
        let lock = options.open(&path).map_err(unwritable)?;
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
        let path = host.real(host.places().runtime.join(LOCK));
        let Ok(lock) = File::open(path) else { return false };
        matches!(lock.try_lock_shared(), Err(std::fs::TryLockError::WouldBlock))
    }

    /// A path in it, on this machine.
    pub fn path(&self, name: &str) -> Utf8PathBuf {
        self.directory.join(name)
    }

    /// Replaces a file as a whole; nothing in here has to outlive a crash.
    pub fn write(&self, name: &str, bytes: &[u8]) -> io::Result<()> {
        let (path, beside) = (self.path(name), self.path(&format!("{name}.new")));
        let attempt = || -> io::Result<()> {
            let mut options = OpenOptions::new();
            let options = options.create(true).truncate(true).write(true).mode(0o644);
            options.open(&beside)?.write_all(bytes)?;
            Ok(rustix::fs::rename(beside.as_std_path(), path.as_std_path())?)
        };
        attempt().map_err(|error| about(&path, &error))
    }

    /// Removes a file; nothing there is fine.
    pub fn remove(&self, name: &str) -> io::Result<()> {
        remove(&self.path(name))
    }
}

fn remove(path: &Utf8Path) -> io::Result<()> {
    match rustix::fs::unlink(path.as_std_path()) {
        Err(error) if error != rustix::io::Errno::NOENT => Err(about(path, &error.into())),
        _ => Ok(()),
    }
}
