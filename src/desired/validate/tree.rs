//! Trees.

use camino::Utf8PathBuf;

use crate::desired::diagnostic::Span;
use crate::desired::document::tree::{
    CasyncDocument, ExistingDocument, OwnerDocument, ReuseDocument, SpecialDocument, StoreList,
    TreeDocument, TreeLayoutDocument, TreeLimitsDocument, TreeSourceDocument, TriggerDocument,
};
use crate::desired::document::{DesiredDocument, VersionText};
use crate::desired::field::{Field, Short, Spanned};
use crate::desired::parse::Problems;
use crate::desired::validate::{Checker, Validated, ValidatedResource, values};
use crate::model::step::{
    AssembleLimits, DeleteMax, Existing, OfflineCopy, Ownership, Reuse, Special,
};
use crate::model::{Constraint, Digest, Kind, Name, ResourceId};
use crate::resource::Spec;
use crate::resource::tree::TreeSpec;
use crate::resource::tree::spec::{CasyncSource, Place, TreeLayout, TreeVersion, Trigger};
use crate::source::spec::DirectoryUrl;
use crate::trust::policy::Policy;

/// Generations kept unless `retain` says otherwise: the one in use and one to go back to.
const RETAIN_DEFAULT: u32 = 2;

/// Most nodes of an archive that can be asked for.
const NODES_MAX: u64 = 4_000_000;

/// Most stores of one source: each may cost a request for every missing chunk.
const STORES_MAX: usize = 16;

/// Most patterns to preserve: each is tried on every path that is not in the archive.
const PATTERNS_MAX: usize = 100;

/// The store of an index that names none, as casync has it.
const STORE_DEFAULT: &str = "default.castr";

/// Checks the trees of a document.
pub(super) fn trees(
    document: &DesiredDocument,
    directory: &str,
    problems: &Problems,
    validated: &mut Validated,
) {
    for (key, tree) in document.trees.value().map(|t| t.0.as_slice()).unwrap_or_default() {
        let subject = format!("tree `{}`", key.value.escape_debug());
        let checker = Checker { subject, directory, problems };
        let Some(name) = checker.check(key, "the name", str::parse::<Name>) else {
            continue;
        };
        let Some(tree) = tree.value() else { continue };
        let home = tree.path.good().map_or(key.span, |path| path.span);
        let spec = Spec::Tree(Box::new(checker.tree(key.span, tree)));
        let (id, hosts) = (ResourceId { kind: Kind::Tree, name }, checker.selection(&tree.hosts));
        let (key, pace) = (key.span, checker.pace(&tree.every, &tree.windows));
        validated.resources.push(ValidatedResource { id, key, home, spec, pace, hosts });
    }
}

