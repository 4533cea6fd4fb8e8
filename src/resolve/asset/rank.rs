//! The automatic choice: exclusion by platform, then an order in which only like is compared.

use std::collections::BTreeSet;

use regex::Regex;

use crate::model::facts::{Arch, Libc};
use crate::resolve::asset::file::{Container, payload};
use crate::resolve::asset::reading::{BuiltFor, Context, Reading};
use crate::resolve::asset::specific::most_specific;
use crate::resolve::asset::words::{Cpu, meanings};
use crate::resolve::asset::{
    Listing, PatternError, Reason, Refusal, Rejected, Selection, Target, Verdict, regex,
};
use crate::resource::app::spec::Narrow;

/// A name that is a payload, with all that was read from it.
pub(super) struct Candidate<'a> {
    pub(super) index: usize,
    pub(super) name: &'a str,
    pub(super) container: Container,
    pub(super) reading: Reading,
}

impl Candidate<'_> {
    pub(super) fn names_platform(&self) -> bool {
        let r = &self.reading;
        r.linux.is_some() || r.other_os.is_some() || !r.cpus.is_empty()
    }

    /// Whether no word marks it as something other than the program.
    pub(super) fn is_program(&self) -> bool {
        self.reading.noise.is_empty()
    }

    /// The words that make this a different thing from another candidate.
    pub(super) fn particulars(&self) -> BTreeSet<&String> {
        let r = &self.reading;
        r.left.iter().chain(&r.numbers).chain(&r.distros).collect()
    }

    /// What two candidates must share for their particulars to be compared, better first.
    fn tier(&self) -> (bool, bool, bool) {
        let r = &self.reading;
        (!self.is_program(), !r.distros.is_empty(), r.wanted.is_none())
    }
}

/// The choice without a name: see the [module](super) for the rules.
pub(super) fn automatic(listing: &Listing<'_>, narrow: &Narrow, target: Target) -> Selection {
    let mut rejected = Vec::new();
    let verdict = match Filter::new(narrow) {
        Ok(filter) => {
            let payloads = payloads(listing, &filter, &mut rejected);
            match decide(payloads, target, narrow.libc, &mut rejected) {
                Ok((index, runners_up)) => Verdict::Chosen { index, runners_up },
                Err(refused) => Verdict::Refused(refused.explain(listing, target)),
            }
        }
        Err(source) => {
            Verdict::Refused(Refusal::BadPattern { tag: listing.tag.to_owned(), source })
        }
    };
    rejected.sort_by_key(|r| r.index);
    Selection { verdict, rejected }
}

/// What the wish demands of a name.
struct Filter {
    contains: Option<String>,
    regex: Option<Regex>,
    exclude: Option<Regex>,
}

impl Filter {
    fn new(narrow: &Narrow) -> Result<Self, PatternError> {
        Ok(Self {
            contains: narrow.contains.as_ref().map(|text| text.to_ascii_lowercase()),
            regex: narrow.regex.as_deref().map(regex).transpose()?,
            exclude: narrow.exclude.as_deref().map(regex).transpose()?,
        })
    }

    fn accepts(&self, name: &str) -> bool {
        self.contains.as_ref().is_none_or(|text| name.to_ascii_lowercase().contains(text))
            && self.regex.as_ref().is_none_or(|regex| regex.is_match(name))
            && self.exclude.as_ref().is_none_or(|regex| !regex.is_match(name))
    }
}

/// Why nothing was chosen, by index.
enum Refused {
    NothingFits,
    Ambiguous(Vec<usize>),
    ElsewhereOnly { candidates: Vec<usize>, plain: usize },
}

impl Refused {
    fn explain(self, listing: &Listing<'_>, target: Target) -> Refusal {
        let tag = listing.tag.to_owned();
        let name = |index: usize| listing.names.get(index).copied().unwrap_or_default().to_owned();
        let names = |indexes: Vec<usize>| indexes.into_iter().map(name).collect();
        match self {
            Self::NothingFits => Refusal::NothingFits { tag, target, count: listing.names.len() },
            Self::Ambiguous(candidates) => {
                Refusal::Ambiguous { tag, target, candidates: names(candidates) }
            }
            Self::ElsewhereOnly { candidates, plain } => Refusal::ElsewhereOnly {
                tag,
                target,
                candidates: names(candidates),
                plain: name(plain),
            },
        }
    }
}

/// Reads every name that the wish admits and that is no sidecar, document or package.
fn payloads<'a>(
    listing: &Listing<'a>,
    filter: &Filter,
    rejected: &mut Vec<Rejected>,
) -> Vec<Candidate<'a>> {
    let context = Context::new(&listing.wanted, listing.tag, listing.version.as_str());
    let mut found = Vec::new();
    for (index, &name) in listing.names.iter().enumerate() {
        let lower = name.to_ascii_lowercase();
        let read = if filter.accepts(name) {
            payload(&lower, &context).and_then(|(stem, container)| {
                known_type(stem, container, &context)?;
                Ok(Candidate { index, name, container, reading: context.read(stem) })
            })
        } else {
            Err(Reason::NotWished)
        };
        match read {
            Ok(candidate) => found.push(candidate),
            Err(reason) => rejected.push(Rejected { index, reason }),
        }
    }
    drop_shared_words(&mut found);
    label_gnu(&mut found);
    found
}

