//! Options of the commands that switch features of the host's own definitions.

use clap::{Args, Subcommand};

/// What to do with features.
#[derive(Debug, Subcommand)]
pub enum FeatureCommand {
    /// List them.
    List,
    /// Switch one on, by the file that updex writes.
    Enable(FeatureSwitch),
    /// Switch one off.
    Disable(FeatureSwitch),
}

/// Which feature.
#[derive(Debug, Args)]
pub struct FeatureSwitch {
    /// Its name.
    pub feature: String,
    /// The component that it is of, where several have one of this name; `host` for that of none.
    #[arg(short = 'C', long, value_name = "NAME")]
    pub component: Option<String>,
    /// Make a pass at once.
    #[arg(long)]
    pub now: bool,
}
