//! Objects of a repository: fetched or read in place, and digested again before they are believed.
//!
//! No work tree, no configuration of user or system, no hooks, no filters: objects in, bytes out. Over HTTPS and SSH
//! a bare repository in the cache takes what is fetched; one on this host is read where it is.

use std::collections::{HashSet, VecDeque};
use std::error::Error as StdError;
use std::num::NonZeroU32;
use std::path::Path;
use std::sync::atomic::AtomicBool;

use camino::{Utf8Component, Utf8Path, Utf8PathBuf};
use gix::bstr::ByteSlice;
use gix::objs::tree::EntryKind;
use gix::remote::Direction;
use gix::remote::fetch::{Shallow, Tags};
use gix::{ObjectId, Repository, Url};

use crate::repository::address::Address;
use crate::repository::checkout::{Content, File};
use crate::repository::signed::Kind;
use crate::repository::{Account, RepositoryError, Source};

/// Most files, directories and links of a desired state.
const ENTRIES_MAX: usize = 20_000;

/// Most bytes of all files of a desired state together.
const FILES_BYTES_MAX: u64 = 64 << 20;

/// The longest commit, tag or tree: a tree of 20,000 entries is under 2 MiB.
const OBJECT_BYTES_MAX: u64 = 4 << 20;

/// How deep directories may be nested.
const DEPTH_MAX: usize = 32;

/// Commits that are looked through for the known one: years of a busy repository.
const COMMITS_MAX: usize = 200_000;

/// The reference under which the newest known state is kept in the cache.
const SEEN: &str = "refs/reconcile/seen";

/// Where a branch or tag points.
#[derive(Debug)]
pub(super) struct Tip {
    /// The commit.
    pub(super) commit: String,
    /// The annotated tag that leads to it.
    tag: Option<String>,
    /// The whole name of the reference.
    name: String,
}

impl Tip {
    /// Which kind of object has the signature.
    pub(super) fn kind(&self) -> Kind {
        if self.tag.is_some() { Kind::Tag } else { Kind::Commit }
    }

    /// The object that has the signature.
    pub(super) fn signed_id(&self) -> &String {
        self.tag.as_ref().unwrap_or(&self.commit)
    }

    /// The name that a tag must bear.
    pub(super) fn tag_name(&self) -> &str {
        self.name.strip_prefix("refs/tags/").unwrap_or(&self.name)
    }
}

/// Objects.
pub(super) struct Store {
    repository: Repository,
    url: String,
}

type Cause = Box<dyn StdError + Send + Sync>;

impl Store {
    /// A repository on this host, read in place.
    pub(super) fn local(
        path: &Utf8Path,
        address: &Address,
    ) -> Result<(Self, Tip), RepositoryError> {
        let url = address.url().to_owned();
        let unreachable = |source: Cause| RepositoryError::Unreachable { url: url.clone(), source };
        let repository = options([])
            .open_path_as_is(false)
            .open(path.as_std_path())
            .map_err(|error| unreachable(error.into()))?
            .to_thread_local();
        let store = Self { repository, url: url.clone() };
        let mut found = Vec::new();
        for name in names(address.reference()) {
            let reference = store.repository.try_find_reference(name.as_str());
            if let Some(reference) = reference.map_err(|error| unreachable(error.into()))? {
                found.push((name, reference));
            }
        }
        let (name, mut reference) = one(found, address)?;
        let target = reference.follow_to_object().map_err(|error| unreachable(error.into()))?;
        let header = store.repository.find_header(target).map_err(|e| store.damaged(e.into()))?;
        let tip = match header.kind() {
            gix::objs::Kind::Tag => {
                let peeled = reference.peel_to_id().map_err(|e| store.damaged(e.into()))?;
                Tip { commit: peeled.to_string(), tag: Some(target.to_string()), name }
            }
            _ => Tip { commit: target.to_string(), tag: None, name },
        };
        Ok((store, tip))
    }

    /// A repository elsewhere: asks where the branch or tag points, and fetches what is not there.
    pub(super) fn fetch(
        source: &Source,
        (directory, borrow): (&Path, Option<&Path>),
        known: Option<&str>,
        interrupt: &AtomicBool,
    ) -> Result<(Self, Tip), RepositoryError> {
        let address = &source.address;
        let url = address.url().to_owned();
        let repository = bare(source, directory, borrow)
            .map_err(|source| RepositoryError::Damaged { url: url.clone(), source })?;
        let store = Self { repository, url };
        let tip = store.receive(source, known, interrupt)?;
        Ok((store, tip))
    }

