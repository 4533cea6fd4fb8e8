//! Which hosts a document or a resource is for.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::model::facts::Arch;

/// Characters of a pattern that stand for others.
const WILD: [char; 2] = ['*', '?'];

/// What a host is chosen by.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Identity {
    /// Its name.
    pub hostname: String,
    /// 32 hexadecimal digits, as in `/etc/machine-id`.
    pub machine_id: Option<String>,
    /// What its operator says about it.
    pub labels: BTreeMap<String, String>,
    /// Its architecture.
    pub arch: Arch,
}

/// Hosts that are meant: every list that is not empty must have one that fits.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Match {
    /// Patterns of names; `*` is any number of characters, `?` one.
    pub hostname: Vec<String>,
    /// Machine ids.
    pub machine_id: Vec<String>,
    /// Patterns of values, by label; each label must be there and fit.
    pub labels: BTreeMap<String, Vec<String>>,
    /// Architectures.
    pub arch: Vec<Arch>,
}

impl Match {
    /// Whether a host is meant.
    pub fn covers(&self, host: &Identity) -> bool {
        let any = |patterns: &[String], text: &str| {
            patterns.is_empty() || patterns.iter().any(|pattern| fits(pattern, text))
        };
        let machine = |id: &String| host.machine_id.as_ref() == Some(id);
        any(&self.hostname, &host.hostname)
            && (self.machine_id.is_empty() || self.machine_id.iter().any(machine))
            && (self.arch.is_empty() || self.arch.contains(&host.arch))
            && self.labels.iter().all(|(name, patterns)| {
                host.labels.get(name).is_some_and(|value| any(patterns, value))
            })
    }
}

/// Whether a pattern fits a whole text, in time proportional to the product of both lengths.
fn fits(pattern: &str, text: &str) -> bool {
    if !pattern.contains(WILD) {
        return pattern == text;
    }
    let mut reached: Vec<bool> = vec![false; text.chars().count() + 1];
    if let Some(start) = reached.first_mut() {
        *start = true;
    }
    for wanted in pattern.chars() {
        let mut next = vec![false; reached.len()];
        if wanted == '*' {
            let mut on = false;
            for (next, before) in next.iter_mut().zip(&reached) {
                on |= *before;
                *next = on;
            }
        } else {
            let steps = next.iter_mut().skip(1).zip(reached.iter().zip(text.chars()));
            for (next, (before, there)) in steps {
                *next = *before && (wanted == '?' || wanted == there);
            }
        }
        reached = next;
    }
    reached.last().copied().unwrap_or(false)
}

#[cfg(test)]
mod tests {
    use super::{Identity, Match, fits};
    use crate::model::facts::Arch;

    #[test]
    fn pattern_fits_the_whole_name() {
        for (pattern, text) in
            [("web-*", "web-03"), ("*", ""), ("web-??", "web-03"), ("*.b.*", "a.b.c"), ("a", "a")]
        {
            assert!(fits(pattern, text), "{pattern} {text}");
        }
        for (pattern, text) in
            [("web-*", "xweb-03"), ("web-?", "web-03"), ("a", "ab"), ("?", ""), ("*b", "abc")]
        {
            assert!(!fits(pattern, text), "{pattern} {text}");
        }
    }

    #[test]
    fn every_part_that_is_given_must_fit() {
        let host = Identity {
            hostname: "web-03".to_owned(),
            machine_id: Some("0123456789abcdef0123456789abcdef".to_owned()),
            labels: [("role".to_owned(), "web".to_owned())].into(),
            arch: Arch::X86_64,
        };
        assert!(Match::default().covers(&host));
        let label = |name: &str, values: &[&str]| Match {
            labels: [(name.to_owned(), values.iter().map(ToString::to_string).collect())].into(),
            ..Match::default()
        };
        assert!(label("role", &["db", "w*"]).covers(&host));
        assert!(label("role", &[]).covers(&host), "the label is there");
        assert!(!label("role", &["db"]).covers(&host));
        assert!(!label("tier", &[]).covers(&host));
        let other = Match { arch: vec![Arch::Aarch64], ..label("role", &["web"]) };
        assert!(!other.covers(&host));
    }
}
