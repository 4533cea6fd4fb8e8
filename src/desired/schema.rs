//! The JSON Schema of a desired-state document, for editors and for other programs.

use schemars::generate::SchemaSettings;
use serde_json::Value;

use crate::desired::document::DesiredDocument;

/// The schema's own name. It is an identifier; nothing is fetched from it.
pub const SCHEMA_ID: &str = "urn:reconcile:desired-state:v1";

/// JSON Schema 2020-12 of one document. It refuses unknown keys.
pub fn schema() -> Value {
    let generator = SchemaSettings::draft2020_12().into_generator();
    let mut schema = generator.into_root_schema_for::<DesiredDocument>();
    schema.insert("$id".to_owned(), SCHEMA_ID.into());
    schema.insert("title".to_owned(), "Desired state of a host, version 1".into());
    schema.to_value()
}