    fn receive(
        &self,
        source: &Source,
        known: Option<&str>,
        interrupt: &AtomicBool,
    ) -> Result<Tip, RepositoryError> {
        let unreachable =
            |source: Cause| RepositoryError::Unreachable { url: self.url.clone(), source };
        let names = names(source.address.reference());
        let specs = names.iter().enumerate().map(|(at, name)| format!("+{name}:{SEEN}-{at}"));
        let specs: Vec<String> = specs.collect();
        let remote = self
            .repository
            .remote_at(self.url.as_str())
            .and_then(|remote| {
                remote.with_refspecs(specs.iter().map(String::as_str), Direction::Fetch)
            })
            .map_err(|error| unreachable(error.into()))?
            .with_fetch_tags(Tags::None);
        let account = source.account.clone();
        let home = Url::from_bytes(self.url.as_bytes().as_bstr()).ok();
        let connection = remote
            .connect(Direction::Fetch)
            .map_err(|error| unreachable(error.into()))?
            .with_credentials(move |action| Ok(identify(action, account.as_ref(), home.as_ref())));
        let prepared = connection
            .prepare_fetch(gix::progress::Discard, gix::remote::ref_map::Options::default())
            .map_err(|error| unreachable(error.into()))?;
        let found = prepared.ref_map().mappings.iter().filter_map(|mapping| {
            let id = mapping.remote.as_id()?.to_owned();
            let peeled = mapping.remote.peeled_id()?.to_owned();
            let name = mapping.remote.as_name()?.to_str().ok()?.to_owned();
            Some((name, (id, peeled)))
        });
        let (name, (id, commit)) = one(found.collect(), &source.address)?;
        let tag = (id != commit).then(|| id.to_string());
        let tip = Tip { commit: commit.to_string(), tag, name };
        if self.repository.has_object(id) && self.repository.has_object(commit) {
            return Ok(tip);
        }
        let known = known.and_then(|known| ObjectId::from_hex(known.as_bytes()).ok());
        let shallow = match known {
            None => Shallow::DepthAtRemote(NonZeroU32::MIN),
            Some(known) if known == commit => Shallow::DepthAtRemote(NonZeroU32::MIN),
            Some(known) if self.repository.has_object(known) => Shallow::NoChange,
            // What is between the known commit and the new one is not here: all of it is needed.
            Some(_) => Shallow::undo(),
        };
        prepared
            .with_shallow(shallow)
            .receive(gix::progress::Discard, interrupt)
            .map_err(|error| unreachable(error.into()))?;
        Ok(tip)
    }

    fn damaged(&self, source: Cause) -> RepositoryError {
        RepositoryError::Damaged { url: self.url.clone(), source }
    }

    /// The bytes of a commit or tag, which have that digest.
    pub(super) fn object(&self, id: &str, kind: Kind) -> Result<Vec<u8>, RepositoryError> {
        let id = ObjectId::from_hex(id.as_bytes()).map_err(|error| self.damaged(error.into()))?;
        let kind = match kind {
            Kind::Commit => gix::objs::Kind::Commit,
            Kind::Tag => gix::objs::Kind::Tag,
        };
        self.read(id, kind, OBJECT_BYTES_MAX)?.ok_or_else(|| RepositoryError::TooMuch {
            commit: id.to_string(),
            what: format!("the object itself is larger than {OBJECT_BYTES_MAX} bytes"),
        })
    }

    /// An object's bytes, which have that digest; `None` when they are more than `limit`.
    fn read(
        &self,
        id: ObjectId,
        kind: gix::objs::Kind,
        limit: u64,
    ) -> Result<Option<Vec<u8>>, RepositoryError> {
        let header = self.repository.find_header(id).map_err(|e| self.damaged(e.into()))?;
        if header.size() > limit {
            return Ok(None);
        }
        let object = self.repository.find_object(id).map_err(|e| self.damaged(e.into()))?;
        let found = gix::objs::compute_hash(id.kind(), object.kind, &object.data);
        let found = found.map_err(|error| self.damaged(error.into()))?;
        if found != id || object.kind != kind {
            return Err(
                self.damaged(format!("{id} is a {} with the digest {found}", object.kind).into())
            );
        }
        Ok(Some(object.detach().data))
    }

    /// Whether a commit is another one or comes after it.
    pub(super) fn descends(&self, commit: &str, known: &str) -> bool {
        let (Ok(commit), Ok(known)) =
            (ObjectId::from_hex(commit.as_bytes()), ObjectId::from_hex(known.as_bytes()))
        else {
            return false;
        };
        let mut seen = HashSet::from([commit]);
        let mut pending = VecDeque::from([commit]);
        while let Some(id) = pending.pop_front() {
            if id == known {
                return true;
            }
            // What is not here is beyond the end of a shallow history.
            let Ok(commit) = self.repository.find_commit(id) else { continue };
            for parent in commit.parent_ids() {
                if seen.len() < COMMITS_MAX && seen.insert(parent.detach()) {
                    pending.push_back(parent.detach());
                }
            }
        }
        false
    }

