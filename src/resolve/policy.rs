//! The choice of a release by version, age and order.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};

use crate::model::{Prereleases, Release};
use crate::resource::app::spec::{Order, VersionWish};

/// Most releases in an answer: the best and three steps down from it while its files are incomplete.
pub const CHOICES_MAX: usize = 4;

/// For how long after publishing missing files are waited for: of 282 recorded releases, 46 % got files
/// after they were published, all but four of them within a day.
pub const FRESH: SignedDuration = SignedDuration::from_hours(24);

/// The releases to try, best first, at most [`CHOICES_MAX`].
///
/// Versions that have no order come after those that have one, the last published first. A demanded
/// age holds for versions that can move without an edit, not for an exact one; a release without a
/// publish time is never old enough.
pub fn choose<'a>(
    releases: &'a [Release],
    wish: &VersionWish,
    now: Timestamp,
) -> Result<Vec<&'a Release>, NoChoice> {
    let mut wished: Vec<&Release> =
        releases.iter().filter(|release| objection(release, wish).is_none()).collect();
    if wished.is_empty() {
        return Err(nothing_wished(releases, wish));
    }
    one_series(&wished)?;
    wished.sort_by(|a, b| order_key(b, wish.order).cmp(&order_key(a, wish.order)));
    let mut chosen = wished.clone();
    chosen.retain(|release| old_enough_at(release, wish).is_some_and(|at| at <= now));
    chosen.truncate(CHOICES_MAX);
    if chosen.is_empty() { Err(too_young(&wished, wish)) } else { Ok(chosen) }
}

/// Why a release is not wished.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Objection {
    /// Its version is outside the constraint.
    OutsideConstraint,
    /// The source or the version says that it is a prerelease.
    Prerelease,
    /// Its tag carries no version that could be compared.
    NoVersion,
}

impl Objection {
    /// In words, after the tag.
    pub fn describe(self) -> &'static str {
        match self {
            Self::OutsideConstraint => "is outside it",
            Self::Prerelease => "is a prerelease, which `prereleases: true` would accept",
            Self::NoVersion => "carries no version number",
        }
    }
}

/// Checks one release against everything but its age.
pub fn objection(release: &Release, wish: &VersionWish) -> Option<Objection> {
    let version = &release.version;
    if wish.want.accepts(version, wish.prereleases) {
        // The forge's mark counts like the version's own. A version that says so itself and was accepted
        // is one that the constraint names.
        let marked = release.prerelease && !version.is_prerelease();
        let refused = wish.prereleases == Prereleases::Refused && wish.want.is_floating();
        return (marked && refused).then_some(Objection::Prerelease);
    }
    Some(if wish.want.accepts(version, Prereleases::Wanted) {
        Objection::Prerelease
    } else if version.is_opaque() {
        Objection::NoVersion
    } else {
        Objection::OutsideConstraint
    })
}

/// What decides which of two releases is newer, the greater being the newer.
fn order_key(release: &Release, order: Order) -> impl Ord + '_ {
    let published = release.published;
    let by_version = match order {
        Order::Version if !release.version.is_opaque() => Some(&release.version),
        Order::Version | Order::Published => None,
    };
    let then = (order == Order::Published).then_some(&release.version);
    (by_version, published, then, Reverse(&release.tag))
}

/// When a release is old enough; `None` when that cannot be known.
fn old_enough_at(release: &Release, wish: &VersionWish) -> Option<Timestamp> {
    if !wish.want.is_floating() || wish.min_age <= SignedDuration::ZERO {
        return Some(Timestamp::MIN);
    }
    release.published.and_then(|published| published.checked_add(wish.min_age).ok())
}

/// Refuses tags of several products, none of which can be compared: `cli-v1.2` and `server-v3.0`.
fn one_series(wished: &[&Release]) -> Result<(), NoChoice> {
    if wished.iter().any(|release| !release.version.is_opaque()) {
        return Ok(());
    }
    let prefixes = prefixes(wished.iter().map(|release| release.tag.as_str()));
    if prefixes.len() > 1 { Err(NoChoice::SeveralSeries { prefixes }) } else { Ok(()) }
}

/// The texts before version numbers in tags, the commonest first.
fn prefixes<'a>(tags: impl Iterator<Item = &'a str>) -> Vec<String> {
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    for prefix in tags.filter_map(prefix) {
        *counts.entry(prefix).or_default() += 1;
    }
    let mut prefixes: Vec<(&str, usize)> = counts.into_iter().collect();
    prefixes.sort_by_key(|(_, count)| Reverse(*count));
    prefixes.into_iter().map(|(prefix, _)| prefix.to_owned()).collect()
}

