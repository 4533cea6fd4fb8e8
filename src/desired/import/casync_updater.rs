//! casync-updater's client configuration becomes trees.
//!
//! Every file below `/etc/casync-updater` is JSON: a list of entries (one alone is taken too) with
//! `interval`, `srcIndex`, `srcStore`, `dstPath`, and optionally `backupIndex`, `backupStore`,
//! `triggers[{paths, actions}]` and `startup`. Actions are lines for bash.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::io;
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::desired::import::{ConfigFile, Imported, Note, NoteKind, quoted, read_tree};
use crate::desired::{DesiredState, Place, SourceText};
use crate::model::Name;
use crate::model::pace::EVERY_MAX;

/// What only a shell understands: a line with any of these is given to bash as it is.
const SHELL: &[char] = &[
    '|', '&', ';', '<', '>', '(', ')', '$', '`', '\\', '"', '\'', '*', '?', '[', '#', '~', '=',
    '%', '{', '!', '\n',
];

/// Reads casync-updater's configuration files below `paths`.
///
/// # Errors
/// When one of `paths` or a file cannot be read.
pub fn load(paths: &[PathBuf]) -> io::Result<Vec<ConfigFile>> {
    read_tree(paths, |_: &Path| true)
}

/// Turns the configuration into a document.
pub fn import(files: &[ConfigFile]) -> Imported {
    let mut import = Import::default();
    for file in files {
        import.file(file);
    }
    let head = if import.text.is_empty() { "trees: {}\n" } else { "trees:\n" };
    if !import.text.is_empty() {
        import.note(NoteKind::Todo, "", None, "run `systemctl disable --now casync-updater.service`: both would fight over the directories".to_owned());
        import.note(NoteKind::Changed, "", None, "an update replaces the whole directory at once and keeps the previous one; actions run only when their paths changed, also after an update from the backup".to_owned());
        import.note(NoteKind::Changed, "", None, "an older backup is never used to go back, and the backup is not rewritten from the directory in use".to_owned());
    }
    Imported { document: format!("{head}{}", import.text), notes: import.notes }
}

#[derive(Default)]
struct Import {
    text: String,
    notes: Vec<Note>,
    names: BTreeSet<String>,
}

impl Import {
    fn note(&mut self, kind: NoteKind, subject: &str, file: Option<&ConfigFile>, text: String) {
        let place = file.map(|file| Place { file: file.path.clone(), line: 1 });
        self.notes.push(Note { kind, subject: subject.to_owned(), place, text });
    }

    fn file(&mut self, file: &ConfigFile) {
        let entries = match serde_json::from_str(&file.text) {
            Ok(Value::Array(entries)) => entries,
            Ok(entry @ Value::Object(_)) => vec![entry],
            Ok(_) => {
                return self.note(
                    NoteKind::Ignored,
                    "",
                    Some(file),
                    "it holds no entries".to_owned(),
                );
            }
            Err(error) => {
                return self.note(
                    NoteKind::Ignored,
                    "",
                    Some(file),
                    format!("it is not JSON: {error}"),
                );
            }
        };
        for entry in &entries {
            self.entry(file, entry);
        }
    }

