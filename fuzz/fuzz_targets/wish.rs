//! Desired-state documents: any text is a wish or a list of errors that can be rendered.
#![no_main]

use libfuzzer_sys::fuzz_target;
use reconcile::desired::{DesiredState, Paint, SourceText, render};

fuzz_target!(|text: &str| {
    let source = SourceText {
        root: "/d".to_owned(),
        file: "wish.yaml".to_owned(),
        directory: "/d".to_owned(),
        text: text.to_owned(),
    };
    if let Err(errors) = DesiredState::from_texts(vec![source]) {
        assert!(!errors.is_empty());
        assert!(!render(&errors, Paint::Plain).is_empty());
    }
});
