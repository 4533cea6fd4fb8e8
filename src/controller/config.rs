//! The agent's own configuration: `/etc/reconcile/agent.yaml`.
//!
//! Every doc comment of a field is what an operator reads in an editor: it becomes the description in
//! `schema/agent.v1.json`. Everything has a default, so there need not be a file.

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::net::SocketAddr;

use camino::Utf8PathBuf;
use schemars::generate::SchemaSettings;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::Error as _;
use serde::{Deserialize, Deserializer};
use serde_json::Value;
use serde_saphyr::{MessageFormatter, UserMessageFormatter};

use crate::controller::backoff::Backoff;
use crate::controller::fight::FightRule;
use crate::controller::machine::Policy;
use crate::controller::schedule::Schedule;
use crate::host::{Look, read_regular};
use crate::model::checked;
use crate::model::span::Span;
use crate::model::window::Windows;
use crate::model::window::document::WindowDocument;
use crate::monitor::notify::Notify;

/// Where it is, below the root.
pub const PLACE: &str = "/etc/reconcile/agent.yaml";

/// Its schema's own name. It is an identifier; nothing is fetched from it.
pub const SCHEMA_ID: &str = "urn:reconcile:agent:v1";

/// Far more than anybody writes into it, in bytes.
const BYTES_MAX: u64 = 1 << 20;

/// Most windows: each is looked at several times in every pass.
const WINDOWS_MAX: usize = 100;

/// How the agent runs on this host.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(rename = "Agent")]
pub struct AgentConfig {
    /// Files and directories with the desired state. Default: `/etc/reconcile/desired-state`.
    #[serde(deserialize_with = "checked::paths")]
    #[schemars(with = "Vec<String>")]
    pub desired: Vec<Utf8PathBuf>,
    /// A Git repository with the desired state, instead of `desired`. `--git` and `--desired` stand above it.
    pub git: Option<GitConfig>,
    /// How often `reconcile run` looks at the host without any cause, 1 s to 1 day. Default `5m`.
    pub interval: Interval,
    /// How old a source's last answer may be when it was only time for a pass, at most 7 days. Default `15m`.
    /// An edit, a request and another attempt always ask. A resource may say `every` for its own source.
    pub sources: SourcesAge,
    /// How failures are tried again.
    #[serde(deserialize_with = "retry")]
    pub retry: RetryConfig,
    /// When corrections count as a fight with somebody else and are given up.
    pub fight: FightConfig,
    /// Whether an edit of the desired state starts a pass. Default `true`.
    pub watch: Watch,
    /// When what is in use may be replaced, by name. Fetching ahead, first installs and repairs wait for no
    /// window. Without any, always. A resource may have windows of its own.
    pub windows: BTreeMap<String, WindowDocument>,
    /// Show status, metrics and a page at this loopback address too, such as `127.0.0.1:9797`. `--listen` stands above it.
    #[schemars(with = "Option<String>")]
    pub listen: Option<Listen>,
    /// Who is told what changes. Nobody who cannot be told keeps anything from being done.
    pub notify: Notify,
}

/// A Git repository with the desired state.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "Git")]
pub struct GitConfig {
    /// https, ssh, or a path on this host.
    pub url: String,
    /// The branch or tag to follow. Default `HEAD`.
    #[serde(rename = "ref")]
    pub reference: Option<String>,
    /// The directory of the repository with the desired state. Default: its top.
    #[schemars(with = "Option<String>")]
    pub path: Option<Utf8PathBuf>,
    /// Accept only what an SSH key of this `allowed_signers` file has signed.
    #[schemars(with = "Option<String>")]
    pub allowed_signers: Option<Utf8PathBuf>,
    /// Accept only what a key of this OpenPGP keyring has signed.
    #[schemars(with = "Option<String>")]
    pub keyring: Option<Utf8PathBuf>,
}

/// Line and column, both from 1, and what is wrong there.
pub type Mistake = (u64, u64, String);

