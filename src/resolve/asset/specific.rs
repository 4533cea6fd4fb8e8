//! Which of the names that fit say enough about their platform.

use std::collections::BTreeSet;

use crate::model::facts::Arch;
use crate::resolve::asset::file::Container;
use crate::resolve::asset::rank::Candidate;
use crate::resolve::asset::words::Cpu;
use crate::resolve::asset::{Reason, Rejected};

/// Keeps the names that say most about their platform.
pub(super) fn most_specific<'a>(
    fitting: Vec<Candidate<'a>>,
    elsewhere: &[Candidate<'_>],
    arch: Arch,
    rejected: &mut Vec<Rejected>,
) -> Vec<Candidate<'a>> {
    let linux = |c: &Candidate<'_>| c.reading.linux.is_some();
    let cpu = |c: &Candidate<'_>| !c.reading.cpus.is_empty();
    let usual = |c: &Candidate<'_>| arch == Arch::X86_64 && is_the_usual_build(c, elsewhere);
    let says_so = |c: &Candidate<'_>| c.is_program() && (linux(c) || cpu(c));
    let stems: BTreeSet<_> = fitting.iter().map(Candidate::particulars).collect();
    let keep: Box<dyn Fn(&Candidate<'_>) -> bool> =
        if !fitting.iter().any(says_so) && fitting.iter().any(usual) {
            Box::new(usual)
        } else if fitting.iter().any(|c| linux(c) && cpu(c)) {
            Box::new(|c| linux(c) && cpu(c))
        } else if fitting.iter().any(cpu) {
            let safe = processor_alone_means_linux(&fitting, elsewhere);
            Box::new(move |c| cpu(c) && safe)
        } else if arch == Arch::X86_64 && fitting.iter().any(linux) {
            Box::new(linux)
        } else {
            let alone = stems.len() == 1 && !elsewhere.iter().any(Candidate::names_platform);
            Box::new(move |_| alone && arch == Arch::X86_64)
        };
    let (kept, dropped): (Vec<_>, Vec<_>) = fitting.into_iter().partition(|c| keep(c));
    rejected
        .extend(dropped.iter().map(|c| Rejected { index: c.index, reason: Reason::LessSpecific }));
    kept
}

/// `tool-arm64.zip` beside `tool-linux.zip` may well be for macOS, unless that has files of its own.
fn processor_alone_means_linux(fitting: &[Candidate<'_>], elsewhere: &[Candidate<'_>]) -> bool {
    let all = || fitting.iter().chain(elsewhere);
    !all().any(|c| c.reading.linux.is_some()) || all().any(is_for_mac)
}

/// Where only unusual builds of a program say what they are for, `tool` beside `tool-arm64` or, no archive of sources
/// either, beside `tool-darwin` is the one for Linux on x86-64. No longer once a build for another platform says `amd64` or
/// `linux`: then the right one would as well.
fn is_the_usual_build(plain: &Candidate<'_>, elsewhere: &[Candidate<'_>]) -> bool {
    let builds = || {
        elsewhere.iter().filter(|c| {
            c.reading.wanted == plain.reading.wanted && c.particulars() == plain.particulars()
        })
    };
    let told = |c: &Candidate<'_>| {
        c.reading.linux.is_some() || c.reading.cpus.iter().any(|(cpu, _)| *cpu == Cpu::X86_64)
    };
    let unusual = |c: &Candidate<'_>| {
        let is_arm = c.reading.cpus.iter().any(|(cpu, _)| *cpu == Cpu::Aarch64);
        let is_apart = (is_arm && c.reading.other_os.is_none())
            || (is_for_mac(c) && plain.container == Container::Bare);
        is_apart && without_platform(c) == plain.name.to_ascii_lowercase()
    };
    plain.is_program() && !plain.names_platform() && !builds().any(told) && builds().any(unusual)
}

/// A name without the words of its platform: `tool-1.0.tar.gz` is none of `tool-arm64.tar.gz`, but more likely its source.
fn without_platform(candidate: &Candidate<'_>) -> String {
    let reading = &candidate.reading;
    let words = reading.cpus.iter().map(|(_, word)| word).chain(&reading.other_os);
    words.fold(candidate.name.to_ascii_lowercase(), |name, word| {
        let separated = ["-", "_", "."].map(|separator| format!("{separator}{word}"));
        let found = separated.iter().find(|part| name.contains(part.as_str()));
        found.map_or_else(|| name.clone(), |part| name.replacen(part.as_str(), "", 1))
    })
}

fn is_for_mac(candidate: &Candidate<'_>) -> bool {
    candidate.reading.other_os.as_ref().is_some_and(|word| {
        ["mac", "darwin", "osx", "apple"].iter().any(|start| word.starts_with(start))
    })
}
