//! The last valid desired state: enforced while what stands in its place is not valid.

use std::io;

use camino::Utf8PathBuf;

use crate::desired::{DesiredState, SourceText};
use crate::host::{Change as Host, Look, Stat};
use crate::model::Digest;
use crate::model::selection::Identity;

/// All documents of a desired state have at most 64 MiB, which JSON may double.
const BYTES_MAX: u64 = 160 << 20;

const NAME: &str = "desired.json";

fn place(host: &Look) -> Utf8PathBuf {
    host.places().state.join(NAME)
}

/// The copy as this process has left it: the digest of the texts in it, and what the file was then.
#[derive(Clone, Debug, Default)]
pub struct Kept(Option<(Digest, Stat)>);

/// Keeps the texts of a valid desired state, if they are not those kept already; `digest` is that of the texts.
pub fn save(
    host: &Host,
    (texts, digest): (&[SourceText], &Digest),
    kept: &mut Kept,
) -> io::Result<()> {
    let there = host.stat(place(host))?;
    let known = kept.0.take().filter(|(known, stat)| known == digest && Some(*stat) == there);
    if known.is_some() {
        kept.0 = known;
        return Ok(());
    }
    let bytes = serde_json::to_vec(texts).map_err(io::Error::other)?;
    // A copy that is too large or damaged is another one, too.
    let copy = host.read(place(host), BYTES_MAX).ok().flatten();
    if copy.is_none_or(|copy| copy != bytes) {
        host.write(place(host), &bytes)?;
    }
    kept.0 = host.stat(place(host))?.map(|stat| (digest.clone(), stat));
    Ok(())
}

/// The desired state of these roots that was kept; `None` when there is none, or none that this version understands.
pub fn load(host: &Look, (of, roots): (&Identity, &[String])) -> io::Result<Option<DesiredState>> {
    let Some(bytes) = host.read(place(host), BYTES_MAX)? else { return Ok(None) };
    let texts: Option<Vec<SourceText>> = serde_json::from_slice(&bytes).ok();
    // What was read elsewhere, for one pass, does not take the place of what is not valid here.
    let texts = texts.filter(|texts| texts.iter().all(|text| roots.contains(&text.root)));
    Ok(texts.and_then(|texts| DesiredState::from_texts_for(texts, of).ok()))
}
