//! Many documents become one wish, or one list of errors.

use std::collections::{BTreeMap, BTreeSet};

use sha2::{Digest as _, Sha256};

use crate::desired::diagnostic::{DIAGNOSTICS_MAX, Diagnostic, Problem, Span, blot, place};
use crate::desired::parse::{Problems, parse};
use crate::desired::validate::tree::NOWHERE;
use crate::desired::validate::{Validated, ValidatedResource, validate};
use crate::desired::{CredentialRef, Declared, DesiredState, Follow, Place, Selection, SourceText};
use crate::model::selection::{Identity, Match};
use crate::model::{Algorithm, Digest, ResourceId};

/// Where a resource or a host was declared first: which text, and where in it.
type Declaration = (usize, Span);

/// One wish out of `texts`, in their order: what is for `host`, or all of it.
pub(super) fn merge(
    mut texts: Vec<SourceText>,
    host: Option<&Identity>,
) -> Result<DesiredState, Vec<Diagnostic>> {
    let digest = digest(&texts);
    for source in &mut texts {
        if let Some(rest) = source.text.strip_prefix('\u{feff}') {
            source.text = rest.to_owned();
        }
    }
    let mut read = Vec::with_capacity(texts.len());
    for source in &mut texts {
        let problems = Problems::default();
        let validated = parse(&source.text, &problems)
            .map(|document| validate(&document, &source.directory, &problems))
            .unwrap_or_default();
        let (problems, secrets) = problems.into_parts();
        if !secrets.is_empty() {
            source.text = blot(&source.text, &secrets);
        }
        read.push((validated, problems));
    }
    let mut merged = Merged::new(&texts, host);
    for (index, (validated, problems)) in read.into_iter().enumerate() {
        merged.report(index, problems);
        merged.take(index, validated);
    }
    merged.refuse_shared_homes();
    let selection = merged.selection();
    let mut diagnostics = merged.diagnostics;
    if diagnostics.is_empty() {
        let roots: BTreeSet<String> = texts.iter().map(|source| source.root.clone()).collect();
        // A host for which there is nothing knows nothing of what is wished elsewhere, so it removes nothing.
        let roots = roots.into_iter().filter(|_| selection != Selection::Nothing).collect();
        return Ok(DesiredState {
            selection,
            revision: None,
            repository: None,
            refused: None,
            resources: merged.resources,
            auth: merged.auth,
            follow: merged.follow,
            notes: Vec::new(),
            unclear: Vec::new(),
            roots,
            behind: Vec::new(),
            documents: digest.clone(),
            definitions: None,
            digest,
        });
    }
    diagnostics.truncate(DIAGNOSTICS_MAX);
    Err(diagnostics)
}

/// Names are taken relative to their root, so that a checkout elsewhere is the same wish.
pub(super) fn digest(texts: &[SourceText]) -> Digest {
    let mut parts: Vec<(&str, &str)> = texts
        .iter()
        .map(|source| (source.file.rsplit('/').next().unwrap_or_default(), source.text.as_str()))
        .collect();
    parts.sort_unstable();
    let mut hasher = Sha256::new();
    for (name, text) in parts {
        for part in [name, text] {
            hasher.update((part.len() as u64).to_be_bytes());
            hasher.update(part.as_bytes());
        }
    }
    let bytes = hasher.finalize();
    Digest::new(Algorithm::Sha256, &bytes).unwrap_or_else(|| unreachable!("SHA-256 has 32 bytes"))
}

/// A path that belongs to one resource alone, and where that is said.
type Home = (camino::Utf8PathBuf, ResourceId, Declaration);

struct Merged<'a> {
    texts: &'a [SourceText],
    host: Option<&'a Identity>,
    /// How many resources are for other hosts.
    left_out: usize,
    resources: BTreeMap<ResourceId, Declared>,
    auth: BTreeMap<String, CredentialRef>,
    follow: Option<Follow>,
    seen: BTreeMap<String, Declaration>,
    homes: Vec<Home>,
    /// Pairs of resources of which it is told that they need places of their own.
    apart: BTreeSet<(ResourceId, ResourceId)>,
    diagnostics: Vec<Diagnostic>,
}

impl<'a> Merged<'a> {
    fn new(texts: &'a [SourceText], host: Option<&'a Identity>) -> Self {
        Self {
            texts,
            host,
            left_out: 0,
            resources: BTreeMap::new(),
            auth: BTreeMap::new(),
            follow: None,
            seen: BTreeMap::new(),
            homes: Vec::new(),
            apart: BTreeSet::new(),
            diagnostics: Vec::new(),
        }
    }

    fn report(&mut self, index: usize, mut problems: Vec<Problem>) {
        let Some(source) = self.texts.get(index) else { return };
        problems.sort_by_key(|problem| problem.span.start);
        self.diagnostics.extend(problems.into_iter().map(|p| Diagnostic::locate(p, source)));
    }

    /// How much of what was read is for the host.
    fn selection(&self) -> Selection {
        let elsewhere = self.left_out > 0 || self.texts.is_empty();
        match (self.host.is_some() && elsewhere, self.resources.is_empty()) {
            (false, _) => Selection::Whole,
            (true, false) => Selection::Part,
            (true, true) => Selection::Nothing,
        }
    }

    /// Whether something is for the host.
    fn is_meant(&self, hosts: Option<&Match>) -> bool {
        hosts.is_none_or(|hosts| self.host.is_none_or(|host| hosts.covers(host)))
    }

