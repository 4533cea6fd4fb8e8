//! A tree of nodes as a serde deserializer that reports every error at its place and goes on.

use std::fmt;

use serde::de::value::StrDeserializer;
use serde::de::{
    self, Deserialize, DeserializeSeed, Deserializer, EnumAccess, IntoDeserializer, MapAccess,
    SeqAccess, VariantAccess, Visitor,
};
use serde::forward_to_deserialize_any;

use crate::desired::diagnostic::{Problem, Span};
use crate::desired::field::{CHOICE, FIELD, Field, SHORT};
use crate::desired::parse::Problems;
use crate::desired::parse::placed::Placed;
use crate::desired::parse::suggest::nearest;
use crate::desired::parse::tree::{Entry, Kind, Node};

/// Longest single text, in bytes: a hook written as a shell script may need some thousands.
const TEXT_BYTES_MAX: usize = 64 << 10;

/// Longest part of a foreign word shown in a message, in characters.
const QUOTED_CHARS_MAX: usize = 60;

/// Reads a value from a tree. Problems are collected; the result is `Bad` only when nothing was left.
pub(super) fn decode<'de, T: Deserialize<'de>>(root: &Node<'_>, problems: &Problems) -> Field<T> {
    Field::deserialize(Decoder { node: root, problems, otherwise: "" }).unwrap_or(Field::Bad)
}

/// Why one value cannot be read: whoever knows the place reports it.
#[derive(Debug)]
pub(super) struct Unreadable(pub(super) Option<Box<Problem>>);

impl Unreadable {
    /// For what serde itself says without knowing a place.
    fn somewhere(title: String) -> Self {
        Self(Some(Box::new(Problem::new(Span { start: usize::MAX, end: usize::MAX }, title))))
    }

    /// The same with the innermost place that is known: this one, where there was none.
    fn at(mut self, node: &Node<'_>) -> Self {
        if let Some(problem) = &mut self.0
            && problem.span.start == usize::MAX
        {
            problem.span = node.span;
        }
        self
    }
}

impl From<Problem> for Unreadable {
    fn from(problem: Problem) -> Self {
        Self(Some(Box::new(problem)))
    }
}

impl fmt::Display for Unreadable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0.as_ref().map_or("reported already", |problem| &problem.title))
    }
}

impl std::error::Error for Unreadable {}

impl de::Error for Unreadable {
    fn custom<T: fmt::Display>(message: T) -> Self {
        Self::somewhere(message.to_string())
    }

    fn missing_field(field: &'static str) -> Self {
        Self::somewhere(format!("the key `{field}` is missing"))
    }
}

fn quoted(word: &str) -> String {
    let mut short: String = word.chars().take(QUOTED_CHARS_MAX).collect();
    if short.len() < word.len() {
        short.push('…');
    }
    format!("`{}`", short.escape_debug())
}

/// So many keys are named where a map of them is expected and something else is there.
const KEYS_NAMED: usize = 4;

fn listed(words: &[&str]) -> String {
    words.iter().map(|word| format!("`{word}`")).collect::<Vec<_>>().join(", ")
}

#[derive(Clone, Copy)]
pub(super) struct Decoder<'a, 't> {
    pub(super) node: &'a Node<'t>,
    problems: &'a Problems,
    /// Named in messages when the place would have taken text as well.
    otherwise: &'static str,
}

impl<'a, 't> Decoder<'a, 't> {
    pub(super) fn at(self, node: &'a Node<'t>) -> Self {
        Self { node, otherwise: "", ..self }
    }

    /// Reports an error that nobody has reported yet.
    pub(super) fn report(self, error: Unreadable) -> Unreadable {
        if let Some(problem) = error.at(self.node).0 {
            self.problems.push(*problem);
        }
        Unreadable(None)
    }

    fn unlike(self, wanted: &str) -> Unreadable {
        let problem = Problem::new(
            self.node.span,
            format!("expected {}{wanted}, found {}", self.otherwise, self.node.describe()),
        );
        if self.node.is_null() {
            problem.help("write a value, or remove the key").into()
        } else {
            problem.into()
        }
    }

