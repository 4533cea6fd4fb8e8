//! Versions and constraints over them.
//!
//! One tolerant order serves SemVer, CalVer and versions of any number of parts: numbers compare as
//! numbers (missing ones are 0), a prerelease (`-rc.1`) comes before its release, build metadata
//! (`+7`) breaks ties. `1.10` stays text: it is not `1.1`. A version that does not start with a number
//! (`nightly`) is *opaque*: it equals only itself and sorts below every other.

mod bounds;

use std::cmp::Ordering;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// Longest version text accepted from anywhere, in bytes.
pub const VERSION_BYTES_MAX: usize = 128;

/// A version as its publisher wrote it, without the tag's prefix.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Version {
    text: String,
    parts: Option<Parts>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Parts {
    numbers: Vec<u64>,
    pre: Vec<Ident>,
    build: String,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Ident {
    Number(u64),
    Text(String),
}

impl Version {
    /// The text.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// True for versions that have no order, such as `nightly`.
    pub fn is_opaque(&self) -> bool {
        self.parts.is_none()
    }

    /// True when the version itself says that it is a prerelease (`2.0.0-rc.1`).
    pub fn is_prerelease(&self) -> bool {
        self.parts.as_ref().is_some_and(|p| !p.pre.is_empty())
    }

    /// The numeric part at `index`, 0 when absent.
    fn number(&self, index: usize) -> u64 {
        self.parts.as_ref().and_then(|p| p.numbers.get(index)).copied().unwrap_or(0)
    }
}

impl FromStr for Version {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text.is_empty() {
            return Err("a version cannot be empty".to_owned());
        }
        if text.len() > VERSION_BYTES_MAX {
            return Err(format!("a version has at most {VERSION_BYTES_MAX} bytes"));
        }
        let printable = |c: char| !c.is_control() && !c.is_whitespace();
        if !text.chars().all(printable) || text.contains("..") || text.starts_with('-') {
            return Err(format!(
                "`{}` is not a version: blanks, control characters, `..` and a leading `-` are \
                 refused",
                text.escape_debug()
            ));
        }
        Ok(Self { text: text.to_owned(), parts: parts(text) })
    }
}

/// Reads `1.2.3-rc.1+build`; `None` when the text does not start with a number.
fn parts(text: &str) -> Option<Parts> {
    let (rest, build) = text.split_once('+').unwrap_or((text, ""));
    let end = rest.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(rest.len());
    let (numbers, tail) = rest.split_at(end);
    let numbers: Vec<u64> = numbers
        .trim_end_matches('.')
        .split('.')
        .map(|n| n.parse().ok())
        .collect::<Option<Vec<u64>>>()?;
    let tail = tail.trim_start_matches(['-', '_', '~', '.']);
    let pre =
        if tail.is_empty() { Vec::new() } else { tail.split(['.', '-']).map(ident).collect() };
    Some(Parts { numbers, pre, build: build.to_owned() })
}

fn ident(text: &str) -> Ident {
    match text.parse() {
        Ok(number) if text.bytes().all(|b| b.is_ascii_digit()) => Ident::Number(number),
        _ => Ident::Text(text.to_owned()),
    }
}

impl Ord for Version {
    fn cmp(&self, other: &Self) -> Ordering {
        match (&self.parts, &other.parts) {
            (Some(a), Some(b)) => compare_parts(a, b),
            (Some(_), None) => Ordering::Greater,
            (None, Some(_)) => Ordering::Less,
            (None, None) => self.text.cmp(&other.text),
        }
    }
}

fn compare_parts(a: &Parts, b: &Parts) -> Ordering {
    let length = a.numbers.len().max(b.numbers.len());
    let at = |v: &[u64], i: usize| v.get(i).copied().unwrap_or(0);
    (0..length)
        .map(|i| at(&a.numbers, i).cmp(&at(&b.numbers, i)))
        .find(|o| o.is_ne())
        .unwrap_or(Ordering::Equal)
        .then_with(|| match (a.pre.is_empty(), b.pre.is_empty()) {
            (true, true) => Ordering::Equal,
            (true, false) => Ordering::Greater,
            (false, true) => Ordering::Less,
            (false, false) => a.pre.cmp(&b.pre),
        })
        .then_with(|| a.build.cmp(&b.build))
}

