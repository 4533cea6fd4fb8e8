//! The ledger on disk: four small JSON files, each replaced as a whole.
//!
//! ```text
//! trust.json      floors, locks, quarantine,    losing it is reported; `latest` still never goes back
//!                 what releases were made of    below what is installed
//! inventory.json  what is ours                  losing it stops pruning until resources are seen again
//! overrides.json  suspensions and rollbacks     a pass refuses to run while it is damaged; questions are answered;
//!                                               losing it is reported
//! debts.json      effects owed                  losing it is reported
//! renamed.json    all of that by the new names of resources, from when they were given until each file has them
//! ```

use std::io;

use camino::{Utf8Component, Utf8PathBuf};
use jiff::Timestamp;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::host::{Change, Look};
use crate::model::ledger::rename::Renames;
use crate::model::ledger::{Debt, Inventory, LEDGER_FORMAT, Ledger, Overrides, Trust};
use crate::record::history::{self, Renaming};

/// A ledger of 10,000 resources stays below 16 MiB.
const LEDGER_BYTES_MAX: usize = 16 << 20;

const TRUST: &str = "trust.json";
const INVENTORY: &str = "inventory.json";
const OVERRIDES: &str = "overrides.json";
const DEBTS: &str = "debts.json";
const RENAMED: &str = "renamed.json";

/// What is written by its new names: all four files.
const RENAMED_BYTES_MAX: usize = 4 * LEDGER_BYTES_MAX;

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
    ledger.losses.extend(undecided.clone());
    ledger.undecided = undecided;
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
    let mut undecided = Vec::new();
    let (trust, inventory, overrides, debts, unwritten) = match read_renamed(host, &mut losses)? {
        Some(Whole { format: _, trust, inventory, overrides, debts, renaming: _ }) => {
            (Some(trust), Some(inventory), Some(overrides), Some(debts), true)
        }
        None => (
            read(host, TRUST, &mut losses)?,
            read(host, INVENTORY, &mut losses)?,
            read(host, OVERRIDES, &mut undecided)?,
            read(host, DEBTS, &mut losses)?,
            false,
        ),
    };
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
            place(host, OVERRIDES)
        ));
    }
    let known = !inventory.resources.is_empty();
    let named = losses.iter().any(|loss: &String| loss.contains(TRUST));
    if trust.is_none() && known && !named {
        losses.push(format!(
            "{} is gone: the highest versions ever used are not known any more; `latest` is only kept \
             from going below what is installed now",
            place(host, TRUST)
        ));
    }
    let ledger = Ledger {
        trust: trust.unwrap_or_default(),
        inventory,
        overrides: overrides.unwrap_or_default(),
        debts: debts.unwrap_or_default(),
        renamed: Renames::new(),
        unwritten,
        losses,
        undecided: None,
    };
    Ok((ledger, undecided))
}

/// Where a file is on this machine, for people, who may remove it: below another root it is not that of this host.
fn place(host: &Look, name: &str) -> Utf8PathBuf {
    host.real(host.places().state.join(name))
}

fn read<T: DeserializeOwned>(
    host: &Look,
    name: &str,
    losses: &mut Vec<String>,
) -> io::Result<Option<T>> {
    read_within(host, (name, LEDGER_BYTES_MAX), losses)
}

/// What was to be written by new names and is perhaps not yet, which is as true as the files then were.
fn read_renamed(host: &Look, losses: &mut Vec<String>) -> io::Result<Option<Whole>> {
    read_within(host, (RENAMED, RENAMED_BYTES_MAX), losses)
}

fn read_within<T: DeserializeOwned>(
    host: &Look,
    (name, bytes_max): (&str, usize),
    losses: &mut Vec<String>,
) -> io::Result<Option<T>> {
    let path = host.places().state.join(name);
    let Some(bytes) = host.read(&path, bytes_max as u64)? else { return Ok(None) };
    let path = host.real(path);
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
    settle(host)?;
    let overrides = Overrides { format: LEDGER_FORMAT, ..overrides.clone() };
    host.write_all(&[file(host, OVERRIDES, &overrides)?])
}

