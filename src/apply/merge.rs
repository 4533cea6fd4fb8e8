//! Making systemd merge what is linked, looking whether it did, and going back where it did not.
//!
//! One refresh serves all extensions of a class, and one bad image keeps all of them from being merged. So
//! when the result is not as planned everything is put back, and then each change is tried alone: whoever
//! is to blame is known, and the others are merged.

use crate::apply::journal::Journal;
use crate::apply::{commit_step, health};
use crate::format::os_release::{OsRelease, RELEASE_BYTES_MAX};
use crate::host::runner::{RunError, hook, run};
use crate::host::{Change as Host, facts};
use crate::model::outcome::{ChangeResult, End, Failure, FailureClass, chain};
use crate::model::{Change, Effect, ExtensionClass, Step};

/// Since this version systemd reloads its manager itself where an extension asks for it.
const RELOADS_SINCE: u32 = 255;

/// systemd's list of merged names: a thousand names take less.
const MARKER_BYTES_MAX: u64 = 1 << 20;

/// Where the release files of merged system extensions show.
const RELEASES: &str = "/usr/lib/extension-release.d";

/// Refreshes what changed and sees that it was merged as planned.
pub(super) async fn merge(
    work: &mut [(&Change, ChangeResult)],
    host: &Host,
    journal: &mut Journal,
) {
    for class in [ExtensionClass::Sysext, ExtensionClass::Confext] {
        let effect = Effect::Refresh { class };
        let mut members: Vec<&mut (&Change, ChangeResult)> = work
            .iter_mut()
            .filter(|(change, result)| {
                let settles = |s: &Step| matches!(s, Step::Settle { effect: e } if *e == effect);
                result.end == End::Done
                    && change.steps.iter().any(|s| settles(s) || looks(s, class))
            })
            .collect();
        if members.is_empty() {
            continue;
        }
        let all: Vec<&Change> = members.iter().map(|member| member.0).collect();
        let settled = match attempt(host, class, &all).await {
            Ok(()) => Ok(()),
            Err(why) => one_by_one(&mut members, (class, &why), host, journal).await,
        };
        for member in &mut members {
            let (change, result) = &mut **member;
            strike(change, host, journal, result);
        }
        // What could not be merged even without the new images stays owed.
        if settled.is_ok()
            && let Err(error) = journal.strike(host, &effect)
        {
            tracing::warn!(%error, "cannot strike out that extensions were merged");
        }
    }
}

fn looks(step: &Step, of: ExtensionClass) -> bool {
    matches!(step, Step::Merged { class, .. } if *class == of)
}

/// Refreshes and looks.
async fn attempt(host: &Host, class: ExtensionClass, changes: &[&Change]) -> Result<(), String> {
    refresh(host, class).await.map_err(|e| chain(&e))?;
    let merged = merged(host, class);
    for step in changes.iter().flat_map(|change| &change.steps).filter(|s| looks(s, class)) {
        let Step::Merged { names, .. } = step else { continue };
        let missing = names.iter().find(|group| !group.iter().any(|name| merged.contains(name)));
        if let Some(name) = missing.and_then(|group| group.first()) {
            return Err(format!(
                "{} left {name} out; `{} merge` says why",
                class.program(),
                class.program()
            ));
        }
    }
    Ok(())
}

/// Puts every change back, then tries each alone. An error when nothing can be merged at all.
async fn one_by_one(
    members: &mut [&mut (&Change, ChangeResult)],
    (class, why): (ExtensionClass, &str),
    host: &Host,
    journal: &mut Journal,
) -> Result<(), ()> {
    for member in members.iter_mut() {
        let (change, result) = &mut **member;
        points(&change.undo, change, host, journal, result);
    }
    let without = refresh(host, class).await;
    for member in members.iter_mut() {
        let (change, result) = &mut **member;
        if result.end != End::Done {
            continue;
        }
        if let Err(error) = &without {
            let message = format!(
                "{why}; without the new images it fails as well, so something else is to blame: {}",
                chain(error)
            );
            result.end = End::Failed(failure(FailureClass::Transient, message));
            continue;
        }
        if change.undo.is_empty() {
            let nowhere = format!("{why}; there is nothing to go back to");
            result.end = End::Failed(failure(FailureClass::Unhealthy, nowhere));
            continue;
        }
        points(&change.steps, change, host, journal, result);
        let Err(why) = attempt(host, class, &[*change]).await else { continue };
        health::quarantine(change, &why, host, journal, result);
        points(&change.undo, change, host, journal, result);
        let again = refresh(host, class).await;
        let to = change.before.as_ref().map_or("nothing".to_owned(), |b| b.version.to_string());
        result.end = match again {
            Ok(()) => {
                let message = format!("{why}; {to} is in use again");
                End::RolledBack(failure(FailureClass::Unhealthy, message))
            }
            Err(error) => {
                let message = format!("{why}; {to} is linked again, but {}", chain(&error));
                End::RollbackFailed(failure(FailureClass::Unhealthy, message))
            }
        };
    }
    without.map_err(|_| ())
}

