//! A host that is somewhere else: planned for on a laptop or in a pipeline.

use std::collections::BTreeMap;

use camino::{Utf8Path, Utf8PathBuf};

use crate::cli::CliError;
use crate::cli::args::{Cli, Command};
use crate::cli::exit::Exit;
use crate::desired::DesiredState;
use crate::host::{Look, Places, facts, read_bounded};
use crate::model::ledger::Ledger;
use crate::model::outcome::chain;
use crate::model::selection::Identity;
use crate::observe::{Observed, observe};
use crate::resource::app::observe::Depth;
use crate::status::export::{EXPORT_BYTES_MAX, ExportError, HostExport};

/// A host known by its name, and by what it exported, if it did.
#[derive(Debug)]
pub struct Imagined {
    identity: Identity,
    export: Option<(Utf8PathBuf, HostExport)>,
    /// An empty root, on which nothing is found.
    root: tempfile::TempDir,
}

impl Imagined {
    /// The host that the command line names; only a plan can be made for it.
    pub fn of(cli: &Cli) -> Result<Option<Self>, CliError> {
        let usage = |why: &str| CliError::new(Exit::Usage, why);
        let (name, file) = (&cli.pass.host, &cli.pass.facts);
        if name.is_none() && file.is_none() {
            return Ok(None);
        }
        let plans = match &cli.command {
            Some(Command::Plan { out: Some(_) }) => {
                return Err(usage(
                    "a plan for another host cannot be applied, so it is not saved; leave out --out, and take \
                     the document with `-o json`",
                ));
            }
            Some(Command::Plan { out: None }) => true,
            None => cli.pass.dry_run,
            Some(_) => false,
        };
        if !plans {
            return Err(usage(
                "--host and --facts preview another host: use them with --dry-run or `plan`",
            ));
        }
        let root = tempfile::tempdir().map_err(|e| CliError::io(&e))?;
        let export = file.as_deref().map(|file| Ok((file.to_owned(), read(file)?))).transpose()?;
        let identity = match (&export, name) {
            (Some((file, export)), Some(name)) if &export.identity().hostname != name => {
                let found = &export.identity().hostname;
                return Err(usage(&format!("{file} was exported by {found}, not by {name}")));
            }
            (Some((_, export)), _) => export.identity().clone(),
            (None, name) => Identity {
                hostname: name.clone().unwrap_or_default(),
                machine_id: None,
                labels: BTreeMap::new(),
                arch: facts::arch(),
            },
        };
        Ok(Some(Self { identity, export, root }))
    }

    /// What it is chosen by.
    pub fn identity(&self) -> &Identity {
        &self.identity
    }

    /// What is to be said where nothing is known of what it has.
    pub fn unknown(&self) -> Option<String> {
        let host = &self.identity.hostname;
        self.export.is_none().then(|| {
            format!(
                "nothing is known of what {host} has: this is the plan for an empty host; give --facts with what \
                 `reconcile status --export` prints there"
            )
        })
    }

    /// A host on which nothing is.
    pub fn look(&self) -> Result<Look, CliError> {
        let root = Utf8Path::from_path(self.root.path());
        let root = root.ok_or_else(|| {
            CliError::new(Exit::CannotWrite, "the directory for temporary files is not UTF-8")
        })?;
        Ok(Look::new(root.to_owned(), Places::default()))
    }

    /// What it has and remembers.
    pub fn observed(&self, desired: &DesiredState) -> Result<(Observed, Ledger), CliError> {
        let mut observed = observe(desired, &Ledger::default(), &self.look()?, Depth::Quick);
        observed.facts.hostname.clone_from(&self.identity.hostname);
        observed.facts.arch = self.identity.arch;
        observed.facts.live = true;
        let Some((file, export)) = &self.export else { return Ok((observed, Ledger::default())) };
        export.lay_over(&mut observed).map_err(|error| unusable(file, &error))?;
        Ok((observed, export.ledger()))
    }
}

fn read(file: &Utf8Path) -> Result<HostExport, CliError> {
    let bytes = std::fs::File::open(file)
        .and_then(|file| read_bounded(file, EXPORT_BYTES_MAX))
        .map_err(|error| CliError::new(Exit::Usage, format!("cannot read {file}: {error}")))?;
    HostExport::parse(&bytes).map_err(|error| unusable(file, &error))
}

fn unusable(file: &Utf8Path, error: &ExportError) -> CliError {
    CliError::new(Exit::Usage, format!("cannot use {file}: {}", chain(error)))
}
