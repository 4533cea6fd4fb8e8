//! Applying a patch: the new file as a stream, in constant memory.

use std::io::{self, Read, Write};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

use bzip2::bufread::MultiBzDecoder;

use super::{HEADER_BYTES, MAGIC, MAGIC_ENDSLEY, TRIPLE_BYTES, number};
use crate::format::elf::ReadAt;

/// Bytes of the new file that are made before they are written.
const PIECE_BYTES: usize = 128 << 10;

/// Pieces of the difference stream that are unpacked ahead: enough to even out the two threads.
const PIECES_AHEAD: usize = 4;

/// Bytes of the old file that are read at a time. bsdiff's matches are mostly near the one before.
const PAGE_BYTES: usize = 16 << 10;

/// Pages of the old file that are kept: 4 MiB.
const PAGES: usize = 256;

/// Triples in a row that make no byte. bsdiff writes one, rarely two; a patch that goes on with them would never
/// end.
const IDLE_TRIPLES_MAX: u32 = 64;

/// Bytes of the new file and of the patch for which there may be one triple: bsdiff ends a match only where it
/// found one that is more than 8 bytes better.
const BYTES_PER_TRIPLE: u64 = 8;

/// Farthest place in the old file, in bytes from its start and before it: twice as far still fits the number.
const PLACE_MAX: u64 = 1 << 62;

/// Why a patch could not be applied.
#[derive(Debug, thiserror::Error)]
pub enum ApplyError {
    /// Does not begin as a patch does.
    #[error("applying a patch: it does not begin with `BSDIFF40`; use the full artifact")]
    NotAPatch,
    /// A patch of Endsley's bsdiff.
    #[error(
        "applying a patch: it is in the format `ENDSLEY/BSDIFF43`; publish one made by bsdiff 4 (`BSDIFF40`)"
    )]
    Endsley,
    /// The header gives sizes that cannot be.
    #[error(
        "applying a patch of {patch_bytes} bytes: the {what} in its header is impossible; use the full artifact"
    )]
    Header {
        /// The size that cannot be.
        what: &'static str,
        /// Size of the patch in bytes.
        patch_bytes: usize,
    },
    /// The new file would be larger than the caller allows.
    #[error(
        "applying a patch: it makes {size} bytes and at most {size_max} are allowed; use the full artifact"
    )]
    TooLarge {
        /// Bytes that the patch makes.
        size: u64,
        /// Bytes that were allowed.
        size_max: u64,
    },
    /// A control triple asks for what cannot be.
    #[error("applying a patch: at byte {at} of the result {what}; use the full artifact")]
    Control {
        /// Bytes of the new file before the triple.
        at: u64,
        /// What the triple asks for.
        what: &'static str,
    },
    /// A stream is damaged or ends early.
    #[error(
        "applying a patch: at byte {at} of the result its {stream} stream is damaged; use the full artifact"
    )]
    Stream {
        /// `control`, `difference` or `extra`.
        stream: &'static str,
        /// Bytes of the new file before the damage is felt.
        at: u64,
        /// What the decompressor says.
        #[source]
        source: io::Error,
    },
    /// The old file cannot be read.
    #[error("applying a patch: cannot read the old file")]
    Old(#[source] io::Error),
    /// The new file cannot be written.
    #[error("applying a patch: cannot write the new file")]
    New(#[source] io::Error),
}

/// The sizes in the header of a patch, checked against the patch itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// Bytes of the new file. Whatever a header claims is possible: compare before relying on it.
    pub new_bytes: u64,
    /// Where the difference stream begins.
    difference_at: usize,
    /// Where the extra stream begins.
    extra_at: usize,
}

impl Header {
    /// Reads the header of a whole patch.
    pub fn read(patch: &[u8]) -> Result<Self, ApplyError> {
        let patch_bytes = patch.len();
        let wrong = |what| ApplyError::Header { what, patch_bytes };
        if patch.starts_with(MAGIC_ENDSLEY) {
            return Err(ApplyError::Endsley);
        }
        let fields = patch.strip_prefix(MAGIC).ok_or(ApplyError::NotAPatch)?;
        let mut fields = fields.as_chunks::<8>().0.iter().copied().map(number);
        let mut next = |what| fields.next().ok_or_else(|| wrong(what));
        let control = next("size of the control stream")?;
        let difference = next("size of the difference stream")?;
        let new = next("size of the result")?;
        let end_of = |start: usize, size: i64| {
            let end = start.checked_add(usize::try_from(size).ok()?)?;
            (end <= patch_bytes).then_some(end)
        };
        let difference_at = end_of(HEADER_BYTES, control);
        let difference_at = difference_at.ok_or_else(|| wrong("size of the control stream"))?;
        let extra_at = end_of(difference_at, difference);
        let extra_at = extra_at.ok_or_else(|| wrong("size of the difference stream"))?;
        let new_bytes = u64::try_from(new).map_err(|_| wrong("size of the result"))?;
        Ok(Self { new_bytes, difference_at, extra_at })
    }
}