    fn take(&mut self, index: usize, validated: Validated) {
        let Some(source) = self.texts.get(index) else { return };
        if !self.is_meant(validated.hosts.as_ref()) {
            self.left_out += validated.resources.len();
            return;
        }
        let mut lines = Lines { text: &source.text, at: 0, line: 1 };
        for resource in validated.resources {
            let ValidatedResource { id, key, home, spec, pace, hosts } = resource;
            if !self.is_meant(hosts.as_ref()) {
                self.left_out += 1;
                continue;
            }
            // While it is not known for which host this is, two wishes may be for two of them.
            let apart = hosts.is_some() || validated.hosts.is_some();
            if self.host.is_none() && apart {
                let declared_at = Place { file: source.file.clone(), line: lines.of(key.start) };
                let root = source.root.clone();
                self.resources.entry(id).or_insert(Declared { spec, declared_at, root, pace });
                continue;
            }
            if !self.claim(format!("{} `{}`", id.kind, id.name), (index, key)) {
                continue;
            }
            let line = lines.of(key.start);
            let places = [Some(spec.home().to_owned()), spec.file().map(ToOwned::to_owned)];
            let readable = *spec.home() != NOWHERE;
            let places = places.into_iter().chain([spec.beside()]).flatten().filter(|_| readable);
            let places = places.map(|path| (path, id.clone(), (index, home)));
            self.homes.extend(places);
            let declared_at = Place { file: source.file.clone(), line };
            let root = source.root.clone();
            self.resources.insert(id, Declared { spec, declared_at, root, pace });
        }
        if let Some((as_what, activate, key)) = validated.follow
            && self.claim("`sysupdate`".to_owned(), (index, key))
        {
            self.follow = Some(Follow { as_what, activate, root: source.root.clone() });
        }
        for (host, key, credential) in validated.auth {
            if self.claim(format!("the token for `{host}`"), (index, key)) {
                self.auth.insert(host, credential);
            }
        }
    }

    /// False, with an error, when the same thing was declared before.
    fn claim(&mut self, what: String, here: Declaration) -> bool {
        let Some(first) = self.seen.get(&what).copied() else {
            self.seen.insert(what, here);
            return true;
        };
        let help = if self.texts.get(here.0).map(|t| &t.file)
            == self.texts.get(first.0).map(|t| &t.file)
        {
            "give each file once: a directory and a file in it are two readings of it"
        } else {
            "keep one of them: later files do not override earlier ones"
        };
        self.conflict(
            format!("{what} is declared twice"),
            [(here, "again here"), (first, "first here")],
            help,
        );
        false
    }

    fn conflict(&mut self, title: String, places: [(Declaration, &str); 2], help: &str) {
        let [((here, span), label), ((first, first_span), first_label)] = places;
        let (Some(source), Some(other)) = (self.texts.get(here), self.texts.get(first)) else {
            return;
        };
        let problem = Problem::new(span, title).label(label).help(help);
        self.diagnostics.push(if here == first {
            Diagnostic::locate(problem.earlier(first_span, first_label), source)
        } else {
            Diagnostic::locate(problem, source).also(other, first_span, first_label)
        });
    }

    /// Two resources cannot own one directory, nor one a directory inside the other's.
    fn refuse_shared_homes(&mut self) {
        let mut homes = std::mem::take(&mut self.homes);
        // Paths are ordered by their components, so that what is inside of a home comes right after it.
        homes.sort_by(|(a, _, here), (b, _, there)| a.cmp(b).then(here.0.cmp(&there.0)));
        let mut outer: Option<&Home> = None;
        let mut last = outer;
        for inner in &homes {
            let same = last.replace(inner).filter(|last| last.0 == inner.0);
            // Both are told: where they are inside of a third, and that they are the same.
            if let Some(same) = same.filter(|same| outer.is_some_and(|outer| outer.0 != same.0)) {
                self.refuse_same(same, inner);
            }
            let Some(first) = outer.filter(|outer| inner.0.starts_with(&outer.0)) else {
                outer = Some(inner);
                continue;
            };
            if inner.0 == first.0 {
                self.refuse_same(first, inner);
                continue;
            }
            let title = if inner.1 == first.1 {
                format!("`layout.file` of `{}` is inside of its own home", inner.1)
            } else {
                format!("the home of `{}` is inside that of `{}`", inner.1, first.1)
            };
            self.refuse_places(&title, first, inner);
        }
    }

    fn refuse_same(&mut self, first: &Home, second: &Home) {
        let title = format!("`{}` and `{}` have the same home `{}`", first.1, second.1, first.0);
        self.refuse_places(&title, first, second);
    }

    fn refuse_places(&mut self, title: &str, first: &Home, second: &Home) {
        // Who shares a file shares the place of its backup, too.
        if first.1 != second.1 && !self.apart.insert((first.1.clone(), second.1.clone())) {
            return;
        }
        let theirs = format!("`{}` has `{}`", first.1, first.0);
        let mine = format!("`{}` has `{}`", second.1, second.0);
        let places = [(second.2, mine.as_str()), (first.2, theirs.as_str())];
        self.conflict(title.to_owned(), places, "give each a place of its own");
    }
}

/// Line numbers of ascending places in a text, counted once over the text.
struct Lines<'t> {
    text: &'t str,
    at: usize,
    line: usize,
}

impl Lines<'_> {
    fn of(&mut self, at: usize) -> usize {
        let Some(between) = self.text.get(self.at..at) else {
            return place(self.text, at).0;
        };
        self.line += between.matches('\n').count();
        self.at = at;
        self.line
    }
}
