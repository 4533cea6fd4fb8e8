//! Names and reasons for what happens to an extension; pure.

use std::cmp::Ordering;

use crate::model::{Action, Attribution, Drift, DriftKind, Prereleases};
use crate::resource::extension::order::Order;
use crate::resource::extension::plan::Situation;
use crate::resource::extension::wanted::WantedSet;

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
            return self.explain_none_in_use(to, drift);
        };
        if current == to {
            return match why {
                Some(why) => (Action::Replace, Attribution::DesiredChanged, why.to_owned()),
                None => (Action::Repair, Attribution::DriftCorrected, count_drift(drift)),
            };
        }
        let order = Order::of(self.spec.order, [current, to].into_iter());
        let action = match order.compare(to, current) {
            Ordering::Greater => Action::Upgrade,
            Ordering::Less => Action::Downgrade,
            Ordering::Equal => Action::Replace,
        };
        if let Some(reason) = &wanted.rolled_back {
            return (action, Attribution::RolledBack, reason.clone());
        }
        if !drift.is_empty() {
            return (Action::Repair, Attribution::DriftCorrected, count_drift(drift));
        }
        let want = &self.spec.version;
        if want.is_floating() && order.accepts(want, current, Prereleases::Wanted) {
            (action, Attribution::UpstreamMoved, format!("the source has {to}"))
        } else {
            (action, Attribution::DesiredChanged, format!("{want} is wished"))
        }
    }

    fn explain_none_in_use(&self, to: &str, drift: &[Drift]) -> (Action, Attribution, String) {
        if self.owned.is_some_and(|owned| !owned.activated.is_empty()) {
            let why =
                if drift.is_empty() { "nothing is linked".to_owned() } else { count_drift(drift) };
            return (Action::Repair, Attribution::DriftCorrected, why);
        }
        let want = &self.spec.version;
        let why = if want.is_floating() {
            format!("not installed; {want} is {to}")
        } else {
            "not installed".to_owned()
        };
        (Action::Install, Attribution::FirstInstall, why)
    }

    /// The same for a change that only cleans up, or makes up for what an earlier pass owes.
    pub(super) fn explain_tidy(&self) -> (Action, Attribution, String) {
        let (attribution, why) = if !self.debts.is_empty() {
            (Attribution::Interrupted, "an earlier pass owes effects".to_owned())
        } else if !self.observed.leftovers.is_empty() {
            (Attribution::Interrupted, "an earlier pass was cut off".to_owned())
        } else {
            let kept = self.spec.retain;
            (Attribution::Retention, format!("more than {kept} releases are kept"))
        };
        (Action::Tidy, attribution, why)
    }
}

fn count_drift(drift: &[Drift]) -> String {
    match drift {
        [] => "the release is not whole".to_owned(),
        [one] if one.kind == DriftKind::Missing => format!("{} is gone", one.path),
        [one] => format!("{} was changed by somebody else", one.path),
        more => format!("{} paths were changed by somebody else", more.len()),
    }
}
