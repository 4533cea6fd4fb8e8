//! A plan for people.

use std::fmt::Write;

use crate::cli::output::contents;
use crate::cli::output::json::About;
use crate::cli::output::transfers::transfers;
use crate::cli::output::units::bytes;
use camino::Utf8Path;

use crate::model::contents::KeptForeign;
use crate::model::extension::{ImageMove, LinkTo};
use crate::model::manifest::Binary;
use crate::model::outcome::counted;
use crate::model::plan::{Blocked, Change, InUse, PlanSummary};
use crate::model::step::{AssembleRules, DeleteMax, ExchangeBy, Expected};
use crate::model::{Action, Drift, Effect, Plan, Step};

/// Renders a plan. The same value gives the same text.
pub fn plan(plan: &Plan, about: &About) -> String {
    let mut text = String::new();
    let managed = plan.changes.len() + plan.unchanged.len() + plan.blocked.len();
    if plan.changes.is_empty() && plan.blocked.is_empty() {
        notes(&mut text, &plan.notes);
        let checked = counted(managed, "resource");
        let wish = about.revision.as_ref().map(ToString::to_string);
        let wish = wish.unwrap_or_else(|| about.desired.join(", "));
        let _ = match wish.as_str() {
            "" => writeln!(text, "No changes. Nothing in the desired state is for this host."),
            wish => {
                let but = if plan.notes.is_empty() { "" } else { ", but for what is noted above" };
                writeln!(text, "No changes. The host is as {wish} says ({checked}){but}.")
            }
        };
        return text;
    }
    if let Some(revision) = &about.revision {
        let _ = writeln!(text, "Desired state: {revision}.\n");
    }
    drift(&mut text, &plan.changes);
    let (changes, blocked) = (&plan.changes, &plan.blocked);
    if !changes.is_empty() {
        text.push_str("Changes:\n");
        for one in changes {
            change(&mut text, one);
        }
        text.push('\n');
    }
    if !blocked.is_empty() {
        text.push_str("Blocked:\n");
        for (index, one) in blocked.iter().enumerate() {
            // One reason for several is told once, after the last of them.
            let next = blocked.get(index + 1);
            let again = next.is_some_and(|next| next.message == one.message);
            blocked_wish(&mut text, one, (!again).then_some(&one.message));
        }
        text.push('\n');
    }
    notes(&mut text, &plan.notes);
    let status = plan.summary();
    if !status.disruption.is_empty() {
        let _ = writeln!(text, "Disruption: {}.\n", status.disruption.join(", "));
    }
    let _ = writeln!(text, "Plan {}: {}.", plan.name().short(), summary(&status));
    text
}

/// `1 to install, 1 to upgrade, 1 blocked, 3 unchanged; fetch 14.2 MiB`.
pub fn summary(status: &PlanSummary) -> String {
    let mut parts: Vec<String> =
        status.actions.iter().map(|(action, number)| format!("{number} to {action}")).collect();
    if status.blocked > 0 {
        parts.push(format!("{} blocked", status.blocked));
    }
    if status.unchanged > 0 {
        parts.push(format!("{} unchanged", status.unchanged));
    }
    let mut text = parts.join(", ");
    let fetched = bytes(status.fetch_bytes);
    let _ = match (status.fetch_bytes, status.fetch_unknown) {
        (0, 0) => Ok(()),
        (_, 0) => write!(text, "; fetch {fetched}"),
        (0, _) => write!(text, "; fetch an unknown size"),
        _ => write!(text, "; fetch at least {fetched}"),
    };
    text
}

/// More paths of a tree than this are counted, not listed.
const PATHS_SHOWN: usize = 20;

/// More kept paths than this are counted, not listed.
const KEPT_SHOWN: usize = 5;

/// More differences than this are counted, not listed.
const DRIFT_SHOWN: usize = 20;