    fn entry(&mut self, file: &ConfigFile, entry: &Value) {
        let text =
            |key: &str| entry.get(key).and_then(Value::as_str).filter(|text| !text.is_empty());
        let (Some(index), Some(store), Some(path)) =
            (text("srcIndex"), text("srcStore"), text("dstPath"))
        else {
            let why = "an entry without `srcIndex`, `srcStore` or `dstPath`".to_owned();
            return self.note(NoteKind::Ignored, "", Some(file), why);
        };
        if actions(entry).any(|action| action.contains("casync-updater.service")) {
            let why = format!("the entry for {path} updates casync-updater itself");
            return self.note(NoteKind::Unmapped, "", Some(file), why);
        }
        let name = self.name(path);
        let mut tree = format!("  {name}:\n    path: {}\n    existing: adopted\n", quoted(path));
        let plain = [index, store].iter().any(|url| url.starts_with("http://"));
        if plain {
            tree.push_str("    verify: { min: none }\n");
            let why = "the index comes over plain http: anybody on the way can replace it; use https, or pin \
                       it by `version: sha256:…`";
            self.note(NoteKind::Todo, &name, Some(file), why.to_owned());
        }
        let source = |tree: &mut String, key: &str, index: &str, store: &str| {
            // casync-updater keeps its backup up to date.
            let kept =
                key == "offline" && ![index, store].iter().any(|place| place.contains("://"));
            let more = if kept { ", refresh: true" } else { "" };
            let (index, store) = (quoted(index), quoted(store));
            let _ = writeln!(
                tree,
                "    {key}: {{ casync: {{ index: {index}, store: {store}{more} }} }}"
            );
        };
        source(&mut tree, "source", index, store);
        match (text("backupIndex"), text("backupStore")) {
            (Some(index), Some(store)) => source(&mut tree, "offline", index, store),
            (None, None) => {}
            _ => {
                let why = "a backup needs both `backupIndex` and `backupStore`".to_owned();
                self.note(NoteKind::Ignored, &name, Some(file), why);
            }
        }
        self.triggers(&mut tree, entry, (&name, file));
        let start: Vec<String> = strings(entry.get("startup")).map(|line| argv(&line)).collect();
        if !start.is_empty() {
            let _ = writeln!(tree, "    on_start: [{}]", start.join(", "));
        }
        if let Some(interval) = entry.get("interval").and_then(Value::as_u64) {
            let every = rhythm(interval.div_ceil(1000));
            let _ = writeln!(tree, "    every: {every}");
            let why = format!("it is asked every {every}, at the passes that reconcile makes then");
            self.note(NoteKind::Changed, &name, Some(file), why);
        }
        self.take(&name, &tree, file);
    }

    fn triggers(&mut self, tree: &mut String, entry: &Value, about: (&str, &ConfigFile)) {
        let mut lines = String::new();
        let list = entry.get("triggers").and_then(Value::as_array);
        for trigger in list.map(Vec::as_slice).unwrap_or_default() {
            let paths: Vec<String> = strings(trigger.get("paths"))
                .map(|path| path.trim_matches('/').to_owned())
                .map(|path| quoted(if path.is_empty() { "." } else { &path }))
                .collect();
            let run: Vec<String> =
                strings(trigger.get("actions")).map(|action| argv(&action)).collect();
            if paths.is_empty() || run.is_empty() {
                let why = "a trigger without paths or actions".to_owned();
                self.note(NoteKind::Ignored, about.0, Some(about.1), why);
                continue;
            }
            let (paths, run) = (paths.join(", "), run.join(", "));
            let _ = writeln!(lines, "      - {{ paths: [{paths}], run: [{run}] }}");
        }
        if !lines.is_empty() {
            tree.push_str("    triggers:\n");
            tree.push_str(&lines);
        }
    }

    /// Adds a tree that the parser accepts.
    fn take(&mut self, name: &str, tree: &str, file: &ConfigFile) {
        let source = SourceText {
            root: "/".to_owned(),
            file: "imported.yaml".to_owned(),
            directory: "/".to_owned(),
            text: format!("trees:\n{tree}"),
        };
        match DesiredState::from_texts(vec![source]) {
            Ok(_) => self.text.push_str(tree),
            Err(errors) => {
                self.names.remove(name);
                let titles: Vec<&str> = errors.iter().map(|error| error.title.as_str()).collect();
                self.note(NoteKind::Unmapped, name, Some(file), titles.join("; "));
            }
        }
    }

