//! Making systemd merge what is linked, looking whether it did, and going back where it did not.
//!
//! One refresh serves all extensions of a class, and one bad image keeps all of them from being merged. So
//! when the result is not as planned everything is put back, and then each change is tried alone: whoever
//! is to blame is known, and the others are merged.
//!
//! A merge is owed from before a link changes until systemd merged, there and back. So a pass that is to end begins
//! none any more: what is linked by then, or linked again, is merged by the next one.

use crate::apply::journal::Journal;
use crate::apply::{Stop, Work, commit, health};
use crate::format::os_release::{OsRelease, RELEASE_BYTES_MAX};
use crate::host::runner::{RunError, hook, run};
use crate::host::{Change as Host, facts};
use crate::model::extension::CLASSES;
use crate::model::outcome::{End, Failure, FailureClass, chain};
use crate::model::{Change, Effect, ExtensionClass, Step, StepKind};

/// Since this version systemd reloads its manager itself where an extension asks for it.
const RELOADS_SINCE: u32 = 255;

/// systemd's list of merged names: a thousand names take less.
const MARKER_BYTES_MAX: u64 = 1 << 20;

/// Where the release files of merged system extensions show.
const RELEASES: &str = "/usr/lib/extension-release.d";

/// Why what is linked is not merged as planned.
enum Unmerged {
    /// systemd did not do it.
    Refused(String),
    /// The program is to end: it stays owed.
    Stopped,
}

/// Refreshes what changed and sees that it was merged as planned.
pub(super) async fn merge(work: &mut [Work<'_>], host: &Host, journal: &mut Journal, stop: &Stop) {
    let concerned = |work: &&mut Work<'_>| {
        work.goes_on() && CLASSES.iter().any(|class| concerns(work.change, *class))
    };
    let mut merged: Vec<&mut Work<'_>> = work.iter_mut().filter(concerned).collect();
    for class in CLASSES {
        let member = |work: &&mut Work<'_>| work.goes_on() && concerns(work.change, class);
        let all = merged.iter_mut().map(|work| &mut **work);
        let mut members: Vec<&mut Work<'_>> = all.filter(member).collect();
        if members.is_empty() {
            continue;
        }
        let all: Vec<&Change> = members.iter().map(|member| member.change).collect();
        let on = (host, stop);
        let ended = match attempt(on, &[class], &all, journal).await {
            Err(Unmerged::Refused(why)) => {
                one_by_one(&mut members, (class, &why), on, journal).await
            }
            ended => ended,
        };
        if matches!(ended, Err(Unmerged::Stopped)) {
            let effect = Effect::Refresh { class };
            let note = format!("{} stays owed: the agent was told to end", effect.describe());
            for member in members.iter_mut().filter(|member| member.goes_on()) {
                member.result.notes.push(note.clone());
                member.result.end = End::Interrupted;
            }
        }
    }
    for member in merged {
        strike(member, host, journal);
    }
}

/// Whether a change has images of a class merged, or looks whether they are.
fn concerns(change: &Change, class: ExtensionClass) -> bool {
    let effect = Effect::Refresh { class };
    let settles = |step: &Step| matches!(step, Step::Settle { effect: e } if *e == effect);
    change.steps.iter().any(|step| settles(step) || looks(step, class))
}

fn looks(step: &Step, of: ExtensionClass) -> bool {
    matches!(step, Step::Merged { class, .. } if *class == of)
}

/// Refreshes each class and looks.
async fn attempt(
    (host, stop): (&Host, &Stop),
    classes: &[ExtensionClass],
    changes: &[&Change],
    journal: &mut Journal,
) -> Result<(), Unmerged> {
    for class in classes {
        settle((host, stop), *class, journal).await?;
        look(host, *class, changes).map_err(Unmerged::Refused)?;
    }
    Ok(())
}

/// Makes systemd merge a class, unless the program is to end, and strikes out that this is owed.
async fn settle(
    (host, stop): (&Host, &Stop),
    class: ExtensionClass,
    journal: &mut Journal,
) -> Result<(), Unmerged> {
    if stop.is_the_end() {
        return Err(Unmerged::Stopped);
    }
    let merged = stop.in_time(refresh(host, class)).await.ok_or(Unmerged::Stopped)?;
    merged.map_err(|error| Unmerged::Refused(chain(&error)))?;
    if let Err(error) = journal.strike(host, &Effect::Refresh { class }) {
        tracing::warn!(%error, "cannot strike out that extensions were merged");
    }
    Ok(())
}

/// The classes that were merged when it was the turn of `class`, as far as they concern a change: where its links
/// change all of them are merged anew.
fn so_far(class: ExtensionClass, change: &Change) -> Vec<ExtensionClass> {
    let merged = CLASSES.into_iter().filter(|merged| *merged <= class);
    merged.filter(|merged| concerns(change, *merged)).collect()
}

