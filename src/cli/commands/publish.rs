//! Writing repositories.

use std::time::Duration;

use camino::Utf8Path;

use crate::cli::args::{ExtensionArgs, ProgramKind};
use crate::cli::exit::Exit;
use crate::cli::session::Session;
use crate::cli::{CliError, mention, say};
use crate::model::Version;
use crate::model::outcome::chain;
use crate::publish::{Choria, Existing, PublishError, Release, Selfupdate, image};
use crate::publish::{Platform, choria, plain, release, selfupdate};

/// How long another publisher is waited for unless that is said: until it is done.
const PATIENCE: Duration = Duration::MAX;

/// What is said where there was nothing to do.
const UNCHANGED: &str = "it is published already, with these bytes: nothing was written";

/// Publishes, and prints what was written.
pub(super) async fn publish(session: &Session, kind: &ProgramKind) -> Result<Exit, CliError> {
    let patience = session.patience(PATIENCE);
    let existing = |force: bool| if force { Existing::Replaced } else { Existing::Kept };
    let published = match kind {
        ProgramKind::Choria { binary, release, os, arch, repo, uncompressed, force } => {
            let platform = platform(os, arch)?;
            choria(&Choria {
                program: binary.as_std_path(),
                version: release,
                platform: &platform,
                repository: repo.as_std_path(),
                existing: existing(*force),
                patience,
                uncompressed: *uncompressed,
            })
        }
        ProgramKind::Selfupdate {
            file,
            release,
            out,
            bin,
            diff,
            platform: name,
            patches,
            force,
        } => {
            let (os, arch) = name.split_once('-').unwrap_or((name, ""));
            let platform = platform(os, arch)?;
            selfupdate(&Selfupdate {
                program: file.as_std_path(),
                version: release,
                platform: &platform,
                out: out.as_std_path(),
                bin: bin.as_ref().unwrap_or(out).as_std_path(),
                diff: diff.as_ref().unwrap_or(out).as_std_path(),
                patches: *patches,
                existing: existing(*force),
                patience,
            })
        }
        ProgramKind::Release { directory, to, release: version, sign, patches, force } => {
            let version = version.clone().map_or_else(|| named(directory), Ok)?;
            release(&Release {
                artifacts: directory.as_std_path(),
                version: &version,
                root: to.as_std_path(),
                key: sign.as_deref(),
                patches: *patches,
                existing: existing(*force),
                patience,
            })
            .await
        }
    };
    let published = published.map_err(|error| CliError::new(exit(&error), chain(&error)))?;
    for note in &published.notes {
        mention(note);
    }
    if published.written.is_empty() {
        mention(UNCHANGED);
    }
    for path in published.written {
        say(&format!("{}\n", path.display()));
    }
    Ok(Exit::Ok)
}

fn platform(os: &str, arch: &str) -> Result<Platform, CliError> {
    Platform::new(os, arch).ok_or_else(|| {
        let why = format!("`{os}-{arch}` is no platform as Go names it: `linux-amd64`");
        CliError::new(Exit::Usage, why)
    })
}

fn exit(error: &PublishError) -> Exit {
    match error {
        PublishError::Write { .. } => Exit::CannotWrite,
        PublishError::Busy { .. } => Exit::Locked,
        _ => Exit::Failed,
    }
}

/// The version that a directory is named by. Any word could be one; a directory is seldom called so for that.
fn named(directory: &Utf8Path) -> Result<Version, CliError> {
    let name = directory.file_name().unwrap_or_default();
    let why = match name.parse::<Version>() {
        Ok(version) if !plain(&version).is_opaque() => return Ok(version),
        Ok(_) => "it does not begin with a number".to_owned(),
        Err(why) => why,
    };
    let why = format!("{directory} is not named by a version ({why}); write --version");
    Err(CliError::new(Exit::Usage, why))
}

/// Publishes an image, and prints where it is.
pub(super) async fn extension(session: &Session, args: &ExtensionArgs) -> Result<Exit, CliError> {
    let ExtensionArgs { repository, image, name, release, sign } = args;
    let release = image::ExtensionRelease {
        repository,
        image,
        name,
        version: release,
        key: sign.as_deref(),
        patience: session.patience(PATIENCE),
    };
    let published = image::extension(&release).await.map_err(|error| {
        let exit = match &error {
            image::PublishError::Door(error) => exit(error),
            _ => Exit::Failed,
        };
        CliError::new(exit, chain(&error))
    })?;
    if published.written.is_empty() {
        mention(UNCHANGED);
    }
    say(&format!("{}\n", published.image));
    Ok(Exit::Ok)
}