    fn text(self) -> Result<&'a str, Unreadable> {
        let (Kind::Plain(text) | Kind::Text(text)) = &self.node.kind else {
            return Err(self.unlike("text"));
        };
        let refused = |title: &str| Err(Problem::new(self.node.span, title).into());
        if text.len() > TEXT_BYTES_MAX {
            return refused("this text is longer than 64 KiB");
        }
        if text.contains('\0') {
            return refused("a text cannot hold a NUL byte");
        }
        Ok(text)
    }

    fn list(self) -> Result<Items<'a, 't>, Unreadable> {
        match &self.node.kind {
            Kind::List(items) => Ok(Items { decoder: self, rest: items.iter() }),
            _ => Err(self.unlike("a list")),
        }
    }

    fn map(self) -> Result<&'a [Entry<'t>], Unreadable> {
        match &self.node.kind {
            Kind::Map(entries) => Ok(entries),
            _ => Err(self.unlike("a map")),
        }
    }

    fn plain<T: std::str::FromStr>(self, wanted: &str) -> Result<T, Unreadable> {
        let parsed = match &self.node.kind {
            Kind::Plain(text) => text.parse().ok(),
            _ => None,
        };
        parsed.ok_or_else(|| {
            let found = match &self.node.kind {
                Kind::Plain(text) => quoted(text),
                Kind::Text(text) => format!("the text {}", quoted(text)),
                _ => self.node.describe().to_owned(),
            };
            Problem::new(self.node.span, format!("expected {wanted}, found {found}")).into()
        })
    }

    /// Reports the keys that a struct does not have, and yields the others.
    fn known_keys(self, known: &'static [&'static str]) -> Result<Pairs<'a, 't>, Unreadable> {
        let few = known.len() <= KEYS_NAMED && self.otherwise.is_empty();
        let entries = match &self.node.kind {
            Kind::Map(entries) => entries,
            _ if few => return Err(self.unlike(&format!("a map with {}", listed(known)))),
            _ => self.map()?,
        };
        for entry in entries.iter().filter(|entry| !known.contains(&entry.key.as_ref())) {
            let problem =
                Problem::new(entry.key_span, format!("unknown key {}", quoted(&entry.key)));
            self.problems.push(match nearest(&entry.key, known) {
                Some(near) => problem.help(format!("did you mean `{near}`?")),
                None => problem.help(format!("the keys known here are {}", listed(known))),
            });
        }
        Ok(Pairs { decoder: self, rest: entries.iter(), known: Some(known), value: None })
    }

    /// The variant that a one-key map or a word chooses, and the node of its content.
    fn choice(
        self,
        known: &'static [&'static str],
    ) -> Result<(&'static str, Option<Self>), Unreadable> {
        let find = |word: &str, span: Span| {
            known.iter().copied().find(|variant| *variant == word).ok_or_else(|| {
                let problem = Problem::new(span, format!("unknown choice {}", quoted(word)))
                    .label(format!("expected one of {}", listed(known)));
                Unreadable::from(match nearest(word, known) {
                    Some(near) => problem.help(format!("did you mean `{near}`?")),
                    None => problem,
                })
            })
        };
        match &self.node.kind {
            Kind::Plain(word) | Kind::Text(word) => Ok((find(word, self.node.span)?, None)),
            Kind::Map(entries) => match entries.as_slice() {
                [entry] => Ok((find(&entry.key, entry.key_span)?, Some(self.at(&entry.value)))),
                [first, second, ..] => {
                    Err(Problem::new(second.key_span, format!("choose one of {}", listed(known)))
                        .label("a second choice")
                        .earlier(first.key_span, "the first")
                        .into())
                }
                [] => Err(self.unlike(&format!("one of {}", listed(known)))),
            },
            _ => Err(self.unlike(&format!("one of {}", listed(known)))),
        }
    }
}

impl<'de> Deserializer<'de> for Decoder<'_, '_> {
    type Error = Unreadable;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Unreadable> {
        match &self.node.kind {
            Kind::List(_) => self.deserialize_seq(visitor),
            Kind::Map(_) => self.deserialize_map(visitor),
            Kind::Null => visitor.visit_unit(),
            Kind::Plain(_) | Kind::Text(_) => visitor.visit_str(self.text()?),
        }
    }

    fn deserialize_bool<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Unreadable> {
        visitor.visit_bool(self.plain("`true` or `false`")?)
    }

    fn deserialize_u32<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Unreadable> {
        visitor.visit_u32(self.plain("a whole number")?)
    }

    fn deserialize_u64<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Unreadable> {
        visitor.visit_u64(self.plain("a whole number")?)
    }

