//! Instances of a systemd template with everything their drop-ins say.

use std::collections::{BTreeMap, BTreeSet};

use crate::desired::Place;
use crate::desired::import::systemd::{self, Setting};
use crate::desired::import::{ConfigFile, Note, NoteKind};

/// Where units come from, strongest first (systemd.unit(5)).
const UNIT_DIRECTORIES: [&str; 6] = [
    "/etc/systemd/system",
    "/run/systemd/system",
    "/usr/local/lib/systemd/system",
    "/usr/lib/systemd/system",
    "/lib/systemd/system",
    "",
];

/// Settings of a timer that say when it elapses.
const TIMES: [&str; 6] = [
    "OnActiveSec",
    "OnBootSec",
    "OnStartupSec",
    "OnUnitActiveSec",
    "OnUnitInactiveSec",
    "OnCalendar",
];

/// Most references to variables replaced on one command line.
const REFERENCES_MAX: usize = 100;

/// A text and where it was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Value {
    pub(super) text: String,
    pub(super) place: Place,
}

/// Variables by name.
pub(super) type Environment = BTreeMap<String, Value>;

/// One instance of a template.
#[derive(Debug)]
pub(super) struct Instance<'f> {
    /// The part between `@` and the type.
    pub(super) name: String,
    /// A link below a `.wants` directory starts it.
    pub(super) enabled: bool,
    prefix: &'f str,
    service: Vec<(Setting, Place)>,
    timer: Vec<(Setting, Place)>,
}

/// Every instance of `prefix@` that `files` name, by name.
pub(super) fn instances<'f>(files: &'f [ConfigFile], prefix: &'f str) -> Vec<Instance<'f>> {
    let mut names = BTreeSet::new();
    for file in files {
        for part in file.path.split('/').rev().take(2) {
            let part = part.strip_suffix(".d").unwrap_or(part);
            let stem = part.strip_suffix(".service").or_else(|| part.strip_suffix(".timer"));
            let name = stem.and_then(|stem| stem.strip_prefix(prefix)?.strip_prefix('@'));
            names.extend(name.filter(|name| !name.is_empty()));
        }
    }
    names
        .into_iter()
        .map(|name| Instance {
            name: name.to_owned(),
            enabled: files.iter().any(|file| {
                let (directory, file) = split(&file.path);
                is_list_of_links(directory)
                    && (file == format!("{prefix}@{name}.timer")
                        || file == format!("{prefix}@{name}.service"))
            }),
            prefix,
            service: unit_settings(files, prefix, name, "service"),
            timer: unit_settings(files, prefix, name, "timer"),
        })
        .collect()
}

fn split(path: &str) -> (&str, &str) {
    path.rsplit_once('/').unwrap_or(("", path))
}

/// `timers.target.wants` and the like hold links that start a unit.
fn is_list_of_links(directory: &str) -> bool {
    directory.strip_suffix(".wants").or(directory.strip_suffix(".requires")).is_some()
}

/// The settings of the fragment, then those of every drop-in in the order of their file names.
fn unit_settings(
    files: &[ConfigFile],
    prefix: &str,
    name: &str,
    kind: &str,
) -> Vec<(Setting, Place)> {
    let template = format!("{prefix}@.{kind}");
    let own = format!("{prefix}@{name}.{kind}");
    let rank = |file: &ConfigFile| {
        UNIT_DIRECTORIES.iter().position(|directory| file.path.contains(directory))
    };
    let fragment = [&own, &template].into_iter().find_map(|wanted| {
        let fits = |file: &&ConfigFile| {
            let (directory, file) = split(&file.path);
            file == wanted && !is_list_of_links(directory)
        };
        files.iter().filter(fits).min_by_key(|file| rank(file))
    });
    let mut drop_ins: BTreeMap<&str, ((bool, Option<usize>), &ConfigFile)> = BTreeMap::new();
    for file in files {
        let (directory, base) = split(&file.path);
        let directory = split(directory).1;
        let shared = directory == format!("{template}.d");
        if base.strip_suffix(".conf").is_none() || !(shared || directory == format!("{own}.d")) {
            continue;
        }
        let strength = (shared, rank(file));
        let weaker = drop_ins.get(base).is_none_or(|(other, _)| strength < *other);
        if weaker {
            drop_ins.insert(base, (strength, file));
        }
    }
    fragment
        .into_iter()
        .chain(drop_ins.into_values().map(|(_, file)| file))
        .flat_map(|file| {
            systemd::settings(&file.text).into_iter().map(|setting| {
                let place = Place { file: file.path.clone(), line: setting.line };
                (setting, place)
            })
        })
        .collect()
}