fn drift(text: &mut String, changes: &[Change]) {
    let drifted: Vec<&Drift> = changes.iter().flat_map(|c| &c.drift).collect();
    if drifted.is_empty() {
        return;
    }
    text.push_str("Drift (changed outside reconcile):\n");
    for one in drifted.iter().take(DRIFT_SHOWN) {
        let _ = writeln!(text, "  ! {}", one.path);
        let _ = writeln!(text, "      - {}", one.expected);
        let _ = writeln!(text, "      + {}", one.found);
    }
    if drifted.len() > DRIFT_SHOWN {
        let _ = writeln!(text, "  … and {} more", drifted.len() - DRIFT_SHOWN);
    }
    text.push('\n');
}

/// What somebody wrote in several lines, and what a program printed.
pub fn in_one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// The sign of an action, as in a diff.
pub fn sign(action: Action) -> char {
    match action {
        Action::Install => '+',
        Action::Upgrade => '^',
        Action::Downgrade => 'v',
        Action::Replace | Action::Repair | Action::Move => '~',
        Action::Remove => '-',
        Action::Tidy => '.',
        Action::Fetch => '>',
    }
}

fn change(text: &mut String, change: &Change) {
    let _ = writeln!(
        text,
        "  {} {:<20} {}",
        sign(change.action),
        change.resource.to_string(),
        headline(change)
    );
    let place = change.declared_at.as_ref().map_or(String::new(), |at| format!(" ({at})"));
    let _ = writeln!(text, "      {}: {}{place}", change.attribution.name(), change.reason);
    for line in transfers(change).into_iter().chain(diff(change)) {
        let _ = writeln!(text, "      {line}");
    }
}

/// `upgrade 14.1.0 -> 14.1.1 (latest)`.
pub fn headline(change: &Change) -> String {
    let version = |in_use: &Option<InUse>| in_use.as_ref().map(|i| i.version.to_string());
    let (before, after) = (version(&change.before), version(&change.after));
    let versions = match (&before, &after) {
        (Some(before), Some(after)) if before != after => format!(" {before} -> {after}"),
        (_, Some(version)) | (Some(version), None) => format!(" {version}"),
        (None, None) => String::new(),
    };
    let floating = change.after.as_ref().filter(|after| after.floating);
    let floating = floating.and_then(|a| a.requested.clone()).map(|r| format!(" ({r})"));
    format!("{}{versions}{}", change.action.name(), floating.unwrap_or_default())
}

/// What changes on disk, line by line: `-` goes, `+` comes.
pub fn diff(change: &Change) -> Vec<String> {
    let mut lines = Vec::new();
    for step in &change.steps {
        match step {
            Step::Promote { from, to, replaces } => {
                let sign = if *replaces { '~' } else { '+' };
                // What is hidden until it is shown is told then.
                if is_shown(change, to) {
                    continue;
                }
                // The manifest beside an image is no news.
                if is_image(change, from) {
                    lines.push(format!("{sign} {to}"));
                } else if !to.file_name().is_some_and(|name| name.starts_with('.')) {
                    lines.push(format!("{sign} {to}/"));
                }
            }
            Step::Point { links, .. } => lines.extend(links.iter().flat_map(pointed)),
            Step::Pick { shows, hides, .. } => lines.extend(picked(change, shows, hides)),
            Step::Merged { .. } => {
                lines.push(format!("? systemd must have merged it{}", undo(change)));
            }
            Step::Remove { path, .. } if is_manifest(path) || is_hidden(change, path) => {}
            Step::Switch { bin, release, links, expects, .. } => {
                let expects = expects.as_deref().unwrap_or_default();
                lines.extend(switched(bin, release, links.as_deref(), expects));
            }
            Step::Install { .. } | Step::Try { .. } => lines.extend(in_place(step)),
            Step::Exchange { tree, path, by, keeps, .. } => {
                lines.extend(keeps.iter().filter_map(|keeps| kept(keeps)));
                let how = if *by == ExchangeBy::InPlace { ", file by file" } else { "" };
                lines.push(format!("~ {path}/ from {tree}{how}"));
            }
            Step::OweIfChanged { paths, effect } => {
                let paths = paths.join(", ");
                lines.push(format!("* if {paths} changed: {}", effect.describe()));
            }
            Step::Assemble { rules, .. } => lines.extend(removal_limit(change, rules)),
            Step::Remove { path, .. } => lines.push(format!("- {path}")),
            Step::Refresh { copy, .. } => {
                lines.push(format!("~ {} (the offline copy, by verified chunks)", copy.index));
            }
            Step::Settle { effect } if is_conditional(change, effect) => {}
            Step::Settle { effect } => lines.push(format!("* {}", effect.describe())),
            Step::Forgive { effect, why } => {
                lines.push(format!("* not any more: {} ({why})", effect.describe()));
            }
            Step::Confirm { check, .. } => {
                let within = check.deadline_ms.div_ceil(1000);
                lines.push(format!(
                    "? {} must hold within {within} s{}",
                    check.describe(),
                    undo(change)
                ));
            }
            Step::Fetch { .. }
            | Step::Unpack { .. }
            | Step::Place { .. }
            | Step::Owe { .. }
            | Step::Seal { .. }
            | Step::Enlist { .. }
            | Step::Announce { .. }
            | Step::RemoveEmpty { .. } => {}
        }
    }
    if let Some(contents) = &change.contents {
        lines.extend(contents::lines(contents, PATHS_SHOWN));
    }
    lines
}

