//! The command line as typed.

mod features;
mod publish_tree;
mod sysupdate;
mod time;
mod units;

use camino::Utf8PathBuf;
use clap::{Args, FromArgMatches, Parser, Subcommand, ValueEnum};
use jiff::Timestamp;

use crate::cli::named::Named;
use crate::cli::takes;
use crate::controller::config::{Interval, SourcesAge};
use crate::model::Version;

pub use features::{FeatureCommand, FeatureSwitch};
pub use publish_tree::{DigestArg, ProfileArg, StoreGcArgs, TreeArgs};
pub use sysupdate::{ExitCodes, JsonStyle, SysupdateArgs, SysupdateCommand};
pub use time::Until;
pub use units::{ModeArg, UnitsArgs};

/// What the exit codes mean, for `--help` and the manual page.
const EXIT_CODES: &str = "\
Exit codes:
  0   as desired, or the answer was printed
  1   something failed, or cannot be done until somebody edits something; all else was done
  2   changes are pending (--detailed-exitcode)
  3   nothing was done, as something is suspended or waits; or a release that did not work here
      is left out, whatever else was done; or nothing in the desired state is for this host
  5   the saved plan is stale
  6   a release did not work, and the one before is in use again
  7   going back failed: what is in use is not whole
  64  the command line is wrong           65  the desired state is invalid
  69  a source is unavailable             73  the host cannot be written
  75  another pass is being made          77  refused by verification
  78  the agent's configuration is invalid

A plan (--dry-run, `plan`) is an answer: it ends with 0 where the pass would end with 3 because
something is suspended, waits or is left out, and as the pass would in every other case.";

/// Keeps the software a Linux host runs outside its package manager equal to a desired state.
///
/// Without a command: one pass. It looks at the host, asks the sources, plans, and applies the plan;
/// with --dry-run it stops after printing the plan.
#[derive(Debug, Parser)]
#[command(name = "reconcile", version, max_term_width = 100, after_long_help = EXIT_CODES)]
pub struct Cli {
    /// What to do; one pass when absent.
    #[command(subcommand)]
    pub command: Option<Command>,
    /// Options of a pass.
    #[command(flatten)]
    pub pass: PassArgs,
    /// Options of every command.
    #[command(flatten)]
    pub common: CommonArgs,
}

impl Cli {
    /// Reads what was typed.
    ///
    /// A pass has no command, and is what runs again and again; `run` goes on for months. Their options are tried by
    /// themselves first: describing fifty commands to clap takes longer than a pass with nothing to do, and a third of
    /// the memory of an agent that waits.
    ///
    /// # Errors
    /// What is wrong with it, or an answer such as `--help`.
    pub fn typed() -> Result<Self, clap::Error> {
        if let Some(found) = takes::often() {
            let run =
                found.subcommand_matches(takes::RUN).map(RunArgs::from_arg_matches).transpose()?;
            let pass = PassArgs::from_arg_matches(&found)?;
            let common = CommonArgs::from_arg_matches(&found)?;
            return Ok(Self { command: run.map(Command::Run), pass, common });
        }
        let mut described = takes::described();
        let matches = described.try_get_matches_from_mut(std::env::args_os())?;
        if let Some((command, option)) = takes::refused(&matches) {
            let why = format!("`{command}` does not take {option}");
            return Err(described.error(clap::error::ErrorKind::ArgumentConflict, why));
        }
        Self::from_arg_matches(&matches)
    }
}

/// Options of every command.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Global options")]
pub struct CommonArgs {
    /// File or directory with the desired state; may be repeated [default: /etc/reconcile/desired-state].
    #[arg(long, global = true, value_name = "PATH")]
    pub desired: Vec<Utf8PathBuf>,
    /// The agent's own configuration [default: /etc/reconcile/agent.yaml, if it is there].
    #[arg(long, global = true, value_name = "FILE", hide_short_help = true)]
    pub config: Option<Utf8PathBuf>,
    /// A Git repository with the desired state.
    #[command(flatten)]
    pub git: GitArgs,
    /// Manage the host below this directory instead of `/`; restarts and hooks are then not run.
    #[arg(long, global = true, value_name = "DIR", default_value = "/")]
    pub root: Utf8PathBuf,
    /// Only this resource: `app/ripgrep`, or `ripgrep` where one alone is called so; may be repeated.
    #[arg(long, global = true, value_name = "RESOURCE")]
    pub only: Vec<Named>,
    /// How to print the result.
    #[arg(short, long, global = true, value_enum, default_value_t = Format::Text)]
    pub output: Format,
    /// Compare content as well, not only type, mode, size and time.
    #[arg(long, global = true, hide_short_help = true)]
    pub deep: bool,
    /// Write what the pass came to into this file, for `node_exporter`'s textfile collector.
    #[arg(long, global = true, value_name = "FILE", hide_short_help = true)]
    pub metrics_file: Option<Utf8PathBuf>,
    /// Say more on standard error; twice for everything.
    #[arg(short, long, global = true, action = clap::ArgAction::Count)]
    pub verbose: u8,
    /// The time to work with instead of the clock's.
    #[arg(long, global = true, hide = true, value_name = "TIMESTAMP")]
    pub clock: Option<Timestamp>,
}

