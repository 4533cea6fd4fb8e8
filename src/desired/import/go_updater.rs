//! Settings of programs that update themselves by go-updater or go-selfupdate become apps.
//!
//! Both are libraries: what they are told stands in the program, or in whatever file it reads. Taken are JSON
//! objects (one, or a list) and Go source, whose keys are the libraries' own names:
//! `{"SourceRepo": "…", "Version": "…", "TargetFile": "…"}`, `selfupdate.Updater{ApiURL: "…", CmdName: "…"}`.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use serde_json::Value;

use crate::desired::Place;
use crate::desired::import::{ConfigFile, Imported, Note, NoteKind, accepted, quoted};
use crate::model::Name;

/// Keys of go-updater's options that are looked for.
const CHORIA: [&str; 6] = ["SourceRepo", "Version", "TargetFile", "OS", "Arch", "PublicKey"];

/// Keys of go-selfupdate's `Updater`, and the path that it takes from the running program.
const SELFUPDATE: [&str; 8] = [
    "ApiURL",
    "BinURL",
    "DiffURL",
    "CmdName",
    "CurrentVersion",
    "CheckTime",
    "Platform",
    "TargetFile",
];

/// Settings by their keys, with the line that each starts at.
type Settings = BTreeMap<&'static str, (String, usize)>;

/// Whether a file tells one of these libraries what to do.
pub fn is_wanted(file: &ConfigFile) -> bool {
    entries(file).iter().any(|entry| sort_of(entry).is_some())
}

/// Which library.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Sort {
    Choria,
    Selfupdate,
}

fn sort_of(entry: &Settings) -> Option<Sort> {
    if entry.contains_key("SourceRepo") {
        Some(Sort::Choria)
    } else if entry.contains_key("ApiURL") && entry.contains_key("CmdName") {
        Some(Sort::Selfupdate)
    } else {
        None
    }
}

/// Turns the settings into a document. `target` is the program to replace where they name none.
pub fn import(files: &[ConfigFile], target: Option<&str>) -> Imported {
    let mut import = Import { target, ..Import::default() };
    for file in files {
        for entry in entries(file) {
            import.entry(file, &entry);
        }
    }
    let head = if import.apps.is_empty() { "apps: {}\n" } else { "apps:\n" };
    Imported { document: format!("{head}{}", import.apps), notes: import.notes }
}

#[derive(Default)]
struct Import<'a> {
    target: Option<&'a str>,
    apps: String,
    notes: Vec<Note>,
    names: BTreeSet<String>,
}

