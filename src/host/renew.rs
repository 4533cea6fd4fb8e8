//! Going on as another program: what replaced the file that this process was started from.

use std::ffi::OsString;
use std::io::{self, Write};
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::Command;

/// Set in the environment of a program that goes on as the successor of another.
pub const RENEWED: &str = "RECONCILE_RENEWED";

/// How this process was started.
#[derive(Clone, Debug)]
pub struct Program {
    file: PathBuf,
    arguments: Vec<OsString>,
}

impl Program {
    /// This process's own. To be asked before anything is replaced: afterwards the system names the file that is gone.
    pub fn own() -> io::Result<Self> {
        Ok(Self { file: std::env::current_exe()?, arguments: std::env::args_os().collect() })
    }

    /// Executes what is in the file now, in this very process and with the same arguments. Locks and sockets of this
    /// process end with it. Returns only when that cannot be done.
    #[expect(clippy::disallowed_methods, reason = "nothing is run beside this process")]
    pub fn go_on(self) -> io::Error {
        let _ = io::stdout().lock().flush();
        let mut command = Command::new(&self.file);
        let mut arguments = self.arguments.into_iter();
        if let Some(name) = arguments.next() {
            command.arg0(name);
        }
        let error = command.args(arguments).env(RENEWED, "1").exec();
        io::Error::new(error.kind(), format!("{}: {error}", self.file.display()))
    }
}
