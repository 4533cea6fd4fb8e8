//! Answers as text, as systemd-sysupdate prints them.

use std::fmt::Write;

use jiff::Timestamp;
use jiff::tz::TimeZone;

use crate::cli::output::table::Align::{Center, Left, Right};
use crate::cli::output::table::{Legend, table};
use crate::format::sysupdate::document::{Content, FeatureDetail, VersionDetail};
use crate::format::sysupdate::sets::{Flag, UpdateSet, UpdateSets};

/// Whether something is, in a word.
const YES_NO: fn(bool) -> &'static str = |is| if is { "yes" } else { "no" };

/// What stands for a value that there is none of.
const NONE: &str = "-";

/// `list`.
pub(super) fn list(sets: &UpdateSets, legend: Legend) -> String {
    let mark = |is: bool| if is { "✓" } else { "" }.to_owned();
    let row = |set: &UpdateSet| {
        vec![
            set.flags.glyph().to_owned(),
            set.version.clone(),
            mark(set.flags.has(Flag::Installed)),
            mark(set.flags.has(Flag::Available)),
            set.flags.assessment(),
        ]
    };
    let rows: Vec<Vec<String>> = sets.all().iter().map(row).collect();
    let columns = [
        ("", Right),
        ("VERSION", Left),
        ("INSTALLED", Center),
        ("AVAILABLE", Center),
        ("ASSESSMENT", Left),
    ];
    table(&columns, &rows, legend)
}

/// `list VERSION`.
pub(super) fn version(set: &UpdateSet, detail: &VersionDetail, legend: Legend) -> String {
    let flags = set.flags;
    let newest = |is: bool| if is && detail.newest { " (newest)" } else { "" };
    let mut text = format!(
        "{} Version: {}\n    State: {}\nInstalled: {}{}",
        flags.glyph(),
        detail.version,
        flags.assessment(),
        YES_NO(detail.installed),
        newest(detail.installed),
    );
    let progress = [
        (detail.incomplete, "incomplete"),
        (detail.partial, "partial"),
        (detail.pending, "pending"),
    ];
    for (_, said) in progress.iter().filter(|(is, _)| *is) {
        let _ = write!(text, " ({said})");
    }
    let _ = write!(
        text,
        "\nAvailable: {}{}\nProtected: {}\n Obsolete: {}\n",
        YES_NO(detail.available),
        newest(!detail.installed),
        YES_NO(detail.protected && detail.installed),
        YES_NO(detail.obsolete),
    );
    for url in &detail.changelog_urls {
        let _ = writeln!(text, "ChangeLog: {url}");
    }
    text.push('\n');
    text + &contents(&detail.contents, legend)
}

fn contents(contents: &[Content], legend: Legend) -> String {
    let known = Content::keys(contents);
    let mut columns = vec![("TYPE", Left), ("PATH", Left)];
    columns.extend(known.iter().map(|column| match *column {
        "ptuuid" => ("PTUUID", Left),
        "ptflags" => ("PTFLAGS", Left),
        "mtime" => ("MTIME", Right),
        "mode" => ("MODE", Right),
        "size" => ("SIZE", Right),
        "tries-done" => ("TRIES-DONE", Right),
        "tries-left" => ("TRIES-LEFT", Right),
        "noauto" => ("NOAUTO", Left),
        "ro" => ("RO", Left),
        "growfs" => ("GROWFS", Left),
        _ => ("SHA256", Left),
    }));
    let row = |content: &Content| {
        let mut row = vec![content.kind.clone(), content.path.clone()];
        row.extend(known.iter().map(|column| cell(content, column)));
        row
    };
    let rows: Vec<Vec<String>> = contents.iter().map(row).collect();
    table(&columns, &rows, legend)
}

fn cell(content: &Content, column: &str) -> String {
    let shown = match column {
        "mtime" => content.mtime.and_then(at),
        "mode" => content.mode.map(|mode| format!("{mode:04o}")),
        "ptflags" => content.ptflags.map(|flags| format!("{flags:#x}")),
        _ => match content.value(column) {
            None => None,
            Some(serde_json::Value::String(text)) => Some(text),
            Some(serde_json::Value::Bool(is)) => Some(YES_NO(is).to_owned()),
            Some(other) => Some(other.to_string()),
        },
    };
    shown.unwrap_or_else(|| NONE.to_owned())
}

/// A time in microseconds since 1970, as systemd writes times.
fn at(microseconds: u64) -> Option<String> {
    let at = Timestamp::from_microsecond(i64::try_from(microseconds).ok()?).ok()?;
    Some(at.to_zoned(TimeZone::system()).strftime("%a %Y-%m-%d %H:%M:%S %Z").to_string())
}

/// `features`.
pub(super) fn features(features: &[FeatureDetail], legend: Legend) -> String {
    let mark = |is: bool| if is { "✓" } else { "✗" }.to_owned();
    let row = |feature: &FeatureDetail| {
        vec![
            mark(feature.enabled),
            feature.suggested.map_or(NONE.to_owned(), mark),
            feature.id.clone(),
            feature.description.clone().unwrap_or_else(|| NONE.to_owned()),
            match feature.documentation.as_slice() {
                [] => NONE.to_owned(),
                urls => urls.join(" "),
            },
        ]
    };
    let rows: Vec<Vec<String>> = features.iter().map(row).collect();
    let columns = [
        ("ENABLED", Left),
        ("SUGGESTED", Left),
        ("FEATURE", Left),
        ("DESCRIPTION", Left),
        ("DOCUMENTATION", Left),
    ];
    let mut text = table(&columns, &rows, legend);
    if legend == Legend::Shown && !rows.is_empty() {
        let _ = write!(text, "\n{} features listed.\n", rows.len());
    }
    text
}

/// `features NAME`.
pub(super) fn feature(feature: &FeatureDetail, legend: Legend) -> String {
    let mut rows = vec![
        vec!["Name:".to_owned(), feature.id.clone()],
        vec!["Enabled:".to_owned(), YES_NO(feature.enabled).to_owned()],
    ];
    let mut add = |key: &str, value: Option<String>| {
        rows.extend(value.map(|value| vec![key.to_owned(), value]));
    };
    let joined = |values: &[String]| (!values.is_empty()).then(|| values.join(" "));
    add("Suggested:", feature.suggested.map(|is| YES_NO(is).to_owned()));
    add("Description:", feature.description.clone());
    add("Documentation:", joined(&feature.documentation));
    add("AppStream:", feature.app_stream.clone());
    add("Transfers:", joined(&feature.transfers));
    table(&[("KEY", Right), ("VALUE", Left)], &rows, legend)
}