/// A Git repository with the desired state.
#[derive(Clone, Debug, Default, Args)]
#[command(next_help_heading = "Global options")]
pub struct GitArgs {
    /// Read the desired state from this Git repository: https, ssh, or a path on this host.
    #[arg(
        long,
        global = true,
        value_name = "URL",
        conflicts_with = "desired",
        hide_short_help = true
    )]
    pub git: Option<String>,
    /// The branch or tag to follow [default: HEAD].
    #[arg(long = "ref", global = true, value_name = "BRANCH|TAG", hide_short_help = true)]
    pub reference: Option<String>,
    /// The directory of the repository with the desired state [default: its top].
    #[arg(long, global = true, value_name = "DIR", hide_short_help = true)]
    pub git_path: Option<Utf8PathBuf>,
    /// Accept only what an SSH key of this `allowed_signers` file has signed.
    #[arg(long, global = true, value_name = "FILE", hide_short_help = true)]
    pub git_allowed_signers: Option<Utf8PathBuf>,
    /// Accept only what a key of this OpenPGP keyring has signed.
    #[arg(long, global = true, value_name = "FILE", hide_short_help = true)]
    pub git_keyring: Option<Utf8PathBuf>,
}

impl GitArgs {
    /// The branch or tag to follow.
    pub fn reference(&self) -> &str {
        self.reference.as_deref().unwrap_or("HEAD")
    }

    /// An option about a repository that no other names, if one is given.
    pub fn loose_option(&self) -> Option<&'static str> {
        let given = [
            ("--ref", self.reference.is_some()),
            ("--git-path", self.git_path.is_some()),
            ("--git-allowed-signers", self.git_allowed_signers.is_some()),
            ("--git-keyring", self.git_keyring.is_some()),
        ];
        let mut given = given.into_iter().filter(|(_, given)| *given && self.git.is_none());
        given.next().map(|(name, _)| name)
    }
}

/// Options of a pass.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Global options")]
#[expect(clippy::struct_excessive_bools, reason = "each is a switch that somebody types")]
pub struct PassArgs {
    /// Print what would change and why, and change nothing.
    #[arg(long, global = true)]
    pub dry_run: bool,
    /// Exit with 2 instead of 0 when changes are pending.
    #[arg(long, global = true)]
    pub detailed_exitcode: bool,
    /// Use a source's answer that is at most this old (`15m`) without asking again.
    #[arg(long, global = true, value_name = "DURATION", default_value = "0s", value_parser = time::length, hide_short_help = true)]
    pub max_age: jiff::SignedDuration,
    /// Wait this long for another pass to end: `5m`, or a number of seconds. Without it a pass does not wait, and
    /// small commands wait for ten seconds.
    #[arg(long, global = true, value_name = "DURATION", value_parser = time::length, hide_short_help = true)]
    pub lock_timeout: Option<jiff::SignedDuration>,
    /// Remove as many resources as the desired state leaves out, even all of them.
    #[arg(long, global = true, hide_short_help = true)]
    pub confirm_removals: bool,
    /// Run hooks, checks and merges as children of this process, or as transient units outside its sandbox.
    #[arg(long, global = true, value_enum, default_value_t = HooksArg::Child, hide_short_help = true)]
    pub hooks: HooksArg,
    /// Whether restarts and hooks run; `auto` runs them unless --root is given.
    #[arg(long, global = true, value_enum, default_value_t = EffectsArg::Auto, hide_short_help = true)]
    pub effects: EffectsArg,
    /// Whether what is in use is replaced only in maintenance windows, where there are any.
    #[arg(long, global = true, value_enum, default_value_t = WindowsArg::Keep, hide_short_help = true)]
    pub windows: WindowsArg,
    /// Plan for the host of this name instead of this one; with --dry-run or `plan`, and not with --root. Without
    /// --facts nothing is known of it, and everything is planned as on an empty host.
    #[arg(
        long,
        global = true,
        value_name = "NAME",
        conflicts_with = "root",
        hide_short_help = true
    )]
    pub host: Option<String>,
    /// What that host has, as `reconcile status --export` printed it there [default: nothing].
    #[arg(
        long,
        global = true,
        value_name = "FILE",
        conflicts_with = "root",
        hide_short_help = true
    )]
    pub facts: Option<Utf8PathBuf>,
}

