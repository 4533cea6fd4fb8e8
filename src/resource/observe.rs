//! Looking at one resource of any kind.

use std::io;

use camino::Utf8Path;

use crate::host::Look;
use crate::model::Kind;
use crate::model::ledger::Owned;
use crate::resource::app::observe::Depth;
use crate::resource::{Found, Spec, app};

/// Where to look.
#[derive(Clone, Copy, Debug)]
pub struct Place<'a> {
    /// The kind of thing.
    pub kind: Kind,
    /// The path that belongs to it alone.
    pub home: &'a Utf8Path,
    /// The wish; absent for what is ours and not wished any more.
    pub spec: Option<&'a Spec>,
    /// What the inventory says.
    pub owned: Option<&'a Owned>,
}

/// Looks at one resource.
pub fn observe(host: &Look, place: &Place<'_>, depth: Depth) -> io::Result<Found> {
    match (place.kind, place.spec) {
        (_, Some(Spec::App(_))) | (_, None) => {
            let file = match place.spec {
                Some(Spec::App(spec)) => spec.file.as_deref(),
                None => place.owned.and_then(|owned| owned.file.as_deref()),
            };
            app::observe::observe(host, place.home, file, depth).map(Found::App)
        }
    }
}
