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
