//! Options of the commands that scripts know from systemd-sysupdate and updex.

use clap::{Args, Subcommand, ValueEnum};

/// A command for systemd-sysupdate.
#[derive(Debug, Args)]
pub struct SysupdateArgs {
    /// What to do.
    #[command(subcommand)]
    pub command: SysupdateCommand,
    /// About this component; about the host's own definitions when absent.
    #[arg(short = 'C', long, global = true)]
    pub component: Option<String>,
    /// Answer with its JSON.
    #[arg(long, global = true)]
    pub json: bool,
    /// Keep so many instances, whatever `InstancesMax=` says.
    #[arg(short = 'm', long, global = true, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub instances_max: Option<u32>,
    /// Whose exit codes say that nothing is new or pending.
    #[arg(long, global = true, value_enum, default_value_t = ExitCodes::Sysupdate)]
    pub exit_codes: ExitCodes,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum SysupdateCommand {
    /// The versions that are installed and available.
    List {
        /// Only this one, in detail.
        version: Option<String>,
    },
    /// The version that an update would install.
    CheckNew,
    /// Carry the definitions out: a pass over what the desired state follows of them.
    Update {
        /// This version; the newest when absent.
        version: Option<String>,
    },
    /// Take away what is not kept and what an interrupted update left.
    Vacuum,
    /// Whether something is in place and not in effect.
    Pending,
    /// The features, or one of them in detail.
    Features {
        /// Its name.
        feature: Option<String>,
    },
    /// The components.
    Components,
}

/// Whose exit codes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum ExitCodes {
    /// 1 when nothing is new, and for errors.
    Sysupdate,
    /// 2 when nothing is new, 1 for errors.
    Updex,
}