impl Instance<'_> {
    /// When its timer elapses.
    pub(super) fn timers(&self) -> Vec<(Setting, Place)> {
        let timed = |(setting, _): &&(Setting, Place)| TIMES.contains(&setting.key.as_str());
        self.timer.iter().filter(timed).cloned().collect()
    }

    /// The settings called `key` since the last empty one, which resets them.
    fn all(&self, key: &str) -> Vec<&(Setting, Place)> {
        let all: Vec<_> = self
            .service
            .iter()
            .filter(|(setting, _)| setting.section == "Service" && setting.key == key)
            .collect();
        let reset = all.iter().rposition(|(setting, _)| setting.value.is_empty());
        all.into_iter().skip(reset.map_or(0, |at| at + 1)).collect()
    }

    fn expand(&self, text: &str, place: &Place, notes: &mut Vec<Note>) -> Option<String> {
        systemd::specifiers(text, self.prefix, &self.name)
            .map_err(|specifier| {
                let text = format!("the specifier `{specifier}` is not known to the importer");
                notes.push(self.note(NoteKind::Unmapped, place, text));
            })
            .ok()
    }

    fn note(&self, kind: NoteKind, place: &Place, text: String) -> Note {
        Note { kind, subject: self.name.clone(), place: Some(place.clone()), text }
    }

    /// A line split into words; what systemd ignores of it is reported with a corrected line.
    fn words(&self, setting: &Setting, place: &Place, notes: &mut Vec<Note>) -> Vec<String> {
        let read = systemd::words(&setting.value);
        if let Some(mistake) = read.mistake {
            let corrected = systemd::corrected(&setting.value);
            let advice = if corrected.to_ascii_lowercase().contains("token") {
                "; double each backslash that is meant as one".to_owned()
            } else if systemd::words(&corrected).mistake.is_none() {
                format!("; meant was perhaps `{}={corrected}`", setting.key)
            } else {
                String::new()
            };
            let text = format!(
                "systemd ignores the rest of this `{}=` line: {mistake}{advice}",
                setting.key
            );
            notes.push(self.note(NoteKind::Ignored, place, text));
        }
        read.words
    }

    /// The paths of its environment files, each with its place.
    pub(super) fn environment_files(&self, notes: &mut Vec<Note>) -> Vec<(String, Place)> {
        self.all("EnvironmentFile")
            .into_iter()
            .filter_map(|(setting, place)| {
                let path = setting.value.strip_prefix('-').unwrap_or(&setting.value);
                Some((self.expand(path, place, notes)?, place.clone()))
            })
            .collect()
    }

    /// The variables it runs with, as far as files say.
    pub(super) fn environment(&self, files: &[ConfigFile], notes: &mut Vec<Note>) -> Environment {
        let mut environment = Environment::new();
        for (setting, place) in self.all("Environment") {
            for word in self.words(setting, place, notes) {
                let Some(word) = self.expand(&word, place, notes) else { continue };
                if let Some((key, text)) = word.split_once('=') {
                    let value = Value { text: text.to_owned(), place: place.clone() };
                    environment.insert(key.to_owned(), value);
                } else {
                    let text = format!("`{}` is not an assignment", word.escape_debug());
                    notes.push(self.note(NoteKind::Ignored, place, text));
                }
            }
        }
        for (path, place) in self.environment_files(notes) {
            let Some(file) = files.iter().find(|file| file.path == path) else {
                let text = format!("the environment file `{path}` could not be read");
                notes.push(self.note(NoteKind::Unmapped, &place, text));
                continue;
            };
            for (key, text, line) in systemd::environment_file(&file.text) {
                let place = Place { file: path.clone(), line };
                environment.insert(key, Value { text, place });
            }
        }
        for (setting, place) in self.all("PassEnvironment") {
            for name in self.words(setting, place, notes) {
                let text =
                    format!("`{name}` comes from systemd's own environment, which was not read");
                notes.push(self.note(NoteKind::Unmapped, place, text));
            }
        }
        for (setting, place) in self.all("UnsetEnvironment") {
            for word in self.words(setting, place, notes) {
                let (key, text) =
                    word.split_once('=').map_or((word.as_str(), None), |(k, t)| (k, Some(t)));
                if environment.get(key).is_some_and(|v| text.is_none_or(|text| v.text == text)) {
                    environment.remove(key);
                }
            }
        }
        environment
    }

    /// Program and arguments of the last command that runs `prefix`, variables replaced.
    pub(super) fn command(
        &self,
        environment: &Environment,
        notes: &mut Vec<Note>,
    ) -> Option<(Vec<String>, Place)> {
        let mut found = None;
        for (setting, place) in self.all("ExecStart") {
            let words = self.words(setting, place, notes);
            let program =
                words.first().map(|word| word.trim_start_matches(['-', '@', ':', '+', '!']));
            if program.is_some_and(|p| p.rsplit('/').next() == Some(self.prefix)) {
                let words =
                    words.iter().filter_map(|word| self.expand(word, place, notes)).collect();
                found = Some((replaced(words, environment), place.clone()));
            } else {
                let program = program.unwrap_or_default().escape_debug();
                let text = format!("the command that runs `{program}` is not taken over");
                notes.push(self.note(NoteKind::Unmapped, place, text));
            }
        }
        found
    }
}

/// `${NAME}` within a word and `$NAME` as a whole word, which is split at blanks (systemd.service(5)).
fn replaced(words: Vec<String>, environment: &Environment) -> Vec<String> {
    let value = |name: &str| environment.get(name).map(|v| v.text.clone()).unwrap_or_default();
    let mut out = Vec::new();
    for mut word in words {
        if let Some(name) = word.strip_prefix('$').filter(|name| !name.starts_with(['{', '$'])) {
            out.extend(value(name).split_whitespace().map(str::to_owned));
            continue;
        }
        for _ in 0..REFERENCES_MAX {
            let Some((before, (name, after))) =
                word.split_once("${").and_then(|(b, rest)| Some((b, rest.split_once('}')?)))
            else {
                break;
            };
            word = format!("{before}{}{after}", value(name));
        }
        out.push(word.replace("$$", "$"));
    }
    out
}
