//! Transfers whose patterns fit each other's files; pure.
//!
//! `app_@v.raw` fits `app_x_1.raw`, too: as the version `x_1`. systemd-sysupdate 262 takes it for one, lists it, counts it
//! and vacuums it, although another transfer brought it. Here a file is of the transfer whose pattern says most about
//! its name, and of none where two say as much; what was installed by us says itself which version it is.

use std::collections::HashMap;
use std::hash::Hash;

use serde::Serialize;

use crate::format::sysupdate::pattern::{Comparison, Match, Pattern, compare_all};
use crate::resource::extension::spec::{Transfer, texts};

/// Patterns of other transfers that fit names which a transfer's own patterns fit.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Others {
    /// At the source.
    #[serde(serialize_with = "texts")]
    source: Vec<Pattern>,
    /// In the directory of images.
    #[serde(serialize_with = "texts")]
    target: Vec<Pattern>,
}

impl Transfer {
    /// What the name of a file in its directory says, if it is an image of this transfer.
    pub fn image(&self, file: &str) -> Comparison {
        let mut found = compare_all(&self.target, file);
        // What no definition owns any more is not what one that there is has, however little that says.
        let least = || if self.entry.is_some() { 0 } else { said(&self.target, file) };
        found.fields = found.fields.filter(|_| !is_of(&self.others.target, file, least));
        found
    }

    /// Whether a file at the source that one of its patterns fits is one of another transfer.
    pub fn is_of_another(&self, path: &str) -> bool {
        is_of(&self.others.source, path, || said(&self.source, path))
    }
}

/// Whether one of these patterns fits a name and says at least so much about it.
fn is_of(others: &[Pattern], name: &str, least: impl Fn() -> usize) -> bool {
    let fits = |other: &Pattern| matches!(other.compare(name), Match::Yes(_));
    others.iter().any(|other| fits(other) && other.literal_bytes() >= least())
}

/// How much patterns say about a name that one of them fits.
fn said(patterns: &[Pattern], name: &str) -> usize {
    let fitting = patterns.iter().filter(|pattern| matches!(pattern.compare(name), Match::Yes(_)));
    fitting.map(Pattern::literal_bytes).max().unwrap_or_default()
}

/// Tells transfers which names are those of others: of each other, and of some that are not carried out.
pub fn tell_apart<'a>(transfers: impl Iterator<Item = &'a mut Transfer>, others: &[Transfer]) {
    let mut transfers: Vec<&mut Transfer> = transfers.collect();
    let all = || transfers.iter().map(|transfer| &**transfer).chain(others);
    let sources = by_place(all().map(|t| (t.from.clone(), t.source.as_slice())));
    let targets = by_place(all().map(|t| (t.directory.clone(), t.target.as_slice())));
    for transfer in &mut transfers {
        transfer.others = Others {
            source: meeting(&transfer.source, sources.get(&transfer.from)),
            target: meeting(&transfer.target, targets.get(&transfer.directory)),
        };
    }
}

fn by_place<'a, P: Eq + Hash>(
    all: impl Iterator<Item = (P, &'a [Pattern])>,
) -> HashMap<P, Vec<Pattern>> {
    let mut places: HashMap<P, Vec<Pattern>> = HashMap::new();
    for (place, patterns) in all {
        places.entry(place).or_default().extend_from_slice(patterns);
    }
    places
}

/// Those that may fit what one of a transfer's own fits, and are none of these.
fn meeting(own: &[Pattern], all: Option<&Vec<Pattern>>) -> Vec<Pattern> {
    let meets = |other: &&Pattern| own.iter().any(|pattern| pattern.may_meet(other));
    let others = all.into_iter().flatten().filter(|other| !own.contains(other));
    let mut others: Vec<Pattern> = others.filter(meets).cloned().collect();
    others.sort_by(|a, b| a.as_str().cmp(b.as_str()));
    others.dedup();
    others
}

#[cfg(test)]
mod tests {
    use super::*;

    fn patterns(texts: &[&str]) -> Vec<Pattern> {
        texts.iter().map(|text| Pattern::parse(text).unwrap()).collect()
    }

    #[test]
    fn only_patterns_that_may_fit_the_same_name_meet() {
        let all =
            patterns(&["app_@v.raw", "app_x_@v.raw", "web_@v.raw", "app_@v.efi", "app-@v.raw"]);
        let own = patterns(&["app_@v.raw"]);
        let met = meeting(&own, Some(&all));
        assert_eq!(met, patterns(&["app_x_@v.raw"]));
        assert_eq!(meeting(&patterns(&["**/x_@v.raw"]), Some(&all)).len(), 4);
    }

    #[test]
    fn name_is_of_the_pattern_that_says_most_about_it() {
        let (wide, narrow) = (patterns(&["app_@v.raw"]), patterns(&["app_x_@v.raw"]));
        let name = "app_x_1.raw";
        assert!(is_of(&narrow, name, || said(&wide, name)));
        assert!(!is_of(&wide, name, || said(&narrow, name)));
        assert!(!is_of(&narrow, "app_1.raw", || said(&wide, "app_1.raw")));
    }

    #[test]
    fn name_about_which_two_say_as_much_is_of_neither() {
        let (one, other) = (patterns(&["a_@v_x.raw"]), patterns(&["a_y_@v.raw"]));
        let name = "a_y_1_x.raw";
        assert!(
            is_of(&one, name, || said(&other, name)) && is_of(&other, name, || said(&one, name))
        );
    }
}
