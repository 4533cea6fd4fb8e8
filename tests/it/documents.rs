//! Documents of the desired state: what they mean, and what is said about bad ones.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use crate::support::wish::apps;

use reconcile::desired::{DesiredState, Diagnostic, Paint, SourceText, render};
use reconcile::model::step::{Binaries, Strip, UnpackLimits};
use reconcile::model::{Constraint, Level, Prereleases};
use reconcile::resource::app::spec::{AppSpec, AssetWish, Downgrade, Narrow, Order, TagPattern};
use reconcile::source::spec::{DirectoryUrl, Origin};
use reconcile::trust::policy::{Checksums, Policy};

pub fn yaml_files(directory: &str) -> Vec<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join(directory);
    let mut files: Vec<PathBuf> = std::fs::read_dir(&root)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|e| e == "yaml"))
        .collect();
    files.sort();
    assert!(!files.is_empty(), "{directory} holds documents");
    files
}

fn text(file: &str, text: &str) -> SourceText {
    SourceText {
        root: "/desired".to_owned(),
        file: file.to_owned(),
        directory: "/desired".to_owned(),
        text: text.to_owned(),
    }
}

pub fn read(document: &str) -> Result<DesiredState, Vec<Diagnostic>> {
    DesiredState::from_texts(vec![text("web.yaml", document)])
}

#[track_caller]
fn errors(documents: &[(&str, &str)]) -> String {
    let texts = documents.iter().map(|(file, content)| text(file, content)).collect();
    render(&DesiredState::from_texts(texts).expect_err("this is invalid"), Paint::Plain)
}

#[track_caller]
fn app(body: &str) -> AppSpec {
    let document = format!("apps:\n  tool: {body}\n");
    match read(&document) {
        Ok(state) => apps(&state).into_values().next().unwrap(),
        Err(diagnostics) => panic!("{}", render(&diagnostics, Paint::Plain)),
    }
}

#[test]
fn every_valid_document_is_accepted() {
    let files = yaml_files("tests/documents/valid").into_iter().chain(yaml_files("examples"));
    for file in files {
        if let Err(diagnostics) = DesiredState::load(&[file]) {
            panic!("{}", render(&diagnostics, Paint::Plain));
        }
    }
}

#[test]
fn examples_are_short_and_say_what_they_show() {
    for file in yaml_files("examples") {
        let text = std::fs::read_to_string(&file).unwrap();
        assert!(text.starts_with("# "), "{} starts with a comment", file.display());
        assert!(text.lines().count() < 25, "{} is short", file.display());
    }
}

#[test]
fn every_invalid_document_gets_exactly_its_errors() {
    for file in yaml_files("tests/documents/invalid") {
        let name = file.file_name().unwrap().to_string_lossy().into_owned();
        let content = std::fs::read_to_string(&file).unwrap();
        let actual = errors(&[(&name, &content)]);
        snapbox::Assert::new()
            .action_env("SNAPSHOTS")
            .eq(actual, snapbox::Data::read_from(&file.with_extension("stderr"), None).raw());
    }
}

#[test]
fn shortest_app_has_the_documented_defaults() {
    let spec = app("{ source: { github: BurntSushi/ripgrep } }");
    assert_eq!(spec.version.want, Constraint::Latest);
    assert_eq!(spec.version.tag, TagPattern::Plain);
    assert_eq!(spec.version.prereleases, Prereleases::Refused);
    assert_eq!(spec.version.downgrade, Downgrade::Refused);
    assert_eq!(spec.version.order, Order::Version);
    assert!(spec.version.min_age.is_zero());
    assert!(matches!(spec.asset, AssetWish::Auto(narrow) if narrow == Narrow::default()));
    assert_eq!(spec.verify, Policy::default());
    assert_eq!((spec.strip, spec.binaries), (Strip::Auto, Binaries::Auto));
    assert_eq!(spec.home, "/opt/tool");
    assert_eq!(spec.retain, 3);
    assert_eq!(spec.limits, UnpackLimits::default());
    assert_eq!(spec.download_bytes_max, 2 << 30);
    let api = "https://api.github.com".to_owned();
    assert_eq!(spec.source.origin, Origin::Github { repo: "BurntSushi/ripgrep".into(), api });
}

#[test]
fn unquoted_versions_keep_their_digits() {
    for (written, read) in [("1.10", "1.10"), ("14", "14"), ("\"2.0\"", "2.0"), ("0x10", "0x10")] {
        let spec = app(&format!("{{ source: {{ github: a/b }}, version: {written} }}"));
        assert_eq!(spec.version.want.to_string(), read);
        let spec = app(&format!(
            "{{ source: {{ github: a/b }}, version: {{ want: {written} }}, protect: [{written}] }}"
        ));
        assert_eq!(spec.version.want.to_string(), read);
        assert_eq!(spec.protect[0].as_str(), read);
    }
}

