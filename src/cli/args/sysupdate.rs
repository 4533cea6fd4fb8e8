//! Options of the commands that scripts know from systemd-sysupdate and updex.

use camino::Utf8PathBuf;
use clap::{ArgAction, Args, Subcommand, ValueEnum};

use crate::format::sysupdate::pattern::boolean;

/// A command for systemd-sysupdate.
#[derive(Debug, Args)]
#[expect(clippy::struct_excessive_bools, reason = "each is a switch that somebody types")]
pub struct SysupdateArgs {
    /// What to do.
    #[command(subcommand)]
    pub command: SysupdateCommand,
    /// About this component; about the host's own definitions when absent.
    #[arg(short = 'C', long, global = true)]
    pub component: Option<String>,
    /// Answer with its JSON.
    #[arg(long, global = true, value_enum, value_name = "STYLE", num_args = 0..=1, require_equals = true)]
    #[arg(default_missing_value = "short", default_value = "off")]
    pub json: JsonStyle,
    /// Keep so many instances, whatever `InstancesMax=` says.
    #[arg(short = 'm', long, global = true, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub instances_max: Option<u32>,
    /// Whose exit codes say that nothing is new or pending.
    #[arg(long, global = true, value_enum, default_value_t = ExitCodes::Sysupdate)]
    pub exit_codes: ExitCodes,
    /// Ask no source: tell what is here.
    #[arg(long, global = true)]
    pub offline: bool,
    /// Whether lists must be signed, whatever `Verify=` says.
    #[arg(long, global = true, value_name = "yes|no", value_parser = yes_or_no, action = ArgAction::Set)]
    pub verify: Option<bool>,
    /// Read the definitions in this directory instead; for questions.
    #[arg(long, global = true, value_name = "DIR", conflicts_with = "component")]
    pub definitions: Option<Utf8PathBuf>,
    /// Leave out headings and footers.
    #[arg(long, global = true)]
    pub no_legend: bool,
    /// Accepted for scripts: there is never a pager.
    #[arg(long, global = true)]
    pub no_pager: bool,
    /// Whether an update cleans up afterwards.
    #[arg(long, global = true, value_name = "yes|no", value_parser = yes_or_no, default_value = "no", action = ArgAction::Set)]
    pub cleanup: bool,
    /// Update, or switch, every component, the host's own definitions first.
    #[arg(short = 'A', long, global = true)]
    pub component_all: bool,
    /// Switch components that are suggested on this host.
    #[arg(short = 'S', long, global = true)]
    pub component_suggested: bool,
    /// Switch all features.
    #[arg(short = 'a', long, global = true)]
    pub feature_all: bool,
    /// Switch features that are suggested on this host.
    #[arg(short = 's', long, global = true)]
    pub feature_suggested: bool,
}

/// How its JSON is laid out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum JsonStyle {
    /// On one line.
    Short,
    /// On many lines.
    Pretty,
    /// Text instead.
    Off,
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
    /// Take away what was installed for definitions that are gone or off, by systemd-sysupdate's own list.
    Cleanup,
    /// Whether something is in place and not in effect.
    Pending,
    /// The features, or one of them in detail.
    Features {
        /// Its name.
        feature: Option<String>,
    },
    /// The components.
    Components,
    /// Switch features on, by the file that systemd-sysupdate writes.
    EnableFeature {
        /// Its name; or --feature-all, or --feature-suggested.
        feature: Option<String>,
    },
    /// Switch features off.
    DisableFeature {
        /// Its name; or --feature-all, or --feature-suggested.
        feature: Option<String>,
    },
    /// Switch components on.
    EnableComponent {
        /// Its name; or --component-all, or --component-suggested.
        #[arg(id = "name", value_name = "COMPONENT")]
        component: Option<String>,
    },
    /// Switch components off.
    DisableComponent {
        /// Its name; or --component-all, or --component-suggested.
        #[arg(id = "name", value_name = "COMPONENT")]
        component: Option<String>,
    },
}

/// Whose exit codes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum ExitCodes {
    /// 1 when nothing is new, and for errors.
    Sysupdate,
    /// 2 when nothing is new, 1 for errors.
    Updex,
}

/// A switch as systemd reads them.
fn yes_or_no(text: &str) -> Result<bool, String> {
    boolean(text).ok_or_else(|| "write yes or no".to_owned())
}