    /// A name of its own for the tree at a path.
    fn name(&mut self, path: &str) -> String {
        let last = path.trim_end_matches('/').rsplit('/').next().unwrap_or_default();
        let known = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-' | '+');
        let plain: String = last.chars().map(|c| if known(c) { c } else { '-' }).collect();
        let base = if plain.parse::<Name>().is_ok() { plain } else { "tree".to_owned() };
        let numbered = (2_u32..).map(|number| format!("{base}-{number}"));
        let mut names = std::iter::once(base.clone()).chain(numbered);
        let free = names.find(|name| !self.names.contains(name)).unwrap_or(base);
        self.names.insert(free.clone());
        free
    }
}

/// All lines that an entry runs.
fn actions(entry: &Value) -> impl Iterator<Item = String> {
    let list = entry.get("triggers").and_then(Value::as_array);
    let triggers = list.map(Vec::as_slice).unwrap_or_default().iter();
    triggers.flat_map(|trigger| strings(trigger.get("actions")))
}

fn strings(list: Option<&Value>) -> impl Iterator<Item = String> {
    let items = list.and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    items.iter().filter_map(Value::as_str).map(str::to_owned)
}

/// A line for bash as a list: words where no shell is needed.
fn argv(line: &str) -> String {
    let words: Vec<String> = if line.contains(SHELL) || line.trim().is_empty() {
        ["/bin/bash", "-c", line].map(quoted).to_vec()
    } else {
        line.split_whitespace().map(quoted).collect()
    };
    format!("[{}]", words.join(", "))
}

/// Seconds as `every` takes them, in the largest unit that says it exactly.
fn rhythm(seconds: u64) -> String {
    let most = u64::try_from(EVERY_MAX.as_secs()).unwrap_or(u64::MAX);
    match seconds.clamp(1, most) {
        hours if hours % 3600 == 0 => format!("{}h", hours / 3600),
        minutes if minutes % 60 == 0 => format!("{}m", minutes / 60),
        seconds => format!("{seconds}s"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn client_configuration_becomes_trees_that_the_parser_accepts() {
        let text = r#"[
            { "interval": 60000, "srcIndex": "https://a.example/s.caidx", "srcStore": "https://a.example/s.castr",
              "dstPath": "/srv/my site", "backupIndex": "/media/usb/s.caidx", "backupStore": "/media/usb/s.castr",
              "triggers": [ { "paths": ["conf.d/", "/"], "actions": ["systemctl reload web", "echo a > /tmp/b"] } ],
              "startup": ["systemctl start web"] },
            { "interval": 1, "srcIndex": "http://a.example/t.caidx", "srcStore": "http://a.example/t.castr",
              "dstPath": "/opt/my site" },
            { "interval": 1, "srcIndex": "https://u.example/u.caidx", "srcStore": "https://u.example/u.castr",
              "dstPath": "/opt/casync-updater",
              "triggers": [ { "paths": ["."], "actions": ["systemctl restart casync-updater.service"] } ] },
            { "dstPath": "/x" } ]"#;
        let file = |text: &str| ConfigFile { path: "/etc/c".to_owned(), text: text.to_owned() };
        let imported = import(&[file(text), file("{"), file("1")]);
        let source = SourceText {
            root: "/".into(),
            file: "f".into(),
            directory: "/".into(),
            text: imported.document.clone(),
        };
        let state = DesiredState::from_texts(vec![source]).unwrap();
        let names: Vec<String> = state.resources.keys().map(ToString::to_string).collect();
        assert_eq!(names, ["tree/my-site", "tree/my-site-2"]);
        for part in [
            "run: [[\"systemctl\", \"reload\", \"web\"], [\"/bin/bash\", \"-c\", \"echo a > /tmp/b\"]]",
            "paths: [\"conf.d\", \".\"]",
            "store: \"/media/usb/s.castr\", refresh: true } }",
            "on_start: [[\"systemctl\", \"start\", \"web\"]]",
            "    every: 1m\n",
        ] {
            assert!(imported.document.contains(part), "{}", imported.document);
        }
        let ignored = imported.notes.iter().filter(|note| note.kind == NoteKind::Ignored).count();
        assert_eq!(ignored, 3, "{:#?}", imported.notes);
    }
}
