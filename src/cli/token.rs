//! Files that hold a token.

use std::io::Read;

use camino::Utf8Path;

use crate::cli::CliError;
use crate::cli::exit::Exit;

/// A token file is one line.
const TOKEN_FILE_BYTES_MAX: u64 = 8192;

/// What a file holds.
pub(super) fn read_token(path: &Utf8Path) -> Result<String, CliError> {
    let mut text = String::new();
    let read = std::fs::File::open(path)
        .and_then(|file| file.take(TOKEN_FILE_BYTES_MAX).read_to_string(&mut text));
    match read {
        Ok(_) => Ok(text),
        Err(error) => {
            Err(CliError::new(Exit::Config, format!("cannot read the token file {path}: {error}")))
        }
    }
}
