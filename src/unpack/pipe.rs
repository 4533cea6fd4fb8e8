//! Two threads with a bounded number of recycled buffers between them.
//!
//! Inflating is what unpacking waits for, so it has a thread of its own; parsing, hashing and writing
//! overlap it. Memory is [`BUFFERS`] × [`BUFFER_BYTES`] whatever the size of the artifact.

use std::io::{self, Read};
use std::sync::mpsc::{Receiver, Sender, SyncSender, channel, sync_channel};
use std::thread;

use crate::unpack::error::UnpackError;
use crate::unpack::limits::StreamBound;

/// Bytes in one buffer: large enough for few, large writes, small enough to stay in a core's cache.
const BUFFER_BYTES: usize = 256 << 10;

/// Buffers in use: one at each end and two on the way, so that neither side waits for a hiccup of the
/// other.
const BUFFERS: usize = 4;

struct Buffer {
    bytes: Box<[u8]>,
    filled: usize,
}

enum Message {
    Bytes(Buffer),
    End,
    Failed(UnpackError),
}

/// Why the filling side stopped early.
pub(super) enum Stop {
    /// The other side has failed or has enough.
    Unwanted,
    /// This side has failed.
    Failed(UnpackError),
}

impl From<UnpackError> for Stop {
    fn from(error: UnpackError) -> Self {
        Self::Failed(error)
    }
}

/// Runs `fill` on a thread of its own and `drain` here, and gives back what `drain` made of the bytes.
pub(super) fn overlap<T>(
    bound: StreamBound,
    fill: impl FnOnce(&mut Filler) -> Result<(), Stop> + Send,
    drain: impl FnOnce(&mut Chunks) -> Result<T, UnpackError>,
) -> Result<T, UnpackError> {
    let (full_in, full_out) = sync_channel(BUFFERS + 1);
    let (empty_in, empty_out) = channel();
    for _ in 0..BUFFERS {
        let bytes = vec![0; BUFFER_BYTES].into_boxed_slice();
        // Cannot fail: the receiving end is in this function.
        let _ = empty_in.send(Buffer { bytes, filled: 0 });
    }
    thread::scope(|scope| {
        scope.spawn(move || {
            let mut filler =
                Filler { full: full_in, empty: empty_out, open: None, bound, passed: 0 };
            let end = fill(&mut filler);
            filler.close(end);
        });
        let mut chunks = Chunks { full: full_out, empty: empty_in, open: None, at: 0, over: false };
        drain(&mut chunks)
    })
}

/// The end into which unpacked bytes go.
pub(super) struct Filler {
    full: SyncSender<Message>,
    empty: Receiver<Buffer>,
    open: Option<Buffer>,
    bound: StreamBound,
    passed: u64,
}

impl Filler {
    /// Passes on everything that `source` gives and says how much that was. `failed` makes the error
    /// for a source that cannot be read.
    pub(super) fn pump(
        &mut self,
        source: &mut dyn Read,
        failed: impl Fn(io::Error) -> UnpackError,
    ) -> Result<u64, Stop> {
        let before = self.passed;
        loop {
            let mut buffer = match self.open.take() {
                Some(buffer) => buffer,
                None => self.empty.recv().map_err(|_| Stop::Unwanted)?,
            };
            let space = buffer.bytes.get_mut(buffer.filled..).unwrap_or_default();
            let count = match source.read(space) {
                Ok(count) => count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {
                    self.open = Some(buffer);
                    continue;
                }
                Err(error) => return Err(Stop::Failed(failed(error))),
            };
            let ended = count == 0;
            buffer.filled += count;
            self.passed += count as u64;
            self.bound.check(self.passed)?;
            if buffer.filled == buffer.bytes.len() {
                self.full.send(Message::Bytes(buffer)).map_err(|_| Stop::Unwanted)?;
            } else {
                self.open = Some(buffer);
            }
            if ended {
                return Ok(self.passed - before);
            }
        }
    }

