//! One file in its packing, as updaters of single programs publish it.

use std::io::{self, BufRead, Read, Write};

/// Bytes unpacked at a time.
const PIECE_BYTES: usize = 128 << 10;

/// How one file is packed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Packing {
    /// Not at all.
    None,
    /// bzip2, one stream or several (as pbzip2 and lbzip2 write).
    Bzip2,
    /// RFC 1952, one member or several.
    Gzip,
}

/// Why a file was not unpacked or packed.
#[derive(Debug, thiserror::Error)]
pub enum PackedError {
    /// The packed bytes are damaged, end early, or cannot be read.
    #[error("unpacking {packing:?} data: after {at} bytes it is damaged; fetch it again")]
    Damaged {
        /// How it is packed.
        packing: Packing,
        /// Bytes that were unpacked before.
        at: u64,
        /// What the decompressor says.
        #[source]
        source: io::Error,
    },
    /// More bytes than allowed.
    #[error(
        "unpacking {packing:?} data: it holds more than the {size_max} bytes allowed; raise the limit if that is right"
    )]
    TooLarge {
        /// How it is packed.
        packing: Packing,
        /// Bytes that were allowed.
        size_max: u64,
    },
    /// The unpacked bytes cannot be written.
    #[error("unpacking {packing:?} data: cannot write the result")]
    Write {
        /// How it is packed.
        packing: Packing,
        /// What the writer says.
        #[source]
        source: io::Error,
    },
    /// Packing failed: reading or writing did.
    #[error("packing as {packing:?}: cannot copy the data")]
    Pack {
        /// How it was to be packed.
        packing: Packing,
        /// What the reader or writer says.
        #[source]
        source: io::Error,
    },
}

impl Packing {
    /// What such a file's name ends with.
    pub fn suffix(self) -> &'static str {
        match self {
            Self::None => "",
            Self::Bzip2 => ".bz2",
            Self::Gzip => ".gz",
        }
    }

    /// Unpacks to `into`, in constant memory, and says how many bytes it wrote: at most `size_max`.
    pub fn unpack(
        self,
        packed: impl BufRead,
        into: &mut (impl Write + ?Sized),
        size_max: u64,
    ) -> Result<u64, PackedError> {
        match self {
            Self::None => self.copy(packed, into, size_max),
            Self::Bzip2 => self.copy(bzip2::bufread::MultiBzDecoder::new(packed), into, size_max),
            Self::Gzip => self.copy(flate2::bufread::MultiGzDecoder::new(packed), into, size_max),
        }
    }

    fn copy(
        self,
        mut from: impl Read,
        into: &mut (impl Write + ?Sized),
        size_max: u64,
    ) -> Result<u64, PackedError> {
        let mut piece = vec![0; PIECE_BYTES];
        let mut at = 0;
        loop {
            let count = match from.read(&mut piece) {
                Ok(0) => return Ok(at),
                Ok(count) => count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(source) => return Err(PackedError::Damaged { packing: self, at, source }),
            };
            if count as u64 > size_max - at {
                return Err(PackedError::TooLarge { packing: self, size_max });
            }
            let made = piece.get(..count).unwrap_or_default();
            into.write_all(made).map_err(|source| PackedError::Write { packing: self, source })?;
            at += count as u64;
        }
    }

    /// Packs as well as the packing can, without a name or time in it: the same file makes the same bytes.
    pub fn pack(
        self,
        from: &mut (impl Read + ?Sized),
        into: &mut (impl Write + ?Sized),
    ) -> Result<(), PackedError> {
        let done = match self {
            Self::None => io::copy(from, into).map(drop),
            Self::Bzip2 => {
                let mut packer =
                    bzip2::write::BzEncoder::new(&mut *into, bzip2::Compression::best());
                io::copy(from, &mut packer).and_then(|_| packer.finish()).map(drop)
            }
            Self::Gzip => {
                let mut packer =
                    flate2::write::GzEncoder::new(&mut *into, flate2::Compression::best());
                io::copy(from, &mut packer).and_then(|_| packer.finish()).map(drop)
            }
        };
        done.map_err(|source| PackedError::Pack { packing: self, source })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn packed(packing: Packing, bytes: &[u8]) -> Vec<u8> {
        let mut made = Vec::new();
        packing.pack(&mut &*bytes, &mut made).unwrap();
        made
    }

    fn unpacked(packing: Packing, packed: &[u8], size_max: u64) -> Result<Vec<u8>, PackedError> {
        let mut made = Vec::new();
        let count = packing.unpack(packed, &mut made, size_max)?;
        assert_eq!(count, made.len() as u64);
        Ok(made)
    }

    #[test]
    fn several_streams_are_one_file() {
        for packing in [Packing::None, Packing::Bzip2, Packing::Gzip] {
            let two =
                [packed(packing, b"one "), packed(packing, b""), packed(packing, b"two")].concat();
            assert_eq!(unpacked(packing, &two, 7).unwrap(), b"one two");
        }
    }

    #[test]
    fn bombs_end_at_the_limit() {
        for packing in [Packing::None, Packing::Bzip2, Packing::Gzip] {
            let bomb = packed(packing, &vec![0; 5 << 20]);
            let mut made = Vec::new();
            let error = packing.unpack(&*bomb, &mut made, 1 << 20).unwrap_err();
            assert!(matches!(error, PackedError::TooLarge { .. }), "{error}");
            assert!(made.len() <= 1 << 20);
        }
    }

    #[test]
    fn cut_files_are_damaged() {
        for packing in [Packing::Bzip2, Packing::Gzip] {
            let whole = packed(packing, b"something worth keeping");
            let cut = &whole[..whole.len() - 3];
            let error = unpacked(packing, cut, 1000).unwrap_err();
            assert!(matches!(error, PackedError::Damaged { .. }), "{error}");
        }
    }
}