/// Writes the new file that `patch` makes of `old`, and says how many bytes it has.
///
/// Nothing is written when the header promises more than `size_max` bytes. Memory is about 15 MiB whatever the
/// sizes are: three decompressors, some pages of the old file and a few pieces of the new one. A second thread
/// unpacks the difference stream ahead. The result is *unverified*: `into` should compute its digest.
pub fn apply(
    old: &(impl ReadAt + ?Sized),
    patch: &[u8],
    into: &mut (impl Write + ?Sized),
    size_max: u64,
) -> Result<u64, ApplyError> {
    let header = Header::read(patch)?;
    let size = header.new_bytes;
    if size > size_max {
        return Err(ApplyError::TooLarge { size, size_max });
    }
    let part = |range| patch.get(range).unwrap_or_default();
    let control = part(HEADER_BYTES..header.difference_at);
    let difference = part(header.difference_at..header.extra_at);
    let extra = patch.get(header.extra_at..).unwrap_or_default();
    std::thread::scope(|scope| {
        let (pieces, ahead) = sync_channel(PIECES_AHEAD);
        scope.spawn(move || unpack_ahead(MultiBzDecoder::new(difference), size, &pieces));
        let mut patching = Patching {
            difference: Ahead { pieces: ahead, piece: Vec::new(), taken: 0 },
            extra: MultiBzDecoder::new(extra),
            old: Pages::new(old),
            place: 0,
            piece: Vec::with_capacity(PIECE_BYTES),
            written: 0,
            into,
        };
        let triples_max = triples_max(size, patch.len());
        patching.run(MultiBzDecoder::new(control), size, triples_max)
    })
}

/// Most triples of a patch: what they cost is in proportion to what they make and to the patch itself.
fn triples_max(size: u64, patch_bytes: usize) -> u64 {
    let bytes = size.saturating_add(patch_bytes as u64);
    u64::from(IDLE_TRIPLES_MAX) + bytes / BYTES_PER_TRIPLE
}

/// Unpacks up to `size` bytes and sends them in pieces, until nobody wants more.
fn unpack_ahead(packed: impl Read, size: u64, pieces: &SyncSender<io::Result<Vec<u8>>>) {
    let mut packed = packed.take(size);
    loop {
        let mut piece = Vec::with_capacity(PIECE_BYTES);
        let read = (&mut packed).take(PIECE_BYTES as u64).read_to_end(&mut piece);
        let last = !matches!(read, Ok(PIECE_BYTES));
        // What came before the damage is good.
        if (!piece.is_empty() && pieces.send(Ok(piece)).is_err()) || last {
            if let Err(error) = read {
                // An error here means that the receiver is gone and nobody cares.
                let _ = pieces.send(Err(error));
            }
            return;
        }
    }
}

/// The difference stream as it arrives from the other thread.
struct Ahead {
    pieces: Receiver<io::Result<Vec<u8>>>,
    piece: Vec<u8>,
    taken: usize,
}

impl Read for Ahead {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        if self.taken == self.piece.len() {
            let Ok(piece) = self.pieces.recv() else { return Ok(0) };
            self.piece = piece?;
            self.taken = 0;
        }
        let mut rest = self.piece.get(self.taken..).unwrap_or_default();
        let count = rest.read(into)?;
        self.taken += count;
        Ok(count)
    }
}

/// A patch being applied.
struct Patching<'a, R: ?Sized, W: ?Sized> {
    difference: Ahead,
    extra: MultiBzDecoder<&'a [u8]>,
    old: Pages<'a, R>,
    /// Place in the old file.
    place: i64,
    /// Made and not yet written.
    piece: Vec<u8>,
    written: u64,
    into: &'a mut W,
}