/// Where some builds say that they are for musl, those that say nothing are for GNU libc, or static:
/// on a musl host nothing tells which.
fn label_gnu(candidates: &mut [Candidate<'_>]) {
    let musl =
        |c: &Candidate<'_>| matches!(c.reading.libc, Some(BuiltFor::Musl | BuiltFor::MuslTriple));
    if candidates.iter().any(musl) {
        for candidate in candidates.iter_mut() {
            candidate.reading.libc.get_or_insert(BuiltFor::Unsaid);
        }
    }
}

/// Refuses a bare file with an extension that nothing is known about.
fn known_type(stem: &str, container: Container, context: &Context) -> Result<(), Reason> {
    let Some((_, end)) = stem.rsplit_once('.').filter(|_| container == Container::Bare) else {
        return Ok(());
    };
    let letters = !end.is_empty() && end.bytes().all(|b| b.is_ascii_alphabetic());
    if letters && meanings(end).is_empty() && !context.ends_whole(stem) {
        Err(Reason::UnknownType(end.to_owned()))
    } else {
        Ok(())
    }
}

/// Words that every platform's file has belong to the project's name for itself.
fn drop_shared_words(candidates: &mut [Candidate<'_>]) {
    let of = |set: fn(&Reading) -> &BTreeSet<String>, candidates: &[Candidate<'_>]| {
        let mut sets = candidates.iter().filter(|c| c.names_platform()).map(|c| set(&c.reading));
        let first = sets.next().cloned().unwrap_or_default();
        let mut others = 0;
        let shared = sets.fold(first, |shared, set| {
            others += 1;
            shared.intersection(set).cloned().collect()
        });
        if others > 0 { shared } else { BTreeSet::new() }
    };
    let left = of(|r| &r.left, candidates);
    let noise = of(|r| &r.noise, candidates);
    let neutral = of(|r| &r.neutral, candidates);
    let numbers = of(|r| &r.numbers, candidates);
    for candidate in candidates.iter_mut() {
        let r = &mut candidate.reading;
        r.left.retain(|word| !left.contains(word));
        r.noise.retain(|word| !noise.contains(word));
        r.neutral.retain(|word| !neutral.contains(word));
        r.numbers.retain(|word| !numbers.contains(word));
    }
}

/// The chosen index and the other builds of the same program.
fn decide(
    payloads: Vec<Candidate<'_>>,
    target: Target,
    preferred: Option<Libc>,
    rejected: &mut Vec<Rejected>,
) -> Result<(usize, Vec<usize>), Refused> {
    let mut fitting = Vec::new();
    let mut elsewhere = Vec::new();
    for candidate in payloads {
        match misfit(&candidate.reading, target, preferred) {
            None => fitting.push(candidate),
            Some(reason) => {
                rejected.push(Rejected { index: candidate.index, reason });
                elsewhere.push(candidate);
            }
        }
    }
    let mut ranked = most_specific(fitting, &elsewhere, target.arch, rejected);
    ranked.sort_by_cached_key(|c| rank(c, target, preferred));
    let indexes = |reason: &Reason, rejected: &mut Vec<Rejected>| {
        let all = ranked.iter().map(|c| c.index);
        rejected.extend(all.map(|index| Rejected { index, reason: reason.clone() }));
    };
    let Some(best) = ranked.first() else { return Err(Refused::NothingFits) };
    if let Some(word) = best.reading.noise.first() {
        indexes(&Reason::NotTheProgram(word.clone()), rejected);
        return Err(Refused::NothingFits);
    }
    let rivals = rivals(best, &ranked);
    if !rivals.is_empty() {
        indexes(&Reason::Ambiguous, rejected);
        return Err(Refused::Ambiguous([vec![best.index], rivals].concat()));
    }
    if let Some(plain) = plainer(best, &elsewhere) {
        indexes(&Reason::NotTheProgram(plain.name.to_owned()), rejected);
        let candidates = ranked.iter().map(|c| c.index).collect();
        return Err(Refused::ElsewhereOnly { candidates, plain: plain.index });
    }
    let others = || ranked.iter().skip(1);
    rejected.extend(others().map(|c| Rejected { index: c.index, reason: Reason::Outranked }));
    let same = others().filter(|c| {
        c.tier() == best.tier()
            && c.particulars() == best.particulars()
            && c.reading.wanted == best.reading.wanted
    });
    Ok((best.index, same.map(|c| c.index).collect()))
}

/// Why a build cannot run on the target, as far as its name tells.
fn misfit(reading: &Reading, target: Target, preferred: Option<Libc>) -> Option<Reason> {
    if let Some(word) = &reading.source {
        return Some(Reason::Source(word.clone()));
    }
    if let Some(word) = &reading.other_os {
        return Some(Reason::OtherSystem(word.clone()));
    }
    let ours = match target.arch {
        Arch::X86_64 => Cpu::X86_64,
        Arch::Aarch64 => Cpu::Aarch64,
    };
    if let Some((_, word)) = reading.cpus.iter().find(|(cpu, _)| *cpu != ours) {
        return Some(Reason::OtherProcessor(word.clone()));
    }
    if let Some(word) = &reading.level {
        return Some(Reason::ProcessorLevel(word.clone()));
    }
    let gnu = match reading.libc {
        Some(libc) => matches!(libc, BuiltFor::Gnu | BuiltFor::Unsaid),
        None => !reading.distros.is_empty(),
    };
    (gnu && target.libc == Libc::Musl && preferred != Some(Libc::Gnu)).then_some(Reason::NeedsGnu)
}

/// The order of preference, smaller first; of equals, the name decides.
type Rank<'a> = ((bool, bool, bool), [usize; 6], Container, usize, &'a str);

fn rank<'a>(candidate: &Candidate<'a>, target: Target, preferred: Option<Libc>) -> Rank<'a> {
    let r = &candidate.reading;
    let counts = [
        r.left.len(),
        candidate.particulars().len(),
        r.neutral.len(),
        r.wanted.unwrap_or(0),
        usize::from(r.baseline.is_some()),
        libc_rank(r.libc, target.libc, preferred),
    ];
    (candidate.tier(), counts, candidate.container, candidate.name.len(), candidate.name)
}