#[test]
fn long_forms_say_everything() {
    let spec = app(r#"
    version: { want: ">=1, <2", prereleases: true, tag: "cli/v{version}", min_age: 3d,
               allow_downgrade: true, order: published }
    source: { http: { url: "https://dl.example.net/tool/", pattern: "tool-{version}-{arch}.tgz",
                      arch: { x86_64: amd64 } } }
    mirrors: ["http://mirror.example.net/tool/"]
    asset: { contains: server, regex: "linux", exclude: debug, libc: musl }
    verify: { min: checksum, checksums: { matching: "SUMS$" },
              digest: { aarch64: "sha256:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa" } }
    strip: none
    binaries: [bin/tool, { path: bin/helper, name: tool-helper }]
    home: /srv/tool//
    retain: 5
    protect: [1.0]
    restart: [tool.service, "worker@1.service"]
    run: [[systemctl, reload, nginx.service], [sh, -c, "echo 'done'"]]
    limits: { download: 100MB, unpacked: 1GiB, file: 1048576, entries: 10, ratio: 50 }
    suspend: { reason: "ticket 7", until: 2026-12-24 }
"#);
    assert_eq!(spec.version.prereleases, Prereleases::Wanted);
    assert_eq!(spec.version.min_age.as_hours(), 72);
    assert_eq!(spec.version.tag.version("cli/v1.2").unwrap().as_str(), "1.2");
    assert_eq!(
        spec.source.origin,
        Origin::Directory {
            url: DirectoryUrl::Web("https://dl.example.net/tool".into()),
            pattern: Some("tool-{version}-{arch}.tgz".into()),
            arch_names: vec![("x86_64".into(), "amd64".into())],
        }
    );
    assert_eq!(spec.source.mirrors, ["http://mirror.example.net/tool"]);
    assert_eq!(spec.verify.min, Some(Level::Checksum));
    assert_eq!(spec.verify.checksums, Checksums::Matching("SUMS$".into()));
    assert_eq!(spec.verify.pinned[0].arch.as_deref(), Some("aarch64"));
    let Binaries::Listed(binaries) = spec.binaries else { panic!("programs are listed") };
    let names: Vec<&str> = binaries.iter().map(|b| b.name.as_str()).collect();
    assert_eq!(names, ["tool", "tool-helper"]);
    assert_eq!(spec.home, "/srv/tool");
    assert_eq!(spec.restart, ["tool.service", "worker@1.service"]);
    assert_eq!(spec.run[1], ["sh", "-c", "echo 'done'"]);
    assert_eq!(spec.download_bytes_max, 100_000_000);
    assert_eq!((spec.limits.bytes, spec.limits.file_bytes), (1 << 30, 1 << 20));
    let until = spec.suspend.unwrap().until.unwrap();
    assert_eq!(until.to_string(), "2026-12-24T00:00:00Z");
}

#[test]
fn app_is_declared_at_the_line_of_its_key() {
    let state = read(
        "# first\napps:\n\n  a:\n    source: { github: a/a }\n  b:\n    source:\n      github: b/b\n",
    );
    let lines: BTreeMap<String, usize> = state
        .unwrap()
        .resources
        .into_iter()
        .map(|(id, declared)| (id.to_string(), declared.declared_at.line))
        .collect();
    assert_eq!(lines, BTreeMap::from([("app/a".to_owned(), 4), ("app/b".to_owned(), 6)]));
}

#[test]
fn explicitly_empty_wish_is_a_wish_and_an_empty_file_is_not() {
    assert!(read("apps: {}\n").unwrap().resources.is_empty());
    for empty in ["", "\n", "# nothing\n", "---\n", "~\n"] {
        assert!(errors(&[("a.yaml", empty)]).contains("the document is empty"), "{empty:?}");
    }
}

#[test]
fn byte_order_mark_and_carriage_returns_are_accepted() {
    let state = read("\u{feff}apps:\r\n  a:\r\n    source: { github: a/b }\r\n").unwrap();
    assert_eq!(state.resources.values().next().unwrap().declared_at.line, 2);
    let shown = errors(&[("a.yaml", "\u{feff}apps:\r\n  a:\r\n    sorce: { github: a/b }\r\n")]);
    assert!(shown.contains("a.yaml:3:5") && shown.contains("did you mean `source`?"), "{shown}");
    assert!(!shown.contains('\r'), "{shown:?}");
}

#[test]
fn anchors_and_merge_keys_are_resolved() {
    let state = read(
        "apps:\n  a: &base\n    source: { github: a/b }\n    retain: 7\n    verify: &v { min: tls }\n  \
         b:\n    <<: *base\n    retain: 2\n    home: /opt/other\n  c: { source: { github: c/c }, verify: *v }\n",
    )
    .unwrap();
    let retain: Vec<u32> = apps(&state).values().map(|app| app.retain).collect();
    assert_eq!(retain, [7, 2, 3]);
    assert!(apps(&state).values().all(|app| app.verify.min == Some(Level::Tls)));
}

#[test]
fn same_app_in_two_files_names_both_places() {
    let shown = errors(&[
        ("a.yaml", "apps:\n  web:\n    source: { github: a/b }\n"),
        ("b.yaml", "# more\n\napps:\n  web:\n    source: { github: a/c }\n"),
    ]);
    assert!(shown.contains("app `web` is declared twice"), "{shown}");
    assert!(shown.contains("b.yaml:4:3") && shown.contains("a.yaml:2:3"), "{shown}");
}

#[test]
fn shared_and_nested_homes_are_refused() {
    let shown = errors(&[
        ("a.yaml", "apps:\n  a:\n    source: { github: a/b }\n    home: /srv/x\n"),
        (
            "b.yaml",
            "apps:\n  b:\n    source: { github: a/b }\n    home: /srv/x/y\n  c:\n    source: { github: a/b }\n    home: /srv/x\n  d: { source: { github: a/b }, home: /srv/xy }\n",
        ),
    ]);
    assert!(shown.contains("`app/a` and `app/c` have the same home `/srv/x`"), "{shown}");
    assert!(shown.contains("the home of `app/b` is inside that of `app/a`"), "{shown}");
    assert_eq!(shown.matches("error:").count(), 2, "{shown}");
}

#[test]
fn errors_of_all_files_come_at_once_in_order() {
    let bad = "apps:\n  a:\n    retian: 1\n    source: { github: nobody }\n";
    let shown =
        errors(&[("1.yaml", bad), ("2.yaml", "apps: [\n"), ("3.yaml", &bad.replace("a:", "b:"))]);
    let places: Vec<&str> = shown.lines().filter(|line| line.contains("--> ")).collect();
    assert_eq!(places.len(), 5, "{shown}");
    assert!(places[0].contains("1.yaml:3:5") && places[4].contains("3.yaml:4:23"), "{shown}");
}

#[test]
fn digest_depends_on_names_and_texts_alone() {
    let one = |file: &str, root: &str, body: &str| {
        let (root, directory) = (root.into(), root.into());
        let source = SourceText { root, file: file.into(), directory, text: body.into() };
        DesiredState::from_texts(vec![source]).unwrap().digest
    };
    let first = one("/a/x.yaml", "/a", "apps: {}");
    assert_eq!(first, one("/b/x.yaml", "/b", "apps: {}"));
    assert_ne!(first, one("/a/y.yaml", "/a", "apps: {}"));
    assert_ne!(first, one("/a/x.yaml", "/a", "apps: {} "));
}

#[test]
fn coloured_errors_differ_from_plain_ones_by_escapes_alone() {
    let diagnostics = read("apps: []\n").unwrap_err();
    let coloured = render(&diagnostics, Paint::Coloured);
    assert!(coloured.contains("\u{1b}["));
    assert!(!render(&diagnostics, Paint::Plain).contains('\u{1b}'));
}

#[test]
fn pasted_secrets_reach_no_message() {
    let secret = "ghp_0123456789";
    let shown = errors(&[
        (
            "a.yaml",
            &format!("apps: {{ a: {{ source: {{ http: 'https://u:{secret}@x.net' }}, x: 1 }} }}\n"),
        ),
        (
            "b.yaml",
            &format!(
                "apps: {{ a: {{ source: {{ github: a/b }}, mirrors: ['https://{secret}@x'] }} }}\n"
            ),
        ),
        ("c.yaml", &format!("auth:\n  a: {secret}\n  b: {{ env: {secret} }}\n  c: [{secret}]\n")),
        ("d.yaml", &format!("auth:\n  a: {{ tokn: {secret}\n        }}\n")),
    ]);
    assert!(shown.contains("*****") && !shown.contains(secret), "{shown}");
}

#[test]
fn directory_is_read_in_order_without_what_is_no_document() {
    let dir = tempfile::tempdir().unwrap();
    let app = |name: &str| format!("apps: {{ {name}: {{ source: {{ github: a/b }} }} }}\n");
    let put = |file: &str, text: &str| std::fs::write(dir.path().join(file), text).unwrap();
    put("b.yaml", &app("b"));
    put("a.yml", &app("a"));
    put(".hidden.yaml", "][");
    put("README", "][");
    put("web.yaml.bak", "][");
    std::fs::create_dir(dir.path().join("sub")).unwrap();
    put("d.YAML", &app("loud"));
    let outside = tempfile::tempdir().unwrap();
    std::fs::write(outside.path().join("real"), app("linked")).unwrap();
    std::os::unix::fs::symlink(outside.path().join("real"), dir.path().join("c.yaml")).unwrap();
    let state = DesiredState::load(&[dir.path().to_owned()]).unwrap();
    let names: Vec<String> = apps(&state).into_keys().collect();
    assert_eq!(names, ["a", "b", "linked", "loud"]);
    let root = dir.path().to_string_lossy().into_owned();
    assert_eq!(state.roots, std::slice::from_ref(&root));
    assert!(state.resources.values().all(|declared| declared.root == root));
}

#[test]
fn unreadable_wishes_are_errors_and_never_empty_ones() {
    let dir = tempfile::tempdir().unwrap();
    let load =
        |path: &Path| render(&DesiredState::load(&[path.to_owned()]).unwrap_err(), Paint::Plain);
    assert!(load(dir.path()).contains("the directory holds no document"));
    assert!(load(&dir.path().join("absent")).contains("it does not exist"));
    std::os::unix::fs::symlink("nowhere", dir.path().join("dangling.yaml")).unwrap();
    assert!(load(dir.path()).contains("it does not exist"));
    for (kind, directory) in [("itself", "sub.yaml"), ("linked", "leads-to-it.yml")] {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("a.yaml"), "apps: {}\n").unwrap();
        match kind {
            "itself" => std::fs::create_dir(dir.path().join(directory)).unwrap(),
            _ => std::os::unix::fs::symlink("/", dir.path().join(directory)).unwrap(),
        }
        assert!(load(dir.path()).contains("is a directory and named like"), "{kind}");
    }
    let binary = dir.path().join("binary");
    std::fs::write(&binary, b"apps: {}\n# \xff\n").unwrap();
    assert!(load(&binary).contains("line 2 is not UTF-8 text"));
    std::fs::write(&binary, "apps: {}\0").unwrap();
    assert!(load(&binary).contains("the document holds a NUL byte"));
    std::fs::write(&binary, " ".repeat((4 << 20) + 1)).unwrap();
    assert!(load(&binary).contains("the document is larger than"));
    assert!(load(Path::new("/dev/null")).contains("neither a file nor a directory"));
    assert!(DesiredState::load(&[]).is_err());
}