impl<R: ReadAt + ?Sized, W: Write + ?Sized> Patching<'_, R, W> {
    /// Bytes of the new file that are made.
    fn made(&self) -> u64 {
        self.written + self.piece.len() as u64
    }

    fn run(&mut self, control: impl Read, size: u64, triples_max: u64) -> Result<u64, ApplyError> {
        let mut control = io::BufReader::with_capacity(PIECE_BYTES, control);
        let (mut idle, mut triples) = (0, 0);
        while self.made() < size {
            let at = self.made();
            let wrong = |what| ApplyError::Control { at, what };
            let (add, copy, seek) = triple(&mut control, at)?;
            let add = u64::try_from(add).map_err(|_| wrong("it adds a negative count"))?;
            let copy = u64::try_from(copy).map_err(|_| wrong("it copies a negative count"))?;
            let left = size - at;
            if add > left || copy > left - add {
                return Err(wrong("it makes more bytes than its header says"));
            }
            idle = if add + copy == 0 { idle + 1 } else { 0 };
            if idle > IDLE_TRIPLES_MAX {
                return Err(wrong("it goes on without making a byte"));
            }
            triples += 1;
            if triples > triples_max {
                return Err(wrong("it has more steps than any patch of its size"));
            }
            self.add(add)?;
            self.copy(copy)?;
            self.place = self.place.saturating_add_unsigned(add).saturating_add(seek);
            if self.place.unsigned_abs() > PLACE_MAX {
                return Err(wrong("it seeks too far"));
            }
        }
        self.flush()?;
        self.into.flush().map_err(ApplyError::New)?;
        Ok(self.written)
    }

    fn add(&mut self, count: u64) -> Result<(), ApplyError> {
        let mut done = 0;
        while done < count {
            let at = self.made();
            let start = self.extend(count - done)?;
            let made = self.piece.get_mut(start..).unwrap_or_default();
            let read = self.difference.read_exact(made);
            read.map_err(|source| ApplyError::Stream { stream: "difference", at, source })?;
            let place = self.place.saturating_add_unsigned(done);
            self.old.add_to(made, place).map_err(ApplyError::Old)?;
            done += made.len() as u64;
        }
        Ok(())
    }

    fn copy(&mut self, count: u64) -> Result<(), ApplyError> {
        let mut done = 0;
        while done < count {
            let at = self.made();
            let start = self.extend(count - done)?;
            let made = self.piece.get_mut(start..).unwrap_or_default();
            let read = self.extra.read_exact(made);
            read.map_err(|source| ApplyError::Stream { stream: "extra", at, source })?;
            done += made.len() as u64;
        }
        Ok(())
    }

    /// Lengthens the piece by up to `wanted` bytes, writing it out first when it is full; where they begin.
    fn extend(&mut self, wanted: u64) -> Result<usize, ApplyError> {
        if self.piece.len() >= PIECE_BYTES {
            self.flush()?;
        }
        let start = self.piece.len();
        let room = PIECE_BYTES - start;
        self.piece.resize(start + usize::try_from(wanted).map_or(room, |count| count.min(room)), 0);
        Ok(start)
    }

    fn flush(&mut self) -> Result<(), ApplyError> {
        self.into.write_all(&self.piece).map_err(ApplyError::New)?;
        self.written += self.piece.len() as u64;
        self.piece.clear();
        Ok(())
    }
}

fn triple(control: &mut impl Read, at: u64) -> Result<(i64, i64, i64), ApplyError> {
    let mut bytes = [0; TRIPLE_BYTES];
    let read = control.read_exact(&mut bytes);
    read.map_err(|source| ApplyError::Stream { stream: "control", at, source })?;
    match bytes.as_chunks::<8>().0 {
        [add, copy, seek] => Ok((number(*add), number(*copy), number(*seek))),
        _ => Ok((0, 0, 0)),
    }
}

/// Pages of the old file, each in the slot that its number gives.
struct Pages<'a, R: ?Sized> {
    source: &'a R,
    slots: Vec<Page>,
}

/// One page; shorter than [`PAGE_BYTES`] at the end of the file.
#[derive(Default)]
struct Page {
    /// Which it is; none before the slot is used.
    number: Option<u64>,
    bytes: Vec<u8>,
}

impl<'a, R: ReadAt + ?Sized> Pages<'a, R> {
    fn new(source: &'a R) -> Self {
        Self { source, slots: (0..PAGES).map(|_| Page::default()).collect() }
    }

    /// Adds the bytes of the old file from `place` on to `sums`, modulo 256.
    fn add_to(&mut self, sums: &mut [u8], place: i64) -> io::Result<()> {
        // Bytes before the file are 0.
        let before = usize::try_from(place.min(0).unsigned_abs()).unwrap_or(usize::MAX);
        let mut sums = sums.get_mut(before..).unwrap_or_default();
        let mut place = place.max(0).unsigned_abs();
        while !sums.is_empty() {
            let page = self.page(place / PAGE_BYTES as u64)?;
            let within = usize::try_from(place % PAGE_BYTES as u64).unwrap_or_default();
            let Some(bytes) = page.get(within..).filter(|bytes| !bytes.is_empty()) else {
                // The same for bytes behind it.
                return Ok(());
            };
            let count = bytes.len().min(sums.len());
            let (head, tail) = sums.split_at_mut(count);
            for (sum, byte) in head.iter_mut().zip(bytes) {
                *sum = sum.wrapping_add(*byte);
            }
            sums = tail;
            place += count as u64;
        }
        Ok(())
    }

    fn page(&mut self, number: u64) -> io::Result<&[u8]> {
        let slot = usize::try_from(number % PAGES as u64).unwrap_or_default();
        let Some(page) = self.slots.get_mut(slot) else { return Ok(&[]) };
        if page.number != Some(number) {
            page.number = None;
            page.bytes.resize(PAGE_BYTES, 0);
            let count = self.source.read_at(&mut page.bytes, number * PAGE_BYTES as u64)?;
            page.bytes.truncate(count);
            page.number = Some(number);
        }
        Ok(&page.bytes)
    }
}
