//! What two versions of systemd did with 230 extensions is what is foretold.

use std::collections::BTreeMap;

use reconcile::format::extension_release::{
    Class, Form, Host, Image, STRICT_ATTRIBUTE, Scope, Verdict, judge,
};
use reconcile::format::image::{Entry, ImageError, ImageFiles, Kind, contents};
use reconcile::format::os_release::OsRelease;
use reconcile::format::sysext::{EntryKind, Wanted, image_name, pick};
use serde::Deserialize;

/// A line of `verdicts.json`; its README says how it came to be.
#[derive(Deserialize)]
struct Case {
    id: String,
    #[serde(default)]
    class: Option<String>,
    entry: String,
    form: String,
    #[serde(default)]
    link: Option<String>,
    #[serde(default)]
    host: Option<String>,
    #[serde(default)]
    files: BTreeMap<String, String>,
    #[serde(default)]
    strict: BTreeMap<String, String>,
    #[serde(rename = "252", default)]
    on_252: Option<Vec<String>>,
    #[serde(rename = "262", default)]
    on_262: Option<Vec<String>>,
}

/// The files of a case, as if unpacked.
struct Unpacked<'a>(&'a Case);

impl Unpacked<'_> {
    /// The path without links in it; none if it leads nowhere.
    fn chase(&self, path: &str, links: usize) -> Option<String> {
        let mut here = String::new();
        let mut rest = path.split('/').filter(|name| !name.is_empty());
        while let Some(name) = rest.next() {
            let next = if here.is_empty() { name.to_owned() } else { format!("{here}/{name}") };
            let Some(target) = self.0.files.get(&next).and_then(|text| text.strip_prefix("->"))
            else {
                here = next;
                continue;
            };
            let base = if target.starts_with('/') { "" } else { &here };
            let remaining: Vec<&str> = rest.collect();
            let target = format!("{base}/{target}/{}", remaining.join("/"));
            return (links < 8).then(|| self.chase(&target, links + 1)).flatten();
        }
        Some(here)
    }

    fn kind_of(&self, path: &str) -> Option<Kind> {
        let below = format!("{path}/");
        match self.0.files.get(path) {
            Some(text) if text.starts_with("->") => Some(Kind::Link),
            Some(_) => Some(Kind::File),
            None => {
                self.0.files.keys().any(|key| key.starts_with(&below)).then_some(Kind::Directory)
            }
        }
    }
}

impl ImageFiles for Unpacked<'_> {
    fn list(&self, directory: &str) -> Result<Vec<Entry>, ImageError> {
        let Some(directory) = self.chase(directory, 0) else { return Ok(Vec::new()) };
        let below = format!("{directory}/");
        let mut entries: Vec<Entry> = Vec::new();
        for path in self.0.files.keys().filter_map(|path| path.strip_prefix(&below)) {
            let name = path.split('/').next().unwrap().to_owned();
            if entries.iter().all(|entry| entry.name != name) {
                let kind = self.kind_of(&format!("{below}{name}")).unwrap();
                entries.push(Entry { name, kind });
            }
        }
        Ok(entries)
    }

    fn kind(&self, path: &str) -> Result<Option<Kind>, ImageError> {
        Ok(self.chase(path, 0).and_then(|path| self.kind_of(&path)))
    }

    fn read(&self, path: &str, _: usize) -> Result<Option<Vec<u8>>, ImageError> {
        let text = self.chase(path, 0).and_then(|path| self.0.files.get(&path));
        Ok(text.map(|text| match text.strip_prefix("hex:") {
            Some(hex) => data_encoding::HEXLOWER.decode(hex.as_bytes()).unwrap(),
            None => text.as_bytes().to_vec(),
        }))
    }

    fn attribute(&self, path: &str, name: &str) -> Result<Option<Vec<u8>>, ImageError> {
        assert_eq!(name, STRICT_ATTRIBUTE);
        Ok(self.0.strict.get(path).map(|value| value.as_bytes().to_vec()))
    }
}

/// What we foretell for a case: the verdict and the name in `systemd-sysext list`.
fn foretold(case: &Case, systemd: u32) -> Vec<String> {
    let class = if case.class.is_some() { Class::Confext } else { Class::Sysext };
    let (top, inside) =
        case.entry.split_once('/').map_or((&*case.entry, None), |(a, b)| (a, Some(b)));
    let kind = match (inside, case.form.as_str()) {
        (Some(_), _) | (None, "directory") => EntryKind::Directory,
        (None, "none") => EntryKind::Other,
        _ => EntryKind::File,
    };
    assert!(case.link.is_none() || inside.is_none());
    let unseen = vec!["ignored".to_owned()];
    let Some(found) = image_name(class, top, kind, systemd) else { return unseen };
    if let Some(suffix) = found.versioned {
        let fits = (found.form == Form::Directory) == (case.form == "directory");
        let wanted = Wanted { name: found.name, suffix, architecture: "x86-64" };
        if pick(inside.filter(|_| fits), wanted, str::cmp).is_none() {
            return unseen;
        }
    }
    let release = case.host.as_deref().unwrap_or("ID=debian\nVERSION_ID=\"12\"\n");
    let release = OsRelease::parse(release.as_bytes()).unwrap();
    let host = Host { systemd, release: &release, architecture: "x86-64", scope: Scope::System };
    let image = Image { class, name: found.name, form: found.form };
    // A directory that is taken for an extension although it is one to pick from has no release file.
    let none = Case { files: BTreeMap::new(), ..serde_json::from_str(EMPTY_CASE).unwrap() };
    let read = if inside.is_some() && found.versioned.is_none() { &none } else { case };
    let verdict = match judge(image, host, &contents(&Unpacked(read)).unwrap()) {
        Verdict::Compatible(_) => "merged",
        Verdict::Ignored(_) => "ignored",
        Verdict::Breaks(_) => "breaks",
    };
    vec![verdict.to_owned(), found.name.to_owned()]
}

