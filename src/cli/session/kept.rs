//! The last valid wish of files: kept by every pass, for times when what stands there is not valid.

use std::io;
use std::path::PathBuf;

use crate::cli::CliError;
use crate::cli::session::{Session, Texts};
use crate::desired::DesiredState;
use crate::host::Change;
use crate::model::selection::Identity;
use crate::provider::provide;
use crate::record::last_wish::{self, Kept};

impl Session {
    /// Reads the wish of the files of this host, and keeps the texts in mind.
    pub(super) fn read_files(&self, host: &Identity) -> Result<DesiredState, CliError> {
        let paths = self.desired_files()?;
        let invalid = |diagnostics: Vec<_>| self.invalid(&diagnostics);
        let texts = DesiredState::texts_for(&paths, host).map_err(invalid)?;
        let desired = DesiredState::from_texts_for(texts.clone(), host).map_err(invalid)?;
        *self.valid.borrow_mut() = Some(texts);
        Ok(desired.found_at(&paths))
    }

    fn desired_files(&self) -> Result<Vec<PathBuf>, CliError> {
        Ok(self.desired_paths()?.into_iter().map(Into::into).collect())
    }

    /// Keeps the valid wish that was read last, if one was.
    pub fn keep_wish(&self, host: &Change) {
        if let Some(texts) = self.valid.take() {
            self.keep(|roots| last_wish::save(host, roots, &texts));
        }
    }

    /// Keeps the texts of a wish of the loop.
    pub fn keep_texts(&self, host: &Change, texts: &Texts, kept: &mut Kept) {
        self.keep(|roots| kept.save(host, roots, (&texts.all, &texts.digest)));
    }

    /// Keeps a valid wish. A pass goes on without a copy.
    fn keep(&self, save: impl FnOnce(&[String]) -> io::Result<()>) {
        let paths = self.desired_files();
        let paths = paths.map_err(|error| error.message().to_owned());
        let saved = paths.and_then(|paths| {
            save(&DesiredState::roots_of(&paths)).map_err(|error| error.to_string())
        });
        if let Err(error) = saved {
            tracing::warn!(error, "the desired state is not kept for when it is not valid");
        }
    }

    /// The wish of the files that are read here, from the last pass at which they were valid; `None` where there is none.
    pub fn last_wish(&self) -> Result<Option<DesiredState>, CliError> {
        if self.common.git.git.is_some() {
            // What was accepted of it last is in the repository's own memory.
            return Ok(None);
        }
        let roots = DesiredState::roots_of(&self.desired_files()?);
        let last = last_wish::load(&self.host, (&self.identity()?, &roots));
        let mut last = last.map_err(|e| CliError::io(&e))?;
        if let Some(desired) = &mut last {
            // Definitions of the host are read live; what is followed of them is as much of the wish as before.
            provide(&self.host, desired);
        }
        Ok(last)
    }
}