/// Whether an effect is told already, with the paths that it is for.
fn is_conditional(change: &Change, effect: &Effect) -> bool {
    let same =
        |step: &Step| matches!(step, Step::OweIfChanged { effect: other, .. } if other == effect);
    change.steps.iter().any(same)
}

/// How many paths may go, where only the archive tells how many do.
fn removal_limit(change: &Change, rules: &AssembleRules) -> Option<String> {
    let in_use = rules.seeds.iter().any(|seed| seed.in_use);
    let known = change.contents.as_ref().is_some_and(|contents| !contents.unchecked);
    if known || !in_use {
        return None;
    }
    let most = match rules.delete_max {
        DeleteMax::Half => "half of all paths".to_owned(),
        DeleteMax::Paths(most) => counted(usize::try_from(most).unwrap_or(usize::MAX), "path"),
        DeleteMax::Unlimited => return None,
    };
    Some(format!(
        "? at most {most} may go (`max_delete`); how many do is seen when the archive is read"
    ))
}

/// The files of somebody else that a tree is rid of, and where they are from then on.
fn kept(keeps: &KeptForeign) -> Option<String> {
    let KeptForeign { into, paths, .. } = keeps;
    let named = paths.get(..KEPT_SHOWN).unwrap_or(paths).join(", ");
    let more = paths.len().saturating_sub(KEPT_SHOWN);
    let more = if more > 0 { format!(" and {more} more") } else { String::new() };
    (!paths.is_empty())
        .then(|| format!("+ {into}/ keeps what somebody else has there: {named}{more}"))
}

/// A program that is replaced where it is.
fn in_place(step: &Step) -> Vec<String> {
    match step {
        Step::Install { file, release, expects, keeps, backup, .. } => {
            let kept = keeps.iter().map(|kept| &kept.release);
            let kept = kept.map(|kept| format!("+ {kept}/ (what is there now, to go back to)"));
            let slot = release.file_name().unwrap_or_default();
            let before =
                backup.iter().map(|kept| format!("; the one before becomes {}", kept.path));
            let before: String = before.collect();
            let sign = if *expects == Expected::Nothing { '+' } else { '~' };
            kept.chain([format!("{sign} {file} (the program of {slot}{before})")]).collect()
        }
        Step::Try { trials, .. } => {
            let trials: Vec<String> = trials.iter().map(|t| t.join(" ")).collect();
            let trials = trials.join("`, `");
            vec![format!("? it is this program: the new one must end well with `{trials}`")]
        }
        _ => Vec::new(),
    }
}