/// Writes the trust file.
pub fn save_trust(host: &Change, trust: &Trust) -> io::Result<()> {
    settle(host)?;
    let trust = Trust { format: LEDGER_FORMAT, ..trust.clone() };
    let ((path, bytes), _) = fitting(host, TRUST, trust, Trust::shed)?;
    host.write(path, &bytes)
}

/// Writes the debts.
pub fn save_debts(host: &Change, debts: &[Debt]) -> io::Result<()> {
    settle(host)?;
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
    if !files.is_empty() {
        settle(host)?;
        host.write_all(&files)?;
    }
    ledger.trust = trust.unwrap_or_else(|| std::mem::take(&mut ledger.trust));
    ledger.inventory = inventory.unwrap_or_else(|| std::mem::take(&mut ledger.inventory));
    Ok(if files.is_empty() { Saved::Unchanged } else { Saved::Written })
}

/// Writes all of it under the new names of resources, if any has one, and what is known of others by now.
pub fn save_renamed(host: &Change, ledger: &mut Ledger, now: Timestamp) -> io::Result<()> {
    let unwritten = std::mem::take(&mut ledger.unwritten);
    if ledger.renamed.is_empty() {
        return if unwritten { save_trust(host, &ledger.trust) } else { Ok(()) };
    }
    // Names that were given before these.
    settle(host)?;
    let trust = Trust { format: LEDGER_FORMAT, ..ledger.trust.clone() };
    let inventory = Inventory { format: LEDGER_FORMAT, ..ledger.inventory.clone() };
    let (_, trust) = fitting(host, TRUST, trust, Trust::shed)?;
    let (_, inventory) = fitting(host, INVENTORY, inventory, Inventory::shed)?;
    let whole = Whole {
        format: LEDGER_FORMAT,
        trust: trust.clone(),
        inventory: inventory.clone(),
        overrides: Overrides { format: LEDGER_FORMAT, ..ledger.overrides.clone() },
        debts: ledger.debts.clone(),
        renaming: Renaming { at: now, renamed: std::mem::take(&mut ledger.renamed) },
    };
    // What does not fit into the files later must not be kept for them now.
    whole.files(host)?;
    // All at once: of two resources that exchanged their names nobody could tell what has been done.
    host.write(host.places().state.join(RENAMED), &render(&whole)?)?;
    settle(host)?;
    (ledger.trust, ledger.inventory) = (trust, inventory);
    Ok(())
}

/// Goes on with what was to be written by new names, if anything is.
fn settle(host: &Change) -> io::Result<()> {
    let state = &host.places().state;
    let path = state.join(RENAMED);
    if host.stat(&path)?.is_none() {
        return Ok(());
    }
    // What cannot be read was told when it was read for a pass, and is of no use.
    if let Some(whole) = read_renamed(host, &mut Vec::new())? {
        // Durable with the files.
        history::append_renaming(host, &whole.renaming)?;
        host.write_all(&whole.files(host)?)?;
    }
    host.remove(path)?;
    host.sync_dir(state)
}

/// All files in one.
#[derive(Serialize, Deserialize)]
struct Whole {
    /// [`LEDGER_FORMAT`].
    #[serde(default)]
    format: u32,
    trust: Trust,
    inventory: Inventory,
    overrides: Overrides,
    debts: Vec<Debt>,
    /// Why it is there.
    #[serde(flatten)]
    renaming: Renaming,
}

impl Whole {
    fn files(&self, host: &Change) -> io::Result<[File; 4]> {
        let Self { format: _, trust, inventory, overrides, debts, renaming: _ } = self;
        Ok([
            file(host, OVERRIDES, overrides)?,
            file(host, DEBTS, debts)?,
            file(host, TRUST, trust)?,
            file(host, INVENTORY, inventory)?,
        ])
    }
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
