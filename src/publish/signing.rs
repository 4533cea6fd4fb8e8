//! Detached signatures of what is published, made and judged by gpg.

use std::path::Path;

use crate::host::runner::{self, RunError};

/// Has gpg sign a file with a key, detached and as text.
pub(super) async fn sign(file: &Path, key: &str, output: &Path) -> Result<(), RunError> {
    let text = |path: &Path| path.to_string_lossy().into_owned();
    let output = text(output);
    let argv = ["gpg", "--batch", "--yes", "--armor", "--local-user", key, "--output", &output];
    let rest = ["--detach-sign".to_owned(), "--".to_owned(), text(file)];
    let argv: Vec<String> = argv.into_iter().map(str::to_owned).chain(rest).collect();
    runner::run(&argv, &[]).await
}

/// Whether gpg has the key of a detached signature and finds that it holds.
pub(super) async fn holds(signature: &Path, file: &Path) -> bool {
    let text = |path: &Path| path.to_string_lossy().into_owned();
    let argv = ["gpg", "--batch", "--verify", "--"].map(str::to_owned);
    let argv: Vec<String> = argv.into_iter().chain([text(signature), text(file)]).collect();
    runner::run(&argv, &[]).await.is_ok()
}
