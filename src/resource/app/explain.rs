//! Names and reasons for what happens to an app; pure.

use crate::model::{Action, Attribution, Drift};
use crate::resource::app::plan::Situation;
use crate::resource::app::wanted::Wanted;
use crate::resource::decision::{count_drift, not_installed};

/// What is said when no path can be named.
const NOT_WHOLE: &str = "the release is not whole";

impl Situation<'_> {
    /// What a change of the release in use is called, who caused it, and why.
    pub(super) fn explain(
        &self,
        wanted: &Wanted,
        drift: &[Drift],
        why: Option<&str>,
    ) -> (Action, Attribution, String) {
        let version = &wanted.version;
        let Some(current) = self.observed.current() else {
            return self.explain_none_in_use(wanted, drift);
        };
        if current == wanted.slot {
            return match why {
                Some(why) => (Action::Replace, Attribution::DesiredChanged, why.to_owned()),
                None => {
                    (Action::Repair, Attribution::DriftCorrected, count_drift(drift, NOT_WHOLE))
                }
            };
        }
        let before = self.current_version();
        let action = match &before {
            Some(before) if before.is_opaque() || version.is_opaque() => Action::Replace,
            Some(before) if version > before => Action::Upgrade,
            Some(before) if version < before => Action::Downgrade,
            _ => Action::Replace,
        };
        if let Some(reason) = &wanted.rolled_back {
            return (action, Attribution::RolledBack, reason.clone());
        }
        if !drift.is_empty() {
            return (Action::Repair, Attribution::DriftCorrected, count_drift(drift, NOT_WHOLE));
        }
        let wish = &self.spec.version;
        let still_wished =
            before.as_ref().is_some_and(|before| wish.want.accepts(before, wish.prereleases));
        if still_wished && before.as_ref() == Some(version) {
            (action, Attribution::UpstreamMoved, format!("the source has another {version}"))
        } else if still_wished && wish.want.is_floating() {
            (action, Attribution::UpstreamMoved, format!("the source has {version}"))
        } else {
            (action, Attribution::DesiredChanged, format!("{} is wished", wish.want))
        }
    }

    fn explain_none_in_use(
        &self,
        wanted: &Wanted,
        drift: &[Drift],
    ) -> (Action, Attribution, String) {
        let mixed = self.observed.linked_slots().len() > 1;
        if mixed {
            let why = "links point into several releases".to_owned();
            return (Action::Repair, Attribution::DriftCorrected, why);
        }
        let was_active = self.was_active();
        if was_active {
            let why = if drift.is_empty() {
                "nothing is linked".to_owned()
            } else {
                count_drift(drift, NOT_WHOLE)
            };
            return (Action::Repair, Attribution::DriftCorrected, why);
        }
        let requested = &self.spec.version.want;
        let floating = requested.is_floating().then(|| requested.to_string());
        not_installed(floating.as_deref(), wanted.version.as_str())
    }
}