/// Whether maintenance windows are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum WindowsArg {
    /// What is in use is replaced only while one is open.
    Keep,
    /// Everything is done at once.
    Ignore,
}

/// Options of the loop; each stands above what the agent's configuration says.
#[derive(Clone, Debug, Args)]
pub struct RunArgs {
    /// Look at the host this often without any cause.
    #[arg(long, value_name = "DURATION")]
    pub interval: Option<Interval>,
    /// Use a source's answer that is at most this old when it was only time for a pass.
    #[arg(long, value_name = "DURATION")]
    pub sources: Option<SourcesAge>,
    /// Whether an edit of the desired state starts a pass.
    #[arg(long, value_name = "BOOL")]
    pub watch: Option<bool>,
    /// Show status, metrics and a page at this loopback address too, such as `127.0.0.1:9797`.
    #[arg(long, value_name = "ADDRESS")]
    pub listen: Option<std::net::SocketAddr>,
}

/// How to print the result.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// For people.
    Text,
    /// One line, of `status`; text for people elsewhere.
    Oneline,
    /// One document, stable, for programs.
    Json,
    /// For a comment on a pull request.
    Markdown,
}

/// Whether restarts and hooks run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum EffectsArg {
    /// Only on the running system.
    Auto,
    /// Always.
    Run,
    /// Never.
    Skip,
}

