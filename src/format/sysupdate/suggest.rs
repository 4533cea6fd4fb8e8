//! Whether a feature or component is proposed on a host.
//!
//! Source: the keys `SuggestOn…=` of sysupdate.features(5), which have the grammar of `Condition…=` in systemd.unit(5). What
//! depends on firmware, virtualisation, credentials and the like is not looked at here: such a condition has no answer.

use super::definition::{Condition, Suggestion};
use crate::format::os_release::OsRelease;

/// What a host is, as far as conditions ask.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Host {
    /// Its architecture in systemd's words.
    pub architecture: String,
    /// Its name.
    pub name: String,
    /// Its machine id.
    pub machine_id: String,
    /// The kernel's command line.
    pub command_line: String,
    /// What its os-release says.
    pub os_release: OsRelease,
    /// `TAGS=` of machine-info, apart.
    pub machine_tags: Vec<String>,
}

impl Suggestion {
    /// Whether it is proposed there; `None` when a condition is malformed or cannot be answered.
    pub fn holds(&self, host: &Host) -> Option<bool> {
        if let Some(stated) = self.suggest {
            return Some(stated);
        }
        let mut alternatives = None;
        let mut all = !self.conditions.is_empty();
        for condition in &self.conditions {
            let (triggers, rest) = prefix(&condition.value, '|');
            let (negated, value) = prefix(rest, '!');
            let holds = condition.is_so(value.trim_start(), host)? != negated;
            if triggers {
                *alternatives.get_or_insert(false) |= holds;
            } else {
                all &= holds;
            }
        }
        Some(all && alternatives.unwrap_or(true))
    }
}

fn prefix(text: &str, sign: char) -> (bool, &str) {
    text.strip_prefix(sign).map_or((false, text), |rest| (true, rest))
}

impl Condition {
    fn is_so(&self, value: &str, host: &Host) -> Option<bool> {
        if value.is_empty() || value.contains(['*', '?', '[']) {
            return None;
        }
        match self.key.strip_prefix("SuggestOn")? {
            "Architecture" => Some(value == "native" || value == host.architecture),
            "Host" => {
                let id = value.replace('-', "").to_ascii_lowercase();
                Some(value.eq_ignore_ascii_case(&host.name) || id == host.machine_id)
            }
            "KernelCommandLine" => Some(host.command_line.split_whitespace().any(|word| {
                let key = word.split_once('=').map(|(key, _)| key);
                word == value || key == Some(value)
            })),
            "MachineTag" => Some(host.machine_tags.iter().any(|tag| tag == value)),
            "OSRelease" => {
                let words: Option<Vec<bool>> =
                    value.split_whitespace().map(|word| os_release(word, host)).collect();
                words.map(|words| words.into_iter().all(|holds| holds))
            }
            _ => None,
        }
    }
}

/// `ID=debian` and `ID!=debian`. Comparisons of versions have no answer.
fn os_release(word: &str, host: &Host) -> Option<bool> {
    let (key, value) = word.split_once('=')?;
    let (key, equal) = key.strip_suffix('!').map_or((key, true), |key| (key, false));
    let plain =
        |text: &str| text.bytes().all(|b| b.is_ascii_uppercase() || b"_0123456789".contains(&b));
    if key.is_empty() || !plain(key) || value.starts_with(['=', '<', '>']) {
        return None;
    }
    let stated = host.os_release.get(key).unwrap_or_default();
    Some((stated == value.trim_matches(['"', '\''])) == equal)
}

#[cfg(test)]
mod tests {
    use super::super::ini::Place;
    use super::*;

    fn asked(conditions: &[(&str, &str)]) -> Option<bool> {
        let host = Host {
            architecture: "x86-64".to_owned(),
            name: "kiosk".to_owned(),
            machine_id: "0123456789abcdef0123456789abcdef".to_owned(),
            command_line: "quiet root=/dev/vda".to_owned(),
            os_release: OsRelease::parse(b"ID=debian\n").unwrap(),
            machine_tags: vec!["edge".to_owned(), "site=berlin".to_owned()],
        };
        let condition = |(key, value): &(&str, &str)| Condition {
            key: format!("SuggestOn{key}"),
            value: (*value).to_owned(),
            place: Place { file: String::new(), line: 1 },
        };
        let conditions = conditions.iter().map(condition).collect();
        Suggestion { suggest: None, conditions }.holds(&host)
    }

    #[test]
    fn all_conditions_hold_and_one_of_the_alternatives() {
        assert_eq!(asked(&[]), Some(false), "nothing is proposed without a reason");
        assert_eq!(asked(&[("MachineTag", "edge"), ("Architecture", "x86-64")]), Some(true));
        assert_eq!(asked(&[("MachineTag", "edge"), ("Architecture", "arm64")]), Some(false));
        assert_eq!(asked(&[("MachineTag", "!edge")]), Some(false));
        assert_eq!(asked(&[("MachineTag", "|other"), ("Host", "|KIOSK")]), Some(true));
        assert_eq!(asked(&[("MachineTag", "|other"), ("Host", "|!kiosk")]), Some(false));
        assert_eq!(
            asked(&[("KernelCommandLine", "root"), ("KernelCommandLine", "quiet")]),
            Some(true)
        );
        assert_eq!(asked(&[("OSRelease", "ID=debian ID!=fedora")]), Some(true));
        assert_eq!(asked(&[("Host", "01234567-89ab-cdef-0123-456789abcdef")]), Some(true));
    }

    #[test]
    fn malformed_condition_and_one_that_is_not_looked_at_have_no_answer() {
        for (key, value) in [
            ("OSRelease", "nonsense"),
            ("OSRelease", "ID>=3"),
            ("Security", "tpm2"),
            ("Host", "k*"),
        ] {
            assert_eq!(asked(&[(key, value)]), None, "{key}={value}");
        }
        let stated = Suggestion { suggest: Some(true), conditions: Vec::new() };
        assert_eq!(stated.holds(&Host::default()), Some(true));
    }
}
