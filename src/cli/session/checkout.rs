//! The desired state of a repository, as far as a command may follow it.

use std::cell::RefCell;

use camino::Utf8Path;

use crate::cli::CliError;
use crate::cli::origin::{self, Reading};
use crate::cli::session::{AT_ONCE, Session};
use crate::desired::{DesiredState, Diagnostic, Origin};
use crate::model::selection::Identity;
use crate::record::ledger;
use crate::repository::{self, Checkout, Source};

impl Session {
    /// What the repository has, as this command reads it.
    pub(super) async fn checkout(
        &self,
        source: &Source,
        identity: &Identity,
    ) -> Result<Checkout, CliError> {
        let mistakes = RefCell::default();
        let judge = |directory: &Utf8Path, base: &Utf8Path| {
            let origin = origin::origin(source, directory, base);
            self.wish_of(&origin, identity, |_| ()).map_err(|diagnostics| {
                self.tell_once(&diagnostics);
                let first = origin::first_of(&diagnostics);
                mistakes.replace(diagnostics);
                first
            })
        };
        let checkout = match self.reading {
            Reading::Follow => {
                let host = self.lock(AT_ONCE).await?;
                repository::follow(source, &host, self.now, &judge).await
            }
            Reading::Peek => repository::peek(source, &self.host, self.now, &judge).await,
            Reading::Inspect => {
                repository::peek(source, &self.host, self.now, &|_, _| Ok(())).await
            }
            Reading::Recall => repository::recall(source, &self.host),
        };
        checkout.map_err(|error| {
            let refused = origin::refused(&error);
            match mistakes.into_inner().as_slice() {
                [] => refused,
                mistakes => refused.with_document(self.refusal(mistakes)),
            }
        })
    }

    /// The desired state of a checkout, and what is to be said about where it comes from.
    pub(super) fn read_checkout(
        &self,
        source: &Source,
        checkout: &Checkout,
        identity: &Identity,
    ) -> Result<DesiredState, CliError> {
        let origin = origin::origin(source, &checkout.directory, &checkout.base);
        let loaded = self.wish_of(&origin, identity, Clone::clone);
        let mut desired = loaded.map_err(|diagnostics| self.invalid(&diagnostics))?;
        let notes = checkout.notes.iter().cloned();
        desired.notes.extend(notes.map(|note| format!("desired state: {note}")));
        if !source.keys.demand() {
            desired.notes.push(format!(
                "desired state: whoever can write to {} decides what runs here; give --git-allowed-signers \
                 or --git-keyring to demand signatures",
                source.address.url()
            ));
        }
        if let Some(trouble) = &checkout.revision.trouble {
            desired.notes.push(format!("desired state: {}", trouble.message));
        }
        let label = source.address.label();
        if checkout.first && self.owns_from(&label)? {
            desired.notes.push(format!(
                "desired state: which commit of {label} was accepted before is lost, so rewritten history \
                 could not be noticed this time"
            ));
        }
        desired.revision = Some(checkout.revision.clone());
        Ok(desired)
    }

    /// What `take` takes of the wish of a directory.
    fn wish_of<T>(
        &self,
        origin: &Origin,
        identity: &Identity,
        take: impl FnOnce(&DesiredState) -> T,
    ) -> Result<T, Vec<Diagnostic>> {
        let texts = self.texts(DesiredState::texts_from(origin, identity)?);
        self.parsed((&texts, &[]), identity, take)
    }

    /// Whether anything on this host was declared there.
    fn owns_from(&self, label: &str) -> Result<bool, CliError> {
        let ledger = ledger::load(&self.host).map_err(|e| CliError::io(&e))?;
        Ok(ledger.inventory.resources.values().any(|owned| owned.declared_in == label))
    }
}
