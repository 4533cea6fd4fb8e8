//! Units that run an updater, instances of its template and others, with everything their drop-ins say.

use std::collections::{BTreeMap, BTreeSet};

use crate::desired::Place;
use crate::desired::import::by_hand::{app_of, apps_of_unit, base, behind_env};
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

/// Settings of a unit that say what is done around its command, or as whom. Each is told of: none has a counterpart.
const AROUND: [(&str, &str); 14] = [
    ("Unit", "OnFailure"),
    ("Unit", "OnSuccess"),
    ("Service", "ExecCondition"),
    ("Service", "ExecStartPre"),
    ("Service", "ExecStartPost"),
    ("Service", "ExecReload"),
    ("Service", "ExecStop"),
    ("Service", "ExecStopPost"),
    ("Service", "User"),
    ("Service", "Group"),
    ("Service", "SupplementaryGroups"),
    ("Service", "DynamicUser"),
    ("Service", "UMask"),
    ("Service", "WorkingDirectory"),
];

/// One unit that runs the updater.
#[derive(Debug)]
pub(super) struct Instance<'f> {
    /// The app: the part between `@` and the type, or what a unit written by hand gives as such.
    pub(super) name: String,
    /// Its name without the type.
    pub(super) unit: String,
    /// It is made from the template.
    pub(super) of_template: bool,
    /// A link below a `.wants` directory starts it.
    pub(super) enabled: bool,
    prefix: &'f str,
    service: Vec<(Setting, Place)>,
    timer: Vec<(Setting, Place)>,
}

/// Every instance of `prefix@` that `files` name, by name, then every other unit that runs the same.
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
    let made = names.into_iter().map(|name| (name.to_owned(), format!("{prefix}@{name}"), true));
    let by_hand = files.iter().filter_map(|file| {
        let (directory, name) = split(&file.path);
        let unit = name.strip_suffix(".service").filter(|_| !is_list_of_links(directory))?;
        Some(apps_of_unit(file).into_iter().map(|app| (app, unit.to_owned(), false)))
    });
    // One of a name is the one that counts, wherever else there are more.
    let by_hand: BTreeSet<(String, String, bool)> = by_hand.flatten().collect();
    made.chain(by_hand)
        .map(|(name, unit, of_template)| Instance {
            enabled: files.iter().any(|file| {
                let (directory, file) = split(&file.path);
                let stem = file.strip_suffix(".timer").or(file.strip_suffix(".service"));
                is_list_of_links(directory) && stem == Some(&unit)
            }),
            prefix,
            service: unit_settings(files, &unit, "service"),
            timer: unit_settings(files, &unit, "timer"),
            name,
            unit,
            of_template,
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
fn unit_settings(files: &[ConfigFile], unit: &str, kind: &str) -> Vec<(Setting, Place)> {
    let own = format!("{unit}.{kind}");
    let template = unit.split_once('@').map_or(own.clone(), |(t, _)| format!("{t}@.{kind}"));
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

    fn all(&self, key: &str) -> Vec<&(Setting, Place)> {
        self.settings("Service", key)
    }

    /// The settings called `key` since the last empty one, which resets them.
    fn settings(&self, section: &str, key: &str) -> Vec<&(Setting, Place)> {
        let is_it = |s: &Setting| *s.section == *section && s.key == key;
        let all: Vec<_> = self.service.iter().filter(|(setting, _)| is_it(setting)).collect();
        let reset = all.iter().rposition(|(setting, _)| setting.value.is_empty());
        all.into_iter().skip(reset.map_or(0, |at| at + 1)).collect()
    }

    fn expand(&self, text: &str, place: &Place, notes: &mut Vec<Note>) -> Option<String> {
        systemd::specifiers(text, &self.unit)
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

    /// What is done around the update, or as whom, and is not done any more.
    pub(super) fn around(&self) -> Vec<Note> {
        let told = AROUND.iter().flat_map(|(section, key)| {
            let set = self.settings(section, key).into_iter();
            // What a command is given may be a secret.
            set.map(move |(_, place)| {
                let text = format!("`{key}=` of {}.service could not be mapped", self.unit);
                self.note(NoteKind::Unmapped, place, text)
            })
        });
        told.collect()
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
        if let Some((setting, place)) = self.own_command() {
            let words = systemd::words(&setting.value).words;
            for word in behind_env(&words).0 {
                let Some(word) = self.expand(word, place, notes) else { continue };
                if let Some((key, text)) = word.split_once('=') {
                    let value = Value { text: text.to_owned(), place: place.clone() };
                    environment.insert(key.to_owned(), value);
                }
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

    /// The last command that runs `prefix` for this app; where none names it, the last one at all.
    fn own_command(&self) -> Option<&(Setting, Place)> {
        let words = |(setting, _): &(Setting, Place)| systemd::words(&setting.value).words;
        let runs = |command: &(Setting, Place)| self.is_run_by(&words(command));
        let commands = self.all("ExecStart").into_iter().filter(|command| runs(command));
        let of_app =
            |command: &(Setting, Place)| app_of(&words(command)).as_ref() == Some(&self.name);
        commands.max_by_key(|command| of_app(command))
    }

    fn is_run_by(&self, words: &[String]) -> bool {
        behind_env(words).1.first().is_some_and(|program| base(program) == self.prefix)
    }

    /// Its program and arguments, variables replaced.
    pub(super) fn command(
        &self,
        environment: &Environment,
        notes: &mut Vec<Note>,
    ) -> Option<(Vec<String>, Place)> {
        for (setting, place) in self.all("ExecStart") {
            let words = systemd::words(&setting.value).words;
            if !self.is_run_by(&words) {
                let program = behind_env(&words).1.first().map(|program| program.escape_debug());
                let program = program.map(|program| program.to_string()).unwrap_or_default();
                let text = format!("the command that runs `{program}` is not taken over");
                notes.push(self.note(NoteKind::Unmapped, place, text));
            }
        }
        let (setting, place) = self.own_command()?;
        let all = self.words(setting, place, notes);
        let words = behind_env(&all).1.iter();
        let words = words.filter_map(|word| self.expand(word, place, notes)).collect();
        Some((replaced(words, environment), place.clone()))
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
