//! What stands for Git in a program that was built without it.

use jiff::Timestamp;

use crate::repository::checkout::File;
use crate::repository::memory::{Known, Memory};
use crate::repository::{Job, RepositoryError, Source};

/// Never made.
#[derive(Debug)]
pub(super) enum Answer {
    Same,
    News(News),
}

/// Never made.
#[derive(Debug)]
pub(super) struct News {
    pub(super) commit: String,
    pub(super) files: Vec<File>,
}

impl News {
    pub(super) fn memory(
        &self,
        _: &Known,
        source: &Source,
        now: Timestamp,
    ) -> (Memory, Option<String>) {
        let nothing = ("", crate::repository::signed::Kind::Commit, "");
        (Memory::new(source, nothing, &[], None, now), None)
    }
}

#[expect(clippy::unused_async, reason = "the counterpart asks a repository")]
pub(super) async fn ask(_: &Job<'_>) -> Result<Answer, RepositoryError> {
    Err(RepositoryError::WithoutGit)
}

pub(super) fn is_idle(_: &Job<'_>) -> bool {
    true
}