/// Sees whether what was planned is merged; the error says what is not.
fn look(host: &Host, class: ExtensionClass, changes: &[&Change]) -> Result<(), String> {
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

/// Puts every change back, then tries each alone. What is not tried any more is as it was.
async fn one_by_one(
    members: &mut [&mut Work<'_>],
    (class, why): (ExtensionClass, &str),
    on: (&Host, &Stop),
    journal: &mut Journal,
) -> Result<(), Unmerged> {
    let (host, stop) = on;
    for member in members.iter_mut() {
        points(&member.change.undo, member, host, journal);
    }
    let without = match settle(on, class, journal).await {
        Err(Unmerged::Refused(error)) => Some(error),
        ended => ended.map(|()| None)?,
    };
    for earlier in CLASSES.into_iter().filter(|earlier| *earlier < class) {
        if members.iter().any(|member| concerns(member.change, earlier)) {
            match settle(on, earlier, journal).await {
                Err(Unmerged::Refused(error)) => {
                    tracing::warn!(%error, "cannot merge extensions as they were");
                }
                ended => ended?,
            }
        }
    }
    for member in members.iter_mut().filter(|member| member.goes_on()) {
        let change = member.change;
        if let Some(error) = &without {
            let message = format!(
                "{why}; without the new images it fails as well, so something else is to blame: {error}"
            );
            member.result.end = End::Failed(failure(FailureClass::Transient, message));
        } else if change.undo.is_empty() {
            // It was merged with the rest a moment ago, or is not to be merged at all.
            let Err(why) = look(host, class, &[change]) else { continue };
            let nowhere = format!("{why}; there is nothing to go back to");
            member.result.end = End::Failed(failure(FailureClass::Unhealthy, nowhere));
        } else if stop.is_the_end() {
            return Err(Unmerged::Stopped);
        } else {
            alone(member, &so_far(class, change), on, journal).await?;
        }
    }
    Ok(())
}

/// Tries a change alone; where that fails, it is to blame, and is put back.
async fn alone(
    member: &mut Work<'_>,
    classes: &[ExtensionClass],
    on: (&Host, &Stop),
    journal: &mut Journal,
) -> Result<(), Unmerged> {
    let (host, change) = (on.0, member.change);
    points(&change.steps, member, host, journal);
    let why = match attempt(on, classes, &[change], journal).await {
        Err(Unmerged::Refused(why)) => why,
        ended => {
            if ended.is_err() {
                points(&change.undo, member, host, journal);
            }
            return ended;
        }
    };
    health::quarantine(&why, member, host, journal);
    points(&change.undo, member, host, journal);
    let (mut still, mut stopped) = (None, Ok(()));
    for class in classes {
        match settle(on, *class, journal).await {
            Err(Unmerged::Refused(error)) => still = still.or(Some(error)),
            ended => stopped = stopped.and(ended),
        }
    }
    member.result.end = health::went_back(StepKind::Merge, change, &why, still);
    stopped
}

fn failure(class: FailureClass, message: String) -> Failure {
    Failure { step: StepKind::Merge, class, message }
}

/// Performs the switches among some steps: nothing used the images yet, so nothing but merging is due.
fn points(steps: &[Step], work: &mut Work<'_>, host: &Host, journal: &mut Journal) {
    for class in CLASSES.into_iter().filter(|class| concerns(work.change, *class)) {
        let owed = journal.owe(host, &work.change.resource, &Effect::Refresh { class });
        if let Err(error) = owed {
            tracing::warn!(%error, "cannot journal that extensions are to be merged");
        }
    }
    for step in steps {
        let step = match step {
            Step::Pick { .. } => step.clone(),
            Step::Point { slot, links } => {
                // Whatever leads there now was made by this pass.
                let links = links.iter().cloned().map(|mut link| {
                    link.expects = None;
                    link
                });
                Step::Point { slot: slot.clone(), links: links.collect() }
            }
            _ => continue,
        };
        if let Err((_, error)) = commit(&[step], work, host, journal) {
            let message = format!("cannot change which image is in use: {}", chain(&error));
            work.result.end = End::RollbackFailed(failure(FailureClass::Unhealthy, message));
        }
    }
}

/// Strikes out what was looked at, unless more is to be looked at, and for what was put back or never merged what
/// its use would have made due.
fn strike(work: &mut Work<'_>, host: &Host, journal: &mut Journal) {
    let not_used = match &work.result.end {
        End::RolledBack(_) => true,
        End::Failed(failure) => failure.class == FailureClass::Unhealthy,
        End::Done | End::RollbackFailed(_) => false,
        // Nobody looked.
        End::Interrupted | End::Deferred => return,
    };
    let confirms = work.change.steps.iter().any(|step| matches!(step, Step::Confirm { .. }));
    let confirmed_later = confirms && work.goes_on();
    for step in &work.change.steps {
        let effect = match step {
            Step::Merged { effect, .. } if !confirmed_later => effect,
            Step::Settle { effect } if not_used => effect,
            _ => continue,
        };
        if matches!(effect, Effect::Refresh { .. }) {
            continue;
        }
        if let Err(error) = journal.forgive(host, &work.change.resource, effect) {
            let note = format!("cannot strike out {}: {error}", effect.describe());
            work.result.notes.push(note);
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
