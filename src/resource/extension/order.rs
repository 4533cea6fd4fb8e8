//! Which of several versions is the newest: one order for a whole set of candidates.
//!
//! Pairwise mixing of orders is not transitive. When every version of the set is strict SemVer
//! (semver.org 2.0.0, with or without `v`), that order holds; else systemd's (UAPI.10), in which
//! `1.0.0-rc1` is newer than `1.0.0`.

use std::cmp::Ordering;

use serde::Serialize;

use crate::format::sysupdate::order::{compare, compare_exactly};
use crate::model::version::Comparison;
use crate::model::{Constraint, Prereleases, Version};

/// The order that is asked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum OrderWish {
    /// SemVer where every version is one, else UAPI.10.
    #[default]
    Auto,
    /// SemVer; other versions are older than any.
    Semver,
    /// UAPI.10.
    Uapi,
}

/// The order of one set of versions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// SemVer.
    Semver,
    /// UAPI.10.
    Uapi,
}

impl Order {
    /// The order of this set.
    pub fn of<'a>(wish: OrderWish, mut versions: impl Iterator<Item = &'a str>) -> Self {
        match wish {
            OrderWish::Semver => Self::Semver,
            OrderWish::Auto if versions.all(|version| semver(version).is_some()) => Self::Semver,
            OrderWish::Auto | OrderWish::Uapi => Self::Uapi,
        }
    }

    /// Compares two versions: the newer is greater. Total: only identical texts are equal.
    pub fn compare(self, a: &str, b: &str) -> Ordering {
        match (self, semver(a), semver(b)) {
            (Self::Uapi, ..) | (_, None, None) => compare_exactly(a, b),
            (_, Some((core_a, build_a)), Some((core_b, build_b))) => core_a
                .cmp(&core_b)
                .then_with(|| compare(build_a, build_b))
                .then_with(|| compare_exactly(a, b)),
            (_, Some(_), None) => Ordering::Greater,
            (_, None, Some(_)) => Ordering::Less,
        }
    }

    /// Whether the version says of itself that it comes before a release.
    fn is_prerelease(self, version: &str) -> bool {
        match self {
            Self::Semver => semver(version).is_some_and(|(core, _)| core.is_prerelease()),
            Self::Uapi => version.contains('~'),
        }
    }

    /// Whether a version satisfies a wish. An exact version is accepted as it is written, with or without `v`.
    pub fn accepts(self, want: &Constraint, version: &str, prereleases: Prereleases) -> bool {
        let welcome = prereleases == Prereleases::Wanted || !self.is_prerelease(version);
        match want {
            Constraint::Latest => welcome,
            Constraint::Exact(exact) => self.same(exact.as_str(), version),
            Constraint::All { comparisons, .. } => {
                let named = comparisons.iter().any(|c| self.is_prerelease(bound(c).as_str()));
                (welcome || named) && comparisons.iter().all(|c| self.holds(c, version))
            }
        }
    }

    fn same(self, a: &str, b: &str) -> bool {
        let (a, b) = (bare(a), bare(b));
        match self {
            Self::Uapi => compare(a, b).is_eq(),
            Self::Semver => {
                a.parse::<Version>().ok().zip(b.parse().ok()).is_some_and(|(a, b)| a == b)
            }
        }
    }

    fn holds(self, comparison: &Comparison, version: &str) -> bool {
        let order = match self {
            Self::Uapi => compare(bare(version), bare(bound(comparison).as_str())),
            Self::Semver => match semver(version) {
                Some((core, _)) => core.cmp(bound(comparison)),
                None => return false,
            },
        };
        match comparison {
            Comparison::Equal(_) => order.is_eq(),
            Comparison::NotEqual(_) => order.is_ne(),
            Comparison::Below(_) => order.is_lt(),
            Comparison::AtMost(_) => order.is_le(),
            Comparison::Above(_) => order.is_gt(),
            Comparison::AtLeast(_) => order.is_ge(),
        }
    }
}

fn bound(comparison: &Comparison) -> &Version {
    match comparison {
        Comparison::Equal(v)
        | Comparison::NotEqual(v)
        | Comparison::Below(v)
        | Comparison::AtMost(v)
        | Comparison::Above(v)
        | Comparison::AtLeast(v) => v,
    }
}

/// `v1.2` is version 1.2.
fn bare(text: &str) -> &str {
    let rest = text.strip_prefix(['v', 'V']);
    rest.filter(|rest| rest.starts_with(|c: char| c.is_ascii_digit())).unwrap_or(text)
}

