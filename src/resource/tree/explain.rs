//! Names and reasons for what happens to a tree; pure.

use std::fmt::Write;

use crate::model::outcome::counted;
use crate::model::{Action, Attribution, Drift};
use crate::resource::decision::{count_drift, not_installed};
use crate::resource::tree::observe::Live;
use crate::resource::tree::plan::Situation;
use crate::resource::tree::spec::TreeLayout;
use crate::resource::tree::wanted::{OFFLINE, Offer, Wanted};

/// Bytes of a mebibyte.
const MIB: f64 = 1_048_576.0;

/// What is said when no path can be named.
const NOT_WHOLE: &str = "the tree is not whole";

impl Situation<'_> {
    /// What a change of the generation in use is called, who caused it, and why.
    pub(super) fn explain(
        &self,
        wanted: &Wanted,
        drift: &[Drift],
        why: Option<&str>,
    ) -> (Action, Attribution, String) {
        let (action, attribution, mut reason) = self.cause(wanted, drift, why);
        let extras = self.observed.extras.filter(|extras| *extras > 0);
        let set_aside =
            attribution == Attribution::DriftCorrected && self.spec.layout == TreeLayout::Exchange;
        if let Some(extras) = extras.filter(|_| set_aside) {
            let paths = counted(usize::try_from(extras).unwrap_or(usize::MAX), "path");
            let of = format!("; the tree with {paths} of somebody else is kept beside it");
            reason.push_str(&of);
        }
        if let Some(offer) = &wanted.offer {
            reason.push_str("; ");
            reason.push_str(&ways(offer));
        }
        (action, attribution, reason)
    }

    /// Whether a generation was published before the one in use, as far as is known.
    fn goes_back(&self, wanted: &Wanted) -> bool {
        let kept = || self.observed.head(wanted.slot.as_deref()?)?.published;
        let to = wanted.offer.as_ref().map_or_else(kept, |offer| offer.published);
        let from = self.observed.current_head().and_then(|head| head.published);
        to.zip(from).is_some_and(|(to, from)| to < from)
    }

    fn cause(
        &self,
        wanted: &Wanted,
        drift: &[Drift],
        why: Option<&str>,
    ) -> (Action, Attribution, String) {
        let Some(current) = self.observed.current_head() else {
            let was_active = self.was_active();
            if was_active {
                let why = format!("{} is not the tree that was installed", self.spec.path);
                return (Action::Repair, Attribution::DriftCorrected, why);
            }
            if let Live::Directory { .. } = self.observed.live {
                let (path, version) = (&self.spec.path, &wanted.version);
                let why = format!("what is at {path} is not {version}; it is kept beside it");
                return (Action::Install, Attribution::FirstInstall, why);
            }
            let floating = self.spec.is_floating().then(|| self.spec.requested());
            return not_installed(floating.as_deref(), wanted.version.as_str());
        };
        let (before, version) = (&current.version, &wanted.version);
        let action = match () {
            () if current.index == wanted.index && why.is_none() && !drift.is_empty() => {
                return (
                    Action::Repair,
                    Attribution::DriftCorrected,
                    count_drift(drift, NOT_WHOLE),
                );
            }
            () if before.is_opaque() || version.is_opaque() => Action::Replace,
            () if version > before => Action::Upgrade,
            () if version < before => Action::Downgrade,
            () => Action::Replace,
        };
        if let Some(reason) = &wanted.rolled_back {
            return (action, Attribution::RolledBack, reason.clone());
        }
        if current.index == wanted.index {
            let why = why.unwrap_or("the generation in use is not whole").to_owned();
            return (action, Attribution::DesiredChanged, why);
        }
        if self.spec.is_floating() {
            let mut why = format!("the source has {version}");
            if self.goes_back(wanted) {
                let from = if current.evidence.stated_by.starts_with(OFFLINE) {
                    " from the offline copy"
                } else {
                    ""
                };
                let _ = write!(why, ", published before {before}{from}, which is in use");
            }
            (action, Attribution::UpstreamMoved, why)
        } else {
            (action, Attribution::DesiredChanged, format!("{} is wished", self.spec.requested()))
        }
    }
}

/// Which way the bytes come.
fn ways(offer: &Offer) -> String {
    #[expect(clippy::cast_precision_loss, reason = "for people, to a tenth")]
    let mib = |bytes: u64| match bytes as f64 / MIB {
        few if few < 0.1 => format!("{:.1} KiB", few * 1024.0),
        many => format!("{many:.1} MiB"),
    };
    let ways = &offer.ways;
    let mut parts = vec![format!("of {}", mib(ways.bytes))];
    if ways.reused_bytes > 0 {
        parts.push(format!("{} from the tree in use", mib(ways.reused_bytes)));
    }
    if ways.kept_bytes > 0 {
        parts.push(format!("{} from a generation that is kept", mib(ways.kept_bytes)));
    }
    if ways.cached_chunks > 0 {
        parts.push(format!("{} from the cache", counted_chunks(ways.cached_chunks)));
    }
    if let Some(bytes) = ways.delta_bytes {
        let made = counted_chunks(ways.fetched_chunks);
        parts.push(format!("{made} made of that by a delta of {}", mib(bytes)));
        return parts.join(", ");
    }
    let from = if offer.offline { "the offline store" } else { "the store" };
    parts.push(format!(
        "{} with {} from {from}",
        counted_chunks(ways.fetched_chunks),
        mib(ways.fetched_bytes)
    ));
    if ways.packed_chunks > 0 {
        let requests = usize::try_from(ways.pack_requests).unwrap_or(usize::MAX);
        let packed = counted_chunks(ways.packed_chunks);
        parts.push(format!("{packed} of them in packs by {}", counted(requests, "request")));
    }
    parts.join(", ")
}

fn counted_chunks(number: u64) -> String {
    counted(usize::try_from(number).unwrap_or(usize::MAX), "chunk")
}
