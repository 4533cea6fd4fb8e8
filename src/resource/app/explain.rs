//! Names and reasons for what happens to an app; pure.

use crate::model::slot::tag_of_slot;
use crate::model::{Action, Attribution, Drift};
use crate::resource::app::plan::Situation;
use crate::resource::app::wanted::Wanted;
use crate::resource::decision::{count_drift, not_installed};

/// What is said when no path can be named.
const NOT_WHOLE: &str = "the release is not whole";

/// What is said of links of which some lead elsewhere than others.
const MIXED: &str = "links point into several releases";

impl Situation<'_> {
    /// What a change of the release in use is called, who caused it, and why.
    pub(super) fn explain(
        &self,
        wanted: &Wanted,
        drift: &[Drift],
        why: Option<&str>,
    ) -> (Action, Attribution, String) {
        let version = &wanted.version;
        let repair = |why: String| (Action::Repair, Attribution::DriftCorrected, why);
        let corrects = self.was_in_use(&wanted.slot);
        let mixed = self.observed.linked_slots().len() > 1;
        if mixed && (corrects || !self.was_active()) {
            return repair(MIXED.to_owned());
        }
        let (from, before) = (self.stands_on(), self.stands_on_version());
        if from.is_none() && before.as_ref() == Some(version) && !drift.is_empty() {
            return repair(count_drift(drift, NOT_WHOLE));
        }
        if from.is_none() && before.is_none() {
            let requested = &self.spec.version.want;
            let floating = requested.is_floating().then(|| requested.to_string());
            return not_installed(floating.as_deref(), wanted.version.as_str());
        }
        if from == Some(&wanted.slot) {
            return match why {
                Some(why) => (Action::Replace, Attribution::DesiredChanged, why.to_owned()),
                None if self.moves() => (Action::Move, Attribution::DesiredChanged, self.moved()),
                None => repair(count_drift(drift, NOT_WHOLE)),
            };
        }
        let action = match &before {
            Some(before) if before.is_opaque() || version.is_opaque() => Action::Replace,
            Some(before) if version > before => Action::Upgrade,
            Some(before) if version < before => Action::Downgrade,
            _ => Action::Replace,
        };
        if let Some(reason) = &wanted.rolled_back {
            return (action, Attribution::RolledBack, reason.clone());
        }
        if !drift.is_empty() && corrects {
            return repair(count_drift(drift, NOT_WHOLE));
        }
        if let Some(from) = from.filter(|from| action == Action::Downgrade && !self.works(from)) {
            let why = format!("{} did not work here", tag_of_slot(from));
            return (action, Attribution::RolledBack, why);
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
}
