//! The last valid desired state of each set of paths, for while what stands there is not valid.

use std::io;

use camino::Utf8PathBuf;

use crate::desired::{DesiredState, SourceText};
use crate::host::{Change as Host, Look, Stat};
use crate::model::Digest;
use crate::model::selection::Identity;

/// All documents of a desired state have at most 64 MiB, which JSON may double.
const BYTES_MAX: u64 = 160 << 20;

/// Copies of so many sets of paths are kept: that of the agent, and of what an operator tries.
const COPIES_MAX: usize = 4;

const START: &str = "desired-";

const END: &str = ".json";

/// Where the copy of what such paths said is. What is read elsewhere, for one pass, does not take its place.
fn place(host: &Look, roots: &[String]) -> Utf8PathBuf {
    let mut roots: Vec<&String> = roots.iter().collect();
    roots.sort();
    let name = Digest::of_json(&roots).short();
    host.places().state.join(format!("{START}{name}{END}"))
}

/// The copy as this process has left it: the digest of the texts in it, and what the file was then.
#[derive(Clone, Debug, Default)]
pub struct Kept(Option<(Digest, Stat)>);

impl Kept {
    /// Keeps the texts, whose digest is known, unless it has left them there before.
    pub fn save(
        &mut self,
        host: &Host,
        roots: &[String],
        (texts, digest): (&[SourceText], &Digest),
    ) -> io::Result<()> {
        let place = place(host, roots);
        let there = host.stat(&place)?;
        if self.0.as_ref().is_some_and(|(known, stat)| known == digest && Some(*stat) == there) {
            return Ok(());
        }
        self.0 = None;
        save(host, roots, texts)?;
        self.0 = host.stat(&place)?.map(|stat| (digest.clone(), stat));
        Ok(())
    }
}

/// Keeps the texts of a valid desired state that was read from `roots`, if they are not those kept already. Who may not
/// read the desired state may not read the copy.
pub fn save(host: &Host, roots: &[String], texts: &[SourceText]) -> io::Result<()> {
    let place = place(host, roots);
    let there = host.stat(&place)?;
    let bytes = serde_json::to_vec(texts).map_err(io::Error::other)?;
    // A copy that is too large or damaged is another one, too.
    let copy = host.read(&place, BYTES_MAX).ok().flatten();
    if copy.is_none_or(|copy| copy != bytes) {
        host.write_private(&place, &bytes)?;
        if there.is_none() {
            forget_old(host);
        }
    }
    Ok(())
}

/// Removes the oldest copies where there are too many. Whatever cannot be removed stays.
fn forget_old(host: &Host) {
    let state = &host.places().state;
    let items = host.list(state).ok().flatten().unwrap_or_default();
    let names = items.into_iter().map(|item| item.name);
    let copies = names.filter(|name| name.starts_with(START) && name.ends_with(END));
    let mut copies: Vec<_> = copies
        .map(|name| state.join(name))
        .filter_map(|path| Some((host.stat(&path).ok()??.mtime, path)))
        .collect();
    copies.sort();
    let surplus = copies.len().saturating_sub(COPIES_MAX);
    for (_, path) in copies.into_iter().take(surplus) {
        if let Err(error) = host.remove(&path) {
            tracing::debug!(%error, %path, "an old copy of a desired state stays");
        }
    }
}

/// The desired state of these roots that was kept; `None` when there is none, or none that this version understands.
pub fn load(host: &Look, (of, roots): (&Identity, &[String])) -> io::Result<Option<DesiredState>> {
    let Some(bytes) = host.read(place(host, roots), BYTES_MAX)? else { return Ok(None) };
    let texts: Option<Vec<SourceText>> = serde_json::from_slice(&bytes).ok();
    Ok(texts.and_then(|texts| DesiredState::from_texts_for(texts, of).ok()))
}
