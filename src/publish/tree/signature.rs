//! The signature beside an index.

use std::io::Write;
use std::path::Path;

use camino::{Utf8Path, Utf8PathBuf};

use super::PublishError;
use super::files::{beside, replace};
use crate::format::casync::index::INDEX_BYTES_MAX;
use crate::format::detached::{BYTES_MAX, ENDS, blocks, joined};
use crate::host::read_regular;
use crate::publish::signing::{SignError, Signer};

/// End of the name of the signature that is made.
const END: &str = ENDS[0];

/// A signature that was made and is not yet in its place.
#[derive(Debug)]
pub(super) struct Signature {
    path: Utf8PathBuf,
    bytes: Vec<u8>,
    /// That of the index that is in its place now.
    before: Vec<u8>,
}

/// What signs with a key of gpg.
pub(super) async fn signer(index: &Utf8Path, key: &str) -> Result<Signer, PublishError> {
    Signer::new(key).await.map_err(|error| unsigned(index, error))
}

/// Whether the index that is there is signed by this key, and whatever else is beside it.
pub(super) fn holds(index: &Utf8Path, signer: &Signer) -> bool {
    let signature = read_regular(beside(index, END), BYTES_MAX);
    let bytes = read_regular(index, INDEX_BYTES_MAX);
    signature.is_ok_and(|signature| bytes.is_ok_and(|bytes| signer.holds(&signature, &bytes)))
}

impl Signature {
    /// Has gpg sign an index that was made, with its bytes.
    pub(super) async fn make(
        signer: &Signer,
        made: (&Path, &[u8]),
        index: &Utf8Path,
    ) -> Result<Self, PublishError> {
        let path = beside(index, END);
        let armour = signer.sign(made, index.file_name()).await;
        let bytes = armour.map_err(|error| unsigned(index, error))?.into_bytes();
        let before = of_now(&path, index, signer);
        Ok(Self { path, bytes, before })
    }

    /// Puts it where the one before is, and keeps that.
    pub(super) fn place_with_the_one_before(&self) -> Result<(), PublishError> {
        self.write(&joined(&self.bytes, &self.before))
    }

    /// Puts it where it belongs; any before is gone.
    pub(super) fn place_alone(&self) -> Result<(), PublishError> {
        self.write(&self.bytes)
    }

    fn write(&self, bytes: &[u8]) -> Result<(), PublishError> {
        replace(&self.path, |file| {
            let written = file.write_all(bytes);
            written.map_err(|source| PublishError::Write { path: self.path.clone(), source })
        })
    }
}

/// The signature of the index that is in its place. Where publishers were killed there are several, of which one holds.
fn of_now(path: &Utf8Path, index: &Utf8Path, signer: &Signer) -> Vec<u8> {
    let all = read_regular(path, BYTES_MAX).unwrap_or_default();
    let several = blocks(&all);
    if several.len() > 1
        && let Ok(bytes) = read_regular(index, INDEX_BYTES_MAX)
        && let Some(block) = several.into_iter().find(|block| signer.holds(block, &bytes))
    {
        return block.to_vec();
    }
    all
}

fn unsigned(index: &Utf8Path, error: SignError) -> PublishError {
    PublishError::Sign { path: index.to_owned(), source: Box::new(error) }
}

/// A signature that is beside an index.
pub(super) fn there(index: &Utf8Path) -> Option<Utf8PathBuf> {
    let mut paths = ENDS.iter().map(|end| beside(index, end));
    paths.find(|path| path.symlink_metadata().is_ok())
}