/// `cli/v` of `cli/v1.2.3`; `None` without anything before a number.
fn prefix(tag: &str) -> Option<&str> {
    let mut before_number = None;
    let mut previous = None;
    for (at, c) in tag.char_indices() {
        let start = previous.is_some_and(|p: char| !p.is_alphanumeric())
            || (previous == Some('v') && tag.get(..at).is_some_and(ends_with_v_alone));
        if c.is_ascii_digit() && start {
            before_number = tag.get(..at);
            break;
        }
        previous = Some(c);
    }
    before_number.filter(|prefix| prefix.starts_with(|c: char| !c.is_ascii_digit()))
}

/// The `v` of `cli/v` and `cli_v`, not that of `dev`.
fn ends_with_v_alone(text: &str) -> bool {
    text.strip_suffix('v').is_some_and(|rest| !rest.ends_with(char::is_alphanumeric))
}

fn nothing_wished(releases: &[Release], wish: &VersionWish) -> NoChoice {
    let newest =
        releases.iter().max_by(|a, b| order_key(a, wish.order).cmp(&order_key(b, wish.order)));
    let Some(newest) = newest else { return NoChoice::NoRelease };
    let opaque = releases.iter().filter(|release| release.version.is_opaque());
    NoChoice::NoneWished {
        want: wish.want.to_string(),
        count: releases.len(),
        newest: newest.tag.clone(),
        objection: objection(newest, wish).unwrap_or(Objection::OutsideConstraint),
        prefix: prefixes(opaque.map(|release| release.tag.as_str())).into_iter().next(),
    }
}

fn too_young(wished: &[&Release], wish: &VersionWish) -> NoChoice {
    let soonest = wished
        .iter()
        .filter_map(|release| old_enough_at(release, wish).map(|at| (at, release)))
        .min_by_key(|(at, _)| *at);
    match soonest {
        Some((at, release)) => NoChoice::TooYoung { tag: release.tag.clone(), at },
        None => NoChoice::AgeUnknown { count: wished.len() },
    }
}

/// Why no release was chosen.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoChoice {
    /// The source has none whose tag fits the tag pattern.
    #[error(
        "choosing a release: the source offers none; check its name and, if tags carry more than a \
         version, write `tag`"
    )]
    NoRelease,
    /// None satisfies the wish.
    #[error(
        "choosing a release: none of {count} satisfies `{want}`; the newest, {newest}, {}{}",
        objection.describe(), suggestion(prefix.as_deref())
    )]
    NoneWished {
        /// The constraint.
        want: String,
        /// How many releases were looked at.
        count: usize,
        /// Tag of the newest.
        newest: String,
        /// Why that one is not wished.
        objection: Objection,
        /// What most tags without a comparable version have before a number.
        prefix: Option<String>,
    },
    /// Tags of several products without a pattern that tells them apart.
    #[error(
        "choosing a release: the tags belong to several products ({}); say which with \
         `tag: \"{}{{version}}\"`", .prefixes.join(", "),
        .prefixes.first().map_or("", String::as_str)
    )]
    SeveralSeries {
        /// What the tags have before a number, the commonest first.
        prefixes: Vec<String>,
    },
    /// All that satisfy the wish are younger than it demands.
    #[error("choosing a release: {tag} is not old enough before {at}; wait, or lower `min_age`")]
    TooYoung {
        /// Tag of the one that is old enough first.
        tag: String,
        /// When.
        at: Timestamp,
    },
    /// An age is demanded and the source states no publish time.
    #[error(
        "choosing a release: the age of none of {count} is known because the source states no publish \
         time; remove `min_age`"
    )]
    AgeUnknown {
        /// How many satisfy the rest of the wish.
        count: usize,
    },
}

fn suggestion(prefix: Option<&str>) -> String {
    prefix.map_or_else(String::new, |prefix| {
        format!("; tags look like `{prefix}…`: write `tag: \"{prefix}{{version}}\"`")
    })
}

/// True while files of a release may still be on their way to the source: [`FRESH`].
pub fn fresh(release: &Release, now: Timestamp) -> bool {
    release.published.is_some_and(|published| now.duration_since(published) < FRESH)
}

/// How long to wait before looking again for the missing files of a release; `None` once it is no
/// longer fresh and a person has to look.
pub fn recheck_after(release: &Release, now: Timestamp) -> Option<SignedDuration> {
    let age = now.duration_since(release.published.filter(|_| fresh(release, now))?);
    let minutes = [60, 15, 5, 2].into_iter().find(|m| age >= SignedDuration::from_mins(*m));
    Some(SignedDuration::from_mins(minutes.unwrap_or(1)))
}

#[cfg(test)]
mod tests;
