//! Update sets: what the versions of several transfers come to together.
//!
//! Source: the behaviour of systemd 262. Transfers go in lock step. A version is *available* when
//! every enabled transfer's source has it; *installed* when any target has it, and then
//! *incomplete* when some target lacks it and none has it partial or pending. The newest installed
//! version is *current*. The *candidate* is the newest available version that is neither installed
//! nor obsolete, unless the current one is complete and not older; a current version that is
//! incomplete and available, or that is partial or pending, is its own candidate when there is no
//! newer one.
//!
//! Different texts may be the same version (`1.0`, `1.00`). systemd's choice between them depends
//! on a binary search; here the set is called as the first transfer that has it installed calls it,
//! or else as the first one offers it; each transfer contributes the instance of that very name, or
//! else its most complete one, or else the one given first. The other spellings are reported.
//!
//! Nothing here asks twice about a version: n log n in the number of versions.

mod vacuum;

use std::collections::HashMap;

use super::order;

pub use vacuum::{Keep, NoRoom, VacuumRule, vacuum};

/// How far an instance in a target is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum State {
    /// In use or ready for it.
    Complete,
    /// Whole, under a temporary name.
    Pending,
    /// Not whole.
    Partial,
}

/// One instance in a target.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Installed {
    /// Its version.
    pub version: String,
    /// How far it is.
    pub state: State,
}

/// What one enabled transfer has and wants.
#[derive(Clone, Copy, Debug, Default)]
pub struct Versions<'a> {
    /// `MinVersion=`.
    pub min_version: Option<&'a str>,
    /// `ProtectVersion=`.
    pub protected_versions: &'a [String],
    /// The versions of the source's instances, in any order that is always the same.
    pub available: &'a [String],
    /// The target's instances, in any order that is always the same.
    pub installed: &'a [Installed],
}

/// Something that holds for an update set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flag {
    /// The newest installed one, or the newest available one if that is newer or nothing is
    /// installed.
    Newest,
    /// Every source has it.
    Available,
    /// Some target has it.
    Installed,
    /// Older than some transfer's `MinVersion=`.
    Obsolete,
    /// In some transfer's `ProtectVersion=`.
    Protected,
    /// Some target lacks it.
    Incomplete,
    /// Some target has a part of it.
    Partial,
    /// Some target has it under a temporary name.
    Pending,
}

/// What holds for an update set.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Flags(u8);

impl Flags {
    /// True when `flag` holds.
    pub fn has(self, flag: Flag) -> bool {
        self.0 & (1 << flag as u8) != 0
    }

    fn set(&mut self, flag: Flag) {
        self.0 |= 1 << flag as u8;
    }

    /// What `list` says about it. systemd aborts where a version that is not the newest installed
    /// one is partial or pending, or an obsolete one is; here that is said in the same way.
    pub fn assessment(self) -> String {
        if self == Self::default() {
            return "n/a".to_owned();
        }
        let installed = self.has(Flag::Installed);
        let mut text = match (installed, self.has(Flag::Newest)) {
            (true, true) => "current",
            (true, false) if self.has(Flag::Protected) => "protected",
            (true, false) => "installed",
            (false, true) if !self.has(Flag::Obsolete) => "candidate",
            (false, _) => "available",
        }
        .to_owned();
        if self.has(Flag::Obsolete) {
            text.push_str("+obsolete");
        }
        let progress = [
            (Flag::Incomplete, "+incomplete"),
            (Flag::Partial, "+partial"),
            (Flag::Pending, "+pending"),
        ];
        if let Some((_, suffix)) = progress.iter().find(|(flag, _)| self.has(*flag)) {
            text.push_str(suffix);
        }
        text
    }

    /// The mark before it in `list`.
    pub fn glyph(self) -> &'static str {
        let (installed, newest) = (self.has(Flag::Installed), self.has(Flag::Newest));
        if self == Self::default() || self.has(Flag::Obsolete) {
            "×"
        } else if self.has(Flag::Partial) || self.has(Flag::Pending) {
            "⤵️"
        } else if installed && newest {
            "●"
        } else if installed && self.has(Flag::Protected) {
            "○"
        } else if newest {
            "↻"
        } else {
            " "
        }
    }
}

