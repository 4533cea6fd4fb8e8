//! 1. What the operator wrote: documents become one validated wish.

use std::collections::BTreeMap;

use crate::model::{Digest, Name};
use crate::resource::app::AppSpec;

/// The wish.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DesiredState {
    /// The apps.
    pub apps: BTreeMap<Name, Declared<AppSpec>>,
    /// Where it was read from.
    pub roots: Vec<String>,
    /// Over all texts.
    pub digest: Digest,
}

/// Something with its place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Declared<T> {
    /// What was declared.
    pub spec: T,
    /// Where.
    pub declared_at: Place,
    /// Below which root.
    pub root: String,
}

/// File and line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// The file.
    pub file: String,
    /// The line, from 1.
    pub line: usize,
}

impl std::fmt::Display for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}:{}", self.file, self.line)
    }
}
