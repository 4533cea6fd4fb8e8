//! Looking at one resource of any kind.

use std::io;

use camino::Utf8Path;

use crate::host::Look;
use crate::model::{Kind, ResourceId};
use crate::resource::app::observe::Depth;
use crate::resource::{Found, Spec, app, tree};

/// Looks at one resource. The wish is absent for what is ours and not wished any more.
pub fn observe(
    host: &Look,
    id: &ResourceId,
    home: &Utf8Path,
    spec: Option<&Spec>,
    depth: Depth,
) -> io::Result<Found> {
    match (id.kind, spec) {
        (_, Some(Spec::Tree(spec))) => {
            tree::observe::observe(host, home, &spec.preserve, depth).map(Found::Tree)
        }
        (Kind::Tree, None) => tree::observe::observe(host, home, &[], depth).map(Found::Tree),
        (_, Some(Spec::App(_)) | None) => app::observe::observe(host, home, depth).map(Found::App),
    }
}