/// One version over all enabled transfers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UpdateSet {
    /// The version, as its first instance writes it.
    pub version: String,
    /// What holds for it.
    pub flags: Flags,
    /// For each transfer, the index of its instance in `available`.
    pub sources: Vec<Option<usize>>,
    /// For each transfer, the index of its instance in `installed`.
    pub targets: Vec<Option<usize>>,
    /// Other texts for the same version, in the order of their bytes.
    pub other_spellings: Vec<String>,
}

/// All update sets.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct UpdateSets {
    sets: Vec<UpdateSet>,
    current: Option<usize>,
    candidate: Option<usize>,
    withheld: Vec<String>,
}

impl UpdateSets {
    /// Everything that is available or installed, newest first.
    pub fn all(&self) -> &[UpdateSet] {
        &self.sets
    }

    /// The newest installed one, complete or not.
    pub fn current(&self) -> Option<&UpdateSet> {
        self.sets.get(self.current?)
    }

    /// The one to install next.
    pub fn candidate(&self) -> Option<&UpdateSet> {
        self.sets.get(self.candidate?)
    }

    /// The one of a version, however that is written.
    pub fn find(&self, version: &str) -> Option<&UpdateSet> {
        let found = self.sets.binary_search_by(|set| order::compare(version, &set.version));
        found.ok().and_then(|index| self.sets.get(index))
    }

    /// Versions that some sources have and others lack, newest first: not offered, and not
    /// installed.
    pub fn withheld(&self) -> &[String] {
        &self.withheld
    }
}

/// The instances of one version, over all transfers.
struct Group<'a> {
    spellings: Vec<&'a str>,
    sources: Vec<Option<usize>>,
    targets: Vec<Option<usize>>,
}

/// Puts the versions of all enabled transfers together.
pub fn update_sets(transfers: &[Versions<'_>]) -> UpdateSets {
    let mut found = UpdateSets::default();
    for group in groups(transfers) {
        let Some(set) = group.assess(transfers) else {
            found.withheld.extend(group.spellings.first().map(|text| (*text).to_owned()));
            continue;
        };
        found.sets.push(set);
    }
    found.mark_newest();
    found.candidate = found.choose();
    found
}

/// Groups of instances whose versions compare equal, newest first.
fn groups<'a>(transfers: &[Versions<'a>]) -> Vec<Group<'a>> {
    // Installed spellings come before available ones, so that they name the set.
    let installed = transfers.iter().flat_map(|t| t.installed.iter().map(|i| i.version.as_str()));
    let available = transfers.iter().flat_map(|t| t.available.iter().map(String::as_str));
    let mut position: HashMap<&str, usize> = HashMap::new();
    let mut texts: Vec<&str> = Vec::new();
    for text in installed.chain(available) {
        position.entry(text).or_insert_with(|| {
            texts.push(text);
            texts.len()
        });
    }
    // The sort is stable: among equal versions the one that was met first stays first.
    texts.sort_by(|a, b| order::compare(b, a));
    let mut groups: Vec<Group<'a>> = Vec::new();
    for text in texts {
        let same = groups.last_mut().filter(|group| {
            group.spellings.first().is_some_and(|first| order::compare(first, text).is_eq())
        });
        match same {
            Some(group) => group.spellings.push(text),
            None => groups.push(Group {
                spellings: vec![text],
                sources: vec![None; transfers.len()],
                targets: vec![None; transfers.len()],
            }),
        }
        position.insert(text, groups.len() - 1);
    }
    for (index, transfer) in transfers.iter().enumerate() {
        for (i, version) in transfer.available.iter().enumerate() {
            let group = position.get(version.as_str()).and_then(|at| groups.get_mut(*at));
            if let Some(group) = group {
                group.offer(index, i, transfer);
            }
        }
        for (i, instance) in transfer.installed.iter().enumerate() {
            let group = position.get(instance.version.as_str()).and_then(|at| groups.get_mut(*at));
            if let Some(group) = group {
                group.install(index, i, transfer);
            }
        }
    }
    groups
}

