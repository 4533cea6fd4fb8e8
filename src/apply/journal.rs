//! Debts: effects that nobody can see as missing afterwards, written down before they become due.

use std::io;

use jiff::Timestamp;

use crate::apply::merge::refresh;
use crate::host::Change as Host;
use crate::host::runner::{RunError, hook, output, run};
use crate::model::ledger::{Debt, Ledger, Quarantined, Trust};
use crate::model::{Effect, ResourceId};
use crate::record::ledger::{save_debts, save_trust};

/// The debts of this host, in memory and on disk alike.
#[derive(Debug)]
pub struct Journal {
    debts: Vec<Debt>,
    trust: Trust,
    now: Timestamp,
}

/// Why an effect was not performed or not journaled.
#[derive(Debug, thiserror::Error)]
pub enum JournalError {
    /// The journal cannot be written.
    #[error("cannot journal owed effects")]
    Write(#[from] io::Error),
    /// The effect could not be performed, whatever release is in use.
    #[error("{effect} could not be done here and stays owed: the next pass tries it again")]
    Impossible {
        /// In words.
        effect: String,
        /// Why.
        #[source]
        source: RunError,
    },
    /// The program was told to end meanwhile.
    #[error(
        "{effect} did not end in time when the agent was stopped and stays owed: the next pass tries it again"
    )]
    CutOff {
        /// In words.
        effect: String,
    },
    /// The effect failed.
    #[error("{effect} failed and stays owed: the next pass tries it again")]
    Effect {
        /// In words.
        effect: String,
        /// Why.
        #[source]
        source: RunError,
    },
}

impl JournalError {
    /// Whether this says something about the release in use.
    pub fn blames_release(&self) -> bool {
        matches!(self, Self::Effect { .. })
    }
}

/// Restarts a unit. Where that fails and the unit is not failed itself, it is systemd that cannot do it: it does not
/// run here, or knows no such unit.
async fn restart(effect: &Effect, unit: &str) -> Result<(), JournalError> {
    let argv = ["systemctl", "--no-ask-password", "restart", "--", unit];
    let Err(source) = run(&argv.map(str::to_owned), &[]).await else { return Ok(()) };
    let argv = ["systemctl", "show", "--property=ActiveState", "--", unit];
    let state = output(&argv.map(str::to_owned)).await.unwrap_or_default();
    let tried = ["ActiveState=failed", "ActiveState=activating"];
    let effect = effect.describe();
    Err(if tried.iter().any(|tried| state.lines().any(|line| line == *tried)) {
        JournalError::Effect { effect, source }
    } else {
        JournalError::Impossible { effect, source }
    })
}

impl Journal {
    /// Goes on from what was read at the start of the pass.
    pub fn new(ledger: &Ledger, now: Timestamp) -> Self {
        Self { debts: ledger.debts.clone(), trust: ledger.trust.clone(), now }
    }

    /// What is known not to work here, and what is owed, as it was written.
    pub fn into_parts(self) -> (Trust, Vec<Debt>) {
        (self.trust, self.debts)
    }

    /// What is known not to work here.
    pub fn trust(&self) -> &Trust {
        &self.trust
    }

    /// The time of the pass.
    pub fn now(&self) -> Timestamp {
        self.now
    }

    /// Writes an effect down before the switch that makes it due.
    pub fn owe(&mut self, host: &Host, resource: &ResourceId, effect: &Effect) -> io::Result<()> {
        let known = |debt: &Debt| &debt.resource == resource && &debt.effect == effect;
        if !self.debts.iter().any(known) {
            let owed = Debt { resource: resource.clone(), effect: effect.clone(), since: self.now };
            let debts: Vec<Debt> = self.debts.iter().cloned().chain([owed]).collect();
            save_debts(host, &debts)?;
            self.debts = debts;
        }
        Ok(())
    }

    /// Whether anybody owes an effect.
    pub fn owes(&self, effect: &Effect) -> bool {
        self.debts.iter().any(|debt| &debt.effect == effect)
    }

    /// Performs an effect if it is still owed: a unit that two resources owe is restarted once.
    pub async fn settle(&mut self, host: &Host, effect: &Effect) -> Result<(), JournalError> {
        if !self.owes(effect) {
            return Ok(());
        }
        let performed = match effect {
            Effect::Restart { unit } => {
                restart(effect, unit).await?;
                Ok(())
            }
            Effect::Refresh { class } => refresh(host, *class).await,
            // What is confirmed is looked at, not performed; see `confirm`.
            Effect::Confirm { .. } => Ok(()),
            Effect::Run { resource, argv, version } => {
                let mut environment =
                    vec![("RECONCILE_RESOURCE", resource.to_string()), host.root_variable()];
                if let Some(version) = version {
                    environment.push(("RECONCILE_NEW_VERSION", version.to_string()));
                }
                hook(host.hooks(), argv, &environment).await
            }
        };
        performed.map_err(|source| JournalError::Effect { effect: effect.describe(), source })?;
        Ok(self.strike(host, effect)?)
    }

    /// Strikes an effect out that was performed, whoever owed it.
    pub fn strike(&mut self, host: &Host, effect: &Effect) -> io::Result<()> {
        self.keep(host, |debt| &debt.effect != effect)
    }

    /// Writes down that a release does not work here, before anything is done about it.
    pub fn quarantine(&mut self, host: &Host, release: Quarantined) -> io::Result<()> {
        self.trust.quarantine(release);
        save_trust(host, &self.trust)
    }

    /// Strikes an effect out that one resource owes; what others owe stays owed.
    pub fn forgive(
        &mut self,
        host: &Host,
        resource: &ResourceId,
        effect: &Effect,
    ) -> Result<(), JournalError> {
        Ok(self.keep(host, |debt| &debt.effect != effect || &debt.resource != resource)?)
    }

    /// Keeps a look owed that told nothing, as what was in use before had failed, too.
    pub fn excuse(&mut self, host: &Host, effect: &Effect) -> Result<(), JournalError> {
        let mut debts = self.debts.clone();
        for debt in debts.iter_mut().filter(|debt| &debt.effect == effect) {
            if let Effect::Confirm { excused, .. } = &mut debt.effect {
                *excused = true;
            }
        }
        if debts != self.debts {
            save_debts(host, &debts)?;
            self.debts = debts;
        }
        Ok(())
    }

    /// Strikes out all but some debts. Where there are no others the disk is left alone.
    fn keep(&mut self, host: &Host, kept: impl Fn(&Debt) -> bool) -> io::Result<()> {
        if self.debts.iter().all(&kept) {
            return Ok(());
        }
        let debts: Vec<Debt> = self.debts.iter().filter(|debt| kept(debt)).cloned().collect();
        save_debts(host, &debts)?;
        self.debts = debts;
        Ok(())
    }
}
