//! What a configuration file of another updater is of.

use std::io;
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::desired::import::{
    ConfigFile, Imported, Note, NoteKind, by_hand, go_updater, read_tree,
};

/// Updaters whose configuration is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Updater {
    /// A unit, drop-in or environment file of distronomicon.
    Distronomicon,
    /// casync-updater's client.
    CasyncUpdater,
    /// casync-updater's server.
    CasyncServer,
    /// A transfer or feature of systemd-sysupdate.
    Sysupdate,
    /// The same as updex writes it, or its own.
    Updex,
    /// go-updater or go-selfupdate.
    GoUpdater,
}

/// Reads every file below `paths`.
///
/// # Errors
/// When one of `paths` or a file cannot be read, or when there are too many.
pub fn load(paths: &[PathBuf]) -> io::Result<Vec<ConfigFile>> {
    read_tree(paths, |_: &Path| true)
}

/// Whose file it is; `None` when it is nobody's that is known.
pub fn recognise(file: &ConfigFile) -> Option<Updater> {
    let path = file.path.as_str();
    let name = path.rsplit('/').next().unwrap_or_default();
    let lines = || file.text.lines().map(str::trim_start);
    if path.contains("/distronomicon@")
        || !by_hand::apps_of_unit(file).is_empty()
        || by_hand::unread(file).is_some()
        || lines().any(|line| line.starts_with("DISTRONOMICON_"))
    {
        return Some(Updater::Distronomicon);
    }
    if name.ends_with(".catalog") || name == "00-updex.conf" || name.starts_with("updex-update.") {
        return Some(Updater::Updex);
    }
    if name.ends_with(".transfer") && keeps_instances_as_updex(&file.text) {
        return Some(Updater::Updex);
    }
    if name.ends_with(".transfer") || name.ends_with(".feature") {
        return Some(Updater::Sysupdate);
    }
    if go_updater::is_wanted(file) {
        return Some(Updater::GoUpdater);
    }
    let entries = match serde_json::from_str(&file.text) {
        Ok(Value::Array(entries)) => entries,
        Ok(entry @ Value::Object(_)) => vec![entry],
        _ => return None,
    };
    let have =
        |keys: &[&str]| entries.iter().any(|entry| keys.iter().all(|key| entry.get(key).is_some()));
    if have(&["srcIndex", "dstPath"]) {
        Some(Updater::CasyncUpdater)
    } else if have(&["index", "store", "source"]) {
        Some(Updater::CasyncServer)
    } else {
        None
    }
}

/// updex reads `InstancesMax=` in the section `[Transfer]`, where systemd has none.
fn keeps_instances_as_updex(text: &str) -> bool {
    let mut section = "";
    text.lines().map(str::trim).any(|line| {
        if line.starts_with('[') {
            section = line;
        }
        section == "[Transfer]" && line.starts_with("InstancesMax")
    })
}

/// Environment files of distronomicon that no unit names, each with the unit it would be used by: the app is
/// named like the file.
pub fn with_units(files: Vec<ConfigFile>) -> Vec<ConfigFile> {
    let is_unit = |file: &ConfigFile| {
        file.path.contains("/distronomicon@")
            || !by_hand::apps_of_unit(file).is_empty()
            || by_hand::unread(file).is_some()
    };
    let units: String =
        files.iter().filter(|file| is_unit(file)).map(|f| f.text.as_str()).collect();
    let mut made = Vec::new();
    for file in files.iter().filter(|file| !is_unit(file) && !units.contains(&file.path)) {
        let name = file.path.rsplit('/').next().unwrap_or_default();
        let name = name.strip_suffix(".env").or(name.strip_suffix(".conf")).unwrap_or(name);
        made.push(ConfigFile {
            path: format!("/etc/systemd/system/distronomicon@{name}.service"),
            text: format!("[Service]\nEnvironmentFile={}\n", file.path),
        });
    }
    files.into_iter().chain(made).collect()
}

/// How a tree of casync-updater's server is published from now on.
pub fn publishing(file: &ConfigFile) -> Imported {
    let command = format!("reconcile publish tree --config {}", file.path);
    let note = |kind, text: String| Note { kind, subject: String::new(), place: None, text };
    let notes = vec![
        note(NoteKind::Todo, format!("run `{command}` in place of `node server.js`")),
        note(
            NoteKind::Changed,
            "the index is written last and by a rename, with the same flags".to_owned(),
        ),
    ];
    Imported { document: format!("# The server's side: {command}\n"), notes }
}

/// One document of several, section by section.
pub fn joined(parts: Vec<Imported>) -> Imported {
    let mut remarks = String::new();
    let mut sections: Vec<(String, String)> = Vec::new();
    let mut notes = Vec::new();
    for part in parts {
        notes.extend(part.notes);
        let mut current = None;
        for line in part.document.lines() {
            let starts = line.starts_with(|c: char| c.is_ascii_lowercase());
            if line.starts_with('#') {
                remarks.push_str(line);
                remarks.push('\n');
            } else if starts && !line.ends_with(": {}") {
                let known = sections.iter().position(|(header, _)| header == line);
                current = known.or_else(|| {
                    sections.push((line.to_owned(), String::new()));
                    Some(sections.len() - 1)
                });
            } else if let Some((_, body)) = current.and_then(|at| sections.get_mut(at)) {
                body.push_str(line);
                body.push('\n');
            }
        }
    }
    let sections = sections.into_iter().map(|(header, body)| format!("{header}\n{body}"));
    Imported { document: remarks + &sections.collect::<String>(), notes }
}