    fn deserialize_string<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Unreadable> {
        visitor.visit_str(self.text()?)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value, Unreadable> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_tuple_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        _: usize,
        visitor: V,
    ) -> Result<V::Value, Unreadable> {
        if name == FIELD {
            visitor.visit_seq(Placed::new(self))
        } else {
            visitor.visit_seq(self.list()?)
        }
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Unreadable> {
        visitor.visit_seq(self.list()?)
    }

    fn deserialize_map<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Unreadable> {
        let rest = self.map()?.iter();
        visitor.visit_map(Pairs { decoder: self, rest, known: None, value: None })
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        known: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Unreadable> {
        visitor.visit_map(self.known_keys(known)?)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        name: &'static str,
        known: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Unreadable> {
        if name == SHORT {
            let brief = matches!(self.node.kind, Kind::Plain(_) | Kind::Text(_) | Kind::Null);
            let variant = if brief { "Text" } else { "Full" };
            let otherwise = if brief { "" } else { "text or " };
            let content = Some(Self { otherwise, ..self });
            return visitor.visit_enum(Choice { decoder: self, variant, content });
        }
        if name == CHOICE && !matches!(&self.node.kind, Kind::Map(entries) if !entries.is_empty()) {
            let wanted = format!("a map with one of the keys {}", listed(known));
            return Err(self.unlike(&wanted));
        }
        let (variant, content) = self.choice(known)?;
        visitor.visit_enum(Choice { decoder: self, variant, content })
    }

    forward_to_deserialize_any! {
        i8 i16 i32 i64 i128 u8 u16 u128 f32 f64 char str bytes byte_buf option unit unit_struct tuple
        identifier ignored_any
    }
}

struct Items<'a, 't> {
    decoder: Decoder<'a, 't>,
    rest: std::slice::Iter<'a, Node<'t>>,
}

impl<'de> SeqAccess<'de> for Items<'_, '_> {
    type Error = Unreadable;

    fn next_element_seed<T: DeserializeSeed<'de>>(
        &mut self,
        seed: T,
    ) -> Result<Option<T::Value>, Unreadable> {
        let Some(node) = self.rest.next() else { return Ok(None) };
        seed.deserialize(self.decoder.at(node)).map(Some).map_err(|error| error.at(node))
    }
}

struct Pairs<'a, 't> {
    decoder: Decoder<'a, 't>,
    rest: std::slice::Iter<'a, Entry<'t>>,
    /// Other keys are passed over; they have been reported.
    known: Option<&'static [&'static str]>,
    value: Option<&'a Node<'t>>,
}

impl<'de> MapAccess<'de> for Pairs<'_, '_> {
    type Error = Unreadable;

    fn next_key_seed<K: DeserializeSeed<'de>>(
        &mut self,
        seed: K,
    ) -> Result<Option<K::Value>, Unreadable> {
        let known = self.known;
        let wanted = |entry: &&Entry<'_>| known.is_none_or(|k| k.contains(&entry.key.as_ref()));
        let Some(entry) = self.rest.find(wanted) else { return Ok(None) };
        self.value = Some(&entry.value);
        if known.is_some() {
            let key: StrDeserializer<'_, Unreadable> = entry.key.as_ref().into_deserializer();
            return seed.deserialize(key).map(Some);
        }
        let key = Node { span: entry.key_span, kind: Kind::Text(entry.key.clone()) };
        seed.deserialize(Decoder { node: &key, ..self.decoder }).map(Some)
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(
        &mut self,
        seed: V,
    ) -> Result<V::Value, Unreadable> {
        let node = self.value.take().unwrap_or(self.decoder.node);
        seed.deserialize(self.decoder.at(node)).map_err(|error| error.at(node))
    }

    fn size_hint(&self) -> Option<usize> {
        Some(self.rest.len())
    }
}

struct Choice<'a, 't> {
    decoder: Decoder<'a, 't>,
    variant: &'static str,
    content: Option<Decoder<'a, 't>>,
}

impl<'de> EnumAccess<'de> for Choice<'_, '_> {
    type Error = Unreadable;
    type Variant = Self;

    fn variant_seed<V: DeserializeSeed<'de>>(
        self,
        seed: V,
    ) -> Result<(V::Value, Self), Unreadable> {
        let name: StrDeserializer<'_, Unreadable> = self.variant.into_deserializer();
        Ok((seed.deserialize(name)?, self))
    }
}

impl<'de> VariantAccess<'de> for Choice<'_, '_> {
    type Error = Unreadable;

    fn unit_variant(self) -> Result<(), Unreadable> {
        match self.content {
            None => Ok(()),
            Some(content) => Err(Problem::new(
                content.node.span,
                format!("`{}` is written as a word alone", self.variant),
            )
            .into()),
        }
    }

    fn newtype_variant_seed<T: DeserializeSeed<'de>>(
        self,
        seed: T,
    ) -> Result<T::Value, Unreadable> {
        let Some(content) = self.content else {
            return Err(Problem::new(
                self.decoder.node.span,
                format!("`{}` needs a value", self.variant),
            )
            .help(format!("write `{{ {}: … }}`", self.variant))
            .into());
        };
        seed.deserialize(content)
    }

    fn tuple_variant<V: Visitor<'de>>(self, _: usize, visitor: V) -> Result<V::Value, Unreadable> {
        self.decoder.deserialize_any(visitor)
    }

    fn struct_variant<V: Visitor<'de>>(
        self,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Unreadable> {
        self.decoder.deserialize_any(visitor)
    }
}
