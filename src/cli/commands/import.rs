//! Turning another updater's configuration into a desired state.

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};

use camino::{Utf8Path, Utf8PathBuf};
use clap::ValueEnum;

use crate::cli::args::ImportKind;
use crate::cli::exit::Exit;
use crate::cli::session::Session;
use crate::cli::{CliError, mention, say};
use crate::desired::FollowAs;
use crate::desired::import::recognise::{Updater, joined, load, publishing, recognise, with_units};
use crate::desired::import::{
    ConfigFile, Imported, Note, NoteKind, casync_updater, distronomicon, go_updater, sysupdate,
};
use crate::model::outcome::{chain, counted};
use crate::provider::{components, definitions_in, left_alone};

/// Where units are when no path is given (systemd.unit(5)), and what cron reads.
const UNITS: [&str; 6] = [
    "/etc/systemd/system",
    "/run/systemd/system",
    "/usr/local/lib/systemd/system",
    "/usr/lib/systemd/system",
    "/etc/crontab",
    "/etc/cron.d",
];

/// Where casync-updater's client keeps its configuration.
const CASYNC_UPDATER: &str = "/etc/casync-updater";

/// Where systemd looks for definitions (sysupdate.d(5)).
const DEFINITIONS: [&str; 4] = ["/etc", "/run", "/usr/local/lib", "/usr/lib"];

/// Prints the YAML on standard output, or writes it to a new file; what an operator must know goes to standard error.
pub(super) fn import(
    session: &Session,
    what: &[Utf8PathBuf],
    target: Option<&str>,
    out: Option<&Utf8Path>,
) -> Result<Exit, CliError> {
    if let Some(word) = what.first().filter(|word| is_unknown(word)) {
        let known: Vec<String> = ImportKind::value_variants()
            .iter()
            .filter_map(|kind| Some(kind.to_possible_value()?.get_name().to_owned()))
            .collect();
        let why = format!(
            "`{word}` is neither a path that exists nor an updater that is known by name: {}",
            known.join(", ")
        );
        return Err(CliError::new(Exit::Usage, why));
    }
    let named = what.first().and_then(|word| ImportKind::from_str(word.as_str(), false).ok());
    let paths = if named.is_some() { what.get(1..).unwrap_or_default() } else { what };
    if let Some(missing) = paths.iter().find(|path| !path.exists()) {
        let why = format!("cannot import {missing}: there is no such file or directory");
        return Err(CliError::new(Exit::Failed, why));
    }
    let paths: Vec<PathBuf> = paths.iter().map(Into::into).collect();
    if matches!(named, Some(ImportKind::Updex)) && !paths.is_empty() {
        let why = "what updex carries out is followed where systemd looks for it, so there is no path to name; to look \
                   at another host, give its root with --root";
        return Err(CliError::new(Exit::Usage, why));
    }
    let imported = match named {
        None => recognised(session, &paths, target)?,
        Some(ImportKind::CasyncUpdater) => {
            let usual = vec![session.host.real(CASYNC_UPDATER).into()];
            let paths = if paths.is_empty() { usual } else { paths };
            let unread = |e| unreadable("casync-updater's configuration", &e);
            casync_updater::import(&casync_updater::load(&paths).map_err(unread)?)
        }
        Some(ImportKind::Sysupdate) if paths.is_empty() => definitions(session, Updater::Sysupdate),
        Some(ImportKind::Sysupdate) => extensions(session, &paths)?,
        Some(ImportKind::Updex) => definitions(session, Updater::Updex),
        Some(ImportKind::Distronomicon) => units(session, paths)?,
    };
    for note in &imported.notes {
        mention(&note.to_string());
    }
    if imported.is_empty() {
        let why = "nothing was found that could be imported".to_owned();
        return Err(CliError::new(Exit::Failed, why));
    }
    match out {
        None => say(&imported.document),
        Some(file) => save(file, &imported.document)?,
    }
    Ok(Exit::Ok)
}

/// Writes to a file that is not there yet: what somebody wrote by hand is not replaced.
#[expect(clippy::disallowed_methods, reason = "a file that somebody named, not the managed host")]
fn save(file: &Utf8Path, document: &str) -> Result<(), CliError> {
    // A new host has no directory for the desired state yet.
    let made = file.parent().map_or(Ok(()), std::fs::create_dir_all);
    let created = made.and_then(|()| File::create_new(file));
    let written = created.and_then(|mut out| out.write_all(document.as_bytes()));
    written.map_err(|error| {
        let why = format!("cannot write {file}: {}", chain(&error));
        CliError::new(Exit::CannotWrite, why)
    })
}

/// A word without a slash that is no path and names no updater.
fn is_unknown(word: &Utf8PathBuf) -> bool {
    !word.as_str().contains('/')
        && !word.exists()
        && ImportKind::from_str(word.as_str(), false).is_err()
}

fn unreadable(what: &str, error: &std::io::Error) -> CliError {
    CliError::new(Exit::Failed, format!("cannot read {what}: {}", chain(error)))
}

fn units(session: &Session, paths: Vec<PathBuf>) -> Result<Imported, CliError> {
    let usual = || {
        let units = UNITS.iter().map(|path| session.host.real(path));
        units.filter(|path| path.exists()).map(Into::into).collect()
    };
    let paths = if paths.is_empty() { usual() } else { paths };
    let place = |path: &str| session.host.real(path).into_std_path_buf();
    let mut files =
        distronomicon::load(&paths, place).map_err(|e| unreadable("distronomicon's units", &e))?;
    as_the_host_sees_them(session, &mut files);
    Ok(distronomicon::import(&files))
}

