//! Bounded reading at a place of an image.

use crate::format::elf::ReadAt;
use crate::format::image::{Format, ImageError};

/// Bytes that are read at once: more than any structure that is looked at.
const READ_BYTES_MAX: usize = 16 << 20;

/// An image or a partition of one.
#[derive(Clone, Copy)]
pub(super) struct Source<'a> {
    image: &'a dyn ReadAt,
    start: u64,
    size: u64,
}

impl<'a> Source<'a> {
    pub(super) fn new(image: &'a dyn ReadAt, size: u64) -> Self {
        Self { image, start: 0, size }
    }

    /// A part of this one; none if it lies outside.
    pub(super) fn part(self, start: u64, size: u64) -> Option<Self> {
        let end = start.checked_add(size)?;
        (end <= self.size).then_some(Self { start: self.start.checked_add(start)?, size, ..self })
    }

    /// Refuses what is shorter than `needs`.
    pub(super) fn holds(self, needs: u64, format: Format) -> Result<(), ImageError> {
        if needs <= self.size {
            Ok(())
        } else {
            Err(ImageError::Truncated { format, needs, has: self.size })
        }
    }

    /// `length` bytes from `offset` on.
    pub(super) fn bytes(
        self,
        offset: u64,
        length: usize,
        format: Format,
    ) -> Result<Vec<u8>, ImageError> {
        if length > READ_BYTES_MAX {
            return Err(ImageError::Damaged { format, what: "length of a block" });
        }
        let end = offset.checked_add(length as u64);
        let outside = ImageError::Damaged { format, what: "pointer to outside the image" };
        if end.is_none_or(|end| end > self.size) {
            return Err(outside);
        }
        let mut bytes = vec![0; length];
        if self.fill(&mut bytes, offset)? == length { Ok(bytes) } else { Err(outside) }
    }

    /// As many bytes as the array has.
    pub(super) fn array<const N: usize>(
        self,
        offset: u64,
        format: Format,
    ) -> Result<[u8; N], ImageError> {
        let bytes = self.bytes(offset, N, format)?;
        bytes.try_into().map_err(|_| ImageError::Damaged { format, what: "length of a block" })
    }

    /// Whether these bytes stand at `offset`.
    pub(super) fn starts_with(self, offset: u64, magic: &[u8]) -> Result<bool, ImageError> {
        let mut bytes = vec![0; magic.len()];
        let inside = offset.checked_add(magic.len() as u64).is_some_and(|end| end <= self.size);
        Ok(inside && self.fill(&mut bytes, offset)? == magic.len() && bytes == magic)
    }

    fn fill(self, into: &mut [u8], offset: u64) -> Result<usize, ImageError> {
        let at = self.start.saturating_add(offset);
        let mut done = 0;
        while let Some(rest) = into.get_mut(done..).filter(|rest| !rest.is_empty()) {
            let count = self.image.read_at(rest, at.saturating_add(done as u64));
            match count.map_err(ImageError::Read)? {
                0 => break,
                count => done += count,
            }
        }
        Ok(done)
    }
}

/// A little-endian number in a structure that is long enough by construction; zero if it is not.
pub(super) fn u16_at(bytes: &[u8], at: usize) -> u16 {
    bytes.get(at..at + 2).and_then(|b| b.try_into().ok()).map_or(0, u16::from_le_bytes)
}

/// As [`u16_at`].
pub(super) fn u32_at(bytes: &[u8], at: usize) -> u32 {
    bytes.get(at..at + 4).and_then(|b| b.try_into().ok()).map_or(0, u32::from_le_bytes)
}

/// As [`u16_at`].
pub(super) fn u64_at(bytes: &[u8], at: usize) -> u64 {
    bytes.get(at..at + 8).and_then(|b| b.try_into().ok()).map_or(0, u64::from_le_bytes)
}

/// A name that is UTF-8 and names an entry.
pub(super) fn entry_name(bytes: &[u8]) -> Option<String> {
    let name = std::str::from_utf8(bytes).ok()?;
    let valid = !name.is_empty() && !matches!(name, "." | "..") && !name.contains(['/', '\0']);
    valid.then(|| name.to_owned())
}

/// CRC-32C (Castagnoli) without the final inversion, as erofs and ext4 use it.
pub(super) fn crc32c(seed: u32, bytes: &[u8]) -> u32 {
    bytes.iter().fold(seed, |crc, &byte| {
        (0..8).fold(crc ^ u32::from(byte), |crc, _| {
            (crc >> 1) ^ (0x82f6_3b78 & (crc & 1).wrapping_neg())
        })
    })
}
