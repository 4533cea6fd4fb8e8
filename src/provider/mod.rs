//! The host's own `sysupdate.d` as a part of the wish, read live.
//!
//! It changes with the operating system, so a copy would go stale. Asked for by the section `sysupdate` of the desired state. What cannot be
//! carried out here (partitions, boot entries) is a note with its reason. Where it is to be in lock-step with what could be, all of that
//! component stays as it is.

mod catalogs;
mod definitions;
mod in_sight;
mod orphans;
mod specifiers;
mod written;

use camino::Utf8PathBuf;

use crate::desired::{Declared, DesiredState, Follow, FollowAs, Unclear};
use crate::format::sysupdate::definition::{
    INSTANCES_DEFAULT, SourceKind, Standing, TargetKind, Transfer,
};
use crate::host::Look;
use crate::model::extension::Shape;
use crate::model::pace::Pace;
use crate::model::{Constraint, Digest, Level, Name, Prereleases, ResourceId};
pub use crate::provider::catalogs::{Catalog, catalogs};
pub use crate::provider::definitions::{
    Component, Texts, components, definitions_in, named_components,
};
pub use crate::provider::orphans::{orphans, wish_nothing_of};
pub use crate::provider::specifiers::suggests;
use crate::resource::Spec;
use crate::resource::extension::ExtensionSpec;
use crate::resource::extension::apart::{Others, tell_apart};
use crate::resource::extension::layout::class_at;
use crate::resource::extension::order::OrderWish;
use crate::resource::extension::spec::{
    Activate, FeatureWish, Followed, ImagePolicy, Stock, Transfer as Wish, Tries, Upkeep,
};
use crate::source::spec::DirectoryUrl;

/// Images kept where `InstancesMax=` sets no limit.
const INSTANCES_UNLIMITED: u32 = 1000;

/// Images that updex keeps where nothing is written.
const UPDEX_INSTANCES_DEFAULT: u64 = 2;

/// Largest download and image: a whole operating system.
const IMAGE_BYTES_MAX: u64 = 8 << 30;

/// The name of the set of transfers that belong to no component.
pub const HOST_SET: &str = "host";

/// What the places of extensions of the configuration begin with.
const CONFEXTS: &str = "/var/lib/confexts";

/// Puts facts of the host into the wish, and adds what the host's definitions wish, when the desired state asks to
/// follow them.
pub fn provide(host: &Look, desired: &mut DesiredState) {
    written::complete(host, desired);
    let mut off = Vec::new();
    if let Some(follow) = desired.follow.clone() {
        off = follow_definitions(host, &follow, desired);
    }
    let specs = desired.resources.values_mut().filter_map(|declared| match &mut declared.spec {
        Spec::Extension(spec) => Some(spec),
        Spec::App(_) | Spec::Tree(_) => None,
    });
    tell_apart(specs.flat_map(|spec| spec.transfers.iter_mut().chain(&mut spec.retired)), &off);
}

/// Adds what the host's definitions wish. Gives back what they say of components that are off, whose files stay.
fn follow_definitions(host: &Look, follow: &Follow, desired: &mut DesiredState) -> Vec<Wish> {
    let mut notes = Vec::new();
    let texts = Texts::read(host);
    let components = texts.components(&mut notes);
    let definitions = texts.digest();
    desired.digest = Digest::of_json(&(&desired.digest, &definitions));
    desired.definitions = Some(definitions);
    let mut in_turn: Vec<&Component> = components.iter().collect();
    if follow.as_what == FollowAs::Updex {
        // Of several transfers of one name it takes that of the last component, the host's own last of all.
        in_turn.reverse();
    }
    for component in in_turn {
        provide_component(host, (follow, component), desired, &mut notes);
    }
    desired.notes.extend(notes);
    let off = components.iter().filter(|component| !component.enabled);
    let off = off.flat_map(|component| &component.transfers);
    off.filter_map(|transfer| wish(host, transfer, follow.as_what).ok()).collect()
}

