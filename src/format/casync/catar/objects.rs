//! Objects read from a stream, whatever they mean.

use std::io::{self, Read};

use super::CatarError;
use super::object::{HEADER_BYTES, Object};
use crate::format::casync::flags::Flags;

/// Reads objects and counts bytes.
#[derive(Debug)]
pub(super) struct Objects<R> {
    source: R,
    at: u64,
    /// A header that was read but belongs to what comes next.
    ahead: Option<Header>,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Header {
    pub(super) at: u64,
    pub(super) object: Object,
    pub(super) body: u64,
}

impl<R: Read> Objects<R> {
    pub(super) fn new(source: R) -> Self {
        Self { source, at: 0, ahead: None }
    }

    pub(super) fn source(&mut self) -> &mut R {
        &mut self.source
    }

    pub(super) fn into_source(self) -> R {
        self.source
    }

    /// Counts bytes as read that were taken from the source directly.
    pub(super) fn pass(&mut self, count: u64) {
        self.at += count;
    }

    /// Where the next object begins.
    pub(super) fn offset(&self) -> u64 {
        self.ahead.map_or(self.at, |header| header.at)
    }

    /// Gives a header back that belongs to what comes next.
    pub(super) fn put_back(&mut self, header: Option<Header>) {
        self.ahead = header;
    }

    /// Whether the stream is at its end.
    pub(super) fn ended(&mut self) -> Result<bool, CatarError> {
        Ok(self.ahead.is_none() && self.fill(&mut [0], "nothing")? == 0)
    }

    /// Reads some bytes of a body; none is an error.
    pub(super) fn some(&mut self, into: &mut [u8]) -> Result<usize, CatarError> {
        loop {
            match self.source.read(into) {
                Ok(0) => return Err(self.truncated("the rest of a PAYLOAD")),
                Ok(count) => {
                    self.at += count as u64;
                    return Ok(count);
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(source) => return Err(CatarError::Read { at: self.at, source }),
            }
        }
    }

    pub(super) fn expect(&mut self, expected: &'static str) -> Result<Header, CatarError> {
        match self.header()? {
            Some(header) => Ok(header),
            None => Err(self.truncated(expected)),
        }
    }

    /// The next header; none where the stream ends between two objects.
    pub(super) fn header(&mut self) -> Result<Option<Header>, CatarError> {
        if let Some(header) = self.ahead.take() {
            return Ok(Some(header));
        }
        let at = self.at;
        let mut bytes = [0; 16];
        if self.fill(&mut bytes, "the rest of an object's header")? == 0 {
            return Ok(None);
        }
        let [size, kind] = words(&bytes);
        let object = Object::from_number(kind).ok_or(CatarError::UnknownObject { at, kind })?;
        match size.checked_sub(HEADER_BYTES).filter(|&body| object.fits(body)) {
            Some(body) => Ok(Some(Header { at, object, body })),
            None => Err(CatarError::ObjectSize { at, object: object.name(), size }),
        }
    }

    /// The body of an object whose size is limited by its type.
    pub(super) fn body(&mut self, header: Header) -> Result<Vec<u8>, CatarError> {
        let (at, object) = (header.at, header.object.name());
        let size = header.body.saturating_add(HEADER_BYTES);
        let length = usize::try_from(header.body)
            .ok()
            .filter(|_| !matches!(header.object, Object::Payload | Object::Goodbye))
            .ok_or(CatarError::ObjectSize { at, object, size })?;
        let mut bytes = vec![0; length];
        if self.fill(&mut bytes, "the rest of an object")? < length {
            return Err(self.truncated("the rest of an object"));
        }
        Ok(bytes)
    }

    pub(super) fn text(&mut self, header: Header) -> Result<Vec<u8>, CatarError> {
        let text = ended_text(&self.body(header)?);
        text.ok_or(CatarError::Text { at: header.at, object: header.object.name() })
    }

    pub(super) fn numbers<const N: usize>(
        &mut self,
        header: Header,
    ) -> Result<[u64; N], CatarError> {
        if header.body == 8 * N as u64 {
            return self.read_numbers("the rest of an object");
        }
        let (at, object) = (header.at, header.object.name());
        Err(CatarError::ObjectSize { at, object, size: header.body + HEADER_BYTES })
    }

    pub(super) fn read_numbers<const N: usize>(
        &mut self,
        expected: &'static str,
    ) -> Result<[u64; N], CatarError> {
        let mut numbers = [0; N];
        for number in &mut numbers {
            let mut bytes = [0; 8];
            if self.fill(&mut bytes, expected)? == 0 {
                return Err(self.truncated(expected));
            }
            *number = u64::from_le_bytes(bytes);
        }
        Ok(numbers)
    }

    /// Fills all of `into`, or nothing when the stream ends just before it.
    pub(super) fn fill(
        &mut self,
        into: &mut [u8],
        expected: &'static str,
    ) -> Result<usize, CatarError> {
        let mut filled = 0;
        while let Some(room) = into.get_mut(filled..).filter(|room| !room.is_empty()) {
            match self.source.read(room) {
                Ok(0) if filled == 0 => break,
                Ok(0) => return Err(self.truncated(expected)),
                Ok(count) => {
                    filled += count;
                    self.at += count as u64;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(source) => return Err(CatarError::Read { at: self.at, source }),
            }
        }
        Ok(filled)
    }

    pub(super) fn truncated(&self, expected: &'static str) -> CatarError {
        CatarError::Truncated { at: self.at, expected }
    }
}

pub(super) fn unexpected(header: Header, expected: &'static str) -> CatarError {
    CatarError::Unexpected { at: header.at, found: header.object.name(), expected }
}

pub(super) fn require(flags: Flags, flag: Flags, header: Header) -> Result<(), CatarError> {
    if flags.contains(flag) {
        return Ok(());
    }
    Err(CatarError::FlagMissing { at: header.at, object: header.object.name(), flag })
}

pub(super) fn require_object(header: Header, object: Object) -> Result<Header, CatarError> {
    if header.object == object { Ok(header) } else { Err(unexpected(header, object.name())) }
}

/// Text before its one zero, which is the last byte; none when it is empty.
pub(super) fn ended_text(bytes: &[u8]) -> Option<Vec<u8>> {
    let (last, text) = bytes.split_last()?;
    (*last == 0 && !text.is_empty() && !text.contains(&0)).then(|| text.to_vec())
}

fn words<const N: usize>(bytes: &[u8; 16]) -> [u64; N] {
    let (numbers, _) = bytes.as_chunks::<8>();
    std::array::from_fn(|at| numbers.get(at).copied().map_or(0, u64::from_le_bytes))
}
