//! distronomicon's systemd units become apps.
//!
//! distronomicon has no configuration file: an app is an instance of the template
//! `distronomicon@.service`, and its settings are the environment and the command line that drop-ins
//! give it. Flags win over the environment, as they do there.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};

use crate::desired::import::by_hand::{self, TEMPLATE, is_cron};
use crate::desired::import::unit::{Environment, Instance, Value};
use crate::desired::import::{
    ConfigFile, Imported, Note, NoteKind, accepted, quoted, read, read_tree, unit,
};
use crate::desired::{CREDENTIALS, Place};
use crate::model::Name;

/// Name of the template units.
pub(super) const PREFIX: &str = "distronomicon";

/// distronomicon's own defaults (version 0.2.0).
const API_DEFAULT: &str = "https://api.github.com";
const ROOT_DEFAULT: &str = "/opt";
const RETAIN_DEFAULT: &str = "3";

/// Releases that an imported app keeps at least: one to run, one to go back to.
const RETAIN_MIN: u32 = 2;

/// Flags of distronomicon that take a value, and the variable that sets the same.
const FLAGS: [(&str, &str); 10] = [
    ("--repo", "DISTRONOMICON_REPO"),
    ("--pattern", "DISTRONOMICON_PATTERN"),
    ("--checksum-pattern", "DISTRONOMICON_CHECKSUM_PATTERN"),
    ("--restart-command", "DISTRONOMICON_RESTART_COMMAND"),
    ("--retain", "DISTRONOMICON_RETAIN"),
    ("--install-root", "DISTRONOMICON_INSTALL_ROOT"),
    ("--github-token", "GITHUB_TOKEN"),
    ("--github-host", "GITHUB_HOST"),
    ("--state-directory", "STATE_DIRECTORY"),
    ("--app", "--app"),
];

/// Variables and flags that are understood and need no counterpart.
const WITHOUT_COUNTERPART: [&str; 6] =
    ["STATE_DIRECTORY", "--lock-timeout", "--force-unlock", "--verbose", "NO_COLOR", "RUST_LOG"];

/// Reads distronomicon's units below `paths`, and the environment files they name, each from where `place` says that
/// a path of the host is.
///
/// # Errors
/// When one of `paths` or a unit cannot be read. An environment file that cannot be read is reported by
/// [`import`].
pub fn load(paths: &[PathBuf], place: impl Fn(&str) -> PathBuf) -> io::Result<Vec<ConfigFile>> {
    let files = read_tree(paths, |path: &Path| {
        let path = path.to_string_lossy();
        path.contains(TEMPLATE) || path.contains(".service") || is_cron(&path)
    })?;
    Ok(with_environment(by_hand::of_updater(files), place))
}

/// The same files, and those with variables that they name and that can be read.
pub fn with_environment(
    mut files: Vec<ConfigFile>,
    place: impl Fn(&str) -> PathBuf,
) -> Vec<ConfigFile> {
    let named: BTreeSet<String> = unit::instances(&files, PREFIX)
        .iter()
        .flat_map(|instance| instance.environment_files(&mut Vec::new()))
        .map(|(path, _)| path)
        .collect();
    for path in named {
        if files.iter().any(|file| file.path == path) {
            continue;
        }
        if let Ok(text) = read(&place(&path)) {
            files.push(ConfigFile { path, text });
        }
    }
    files
}

/// One document for all apps that `files` configure.
pub fn import(files: &[ConfigFile]) -> Imported {
    let mut notes = Vec::new();
    let mut document = Document::default();
    let instances = unit::instances(files, PREFIX);
    for instance in &instances {
        let mut app = App::read(instance, files);
        let extended = app.body().map(|body| document.with(&body, app.token.take()));
        match extended.map(|extended| (extended.refused(), extended)) {
            Some((None, extended)) => {
                document = extended;
                app.finish(instance);
            }
            refused => {
                if let Some((Some(why), _)) = refused {
                    app.note(NoteKind::Unmapped, None, why);
                }
                app.note(NoteKind::Todo, None, "write this app by hand; it was left out");
            }
        }
        notes.append(&mut app.notes);
    }
    notes.extend(by_hand::notes(files));
    if instances.is_empty() {
        notes.push(Note {
            kind: NoteKind::Info,
            subject: String::new(),
            place: None,
            text: "no unit named `distronomicon@NAME` was found".to_owned(),
        });
    }
    Imported { document: document.text(), notes }
}

