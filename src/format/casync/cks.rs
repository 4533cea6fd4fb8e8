//! `.cks` files: the digest of a whole stream, left beside its index.
//!
//! 64 hexadecimal digits and nothing else. Only a hint: the index is what counts. Source: what
//! casync-updater publishes.

use super::chunk::{ChunkId, ChunkIdError};

/// The text of a `.cks` file.
pub fn write(digest: &ChunkId) -> String {
    digest.to_string()
}

/// The digest in a `.cks` file; blanks around it are forgiven.
pub fn read(bytes: &[u8]) -> Result<ChunkId, ChunkIdError> {
    let text = std::str::from_utf8(bytes.trim_ascii()).map_err(|_| ChunkIdError)?;
    text.parse()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::casync::chunk::DigestKind;

    #[test]
    fn what_is_written_is_read() {
        let digest = DigestKind::Sha512_256.of(b"stream");
        assert_eq!(write(&digest).len(), 64);
        assert_eq!(read(write(&digest).as_bytes()), Ok(digest));
        assert_eq!(read(format!("{digest}\n").as_bytes()), Ok(digest));
        assert_eq!(read(b""), Err(ChunkIdError));
        assert_eq!(read(format!("{digest}  -").as_bytes()), Err(ChunkIdError));
        assert_eq!(read(&[0xff; 64]), Err(ChunkIdError));
    }
}
