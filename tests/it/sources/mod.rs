//! Sources say which releases there are, and nothing more, however they are described.

mod directories;
mod github;

use jiff::SignedDuration;
use reconcile::fetch::{Credentials, Reader};
use reconcile::model::Release;
use reconcile::model::facts::Arch;
use reconcile::model::version::Prereleases;
use reconcile::resource::app::spec::{Downgrade, Order, TagPattern, VersionWish};
use reconcile::source::spec::SourceSpec;
use reconcile::source::{SourceError, releases};

use crate::fetch::{client, now, run};

/// The architecture that is asked for.
const ARCH: Arch = Arch::X86_64;

fn wish(want: &str) -> VersionWish {
    VersionWish {
        want: want.parse().unwrap(),
        prereleases: Prereleases::Refused,
        tag: TagPattern::Plain,
        min_age: SignedDuration::ZERO,
        downgrade: Downgrade::Refused,
        order: Order::Version,
    }
}

fn reader() -> Reader {
    Reader::new(client(Credentials::default()), None, now(), SignedDuration::ZERO)
}

fn ask(source: &SourceSpec, wish: &VersionWish) -> Result<Vec<Release>, SourceError> {
    run(releases(source, wish, ARCH, &reader()))
}

fn tags(releases: &[Release]) -> Vec<&str> {
    releases.iter().map(|release| release.tag.as_str()).collect()
}

fn names(release: &Release) -> Vec<&str> {
    release.artifacts.iter().map(|artifact| artifact.name.as_str()).collect()
}

#[test]
fn asking_can_move_between_threads() {
    fn can_move(_: impl Send) {}
    let (source, wish, reader) =
        (directories::web("http://127.0.0.1", None), wish("latest"), reader());
    can_move(releases(&source, &wish, ARCH, &reader));
}
