//! What is done to the running system after a switch.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::model::check::command_line;
use crate::model::extension::ExtensionClass;
use crate::model::{ResourceId, Version};

/// An effect on the running system that nobody can see afterwards, so it is journaled before the switch
/// that makes it due. Effects run at least once and must be idempotent.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", rename_all_fields = "camelCase")]
pub enum Effect {
    /// `systemctl restart UNIT`.
    Restart {
        /// The unit.
        unit: String,
    },
    /// `systemd-sysext refresh` or `systemd-confext refresh`: merges what is linked now.
    Refresh {
        /// What.
        class: ExtensionClass,
    },
    /// A program with its arguments; no shell.
    Run {
        /// For whom: hooks of two resources are never merged.
        resource: ResourceId,
        /// Program and arguments.
        argv: Vec<String>,
        /// Given to the program as `RECONCILE_NEW_VERSION`.
        version: Option<Version>,
    },
    /// Waiting until a release has shown that it works, so that a pass that was cut off is made up for.
    Confirm {
        /// Whose release.
        resource: ResourceId,
        /// Which one: the name of its slot.
        slot: String,
        /// The slot to go back to when it does not.
        back_to: Option<String>,
        /// It failed, and so did what was in use before: that says nothing about it. What it would go back to is kept.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        excused: bool,
    },
}

impl Effect {
    /// The slot that is kept because nobody can tell yet whether a release works.
    pub fn kept(&self) -> Option<&str> {
        match self {
            Self::Confirm { back_to, excused: true, .. } => back_to.as_deref(),
            _ => None,
        }
    }

    /// Whether it waits for a release of a resource to show that it works after all.
    pub fn doubts(&self, id: &ResourceId, in_use: &str) -> bool {
        matches!(self, Self::Confirm { resource, slot, excused: true, .. } if resource == id && slot == in_use)
    }

    /// What an operator would type.
    pub fn describe(&self) -> String {
        match self {
            Self::Restart { unit } => format!("restart {unit}"),
            Self::Refresh { class } => format!("{} refresh", class.program()),
            Self::Run { argv, .. } => format!("run {}", command_line(argv)),
            Self::Confirm { resource, slot, .. } => format!("confirm that {resource} {slot} works"),
        }
    }
}