#[test]
fn hostile_documents_are_refused_quickly() {
    let lines = |count: usize, line: &dyn Fn(usize) -> String| {
        (0..count).map(line).collect::<Vec<_>>().join("\n")
    };
    let alias = |i: usize, times: usize| match i.checked_sub(1) {
        None => "a0: &a0 [x]".to_owned(),
        Some(before) => format!("a{i}: &a{i} [{}]", format!("*a{before}, ").repeat(times)),
    };
    for (what, document) in [
        ("billion laughs", lines(12, &|i| alias(i, 10))),
        ("deep lists", "[".repeat(100_000)),
        ("deep maps", "{a: ".repeat(100_000)),
        ("deep blocks", lines(2000, &|i| format!("{}a:", " ".repeat(i)))),
        ("deep dashes", "- ".repeat(100_000)),
        ("deep aliases", lines(5000, &|i| alias(i, 1))),
        ("alias to itself", "a: &a [*a]\n".to_owned()),
        ("huge scalar", format!("apps: {{ a: {{ home: {} }} }}", "x".repeat(4_000_000))),
        ("huge key", format!("? {}\n: 1\n", "x".repeat(4_000_000))),
        ("duplicates", "a: 1\n".repeat(200_000)),
        ("unknown keys", lines(200_000, &|i| format!("k{i}: 1"))),
        ("quotes", "\"".repeat(100_001)),
        ("anchors on anchors", lines(100_000, &|i| format!("- &a{i} x"))),
        ("key that is a map", "? {a: b}\n: c\n".to_owned()),
        ("merge of a text", "apps: { <<: text }\n".to_owned()),
    ] {
        let diagnostics = read(&document).expect_err(what);
        assert!(diagnostics.len() <= 100, "{what}");
        assert!(render(&diagnostics, Paint::Plain).len() < 200_000, "{what}");
    }
}

proptest::proptest! {
    #[test]
    fn arbitrary_texts_never_panic(document in r"[\PC\n\t\r ]{0,200}") {
        if let Err(diagnostics) = read(&document) {
            render(&diagnostics, Paint::Coloured);
        }
    }

    #[test]
    fn damaged_documents_never_panic(
        at in 0..2000_usize, len in 0..40_usize, junk in r#"[\[\]{}:&*!|>'"%@`\n\t é-]{0,10}"#
    ) {
        let mut document =
            std::fs::read_to_string("tests/documents/valid/everything.yaml").unwrap();
        let at = (0..=at.min(document.len())).rev().find(|i| document.is_char_boundary(*i)).unwrap();
        let end = (at + len).min(document.len());
        document.replace_range(at..end, &junk);
        if let Err(diagnostics) = read(&document) {
            render(&diagnostics, Paint::Plain);
        }
    }
}
