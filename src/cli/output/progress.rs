//! Progress bars, on a terminal only.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};

use crate::fetch::blob::Progress;
use crate::fetch::error::FetchError;

/// One bar for each download under way.
#[derive(Debug)]
pub struct Bars {
    all: Option<MultiProgress>,
    bars: Mutex<BTreeMap<String, ProgressBar>>,
}

impl Bars {
    /// Bars on standard error.
    pub fn shown() -> Self {
        Self { all: Some(MultiProgress::new()), bars: Mutex::default() }
    }

    /// No bars: nobody is looking.
    pub fn hidden() -> Self {
        Self { all: None, bars: Mutex::default() }
    }

    /// Takes all bars away.
    pub fn finish(&self) {
        if let Some(all) = &self.all {
            // A terminal that went away is no error.
            let _ = all.clear();
        }
    }

    fn with(&self, name: &str, act: impl FnOnce(&ProgressBar)) {
        let bars = self.bars.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(bar) = bars.get(name) {
            act(bar);
        }
    }
}

impl Progress for Bars {
    fn started(&self, name: &str, total: Option<u64>) {
        let Some(all) = &self.all else { return };
        let style = ProgressStyle::with_template(
            "{msg:32} {bar:24} {bytes:>10}/{total_bytes} {bytes_per_sec}",
        );
        let bar = all.add(total.map_or_else(ProgressBar::new_spinner, ProgressBar::new));
        if let Ok(style) = style {
            bar.set_style(style);
        }
        bar.set_message(name.to_owned());
        let mut bars = self.bars.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(earlier) = bars.insert(name.to_owned(), bar) {
            earlier.finish_and_clear();
        }
    }

    fn advanced(&self, name: &str, bytes: u64) {
        self.with(name, |bar| bar.inc(bytes));
    }

    fn finished(&self, name: &str) {
        self.with(name, ProgressBar::finish_and_clear);
    }

    fn skipped(&self, name: &str, why: &FetchError) {
        tracing::warn!(artifact = name, reason = %crate::model::outcome::chain(why), "trying the next place");
    }
}
