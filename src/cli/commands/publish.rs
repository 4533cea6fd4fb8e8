//! Writing repositories.

use crate::cli::args::{ExtensionArgs, ProgramKind};
use crate::cli::exit::Exit;
use crate::cli::{CliError, mention, say};
use crate::model::Version;
use crate::model::outcome::chain;
use crate::publish::{Choria, Existing, PublishError, Release, Selfupdate, image};
use crate::publish::{Platform, choria, release, selfupdate};

/// Publishes, and prints what was written.
pub(super) async fn publish(kind: &ProgramKind) -> Result<Exit, CliError> {
    let published = match kind {
        ProgramKind::Choria { binary, release, os, arch, repo, uncompressed, force } => {
            let platform = platform(os, arch)?;
            choria(&Choria {
                program: binary.as_std_path(),
                version: release,
                platform: &platform,
                repository: repo.as_std_path(),
                existing: force.then_some(Existing::Replaced).unwrap_or(Existing::Kept),
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
                existing: force.then_some(Existing::Replaced).unwrap_or(Existing::Kept),
            })
        }
        ProgramKind::Release { directory, to, release: version, sign, patches, force } => {
            let named = || directory.file_name().unwrap_or_default().parse::<Version>();
            let version = version.clone().map_or_else(named, Ok);
            let version = version.map_err(|why| {
                let why = format!("{directory} is not named by a version ({why}); write --version");
                CliError::new(Exit::Usage, why)
            })?;
            release(&Release {
                artifacts: directory.as_std_path(),
                version: &version,
                root: to.as_std_path(),
                key: sign.as_deref(),
                patches: *patches,
                existing: force.then_some(Existing::Replaced).unwrap_or(Existing::Kept),
            })
            .await
        }
    };
    let published = published.map_err(|error| CliError::new(exit(&error), chain(&error)))?;
    if published.is_empty() {
        mention("it is published already, with these bytes: nothing was written");
    }
    for path in published {
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
        _ => Exit::Failed,
    }
}

/// Publishes an image, and prints where it is.
pub(super) async fn extension(args: &ExtensionArgs) -> Result<Exit, CliError> {
    let ExtensionArgs { repository, image, name, release, key } = args;
    let release =
        image::ExtensionRelease { repository, image, name, version: release, key: key.as_deref() };
    let place = image::extension(&release)
        .await
        .map_err(|error| CliError::new(Exit::Failed, chain(&error)))?;
    say(&format!("{place}\n"));
    Ok(Exit::Ok)
}
