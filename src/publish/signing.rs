//! Detached signatures of what is published, made and judged by gpg.

use std::path::Path;

use crate::format::detached::NAME_NOTATION;
use crate::host::runner::{self, RunError};

/// How a signature is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    /// As text.
    Armoured,
    /// As packets.
    Binary,
}

/// Has gpg sign a file with a key, detached.
pub(super) async fn sign(file: &Path, key: &str, to: (&Path, Form)) -> Result<(), RunError> {
    sign_named(file, key, to, None).await
}

/// The same, with what the file is called in the signature.
pub(super) async fn sign_named(
    file: &Path,
    key: &str,
    (output, form): (&Path, Form),
    name: Option<&str>,
) -> Result<(), RunError> {
    let text = |path: &Path| path.to_string_lossy().into_owned();
    let output = text(output);
    let form = if form == Form::Armoured { "--armor" } else { "--no-armor" };
    let argv = ["gpg", "--batch", "--yes", form, "--local-user", key, "--output", &output];
    // gpg refuses control characters there, has meanings for what follows a percent sign, and takes the text for one of the
    // locale's where it is not told that it is UTF-8.
    let name = name.filter(|name| !name.chars().any(char::is_control));
    let name = name.map(|name| format!("{NAME_NOTATION}={}", name.replace('%', "%%")));
    let named = name
        .into_iter()
        .flat_map(|name| ["--utf8-strings".to_owned(), "--sig-notation".to_owned(), name]);
    let rest = ["--detach-sign".to_owned(), "--".to_owned(), text(file)];
    let argv: Vec<String> = argv.into_iter().map(str::to_owned).chain(named).chain(rest).collect();
    runner::run(&argv, &[]).await
}

/// Whether gpg has the key of a detached signature and finds that it holds.
pub(super) async fn holds(signature: &Path, file: &Path) -> bool {
    let text = |path: &Path| path.to_string_lossy().into_owned();
    let argv = ["gpg", "--batch", "--verify", "--"].map(str::to_owned);
    let argv: Vec<String> = argv.into_iter().chain([text(signature), text(file)]).collect();
    runner::run(&argv, &[]).await.is_ok()
}
