//! Options of the commands that scripts know from systemd-sysupdate and updex.

use clap::{ArgAction, Args, Subcommand, ValueEnum};

use crate::format::sysupdate::pattern::boolean;

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
    #[arg(long, global = true, value_enum, value_name = "STYLE", num_args = 0..=1, require_equals = true)]
    #[arg(default_missing_value = "short", default_value = "off")]
    pub json: JsonStyle,
    /// Keep so many instances, whatever `InstancesMax=` says.
    #[arg(short = 'm', long, global = true, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub instances_max: Option<u32>,
    /// Whose exit codes say that nothing is new or pending.
    #[arg(long, global = true, value_enum, default_value_t = ExitCodes::Sysupdate)]
    pub exit_codes: ExitCodes,
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
        /// Every component, the host's own definitions first.
        #[arg(short = 'A', long)]
        component_all: bool,
        /// Whether to clean up afterwards.
        #[arg(long = "cleanup", value_name = "yes|no", value_parser = yes_or_no, default_value = "no", action = ArgAction::Set)]
        afterwards: Afterwards,
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
    EnableFeature(FeatureChoice),
    /// Switch features off.
    DisableFeature(FeatureChoice),
    /// Switch components on.
    EnableComponent(ComponentChoice),
    /// Switch components off.
    DisableComponent(ComponentChoice),
}

/// Which features.
#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
pub struct FeatureChoice {
    /// This one.
    pub feature: Option<String>,
    /// All of them.
    #[arg(short = 'a', long)]
    pub feature_all: bool,
    /// Those that are suggested on this host.
    #[arg(short = 's', long)]
    pub feature_suggested: bool,
}

/// Which components.
#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
pub struct ComponentChoice {
    /// This one.
    #[arg(value_name = "COMPONENT")]
    pub name: Option<String>,
    /// All of them.
    #[arg(short = 'A', long)]
    pub component_all: bool,
    /// Those that are suggested on this host.
    #[arg(short = 'S', long)]
    pub component_suggested: bool,
}

/// Whose exit codes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum ExitCodes {
    /// 1 when nothing is new, and for errors.
    Sysupdate,
    /// 2 when nothing is new, 1 for errors.
    Updex,
}

/// What follows an update.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Afterwards {
    /// What no definition owns any more is taken away.
    CleanUp,
    /// Nothing.
    Nothing,
}

/// A switch as systemd reads them.
fn yes_or_no(text: &str) -> Result<Afterwards, String> {
    match boolean(text) {
        Some(true) => Ok(Afterwards::CleanUp),
        Some(false) => Ok(Afterwards::Nothing),
        None => Err("write yes or no".to_owned()),
    }
}