impl PartialOrd for Version {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Version {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Version {}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl TryFrom<String> for Version {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl From<Version> for String {
    fn from(version: Version) -> Self {
        version.text
    }
}

/// Which versions are acceptable.
///
/// - `latest`: the newest the source offers;
/// - `14.1.1` or `=14.1.1`: exactly this one (`1.2` and `1.2.0` are the same version);
/// - `>=14, <15`, `^1.2`, `~1.4`, `1.x`, `!=1.3.0`: all of a comma-separated list must hold.
///
/// Prereleases match a list only when one of its items names a prerelease, or when the resource allows
/// prereleases.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Constraint {
    /// The newest.
    Latest,
    /// This one only.
    Exact(Version),
    /// Every comparison holds.
    All {
        /// As written.
        text: String,
        /// The comparisons.
        comparisons: Vec<Comparison>,
    },
}

/// Whether a resource wants prereleases.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Prereleases {
    /// Only when the constraint names one.
    #[default]
    Refused,
    /// Like any other release.
    Wanted,
}

/// One item of a constraint, reduced to an inclusive lower and an exclusive upper bound or the like.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Comparison {
    /// `=`
    Equal(Version),
    /// `!=`
    NotEqual(Version),
    /// `<`
    Below(Version),
    /// `<=`
    AtMost(Version),
    /// `>`
    Above(Version),
    /// `>=`
    AtLeast(Version),
}

impl Comparison {
    fn version(&self) -> &Version {
        match self {
            Self::Equal(v)
            | Self::NotEqual(v)
            | Self::Below(v)
            | Self::AtMost(v)
            | Self::Above(v)
            | Self::AtLeast(v) => v,
        }
    }

    fn holds(&self, version: &Version) -> bool {
        match self {
            Self::Equal(v) => version == v,
            Self::NotEqual(v) => version != v,
            Self::Below(v) => version < v,
            Self::AtMost(v) => version <= v,
            Self::Above(v) => version > v,
            Self::AtLeast(v) => version >= v,
        }
    }
}

impl Constraint {
    /// Whether `version` is acceptable.
    ///
    /// An upper bound excludes the prereleases of its own version: `<15` refuses `15.0.0-rc.1`.
    pub fn accepts(&self, version: &Version, prereleases: Prereleases) -> bool {
        let wanted = prereleases == Prereleases::Wanted;
        match self {
            Self::Latest => wanted || !version.is_prerelease(),
            Self::Exact(exact) => version == exact,
            Self::All { comparisons, .. } => {
                let named = comparisons.iter().any(|c| c.version().is_prerelease());
                (wanted || named || !version.is_prerelease())
                    && !version.is_opaque()
                    && comparisons.iter().all(|c| c.holds(version))
                    && !comparisons.iter().any(|c| prerelease_of_bound(c, version))
            }
        }
    }

    /// True for `latest` and for every constraint: the version can move without an edit.
    pub fn is_floating(&self) -> bool {
        !matches!(self, Self::Exact(_))
    }
}

fn prerelease_of_bound(comparison: &Comparison, version: &Version) -> bool {
    let Comparison::Below(bound) = comparison else { return false };
    version.is_prerelease()
        && !bound.is_prerelease()
        && (0..8).all(|i| version.number(i) == bound.number(i))
}

impl Constraint {
    /// The constraint `*`, which every release satisfies.
    pub fn any() -> Self {
        Self::All { text: "*".to_owned(), comparisons: Vec::new() }
    }
}

