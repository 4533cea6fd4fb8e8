//! The committed JSON Schema: it is the one the types give, and it agrees with the parser.

use std::path::Path;

use reconcile::desired::schema::schema;
use serde_json::Value;

use crate::documents::{read, yaml_files};

const COMMITTED: &str = "schema/desired-state.v1.json";

fn untyped(text: &str) -> Value {
    serde_saphyr::from_str(text).unwrap()
}

#[test]
fn committed_schema_is_the_generated_one() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(COMMITTED);
    let generated = serde_json::to_string_pretty(&schema()).unwrap() + "\n";
    snapbox::Assert::new().action_env("SNAPSHOTS").eq(
        generated,
        snapbox::Data::read_from(&path, Some(snapbox::data::DataFormat::Text)).raw(),
    );
}

#[test]
fn schema_is_valid_by_its_own_meta_schema() {
    assert!(jsonschema::meta::is_valid(&schema()));
}

#[test]
fn schema_accepts_what_the_parser_accepts() {
    let validator = jsonschema::validator_for(&schema()).unwrap();
    for file in yaml_files("examples").into_iter().chain(yaml_files("tests/documents/valid")) {
        let document = untyped(&std::fs::read_to_string(&file).unwrap());
        let errors: Vec<String> = validator
            .iter_errors(&document)
            .map(|error| format!("{}: {error}", error.instance_path()))
            .collect();
        assert!(errors.is_empty(), "{}: {errors:#?}", file.display());
    }
}

#[test]
fn parser_refuses_what_the_schema_refuses() {
    let validator = jsonschema::validator_for(&schema()).unwrap();
    for app in [
        "{}",
        "{ source: { github: a/b }, retian: 1 }",
        "{ source: { github: a/b, http: 'https://x' } }",
        "{ source: { github: ab } }",
        "{ source: { github: { api: 'https://x' } } }",
        "{ source: { github: { repo: a/b, branch: x } } }",
        "{ source: { http: 'ftp://x' } }",
        "{ source: { file: '' } }",
        "{ source: { github: a/b }, retain: 0 }",
        "{ source: { github: a/b }, retain: 1001 }",
        "{ source: { github: a/b }, retain: '3' }",
        "{ source: { github: a/b }, version: { wnat: 1 } }",
        "{ source: { github: a/b }, version: [1] }",
        "{ source: { github: a/b }, version: { prereleases: maybe } }",
        "{ source: { github: a/b }, version: { order: size } }",
        "{ source: { github: a/b }, asset: { first_match: x, libc: musl } }",
        "{ source: { github: a/b }, asset: { libc: uclibc } }",
        "{ source: { github: a/b }, verify: { min: maximum } }",
        "{ source: { github: a/b }, verify: { digest: 'md5:00' } }",
        "{ source: { github: a/b }, verify: { digest: { amd64: x } } }",
        "{ source: { github: a/b }, verify: { checksums: {} } }",
        "{ source: { github: a/b }, strip: 1 }",
        "{ source: { github: a/b }, binaries: some }",
        "{ source: { github: a/b }, binaries: [] }",
        "{ source: { github: a/b }, run: [sh] }",
        "{ source: { github: a/b }, run: [[]] }",
        "{ source: { github: a/b }, limits: { file: 4 gigs } }",
        "{ source: { github: a/b }, limits: { entries: 0 } }",
        "{ source: { github: a/b }, suspend: {} }",
    ] {
        let document = format!("apps: {{ a: {app} }}");
        assert!(!validator.is_valid(&untyped(&document)), "the schema refuses {app}");
        assert!(read(&document).is_err(), "the parser refuses {app}");
    }
    for document in [
        "extensions: { a: {} }",
        "extensions: { a: { source: { sysupdate: { url: 'https://x' } } } }",
        "extensions: { a: { source: { sysupdate: { match: 'a_@v.raw' } } } }",
        "extensions: { a: { source: { sysupdate: { path: /x, match: [] } } } }",
        "extensions: { a: { source: { sysupdate: { path: /x, url: 'https://x', match: 'a_@v' } } } }",
        "extensions: { a: { source: { sysupdate: { path: /x, match: 'a_@v' } }, class: portable } }",
        "sysupdate: {}",
        "sysupdate: { as: casync }",
        "apps: []",
        "auth: { x: { token: y } }",
        "auth: { x: { env: A, file: /x } }",
    ] {
        assert!(!validator.is_valid(&untyped(document)), "the schema refuses {document}");
        assert!(read(document).is_err(), "the parser refuses {document}");
    }
}

#[test]
fn committed_schemas_of_output_are_what_the_program_prints() {
    for kind in [
        "plan", "status", "history", "diff", "explain", "list", "validate", "doctor", "gc",
        "event", "api", "agent",
    ] {
        let printed = std::process::Command::new(env!("CARGO_BIN_EXE_reconcile"))
            .args(["schema", kind])
            .output()
            .unwrap();
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("schema/{kind}.v1.json"));
        snapbox::Assert::new().action_env("SNAPSHOTS").eq(
            String::from_utf8(printed.stdout).unwrap(),
            snapbox::Data::read_from(&path, Some(snapbox::data::DataFormat::Text)).raw(),
        );
    }
}
