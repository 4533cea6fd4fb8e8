//! Definitions of systemd-sysupdate as extensions of the desired state.
//!
//! A transfer whose images are named and linked as ours are becomes an extension with everything where it is. Every other
//! one is named with what keeps it from that: it can be followed where the host has it.

use std::collections::BTreeSet;
use std::fmt::Write;

use camino::Utf8Path;

use crate::desired::Place;
use crate::desired::import::{Imported, Note, NoteKind, quoted};
use crate::format::sysupdate::definition::{
    INSTANCES_DEFAULT, SourceKind, Standing, TargetKind, Transfer,
};
use crate::format::sysupdate::pattern::Pattern;
use crate::model::{ExtensionClass, Name};
use crate::resource::extension::layout::{class_at, class_of};

/// Most images that are kept.
const RETAIN_MAX: u64 = 1000;

/// How the images of a transfer are found by systemd.
struct Found {
    name: Name,
    class: ExtensionClass,
    layout: &'static str,
}

/// Turns transfers into extensions.
pub fn import(transfers: &[Transfer]) -> Imported {
    let mut document = "extensions:\n".to_owned();
    let mut notes = Vec::new();
    let mut names = BTreeSet::new();
    for transfer in transfers {
        let unmapped = |text: String| Note {
            kind: NoteKind::Unmapped,
            subject: transfer.id.clone(),
            place: Some(Place { file: transfer.file.clone(), line: 1 }),
            text,
        };
        match found(transfer) {
            Ok(found) if !names.insert(found.name.clone()) => {
                notes.push(unmapped(format!("another transfer is extension/{} already", found.name)));
            }
            Ok(found) => {
                extension(&mut document, transfer, &found);
                notes.extend(dropped(transfer).map(unmapped));
            }
            Err(why) if matches!(transfer.standing, Standing::NotOurs { .. }) => {
                notes.push(unmapped(format!("{why}; leave it to systemd-sysupdate")));
            }
            Err(why) => notes.push(unmapped(format!(
                "{why}; to carry it out as it is, put it where systemd looks and follow that: `sysupdate: {{ as: \
                 sysupdate }}`, or `sysupdate: {{ as: updex }}` where updex does that now"
            ))),
        }
    }
    if names.is_empty() {
        return Imported { document: String::new(), notes };
    }
    let note = |kind, text: &str| Note {
        kind,
        subject: String::new(),
        place: None,
        text: text.to_owned(),
    };
    if names.len() > 1 {
        let text = "each extension is updated by itself: a version that another one lacks is installed all the same";
        notes.push(note(NoteKind::Changed, text));
    }
    let text = "versions that say of themselves that they are prereleases are passed over unless `version` names them";
    notes.push(note(NoteKind::Changed, text));
    let text = "take the definitions away where systemd looks for them, or run `systemctl disable --now \
                systemd-sysupdate.timer`: both would carry them out";
    notes.push(note(NoteKind::Todo, text));
    Imported { document, notes }
}

/// The extension that a transfer is; what keeps it from being one.
fn found(transfer: &Transfer) -> Result<Found, String> {
    if let Standing::NotOurs { why } = &transfer.standing {
        return Err(why.join("; "));
    }
    if matches!(transfer.source.kind, SourceKind::Directory | SourceKind::Subvolume) {
        return Err("its source has directories, and extensions are made of files".to_owned());
    }
    let target = &transfer.target;
    let directory = Utf8Path::new(&target.path);
    let link = target.current_symlink.as_ref().map(|link| directory.join(link));
    let (name, layout) = match (&link, target.kind) {
        (Some(link), TargetKind::RegularFile) => (file(link).strip_suffix(".raw"), "link"),
        (Some(link), _) => (Some(file(link)), "directory"),
        (None, TargetKind::RegularFile) => (file(directory).strip_suffix(".raw.v"), "versioned"),
        (None, _) => (None, "directory"),
    };
    let place = link.as_deref().unwrap_or(directory).parent().unwrap_or(directory);
    let (Some(name), Some(class)) = (name, class_of(place)) else {
        return Err("its images are not linked where an extension is".to_owned());
    };
    if link.is_some() && class_at(directory, None).is_some() {
        return Err(format!(
            "its images are in {directory}, where systemd merges each of them beside the one that is linked"
        ));
    }
    let linked = class.search_directory();
    if layout != "versioned" && place != linked {
        return Err(format!(
            "extensions of a desired state are linked in {linked}, and this one is in {place}"
        ));
    }
    let name: Name = name.parse().map_err(|why| format!("it cannot be called {name}: {why}"))?;
    let ending = if layout == "directory" { "" } else { ".raw" };
    let expected = format!("{name}_@v{ending}");
    if target.patterns.first().map(Pattern::as_str) != Some(&expected) {
        return Err(format!("its images are not named {expected}"));
    }
    Ok(Found { name, class, layout })
}