impl FromStr for Constraint {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let text = text.trim();
        if text == "latest" {
            return Ok(Self::Latest);
        }
        let items: Vec<&str> = text.split(',').map(str::trim).collect();
        if let [single] = items.as_slice()
            && let Some(exact) = exact(single)?
        {
            return Ok(Self::Exact(exact));
        }
        let mut comparisons = Vec::new();
        for item in items {
            comparisons.extend(comparisons_of(item)?);
        }
        if bounds::contradict(&comparisons) {
            return Err(format!("`{text}`: no version can be all of that"));
        }
        Ok(Self::All { text: text.to_owned(), comparisons })
    }
}

/// `Some` when the item is one version, with or without `=`.
fn exact(item: &str) -> Result<Option<Version>, String> {
    let bare = item.strip_prefix('=').map_or(item, str::trim);
    // What people copy from a release page: `v1.2` is version 1.2.
    let numbered = bare.strip_prefix(['v', 'V']);
    let numbered = numbered.filter(|rest| rest.starts_with(|c: char| c.is_ascii_digit()));
    let bare = numbered.unwrap_or(bare);
    let operator = bare.starts_with(['<', '>', '^', '~', '!', '=', '*']);
    if operator || is_wildcard(bare) { Ok(None) } else { bare.parse().map(Some) }
}

/// `1.x`, `1.2.*`, `*`.
fn is_wildcard(text: &str) -> bool {
    text.split('.').any(|part| matches!(part, "x" | "X" | "*"))
}

fn comparisons_of(item: &str) -> Result<Vec<Comparison>, String> {
    let operators = [">=", "<=", "!=", ">", "<", "=", "^", "~"];
    let (operator, operand) = operators
        .iter()
        .find_map(|o| item.strip_prefix(o).map(|rest| (*o, rest.trim())))
        .unwrap_or(("", item));
    if is_wildcard(operand) {
        return if matches!(operator, "" | "=") {
            wildcard(operand)
        } else {
            Err(format!("`{item}`: `{operator}` cannot be combined with a wildcard"))
        };
    }
    let version: Version = operand.parse().map_err(|why| format!("`{item}`: {why}"))?;
    if version.is_opaque() {
        return Err(format!(
            "`{item}` is not a version constraint: write `latest`, a version such as `14.1.1`, or a \
             list such as `>=14, <15`"
        ));
    }
    Ok(match operator {
        ">=" => vec![Comparison::AtLeast(version)],
        "<=" => vec![Comparison::AtMost(version)],
        "!=" => vec![Comparison::NotEqual(version)],
        ">" => vec![Comparison::Above(version)],
        "<" => vec![Comparison::Below(version)],
        "^" => between(version, caret_place),
        "~" => between(version, tilde_place),
        _ => vec![Comparison::Equal(version)],
    })
}

/// At least `version`, below the version whose number at `place(version)` is one higher.
fn between(version: Version, place: fn(&Version) -> usize) -> Vec<Comparison> {
    let place = place(&version);
    let mut upper: Vec<String> = (0..place).map(|i| version.number(i).to_string()).collect();
    upper.push(version.number(place).saturating_add(1).to_string());
    let mut bounds = vec![Comparison::AtLeast(version)];
    bounds.extend(upper.join(".").parse().ok().map(Comparison::Below));
    bounds
}

/// SemVer crates' rule: `^1.2` stays below 2, `^0.3` below 0.4, `^0.0.7` below 0.0.8.
fn caret_place(version: &Version) -> usize {
    let written = version.parts.as_ref().map_or(1, |p| p.numbers.len());
    (0..written).find(|&i| version.number(i) != 0).unwrap_or(written.saturating_sub(1))
}

/// `~1.4` and `~1.4.2` stay below 1.5, `~1` below 2.
fn tilde_place(version: &Version) -> usize {
    version.parts.as_ref().map_or(0, |p| p.numbers.len().min(2).saturating_sub(1))
}

fn wildcard(operand: &str) -> Result<Vec<Comparison>, String> {
    let kept: Vec<&str> =
        operand.split('.').take_while(|part| !matches!(*part, "x" | "X" | "*")).collect();
    if kept.is_empty() {
        return Ok(Vec::new());
    }
    let version: Version = kept.join(".").parse()?;
    if version.is_opaque() || version.is_prerelease() {
        return Err(format!("`{operand}` is not a version with a wildcard such as `1.x`"));
    }
    Ok(between(version, |v| v.parts.as_ref().map_or(0, |p| p.numbers.len().saturating_sub(1))))
}

