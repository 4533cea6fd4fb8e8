//! The way from a YAML text to a document whose every field knows its place.
//!
//! The text is read once, into a [`tree`] of nodes with byte spans; the [`decode`]r hands that tree to the
//! document's types. Scalars stay text until a type asks for something else, so `version: 1.10` is
//! `1.10` even where text and a map are both allowed, and an error in one field does not hide those of
//! the others: each [`Field`] that cannot be read reports and is left out.

mod decode;
mod placed;
mod suggest;
mod tree;

use std::cell::RefCell;

use crate::desired::diagnostic::{DIAGNOSTICS_MAX, Problem, Span};
use crate::desired::document::DesiredDocument;
use crate::desired::field::Field;

pub use suggest::nearest;

/// Largest document accepted, in bytes: a thousand apps need about 300 KiB.
pub(super) const DOCUMENT_BYTES_MAX: usize = 4 << 20;

/// Problems of one text, collected while reading goes on.
#[derive(Debug, Default)]
pub(super) struct Problems {
    found: RefCell<Vec<Problem>>,
    secrets: RefCell<Vec<Span>>,
}

impl Problems {
    /// Remembers a problem, up to [`DIAGNOSTICS_MAX`]; once, however often the place is read.
    pub(super) fn push(&self, problem: Problem) {
        let mut found = self.found.borrow_mut();
        if found.len() < DIAGNOSTICS_MAX && !found.contains(&problem) {
            found.push(problem);
        }
    }

    /// Remembers a place that may hold a secret written by mistake: no message shows it.
    pub(super) fn hide(&self, secret: Span) {
        self.secrets.borrow_mut().push(secret);
    }

    /// The problems, and the places that must not be shown.
    pub(super) fn into_parts(self) -> (Vec<Problem>, Vec<Span>) {
        (self.found.into_inner(), self.secrets.into_inner())
    }
}

/// Reads one document. What could be read is returned even when there are problems.
pub(super) fn parse(text: &str, problems: &Problems) -> Option<DesiredDocument> {
    if let Some(problem) = refuse_unread(text) {
        problems.push(problem);
        return None;
    }
    let root = match tree::read(text, problems) {
        Ok(root) => root,
        Err(problem) => {
            problems.push(problem);
            return None;
        }
    };
    if root.is_null() {
        problems.push(
            Problem::new(Span::default(), "the document is empty")
                .help("write `apps: {}` if nothing is wished"),
        );
        return None;
    }
    for secret in tree::unnamed_credentials(&root) {
        problems.hide(secret);
    }
    match decode::decode(&root, problems) {
        Field::Good(document) => Some(document.value),
        Field::Absent | Field::Bad => None,
    }
}

/// Looks for damage that is better named than parsed.
fn refuse_unread(text: &str) -> Option<Problem> {
    if text.len() > DOCUMENT_BYTES_MAX {
        let title = format!("the document is larger than {DOCUMENT_BYTES_MAX} bytes");
        return Some(Problem::new(Span::default(), title).help("split it into several files"));
    }
    if let Some(at) = text.find('\0') {
        return Some(
            Problem::new(Span { start: at, end: at + 1 }, "the document holds a NUL byte")
                .help("the file is damaged or not text; write it anew"),
        );
    }
    let mut start = 0;
    for line in text.split_inclusive('\n') {
        if line.starts_with("<<<<<<< ") || line.starts_with(">>>>>>> ") {
            let span = Span { start, end: start + line.len() };
            return Some(
                Problem::new(span, "the document holds a merge conflict")
                    .label("Git left this marker")
                    .help("resolve the conflict and commit the result"),
            );
        }
        start += line.len();
    }
    None
}