/// What is written in a transfer and has no word in a desired state.
fn dropped(transfer: &Transfer) -> impl Iterator<Item = String> {
    let target = &transfer.target;
    let set = [
        (target.mode.is_some(), "Mode", "images get 0644, or what the list states"),
        (target.read_only.is_some(), "ReadOnly", "images can be written to"),
        (target.tries_left.is_some(), "TriesLeft", "boots are not counted"),
        (target.tries_done.is_some(), "TriesDone", "boots are not counted"),
        (!target.remove_temporary, "RemoveTemporary", "what is half-done is always taken away"),
        (!transfer.change_log.is_empty(), "ChangeLog", "it has nothing to show there"),
        (!transfer.app_stream.is_empty(), "AppStream", "it has nothing to show there"),
    ];
    let set = set.into_iter().filter(|(is_set, ..)| *is_set);
    set.map(|(_, key, what)| format!("{key}= is not carried over: {what}"))
}

fn file(path: &Utf8Path) -> &str {
    path.file_name().unwrap_or_default()
}

fn extension(document: &mut String, transfer: &Transfer, found: &Found) {
    let source = transfer.source.path.as_str();
    let local = source.strip_prefix("file://").unwrap_or(source);
    let web = source.starts_with("http");
    let (key, place) = if web { ("url", source.trim_end_matches('/')) } else { ("path", local) };
    let list =
        |texts: &mut dyn Iterator<Item = &str>| texts.map(quoted).collect::<Vec<_>>().join(", ");
    let patterns = list(&mut transfer.source.patterns.iter().map(Pattern::as_str));
    let mut line = |text: String| {
        let _ = writeln!(document, "{text}");
    };
    line(format!("  {}:", found.name));
    line(format!("    # {}", transfer.file));
    let place = quoted(place);
    line(format!("    source: {{ sysupdate: {{ {key}: {place}, match: [{patterns}] }} }}"));
    line("    order: uapi".to_owned());
    if found.class == ExtensionClass::Confext {
        line("    class: confext".to_owned());
    }
    line(format!("    layout: {}", found.layout));
    line(format!("    home: {}", quoted(&transfer.target.path)));
    let kept = transfer.target.kept(INSTANCES_DEFAULT).unwrap_or(RETAIN_MAX).min(RETAIN_MAX);
    line(format!("    retain: {kept}"));
    let signed = matches!(transfer.source.kind, SourceKind::UrlFile | SourceKind::UrlTar);
    match (signed && transfer.verify, web) {
        (true, true) | (false, false) => {}
        (true, false) => line("    verify: { min: signature }".to_owned()),
        (false, true) => line("    verify: { min: checksum }".to_owned()),
    }
    if let Some(version) = &transfer.min_version {
        line(format!("    min_version: {}", quoted(version)));
    }
    for (key, texts) in [
        ("protect", &transfer.protected_versions),
        ("features", &transfer.features),
        ("requisite_features", &transfer.requisite_features),
    ] {
        if !texts.is_empty() {
            line(format!("    {key}: [{}]", list(&mut texts.iter().map(String::as_str))));
        }
    }
}