/// The document so far; always one that the parser accepts.
#[derive(Clone, Debug, Default)]
struct Document {
    apps: String,
    /// Files of tokens by host.
    tokens: BTreeMap<String, String>,
}

impl Document {
    /// The same with one more app.
    fn with(&self, body: &str, token: Option<(String, String)>) -> Self {
        let mut extended = self.clone();
        extended.apps.push_str(body);
        extended.tokens.extend(token);
        extended
    }

    fn text(&self) -> String {
        let mut text =
            "# Imported from distronomicon's units. Compare with the report before use.\n"
                .to_owned();
        text.push_str(if self.apps.is_empty() { "apps: {}\n" } else { "apps:\n" });
        text.push_str(&self.apps);
        text.push_str(if self.tokens.is_empty() { "" } else { "auth:\n" });
        for (host, file) in &self.tokens {
            text.extend(["  ", &quoted(host), ": { file: ", &quoted(file), " }\n"]);
        }
        text
    }

    /// Why the parser would not accept it.
    fn refused(&self) -> Option<String> {
        accepted(&self.text()).err()
    }
}

/// One app on its way.
struct App {
    name: String,
    settings: BTreeMap<&'static str, Value>,
    skip_verification: bool,
    prereleases: bool,
    /// A host and the file of its token.
    token: Option<(String, String)>,
    notes: Vec<Note>,
}

impl App {
    fn read(instance: &Instance<'_>, files: &[ConfigFile]) -> Self {
        let mut app = Self {
            name: instance.name.clone(),
            settings: BTreeMap::new(),
            skip_verification: false,
            prereleases: false,
            token: None,
            notes: Vec::new(),
        };
        let environment = instance.environment(files, &mut app.notes);
        app.take_environment(&environment);
        app.take_flags(instance, &environment);
        app
    }

    fn note(&mut self, kind: NoteKind, place: Option<&Place>, text: impl Into<String>) {
        let (subject, place) = (self.name.clone(), place.cloned());
        self.notes.push(Note { kind, subject, place, text: text.into() });
    }

    fn take_environment(&mut self, environment: &Environment) {
        for (key, value) in environment {
            let place = Some(&value.place);
            if let Some((_, known)) = FLAGS.iter().find(|(_, variable)| variable == key) {
                self.settings.insert(known, value.clone());
            } else if key == "DISTRONOMICON_ALLOW_PRERELEASE" {
                match value.text.as_str() {
                    "true" => self.prereleases = true,
                    "false" => {}
                    _ => self.note(
                        NoteKind::Ignored,
                        place,
                        format!(
                            "`{key}` is neither `true` nor `false`: distronomicon refused to start"
                        ),
                    ),
                }
            } else if key == "PREFIX" {
                self.note(
                    NoteKind::Ignored,
                    place,
                    "`PREFIX` has no effect since distronomicon 0.2: write `DISTRONOMICON_INSTALL_ROOT`",
                );
            } else if !WITHOUT_COUNTERPART.contains(&key.as_str()) {
                self.note(NoteKind::Unmapped, place, format!("the variable `{key}` is not used"));
            }
        }
    }