impl Import<'_> {
    fn note(&mut self, kind: NoteKind, subject: &str, at: (&ConfigFile, usize), text: &str) {
        let place = Some(Place { file: at.0.path.clone(), line: at.1 });
        self.notes.push(Note { kind, subject: subject.to_owned(), place, text: text.to_owned() });
    }

    fn entry(&mut self, file: &ConfigFile, entry: &Settings) {
        let Some(sort) = sort_of(entry) else {
            let why = "settings without `SourceRepo`, or without `ApiURL` and `CmdName`";
            let line = entry.values().map(|(_, line)| *line).min().unwrap_or(1);
            return self.note(NoteKind::Ignored, "", (file, line), why);
        };
        let text = |key: &str| entry.get(key).map(|(text, _)| text.as_str());
        let line = entry.values().map(|(_, line)| *line).min().unwrap_or(1);
        let at = (file, line);
        let Some(target) = text("TargetFile").or(self.target).map(str::to_owned) else {
            let why =
                "the program replaces itself and nothing says where it is: name it with --target";
            return self.note(NoteKind::Unmapped, text("CmdName").unwrap_or_default(), at, why);
        };
        let last = target.rsplit('/').next().unwrap_or_default();
        let name = self.name(text("CmdName").unwrap_or(last));
        let made = match sort {
            Sort::Choria => self.choria(entry, &name, at),
            Sort::Selfupdate => Some(self.selfupdate(entry, &name, at)),
        };
        let Some((mut app, urls)) = made else { return };
        if urls.iter().any(|url| url.starts_with("http://")) {
            app.push_str("    verify: { min: checksum }\n");
            let why =
                "it comes over plain http, and so does the digest that vouches for it: use https";
            self.note(NoteKind::Todo, &name, at, why);
        }
        let _ = writeln!(app, "    layout: {{ file: {} }}", quoted(&target));
        let app = format!("  {}:\n{app}", quoted(&name));
        if let Err(why) = accepted(&format!("apps:\n{app}")) {
            return self.note(
                NoteKind::Unmapped,
                &name,
                at,
                &format!("write this app by hand: {why}"),
            );
        }
        self.apps.push_str(&app);
        let why = "have the program itself stop updating: both would replace the file";
        self.note(NoteKind::Todo, &name, at, why);
        let why = "the file keeps its owner, mode and attributes, is never missing, and older ones are kept";
        self.note(NoteKind::Changed, &name, at, why);
    }

    fn choria(
        &mut self,
        entry: &Settings,
        name: &str,
        at: (&ConfigFile, usize),
    ) -> Option<(String, Vec<String>)> {
        let text = |key: &str| entry.get(key).map(|(text, _)| text.clone());
        let url = text("SourceRepo")?;
        let Some(version) = text("Version") else {
            let why = "nothing says which version: a Choria repository has no list of them, so write it by hand";
            self.note(NoteKind::Unmapped, name, at, why);
            return None;
        };
        let mut source = format!("url: {}", quoted(&url));
        for (key, field) in [("OS", "os"), ("Arch", "arch")] {
            if let Some(value) = text(key) {
                let _ = write!(source, ", {field}: {}", quoted(&value));
            }
        }
        if entry.contains_key("PublicKey") {
            let why = "go-updater never looked at `PublicKey`; its repositories are not signed";
            self.note(NoteKind::Ignored, name, at, why);
        }
        let version = quoted(&version);
        let app = format!("    version: {version}\n    source: {{ choria: {{ {source} }} }}\n");
        Some((app, vec![url]))
    }

    fn selfupdate(
        &mut self,
        entry: &Settings,
        name: &str,
        at: (&ConfigFile, usize),
    ) -> (String, Vec<String>) {
        let text = |key: &str| entry.get(key).map(|(text, _)| text.clone());
        let mut source = String::new();
        let mut urls = Vec::new();
        let fields = [
            ("ApiURL", "api"),
            ("BinURL", "bin"),
            ("DiffURL", "diff"),
            ("CmdName", "cmd"),
            ("Platform", "platform"),
        ];
        for (key, field) in fields {
            let Some(value) = text(key).filter(|value| !value.is_empty()) else { continue };
            let comma = if source.is_empty() { "" } else { ", " };
            let _ = write!(source, "{comma}{field}: {}", quoted(&value));
            urls.extend(Some(value).filter(|_| key.ends_with("URL")));
        }
        // The manifest names one version, and go-selfupdate took it whatever it looked like.
        let mut app = format!(
            "    version: {{ want: latest, prereleases: true }}\n    source: {{ selfupdate: {{ {source} }} }}\n"
        );
        if text("CurrentVersion").as_deref() == Some("dev") {
            app.push_str("    suspend: { reason: \"its CurrentVersion is dev\" }\n");
            let why = "`CurrentVersion` is `dev`, which is never updated: it starts suspended";
            self.note(NoteKind::Info, name, at, why);
        }
        if let Some(hours) = text("CheckTime") {
            let why = format!("it looked every {hours} h; set the interval of reconcile itself");
            self.note(NoteKind::Todo, name, at, &why);
        }
        let why = "go-selfupdate followed its manifest back to a lower version; this is now reported and not done";
        self.note(NoteKind::Changed, name, at, why);
        (app, urls)
    }

    /// A name of its own.
    fn name(&mut self, text: &str) -> String {
        let known = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-' | '+');
        let plain: String = text.chars().map(|c| if known(c) { c } else { '-' }).collect();
        let base = if plain.parse::<Name>().is_ok() { plain } else { "program".to_owned() };
        let numbered = (2_u32..).map(|number| format!("{base}-{number}"));
        let mut names = std::iter::once(base.clone()).chain(numbered);
        let free = names.find(|name| !self.names.contains(name)).unwrap_or(base);
        self.names.insert(free.clone());
        free
    }
}