/// Keys that are looked at one by one: there are fewer.
const KEYS_MAX: usize = 32;

/// How often the host is looked at: 1 s to 1 day.
pub type Interval = Span<1, 86_400, 300>;

/// How old an answer of a source may be: at most 7 days.
pub type SourcesAge = Span<0, 604_800, 900>;

/// How failures are tried again.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(rename = "Retry")]
pub struct RetryConfig {
    /// The longest wait after the first failure; it doubles with each. Default `1s`.
    pub first: Span<1, 3600, 1>,
    /// The longest wait ever. Default `5m`.
    pub most: Span<1, 86_400, 300>,
}

/// How failures are tried again, where that can be done.
fn retry<'de, D: Deserializer<'de>>(from: D) -> Result<RetryConfig, D::Error> {
    let retry = RetryConfig::deserialize(from)?;
    let (first, most) = (retry.first.0, retry.most.0);
    if first <= most {
        return Ok(retry);
    }
    let why = format!("`first` is {first:#} and must not be longer than `most`, which is {most:#}");
    Err(D::Error::custom(why))
}

/// A loopback address with a port.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct Listen(pub SocketAddr);

impl TryFrom<String> for Listen {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let address = text.parse::<SocketAddr>().ok().filter(|address| address.ip().is_loopback());
        address.map(Self).ok_or_else(|| {
            format!("`{text}` is no address of this host alone; write one such as `127.0.0.1:9797`")
        })
    }
}

/// When corrections count as a fight.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(rename = "Fight")]
pub struct FightConfig {
    /// So many times the same correction, 2 to 100. Default 5.
    pub times: Times,
    /// Within this time, which is also how long it is given up then. Default `1h`.
    pub within: Span<1, 604_800, 3600>,
}

/// Whether an edit starts a pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct Watch(pub bool);

impl Default for Watch {
    fn default() -> Self {
        Self(true)
    }
}

/// How many times, 2 to 100.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "u32")]
pub struct Times(pub u32);

impl Default for Times {
    fn default() -> Self {
        Self(FightRule::default().times)
    }
}

impl TryFrom<u32> for Times {
    type Error = String;

    fn try_from(times: u32) -> Result<Self, String> {
        if (2..=100).contains(&times) {
            Ok(Self(times))
        } else {
            Err(format!("{times} is out of bounds: at least 2 and at most 100"))
        }
    }
}

impl JsonSchema for Times {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Times".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "integer", "minimum": 2, "maximum": 100 })
    }
}

/// Why a configuration cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// It could not be read.
    #[error(
        "cannot read the agent's configuration; make it readable, or name another with --config"
    )]
    Unreadable(#[source] io::Error),
    /// It is not what it should be.
    #[error("{place}: {what}; see `reconcile schema agent`")]
    Invalid {
        /// `FILE:LINE:COLUMN`.
        place: String,
        /// What is wrong.
        what: String,
    },
}

