//! The kinds of steps, by which output and errors call them.

use std::fmt;

use crate::model::Step;

/// A kind of step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StepKind {
    /// Bytes come from a source.
    Fetch,
    /// A release is unpacked.
    Unpack,
    /// A generation of a tree is made.
    Assemble,
    /// What was made gets its name.
    Promote,
    /// An effect is owed from now on.
    Owe,
    /// An image is made.
    Place,
    /// A tree is exchanged.
    Exchange,
    /// Links are exchanged.
    Switch,
    /// A file is replaced.
    Install,
    /// A program's successor is tried.
    Try,
    /// A link is pointed elsewhere.
    Point,
    /// Images are shown to systemd, or hidden from it.
    Pick,
    /// A directory becomes immutable.
    Seal,
    /// systemd-sysupdate's list is changed.
    Enlist,
    /// Who listens is told.
    Announce,
    /// Extensions are merged.
    Merge,
    /// Extensions are to be merged.
    Refresh,
    /// A debt is paid.
    Settle,
    /// A debt is struck out.
    Forgive,
    /// A release shows that it works.
    Confirm,
    /// Something goes.
    Remove,
}

impl StepKind {
    /// The name in output and errors.
    pub fn name(self) -> &'static str {
        match self {
            Self::Fetch => "fetch",
            Self::Unpack => "unpack",
            Self::Assemble => "assemble",
            Self::Promote => "promote",
            Self::Owe => "owe",
            Self::Place => "place",
            Self::Exchange => "exchange",
            Self::Switch => "switch",
            Self::Install => "install",
            Self::Try => "try",
            Self::Point => "point",
            Self::Pick => "pick",
            Self::Seal => "seal",
            Self::Enlist => "enlist",
            Self::Announce => "announce",
            Self::Merge => "merge",
            Self::Refresh => "refresh",
            Self::Settle => "settle",
            Self::Forgive => "forgive",
            Self::Confirm => "confirm",
            Self::Remove => "remove",
        }
    }
}

impl fmt::Display for StepKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl Step {
    /// Which kind it is.
    pub fn kind(&self) -> StepKind {
        match self {
            Self::Fetch { .. } => StepKind::Fetch,
            Self::Unpack { .. } => StepKind::Unpack,
            Self::Assemble { .. } => StepKind::Assemble,
            Self::Promote { .. } => StepKind::Promote,
            Self::Owe { .. } | Self::OweIfChanged { .. } => StepKind::Owe,
            Self::Place { .. } => StepKind::Place,
            Self::Exchange { .. } => StepKind::Exchange,
            Self::Switch { .. } => StepKind::Switch,
            Self::Install { .. } => StepKind::Install,
            Self::Try { .. } => StepKind::Try,
            Self::Point { .. } => StepKind::Point,
            Self::Pick { .. } => StepKind::Pick,
            Self::Seal { .. } => StepKind::Seal,
            Self::Enlist { .. } => StepKind::Enlist,
            Self::Announce { .. } => StepKind::Announce,
            Self::Merged { .. } => StepKind::Merge,
            Self::Refresh { .. } => StepKind::Refresh,
            Self::Settle { .. } => StepKind::Settle,
            Self::Forgive { .. } => StepKind::Forgive,
            Self::Confirm { .. } => StepKind::Confirm,
            Self::Remove { .. } | Self::RemoveEmpty { .. } => StepKind::Remove,
        }
    }
}