/// The settings of a file: of each JSON object, or of each updater in Go source.
fn entries(file: &ConfigFile) -> Vec<Settings> {
    match serde_json::from_str::<Value>(&file.text) {
        Ok(Value::Array(list)) => list.iter().map(of_json).collect(),
        Ok(value @ Value::Object(_)) => vec![of_json(&value)],
        Err(_) if file.path.ends_with(".go") => of_source(&file.text),
        Ok(_) | Err(_) => Vec::new(),
    }
}

fn keys() -> impl Iterator<Item = &'static str> {
    CHORIA.into_iter().chain(SELFUPDATE)
}

fn of_json(value: &Value) -> Settings {
    let mut settings = Settings::new();
    let plain = |key: &str| key.replace(['_', '-'], "").to_ascii_lowercase();
    for (key, value) in value.as_object().into_iter().flatten() {
        let Some(known) = keys().find(|known| known.to_ascii_lowercase() == plain(key)) else {
            continue;
        };
        let text = match value {
            Value::String(text) => text.clone(),
            Value::Number(number) => number.to_string(),
            _ => continue,
        };
        settings.insert(known, (text, 1));
    }
    settings
}

/// `Key: "text"` and `Key("text")`, as options and fields are written in Go. Another updater begins where an `Updater` is
/// made, a key comes again, or one of the other library comes.
fn of_source(text: &str) -> Vec<Settings> {
    let mut updaters = Vec::new();
    let mut settings = Settings::new();
    for (number, line) in text.lines().enumerate() {
        let code = line.trim_start();
        if code.starts_with("//") {
            continue;
        }
        let found: Vec<_> =
            keys().filter_map(|key| Some((key, (value_of(key, code)?, number + 1)))).collect();
        let known = |keys: &[&str]| keys.iter().any(|key| settings.contains_key(key));
        let other = |key: &str| match key {
            "SourceRepo" => known(&["ApiURL", "CmdName"]),
            "ApiURL" | "CmdName" => known(&["SourceRepo"]),
            _ => false,
        };
        let begins = code.contains("Updater{")
            || found.iter().any(|(key, _)| settings.contains_key(key) || other(key));
        if begins && !settings.is_empty() {
            updaters.push(std::mem::take(&mut settings));
        }
        settings.extend(found);
    }
    updaters.push(settings);
    updaters
}

/// What a line of Go source says about a key.
fn value_of(key: &str, code: &str) -> Option<String> {
    code.match_indices(key).find_map(|(at, _)| {
        let alone = |c: Option<char>| c.is_none_or(|c| !c.is_alphanumeric() && c != '_');
        let before = code.get(..at)?.chars().next_back();
        let after = code.get(at + key.len()..)?;
        if !alone(before) {
            return None;
        }
        literal(after.trim_start().strip_prefix([':', '('])?)
    })
}

/// The literal that a text starts with.
fn literal(text: &str) -> Option<String> {
    let text = text.trim_start();
    if let Some(raw) = text.strip_prefix('`') {
        return Some(raw.split_once('`')?.0.to_owned());
    }
    if text.starts_with('"') {
        // Go's escapes in URLs and paths are JSON's.
        let mut values = serde_json::Deserializer::from_str(text).into_iter::<String>();
        return values.next()?.ok();
    }
    let number: String = text.chars().take_while(char::is_ascii_digit).collect();
    (!number.is_empty()).then_some(number)
}