    /// The files of a directory of a commit, parents before what is in them.
    pub(super) fn files(
        &self,
        commit: &str,
        path: &Utf8Path,
    ) -> Result<Vec<File>, RepositoryError> {
        let bytes = self.object(commit, Kind::Commit)?;
        let tree = gix::objs::CommitRef::from_bytes(&bytes, gix::hash::Kind::Sha1)
            .map_err(|error| self.damaged(error.into()))?
            .tree();
        let mut walk = Walk { store: self, commit, files: Vec::new(), bytes: 0 };
        let mut tree = tree;
        for name in path.components() {
            let entries = walk.entries(tree)?;
            let wanted = |entry: &&(String, EntryKind, ObjectId)| {
                entry.0 == name.as_str() && entry.1 == EntryKind::Tree
            };
            let Some((_, _, id)) = entries.iter().find(wanted) else {
                let (commit, path) = (commit.to_owned(), path.to_string());
                return Err(RepositoryError::NoPath { commit, path });
            };
            tree = *id;
        }
        walk.descend(tree, Utf8Path::new(""), 0)?;
        Ok(walk.files)
    }
}

/// A walk through the trees of a commit.
struct Walk<'a> {
    store: &'a Store,
    commit: &'a str,
    files: Vec<File>,
    bytes: u64,
}

impl Walk<'_> {
    fn too_much(&self, what: String) -> RepositoryError {
        RepositoryError::TooMuch { commit: self.commit.to_owned(), what }
    }

    fn refuse(&self, path: &Utf8Path, why: &'static str) -> RepositoryError {
        RepositoryError::Unsafe { commit: self.commit.to_owned(), path: path.to_string(), why }
    }

    /// The entries of a tree, with names that are plain.
    fn entries(
        &self,
        tree: ObjectId,
    ) -> Result<Vec<(String, EntryKind, ObjectId)>, RepositoryError> {
        let bytes = self.store.read(tree, gix::objs::Kind::Tree, OBJECT_BYTES_MAX)?;
        let bytes = bytes.ok_or_else(|| self.too_much("it has a huge directory".to_owned()))?;
        let parsed = gix::objs::TreeRef::from_bytes(&bytes, gix::hash::Kind::Sha1)
            .map_err(|error| self.store.damaged(error.into()))?;
        let mut entries = Vec::with_capacity(parsed.entries.len());
        for entry in &parsed.entries {
            let shown = entry.filename.to_str_lossy();
            let plain = entry.filename.to_str().ok().filter(|name| is_plain(name));
            let Some(name) = plain else {
                let why = "is no plain file name; rename it";
                return Err(self.refuse(Utf8Path::new(&*shown.escape_debug().to_string()), why));
            };
            entries.push((name.to_owned(), entry.mode.kind(), entry.oid.to_owned()));
        }
        Ok(entries)
    }

    fn descend(
        &mut self,
        tree: ObjectId,
        below: &Utf8Path,
        depth: usize,
    ) -> Result<(), RepositoryError> {
        if depth > DEPTH_MAX {
            return Err(self.too_much(format!("directories are nested deeper than {DEPTH_MAX}")));
        }
        for (name, kind, id) in self.entries(tree)? {
            let path = below.join(name);
            if self.files.len() >= ENTRIES_MAX {
                return Err(self.too_much(format!("it has more than {ENTRIES_MAX} files")));
            }
            let content = match kind {
                EntryKind::Tree => Content::Directory,
                EntryKind::Blob | EntryKind::BlobExecutable => Content::Bytes(self.blob(id)?),
                EntryKind::Link => {
                    let target = String::from_utf8(self.blob(id)?).ok();
                    let target = target.filter(|target| stays_inside(below, target));
                    let why = "is a link that leads out of the directory; replace it by a file";
                    Content::Link(target.ok_or_else(|| self.refuse(&path, why))?)
                }
                // Another repository's commit: nothing of it is here.
                EntryKind::Commit => continue,
            };
            self.files.push(File { path: path.clone(), content });
            if kind == EntryKind::Tree {
                self.descend(id, &path, depth + 1)?;
            }
        }
        Ok(())
    }

    fn blob(&mut self, id: ObjectId) -> Result<Vec<u8>, RepositoryError> {
        let left = FILES_BYTES_MAX - self.bytes;
        let bytes = self.store.read(id, gix::objs::Kind::Blob, left)?;
        let bytes = bytes.ok_or_else(|| {
            self.too_much(format!("its files are larger than {FILES_BYTES_MAX} bytes together"))
        })?;
        self.bytes += bytes.len() as u64;
        Ok(bytes)
    }
}

