//! One file for each group of commands.

mod details;
mod discover;
mod features;
mod generate;
mod history;
mod import;
mod list;
mod maintain;
mod overrides;
mod pass;
mod publish_tree;
mod publish;
mod run;
mod show;
mod shown;
mod sysupdate;
mod units;
mod validate;
mod wishes;

use crate::cli::CliError;
use crate::cli::args::{Cli, Command, Format, PublishKind, UnitsArgs, Until};
use crate::cli::commands::maintain::Gc;
use crate::cli::commands::overrides::Preview;
use crate::cli::exit::Exit;
use crate::cli::session::Session;
use crate::controller::control::Question;
use crate::publish::tree::gc::Deed;

/// Does what the command line asks for.
pub(crate) async fn run(session: &Session, cli: &Cli) -> Result<Exit, CliError> {
    if cli.command.as_ref().is_none_or(looks_at_host) {
        session.check_root()?;
    }
    check_format(session.common.output, cli.command.as_ref())?;
    let ending = |until: Until| until.from(session.now);
    let preview = if cli.pass.dry_run { Preview::Only } else { Preview::AndApply };
    match &cli.command {
        None | Some(Command::Apply { file: None }) if !cli.pass.dry_run => {
            pass::reconcile(session, &cli.pass).await
        }
        Some(command) if cli.pass.dry_run && changes_without_plan(command) => {
            let why = "this command makes no plan that could be shown; leave out --dry-run";
            Err(CliError::new(Exit::Usage, why))
        }
        Some(Command::Run(args)) => run::run(session, args, &cli.pass).await,
        Some(Command::Request { wait }) => {
            let question = Question { only: run::asked_about(session).await?, wait: *wait };
            run::request(session, &question).await
        }
        Some(Command::Plan { out }) => pass::plan(session, &cli.pass, out.as_deref()).await,
        None | Some(Command::Apply { file: None }) => pass::plan(session, &cli.pass, None).await,
        Some(Command::Apply { file: Some(file) }) if cli.pass.dry_run => {
            pass::show_saved(session, &cli.pass, file).await
        }
        Some(Command::Apply { file: Some(file) }) => {
            pass::apply_saved(session, &cli.pass, file).await
        }
        Some(Command::Diff { resources }) => show::diff(session, &cli.pass, resources).await,
        Some(Command::Status { export: true, .. }) => show::export(session).await,
        Some(Command::Status { resource: Some(id), .. }) => details::status(session, id).await,
        Some(Command::Status { .. }) => show::status(session).await,
        Some(Command::Explain { resource }) => show::explain(session, resource).await,
        Some(Command::List { resource }) => list::list(session, resource).await,
        Some(Command::History { resource, limit }) => {
            history::history(session, resource.as_ref(), *limit).await
        }
        Some(Command::Rollback { resource, to, reason, until }) => {
            let wish = overrides::Rollback { to: to.as_deref(), reason, until: until.map(ending) };
            overrides::rollback(session, resource, &wish, &cli.pass, preview).await
        }
        Some(Command::Suspend { resource, reason, until }) => {
            overrides::suspend(session, resource, (reason, until.map(ending))).await
        }
        Some(Command::Resume { resource }) => overrides::resume(session, resource).await,
        Some(Command::AcceptHistory { commit, reason }) => {
            overrides::accept_history(session, commit, reason).await
        }
        Some(Command::Validate { paths }) => validate::validate(session, paths).await,
        Some(Command::Schema { kind }) => Ok(generate::schema(*kind)),
        Some(Command::Import { what, target, out }) => {
            import::import(session, what, target.as_deref(), out.as_deref())
        }
        Some(Command::Gc { all: true }) => maintain::gc(session, Gc::All).await,
        Some(Command::Gc { all: false }) => maintain::gc(session, Gc::Unused).await,
        Some(Command::Discover { url }) => discover::discover(session, url.as_deref()).await,
        Some(Command::Features { command }) => features::act(session, command, &cli.pass).await,
        Some(Command::Sysupdate(args)) => {
            sysupdate::sysupdate(session, args, (&cli.pass, preview)).await
        }
        Some(Command::Publish { kind }) => {
            let deed = if cli.pass.dry_run { Deed::Look } else { Deed::Remove };
            publish_kind(session, kind, deed).await
        }
        Some(Command::Units(args)) => units::units(session, args).await,
        Some(Command::Doctor) => Ok(maintain::doctor(session).await),
        Some(Command::Completions { shell }) => Ok(generate::completions(*shell)),
        Some(Command::Man { directory }) => generate::man(directory),
    }
}

/// Refuses a format that a command has not, so that no program takes a text for a document.
fn check_format(format: Format, command: Option<&Command>) -> Result<(), CliError> {
    let plans = matches!(
        command,
        None | Some(Command::Plan { .. } | Command::Apply { .. } | Command::Rollback { .. })
    );
    let has_text_alone = matches!(
        command,
        Some(
            Command::Suspend { .. }
                | Command::Resume { .. }
                | Command::AcceptHistory { .. }
                | Command::Request { .. }
                | Command::Import { .. }
                | Command::Units(_)
                | Command::Completions { .. }
                | Command::Man { .. }
                | Command::Publish { kind: PublishKind::Extension(_) | PublishKind::Program(_) }
        )
    );
    let (name, has) = match format {
        Format::Text | Format::Oneline => return Ok(()),
        Format::Json => ("json", !has_text_alone),
        Format::Markdown => ("markdown", plans),
    };
    if has {
        return Ok(());
    }
    Err(CliError::new(Exit::Usage, format!("this command has no output as {name}; leave out -o")))
}

async fn publish_kind(session: &Session, kind: &PublishKind, deed: Deed) -> Result<Exit, CliError> {
    match kind {
        PublishKind::Tree(args) => publish_tree::tree(session, args).await,
        PublishKind::Gc(args) => publish_tree::gc(session, args, deed),
        PublishKind::Extension(args) => publish::extension(session, args).await,
        PublishKind::Program(kind) => publish::publish(session, kind).await,
    }
}

/// Commands that are about the host below the root.
fn looks_at_host(command: &Command) -> bool {
    !matches!(
        command,
        Command::Validate { .. }
            | Command::Schema { .. }
            | Command::Import { .. }
            | Command::Publish { .. }
            | Command::Completions { .. }
            | Command::Man { .. }
    )
}

/// Commands that write and have nothing to show beforehand.
fn changes_without_plan(command: &Command) -> bool {
    // Collecting says what it would remove.
    if matches!(command, Command::Publish { kind: PublishKind::Gc(_) }) {
        return false;
    }
    matches!(
        command,
        Command::Suspend { .. }
            | Command::Resume { .. }
            | Command::Run(_)
            | Command::Request { .. }
            | Command::AcceptHistory { .. }
            | Command::Gc { .. }
            | Command::Units(UnitsArgs { install: true, .. })
            | Command::Features { .. }
            | Command::Publish { .. }
            | Command::Man { .. }
    )
}
