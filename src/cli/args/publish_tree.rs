//! Options of publishing trees and of cleaning their stores.

use camino::Utf8PathBuf;
use clap::{Args, ValueEnum};

/// Options of `publish tree`.
#[derive(Clone, Debug, Args)]
pub struct TreeArgs {
    /// The directory.
    #[arg(required_unless_present = "config")]
    pub directory: Option<Utf8PathBuf>,
    /// The index to write, such as `site.caidx`.
    #[arg(long, value_name = "FILE", required_unless_present = "config")]
    pub index: Option<Utf8PathBuf>,
    /// The store of chunks [default: default.castr beside the index].
    #[arg(long, value_name = "DIR")]
    pub store: Option<Utf8PathBuf>,
    /// Publish every tree of a configuration of casync-updater's server, as it does.
    #[arg(
        long,
        value_name = "FILE",
        conflicts_with_all = ["directory", "index", "store", "profile", "digest", "seed_cache"]
    )]
    pub config: Option<Utf8PathBuf>,
    /// Which properties of files to publish.
    #[arg(long, value_enum, default_value_t = ProfileArg::Full)]
    pub profile: ProfileArg,
    /// The digest that names chunks [default: sha512-256 for casync-updater, otherwise sha256].
    #[arg(long, value_enum)]
    pub digest: Option<DigestArg>,
    /// How hard to compress.
    #[arg(
        long, value_name = "LEVEL", default_value_t = 3,
        value_parser = clap::value_parser!(i32).range(1..=19)
    )]
    pub compression_level: i32,
    /// Publish chunks in packs as well, which clients can fetch with few requests.
    #[arg(long)]
    pub packs: bool,
    /// Make a delta from an older version, by its index; `--index` itself may be named again. May be repeated.
    #[arg(long, value_name = "INDEX", conflicts_with = "config")]
    pub delta_from: Vec<Utf8PathBuf>,
    /// Sign the index with this key of gpg; the signature is INDEX.asc, beside it.
    #[arg(long, value_name = "KEY")]
    pub sign: Option<String>,
    /// Where to remember what the tree looked like [default: the index's name with .cache].
    #[arg(long, value_name = "FILE")]
    pub seed_cache: Option<Utf8PathBuf>,
}

/// Which properties of files to publish.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum ProfileArg {
    /// As casync-updater: names, contents and times in steps of two seconds; no permissions and no links.
    CasyncUpdater,
    /// All that `casync make` stores by default, but for attributes of FAT and project identifiers of quotas.
    Full,
    /// Permissions, links and capabilities, but no owners and no times.
    Reproducible,
}

/// The digest that names chunks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum DigestArg {
    /// SHA-256.
    Sha256,
    /// SHA-512/256.
    #[value(name = "sha512-256")]
    Sha512_256,
}

/// Options of `publish gc`.
#[derive(Clone, Debug, Args)]
pub struct StoreGcArgs {
    /// The store of chunks.
    #[arg(long, value_name = "DIR")]
    pub store: Utf8PathBuf,
    /// Every index that names chunks of the store.
    #[arg(required = true, value_name = "INDEX")]
    pub indexes: Vec<Utf8PathBuf>,
    /// Keep what became unused less than this ago, for clients that are still fetching it.
    #[arg(long, value_name = "DURATION", default_value = "24h")]
    pub grace: jiff::SignedDuration,
}