/// How the programs of operators are run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum HooksArg {
    /// As children.
    Child,
    /// By `systemd-run`.
    Transient,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Keep the host as desired: passes on schedule, on edits of the desired state and on request.
    ///
    /// SIGHUP reads the configuration again and makes a pass, SIGTERM ends at the next safe point. What the
    /// configuration says about `desired`, `git`, `watch` and `notify` takes a restart.
    Run(RunArgs),
    /// Ask the running agent for a pass.
    ///
    /// With --only, of these resources alone.
    Request {
        /// Wait until the pass was made, and end with its exit code.
        #[arg(long)]
        wait: bool,
    },
    /// Print the plan of a pass, or save it.
    Plan {
        /// Save the plan as JSON, for `apply`.
        #[arg(long, value_name = "FILE")]
        out: Option<Utf8PathBuf>,
    },
    /// Plan and apply, or apply exactly a saved plan.
    Apply {
        /// A plan saved with `plan --out`; refused when the host has moved on since.
        file: Option<Utf8PathBuf>,
    },
    /// Show how the host differs from what was installed, file by file; for trees that are named also what
    /// the next update makes of each path.
    Diff {
        /// Only these resources.
        resources: Vec<Named>,
    },
    /// Show what is installed and in which condition, without asking any source.
    Status {
        /// Only this resource, and everything that is known about it.
        #[arg(conflicts_with = "export")]
        resource: Option<Named>,
        /// Print instead what this host has, as JSON for `--facts` elsewhere.
        #[arg(long)]
        export: bool,
    },
    /// Show what was changed, when and why.
    History {
        /// Only this resource.
        resource: Option<Named>,
        /// At most so many entries, the newest.
        #[arg(short = 'n', long, default_value_t = 20)]
        limit: usize,
    },
    /// Say everything that is known about one resource and how its version is chosen.
    Explain {
        /// The resource.
        resource: Named,
    },
    /// Go back to an earlier release and stay there until `resume`.
    Rollback {
        /// The resource.
        resource: Named,
        /// To this version; to the one before the present one when absent.
        #[arg(long, value_name = "VERSION")]
        to: Option<String>,
        /// Why; kept and shown.
        #[arg(long)]
        reason: String,
        /// Until then: a date (in UTC), a time (`2026-12-01T00:00:00Z`), or so long (`2h`); until `resume` when absent.
        #[arg(long, value_parser = time::until)]
        until: Option<Until>,
    },
    /// Leave a resource alone.
    Suspend {
        /// The resource.
        resource: Named,
        /// Why; kept and shown.
        #[arg(long)]
        reason: String,
        /// Until then: a date (in UTC), a time, or so long (`2h`); until `resume` when absent.
        #[arg(long, value_parser = time::until)]
        until: Option<Until>,
    },
    /// End a suspension or a rollback.
    Resume {
        /// The resource.
        resource: Named,
    },
    /// Accept this one commit of --git, for a day, although it does not descend from the one accepted before.
    AcceptHistory {
        /// The commit that was refused, all 40 digits; it must still be what the branch or tag points to.
        commit: String,
        /// Why; kept and shown.
        #[arg(long)]
        reason: String,
    },
    /// List the versions that the source of a resource offers.
    List {
        /// The resource.
        resource: Named,
    },
    /// Check desired-state files; needs no root and no network.
    Validate {
        /// Files or directories; --desired when absent.
        paths: Vec<Utf8PathBuf>,
    },
    /// Print the JSON Schema of a document.
    Schema {
        /// Which document.
        #[arg(value_enum, default_value_t = SchemaKind::DesiredState)]
        kind: SchemaKind,
    },
    /// Turn the configuration of another updater into a desired state.
    Import {
        /// Configuration files, or directories with them: what they are of is recognised. Or first the updater:
        /// distronomicon, casync-updater, sysupdate or updex, whose usual places are then read when no path follows;
        /// after `sysupdate`, directories of transfer definitions.
        #[arg(required = true, value_name = "UPDATER|PATH")]
        what: Vec<Utf8PathBuf>,
        /// The program to replace, where the settings of go-updater or go-selfupdate name none.
        #[arg(long, value_name = "FILE")]
        target: Option<String>,
        /// Write to this new file, which is there only if anything was imported; to standard output when absent.
        #[arg(long, value_name = "FILE")]
        out: Option<Utf8PathBuf>,
    },
    /// Remove artifacts from the cache that no installed release needs.
    Gc {
        /// Remove everything from the cache.
        #[arg(long)]
        all: bool,
    },
    /// List the extensions that a repository has, with their versions.
    Discover {
        /// The repository, as `publish extension` and updex make them: a web address, or a directory; what this
        /// host's own catalogs list when absent.
        url: Option<String>,
    },
    /// List the features of this host's own sysupdate.d, or switch them on and off.
    Features {
        /// What to do.
        #[command(subcommand)]
        command: FeatureCommand,
    },
    /// Do and answer as systemd-sysupdate does about this host's own sysupdate.d.
    Sysupdate(SysupdateArgs),
    /// Write what sources read: images, casync stores, repositories of go-updater and go-selfupdate, or our own.
    Publish {
        /// What to publish.
        #[command(subcommand)]
        kind: PublishKind,
    },
    /// Print or install the systemd units that keep reconcile running.
    Units(UnitsArgs),
    /// Look for what keeps reconcile from working well here.
    Doctor,
    /// Print a completion script.
    Completions {
        /// For which shell.
        #[arg(value_enum)]
        shell: clap_complete::Shell,
    },
    /// Write the manual pages into a directory.
    Man {
        /// The directory.
        directory: Utf8PathBuf,
    },
}

/// Documents with a schema.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum SchemaKind {
    /// What operators write.
    DesiredState,
    /// What `--dry-run -o json` prints.
    Plan,
    /// What `status -o json` prints.
    Status,
    /// What `history -o json` prints; an entry is one line of `history.jsonl`.
    History,
    /// What `diff -o json` prints.
    Diff,
    /// What `explain -o json` prints.
    Explain,
    /// What `list -o json` prints.
    List,
    /// What `validate -o json` prints.
    Validate,
    /// What `doctor -o json` prints.
    Doctor,
    /// What `gc -o json` prints.
    Gc,
    /// What is told when something changes.
    Event,
    /// The HTTP API, as an OpenAPI document.
    Api,
    /// The agent's own configuration.
    Agent,
}

/// Updaters whose configuration can be imported.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum ImportKind {
    /// distronomicon's systemd units, drop-ins and environment files.
    Distronomicon,
    /// casync-updater's client configuration, by default all of `/etc/casync-updater`.
    CasyncUpdater,
    /// This host's own sysupdate.d, followed as systemd-sysupdate carries it out; definitions of directories that are
    /// named become extensions of the desired state.
    Sysupdate,
    /// The same, followed as updex carries it out.
    Updex,
}

