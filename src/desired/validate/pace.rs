//! When a resource is looked after: its own rhythm, its own windows, and whether it is left alone.

use jiff::SignedDuration;

use crate::desired::document::SuspendDocument;
use crate::desired::field::{Field, Spanned, Table};
use crate::desired::validate::{Checker, values};
use crate::model::pace::{EVERY_MAX, EVERY_MIN, Pace};
use crate::model::window::Windows;
use crate::model::window::document::WindowDocument;
use crate::resource::SuspendWish;

/// Most windows of one resource: each is looked at several times in every pass.
const WINDOWS_MAX: usize = 20;

impl Checker<'_> {
    /// How often its source is asked, and when what is in use may be replaced.
    pub(super) fn pace(
        &self,
        every: &Field<String>,
        windows: &Field<Table<WindowDocument>>,
    ) -> Pace {
        let every = self.optional(every, "`every`", |text| {
            between(values::duration(text)?, (EVERY_MIN, EVERY_MAX), "write a time from 1s to 7d")
        });
        let table = windows.good();
        if let Some(table) = table.filter(|table| table.value.0.len() > WINDOWS_MAX) {
            self.refuse(table.span, "`windows`", format!("at most {WINDOWS_MAX}"));
        }
        let listed = table.map(|table| table.value.0.as_slice()).unwrap_or_default();
        let windows = listed
            .iter()
            .filter_map(|(name, window)| Some((name.value.clone(), window.value()?.window())));
        Pace { every, windows: Windows(windows.collect()) }
    }

    pub(super) fn suspend(&self, suspend: &Spanned<SuspendDocument>) -> Option<SuspendWish> {
        let reason = self.required(&suspend.value.reason, "`suspend.reason`", suspend.span)?;
        let until = self.optional(&suspend.value.until, "`suspend.until`", values::time);
        let reason = self.check(reason, "`suspend.reason`", |text| match text.trim() {
            "" => Err("say why, for whoever reads the plan".to_owned()),
            _ => Ok(text.to_owned()),
        })?;
        Some(SuspendWish { reason, until })
    }
}

fn between(
    time: SignedDuration,
    (least, most): (SignedDuration, SignedDuration),
    otherwise: &str,
) -> Result<SignedDuration, String> {
    if time < least || time > most { Err(otherwise.to_owned()) } else { Ok(time) }
}
