//! A resource as somebody types it: its id, or its name alone where one resource here has it.

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;

use crate::cli::CliError;
use crate::cli::exit::Exit;
use crate::desired::{Declared, DesiredState, nearest};
use crate::model::{Name, ResourceId};

/// What was typed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Named {
    /// `app/ripgrep`.
    Id(ResourceId),
    /// `ripgrep`.
    Name(Name),
}

impl FromStr for Named {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text.contains('/') { text.parse().map(Self::Id) } else { text.parse().map(Self::Name) }
    }
}

impl fmt::Display for Named {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Id(id) => id.fmt(f),
            Self::Name(name) => name.fmt(f),
        }
    }
}

impl Named {
    /// The one that is meant among those that are known.
    pub fn among<'a>(
        &self,
        known: impl IntoIterator<Item = &'a ResourceId>,
    ) -> Result<ResourceId, CliError> {
        let known: BTreeSet<&ResourceId> = known.into_iter().collect();
        let is_it = |id: &ResourceId| match self {
            Self::Id(typed) => typed == id,
            Self::Name(name) => name == &id.name,
        };
        let meant: Vec<&ResourceId> = known.iter().copied().filter(|id| is_it(id)).collect();
        let why = match meant.as_slice() {
            [id] => return Ok((*id).clone()),
            [] => self.unknown(&known),
            several => {
                let several: Vec<String> = several.iter().map(ToString::to_string).collect();
                format!("{} are called {self} here; say which", several.join(" and "))
            }
        };
        Err(CliError::new(Exit::Usage, why))
    }

    /// The one that is meant among those that are remembered and those that are wished: what is installed is known also
    /// when nobody wishes it any more, or nobody can say what is wished.
    pub fn here<'a>(
        &self,
        remembered: impl IntoIterator<Item = &'a ResourceId>,
        desired: Result<&'a DesiredState, &CliError>,
    ) -> Result<ResourceId, CliError> {
        let wished = desired.into_iter().flat_map(|desired| desired.resources.keys());
        self.among(remembered.into_iter().chain(wished)).map_err(|unknown| match desired {
            Ok(_) => unknown,
            Err(unread) => CliError::new(unread.exit(), unread.message()),
        })
    }

    fn unknown(&self, known: &BTreeSet<&ResourceId>) -> String {
        let names: Vec<String> = match self {
            Self::Id(_) => known.iter().map(ToString::to_string).collect(),
            Self::Name(_) => known.iter().map(|id| id.name.to_string()).collect(),
        };
        let of_another_kind = match self {
            Self::Id(typed) => known.iter().find(|id| id.name == typed.name),
            Self::Name(_) => None,
        };
        let near = || {
            let names: Vec<&str> = names.iter().map(String::as_str).collect();
            nearest(&self.to_string(), &names).map(ToOwned::to_owned)
        };
        match of_another_kind.map(ToString::to_string).or_else(near) {
            Some(meant) => format!("nothing here is called {self}; did you mean {meant}?"),
            None => {
                format!("nothing here is called {self}; `reconcile status` lists what there is")
            }
        }
    }
}

/// What is wished of a resource that is known, for what cannot be done without a wish.
pub fn wished<'d>(desired: &'d DesiredState, id: &ResourceId) -> Result<&'d Declared, CliError> {
    desired.resources.get(id).ok_or_else(|| {
        let why =
            format!("{id} is installed, but not in the desired state, so this cannot be done");
        CliError::new(Exit::Usage, why)
    })
}
