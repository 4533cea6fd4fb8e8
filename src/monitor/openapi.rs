//! The description of the API, in OpenAPI 3.1: its schemas are those of the documents.

use schemars::generate::{SchemaGenerator, SchemaSettings};
use serde_json::{Value, json};

use crate::model::document::Document;
use crate::model::plan::PlanDocument;
use crate::record::history::History;
use crate::status::HostStatus;

/// The document.
pub fn document() -> Value {
    let settings = SchemaSettings::draft2020_12().with(|settings| {
        settings.definitions_path = "/components/schemas".into();
        settings.meta_schema = None;
    });
    let mut generator = settings.into_generator();
    let status = schema::<HostStatus>(&mut generator);
    let plan = schema::<PlanDocument>(&mut generator);
    let history = schema::<Document<History>>(&mut generator);
    let text = json!({ "type": "string" });
    let paths = [
        ("/status", "What is installed and in which condition.", "application/json", status),
        ("/plan", "What the last pass did, or could not do.", "application/json", plan),
        ("/history", "What was changed, oldest first.", "application/json", history),
        ("/metrics", "The same in numbers, for Prometheus.", "text/plain", text.clone()),
        ("/healthz", "Whether the loop goes on.", "text/plain", text.clone()),
        ("/", "A page for people.", "text/html", text.clone()),
        ("/openapi.json", "This document.", "application/json", json!({ "type": "object" })),
    ];
    let paths: serde_json::Map<String, Value> = paths
        .into_iter()
        .map(|(path, summary, kind, schema)| (path.to_owned(), get(summary, kind, &schema)))
        .collect();
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "reconcile",
            "description": "Read-only view of one host, on a Unix socket or a loopback address.",
            "version": env!("CARGO_PKG_VERSION"),
            "license": { "name": "MIT OR Apache-2.0", "identifier": "MIT OR Apache-2.0" },
        },
        "servers": [{ "url": "/" }],
        "paths": paths,
        "components": { "schemas": generator.take_definitions(true) },
    })
}

fn schema<T: schemars::JsonSchema>(generator: &mut SchemaGenerator) -> Value {
    generator.subschema_for::<T>().to_value()
}

fn get(summary: &str, kind: &str, schema: &Value) -> Value {
    let refusal = |why: &str| json!({ "description": why });
    json!({
        "get": {
            "summary": summary,
            "responses": {
                "200": { "description": summary, "content": { kind: { "schema": schema } } },
                "421": refusal("The request names another host."),
                "503": refusal("The first pass is not over yet, or the loop hangs."),
            },
        },
    })
}
