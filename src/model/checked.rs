//! Values of the agent's configuration that are checked where they are written.

use camino::Utf8PathBuf;
use serde::de::Error as _;
use serde::{Deserialize, Deserializer};

/// A path that is the same wherever it is read.
#[derive(Deserialize)]
#[serde(try_from = "String")]
struct Absolute(Utf8PathBuf);

impl TryFrom<String> for Absolute {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        if text.starts_with('/') {
            Ok(Self(text.into()))
        } else {
            Err(format!("`{text}` is no absolute path; write one that begins with `/`"))
        }
    }
}

/// A program with its arguments.
#[derive(Deserialize)]
#[serde(try_from = "Vec<String>")]
struct Program(Vec<String>);

impl TryFrom<Vec<String>> for Program {
    type Error = &'static str;

    fn try_from(argv: Vec<String>) -> Result<Self, Self::Error> {
        match argv.first() {
            Some(program) if !program.is_empty() => Ok(Self(argv)),
            _ => Err("a program is missing here; write its name and then its arguments"),
        }
    }
}

/// An absolute path, where there is one.
pub fn path<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Utf8PathBuf>, D::Error> {
    Ok(Option::<Absolute>::deserialize(from)?.map(|path| path.0))
}

/// Absolute paths.
pub fn paths<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<Utf8PathBuf>, D::Error> {
    let paths = Vec::<Absolute>::deserialize(from)?;
    Ok(paths.into_iter().map(|path| path.0).collect())
}

/// Programs with their arguments.
pub fn programs<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<Vec<String>>, D::Error> {
    let programs = Vec::<Program>::deserialize(from)?;
    Ok(programs.into_iter().map(|program| program.0).collect())
}

/// An address on the web, without a name or a password that logs would show.
pub fn url<'de, D: Deserializer<'de>>(from: D) -> Result<String, D::Error> {
    let text = String::deserialize(from)?;
    let rest = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://"));
    let host = rest.and_then(|rest| rest.split(['/', '?', '#']).next());
    match host {
        Some(host) if !host.is_empty() && !host.contains(char::is_whitespace) => Ok(text),
        _ => Err(D::Error::custom(
            "this is no URL; write one that begins with `https://` or `http://`",
        )),
    }
}
