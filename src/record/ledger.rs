//! The ledger on disk: four small JSON files, each replaced as a whole.
//!
//! ```text
//! trust.json      floors, locks, quarantine     losing it is reported; `latest` still never goes back
//!                                               below what is installed
//! inventory.json  what is ours                  losing it stops pruning until resources are seen again
//! overrides.json  suspensions and rollbacks     a pass refuses to run while it is damaged; questions are answered;
//!                                               losing it is reported
//! debts.json      effects owed                  losing it is reported
//! ```

use std::io;

use camino::{Utf8Component, Utf8PathBuf};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::host::{Change, Look};
use crate::model::ledger::rename::Renames;
use crate::model::ledger::{Debt, Inventory, LEDGER_FORMAT, Ledger, Overrides, Trust};

/// A ledger of 10,000 resources stays below 16 MiB.
const LEDGER_BYTES_MAX: usize = 16 << 20;

const TRUST: &str = "trust.json";
const INVENTORY: &str = "inventory.json";
const OVERRIDES: &str = "overrides.json";
const DEBTS: &str = "debts.json";

/// Reads the ledger for a pass. A file that is damaged counts as lost: that is said in `losses`, and the pass goes
/// on with less knowledge but not with less caution.
///
/// # Errors
/// When a file cannot be read, or (as [`io::ErrorKind::InvalidData`]) when a newer version wrote one or the overrides
/// are damaged: going on could do exactly what an operator suspended.
pub fn load(host: &Look) -> io::Result<Ledger> {
    let (ledger, undecided) = read_all(host)?;
    match undecided {
        Some(damage) => Err(io::Error::new(io::ErrorKind::InvalidData, damage)),
        None => Ok(ledger),
    }
}

/// Reads the ledger to answer a question: damaged overrides are one more loss.
pub fn look(host: &Look) -> io::Result<Ledger> {
    let (mut ledger, undecided) = read_all(host)?;
    ledger.losses.extend(undecided);
    Ok(ledger)
}

/// How long the inventory is, in bytes: how much there is to look at, before anything is read.
pub fn inventory_bytes(host: &Look) -> u64 {
    let stat = host.stat(host.places().state.join(INVENTORY)).ok().flatten();
    stat.map_or(0, |stat| stat.size)
}

/// The part of a file that tells whether the rest can be understood. The debts have none.
#[derive(Deserialize)]
struct Format {
    format: u64,
}

/// The ledger, and what is wrong with the overrides.
fn read_all(host: &Look) -> io::Result<(Ledger, Option<String>)> {
    let mut losses = Vec::new();
    let trust: Option<Trust> = read(host, TRUST, &mut losses)?;
    let inventory: Option<Inventory> = read(host, INVENTORY, &mut losses)?;
    let mut inventory = inventory.unwrap_or_default();
    inventory.resources.retain(|id, owned| {
        let climbs = owned.home.components().any(|c| c == Utf8Component::ParentDir);
        let plain = owned.home.is_absolute() && !climbs;
        if !plain {
            losses
                .push(format!("the inventory names {} as the place of {id}: left out", owned.home));
        }
        plain
    });
    let mut undecided = Vec::new();
    let overrides: Option<Overrides> = read(host, OVERRIDES, &mut undecided)?;
    let undecided = undecided.pop().map(|damage: String| {
        format!(
            "{damage}: what was suspended or rolled back is not known, so no pass is made; repair it, or remove \
             it to follow the desired state in everything"
        )
    });
    if overrides.is_none() && undecided.is_none() && inventory.decided {
        losses.push(format!(
            "{} is gone: what was suspended or rolled back is not known any more, and the desired state is followed in \
             everything",
            host.places().state.join(OVERRIDES)
        ));
    }
    let debts: Option<Vec<Debt>> = read(host, DEBTS, &mut losses)?;
    let known = !inventory.resources.is_empty();
    let named = losses.iter().any(|loss: &String| loss.contains(TRUST));
    if trust.is_none() && known && !named {
        losses.push(format!(
            "{} is gone: the highest versions ever used are not known any more; `latest` is only kept \
             from going below what is installed now",
            host.places().state.join(TRUST)
        ));
    }
    let ledger = Ledger {
        trust: trust.unwrap_or_default(),
        inventory,
        overrides: overrides.unwrap_or_default(),
        debts: debts.unwrap_or_default(),
        renamed: Renames::new(),
        losses,
    };
    Ok((ledger, undecided))
}

fn read<T: DeserializeOwned>(
    host: &Look,
    name: &str,
    losses: &mut Vec<String>,
) -> io::Result<Option<T>> {
    let path = host.places().state.join(name);
    let Some(bytes) = host.read(&path, LEDGER_BYTES_MAX as u64)? else { return Ok(None) };
    let format = serde_json::from_slice::<Format>(&bytes).map_or(0, |head| head.format);
    if format > u64::from(LEDGER_FORMAT) {
        return Err(io::Error::new(
            io::ErrorKind::InvalidData,
            format!(
                "{path} has format {format} and this version of reconcile knows {LEDGER_FORMAT}: a newer version \
                 wrote it; install that one again"
            ),
        ));
    }
    match serde_json::from_slice(&bytes) {
        Ok(value) => Ok(Some(value)),
        Err(error) => {
            losses.push(format!("{path} cannot be read ({error}) and counts as lost"));
            Ok(None)
        }
    }
}

