//! The wish of the loop: its files are read in every pass.

use std::cell::RefCell;

use crate::cli::origin::first_of;
use crate::cli::session::{Session, Texts};
use crate::cli::{CliError, mention};
use crate::controller::machine::Wish;
use crate::desired::{DesiredState, Diagnostic, render};
use crate::host::clock;
use crate::model::selection::Identity;
use crate::provider::provide;

/// Where the loop gets its wish from.
pub(super) struct Wishes<'a> {
    session: &'a Session,
    /// The mistakes that were told last: each is told once.
    complained: RefCell<Option<String>>,
    /// What the repository said last, where one is followed.
    followed: RefCell<Option<Wish>>,
}

/// The wish that is to be carried out.
pub(super) struct Read {
    /// What the files say.
    pub(super) wish: Wish,
    /// The wish, from the files or, when they are not valid, from the last time when they were.
    pub(super) desired: Option<DesiredState>,
    /// The texts to keep for such a time.
    pub(super) texts: Option<Texts>,
}

impl<'a> Wishes<'a> {
    pub(super) fn new(session: &'a Session) -> Self {
        let (complained, followed) = Default::default();
        Self { session, complained, followed }
    }

    /// The wish of the files of this host by `take`, and their texts.
    fn files<T>(
        &self,
        host: &Identity,
        take: impl FnOnce(&DesiredState) -> T,
    ) -> Result<(T, Texts), Vec<Diagnostic>> {
        let paths = self.session.desired_paths().unwrap_or_default();
        let paths: Vec<_> = paths.into_iter().map(Into::into).collect();
        let texts = self.session.texts(DesiredState::texts_for(&paths, host)?);
        Ok((self.session.parsed((&texts, &paths), host, take)?, texts))
    }

    /// The wish that is to be carried out; from a repository, what was accepted of it last.
    pub(super) async fn read(&self) -> Result<Read, CliError> {
        let host = self.session.identity()?;
        if self.session.repository()?.is_some() {
            let mut session = self.session.clone();
            session.now = clock::now();
            let desired = session.desired().await?;
            let wish = Wish::Valid(desired.digest.clone());
            self.followed.replace(Some(wish.clone()));
            return Ok(Read { wish, desired: Some(desired), texts: None });
        }
        Ok(match self.files(&host, Clone::clone) {
            Ok((mut desired, texts)) => {
                self.complained.replace(None);
                let wish = Wish::Valid(desired.digest.clone());
                provide(&self.session.host, &mut desired);
                Read { wish, desired: Some(desired), texts: Some(texts) }
            }
            Err(diagnostics) => {
                let told = render(&diagnostics, self.session.paint);
                if self.complained.borrow().as_ref() != Some(&told) {
                    mention(told.trim_end());
                    self.complained.replace(Some(told));
                }
                let mut desired = self.session.last_wish()?;
                if let Some(desired) = &mut desired {
                    desired.refused = Some(first_of(&diagnostics));
                }
                Read { wish: Wish::Invalid(first_of(&diagnostics)), desired, texts: None }
            }
        })
    }

    /// What the files say now.
    pub(super) fn now(&self) -> Wish {
        // What a repository says is only known when it is asked, which every pass does.
        if self.session.common.git.git.is_some() {
            let unread = || Wish::Invalid("the repository was not read yet".to_owned());
            return self.followed.borrow().clone().unwrap_or_else(unread);
        }
        let host = match self.session.identity() {
            Ok(host) => host,
            Err(error) => return Wish::Invalid(error.message().to_owned()),
        };
        match self.files(&host, |desired| desired.digest.clone()) {
            Ok((digest, _)) => Wish::Valid(digest),
            Err(diagnostics) => Wish::Invalid(first_of(&diagnostics)),
        }
    }
}
