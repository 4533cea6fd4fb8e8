//! Files that hold a token.

use std::io;

use camino::Utf8Path;

use crate::cli::CliError;
use crate::cli::exit::Exit;
use crate::host::read_bounded;

/// A token file is one line.
const TOKEN_FILE_BYTES_MAX: u64 = 8192;

/// What a file holds.
pub(super) fn read_token(path: &Utf8Path) -> Result<String, CliError> {
    let read = std::fs::File::open(path)
        .and_then(|file| read_bounded(file, TOKEN_FILE_BYTES_MAX))
        .and_then(|bytes| String::from_utf8(bytes).map_err(io::Error::other));
    read.map_err(|error| {
        CliError::new(Exit::Config, format!("cannot read the token file {path}: {error}"))
    })
}
