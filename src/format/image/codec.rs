//! Blocks of squashfs, unpacked with a bound.

use std::io::Read;

use crate::format::image::{Format, ImageError};

/// Memory of one xz decoder: squashfs dictionaries are a block long, at most 1 MiB.
const XZ_MEMORY_MAX: u64 = 32 << 20;

/// Largest window of a zstd block, as a power of two: 8 MiB, mksquashfs uses at most a block.
const ZSTD_WINDOW_LOG_MAX: u32 = 23;

/// How blocks are compressed: the numbers are those of the squashfs superblock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Codec {
    Gzip = 1,
    Lzma = 2,
    Lzo = 3,
    Xz = 4,
    Lz4 = 5,
    Zstd = 6,
}

impl Codec {
    pub(super) fn from_number(number: u16) -> Option<Self> {
        [Self::Gzip, Self::Lzma, Self::Lzo, Self::Xz, Self::Lz4, Self::Zstd]
            .into_iter()
            .find(|codec| *codec as u16 == number)
    }

    /// The unpacked block, at most `max` bytes long.
    pub(super) fn unpack(self, packed: &[u8], max: usize) -> Result<Vec<u8>, ImageError> {
        let damaged = ImageError::Damaged { format: Format::Squashfs, what: "compressed block" };
        let unpacked = match self {
            Self::Gzip => bounded(flate2::read::ZlibDecoder::new(packed), max),
            Self::Xz => {
                liblzma::stream::Stream::new_stream_decoder(XZ_MEMORY_MAX, 0).ok().and_then(
                    |stream| bounded(liblzma::read::XzDecoder::new_stream(packed, stream), max),
                )
            }
            Self::Zstd => zstd::Decoder::with_buffer(packed).ok().and_then(|mut decoder| {
                decoder.window_log_max(ZSTD_WINDOW_LOG_MAX).ok()?;
                bounded(decoder.single_frame(), max)
            }),
            Self::Lz4 => lz4_flex::block::decompress(packed, max).ok(),
            Self::Lzma | Self::Lzo => {
                let what = "its compression (lzo or lzma) is not read; use zstd, xz, gzip or lz4";
                return Err(ImageError::Unreadable { format: Format::Squashfs, what: what.into() });
            }
        };
        unpacked.ok_or(damaged)
    }
}

/// Everything there is, none if that is more than `max` bytes or broken.
fn bounded(reader: impl Read, max: usize) -> Option<Vec<u8>> {
    let mut unpacked = Vec::new();
    reader.take(max as u64 + 1).read_to_end(&mut unpacked).ok()?;
    (unpacked.len() <= max).then_some(unpacked)
}