const EMPTY_CASE: &str = r#"{"id":"","entry":"","form":"directory"}"#;

#[test]
fn verdicts_are_those_that_systemd_gave() {
    let text = std::fs::read(super::golden_directory().join("verdicts.json")).unwrap();
    let cases: Vec<Case> = serde_json::from_slice(&text).unwrap();
    assert!(cases.len() > 200);
    let mut wrong = Vec::new();
    for case in &cases {
        for (systemd, measured) in [(252, &case.on_252), (262, &case.on_262)] {
            let Some(measured) = measured else { continue };
            let foretold = foretold(case, systemd);
            if foretold != *measured {
                wrong.push(format!("{} on {systemd}: {measured:?}, not {foretold:?}", case.id));
            }
        }
    }
    assert!(wrong.is_empty(), "\n{}\n", wrong.join("\n"));
}

/// What each version makes of one extension; in a cell the first letter of the verdict.
struct Row {
    what: &'static str,
    image: (Class, Form, &'static str),
    scope: Scope,
    files: &'static [(&'static str, &'static str)],
    verdicts: [(u32, char); 3],
}

const ID_ONLY: &str = "ID=suse\n";
const SYSEXT: &str = "usr/lib/extension-release.d/extension-release.foo";
const CONFEXT: &str = "etc/extension-release.d/extension-release.foo";

const ROWS: [Row; 6] = [
    Row {
        what: "a base name counts since 254",
        image: (Class::Sysext, Form::Raw, "foo_1"),
        scope: Scope::System,
        files: &[(SYSEXT, "ID=_any\n")],
        verdicts: [(253, 'b'), (254, 'm'), (262, 'm')],
    },
    Row {
        what: "ID_LIKE counts since 258",
        image: (Class::Sysext, Form::Raw, "foo"),
        scope: Scope::System,
        files: &[(SYSEXT, ID_ONLY)],
        verdicts: [(257, 'i'), (258, 'm'), (262, 'm')],
    },
    Row {
        what: "an os-release in a disk image is known to be harmless since 262 only",
        image: (Class::Sysext, Form::Raw, "foo"),
        scope: Scope::System,
        files: &[(SYSEXT, "ID=_any\n"), ("usr/lib/os-release", "ID=x\n")],
        verdicts: [(252, 'b'), (261, 'b'), (262, 'i')],
    },
    Row {
        what: "configuration extensions exist since 254",
        image: (Class::Confext, Form::Directory, "foo"),
        scope: Scope::System,
        files: &[(CONFEXT, "ID=_any\n")],
        verdicts: [(252, 'i'), (253, 'i'), (254, 'm')],
    },
    Row {
        what: "without a scope nothing is for the initial RAM disk",
        image: (Class::Sysext, Form::Directory, "foo"),
        scope: Scope::Initrd,
        files: &[(SYSEXT, "ID=_any\n")],
        verdicts: [(252, 'i'), (257, 'i'), (262, 'i')],
    },
    Row {
        what: "with its scope it is for the initial RAM disk",
        image: (Class::Sysext, Form::Directory, "foo"),
        scope: Scope::Initrd,
        files: &[(SYSEXT, "ID=_any\nSYSEXT_SCOPE=\"initrd portable\"\n")],
        verdicts: [(252, 'm'), (257, 'm'), (262, 'm')],
    },
];

#[test]
fn verdicts_change_with_the_version_that_changed_the_rule() {
    let release = OsRelease::parse(b"ID=opensuse\nID_LIKE=\"x suse\"\n").unwrap();
    for row in ROWS {
        let (class, form, name) = row.image;
        let files =
            row.files.iter().map(|(path, text)| ((*path).to_owned(), (*text).to_owned())).collect();
        let case = Case { files, ..serde_json::from_str(EMPTY_CASE).unwrap() };
        for (systemd, expected) in row.verdicts {
            let host =
                Host { systemd, release: &release, architecture: "x86-64", scope: row.scope };
            let image = Image { class, name, form };
            let verdict = match judge(image, host, &contents(&Unpacked(&case)).unwrap()) {
                Verdict::Compatible(_) => 'm',
                Verdict::Ignored(_) => 'i',
                Verdict::Breaks(_) => 'b',
            };
            assert_eq!(verdict, expected, "{} on {systemd}", row.what);
        }
    }
}

#[test]
fn reasons_say_what_to_do() {
    let release = OsRelease::parse(b"ID=debian\nVERSION_ID=12\n").unwrap();
    let host =
        Host { systemd: 252, release: &release, architecture: "x86-64", scope: Scope::System };
    for (name, text, expected) in [
        ("foo", "ID=debian\nVERSION_ID=11\n", "it is for VERSION_ID=11, the host is VERSION_ID=12"),
        (
            "bar",
            "ID=_any\n",
            "it has no `usr/lib/extension-release.d/extension-release.bar`; whoever builds it must put that \
             file in, or name the image as the release file it has",
        ),
        ("foo", "ID=_any\nSYSEXT_SCOPE=initrd\n", "SYSEXT_SCOPE=initrd leaves out system"),
    ] {
        let files = BTreeMap::from([(SYSEXT.to_owned(), text.to_owned())]);
        let case = Case { files, ..serde_json::from_str(EMPTY_CASE).unwrap() };
        let image = Image { class: Class::Sysext, name, form: Form::Directory };
        match judge(image, host, &contents(&Unpacked(&case)).unwrap()) {
            Verdict::Ignored(reason) => assert_eq!(reason.to_string(), expected),
            other => panic!("{other:?}"),
        }
    }
}