/// The links that a switch removes and makes.
fn switched(
    bin: &Utf8Path,
    release: &Utf8Path,
    links: Option<&[Binary]>,
    expects: &[(String, String)],
) -> Vec<String> {
    let slot = release.file_name().unwrap_or_default();
    let text = |b: &Binary| (b.name.clone(), format!("../releases/{slot}/{}", b.path));
    let new: Vec<(String, String)> = links.unwrap_or_default().iter().map(text).collect();
    let gone = expects.iter().filter(|link| !new.contains(link));
    let gone = gone.map(|(name, text)| format!("- {bin}/{name} -> {text}"));
    let come = new.iter().filter(|link| !expects.contains(link));
    let come = come.map(|(name, text)| format!("+ {bin}/{name} -> {text}"));
    let all = links.is_none().then(|| format!("+ {bin}/* -> ../releases/{slot}/* (its programs)"));
    gone.chain(come).chain(all).collect()
}

fn is_image(change: &Change, from: &Utf8Path) -> bool {
    change.steps.iter().any(|step| matches!(step, Step::Place { into, .. } if into == from))
}

/// Whether a path is one from which systemd is shown an image.
fn is_shown(change: &Change, path: &Utf8Path) -> bool {
    change.steps.iter().any(|step| match step {
        Step::Pick { shows, .. } => shows.iter().any(|shown| shown.from == path),
        _ => false,
    })
}

/// Whether a path is one at which an image is hidden, so that it is told already that it goes.
fn is_hidden(change: &Change, path: &Utf8Path) -> bool {
    change.steps.iter().any(|step| match step {
        Step::Pick { hides, .. } => hides.iter().any(|hidden| hidden.to == path),
        _ => false,
    })
}

/// Images that come into systemd's sight and go out of it.
fn picked(
    change: &Change,
    shows: &[ImageMove],
    hides: &[ImageMove],
) -> impl Iterator<Item = String> {
    let goes = |path: &Utf8Path| {
        let removes = |step: &Step| matches!(step, Step::Remove { path: gone, .. } if gone == path);
        change.steps.iter().any(removes)
    };
    let show = |image: &ImageMove| format!("+ {}", image.to);
    let hide = move |hidden: &ImageMove| match hidden.to.file_name() {
        Some(name) if !goes(&hidden.to) => {
            format!("- {} (kept as {name}, which systemd passes over)", hidden.from)
        }
        _ => format!("- {}", hidden.from),
    };
    shows.iter().map(show).chain(hides.iter().map(hide))
}

fn is_manifest(path: &Utf8Path) -> bool {
    path.file_name().is_some_and(|name| name.ends_with(".reconcile.json") && name.starts_with('.'))
}

/// A link as it was and as it will be.
fn pointed(link: &LinkTo) -> Vec<String> {
    if link.expects.as_ref() == Some(&link.text) {
        return Vec::new();
    }
    let before = link.expects.iter().flatten().map(|text| format!("- {} -> {text}", link.link));
    let after = link.text.iter().map(|text| format!("+ {} -> {text}", link.link));
    before.chain(after).collect()
}

/// `, else back to 14.1.0`.
fn undo(change: &Change) -> String {
    if change.undo.is_empty() {
        return String::new();
    }
    let before = change.before.as_ref().map(|before| before.version.to_string());
    let to = change.back_to().map(str::to_owned).or(before);
    format!(", else back to {}", to.unwrap_or_else(|| "nothing".to_owned()))
}

fn blocked_wish(text: &mut String, blocked: &Blocked, message: Option<&String>) {
    let place = blocked.declared_at.as_ref().map_or(String::new(), |at| format!(" ({at})"));
    let staying =
        blocked.staying_on.as_ref().map_or(String::new(), |v| format!("; staying on {v}"));
    let until = blocked.until.map_or(String::new(), |until| format!("; until {until}"));
    let _ = writeln!(
        text,
        "  ! {:<20} {}{staying}{until}{place}",
        blocked.resource.to_string(),
        reason(blocked)
    );
    if let Some(message) = message {
        let _ = writeln!(text, "      {message}");
    }
}

/// The reason's name in kebab case, as in JSON.
pub fn reason(blocked: &Blocked) -> String {
    match serde_json::to_value(blocked.reason) {
        Ok(serde_json::Value::String(name)) => name,
        _ => String::new(),
    }
}

fn notes(text: &mut String, notes: &[String]) {
    for note in notes {
        let _ = writeln!(text, "Note: {note}.");
    }
    if !notes.is_empty() {
        text.push('\n');
    }
}