impl AgentConfig {
    /// Reads the configuration of a host; all defaults when there is no file in the usual place.
    pub fn load(host: &Look, named: Option<&Utf8PathBuf>) -> Result<Self, ConfigError> {
        let (file, bytes) = match named {
            Some(file) => (file.clone(), Some(read(file).map_err(ConfigError::Unreadable)?)),
            None => {
                let bytes = host.read(PLACE, BYTES_MAX).map_err(ConfigError::Unreadable)?;
                (host.real(PLACE), bytes)
            }
        };
        let Some(bytes) = bytes else { return Ok(Self::default()) };
        let invalid = |place: fmt::Arguments<'_>, what: String| ConfigError::Invalid {
            place: format!("{file}{place}"),
            what,
        };
        let text = std::str::from_utf8(&bytes)
            .map_err(|_| invalid(format_args!(""), "it is not UTF-8 text".to_owned()))?;
        Self::from_text(text).map_err(|first| {
            let (line, column, what) = &first;
            let more = mistakes(text, &first).into_iter();
            let more = more.map(|(line, column, what)| format!("; {line}:{column}: {what}"));
            let what = std::iter::once(what.clone()).chain(more).collect();
            invalid(format_args!(":{line}:{column}"), what)
        })
    }

    /// Keys that are followed from the start of the agent on, and that say something else in another configuration.
    pub fn only_at_start(&self, other: &Self) -> Vec<&'static str> {
        let keys = [
            ("desired", self.desired != other.desired),
            ("git", self.git != other.git),
            ("watch", self.watch != other.watch),
            ("listen", self.listen != other.listen),
            ("notify", self.notify != other.notify),
        ];
        keys.into_iter().filter_map(|(key, differs)| differs.then_some(key)).collect()
    }

    /// Reads a text; a mistake is told with its line and column, both from 1.
    pub fn from_text(text: &str) -> Result<Self, Mistake> {
        // A file of comments only says nothing.
        let said = |line: &str| !line.trim().is_empty() && !line.trim_start().starts_with('#');
        if !text.lines().any(said) {
            return Ok(Self::default());
        }
        let config: Self = serde_saphyr::from_str(text).map_err(|error| {
            let error = error.without_snippet();
            let place = error.location().map_or((1, 1), |at| (at.line(), at.column()));
            let what = UserMessageFormatter.format_message(error).into_owned();
            (place.0, place.1, what)
        })?;
        if config.windows.len() > WINDOWS_MAX {
            return Err((1, 1, format!("there are more than {WINDOWS_MAX} windows")));
        }
        Ok(config)
    }

    /// When what is in use may be replaced.
    pub fn windows(&self) -> Windows {
        let windows = self.windows.iter();
        Windows(windows.map(|(name, written)| (name.clone(), written.window())).collect())
    }

    /// What the loop goes by, on the host with this identity.
    pub fn policy(&self, identity: &[u8]) -> Policy {
        Policy {
            schedule: Schedule::new(self.interval.0, identity),
            backoff: Backoff { first: self.retry.first.0, most: self.retry.most.0 },
            fight: FightRule { times: self.fight.times.0, within: self.fight.within.0 },
            windows: self.windows(),
        }
    }
}

/// The first mistake of every other key: each is read once more without its neighbours.
fn mistakes(text: &str, first: &Mistake) -> Vec<Mistake> {
    let begins = |line: &str| line.starts_with(|c: char| c.is_ascii_alphanumeric() || c == '"');
    // What refers to another place cannot be read without it.
    if text.contains(['&', '*']) {
        return Vec::new();
    }
    let lines: Vec<&str> = text.lines().collect();
    let starts: Vec<usize> =
        (0..lines.len()).filter(|at| lines.get(*at).is_some_and(|line| begins(line))).collect();
    let ends = starts.iter().skip(1).copied().chain([lines.len()]);
    let alone = starts.iter().zip(ends).take(KEYS_MAX).map(|(start, end)| {
        let block = lines.get(*start..end).unwrap_or_default().join("\n");
        format!("{}{block}\n", "\n".repeat(*start))
    });
    let found = alone.filter_map(|text| AgentConfig::from_text(&text).err());
    found.filter(|mistake| (mistake.0, mistake.1) != (first.0, first.1)).collect()
}

fn read(file: &Utf8PathBuf) -> io::Result<Vec<u8>> {
    read_regular(file, BYTES_MAX)
        .map_err(|error| io::Error::new(error.kind(), format!("{file}: {error}")))
}

/// JSON Schema 2020-12 of the configuration. It refuses unknown keys.
pub fn schema() -> Value {
    let generator = SchemaSettings::draft2020_12().into_generator();
    let mut schema = generator.into_root_schema_for::<AgentConfig>();
    schema.insert("$id".to_owned(), SCHEMA_ID.into());
    schema.insert("title".to_owned(), "Configuration of the agent on a host, version 1".into());
    schema.to_value()
}