    fn take_flags(&mut self, instance: &Instance<'_>, environment: &Environment) {
        let Some((argv, place)) = instance.command(environment, &mut self.notes) else { return };
        let mut words = argv.iter().skip(1);
        let mut command = None;
        while let Some(word) = words.next() {
            let (flag, inline) = match word.split_once('=') {
                Some((flag, value)) if flag.starts_with("--") => (flag, Some(value.to_owned())),
                _ => (word.as_str(), None),
            };
            if let Some((_, known)) = FLAGS.iter().find(|(name, _)| *name == flag) {
                let text = inline.or_else(|| words.next().cloned()).unwrap_or_default();
                self.settings.insert(known, Value { text, place: place.clone() });
                continue;
            }
            match flag {
                "--allow-prerelease" => self.prereleases = inline.as_deref() != Some("false"),
                "--skip-verification" => self.skip_verification = true,
                "--http-timeout" | "--lock-timeout" => {
                    let seconds = inline.or_else(|| words.next().cloned()).unwrap_or_default();
                    let text = format!("`{flag} {seconds}` has no counterpart");
                    self.note(NoteKind::Unmapped, Some(&place), text);
                }
                "-v" | "-vv" => {}
                _ if WITHOUT_COUNTERPART.contains(&flag) => {}
                _ if flag.starts_with('-') => {
                    let text = format!("the flag `{flag}` is not known");
                    self.note(NoteKind::Unmapped, Some(&place), text);
                }
                _ => command = Some(flag.to_owned()),
            }
        }
        if command.as_deref() != Some("update") {
            let text =
                "the unit does not run `update`: nothing was installed by it, and now will be";
            self.note(NoteKind::Changed, Some(&place), text);
        }
    }

    fn text(&self, key: &str) -> Option<&str> {
        self.settings.get(key).map(|value| value.text.as_str()).filter(|text| !text.is_empty())
    }

    fn place(&self, key: &str) -> Option<Place> {
        self.settings.get(key).map(|value| value.place.clone())
    }

    /// The app's lines of the document.
    fn body(&mut self) -> Option<String> {
        if let Some(app) = self.text("--app").filter(|app| *app != self.name) {
            let text = format!("the unit gives `--app {app}`: that name is used");
            self.name = app.to_owned();
            self.note(NoteKind::Changed, None, text);
        }
        if let Err(why) = self.name.parse::<Name>() {
            self.note(NoteKind::Unmapped, None, why);
            return None;
        }
        let Some(repo) = self.text("DISTRONOMICON_REPO").map(quoted) else {
            self.note(
                NoteKind::Unmapped,
                None,
                "`DISTRONOMICON_REPO` is not set: distronomicon refused to start",
            );
            return None;
        };
        let api = self.text("GITHUB_HOST").unwrap_or(API_DEFAULT).trim_end_matches('/').to_owned();
        let source = if api == API_DEFAULT {
            format!("{{ github: {repo} }}")
        } else {
            format!("{{ github: {{ repo: {repo}, api: {} }} }}", quoted(&api))
        };
        self.take_token(&api);
        let root = self.text("DISTRONOMICON_INSTALL_ROOT").unwrap_or(ROOT_DEFAULT);
        let home = quoted(&format!("{}/{}", root.trim_end_matches('/'), self.name));
        let lines = [
            format!("version: {}", self.version()),
            format!("source: {source}"),
            format!("asset: {}", self.asset()),
            format!("verify: {}", self.verify()),
            "strip: none".to_owned(),
            "binaries: any-executable".to_owned(),
            format!("home: {home}"),
            format!("retain: {}", self.retain()?),
        ];
        let mut body = format!("  {}:\n", quoted(&self.name));
        for line in lines.iter().chain(self.restart().as_ref()) {
            body.extend(["    ", line, "\n"]);
        }
        Some(body)
    }