fn provide_component(
    host: &Look,
    (follow, component): (&Follow, &Component),
    desired: &mut DesiredState,
    notes: &mut Vec<String>,
) {
    let resource = component.name.as_deref().unwrap_or(HOST_SET);
    let lock_step = follow.as_what == FollowAs::Sysupdate;
    let broken = !component.broken.is_empty();
    if broken {
        // One release of all its transfers, or each by itself: which ones those would be is not known.
        let why = component.broken.join("; ");
        desired.unclear.push(unclear(follow, lock_step.then_some(resource), why));
        if lock_step {
            return;
        }
    }
    let mut set = Set::default();
    let (mut left_out, told_before) = (None, notes.len());
    if !component.enabled {
        set.upkeep = Upkeep::Nothing;
    }
    for transfer in &component.transfers {
        let on = transfer.is_enabled(&component.features);
        match wish(host, transfer, follow.as_what) {
            Err(why) => {
                let note = format!("{} is left alone: {why}", transfer.file);
                left_out = left_out.or_else(|| on.then(|| note.clone()));
                notes.push(note);
            }
            Ok(_) if !on && broken => {
                notes.push(format!("{} stays as it is: its features are not known", transfer.file));
            }
            Ok(wish) if !on => {
                notes.push(format!("{} is off: its features are not enabled", transfer.file));
                set.retired.push((transfer, wish));
            }
            Ok(wish) => {
                notes.extend(in_sight::note(transfer, &wish));
                set.ours.push((transfer, wish));
            }
        }
    }
    match follow.as_what {
        FollowAs::Updex => {
            for one in set.apart() {
                let Some(name) = one.first().map(|(_, wish)| wish.name.clone()) else {
                    continue;
                };
                if let Some(why) = one.in_sight() {
                    keep(unclear(follow, Some(&name), why), desired, notes);
                    continue;
                }
                add(follow, (&name, None, one), desired, notes);
            }
        }
        FollowAs::Sysupdate => {
            if let Some(why) = set.refuse(component, left_out) {
                notes.truncate(told_before);
                return keep(unclear(follow, Some(resource), why), desired, notes);
            }
            let followed = Followed { component: component.name.clone() };
            add(follow, (resource, Some(followed), set), desired, notes);
        }
    }
}

/// What keeps a resource as it is, or all of them where it is not known which one.
fn unclear(follow: &Follow, resource: Option<&str>, why: String) -> Unclear {
    let resource = resource.and_then(|name| name.parse().ok()).map(ResourceId::extension);
    Unclear { resource, root: follow.root.clone(), why }
}

/// Keeps it so, unless somebody wishes it elsewhere.
fn keep(unclear: Unclear, desired: &mut DesiredState, notes: &mut Vec<String>) {
    if desired.resources.keys().any(|id| unclear.resource.as_ref() == Some(id)) {
        notes.push(unclear.why);
    } else {
        desired.unclear.push(unclear);
    }
}

/// Transfers that are updated in lock-step.
#[derive(Default)]
struct Set<'a> {
    ours: Vec<(&'a Transfer, Wish)>,
    /// Those that are switched off.
    retired: Vec<(&'a Transfer, Wish)>,
    upkeep: Upkeep,
}

impl<'a> Set<'a> {
    /// The first one by name, switched on or off.
    fn first(&self) -> Option<&(&'a Transfer, Wish)> {
        self.ours.iter().chain(&self.retired).min_by_key(|(transfer, _)| &transfer.id)
    }

    /// Why the transfers of a component cannot be one release. `left_out` is what is said of one that is on and not
    /// carried out: the others would go ahead of it.
    fn refuse(&self, component: &Component, left_out: Option<String>) -> Option<String> {
        if self.ours.is_empty() || self.upkeep == Upkeep::Nothing {
            return None;
        }
        if component.name.as_deref() == Some(HOST_SET) {
            return Some(format!(
                "the component {HOST_SET} has the name that stands for the transfers of no component; give it another one"
            ));
        }
        if let Some(left_out) = left_out {
            return Some(format!(
                "{left_out}; the others of its set would go ahead of it: give them a component of their own, or follow \
                 them `as: updex`"
            ));
        }
        let shared = self.ours.iter().enumerate().find_map(|(index, (one, wish))| {
            let mut before = self.ours.iter().take(index);
            let (other, what) = before.find_map(|(other, theirs)| {
                let same_link = wish.link.is_some() && wish.link == theirs.link;
                let same_images = wish.directory == theirs.directory
                    && wish.target.iter().any(|pattern| theirs.target.contains(pattern));
                let what = same_link.then_some("link").or(same_images.then_some("images"))?;
                Some((other, what))
            })?;
            let (one, other) = (&one.file, &other.file);
            Some(format!(
                "{one} and {other} have one {what}; give each its own, or drop one of them"
            ))
        });
        shared.or_else(|| self.in_sight())
    }

    /// Why a transfer of them is not carried out where its images lie.
    fn in_sight(&self) -> Option<String> {
        self.ours.iter().find_map(|(transfer, wish)| in_sight::refuse(transfer, wish))
    }

    /// Each transfer by itself.
    fn apart(self) -> impl Iterator<Item = Self> {
        let upkeep = self.upkeep;
        let of = move |ours, retired| Self { ours, retired, upkeep };
        let ours = self.ours.into_iter().map(move |one| of(vec![one], Vec::new()));
        ours.chain(self.retired.into_iter().map(move |one| of(Vec::new(), vec![one])))
    }
}

/// What is said of a component of which nothing is ours.
pub const NOTHING_TO_DO: &str = "No transfer definitions found that are carried out here.";

/// What one component wishes, as systemd-sysupdate would carry it out; why nothing of it is ours, otherwise.
pub fn set_of(host: &Look, component: &Component) -> Result<(ResourceId, ExtensionSpec), String> {
    let mut set = Set::default();
    for transfer in &component.transfers {
        let Ok(wish) = wish(host, transfer, FollowAs::Sysupdate) else { continue };
        if transfer.is_enabled(&component.features) {
            set.ours.push((transfer, wish));
        } else {
            set.retired.push((transfer, wish));
        }
    }
    if set.ours.is_empty() {
        return Err(NOTHING_TO_DO.to_owned());
    }
    let id = ResourceId::extension(component.name.as_deref().unwrap_or(HOST_SET).parse()?);
    let follow =
        Follow { as_what: FollowAs::Sysupdate, activate: Activate::Boot, root: String::new() };
    let followed = Followed { component: component.name.clone() };
    let mut spec = spec(&follow, &id, Some(followed), set);
    tell_apart(spec.transfers.iter_mut().chain(&mut spec.retired), &[]);
    Ok((id, spec))
}

/// Which transfers of a component are not carried out, and why.
pub fn left_alone(host: &Look, component: &Component, as_what: FollowAs) -> Vec<String> {
    let transfers = component.transfers.iter();
    let left = transfers.filter_map(|transfer| {
        let why = wish(host, transfer, as_what).err()?;
        Some(format!("{} is left alone: {why}", transfer.file))
    });
    left.collect()
}

/// Why nothing of a component is carried out, where it is not known or not clear what it wishes.
pub fn unclear_of<'a>(component: &Component, desired: &'a DesiredState) -> Option<&'a str> {
    let name = component.name.as_deref().unwrap_or(HOST_SET);
    let is_its =
        |unclear: &&Unclear| unclear.resource.as_ref().is_some_and(|id| id.name.as_str() == name);
    desired.unclear.iter().find(is_its).map(|unclear| unclear.why.as_str())
}