impl fmt::Display for Constraint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Latest => f.write_str("latest"),
            Self::Exact(version) => version.fmt(f),
            Self::All { text, .. } => f.write_str(text),
        }
    }
}

impl TryFrom<String> for Constraint {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl From<Constraint> for String {
    fn from(constraint: Constraint) -> Self {
        constraint.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn v(text: &str) -> Version {
        text.parse().unwrap()
    }

    #[test]
    fn versions_order_as_their_publishers_mean() {
        let ascending = [
            "nightly",
            "0.9",
            "1.0.0-alpha",
            "1.0.0-alpha.1",
            "1.0.0-alpha.beta",
            "1.0.0-beta.2",
            "1.0.0-beta.11",
            "1.0.0-rc.1",
            "1.0.0",
            "1.0.0+build",
            "1.1",
            "1.2.3",
            "1.2.3.1",
            "1.10",
            "2024.05.01",
            "2025.9.5",
        ];
        for pair in ascending.windows(2) {
            assert!(v(pair[0]) < v(pair[1]), "{} < {}", pair[0], pair[1]);
        }
        assert_eq!(v("2025.09.05"), v("2025.9.5"));
        assert_eq!(v("1.2"), v("1.2.0"));
        assert_ne!(v("1.10"), v("1.1"));
    }

    #[test]
    fn unsafe_texts_are_not_versions() {
        for text in ["", "..", "1..2", "1 2", "a\nb", "-1", &"9".repeat(200)] {
            assert!(text.parse::<Version>().is_err(), "{text:?}");
        }
        assert!(v(&"9".repeat(40)).is_opaque(), "numbers beyond 64 bits have no order");
    }

    #[track_caller]
    fn check(constraint: &str, yes: &[&str], no: &[&str]) {
        let parsed: Constraint = constraint.parse().unwrap();
        for version in yes {
            assert!(
                parsed.accepts(&v(version), Prereleases::Refused),
                "{constraint} accepts {version}"
            );
        }
        for version in no {
            assert!(
                !parsed.accepts(&v(version), Prereleases::Refused),
                "{constraint} refuses {version}"
            );
        }
    }

    #[test]
    fn constraints_accept_what_they_say() {
        check("latest", &["1", "nightly"], &["1.0-rc1"]);
        check("1.10", &["1.10", "1.10.0"], &["1.1", "1.10.1"]);
        check(">=14, <15", &["14", "14.9"], &["13.9", "15", "15.0.0-rc.1", "14.1-rc1"]);
        check("^1.2", &["1.2", "1.99"], &["1.1", "2.0", "2.0.0-beta"]);
        check("^0.3.1", &["0.3.1", "0.3.9"], &["0.4", "0.3.0"]);
        check("^0.0.7", &["0.0.7"], &["0.0.8"]);
        check("~1.4", &["1.4.9"], &["1.5"]);
        check("~1.4.2", &["1.4.2", "1.4.9"], &["1.5", "1.4.1"]);
        check("1.x", &["1.0", "1.9"], &["2", "0.9"]);
        check("1.2.*", &["1.2.7"], &["1.3"]);
        check(">=1, !=1.3.0", &["1.2", "1.4"], &["1.3"]);
        check(">=2.0.0-rc.1, <3", &["2.0.0-rc.2", "2.0"], &["2.0.0-beta"]);
        check("nightly", &["nightly"], &["1.0"]);
        check("v1.2", &["1.2"], &["1.3"]);
    }

    #[test]
    fn malformed_constraints_say_what_to_write() {
        for text in [">=", ">= banana", ">=1.x", "1.0, nightly", "", "^"] {
            assert!(text.parse::<Constraint>().is_err(), "{text:?}");
        }
    }
}