/// Which of two units wins depends on its place, as the managed host sees it.
fn as_the_host_sees_them(session: &Session, files: &mut [ConfigFile]) {
    for file in files {
        if let Some(inside) = file.path.strip_prefix(session.host.root().as_str()) {
            file.path = format!("/{}", inside.trim_start_matches('/'));
        }
    }
}

/// Imports whatever the files are of.
fn recognised(
    session: &Session,
    paths: &[PathBuf],
    target: Option<&str>,
) -> Result<Imported, CliError> {
    let files = load(paths).map_err(|e| unreadable("what is to be imported", &e))?;
    let is_named =
        |file: &ConfigFile| paths.iter().any(|path| path.as_path() == Path::new(&file.path));
    let of = |wanted: Updater| -> Vec<ConfigFile> {
        files.iter().filter(|file| recognise(file) == Some(wanted)).cloned().collect()
    };
    let mut parts = Vec::new();
    let place = |path: &str| session.host.real(path).into_std_path_buf();
    let mut units = distronomicon::with_environment(of(Updater::Distronomicon), place);
    if !units.is_empty() {
        as_the_host_sees_them(session, &mut units);
        parts.push(distronomicon::import(&with_units(units)));
    }
    let programs = of(Updater::GoUpdater);
    if !programs.is_empty() {
        parts.push(go_updater::import(&programs, target));
    }
    let trees = of(Updater::CasyncUpdater);
    if !trees.is_empty() {
        parts.push(casync_updater::import(&trees));
    }
    parts.extend(of(Updater::CasyncServer).iter().map(publishing));
    let (sysupdate, updex) = (of(Updater::Sysupdate), of(Updater::Updex));
    if !sysupdate.is_empty() || !updex.is_empty() {
        let carrier = if updex.is_empty() { Updater::Sysupdate } else { Updater::Updex };
        let mut imported = definitions(session, carrier);
        imported.notes.extend(elsewhere(session, sysupdate.iter().chain(&updex)));
        parts.push(imported);
    }
    let mut imported = joined(parts);
    for file in files.iter().filter(|file| is_named(file) && recognise(file).is_none()) {
        let text = format!("{} is of no updater that is known", file.path);
        imported.notes.push(note(NoteKind::Unmapped, text));
    }
    Ok(imported)
}

fn note(kind: NoteKind, text: String) -> Note {
    Note { kind, subject: String::new(), place: None, text }
}

/// Definitions that stand where nobody looks for them.
fn elsewhere<'f>(session: &Session, files: impl Iterator<Item = &'f ConfigFile>) -> Option<Note> {
    let is_found = |file: &&ConfigFile| {
        DEFINITIONS.iter().any(|directory| {
            let place = session.host.real(format!("{directory}/sysupdate."));
            file.path.starts_with(place.as_str())
        })
    };
    let mut stray = files.filter(|file| !is_found(file));
    let first = stray.next()?;
    let (what, them) = match stray.count() {
        0 => (format!("{} stands", first.path), "it"),
        more => (format!("{} and {more} more stand", first.path), "them"),
    };
    let text = format!(
        "{what} where neither systemd nor reconcile looks: move {them} to /etc/sysupdate.d"
    );
    Some(note(NoteKind::Todo, text))
}

/// Turns the definitions of directories into extensions.
fn extensions(session: &Session, paths: &[PathBuf]) -> Result<Imported, CliError> {
    let mut said = Vec::new();
    let mut transfers = Vec::new();
    for path in paths {
        let unread = |why: std::io::Error| unreadable(&path.display().to_string(), &why);
        let whole = path.canonicalize().map_err(unread)?;
        let whole = Utf8PathBuf::try_from(whole).map_err(|e| unread(e.into_io_error()))?;
        if !whole.is_dir() {
            return Err(unread(std::io::ErrorKind::NotADirectory.into()));
        }
        transfers.extend(definitions_in(&whole, &session.host, &mut said).transfers);
    }
    let mut imported = sysupdate::import(&transfers);
    imported.notes.extend(said.into_iter().map(|text| note(NoteKind::Info, text)));
    Ok(imported)
}

/// Definitions change with the operating system, so they are followed and not copied.
fn definitions(session: &Session, carrier: Updater) -> Imported {
    let mut said = Vec::new();
    let found = components(&session.host, &mut said);
    let as_what = if carrier == Updater::Updex { FollowAs::Updex } else { FollowAs::Sysupdate };
    let left = found.iter().flat_map(|component| left_alone(&session.host, component, as_what));
    let left: Vec<Note> = left.map(|text| note(NoteKind::Unmapped, text)).collect();
    let transfers: usize = found.iter().map(|component| component.transfers.len()).sum();
    let transfers = transfers.saturating_sub(left.len());
    let mut notes: Vec<Note> = said.into_iter().map(|text| note(NoteKind::Info, text)).collect();
    notes.extend(left);
    let found = counted(transfers, "transfer");
    if transfers == 0 {
        let text = format!("{found} found that could be followed");
        notes.push(note(NoteKind::Info, text));
        return Imported { document: String::new(), notes };
    }
    let are = if transfers == 1 { "it is followed" } else { "they are followed" };
    notes.push(note(NoteKind::Info, format!("{found} found; {are}, not copied")));
    let (word, timer) = match carrier {
        Updater::Updex => ("updex", "updex-update.timer"),
        _ => ("sysupdate", "systemd-sysupdate.timer"),
    };
    let text = format!("run `systemctl disable --now {timer}`: both would carry them out");
    notes.push(note(NoteKind::Todo, text));
    let document = format!(
        "# Follows this host's own sysupdate.d and sysupdate.COMPONENT.d.\nsysupdate: {{ as: {word} }}\n"
    );
    Imported { document, notes }
}
