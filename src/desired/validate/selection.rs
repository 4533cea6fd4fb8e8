//! Which hosts are meant: documents become matches.

use crate::desired::document::{ArchDocument, MatchDocument, TextList};
use crate::desired::field::{Field, Short, Spanned};
use crate::desired::parse::Problems;
use crate::desired::validate::Checker;
use crate::model::facts::Arch;
use crate::model::selection::Match;

/// The longest pattern: twice the longest host name.
const PATTERN_BYTES_MAX: usize = 512;

/// The match of a whole document.
pub(super) fn of_document(field: &Field<MatchDocument>, problems: &Problems) -> Option<Match> {
    let checker = Checker { subject: "this document".to_owned(), directory: "", problems };
    checker.selection(field)
}

impl Checker<'_> {
    /// The hosts that are meant; `None` for all.
    pub(super) fn selection(&self, field: &Field<MatchDocument>) -> Option<Match> {
        let document = field.value()?;
        let labels = document.labels.value().map(|t| t.0.as_slice()).unwrap_or_default();
        let arch = self.items(&document.arch, "`match.arch`").map(|arch| match arch.value {
            ArchDocument::X86 => Arch::X86_64,
            ArchDocument::Arm => Arch::Aarch64,
        });
        Some(Match {
            hostname: self.texts(&document.hostname, "`match.hostname`", pattern),
            machine_id: self.texts(&document.machine_id, "`match.machine_id`", machine_id),
            labels: labels
                .iter()
                .map(|(name, values)| {
                    (name.value.clone(), self.texts(values, "`match.labels`", pattern))
                })
                .collect(),
            arch: arch.collect(),
        })
    }

    fn texts(
        &self,
        field: &Field<Short<TextList>>,
        what: &str,
        parse: fn(&str) -> Result<String, String>,
    ) -> Vec<String> {
        let texts: Vec<Spanned<String>> = match field.good() {
            None => Vec::new(),
            Some(Spanned { span, value: Short::Text(text) }) => {
                vec![Spanned { span: *span, value: text.clone() }]
            }
            Some(Spanned { span, value: Short::Full(TextList(list)) }) => {
                if list.is_empty() {
                    self.refuse(
                        *span,
                        what,
                        "an empty list would match no host; name one or leave it out",
                    );
                }
                list.iter().filter_map(Field::good).cloned().collect()
            }
        };
        texts.iter().filter_map(|text| self.check(text, what, parse)).collect()
    }
}

fn pattern(text: &str) -> Result<String, String> {
    if text.is_empty() || text.len() > PATTERN_BYTES_MAX || text.chars().any(char::is_control) {
        return Err(format!("a pattern has 1 to {PATTERN_BYTES_MAX} characters, none of control"));
    }
    Ok(text.to_owned())
}

fn machine_id(text: &str) -> Result<String, String> {
    if text.len() != 32 || !text.bytes().all(|b| b.is_ascii_hexdigit()) {
        return Err("a machine id has 32 hexadecimal digits".to_owned());
    }
    Ok(text.to_ascii_lowercase())
}