    /// Passes on bytes that are made here.
    pub(super) fn push(&mut self, mut bytes: &[u8]) -> Result<(), Stop> {
        self.passed += bytes.len() as u64;
        self.bound.check(self.passed)?;
        while !bytes.is_empty() {
            let mut buffer = match self.open.take() {
                Some(buffer) => buffer,
                None => self.empty.recv().map_err(|_| Stop::Unwanted)?,
            };
            let space = buffer.bytes.get_mut(buffer.filled..).unwrap_or_default();
            let (now, later) = bytes.split_at(bytes.len().min(space.len()));
            if let Some(space) = space.get_mut(..now.len()) {
                space.copy_from_slice(now);
            }
            buffer.filled += now.len();
            bytes = later;
            if buffer.filled == buffer.bytes.len() {
                self.full.send(Message::Bytes(buffer)).map_err(|_| Stop::Unwanted)?;
            } else {
                self.open = Some(buffer);
            }
        }
        Ok(())
    }

    /// Tells the other side how it ended. Sending fails only when nobody listens any more.
    fn close(mut self, end: Result<(), Stop>) {
        if let Some(buffer) = self.open.take() {
            let _ = self.full.send(Message::Bytes(buffer));
        }
        let last = match end {
            Ok(()) => Message::End,
            Err(Stop::Failed(error)) => Message::Failed(error),
            Err(Stop::Unwanted) => return,
        };
        let _ = self.full.send(last);
    }
}

/// The end from which unpacked bytes are taken, without copying them.
pub(super) struct Chunks {
    full: Receiver<Message>,
    empty: Sender<Buffer>,
    open: Option<Buffer>,
    at: usize,
    over: bool,
}

impl Chunks {
    /// The bytes at hand; none only at the end.
    pub(super) fn peek(&mut self) -> Result<&[u8], UnpackError> {
        while !self.over && self.at == self.open.as_ref().map_or(0, |b| b.filled) {
            if let Some(mut buffer) = self.open.take() {
                buffer.filled = 0;
                // The filling side may have ended; then nobody needs the buffer.
                let _ = self.empty.send(buffer);
            }
            self.at = 0;
            match self.full.recv() {
                Ok(Message::Bytes(buffer)) => self.open = Some(buffer),
                Ok(Message::Failed(error)) => {
                    self.over = true;
                    return Err(error);
                }
                // Without a last message only when the filling thread panicked, which the scope passes on.
                Ok(Message::End) | Err(_) => self.over = true,
            }
        }
        let at_hand = self.open.as_ref().and_then(|b| b.bytes.get(self.at..b.filled));
        Ok(at_hand.unwrap_or_default())
    }

    /// Marks `count` of the bytes at hand as used.
    pub(super) fn take(&mut self, count: usize) {
        self.at += count;
    }

    /// Fills `into`, or less of it only at the end, and says how much.
    pub(super) fn read(&mut self, into: &mut [u8]) -> Result<usize, UnpackError> {
        let mut done = 0;
        while let Some(space) = into.get_mut(done..).filter(|s| !s.is_empty()) {
            let at_hand = self.peek()?;
            let count = at_hand.len().min(space.len());
            if count == 0 {
                break;
            }
            if let (Some(to), Some(from)) = (space.get_mut(..count), at_hand.get(..count)) {
                to.copy_from_slice(from);
            }
            self.take(count);
            done += count;
        }
        Ok(done)
    }

    /// Passes the next `wanted` bytes to `each`, in pieces as they are at hand. Fewer are passed only
    /// at the end; says how many.
    pub(super) fn each(
        &mut self,
        wanted: u64,
        mut each: impl FnMut(&[u8]) -> Result<(), UnpackError>,
    ) -> Result<u64, UnpackError> {
        let mut done = 0;
        while done < wanted {
            let at_hand = self.peek()?;
            let left = usize::try_from(wanted - done).unwrap_or(usize::MAX);
            let count = at_hand.len().min(left);
            if count == 0 {
                break;
            }
            each(at_hand.get(..count).unwrap_or_default())?;
            self.take(count);
            done += count as u64;
        }
        Ok(done)
    }
}