/// What can be published.
#[derive(Debug, Subcommand)]
pub enum PublishKind {
    /// A directory as an index and a store of chunks, as casync publishes it.
    Tree(TreeArgs),
    /// Remove from a store of chunks what no index names any more.
    ///
    /// What is unused is kept for a grace period that begins when it is first found unused. With
    /// --dry-run it is only counted.
    Gc(StoreGcArgs),
    /// Put an image into a directory of images, list it and sign the list.
    Extension(ExtensionArgs),
    /// A program.
    #[command(flatten)]
    Program(ProgramKind),
}

/// An image to publish.
#[derive(Debug, clap::Args)]
pub struct ExtensionArgs {
    /// The repository; the image goes to `ext/NAME/` in it.
    pub repository: Utf8PathBuf,
    /// The image, as it is to be served: `.raw`, or a `.tar` archive of it; `.xz`, `.gz`, `.zst` or `.bz2` may follow.
    pub image: Utf8PathBuf,
    /// The extension's name.
    #[arg(long)]
    pub name: crate::model::Name,
    /// The version; one that is there already is never replaced.
    #[arg(long = "version", value_name = "VERSION")]
    pub release: String,
    /// Sign the list with this key of gpg, which signed the list before.
    #[arg(long, value_name = "KEY")]
    pub sign: Option<String>,
}

/// What can be published of a program.
#[derive(Debug, Subcommand)]
pub enum ProgramKind {
    /// One version of a program, as Choria's `update-repo` publishes it.
    Choria {
        /// The program.
        binary: Utf8PathBuf,
        /// Its version.
        #[arg(long = "version", value_name = "VERSION")]
        release: Version,
        /// The operating system as Go calls it.
        #[arg(long, default_value = "linux")]
        os: String,
        /// The architecture as Go calls it.
        #[arg(long, default_value = own_arch())]
        arch: String,
        /// The repository's root.
        #[arg(long, value_name = "DIR", default_value = ".")]
        repo: Utf8PathBuf,
        /// Publish the program as it is, too.
        #[arg(long)]
        uncompressed: bool,
        /// Replace a version that is there.
        #[arg(long)]
        force: bool,
    },
    /// One version of a program with patches to it, as go-selfupdate publishes it.
    Selfupdate {
        /// The program, or a directory of programs each named by its platform.
        file: Utf8PathBuf,
        /// Its version.
        release: Version,
        /// The directory of the command, such as `public/tool`.
        #[arg(short = 'O', long, value_name = "DIR", default_value = "public")]
        out: Utf8PathBuf,
        /// The same for whole programs, where clients get them elsewhere [default: as --out].
        #[arg(long, value_name = "DIR")]
        bin: Option<Utf8PathBuf>,
        /// The same for patches [default: as --out].
        #[arg(long, value_name = "DIR")]
        diff: Option<Utf8PathBuf>,
        /// Operating system and architecture as Go calls them [default: those of this host].
        #[arg(long, value_name = "OS-ARCH", default_value = own_platform())]
        platform: String,
        /// Make patches from so many versions, the highest.
        #[arg(long, value_name = "N", default_value_t = 3)]
        patches: usize,
        /// Replace a version that is there, or publish one beside a newer one, which clients keep to.
        #[arg(long)]
        force: bool,
    },
    /// A directory of artifacts with checksums, patches and a signature.
    Release {
        /// The artifacts.
        directory: Utf8PathBuf,
        /// The repository's root.
        #[arg(long, value_name = "DIR")]
        to: Utf8PathBuf,
        /// Its version; the directory's name when absent.
        #[arg(long = "version", value_name = "VERSION")]
        release: Option<Version>,
        /// Sign the checksums with this key of gpg.
        #[arg(long, value_name = "KEY")]
        sign: Option<String>,
        /// Make patches from so many versions, the highest.
        #[arg(long, value_name = "N", default_value_t = 3)]
        patches: usize,
        /// Replace a version that is there.
        #[arg(long)]
        force: bool,
    },
}

fn own_arch() -> &'static str {
    if cfg!(target_arch = "aarch64") { "arm64" } else { "amd64" }
}

fn own_platform() -> String {
    format!("linux-{}", own_arch())
}
