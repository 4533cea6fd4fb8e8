//! What a whole file name says: platform, C library and the words that are left over.

use std::collections::BTreeSet;

use crate::resolve::asset::words::{Cpu, Meaning, bits, meanings};

/// Everything read from the stem of one name.
#[derive(Clone, Debug, Default)]
pub(super) struct Reading {
    /// Words that name Linux or another system.
    pub(super) linux: Option<String>,
    pub(super) other_os: Option<String>,
    /// Distributions named.
    pub(super) distros: BTreeSet<String>,
    /// Processors named, each with its word.
    pub(super) cpus: Vec<(Cpu, String)>,
    /// The word that demands more than the base level of the processor.
    pub(super) level: Option<String>,
    pub(super) baseline: Option<String>,
    pub(super) libc: Option<BuiltFor>,
    /// Words that mark something other than the program.
    pub(super) noise: BTreeSet<String>,
    pub(super) source: Option<String>,
    /// Which of the wanted names it carries.
    pub(super) wanted: Option<usize>,
    /// Words that nothing else accounts for.
    pub(super) left: BTreeSet<String>,
    pub(super) neutral: BTreeSet<String>,
    /// Numbers that are not part of the release's own version.
    pub(super) numbers: BTreeSet<String>,
}

/// The C library as a name states it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum BuiltFor {
    Gnu,
    /// musl in a target triple, where it means a static program by convention.
    MuslTriple,
    /// musl elsewhere: often needs musl's loader.
    Musl,
    Static,
    /// Not stated, while other builds of the release say musl.
    Unsaid,
}

/// What is known about a release before its names are read.
pub(super) struct Context {
    /// Wanted names in order of preference, normalised.
    wanted: Vec<String>,
    version: String,
    /// Words of the tag.
    tag: BTreeSet<String>,
}

impl Context {
    pub(super) fn new(wanted: &[&str], tag: &str, version: &str) -> Self {
        let wanted =
            wanted.iter().map(|name| normalised(name)).filter(|name| !name.is_empty()).collect();
        let tag = words(&normalised(tag)).map(str::to_owned).collect();
        Self { wanted, version: normalised(version), tag }
    }

    /// True when a stem is a wanted name or ends with the version: its last part is no extension.
    pub(super) fn ends_whole(&self, stem: &str) -> bool {
        let stem = normalised(stem);
        self.wanted.contains(&stem) || (self.version.contains('.') && stem.ends_with(&self.version))
    }

    /// True when a name begins with a wanted one.
    pub(super) fn starts_wanted(&self, name: &str) -> bool {
        let name = normalised(name);
        self.wanted.iter().any(|wanted| {
            name.strip_prefix(wanted.as_str())
                .is_some_and(|rest| !rest.starts_with(|c: char| c.is_ascii_alphanumeric()))
        })
    }

    pub(super) fn read(&self, stem: &str) -> Reading {
        let mut reading = Reading::default();
        let stem = self.without_version(&normalised(stem));
        let stem = stem.trim_matches(|c: char| !c.is_ascii_alphanumeric());
        let rest = self.without_name(stem, &mut reading);
        let words: Vec<&str> = words(rest).collect();
        for (at, word) in words.iter().enumerate() {
            let (before, from) = words.split_at(at);
            self.take(word, before, from.get(1).copied(), &mut reading);
        }
        reading
    }

    /// Removes the version where no digit touches it, so that its parts are not read as words.
    fn without_version(&self, stem: &str) -> String {
        if !self.version.contains('.') {
            return stem.to_owned();
        }
        let Some((before, after)) = stem.split_once(self.version.as_str()) else {
            return stem.to_owned();
        };
        let touched = before.ends_with(|c: char| c.is_ascii_digit())
            || after.starts_with(|c: char| c.is_ascii_digit());
        if touched { stem.to_owned() } else { format!("{before}-{after}") }
    }

