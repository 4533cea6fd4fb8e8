//! What runs distronomicon without being made from its template: units written by hand, cron, scripts.

use std::collections::BTreeSet;

use crate::desired::Place;
use crate::desired::import::distronomicon::PREFIX;
use crate::desired::import::{ConfigFile, Note, NoteKind, systemd};

/// What the path of every unit made from the template has in it.
pub(super) const TEMPLATE: &str = "/distronomicon@";

/// What systemd takes from a command line before its program.
pub(super) const PREFIXES: [char; 6] = ['-', '@', ':', '+', '!', '|'];

/// What ends a word of a shell's line, or begins another one.
const BETWEEN: &[char] = &['"', '\'', ';', '&', '|', '(', ')', '`', '$', '{', '}', '<', '>', '='];

/// The apps of a unit that runs distronomicon without being made from its template; none of any other.
pub fn apps_of_unit(file: &ConfigFile) -> BTreeSet<String> {
    if !file.path.ends_with(".service") || file.path.contains(TEMPLATE) {
        return BTreeSet::new();
    }
    let settings = systemd::settings(&file.text);
    let commands = settings.iter().filter(|s| *s.section == *"Service" && s.key == "ExecStart");
    let commands: Vec<_> = commands.collect();
    // An empty one takes back those before it.
    let counted = commands.rsplit(|command| command.value.is_empty()).next().unwrap_or_default();
    counted.iter().filter_map(|command| app_of(&systemd::words(&command.value).words)).collect()
}

/// The app that a command line runs distronomicon for.
pub(super) fn app_of(words: &[String]) -> Option<String> {
    let (_, words) = behind_env(words);
    let (program, arguments) = words.split_first()?;
    let mut arguments = arguments.iter().skip_while(|word| !word.starts_with("--app"));
    let first = arguments.next().filter(|_| base(program) == PREFIX)?;
    first.strip_prefix("--app=").map(str::to_owned).or_else(|| arguments.next().cloned())
}

/// What `env` sets for a command line, and the program that is run, with its arguments.
pub(super) fn behind_env(words: &[String]) -> (&[String], &[String]) {
    match words.split_first() {
        Some((program, rest)) if base(program) == "env" => {
            rest.split_at(rest.iter().take_while(|word| word.contains('=')).count())
        }
        _ => (&[], words),
    }
}

/// The name of a program, whatever systemd takes from in front of it.
pub(super) fn base(program: &str) -> &str {
    program.trim_start_matches(PREFIXES).rsplit('/').next().unwrap_or_default()
}

/// The line in which something runs distronomicon in a way that is not read.
pub fn unread(file: &ConfigFile) -> Option<usize> {
    if file.path.contains(TEMPLATE) || !apps_of_unit(file).is_empty() {
        return None;
    }
    // Its directories are called like it.
    let runs = |line: &str| {
        let mut words = line.split(char::is_whitespace).flat_map(|word| word.split(BETWEEN));
        line.contains("--app") && words.any(|word| base(word) == PREFIX)
    };
    let lines: Vec<(usize, String)> = if file.path.ends_with(".service") {
        let settings = systemd::settings(&file.text).into_iter();
        let commands = settings.filter(|s| s.key.starts_with("Exec"));
        commands.map(|s| (s.line, s.value)).collect()
    } else if is_cron(&file.path) {
        (1..).zip(file.text.lines().map(str::to_owned)).collect()
    } else {
        Vec::new()
    };
    let mut lines = lines.into_iter();
    let line = lines.find(|(_, line)| !line.trim_start().starts_with('#') && runs(line));
    line.map(|(number, _)| number)
}

/// Whether a file is one of cron's.
pub(super) fn is_cron(path: &str) -> bool {
    path.split('/').any(|part| part.starts_with("cron"))
}

/// Those of the files that are distronomicon's: units of the template, others with their drop-ins, and what is not read.
pub(super) fn of_updater(files: Vec<ConfigFile>) -> Vec<ConfigFile> {
    let drop_ins: Vec<String> = files
        .iter()
        .filter(|file| !apps_of_unit(file).is_empty())
        .filter_map(|file| file.path.rsplit('/').next().map(|name| format!("/{name}.d/")))
        .collect();
    let ours = |file: &ConfigFile| {
        file.path.contains(TEMPLATE)
            || !apps_of_unit(file).is_empty()
            || unread(file).is_some()
            || drop_ins.iter().any(|directory| file.path.contains(directory))
    };
    files.into_iter().filter(ours).collect()
}

/// What is to be done about what is not read.
pub(super) fn notes(files: &[ConfigFile]) -> impl Iterator<Item = Note> {
    files.iter().filter_map(|file| {
        let line = unread(file)?;
        Some(Note {
            kind: NoteKind::Todo,
            subject: file.path.rsplit('/').next().unwrap_or_default().to_owned(),
            place: Some(Place { file: file.path.clone(), line }),
            text: "it runs distronomicon in a way that is not read: write this app by hand, and take the command \
                   away here"
                .to_owned(),
        })
    })
}
