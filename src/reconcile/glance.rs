//! A look at a large host that begins before the wish is known.
//!
//! Reading a long wish takes as long as looking at what it names.

use std::io;
use std::panic::resume_unwind;
use std::sync::{Arc, OnceLock};
use std::thread::{self, JoinHandle};

use crate::host::Look;
use crate::model::ledger::Ledger;
use crate::observe::ahead::{Ahead, Seen};
use crate::parallel::processors;
use crate::record::ledger;

/// Length of an inventory from which on a thread is worth starting, in bytes: about a hundred resources.
const INVENTORY_BYTES_MIN: u64 = 16 << 10;

/// A look that is under way. It is good for a pass as long as nobody changes the host: under the lock, or where
/// nothing but a plan is made of it.
#[derive(Debug)]
pub struct Glance {
    ahead: Arc<OnceLock<Ahead>>,
    looking: JoinHandle<io::Result<(Ledger, Seen)>>,
}

impl Glance {
    /// Begins to look; `None` where there is little to look at, or one processor to do so.
    pub fn begin(host: &Look) -> Option<Self> {
        let processors = processors();
        if processors < 2 || ledger::inventory_bytes(host) < INVENTORY_BYTES_MIN {
            return None;
        }
        let ahead: Arc<OnceLock<Ahead>> = Arc::default();
        let (known, host) = (Arc::clone(&ahead), host.clone());
        // The one that reads the wish looks too, once it is through.
        let looking = move || look(&host, &known, processors - 2);
        let looking = thread::Builder::new().spawn(looking).ok()?;
        Some(Self { ahead, looking })
    }

    /// What was seen, and what else was left to be seen.
    pub(super) fn finish(self, host: &Look) -> io::Result<(Ledger, Seen)> {
        let mine = self.ahead.get().map(|ahead| ahead.look(host)).unwrap_or_default();
        let (ledger, mut seen) = self.looking.join().unwrap_or_else(|e| resume_unwind(e))?;
        seen.extend(mine);
        Ok((ledger, seen))
    }
}

/// Reads the ledger, and looks with `more` threads at what it names.
fn look(host: &Look, known: &OnceLock<Ahead>, more: usize) -> io::Result<(Ledger, Seen)> {
    let ledger = ledger::load(host)?;
    let ahead = known.get_or_init(|| Ahead::of(&ledger.inventory));
    let seen = thread::scope(|scope| {
        let others: Vec<_> = (0..more).map(|_| scope.spawn(|| ahead.look(host))).collect();
        let mut seen = ahead.look(host);
        for other in others {
            seen.extend(other.join().unwrap_or_else(|e| resume_unwind(e)));
        }
        seen
    });
    Ok((ledger, seen))
}
