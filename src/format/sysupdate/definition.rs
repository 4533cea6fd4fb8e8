//! Definitions of systemd-sysupdate: transfers, features and components, typed.
//!
//! Source: sysupdate.d(5), sysupdate.features(5) and the behaviour of systemd 262. A definition is
//! a main file and its drop-ins, read one after the other: later values win, lists grow, an empty
//! value forgets. What systemd warns about and ignores is ignored with its warning; what it refuses
//! is an error. `[Transfer] InstancesMax=`, which updex reads, counts unless `[Target]
//! InstancesMax=` is set.
//!
//! Partitions and places on boot file systems are read like everything else, and the
//! transfer's [`Standing`] says that they are not ours, and why.

mod feature;
mod finish;
mod transfer;
mod values;

use super::ini::{self, Assignment, IniError, Place, Warning};
use super::pattern::PatternError;
use super::specifier::{SpecifierError, Specifiers};

pub use feature::{Component, Condition, Feature, Suggestion, component, feature};
pub use transfer::{
    Partition, Source, SourceKind, Standing, Target, TargetKind, Transfer, transfer,
};

/// How many instances a directory keeps when `InstancesMax=` does not say.
pub const INSTANCES_DEFAULT: u64 = 3;
/// The least that `InstancesMax=` can say: one in use, one to come.
pub const INSTANCES_MIN: u64 = 2;

/// One file of a definition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DefinitionText {
    /// Where it is, for messages.
    pub path: String,
    /// What it holds.
    pub bytes: Vec<u8>,
}

/// Why a definition is refused.
#[derive(Debug, thiserror::Error)]
pub enum DefinitionError {
    /// A file is not in the dialect.
    #[error(transparent)]
    Ini(#[from] IniError),
    /// A value has a specifier that does not exist.
    #[error("reading {place}: the value of `{key}=` cannot be expanded; correct it")]
    Specifier {
        /// Where.
        place: Place,
        /// The key.
        key: String,
        /// Which, and where in the value.
        #[source]
        source: SpecifierError,
    },
    /// A pattern is not valid.
    #[error(
        "reading {place}: the pattern `{}` of `MatchPattern=` is refused; correct it",
        pattern.escape_debug()
    )]
    Pattern {
        /// Where.
        place: Place,
        /// The pattern, expanded.
        pattern: String,
        /// What is wrong with it.
        #[source]
        source: PatternError,
    },
    /// The values do not make a transfer.
    #[error("reading the definition {file}: {fault}")]
    Invalid {
        /// The main file.
        file: String,
        /// What is wrong and what to write.
        fault: String,
    },
}

/// The assignments of a definition's files, one after the other.
struct Reader<'a> {
    specifiers: &'a Specifiers,
    warnings: Vec<Warning>,
}

impl Reader<'_> {
    fn assignments(
        &mut self,
        main: &DefinitionText,
        drop_ins: &[DefinitionText],
        sections: &[&str],
    ) -> Result<Vec<Assignment>, DefinitionError> {
        let mut assignments = Vec::new();
        for text in std::iter::once(main).chain(drop_ins) {
            let found = ini::parse(&text.path, &text.bytes, sections, &mut self.warnings)?;
            assignments.extend(found);
        }
        Ok(assignments)
    }

    fn warn(&mut self, place: &Place, message: impl Into<String>) {
        self.warnings.push(Warning { place: place.clone(), message: message.into() });
    }

    /// systemd's words for a value that does not parse.
    fn ignored(&mut self, at: &Assignment) {
        let value = at.value.escape_debug();
        self.warn(&at.place, format!("Failed to parse {}={value}, ignoring.", at.key));
    }

    fn unknown(&mut self, at: &Assignment) {
        if !at.key.starts_with("X-") {
            let key = at.key.escape_debug();
            let message = format!("Unknown key '{key}' in section [{}], ignoring.", at.section);
            self.warn(&at.place, message);
        }
    }

    fn expand(&self, at: &Assignment, value: &str) -> Result<String, DefinitionError> {
        self.specifiers.expand(value).map_err(|source| DefinitionError::Specifier {
            place: at.place.clone(),
            key: at.key.clone(),
            source,
        })
    }
}

#[cfg(test)]
mod tests;
