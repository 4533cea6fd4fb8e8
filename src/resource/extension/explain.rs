//! Names and reasons for what happens to an extension; pure.

use std::cmp::Ordering;

use crate::model::{Action, Attribution, Drift, Prereleases};
use crate::resource::decision::{count_drift, not_installed};
use crate::resource::extension::order::Order;
use crate::resource::extension::plan::Situation;
use crate::resource::extension::wanted::WantedSet;

/// What is said when no path can be named.
const NOT_WHOLE: &str = "the release is not whole";

impl Situation<'_> {
    /// What a change of the images or links is called, who caused it, and why.
    pub(super) fn explain(
        &self,
        wanted: &WantedSet,
        drift: &[Drift],
        why: Option<&str>,
    ) -> (Action, Attribution, String) {
        let to = wanted.slot.as_str();
        let Some(current) = self.observed.current.as_deref() else {
            return self
                .explain_joined(to, drift)
                .unwrap_or_else(|| self.explain_none_in_use(to, drift));
        };
        if current == to {
            return match why {
                Some(why) => (Action::Replace, Attribution::DesiredChanged, why.to_owned()),
                None => {
                    (Action::Repair, Attribution::DriftCorrected, count_drift(drift, NOT_WHOLE))
                }
            };
        }
        let order = Order::of(self.spec.order, [current, to].into_iter());
        let action = action(order, current, to);
        if let Some(reason) = &wanted.rolled_back {
            return (action, Attribution::RolledBack, reason.clone());
        }
        if !drift.is_empty() {
            return (Action::Repair, Attribution::DriftCorrected, count_drift(drift, NOT_WHOLE));
        }
        let want = &self.spec.version;
        if want.is_floating() && order.accepts(want, current, Prereleases::Wanted) {
            (action, Attribution::UpstreamMoved, format!("the source has {to}"))
        } else {
            (action, Attribution::DesiredChanged, format!("{want} is wished"))
        }
    }

    /// The same for a release that further transfers joined: what the others have in use is told.
    fn explain_joined(&self, to: &str, drift: &[Drift]) -> Option<(Action, Attribution, String)> {
        let seen = &self.observed.transfers;
        let (joined, before): (Vec<_>, Vec<_>) =
            self.spec.transfers.iter().zip(seen).partition(|(_, seen)| self.is_new(seen));
        let mut linked =
            before.iter().map(|(_, seen)| seen.linked_image().map(|(version, _)| version));
        let current = linked.next()??;
        if joined.is_empty() || !drift.is_empty() || !linked.all(|other| other == Some(current)) {
            return None;
        }
        let order = Order::of(self.spec.order, [current, to].into_iter());
        let action = action(order, current, to);
        let names: Vec<&str> = joined.iter().map(|(transfer, _)| transfer.name.as_str()).collect();
        let why = format!("{} is wished, too", names.join(", "));
        Some((action, Attribution::DesiredChanged, why))
    }

    fn explain_none_in_use(&self, to: &str, drift: &[Drift]) -> (Action, Attribution, String) {
        if self.was_active() {
            let why = if drift.is_empty() {
                "nothing is linked".to_owned()
            } else {
                count_drift(drift, NOT_WHOLE)
            };
            return (Action::Repair, Attribution::DriftCorrected, why);
        }
        let want = &self.spec.version;
        let floating = want.is_floating().then(|| want.to_string());
        not_installed(floating.as_deref(), to)
    }
}

fn action(order: Order, current: &str, to: &str) -> Action {
    match order.compare(to, current) {
        Ordering::Greater => Action::Upgrade,
        Ordering::Less => Action::Downgrade,
        Ordering::Equal => Action::Replace,
    }
}