fn failure(class: FailureClass, message: String) -> Failure {
    Failure { step: "merge", class, message }
}

/// Performs the links among some steps.
fn points(
    steps: &[Step],
    change: &Change,
    host: &Host,
    journal: &mut Journal,
    result: &mut ChangeResult,
) {
    for step in steps {
        let Step::Point { slot, links } = step else { continue };
        // Whatever leads there now was made by this pass.
        let links = links.iter().cloned().map(|mut link| {
            link.expects = None;
            link
        });
        let step = Step::Point { slot: slot.clone(), links: links.collect() };
        if let Err(error) = commit_step(&step, change, host, journal, result) {
            let message = format!("cannot change the link: {}", chain(&error));
            result.end = End::RollbackFailed(failure(FailureClass::Unhealthy, message));
        }
    }
}

/// Strikes out what was looked at, and for what was put back what its use would have made due.
fn strike(change: &Change, host: &Host, journal: &mut Journal, result: &mut ChangeResult) {
    let went_back = matches!(result.end, End::RolledBack(_));
    for step in &change.steps {
        let effect = match step {
            Step::Merged { effect, .. } => effect,
            Step::Settle { effect } if went_back => effect,
            _ => continue,
        };
        if matches!(effect, Effect::Refresh { .. }) {
            continue;
        }
        if let Err(error) = journal.forgive(host, &change.resource, effect) {
            result.notes.push(format!("cannot strike out {}: {error}", effect.describe()));
        }
    }
}

/// What systemd says is merged.
fn merged(host: &Host, class: ExtensionClass) -> Vec<String> {
    let read = |marker: &&str| host.read(marker, MARKER_BYTES_MAX).ok().flatten();
    let texts = class.markers().iter().filter_map(read);
    let lines = texts.flat_map(|bytes| {
        let text = String::from_utf8_lossy(&bytes).into_owned();
        text.lines().map(str::to_owned).collect::<Vec<_>>()
    });
    lines.collect()
}

/// Makes systemd merge what is there now. An older systemd does not reload its manager itself.
pub(super) async fn refresh(host: &Host, class: ExtensionClass) -> Result<(), RunError> {
    let mut argv = vec![class.program().to_owned()];
    if !host.is_live() {
        argv.push(format!("--root={}", host.root()));
    }
    argv.push("refresh".to_owned());
    // What is mounted inside a sandbox is not merged on the host.
    hook(host.hooks(), &argv, &[]).await?;
    if facts::systemd(host).is_some_and(|version| version < RELOADS_SINCE) && asks_for_reload(host)
    {
        let argv = ["systemctl", "--no-ask-password", "daemon-reload"];
        run(&argv.map(str::to_owned), &[]).await?;
    }
    Ok(())
}

/// Whether any merged extension wants the service manager to read its units again.
fn asks_for_reload(host: &Host) -> bool {
    let items = host.list(RELEASES).ok().flatten().unwrap_or_default();
    items.iter().any(|item| {
        let path = format!("{RELEASES}/{}", item.name);
        let bytes = host.read(&path, RELEASE_BYTES_MAX as u64).ok().flatten().unwrap_or_default();
        let release = OsRelease::parse(&bytes).unwrap_or_default();
        matches!(release.get("EXTENSION_RELOAD_MANAGER"), Some("1" | "yes" | "true" | "on"))
    })
}