/// Writes an operator's decisions.
pub fn save_overrides(host: &Change, overrides: &Overrides) -> io::Result<()> {
    let overrides = Overrides { format: LEDGER_FORMAT, ..overrides.clone() };
    host.write_all(&[file(host, OVERRIDES, &overrides)?])
}

/// Writes the trust file.
pub fn save_trust(host: &Change, trust: &Trust) -> io::Result<()> {
    let trust = Trust { format: LEDGER_FORMAT, ..trust.clone() };
    let ((path, bytes), _) = fitting(host, TRUST, trust, Trust::shed)?;
    host.write(path, &bytes)
}

/// Writes the debts.
pub fn save_debts(host: &Change, debts: &[Debt]) -> io::Result<()> {
    let (path, bytes) = file(host, DEBTS, &debts)?;
    host.write(path, &bytes)
}

/// Whether anything was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Saved {
    /// Files were written, and with them everything in the state directory is durable.
    Written,
    /// The ledger is as it was read.
    Unchanged,
}

/// Writes what of the ledger is not as it was read, and remembers it.
pub fn save_changed(
    host: &Change,
    ledger: &mut Ledger,
    inventory: Option<Inventory>,
    trust: Option<Trust>,
) -> io::Result<Saved> {
    let inventory = inventory.filter(|inventory| *inventory != ledger.inventory);
    let trust = trust.filter(|trust| *trust != ledger.trust);
    let trust = trust.map(|trust| Trust { format: LEDGER_FORMAT, ..trust });
    let inventory = inventory.map(|inventory| Inventory { format: LEDGER_FORMAT, ..inventory });
    // The trust first: an inventory without it means that it was lost.
    let mut files = Vec::new();
    let trust = trust.map(|trust| fitting(host, TRUST, trust, Trust::shed)).transpose()?;
    let trust = trust.map(|(file, trust)| (files.push(file), trust).1);
    let inventory = inventory.map(|all| fitting(host, INVENTORY, all, Inventory::shed));
    let inventory = inventory.transpose()?.map(|(file, all)| (files.push(file), all).1);
    host.write_all(&files)?;
    ledger.trust = trust.unwrap_or_else(|| std::mem::take(&mut ledger.trust));
    ledger.inventory = inventory.unwrap_or_else(|| std::mem::take(&mut ledger.inventory));
    Ok(if files.is_empty() { Saved::Unchanged } else { Saved::Written })
}

/// Writes all of it under the new names of resources, if any has one.
pub fn save_renamed(host: &Change, ledger: &mut Ledger) -> io::Result<()> {
    if ledger.renamed.is_empty() {
        return Ok(());
    }
    let trust = Trust { format: LEDGER_FORMAT, ..ledger.trust.clone() };
    let inventory = Inventory { format: LEDGER_FORMAT, ..ledger.inventory.clone() };
    let overrides = Overrides { format: LEDGER_FORMAT, ..ledger.overrides.clone() };
    // The inventory last: as long as it has the old names, the rest is looked for under them, too.
    let (trust_file, trust) = fitting(host, TRUST, trust, Trust::shed)?;
    let (inventory_file, inventory) = fitting(host, INVENTORY, inventory, Inventory::shed)?;
    host.write_all(&[
        file(host, OVERRIDES, &overrides)?,
        file(host, DEBTS, &ledger.debts)?,
        trust_file,
        inventory_file,
    ])?;
    (ledger.trust, ledger.inventory) = (trust, inventory);
    ledger.renamed.clear();
    Ok(())
}

/// A file's path and what goes into it.
type File = (Utf8PathBuf, Vec<u8>);

/// A file that can be read again.
fn file(host: &Change, name: &str, value: &impl Serialize) -> io::Result<File> {
    writable(host, name, render(value)?)
}

fn writable(host: &Change, name: &str, bytes: Vec<u8>) -> io::Result<File> {
    let path = host.places().state.join(name);
    if bytes.len() > LEDGER_BYTES_MAX {
        let why = format!(
            "{path} would have {} bytes and is not written: only {LEDGER_BYTES_MAX} are read again",
            bytes.len()
        );
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, why));
    }
    Ok((path, bytes))
}

/// The same of what can do without a part: how many bytes must go is told to `shed`, and what is left goes into the file.
fn fitting<T: Serialize>(
    host: &Change,
    name: &str,
    mut value: T,
    shed: impl Fn(&mut T, usize) -> bool,
) -> io::Result<(File, T)> {
    loop {
        let bytes = render(&value)?;
        let surplus = bytes.len().saturating_sub(LEDGER_BYTES_MAX);
        if surplus == 0 || !shed(&mut value, surplus) {
            return Ok((writable(host, name, bytes)?, value));
        }
        tracing::warn!(
            file = name,
            "there is no room for all that is remembered: a part is forgotten"
        );
    }
}

fn render(value: &impl Serialize) -> io::Result<Vec<u8>> {
    let mut bytes = serde_json::to_vec_pretty(value).map_err(io::Error::other)?;
    bytes.push(b'\n');
    Ok(bytes)
}