impl Group<'_> {
    fn is_named(&self, version: &str) -> bool {
        self.spellings.first() == Some(&version)
    }

    /// Takes a source's instance unless a better one is known.
    fn offer(&mut self, transfer: usize, index: usize, versions: &Versions<'_>) {
        let rank = |at: usize| versions.available.get(at).map(|v| (!self.is_named(v), at));
        let known = self.sources.get(transfer).copied().flatten();
        if known.is_none_or(|known| rank(index) < rank(known))
            && let Some(slot) = self.sources.get_mut(transfer)
        {
            *slot = Some(index);
        }
    }

    /// Takes a target's instance unless a better one is known.
    fn install(&mut self, transfer: usize, index: usize, versions: &Versions<'_>) {
        let rank = |at: usize| {
            versions.installed.get(at).map(|i| (!self.is_named(&i.version), i.state, at))
        };
        let known = self.targets.get(transfer).copied().flatten();
        if known.is_none_or(|known| rank(index) < rank(known))
            && let Some(slot) = self.targets.get_mut(transfer)
        {
            *slot = Some(index);
        }
    }

    /// The set with all flags that concern it alone; `None` when it is neither available nor
    /// installed.
    fn assess(&self, transfers: &[Versions<'_>]) -> Option<UpdateSet> {
        let (version, others) = self.spellings.split_first()?;
        let mut flags = Flags::default();
        if self.sources.iter().all(Option::is_some) {
            flags.set(Flag::Available);
        }
        for (transfer, target) in transfers.iter().zip(&self.targets) {
            let instance = target.and_then(|index| transfer.installed.get(index));
            match instance.map(|i| i.state) {
                Some(State::Partial) => flags.set(Flag::Partial),
                Some(State::Pending) => flags.set(Flag::Pending),
                Some(State::Complete) | None => {}
            }
            if instance.is_some() {
                flags.set(Flag::Installed);
            }
            let too_old = |min: &str| order::compare(min, version).is_gt();
            if transfer.min_version.is_some_and(too_old) {
                flags.set(Flag::Obsolete);
            }
            if transfer.protected_versions.iter().any(|protected| protected == version) {
                flags.set(Flag::Protected);
            }
        }
        let under_way = flags.has(Flag::Partial) || flags.has(Flag::Pending);
        if flags.has(Flag::Installed) && !under_way && self.targets.contains(&None) {
            flags.set(Flag::Incomplete);
        }
        let mut other_spellings: Vec<String> = others.iter().map(|o| (*o).to_owned()).collect();
        other_spellings.sort_unstable();
        (flags.has(Flag::Available) || flags.has(Flag::Installed)).then(|| UpdateSet {
            version: (*version).to_owned(),
            flags,
            sources: self.sources.clone(),
            targets: self.targets.clone(),
            other_spellings,
        })
    }
}

impl UpdateSets {
    /// Marks the newest installed set, and the newest available one where that is not installed.
    fn mark_newest(&mut self) {
        let has = |flag| move |set: &UpdateSet| set.flags.has(flag);
        self.current = self.sets.iter().position(has(Flag::Installed));
        let available = self.sets.iter().position(has(Flag::Available));
        let available = available.and_then(|index| self.sets.get_mut(index));
        if let Some(set) = available.filter(|set| !set.flags.has(Flag::Installed)) {
            set.flags.set(Flag::Newest);
        }
        if let Some(set) = self.current.and_then(|index| self.sets.get_mut(index)) {
            set.flags.set(Flag::Newest);
        }
    }

    /// The index of the set to install next.
    fn choose(&self) -> Option<usize> {
        let offered = self.sets.iter().position(|set| {
            let flags = set.flags;
            flags.has(Flag::Newest) && !flags.has(Flag::Installed) && !flags.has(Flag::Obsolete)
        });
        let Some((at, current)) = self.current.zip(self.current()) else { return offered };
        let flags = current.flags;
        let incomplete = flags.has(Flag::Incomplete);
        let repair = incomplete && flags.has(Flag::Available) && !flags.has(Flag::Obsolete);
        let under_way = flags.has(Flag::Partial) || flags.has(Flag::Pending);
        match offered {
            // Sets are sorted: a smaller index is newer.
            Some(offered) if offered < at || incomplete => Some(offered),
            _ => (repair || under_way).then_some(at),
        }
    }
}

#[cfg(test)]
mod tests;
