//! A value with its place, read so that each of its mistakes is told.

use serde::de::{DeserializeSeed, IntoDeserializer, SeqAccess};

use crate::desired::parse::decode::{Decoder, Unreadable};
use crate::desired::parse::tree::{Entry, Kind, Node};

/// The three parts of a [`Field`](crate::desired::field::Field): start, end, value. The value's errors are reported
/// here; whoever asks for more parts after such an error has the value read again without the entry that could not be
/// read, as long as there is one.
pub(super) struct Placed<'a, 't> {
    decoder: Decoder<'a, 't>,
    next: u8,
    /// The value without what could not be read.
    rest: Option<Node<'t>>,
}

impl<'a, 't> Placed<'a, 't> {
    pub(super) fn new(decoder: Decoder<'a, 't>) -> Self {
        Self { decoder, next: 0, rest: None }
    }

    /// Leaves out the entry in which an error is, and reports that. What the value lacks without the entries that were
    /// left out is not to be told.
    fn leave_out(&mut self, error: Unreadable) -> Unreadable {
        let node = self.rest.as_ref().unwrap_or(self.decoder.node);
        let at = error.0.as_ref().map(|problem| problem.span);
        let holds = |entry: &Entry<'_>| {
            let (start, end) = (entry.key_span.start, entry.value.span.end);
            at.is_some_and(|at| start <= at.start && at.end <= end)
        };
        let kind = match &node.kind {
            Kind::Map(entries) if entries.iter().any(holds) => {
                Kind::Map(entries.iter().filter(|entry| !holds(entry)).cloned().collect())
            }
            _ if self.rest.is_some() => {
                self.rest = Some(Node { span: node.span, kind: Kind::Null });
                return Unreadable(None);
            }
            _ => Kind::Null,
        };
        self.rest = Some(Node { span: node.span, kind });
        self.decoder.report(error)
    }
}

impl<'de> SeqAccess<'de> for Placed<'_, '_> {
    type Error = Unreadable;

    fn next_element_seed<T: DeserializeSeed<'de>>(
        &mut self,
        seed: T,
    ) -> Result<Option<T::Value>, Unreadable> {
        self.next = self.next.saturating_add(1);
        let span = self.decoder.node.span;
        let decoder = match &self.rest {
            Some(Node { kind: Kind::Null, .. }) => return Ok(None),
            Some(rest) => self.decoder.at(rest),
            None => self.decoder,
        };
        let read = match self.next {
            1 => seed.deserialize(IntoDeserializer::<Unreadable>::into_deserializer(span.start)),
            2 => seed.deserialize(IntoDeserializer::<Unreadable>::into_deserializer(span.end)),
            _ => seed.deserialize(decoder),
        };
        read.map(Some).map_err(|error| self.leave_out(error))
    }
}
