//! Units that run distronomicon without being made from its template.

use crate::desired::import::distronomicon::PREFIX;
use crate::desired::import::{ConfigFile, Note, NoteKind, systemd};

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

/// The same files, each such unit as the instance of the template that is named like its app; the other names are
/// those of the units.
pub fn as_instances(files: Vec<ConfigFile>) -> (Vec<ConfigFile>, Vec<Note>) {
    let mut notes = Vec::new();
    let renamed = files.into_iter().map(|file| {
        let Some(app) = app_of_unit(&file) else { return file };
        let unit = file.path.rsplit('/').next().unwrap_or_default();
        notes.push(Note {
            kind: NoteKind::Todo,
            subject: app.clone(),
            place: None,
            text: format!(
                "{unit} runs distronomicon for it: that is the unit to disable, with its timer"
            ),
        });
        ConfigFile { path: format!("/etc/systemd/system/{PREFIX}@{app}.service"), ..file }
    });
    (renamed.collect(), notes)
}
