//! Publishing trees, and cleaning the stores they are published in.

use std::time::Duration;

use camino::Utf8Path;
use serde::Serialize;

use crate::cli::args::{DigestArg, Format, ProfileArg, StoreGcArgs, TreeArgs};
use crate::cli::exit::Exit;
use crate::cli::output::units::bytes;
use crate::cli::session::Session;
use crate::cli::{CliError, mention, say};
use crate::model::outcome::{chain, counted};
use crate::publish::tree::gc::{Collection, Deed, collect};
use crate::publish::tree::{
    DigestKind, Packing, Profile, Publication, PublishError, Published, config, publish,
    publish_signed,
};

/// Name of the store beside an index, as casync has it.
const STORE: &str = "default.castr";

/// Publishes one tree, or all of a configuration.
pub(super) async fn tree(session: &Session, args: &TreeArgs) -> Result<Exit, CliError> {
    let mut told = false;
    for mut wish in wishes(args)? {
        wish.patience = session.patience(wish.patience);
        let published = match &args.sign {
            None => publish(&wish, session.now),
            Some(key) => publish_signed(&wish, key, session.now).await,
        };
        let published = published.map_err(|error| failed(&error))?;
        for note in &published.notes {
            mention(note);
        }
        if wish.profile == Profile::CasyncUpdater && !published.unchanged && !told {
            mention(
                "the profile casync-updater has no permissions, owners and symbolic links: programs arrive without \
                 their execute bits, and links not at all; for clients that are not casync-updater choose another",
            );
            told = true;
        }
        match session.common.output {
            Format::Json => say_json(&published),
            Format::Text | Format::Oneline | Format::Markdown => say(&line(&wish, &published)),
        }
    }
    Ok(Exit::Ok)
}

/// Removes what no index names, or counts it.
pub(super) fn gc(session: &Session, args: &StoreGcArgs, deed: Deed) -> Result<Exit, CliError> {
    let StoreGcArgs { store, indexes, grace } = args;
    if grace.is_negative() {
        return Err(CliError::new(Exit::Usage, "--grace is a time that passes: 0s or more"));
    }
    let patience = session.patience(Duration::ZERO);
    let collection = Collection { store, indexes, grace: *grace, deed, patience };
    let collected = collect(&collection, session.now).map_err(|error| failed(&error))?;
    for index in &collected.unnamed {
        mention(&format!("{index} was not named: chunks that only it names count as unused"));
    }
    if session.common.output == Format::Json {
        say_json(&collected);
        return Ok(Exit::Ok);
    }
    let number = |count| counted(usize::try_from(count).unwrap_or(usize::MAX), "file");
    let removed = if deed == Deed::Remove { "Removed" } else { "Would remove" };
    say(&format!(
        "{removed} {} ({}); {} unused but kept for now, {} in use.\n",
        number(collected.removed),
        bytes(collected.removed_bytes),
        number(collected.waiting),
        number(collected.used),
    ));
    Ok(Exit::Ok)
}

fn wishes(args: &TreeArgs) -> Result<Vec<Publication>, CliError> {
    let level = args.compression_level;
    let packing = if args.packs { Packing::ChunksAndPacks } else { Packing::Chunks };
    let mut wishes = match (&args.config, &args.directory, &args.index) {
        (Some(path), ..) => config::read(path).map_err(|error| failed(&error))?,
        (None, Some(directory), Some(index)) => {
            let beside = index.parent().unwrap_or(Utf8Path::new("")).join(STORE);
            let store = args.store.as_ref().unwrap_or(&beside);
            vec![Publication {
                profile: match args.profile {
                    ProfileArg::CasyncUpdater => Profile::CasyncUpdater,
                    ProfileArg::Full => Profile::Full,
                    ProfileArg::Reproducible => Profile::Reproducible,
                },
                digest: args.digest.map(|digest| match digest {
                    DigestArg::Sha256 => DigestKind::Sha256,
                    DigestArg::Sha512_256 => DigestKind::Sha512_256,
                }),
                deltas_from: args.delta_from.clone(),
                cache: args.seed_cache.clone(),
                ..Publication::new(directory, index, store)
            }]
        }
        (None, ..) => return Err(CliError::new(Exit::Usage, "name a directory and --index")),
    };
    for wish in &mut wishes {
        (wish.level, wish.packing) = (level, packing);
    }
    Ok(wishes)
}

fn line(wish: &Publication, published: &Published) -> String {
    let Publication { tree, index, .. } = wish;
    let number = |count| counted(usize::try_from(count).unwrap_or(usize::MAX), "chunk");
    let (all, size) = (number(published.chunks), bytes(published.bytes));
    if published.unchanged {
        return format!("{tree} is published as {index} already: {size} in {all}.\n");
    }
    let (new, stored) = (number(published.new_chunks), bytes(published.stored_bytes));
    format!("Published {tree} as {index}: {size} in {all}; {new} new, {stored} stored.\n")
}

fn say_json(value: &impl Serialize) {
    // Numbers and text always have a JSON form.
    let text = serde_json::to_string(value).unwrap_or_default();
    say(&format!("{text}\n"));
}

fn failed(error: &PublishError) -> CliError {
    let exit = match error {
        PublishError::Write { .. } => Exit::CannotWrite,
        PublishError::Busy { .. } => Exit::Locked,
        PublishError::Config { .. } => Exit::Config,
        _ => Exit::Failed,
    };
    CliError::new(exit, chain(error))
}
