//! The valid wish that was parsed last: the same texts are not parsed again.

use std::path::PathBuf;

use crate::cli::session::Session;
use crate::desired::{DesiredState, Diagnostic, SourceText};
use crate::model::Digest;
use crate::model::selection::Identity;

/// A valid wish, and what it depends on.
#[derive(Debug)]
pub(super) struct Parsed {
    host: Identity,
    texts: Texts,
    /// Without what the host contributes, which may change at any time.
    desired: DesiredState,
}

/// The texts of a wish.
#[derive(Clone, Debug)]
pub struct Texts {
    /// All of them.
    pub all: Vec<SourceText>,
    /// Of all of them, with their names and places.
    pub digest: Digest,
}

impl Session {
    /// Such texts with their digest, which is worked out where others were parsed last.
    pub fn texts(&self, all: Vec<SourceText>) -> Texts {
        let parsed = self.parsed.borrow();
        let known = parsed.as_ref().filter(|known| known.texts.all == all);
        let digest = known.map(|known| known.texts.digest.clone());
        Texts { digest: digest.unwrap_or_else(|| Digest::of_json(&all)), all }
    }

    /// What `take` takes of the wish of such texts for a host, which were read from paths, if any. It is parsed where
    /// another one was parsed before, by this session or a copy of it.
    ///
    /// # Errors
    /// Everything that is wrong with any of the texts.
    pub fn parsed<T>(
        &self,
        (texts, paths): (&Texts, &[PathBuf]),
        host: &Identity,
        take: impl FnOnce(&DesiredState) -> T,
    ) -> Result<T, Vec<Diagnostic>> {
        let mut parsed = self.parsed.borrow_mut();
        if let Some(known) = &*parsed
            && known.host == *host
            && known.texts.digest == texts.digest
        {
            return Ok(take(&known.desired));
        }
        tracing::debug!(documents = texts.all.len(), "parsing the desired state");
        let desired = DesiredState::from_texts_for(texts.all.clone(), host)?.found_at(paths);
        let (host, texts) = (host.clone(), texts.clone());
        Ok(take(&parsed.insert(Parsed { host, texts, desired }).desired))
    }
}
