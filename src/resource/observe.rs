//! Looking at one resource of any kind.

use std::io;

use camino::Utf8Path;

use crate::host::Look;
use crate::model::{Kind, ResourceId};
use crate::resource::app::observe::Depth;
use crate::resource::{Found, Spec, app, extension};

/// Looks at one resource. The wish is absent for what is ours and not wished any more.
pub fn observe(
    host: &Look,
    id: &ResourceId,
    home: &Utf8Path,
    spec: Option<&Spec>,
    depth: Depth,
) -> io::Result<Found> {
    match (id.kind, spec) {
        (_, Some(Spec::Extension(spec))) => {
            extension::observe::observe((host, id, home), Some(spec), depth).map(Found::Extension)
        }
        (Kind::Extension, None) => {
            extension::observe::observe((host, id, home), None, depth).map(Found::Extension)
        }
        (_, Some(Spec::App(_)) | None) => app::observe::observe(host, home, depth).map(Found::App),
    }
}
