//! How it is told that a release works: samples that must hold for a while.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Probes that must all hold, without a break, for some time.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Check {
    /// What is looked at.
    pub probes: Vec<Probe>,
    /// Milliseconds between two samples.
    pub interval_ms: u64,
    /// Milliseconds that every probe must hold without a break.
    pub stable_ms: u64,
    /// Milliseconds after which it counts as failed, from the first sample after the switch.
    pub deadline_ms: u64,
    /// Whether the release before is used again when it fails.
    pub rolls_back: bool,
}

/// One thing to look at.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Probe {
    /// systemd says that the unit is active, and does not restart it meanwhile.
    Unit(String),
    /// The program ends with exit status 0.
    Exec(Vec<String>),
    /// The URL answers with this status.
    Http {
        /// The URL; redirects are not followed.
        url: String,
        /// The status.
        status: u16,
    },
    /// Something accepts connections there: `HOST:PORT`.
    Tcp(String),
}

impl Probe {
    /// In words.
    pub fn describe(&self) -> String {
        match self {
            Self::Unit(unit) => format!("unit {unit}"),
            Self::Exec(argv) => format!("`{}`", command_line(argv)),
            Self::Http { url, status } => format!("{url} ({status})"),
            Self::Tcp(address) => format!("connecting to {address}"),
        }
    }
}

impl Check {
    /// The programs that look.
    pub fn programs(&self) -> impl Iterator<Item = &String> {
        self.probes.iter().filter_map(|probe| match probe {
            Probe::Exec(argv) => argv.first(),
            Probe::Unit(_) | Probe::Http { .. } | Probe::Tcp(_) => None,
        })
    }

    /// In words: `unit web.service, connecting to 127.0.0.1:80`.
    pub fn describe(&self) -> String {
        let probes: Vec<String> = self.probes.iter().map(Probe::describe).collect();
        probes.join(", ")
    }
}

/// A program and its arguments as they would be typed into a shell.
pub fn command_line(argv: &[String]) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "_@%+=:,./-".contains(c);
    let quoted = |text: &String| {
        if text.chars().all(plain) && !text.is_empty() {
            text.clone()
        } else {
            format!("'{}'", text.replace('\'', "'\\''"))
        }
    };
    argv.iter().map(quoted).collect::<Vec<_>>().join(" ")
}