/// A name that is one component and nothing special, also for git itself.
fn is_plain(name: &str) -> bool {
    !name.is_empty()
        && !matches!(name, "." | "..")
        && !name.eq_ignore_ascii_case(".git")
        && !name.contains(['/', '\0'])
        && name.len() <= 255
}

/// Whether a link in the directory `below` leads to something inside the wanted directory. It may go up only at its
/// beginning, where directories are real: after a name that is a link itself, `..` would be somewhere else.
fn stays_inside(below: &Utf8Path, target: &str) -> bool {
    let mut at: Utf8PathBuf = below.to_owned();
    let mut down = false;
    for component in Utf8Path::new(target).components() {
        match component {
            Utf8Component::Normal(_) => down = true,
            Utf8Component::CurDir => {}
            Utf8Component::ParentDir if !down && at.pop() => {}
            _ => return false,
        }
    }
    !target.is_empty() && !target.contains('\0')
}

/// The whole names that a reference can mean.
fn names(reference: &str) -> Vec<String> {
    if reference == "HEAD" || reference.starts_with("refs/") {
        vec![reference.to_owned()]
    } else {
        vec![format!("refs/heads/{reference}"), format!("refs/tags/{reference}")]
    }
}

/// Exactly one of what was found.
fn one<T>(mut found: Vec<(String, T)>, address: &Address) -> Result<(String, T), RepositoryError> {
    let (url, reference) = (address.url().to_owned(), address.reference().to_owned());
    match (found.pop(), found.is_empty()) {
        (Some(found), true) => Ok(found),
        (Some(_), false) => Err(RepositoryError::Ambiguous { url, reference }),
        (None, _) => Err(RepositoryError::NoReference { url, reference }),
    }
}

/// The account, for the host that it is for.
fn identify(
    action: gix::credentials::helper::Action,
    account: Option<&Account>,
    home: Option<&Url>,
) -> Option<gix::credentials::protocol::Outcome> {
    let gix::credentials::helper::Action::Get(context) = action else { return None };
    let asked = context.url.as_ref().and_then(|url| Url::from_bytes(url.as_bstr()).ok());
    let same = |asked: &Url, home: &Url| {
        (&asked.scheme, asked.host(), asked.port) == (&home.scheme, home.host(), home.port)
    };
    if !asked.as_ref().zip(home).is_some_and(|(asked, home)| same(asked, home)) {
        return None;
    }
    let account = account?;
    let name = home.and_then(|home| home.user()).unwrap_or(&account.name);
    Some(gix::credentials::protocol::Outcome {
        identity: gix::sec::identity::Account {
            username: name.to_owned(),
            password: account.secret.clone(),
            oauth_refresh_token: None,
        },
        next: gix::credentials::helper::NextAction::from(
            gix::credentials::protocol::Context::default(),
        ),
    })
}

/// How repositories are opened: nothing of user and system counts.
fn options<'a>(overrides: impl IntoIterator<Item = &'a str>) -> gix::open::Options {
    let bounded = "gitoxide.objects.allocLimit=536870912";
    let connect = "gitoxide.http.connectTimeout=20000";
    let fixed = [bounded, connect, "protocol.version=2"];
    gix::open::Options::isolated()
        .with(gix::sec::Trust::Full)
        .config_overrides(fixed.into_iter().chain(overrides))
}

/// The bare repository in a directory, made when there is none; objects of another one count as its own.
fn bare(source: &Source, directory: &Path, borrow: Option<&Path>) -> Result<Repository, Cause> {
    let ssh = source.ssh_command.as_ref().map(|command| format!("core.sshCommand={command}"));
    let options = options(ssh.as_deref()).open_path_as_is(true);
    if !directory.join("HEAD").exists() {
        let made = gix::ThreadSafeRepository::init_opts(
            directory,
            gix::create::Kind::Bare,
            gix::create::Options::default(),
            options.clone(),
        )?;
        if let Some(borrow) = borrow.filter(|borrow| borrow.join("HEAD").exists()) {
            lend(borrow, made.path())?;
        }
    }
    Ok(options.open(directory)?.to_thread_local())
}

/// Lets a new repository use the objects and know the references and the shallow end of another.
#[expect(clippy::disallowed_methods, reason = "a temporary directory, not the managed host")]
fn lend(from: &Path, to: &Path) -> std::io::Result<()> {
    let objects = from.join("objects");
    std::fs::write(to.join("objects/info/alternates"), format!("{}\n", objects.display()))?;
    let seen = from.join("refs/reconcile");
    if let Ok(entries) = std::fs::read_dir(&seen) {
        std::fs::create_dir_all(to.join("refs/reconcile"))?;
        for entry in entries.flatten() {
            std::fs::copy(entry.path(), to.join("refs/reconcile").join(entry.file_name()))?;
        }
    }
    match std::fs::copy(from.join("shallow"), to.join("shallow")) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}
