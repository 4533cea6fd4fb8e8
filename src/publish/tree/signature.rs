//! The signature beside an index.

use std::io::Write;

use camino::{Utf8Path, Utf8PathBuf};
use data_encoding::HEXLOWER;
use sha2::{Digest as _, Sha256};

use super::PublishError;
use super::files::{beside, remove, replace};
use crate::format::detached::{BYTES_MAX, ENDS, blocks, joined};
use crate::host::read_regular;
use crate::publish::signing::{Form, holds, sign_named};

/// End of the name of the signature that is made.
const END: &str = ENDS[0];

/// A signature that was made and is not yet in its place.
#[derive(Debug)]
pub(super) struct Signature {
    path: Utf8PathBuf,
    bytes: Vec<u8>,
    /// That of the index that is in its place now.
    before: Vec<u8>,
    /// The key that it was made with.
    pub(super) key: String,
}

impl Signature {
    /// Has gpg sign a file, which is the index or will be in its place.
    pub(super) async fn make(
        file: &Utf8Path,
        index: &Utf8Path,
        key: &str,
    ) -> Result<Self, PublishError> {
        let path = beside(index, END);
        let made = beside(&path, ".made");
        remove(&made)?;
        let to = (made.as_std_path(), Form::Armoured);
        let signed = sign_named(file.as_std_path(), key, to, index.file_name()).await;
        let bytes = read(&made);
        let before = of_now(&path, index, &made).await;
        remove(&made)?;
        signed.map_err(|source| PublishError::Sign { path: index.to_owned(), source })?;
        Ok(Self { path, bytes: bytes?, before, key: key.to_owned() })
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
async fn of_now(path: &Utf8Path, index: &Utf8Path, scratch: &Utf8Path) -> Vec<u8> {
    let all = read(path).unwrap_or_default();
    let several = blocks(&all);
    if several.len() < 2 {
        return all;
    }
    for block in several {
        let written = replace(scratch, |file| {
            let written = file.write_all(block);
            written.map_err(|source| PublishError::Write { path: scratch.to_owned(), source })
        });
        if written.is_ok() && holds(scratch.as_std_path(), index.as_std_path()).await {
            return block.to_vec();
        }
    }
    all
}

/// A signature that is beside an index.
pub(super) fn there(index: &Utf8Path) -> Option<Utf8PathBuf> {
    let mut paths = ENDS.iter().map(|end| beside(index, end));
    paths.find(|path| path.symlink_metadata().is_ok())
}

/// What stands for the signature that is beside an index and the key it was made with.
pub(super) fn mark(index: &Utf8Path, key: &str) -> Option<String> {
    let bytes = read(&beside(index, END)).ok()?;
    let sum = Sha256::new().chain_update(key).chain_update([0]).chain_update(bytes);
    Some(HEXLOWER.encode(&sum.finalize()))
}

fn read(path: &Utf8Path) -> Result<Vec<u8>, PublishError> {
    let read = read_regular(path, BYTES_MAX);
    read.map_err(|source| PublishError::Read { path: path.to_string(), source })
}
