//! Documents as systemd 262.1 printed them.

use serde_json::to_string;

use super::super::sets::{Installed, State, Versions, update_sets};
use super::*;

#[test]
fn lists_are_as_measured() {
    let available: Vec<String> = ["1", "2", "3"].map(str::to_owned).to_vec();
    let list = |state| {
        let installed = [Installed { version: "1".to_owned(), state }];
        let versions =
            Versions { available: &available, installed: &installed, ..Versions::default() };
        let sets = update_sets(&[versions]);
        to_string(&List::of(&sets, vec!["https://x.example/s.xml".to_owned()])).unwrap()
    };
    let rest = r#""all":["3","2","1"],"appstreamUrls":["https://x.example/s.xml"]}"#;
    assert_eq!(list(State::Complete), format!(r#"{{"current":"1",{rest}"#));
    assert_eq!(list(State::Pending), format!(r#"{{"current+pending":"1",{rest}"#));
    assert_eq!(list(State::Partial), format!(r#"{{"current":"1",{rest}"#));
    assert_eq!(
        to_string(&List::of(&update_sets(&[]), vec![])).unwrap(),
        r#"{"current":null,"all":[],"appstreamUrls":[]}"#
    );
}

#[test]
fn details_of_a_version_are_as_measured() {
    let available = ["3".to_owned()];
    let sets = update_sets(&[Versions { available: &available, ..Versions::default() }]);
    let content = Content {
        kind: "regular-file".to_owned(),
        path: "/src/a_3.raw".to_owned(),
        mtime: Some(1_795_313_021_351_629),
        mode: Some(0o644),
        tries_left: Some(3),
        ..Content::default()
    };
    let logs = ["https://x.example/@v".to_owned()];
    let detail = VersionDetail::of(sets.candidate().unwrap(), &logs, vec![content]);
    assert_eq!(
        to_string(&detail).unwrap(),
        concat!(
            r#"{"version":"3","newest":true,"available":true,"installed":false,"partial":false,"#,
            r#""pending":false,"obsolete":false,"protected":false,"incomplete":false,"#,
            r#""changelogUrls":["https://x.example/3"],"contents":[{"type":"regular-file","#,
            r#""path":"/src/a_3.raw","mtime":1795313021351629,"mode":420,"tries-left":3}]}"#
        )
    );
}

#[test]
fn small_documents_are_as_measured() {
    assert_eq!(to_string(&CheckNew::default()).unwrap(), r#"{"available":null}"#);
    let new = CheckNew { available: Some("1.2.0~rc1".to_owned()) };
    assert_eq!(to_string(&new).unwrap(), r#"{"available":"1.2.0~rc1"}"#);
    let vacuum = Vacuum { removed: 1, disabled_transfers: 0 };
    assert_eq!(to_string(&vacuum).unwrap(), r#"{"removed":1,"disabledTransfers":0}"#);
    let features = Features { features: vec!["feat1".to_owned()] };
    assert_eq!(to_string(&features).unwrap(), r#"{"features":["feat1"]}"#);
    let names = ComponentNames { default: true, components: vec!["web".to_owned()] };
    assert_eq!(to_string(&names).unwrap(), r#"{"default":true,"components":["web"]}"#);
}

#[test]
fn features_are_as_measured() {
    let bare =
        FeatureDetail { id: "f".to_owned(), suggested: Some(false), ..FeatureDetail::default() };
    assert_eq!(to_string(&bare).unwrap(), r#"{"id":"f","enabled":false,"suggested":false}"#);
    let full = FeatureDetail {
        id: "g".to_owned(),
        description: Some("D".to_owned()),
        documentation: vec!["https://d.example".to_owned()],
        app_stream: Some("https://x.example/f.xml".to_owned()),
        enabled: true,
        suggested: Some(false),
        transfers: vec!["40-d".to_owned()],
    };
    assert_eq!(
        to_string(&full).unwrap(),
        concat!(
            r#"{"id":"g","description":"D","documentation":["https://d.example"],"#,
            r#""appStream":"https://x.example/f.xml","enabled":true,"suggested":false,"#,
            r#""transfers":["40-d"]}"#
        )
    );
}

#[test]
fn enabling_is_written_as_systemd_writes_it() {
    assert_eq!(
        enabling_text(Switched::Feature, Switch::On),
        "# Generated via 'systemd-sysupdate enable-feature'\n\n[Feature]\nEnabled=yes\n"
    );
    assert_eq!(
        enabling_text(Switched::Component, Switch::Off),
        "# Generated via 'systemd-sysupdate disable-component'\n\n[Component]\nEnabled=no\n"
    );
}
