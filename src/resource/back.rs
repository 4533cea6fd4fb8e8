//! Which release an operator goes back to; pure.

use crate::model::{Kind, ResourceId, Version};
use crate::resource::decision::ADOPTED;
use crate::resource::{Found, Spec};

/// What is known of a resource that is to go back.
#[derive(Clone, Copy, Debug)]
pub struct Before<'a> {
    /// Which.
    pub id: &'a ResourceId,
    /// The wish, where there is one.
    pub spec: Option<&'a Spec>,
    /// What the host has.
    pub found: &'a Found,
    /// Slots in the order in which they were in use, newest last.
    pub activated: &'a [String],
    /// The slot that an operator went back to before.
    pub pinned: Option<&'a str>,
}

impl Before<'_> {
    /// The slot to go back to: the one that is named, or the last that was in use before and is signed
    /// as is demanded.
    ///
    /// # Errors
    /// Why there is none, and what there is.
    pub fn slot(&self, to: Option<&str>) -> Result<String, String> {
        let Self { id, found, .. } = *self;
        let slots = found.usable().into_iter();
        let others: Vec<&str> = slots.filter(|slot| Some(*slot) != found.current()).collect();
        let names = others.iter().map(|slot| found.name_of(slot)).collect::<Vec<_>>().join(", ");
        match to {
            None if others.is_empty() => Err(format!("{id} has no other release to go back to")),
            None => self.last(&others, &names),
            Some(to) if names.is_empty() => self.named(to, (&others, "none")),
            Some(to) => self.named(to, (&others, &names)),
        }
    }

    fn version(&self, slot: &str) -> Option<Version> {
        self.found.version_of(slot, self.spec)
    }

    fn named(&self, to: &str, (others, names): (&[&str], &str)) -> Result<String, String> {
        let Self { id, found, .. } = *self;
        let is_it = |slot: &str| {
            Found::tag_of(slot) == to || self.version(slot).is_some_and(|v| v.as_str() == to)
        };
        if found.current().is_some_and(is_it) {
            return Err(format!("{to} of {id} is in use already; other releases: {names}"));
        }
        let there = others.iter().find(|slot| is_it(slot)).map(|slot| (*slot).to_owned());
        // One that was in use and is gone may still be had.
        let gone = self.activated.iter().filter(|_| id.kind == Kind::App).find(|slot| {
            let tag = Found::tag_of(slot);
            tag == to || tag.strip_prefix('v') == Some(to)
        });
        there.or(gone.cloned()).ok_or_else(|| {
            format!("{to} of {id} is not installed; installed besides the one in use: {names}")
        })
    }

    fn last(&self, others: &[&str], names: &str) -> Result<String, String> {
        let Self { id, found, activated, pinned, .. } = *self;
        // Where the release in use was taken away, it is still what somebody goes back from.
        let from = found.current().or(pinned).or(activated.last().map(String::as_str));
        let current = from.and_then(|slot| self.version(slot));
        let earlier = |slot: &&String| match (self.version(slot), &current) {
            (Some(there), Some(here)) if !there.is_opaque() && !here.is_opaque() => there < *here,
            _ => true,
        };
        let known = activated.iter().rev();
        let known = known.filter(|slot| others.contains(&slot.as_str())).filter(earlier);
        // What was there before us is older than anything of ours.
        let adopted = others.iter().copied().filter(|slot| *slot == ADOPTED);
        let before: Vec<&str> = known.map(String::as_str).chain(adopted).collect();
        let signed = before.iter().find(|slot| !self.is_unsigned(slot));
        signed.map(|slot| (*slot).to_owned()).ok_or_else(|| match before.first() {
            Some(slot) => format!(
                "{} of {id} was not verified by gpg, which is demanded now; to go back to it all the same, name it with --to",
                found.name_of(slot)
            ),
            None => format!(
                "no release of {id} was in use before this one; installed besides, for --to: {names}"
            ),
        })
    }

    /// Whether a signature is demanded and no key is known to have signed a release that is there.
    pub fn is_unsigned(&self, slot: &str) -> bool {
        let verify = match self.spec {
            Some(Spec::App(spec)) => &spec.verify,
            Some(Spec::Tree(spec)) => &spec.verify,
            Some(Spec::Extension(_)) | None => return false,
        };
        let made_from = self.found.made_from(slot);
        let signed = made_from.is_some_and(|(_, evidence)| evidence.signer.is_some());
        verify.gpg.is_some() && !signed
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::resource::app::AppObserved;
    use crate::resource::app::observe::{BinDir, Slot};

    /// What is in use, what is there, what was in use, what is asked for; the answer.
    type Case<'a> =
        (&'a str, &'a [&'a str], &'a [&'a str], Option<&'a str>, Result<&'a str, &'a str>);

    fn found(current: &str, slots: &[&str]) -> Found {
        let link = ("tool".to_owned(), format!("../releases/{current}/tool"));
        let links = Some(link).filter(|_| !current.is_empty()).into_iter().collect();
        let bin = Some(BinDir { links, others: BTreeMap::new() });
        let slot = || Slot::default();
        let slots = slots.iter().map(|name| ((*name).to_owned(), slot())).collect();
        Found::App(AppObserved { bin, slots, ..AppObserved::default() })
    }

    #[test]
    fn slot_is_the_named_one_or_the_last_that_was_in_use_and_is_older() {
        let id = "app/tool".parse().unwrap();
        let cases: [Case<'_>; 10] = [
            ("2.0", &["1.0", "2.0"], &["1.0", "2.0"], None, Ok("1.0")),
            ("1.0", &["0.9", "1.0", "2.0"], &["0.9", "1.0", "2.0", "1.0"], None, Ok("0.9")),
            ("2.0", &["1.0", "2.0"], &["2.0"], None, Err("for --to: 1.0")),
            ("2.0", &["2.0", ADOPTED], &["2.0"], None, Ok(ADOPTED)),
            ("2.0", &["2.0"], &["1.0", "2.0"], None, Err("no other release to go back to")),
            ("", &["1.0", "2.0"], &["1.0", "2.0"], None, Ok("1.0")),
            ("2.0", &["1.0", "2.0"], &["2.0"], Some("1.0"), Ok("1.0")),
            (
                "2.0",
                &["1.0", "2.0"],
                &["2.0"],
                Some("2.0"),
                Err("in use already; other releases: 1.0"),
            ),
            ("2.0", &["2.0"], &["v1.0", "2.0"], Some("1.0"), Ok("v1.0")),
            ("2.0", &["2.0"], &["2.0"], Some("1.0"), Err("besides the one in use: none")),
        ];
        for (current, slots, activated, to, expected) in cases {
            let activated: Vec<String> = activated.iter().map(ToString::to_string).collect();
            let found = found(current, slots);
            let before =
                Before { id: &id, spec: None, found: &found, activated: &activated, pinned: None };
            match (before.slot(to), expected) {
                (Ok(slot), Ok(expected)) => assert_eq!(slot, expected),
                (Err(why), Err(expected)) if why.ends_with(expected) => {}
                (told, _) => panic!("{current} {slots:?} {activated:?} {to:?}: {told:?}"),
            }
        }
    }
}
