//! Commands that are named in what is printed, as they would have to be typed here.

use std::borrow::Cow;
use std::sync::OnceLock;

use crate::cli::args::{CommonArgs, Format};
use crate::model::check::command_line;

/// Commands about this host: they need to be told which one, and which desired state, as this program was.
const ABOUT_THIS_HOST: [&str; 9] = [
    "resume",
    "rollback",
    "suspend",
    "accept-history",
    "history",
    "features",
    "request",
    "status",
    "--confirm-removals",
];

/// What this program was told about the host, in front of a command.
#[derive(Debug, Default)]
struct Given {
    options: String,
    /// Whether results are for programs, which are told the same wherever they run.
    documents: bool,
}

static GIVEN: OnceLock<Given> = OnceLock::new();

/// Notes what this program was told, once.
pub(super) fn note(common: &CommonArgs) {
    let mut words: Vec<String> = Vec::new();
    let mut give = |option: &str, value: Option<&str>| {
        words.extend(value.into_iter().flat_map(|value| [option.to_owned(), value.to_owned()]));
    };
    give("--root", Some(common.root.as_str()).filter(|root| *root != "/"));
    for path in &common.desired {
        give("--desired", Some(path.as_str()));
    }
    give("--config", common.config.as_ref().map(|path| path.as_str()));
    give("--git", common.git.git.as_deref());
    give("--ref", common.git.reference.as_deref());
    give("--git-path", common.git.git_path.as_ref().map(|path| path.as_str()));
    let signers = common.git.git_allowed_signers.as_ref();
    give("--git-allowed-signers", signers.map(|path| path.as_str()));
    give("--git-keyring", common.git.git_keyring.as_ref().map(|path| path.as_str()));
    let options =
        if words.is_empty() { String::new() } else { format!(" {}", command_line(&words)) };
    let documents = common.output == Format::Json;
    let _ = GIVEN.set(Given { options, documents });
}

/// A result with its hints completed; a document stays as it is.
pub(super) fn result(text: &str) -> Cow<'_, str> {
    match GIVEN.get() {
        Some(given) if !given.documents => complete(text, &given.options),
        _ => Cow::Borrowed(text),
    }
}

/// A message with its hints completed.
pub(super) fn message(text: &str) -> Cow<'_, str> {
    GIVEN.get().map_or(Cow::Borrowed(text), |given| complete(text, &given.options))
}

fn complete<'t>(text: &'t str, options: &str) -> Cow<'t, str> {
    let mut text = Cow::Borrowed(text);
    for command in ABOUT_THIS_HOST.iter().filter(|_| !options.is_empty()) {
        let hint = format!("`reconcile {command}");
        if text.contains(&hint) {
            text = Cow::Owned(text.replace(&hint, &format!("`reconcile{options} {command}")));
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_commands_about_this_host_are_completed() {
        let text = "`reconcile resume app/a` lifts that; see `reconcile publish tree`";
        let completed = complete(text, " --root /h");
        let expected =
            "`reconcile --root /h resume app/a` lifts that; see `reconcile publish tree`";
        assert_eq!(completed, expected);
        assert_eq!(complete(text, ""), text);
    }
}