    /// Removes a wanted name from the front or the end: the words of `win-tool` are no platform.
    fn without_name<'a>(&self, stem: &'a str, reading: &mut Reading) -> &'a str {
        let mut longest = 0;
        let mut rest = stem;
        for (index, name) in self.wanted.iter().enumerate() {
            let is_letter = |c: char| c.is_ascii_alphabetic();
            let front = stem.strip_prefix(name.as_str()).filter(|r| !r.starts_with(is_letter));
            let end = stem.strip_suffix(name.as_str()).filter(|r| r.ends_with('-'));
            if let Some(found) = front.or(end)
                && name.len() > longest
            {
                longest = name.len();
                rest = found;
                reading.wanted = Some(index);
            }
        }
        rest
    }

    fn take(&self, word: &str, before: &[&str], next: Option<&str>, reading: &mut Reading) {
        if is_bits(word, before) {
            reading.cpus.extend(bits(word).and_then(cpu).map(|c| (c, word.to_owned())));
            return;
        }
        if let Some(level) = level(word, before, next) {
            match level {
                Level::Base => {}
                Level::Above => reading.level = Some(word.to_owned()),
            }
            return;
        }
        let found = meanings(word);
        if found.is_empty() {
            if !self.tag.contains(word) {
                reading.left.insert(word.to_owned());
            }
            return;
        }
        for meaning in found {
            self.note(meaning, word, before, reading);
        }
    }

    fn note(&self, meaning: Meaning, word: &str, before: &[&str], reading: &mut Reading) {
        let owned = word.to_owned();
        let in_tag = self.tag.contains(word);
        match meaning {
            Meaning::Linux => reading.linux = Some(owned),
            Meaning::OtherOs => reading.other_os = Some(owned),
            Meaning::Distro => {
                reading.distros.insert(owned);
            }
            Meaning::Cpu(cpu) => reading.cpus.push((cpu, owned)),
            Meaning::Level => reading.level = Some(owned),
            Meaning::Baseline => reading.baseline = Some(owned),
            Meaning::Gnu => {
                reading.libc.get_or_insert(BuiltFor::Gnu);
            }
            Meaning::Musl => {
                let musl = if in_triple(before) { BuiltFor::MuslTriple } else { BuiltFor::Musl };
                reading.libc = Some(musl);
            }
            Meaning::Static => reading.libc = Some(BuiltFor::Static),
            Meaning::Source => reading.source = Some(owned),
            Meaning::Noise if !in_tag => {
                reading.noise.insert(owned);
            }
            Meaning::Neutral if !in_tag => {
                reading.neutral.insert(owned);
            }
            Meaning::Number if !in_tag => {
                reading.numbers.insert(owned);
            }
            Meaning::Vendor | Meaning::Noise | Meaning::Neutral | Meaning::Number => {}
        }
    }
}

fn cpu(meaning: Meaning) -> Option<Cpu> {
    match meaning {
        Meaning::Cpu(cpu) => Some(cpu),
        _ => None,
    }
}

/// Lower case, one separator, and the processor names that hold a separator joined.
fn normalised(name: &str) -> String {
    name.to_ascii_lowercase()
        .replace(['_', ' '], "-")
        .replace("x86-64", "x8664")
        .replace("x86-32", "i386")
        .replace("64-bit", "64bit")
        .replace("32-bit", "32bit")
        .replace("aarch-64", "aarch64")
        .replace("arm-64", "arm64")
        .replace("intel-64", "intel64")
        .replace("aarch64-be", "aarch64be")
        .replace("x8664bit", "x8664")
}

fn words(text: &str) -> impl Iterator<Item = &str> {
    text.split(|c: char| !c.is_alphanumeric()).filter(|word| !word.is_empty())
}

/// `64` right after an operating system: `linux-64`.
fn is_bits(word: &str, before: &[&str]) -> bool {
    let after_os = before.last().is_some_and(|previous| {
        meanings(previous).iter().any(|m| matches!(m, Meaning::Linux | Meaning::OtherOs))
    });
    after_os && matches!(word, "64" | "32")
}

enum Level {
    Base,
    Above,
}

/// A processor level: `v3` after an x86-64 word, `v7` after an arm64 one; `v3` before a number is the
/// start of a version.
fn level(word: &str, before: &[&str], next: Option<&str>) -> Option<Level> {
    let digits = word.strip_prefix('v')?;
    let previous = meanings(before.last()?);
    let is = |wanted| previous.contains(&Meaning::Cpu(wanted));
    let in_version = next.is_some_and(|n| n.starts_with(|c: char| c.is_ascii_digit()));
    match digits {
        "1" if is(Cpu::X86_64) && !in_version => Some(Level::Base),
        "2" | "3" | "4" if is(Cpu::X86_64) && !in_version => Some(Level::Above),
        "8" if is(Cpu::Aarch64) => Some(Level::Base),
        "5" | "6" | "7" | "9" if is(Cpu::Aarch64) && !in_version => Some(Level::Above),
        _ => None,
    }
}

/// True after `ARCH-VENDOR-linux` and `ARCH-linux`.
fn in_triple(before: &[&str]) -> bool {
    let is_cpu = |word: &str| meanings(word).iter().any(|m| matches!(m, Meaning::Cpu(_)));
    match before {
        [.., cpu, "unknown" | "pc" | "alpine", "linux"] | [.., cpu, "linux"] => is_cpu(cpu),
        _ => false,
    }
}