/// The resources of a wish that carry out the definitions of a component.
pub fn resources_of(component: &Component, desired: &DesiredState) -> Vec<ResourceId> {
    let is_its = |file: &str| component.transfers.iter().any(|transfer| transfer.file == file);
    let resources = desired.resources.iter();
    let its = resources.filter(|(_, declared)| is_its(&declared.declared_at.file));
    its.map(|(id, _)| id.clone()).collect()
}

fn add(
    follow: &Follow,
    (name, followed, set): (&str, Option<Followed>, Set<'_>),
    desired: &mut DesiredState,
    notes: &mut Vec<String>,
) {
    let Some((first, _)) = set.first() else { return };
    let file = first.file.clone();
    let name: Name = match name.parse() {
        Ok(name) => name,
        Err(why) => return notes.push(format!("{file} is left alone: {why}")),
    };
    let id = ResourceId::extension(name);
    if let Some(other) = desired.resources.get(&id) {
        let at = &other.declared_at;
        return notes.push(format!("{file} is left alone: {id} is declared at {at}"));
    }
    let spec = Spec::Extension(Box::new(spec(follow, &id, followed, set)));
    let declared_at = crate::desired::Place { file, line: 1 };
    let (root, pace) = (follow.root.clone(), Pace::default());
    let declared = Declared { spec, declared_at, root, pace };
    desired.resources.insert(id, declared);
}

fn spec(
    follow: &Follow,
    id: &ResourceId,
    follows: Option<Followed>,
    set: Set<'_>,
) -> ExtensionSpec {
    let home = set.first().map(|(_, wish)| wish.directory.join(format!(".{}.reconcile", id.name)));
    let Set { ours: mut set, mut retired, upkeep } = set;
    if upkeep == Upkeep::Nothing {
        // What is there stays: nothing of it is asked about, and nothing is looked after.
        set.clear();
        retired.clear();
    }
    let most = |transfer: &Transfer| {
        let default = match follow.as_what {
            FollowAs::Sysupdate => INSTANCES_DEFAULT,
            FollowAs::Updex => UPDEX_INSTANCES_DEFAULT,
        };
        let kept = transfer.target.kept(default).unwrap_or(u64::from(INSTANCES_UNLIMITED));
        u32::try_from(kept).unwrap_or(INSTANCES_UNLIMITED)
    };
    let order = |a: &&String, b: &&String| crate::format::sysupdate::order::compare(a, b);
    let mut protect: Vec<String> = set
        .iter()
        .chain(&retired)
        .flat_map(|(transfer, _)| transfer.protected_versions.clone())
        .collect();
    protect.sort();
    protect.dedup();
    ExtensionSpec {
        version: Constraint::Latest,
        prereleases: Prereleases::Wanted,
        order: OrderWish::Uapi,
        home: home.unwrap_or_default(),
        retain: set.iter().map(|(transfer, _)| most(transfer)).max().unwrap_or(1),
        protect,
        min_version: set.iter().filter_map(|(t, _)| t.min_version.as_ref()).max_by(order).cloned(),
        verify: ImagePolicy::default(),
        activate: follow.activate,
        health: None,
        restart: Vec::new(),
        run: Vec::new(),
        download_bytes_max: IMAGE_BYTES_MAX,
        image_bytes_max: IMAGE_BYTES_MAX,
        suspend: None,
        transfers: set.into_iter().map(|(_, wish)| wish).collect(),
        retired: retired.into_iter().map(|(_, wish)| wish).collect(),
        features: FeatureWish::default(),
        upkeep,
        follows,
    }
}

/// A transfer as we carry it out; why not, otherwise.
fn wish(host: &Look, transfer: &Transfer, follow: FollowAs) -> Result<Wish, String> {
    if let Standing::NotOurs { why } = &transfer.standing {
        return Err(why.join("; "));
    }
    let shape = match transfer.target.kind {
        TargetKind::RegularFile => Shape::Image,
        TargetKind::Directory | TargetKind::Subvolume => Shape::Directory,
        TargetKind::Partition => return Err("its target is no file and no directory".to_owned()),
    };
    let path = transfer.source.path.as_str();
    let from = match (transfer.source.kind, path.strip_prefix("file://")) {
        (SourceKind::UrlFile | SourceKind::UrlTar, Some(local)) => {
            DirectoryUrl::Local(local.into())
        }
        (SourceKind::UrlFile | SourceKind::UrlTar, None) => {
            DirectoryUrl::Web(path.trim_end_matches('/').to_owned())
        }
        _ => DirectoryUrl::Local(host.real(path)),
    };
    let stock = match transfer.source.kind {
        SourceKind::UrlFile | SourceKind::UrlTar => Stock::Listed,
        SourceKind::RegularFile | SourceKind::Tar => Stock::Files,
        SourceKind::Directory | SourceKind::Subvolume => Stock::Directories,
    };
    let directory = Utf8PathBuf::from(&transfer.target.path);
    let link = match follow {
        FollowAs::Sysupdate => transfer.target.current_symlink.as_ref().map(|l| directory.join(l)),
        FollowAs::Updex if directory.as_str().starts_with(CONFEXTS) => {
            return Err("its images extend /etc, and updex would link them for /usr".to_owned());
        }
        FollowAs::Updex if shape == Shape::Directory => {
            return Err("its target is a directory, which updex passes over".to_owned());
        }
        FollowAs::Updex => Some(format!("/var/lib/extensions/{}.raw", transfer.id).into()),
    };
    let named = link.as_ref().and_then(|link| match shape {
        Shape::Image => link.file_stem(),
        Shape::Directory => link.file_name(),
    });
    let versioned = |directory: &Utf8PathBuf| {
        let name = directory.file_name()?.strip_suffix(".v")?;
        Some(name.strip_suffix(".raw").unwrap_or(name).to_owned())
    };
    let class = class_at(&directory, link.as_deref());
    let named = named.map(str::to_owned);
    let named = named.or_else(|| versioned(&directory).filter(|_| class.is_some()));
    let name = named.unwrap_or_else(|| transfer.id.clone());
    Ok(Wish {
        definition: Some(transfer.id.clone()),
        min: Some(match (transfer.verify, &from) {
            (true, _) => Level::Signature,
            (false, DirectoryUrl::Web(_)) => Level::Checksum,
            (false, DirectoryUrl::Local(_)) => Level::Lock,
        }),
        from,
        stock,
        manifest: "SHA256SUMS".to_owned(),
        source: transfer.source.patterns.clone(),
        directory,
        target: transfer.target.patterns.clone(),
        link,
        name,
        shape,
        mode: transfer.target.mode,
        read_only: transfer.target.read_only,
        tries: Tries { left: transfer.target.tries_left, done: transfer.target.tries_done },
        class,
        remove_temporary: transfer.target.remove_temporary,
        entry: None,
        others: Others::default(),
    })
}