/// Static programs run everywhere; by convention those of a musl triple are. A musl build outside a
/// triple often needs musl's loader.
fn libc_rank(built: Option<BuiltFor>, host: Libc, preferred: Option<Libc>) -> usize {
    match (host, preferred) {
        (_, Some(Libc::Gnu)) => match built {
            Some(BuiltFor::Gnu) => 0,
            None | Some(BuiltFor::Unsaid) => 1,
            Some(BuiltFor::Static | BuiltFor::MuslTriple) => 2,
            Some(BuiltFor::Musl) => 3,
        },
        (Libc::Gnu, None) => match built {
            Some(BuiltFor::Static | BuiltFor::MuslTriple) => 0,
            None | Some(BuiltFor::Unsaid) => 1,
            Some(BuiltFor::Gnu) => 2,
            Some(BuiltFor::Musl) => 3,
        },
        (_, Some(Libc::Musl)) | (Libc::Musl, None) => match built {
            Some(BuiltFor::Musl | BuiltFor::MuslTriple) => 0,
            Some(BuiltFor::Static) => 1,
            None | Some(BuiltFor::Unsaid) => 2,
            Some(BuiltFor::Gnu) => 3,
        },
    }
}

/// Candidates that are something else than the best without being more particular.
fn rivals(best: &Candidate<'_>, ranked: &[Candidate<'_>]) -> Vec<usize> {
    let ours = best.particulars();
    let rival = |c: &&Candidate<'_>| {
        let theirs = c.particulars();
        let equal = theirs == ours && c.reading.wanted == best.reading.wanted;
        let (a, b) = (&best.reading.neutral, &c.reading.neutral);
        // A name has no meaning that its case alone would change, so nothing tells which of the two is meant.
        let same_but_for_case = c.name.eq_ignore_ascii_case(best.name);
        !ours.is_subset(&theirs) || same_but_for_case || (equal && a.len() == b.len() && a != b)
    };
    ranked
        .iter()
        .skip(1)
        .filter(|c| c.tier() == best.tier())
        .filter(rival)
        .map(|c| c.index)
        .collect()
}

/// A file for another platform that is named like the program alone, while the best has words beyond, or
/// a less wanted name.
fn plainer<'a, 'b>(
    best: &Candidate<'_>,
    elsewhere: &'b [Candidate<'a>],
) -> Option<&'b Candidate<'a>> {
    let ours = &best.reading;
    let wanted = |r: &Reading| r.wanted.unwrap_or(usize::MAX);
    let builds = || {
        let programs = elsewhere.iter().filter(|c| c.names_platform());
        programs.filter(|c| c.is_program() && c.reading.source.is_none())
    };
    builds().find(|c| {
        let theirs = &c.reading;
        theirs.left.is_subset(&ours.left)
            && (theirs.left.len() < ours.left.len()
                || wanted(theirs) < wanted(ours)
                || neutral_distinguishes(ours, theirs, builds()))
    })
}

/// True when `plain` lacks a neutral word of ours and its platform has a file with and one without it:
/// then the word tells two programs apart.
fn neutral_distinguishes<'a, 'b: 'a>(
    ours: &Reading,
    plain: &Reading,
    mut builds: impl Iterator<Item = &'a Candidate<'b>>,
) -> bool {
    let platform = |r: &Reading| {
        let cpus: Vec<Cpu> = r.cpus.iter().map(|(cpu, _)| *cpu).collect();
        (r.linux.is_some(), r.other_os.clone(), cpus)
    };
    let fewer = plain.neutral.is_subset(&ours.neutral) && plain.neutral != ours.neutral;
    fewer
        && builds.any(|c| {
            let r = &c.reading;
            r.left == ours.left && r.neutral == ours.neutral && platform(r) == platform(plain)
        })
}
