//! Units that run distronomicon without being made from its template.

use crate::desired::import::distronomicon::PREFIX;
use crate::desired::import::{ConfigFile, Imported, Note, NoteKind, systemd};

/// What the path of every unit made from the template has in it.
pub(super) const TEMPLATE: &str = "/distronomicon@";

/// The app of a unit that runs distronomicon without being made from its template.
pub fn app_of_unit(file: &ConfigFile) -> Option<String> {
    if !file.path.ends_with(".service") || file.path.contains(TEMPLATE) {
        return None;
    }
    let settings = systemd::settings(&file.text);
    let commands = settings.iter().filter(|s| s.section == "Service" && s.key == "ExecStart");
    commands.map(|command| systemd::words(&command.value).words).find_map(|words| {
        let (program, arguments) = words.split_first()?;
        let program = program.trim_start_matches(['-', '@', ':', '+', '!']);
        let mut arguments = arguments.iter().skip_while(|word| !word.starts_with("--app"));
        let first = arguments.next().filter(|_| program.rsplit('/').next() == Some(PREFIX))?;
        first.strip_prefix("--app=").map(str::to_owned).or_else(|| arguments.next().cloned())
    })
}

/// A unit that is taken for an instance of the template.
#[derive(Clone, Debug)]
pub struct Taken {
    app: String,
    /// Its path, and that of the instance.
    unit: String,
    instance: String,
}

/// The same files, each such unit as the instance of the template that is named like its app.
pub fn as_instances(files: Vec<ConfigFile>) -> (Vec<ConfigFile>, Vec<Taken>) {
    let mut taken = Vec::new();
    let renamed = files.into_iter().map(|file| {
        let Some(app) = app_of_unit(&file) else { return file };
        let instance = format!("/etc/systemd/system/{PREFIX}@{app}.service");
        taken.push(Taken { app, unit: file.path.clone(), instance: instance.clone() });
        ConfigFile { path: instance, ..file }
    });
    (renamed.collect(), taken)
}

/// What was imported, with the places where those units really are, and what to disable of them.
pub fn as_they_are(mut imported: Imported, taken: &[Taken]) -> Imported {
    for Taken { app, unit, instance } in taken {
        imported.document = imported.document.replace(instance, unit);
        // There is no such timer.
        let timer = format!("{PREFIX}@{app}.timer");
        imported.notes.retain(|note| !note.text.contains(&timer));
        for place in imported.notes.iter_mut().filter_map(|note| note.place.as_mut()) {
            if place.file == *instance {
                place.file.clone_from(unit);
            }
        }
        let name = unit.rsplit('/').next().unwrap_or_default();
        imported.notes.push(Note {
            kind: NoteKind::Todo,
            subject: app.clone(),
            place: None,
            text: format!(
                "{name} runs distronomicon for it: that is the unit to disable, with its timer"
            ),
        });
    }
    imported
}
