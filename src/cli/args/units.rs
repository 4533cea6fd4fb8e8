//! Options of `units`.

use camino::Utf8PathBuf;
use clap::{Args, ValueEnum};

/// How `reconcile` is kept running.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum ModeArg {
    /// One process that waits: `reconcile run`.
    Service,
    /// A pass each time, started by a timer and by changes of the desired state.
    Timer,
}

/// The units to print or install.
#[derive(Debug, Args)]
pub struct UnitsArgs {
    /// Which units.
    #[arg(long, value_enum, default_value_t = ModeArg::Service)]
    pub mode: ModeArg,
    /// Install them in /etc/systemd/system, enable them and start them.
    #[arg(long)]
    pub install: bool,
    /// The program that they start; this one when absent.
    #[arg(long, value_name = "PATH")]
    pub program: Option<Utf8PathBuf>,
}
