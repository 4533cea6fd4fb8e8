//! Names: `app/ripgrep` is the id of one managed thing.

use std::fmt;
use std::str::FromStr;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What kind of thing a resource is.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// A released program: release directories and a `bin` directory of links.
    App,
    /// A systemd-sysext or confext image.
    Extension,
    /// A directory kept equal to a content-addressed tree.
    Tree,
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::App => "app",
            Self::Extension => "extension",
            Self::Tree => "tree",
        })
    }
}

/// A resource name that is safe as one path component and as one word on a command line.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Name(String);

/// Longest resource name, in bytes: leaves room for suffixes within the 255 of a file name.
pub const NAME_BYTES_MAX: usize = 100;

impl Name {
    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Name {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let starts_well = text.bytes().next().is_some_and(|b| b.is_ascii_alphanumeric());
        let all_well = text
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-' | b'+'));
        if starts_well && all_well && text.len() <= NAME_BYTES_MAX {
            Ok(Self(text.to_owned()))
        } else {
            Err(format!(
                "`{}` cannot be a name: it must start with a letter or digit, hold only letters, \
                 digits and `. _ - +`, and be at most {NAME_BYTES_MAX} bytes long",
                text.escape_debug()
            ))
        }
    }
}

impl TryFrom<String> for Name {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl From<Name> for String {
    fn from(name: Name) -> Self {
        name.0
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Kind and name: unique within a host, ordered by kind, then name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ResourceId {
    /// The kind.
    pub kind: Kind,
    /// The name, unique within its kind.
    pub name: Name,
}

impl ResourceId {
    /// The id of an app.
    pub fn app(name: Name) -> Self {
        Self { kind: Kind::App, name }
    }

    /// The id of an extension.
    pub fn extension(name: Name) -> Self {
        Self { kind: Kind::Extension, name }
    }
}

impl fmt::Display for ResourceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.kind, self.name)
    }
}

impl FromStr for ResourceId {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (kind, name) = text.split_once('/').ok_or_else(|| {
            format!(
                "`{text}` is not a resource id: write `app/NAME`, `extension/NAME` or `tree/NAME`"
            )
        })?;
        let kind = match kind {
            "app" => Kind::App,
            "extension" => Kind::Extension,
            "tree" => Kind::Tree,
            _ => return Err(format!("`{kind}` is not a kind: use app, extension or tree")),
        };
        Ok(Self { kind, name: name.parse()? })
    }
}

impl TryFrom<String> for ResourceId {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl From<ResourceId> for String {
    fn from(id: ResourceId) -> Self {
        id.to_string()
    }
}