impl Checker<'_> {
    /// Values that cannot be used are reported and stood in for, as for apps.
    pub(super) fn tree(&self, key: Span, tree: &TreeDocument) -> TreeSpec {
        let verify = self.policy(tree.verify.value());
        let version = self.tree_version(&tree.version);
        let source = self.required(&tree.source, "`source`", key);
        let source = source.and_then(|source| self.casync(source, &verify, &version));
        let offline = tree.offline.good().and_then(|source| self.casync(source, &verify, &version));
        let refreshed = self.refreshed(tree, offline.as_ref());
        let path = self.required(&tree.path, "`path`", key);
        let path = path.and_then(|path| self.check(path, "`path`", values::own_directory));
        if let (TreeVersion::Constraint(want), Some(source)) = (&version, &source)
            && *want != Constraint::Latest
            && !source.index.file_name().contains("@v")
            && let Some(span) = tree.version.good().map(|v| v.span)
        {
            let why = "an index without `@v` in its name has no versions: write `latest`, or pin it by its \
                       `sha256:…`";
            self.refuse(span, "`version`", why);
        }
        let argv = |list: &Field<Vec<Field<Short<_>>>>, what: &str| {
            self.items(list, what).filter_map(|argv| self.argv(argv, what)).collect::<Vec<_>>()
        };
        TreeSpec {
            path: path.unwrap_or_else(|| Utf8PathBuf::from(NOWHERE)),
            version,
            source: source.unwrap_or_else(stand_in),
            offline,
            refreshed,
            verify,
            owner: tree.owner.good().map_or(Ownership::Archive, |owner| self.owner(owner)),
            allow: self
                .items(&tree.allow, "`allow`")
                .map(|special| allowed(special.value))
                .collect(),
            preserve: self.preserve(&tree.preserve),
            existing: match tree.existing.value() {
                Some(ExistingDocument::Adopted) => Existing::Adopted,
                Some(ExistingDocument::Refused) | None => Existing::Refused,
            },
            delete_max: self.delete_max(&tree.max_delete),
            reuse: match tree.reuse.value() {
                Some(ReuseDocument::Hardlink) => Reuse::Hardlink,
                Some(ReuseDocument::Copy) | None => Reuse::Copy,
            },
            seeds: self.seeds(&tree.seeds),
            triggers: self
                .items(&tree.triggers, "`triggers`")
                .map(|trigger| self.trigger(trigger))
                .collect(),
            health: tree.health.good().map(|health| self.health(health)),
            on_start: argv(&tree.on_start, "`on_start`"),
            restart: self
                .items(&tree.restart, "`restart`")
                .filter_map(|unit| self.check(unit, "`restart`", values::unit))
                .collect(),
            run: argv(&tree.run, "`run`"),
            retain: if tree.retain.is_absent() {
                RETAIN_DEFAULT
            } else {
                self.retain(&tree.retain)
            },
            layout: match tree.layout.value() {
                Some(TreeLayoutDocument::Link) => TreeLayout::Link,
                Some(TreeLayoutDocument::InPlace) => TreeLayout::InPlace,
                Some(TreeLayoutDocument::Exchange) | None => TreeLayout::Exchange,
            },
            limits: tree.limits.value().map(|l| self.tree_limits(l)).unwrap_or_default(),
            suspend: tree.suspend.good().and_then(|suspend| self.suspend(suspend)),
        }
    }

    fn tree_version(&self, field: &Field<VersionText>) -> TreeVersion {
        let latest = TreeVersion::Constraint(Constraint::Latest);
        let Some(text) = field.good() else { return latest };
        let text = Spanned { span: text.span, value: text.value.0.clone() };
        let parsed = self.check(&text, "`version`", |text| {
            if !text.starts_with("sha256:") {
                return text.parse().map(TreeVersion::Constraint);
            }
            text.parse::<Digest>().map(TreeVersion::Index)
        });
        parsed.unwrap_or(latest)
    }

    fn casync(
        &self,
        source: &Spanned<TreeSourceDocument>,
        verify: &Policy,
        version: &TreeVersion,
    ) -> Option<CasyncSource> {
        let TreeSourceDocument::Casync(field) = &source.value;
        let field = field.good()?;
        let absent = CasyncDocument::default();
        let (index, casync) = match &field.value {
            Short::Text(text) => (Spanned { span: field.span, value: text.clone() }, &absent),
            Short::Full(casync) => {
                (self.required(&casync.index, "`casync.index`", field.span)?.clone(), casync)
            }
        };
        let mut evidence = verify.clone();
        if let TreeVersion::Index(digest) = version {
            let pin = crate::trust::policy::PinnedDigest { arch: None, digest: digest.clone() };
            evidence.pinned.push(pin);
        }
        let index = self.casync_place(&index, "`casync.index`", &evidence)?;
        let stores = match casync.store.good() {
            None => vec![index.parent().join(STORE_DEFAULT)],
            Some(Spanned { span, value: Short::Text(text) }) => {
                let text = Spanned { span: *span, value: text.clone() };
                self.store(&text).into_iter().collect()
            }
            Some(Spanned { span, value: Short::Full(StoreList(stores)) }) => {
                if stores.is_empty() || stores.len() > STORES_MAX {
                    self.refuse(*span, "`casync.store`", format!("name 1 to {STORES_MAX} stores"));
                }
                stores.iter().filter_map(Field::good).filter_map(|s| self.store(s)).collect()
            }
        };
        Some(CasyncSource { index, stores })
    }

    /// The copy to keep up to what is installed, if that is wished.
    fn refreshed(
        &self,
        tree: &TreeDocument,
        offline: Option<&CasyncSource>,
    ) -> Option<OfflineCopy> {
        if let Some(span) = refresh_of(&tree.source) {
            self.refuse(
                span,
                "`source`",
                "only an offline copy is refreshed: move `refresh` there",
            );
        }
        let span = refresh_of(&tree.offline)?;
        let offline = offline?;
        if let (Place::Local(index), Some(Place::Local(store))) =
            (&offline.index, offline.stores.first())
        {
            return Some(OfflineCopy { index: index.clone(), store: store.clone() });
        }
        let why =
            "only a copy on this machine can be refreshed: name paths, or leave out `refresh`";
        self.refuse(span, "`offline`", why);
        None
    }

    /// The place of an index, which its source vouches for.
    fn casync_place(&self, text: &Spanned<String>, what: &str, verify: &Policy) -> Option<Place> {
        if !is_url(&text.value) {
            let local = |text: &str| values::local_path(self.directory, text);
            return self.check(text, what, local).map(Place::Local);
        }
        match self.web(text, what, verify)? {
            DirectoryUrl::Web(url) => Some(Place::Web(url)),
            DirectoryUrl::Local(path) => Some(Place::Local(path)),
        }
    }

    /// A store. Nobody vouches for one: every chunk is verified by its name.
    fn store(&self, text: &Spanned<String>) -> Option<Place> {
        let what = "`casync.store`";
        if is_url(&text.value) {
            self.hide_credentials(text);
            return self.check(text, what, values::url).map(Place::Web);
        }
        let local = |text: &str| values::local_path(self.directory, text);
        self.check(text, what, local).map(Place::Local)
    }

    fn owner(&self, owner: &Spanned<OwnerDocument>) -> Ownership {
        let name = |field: &Field<VersionText>, what: &str| {
            let text = field.good()?;
            let text = Spanned { span: text.span, value: text.value.0.clone() };
            self.check(&text, what, values::account)
        };
        self.required(&owner.value.user, "`owner.user`", owner.span);
        let user = name(&owner.value.user, "`owner.user`").unwrap_or_default();
        let group = name(&owner.value.group, "`owner.group`").unwrap_or_else(|| user.clone());
        Ownership::Fixed { user, group }
    }

    fn preserve(&self, list: &Field<Vec<Field<String>>>) -> Vec<String> {
        let patterns: Vec<String> = self
            .items(list, "`preserve`")
            .filter_map(|pattern| self.check(pattern, "`preserve`", values::glob))
            .collect();
        if let Some(field) = list.good().filter(|_| patterns.len() > PATTERNS_MAX) {
            self.refuse(field.span, "`preserve`", format!("at most {PATTERNS_MAX} patterns"));
        }
        patterns
    }

    fn delete_max(&self, field: &Field<VersionText>) -> DeleteMax {
        let Some(text) = field.good() else { return DeleteMax::Half };
        let text = Spanned { span: text.span, value: text.value.0.clone() };
        let parsed = self.check(&text, "`max_delete`", |text| match text {
            "unlimited" => Ok(DeleteMax::Unlimited),
            number => number
                .parse()
                .map(DeleteMax::Paths)
                .map_err(|_| "write a number of paths, or `unlimited`".to_owned()),
        });
        parsed.unwrap_or(DeleteMax::Half)
    }

    fn seeds(&self, list: &Field<Vec<Field<String>>>) -> Vec<Utf8PathBuf> {
        let seeds = self.items(list, "`seeds`");
        let local = |text: &str| values::local_path(self.directory, text);
        seeds.filter_map(|path| self.check(path, "`seeds`", local)).collect()
    }

    fn trigger(&self, trigger: &Spanned<TriggerDocument>) -> Trigger {
        let document = &trigger.value;
        self.required(&document.paths, "`triggers.paths`", trigger.span);
        self.required(&document.run, "`triggers.run`", trigger.span);
        let paths: Vec<String> = self
            .items(&document.paths, "`triggers.paths`")
            .filter_map(|path| self.check(path, "`triggers.paths`", values::tree_path))
            .collect();
        let run = self.items(&document.run, "`triggers.run`");
        let run: Vec<_> = run.filter_map(|argv| self.argv(argv, "`triggers.run`")).collect();
        let empty = document.paths.value().is_some_and(Vec::is_empty)
            || document.run.value().is_some_and(Vec::is_empty);
        if empty {
            self.refuse(trigger.span, "`triggers`", "a trigger has paths and programs");
        }
        Trigger { paths, run }
    }

    fn tree_limits(&self, limits: &TreeLimitsDocument) -> AssembleLimits {
        let default = AssembleLimits::default();
        let nodes = limits.entries.good().map(|count| {
            if count.value == 0 || count.value > NODES_MAX {
                let why = format!("write a number from 1 to {NODES_MAX}");
                self.refuse(count.span, "`limits.entries`", why);
            }
            count.value
        });
        AssembleLimits {
            nodes: nodes.unwrap_or(default.nodes),
            bytes: self.size(&limits.unpacked, "`limits.unpacked`").unwrap_or(default.bytes),
        }
    }
}

/// Where a source says that it is to be refreshed.
fn refresh_of(document: &Field<TreeSourceDocument>) -> Option<Span> {
    let TreeSourceDocument::Casync(field) = &document.good()?.value;
    let Short::Full(casync) = &field.good()?.value else { return None };
    casync.refresh.good().filter(|refresh| refresh.value).map(|refresh| refresh.span)
}

fn is_url(text: &str) -> bool {
    text.contains("://")
}

fn allowed(special: SpecialDocument) -> Special {
    match special {
        SpecialDocument::Devices => Special::Devices,
        SpecialDocument::Setid => Special::Setid,
        SpecialDocument::Capabilities => Special::Capabilities,
    }
}

/// What a refused wish holds in place of a path.
pub(in crate::desired) const NOWHERE: &str = "/nowhere";

/// What a refused wish holds in place of a source that could not be read.
fn stand_in() -> CasyncSource {
    CasyncSource { index: Place::Web(String::new()), stores: Vec::new() }
}