    fn version(&self) -> &'static str {
        if self.prereleases {
            "{ want: latest, prereleases: true, order: published }"
        } else {
            "latest"
        }
    }

    fn take_token(&mut self, api: &str) {
        if self.text("GITHUB_TOKEN").is_none() {
            return;
        }
        let rest = api.split_once("://").map_or(api, |(_, rest)| rest);
        let host = rest.split('/').next().unwrap_or_default().to_ascii_lowercase();
        let file = format!("{CREDENTIALS}/{}-token", host.replace(':', "-"));
        let place = self.place("GITHUB_TOKEN");
        self.note(
            NoteKind::Todo,
            place.as_ref(),
            format!(
                "the token is not copied: put it into {file}, which only root may read, and remove it from the unit"
            ),
        );
        self.token = Some((host, file));
    }

    fn asset(&mut self) -> String {
        if let Some(pattern) = self.text("DISTRONOMICON_PATTERN") {
            return format!("{{ first_match: {} }}", quoted(pattern));
        }
        self.note(
            NoteKind::Changed,
            None,
            "no pattern reached distronomicon, so it never updated this app; `asset: auto` will",
        );
        "auto".to_owned()
    }

    fn verify(&mut self) -> String {
        if self.skip_verification {
            self.note(
                NoteKind::Changed,
                None,
                "verification was off and stays off; every plan says so. Remove `verify` to have the \
                 digest that GitHub states checked",
            );
            return "{ min: none, checksums: none }".to_owned();
        }
        if let Some(pattern) = self.text("DISTRONOMICON_CHECKSUM_PATTERN") {
            return format!("{{ min: checksum, checksums: {{ matching: {} }} }}", quoted(pattern));
        }
        self.note(
            NoteKind::Changed,
            None,
            "no checksum pattern reached distronomicon, so it refused to start; the usual checksum files \
             and the digest that GitHub states are used",
        );
        "{ min: auto }".to_owned()
    }

    fn retain(&mut self) -> Option<u32> {
        let text = self.text("DISTRONOMICON_RETAIN").unwrap_or(RETAIN_DEFAULT).to_owned();
        let place = self.place("DISTRONOMICON_RETAIN");
        let Ok(retain) = text.parse::<u32>() else {
            let text = format!("`retain` is `{}`, which is no number", text.escape_debug());
            self.note(NoteKind::Unmapped, place.as_ref(), text);
            return None;
        };
        if retain < RETAIN_MIN {
            let text = format!(
                "`retain` was {retain}, which left nothing to go back to; it becomes {RETAIN_MIN}"
            );
            self.note(NoteKind::Changed, place.as_ref(), text);
        }
        Some(retain.max(RETAIN_MIN))
    }

    /// `systemctl restart UNIT…` is recognised; everything else stays a line for the shell.
    fn restart(&mut self) -> Option<String> {
        let command = self.text("DISTRONOMICON_RESTART_COMMAND")?.to_owned();
        let mut words = command.split_whitespace();
        let systemctl =
            words.next().is_some_and(|word| word.rsplit('/').next() == Some("systemctl"));
        let restart = words.next() == Some("restart");
        let units: Vec<String> = words
            .map(
                |unit| if unit.contains('.') { unit.to_owned() } else { format!("{unit}.service") },
            )
            .collect();
        let plain = |unit: &String| {
            unit.bytes().all(|b| b.is_ascii_alphanumeric() || b"@._-:".contains(&b))
        };
        let restarted = if systemctl
            && restart
            && !units.is_empty()
            && units.iter().all(plain)
            && !units.iter().any(|u| u.starts_with('-'))
        {
            let units: Vec<String> = units.iter().map(|unit| quoted(unit)).collect();
            format!("restart: [{}]", units.join(", "))
        } else {
            format!("run: [[\"sh\", \"-c\", {}]]", quoted(&command))
        };
        self.note(
            NoteKind::Changed,
            self.place("DISTRONOMICON_RESTART_COMMAND").as_ref(),
            "the restart runs until it has succeeded once: after a failure or a crash distronomicon never \
             tried again",
        );
        Some(restarted)
    }

    /// What holds for every imported app.
    fn finish(&mut self, instance: &Instance<'_>) {
        self.note(
            NoteKind::Changed,
            None,
            "distronomicon followed GitHub back to a lower version; this is now reported and not done \
             unless `version.allow_downgrade` is true",
        );
        for (setting, place) in instance.timers() {
            let text = format!(
                "its timer has `{}={}`: passes of the agent have an interval for all resources",
                setting.key, setting.value
            );
            self.note(NoteKind::Info, Some(&place), text);
        }
        self.notes.extend(instance.around());
        if !instance.of_template {
            let text = format!(
                "{}.service runs distronomicon for it: that is the unit to disable, with its timer",
                instance.unit
            );
            return self.note(NoteKind::Todo, None, text);
        }
        if !instance.enabled {
            let text =
                "its timer is not enabled in the files read: an app that was idle becomes live";
            self.note(NoteKind::Changed, None, text);
        }
        let text =
            format!("run `systemctl disable --now {}.timer` before the first pass", instance.unit);
        self.note(NoteKind::Todo, None, text);
    }
}
