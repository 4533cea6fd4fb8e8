//! The shapes that documents are made of: fields that know their place, shorthands, tables.

use std::borrow::Cow;
use std::fmt;
use std::marker::PhantomData;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};

use crate::desired::diagnostic::Span;

/// Serde name by which [`Field`] asks the decoder for its place.
pub(super) const FIELD: &str = "$field";

/// Serde name by which [`Short`] asks the decoder to choose by the node's shape.
pub(super) const SHORT: &str = "$short";

/// Serde name of enums that are written as a map with one key, never as a word.
pub(super) const CHOICE: &str = "$choice";

/// Most rows of a table for which there is room before they are read.
const ROWS_AT_ONCE_MAX: usize = 10_000;

/// A value and its place in the text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Spanned<T> {
    /// Where.
    pub span: Span,
    /// What.
    pub value: T,
}

/// A value of a document that may be absent. One that cannot be read has been reported and is
/// [`Field::Bad`], so that reading goes on with the others.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Field<T> {
    /// Not written.
    #[default]
    Absent,
    /// Written and not readable; reported.
    Bad,
    /// Readable. Apart from the rest: a document has many fields, and most of them are absent.
    Good(Box<Spanned<T>>),
}

impl<T> Field<T> {
    /// The value and its place, when it was written and readable.
    pub fn good(&self) -> Option<&Spanned<T>> {
        match self {
            Self::Good(spanned) => Some(spanned),
            Self::Absent | Self::Bad => None,
        }
    }

    /// The value, when it was written and readable.
    pub fn value(&self) -> Option<&T> {
        self.good().map(|spanned| &spanned.value)
    }

    /// True when nothing was written.
    pub fn is_absent(&self) -> bool {
        matches!(self, Self::Absent)
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Field<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Place<T>(PhantomData<T>);
        impl<'de, T: Deserialize<'de>> Visitor<'de> for Place<T> {
            type Value = Field<T>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a value with its place")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Field<T>, A::Error> {
                let start = seq.next_element()?.unwrap_or_default();
                let end = seq.next_element()?.unwrap_or_default();
                if let Ok(Some(value)) = seq.next_element() {
                    return Ok(Field::Good(Box::new(Spanned { span: Span { start, end }, value })));
                }
                // What else is wrong with it is told as well.
                while seq.next_element::<T>().is_err() {}
                Ok(Field::Bad)
            }
        }
        deserializer.deserialize_tuple_struct(FIELD, 3, Place(PhantomData))
    }
}

impl<T: JsonSchema> JsonSchema for Field<T> {
    fn inline_schema() -> bool {
        T::inline_schema()
    }

    fn schema_name() -> Cow<'static, str> {
        T::schema_name()
    }

    fn schema_id() -> Cow<'static, str> {
        T::schema_id()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        T::json_schema(generator)
    }
}

/// Either a text that says it briefly, or the whole thing.
#[derive(Clone, Debug, PartialEq, Eq, serde::Deserialize)]
#[serde(rename = "$short")]
pub enum Short<T> {
    /// The brief form.
    Text(String),
    /// The whole thing.
    Full(T),
}

/// What has a brief form.
pub trait Shorthand: JsonSchema {
    /// JSON Schema of the brief form.
    fn text() -> Schema;
}

impl<T: Shorthand> JsonSchema for Short<T> {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        format!("Short{}", T::schema_name()).into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        json_schema!({ "anyOf": [T::text(), generator.subschema_for::<T>()] })
    }
}

/// A map whose keys are names chosen by the operator, in the order written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Table<T>(pub Vec<(Spanned<String>, Field<T>)>);

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Table<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Rows<T>(PhantomData<T>);
        impl<'de, T: Deserialize<'de>> Visitor<'de> for Rows<T> {
            type Value = Table<T>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a map")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Table<T>, A::Error> {
                let mut rows =
                    Vec::with_capacity(map.size_hint().unwrap_or_default().min(ROWS_AT_ONCE_MAX));
                while let Some(key) = map.next_key::<Field<String>>()? {
                    let value = map.next_value()?;
                    if let Field::Good(key) = key {
                        rows.push((*key, value));
                    }
                }
                Ok(Table(rows))
            }
        }
        deserializer.deserialize_map(Rows(PhantomData))
    }
}

impl<T: JsonSchema> JsonSchema for Table<T> {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        format!("TableOf{}", T::schema_name()).into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "object",
            "additionalProperties": generator.subschema_for::<T>(),
        })
    }
}