/// Version without build part, and the build part, of a strict SemVer text.
fn semver(text: &str) -> Option<(Version, &str)> {
    let (rest, build) = bare(text).split_once('+').unwrap_or((bare(text), ""));
    let (core, pre) = match rest.split_once('-') {
        Some((core, pre)) => (core, Some(pre)),
        None => (rest, None),
    };
    let plain = |n: &str| n == "0" || !n.starts_with('0');
    let number = |n: &str| !n.is_empty() && n.bytes().all(|b| b.is_ascii_digit()) && plain(n);
    let word = |w: &str| !w.is_empty() && w.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-');
    let pre_word = |w: &str| word(w) && (w.bytes().any(|b| !b.is_ascii_digit()) || plain(w));
    let good = core.split('.').count() == 3
        && core.split('.').all(number)
        && pre.is_none_or(|pre| pre.split('.').all(pre_word))
        && (build.is_empty() || build.split('.').all(word));
    Some((rest.parse().ok().filter(|_| good)?, build))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn newest(versions: &[&'static str]) -> &'static str {
        let order = Order::of(OrderWish::Auto, versions.iter().copied());
        versions.iter().copied().max_by(|a, b| order.compare(a, b)).unwrap()
    }

    #[test]
    fn one_order_holds_for_a_whole_set() {
        assert_eq!(newest(&["1.2.0-rc1", "1.2.0"]), "1.2.0");
        assert_eq!(newest(&["1.2.0-rc1", "1.2.0", "1.1"]), "1.2.0-rc1", "1.1 is no SemVer");
        assert_eq!(newest(&["v1.29.2+k3s9", "v1.29.2+k3s10"]), "v1.29.2+k3s10");
        assert_eq!(newest(&["29.4.10-1", "29.4.2-2", "29.4.9"]), "29.4.10-1");
        assert_eq!(newest(&["1.0", "1.0.0"]), "1.0.0");
        assert_eq!(newest(&["2024.01.05", "2024.1.4"]), "2024.01.05");
    }

    #[test]
    fn wishes_hold_by_the_order_of_the_set() {
        let accepts = |order: Order, want: &str, version| {
            order.accepts(&want.parse().unwrap(), version, Prereleases::Refused)
        };
        assert!(!accepts(Order::Semver, "latest", "1.2.0-rc1"));
        assert!(accepts(Order::Uapi, "latest", "1+7.2-debian13-202607011055"));
        assert!(!accepts(Order::Uapi, "latest", "1.2~rc1"));
        assert!(accepts(Order::Uapi, ">=29, <30", "29.4.2-2"));
        assert!(!accepts(Order::Uapi, "<29", "29.4.2-2"));
        assert!(accepts(Order::Semver, "1.2.0", "v1.2.0"));
        assert!(accepts(Order::Uapi, "1.2_3", "1.2_3"));
    }

    /// What updex orders in its tests and how it was measured, next to what holds here: one order for a whole set, so that
    /// it differs where updex mixes three.
    #[test]
    fn versions_that_updex_orders_have_one_order_here() {
        let of = |a: &str, b: &str| {
            let order = Order::of(OrderWish::Auto, [a, b].into_iter());
            (order.compare(a, b), order.accepts(&a.parse().unwrap(), b, Prereleases::Wanted))
        };
        for (older, newer) in [
            ("1.0.0", "2.0.0"),
            ("1.0.0", "1.0.1"),
            ("1.0.9", "1.1.0"),
            ("1.0.0-rc1", "1.0.0"),
            ("1.2.0-rc1", "1.2.0"),
            ("1.2.0~rc1", "1.2.0"),
            ("1.0.0~rc1", "1.0.0"),
            ("1.9.0", "1.10.0"),
            ("v1.2", "1.3"),
            ("20240114", "20240115"),
            ("abc", "def"),
            ("5+29.3.1-1~debian.13~trixie", "5+29.4.2-2~debian.13~trixie"),
            ("5+29.3.0-1~debian.13~trixie", "5+29.3.1-1~debian.13~trixie"),
            ("1.0-1~debian", "1.0-2~debian"),
            ("1+7.2-debian13-202607011055", "1+7.2-debian13-202607020000"),
            ("1.2.0+b1", "1.2.0+b2"),
            ("1.2_3", "1.2_10"),
            ("1.2-2", "1.2-10"),
            ("1.2.3.4", "1.2.3.4.5"),
        ] {
            assert_eq!(of(older, newer).0, Ordering::Less, "{older} {newer}");
            assert_eq!(of(newer, older).0, Ordering::Greater, "{older} {newer}");
        }
        for (one, same) in [
            ("1.0.0", "1.0.0"),
            ("v1.0.0", "1.0.0"),
            ("5+29.4.2-2~debian.13~trixie", "5+29.4.2-2~debian.13~trixie"),
            ("2024.01.05", "2024.1.5"),
        ] {
            assert!(of(one, same).1, "{one} {same}");
        }
        // An epoch's colon is in no version of systemd; as text the number before it still decides.
        assert_eq!(compare("1:5.0", "2:1.0"), Ordering::Less);
        assert_eq!(compare("5:29.4.2-2", "5:29.4.10-1"), Ordering::Less);
        // Here updex says otherwise: equal, older, older.
        for (older, newer) in [("1.0", "1.0.0"), ("1.2.3", "1.2.3a"), ("abc", "1.0")] {
            assert_eq!(of(older, newer).0, Ordering::Less, "{older} {newer}");
        }
    }
}
