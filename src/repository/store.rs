//! Objects of a repository: fetched or read in place, and digested again before they are believed.
//!
//! No work tree, no configuration of user or system, no hooks, no filters: objects in, bytes out. Over HTTPS and SSH
//! a bare repository in the cache takes what is fetched; one on this host is read where it is.

use std::collections::{HashSet, VecDeque};
use std::error::Error as StdError;
use std::io::ErrorKind;
use std::num::NonZeroU32;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use camino::Utf8Path;
use gix::bstr::ByteSlice;
use gix::protocol::transport::client::blocking_io::Transport;
use gix::refs::TargetRef;
use gix::remote::fetch::{Shallow, Tags};
use gix::remote::{Connection, Direction};
use gix::url::Scheme;
use gix::{ObjectId, Remote, Repository, Url};

use crate::repository::address::Address;
use crate::repository::checkout::File;
use crate::repository::meter::{self, Meter};
use crate::repository::opened;
use crate::repository::signed::Kind;
use crate::repository::walk::Walk;
use crate::repository::{Account, RepositoryError, Source};

/// The longest commit, tag or tree: a tree of 20,000 entries is under 2 MiB.
pub(super) const OBJECT_BYTES_MAX: u64 = 4 << 20;

/// Commits that are looked through for the known one: years of a busy repository.
const COMMITS_MAX: usize = 200_000;

/// How often a reference may name another one.
const FOLLOWED_MAX: usize = 5;

/// Most bytes of an answer to the question where references point: hundreds of thousands of them.
const REFERENCES_BYTES_MAX: u64 = 16 << 20;

/// Most bytes that are fetched at once.
pub(super) const FETCH_BYTES_MAX: u64 = 512 << 20;

/// What to do about a repository that has more.
pub(super) const TOO_LARGE: &str = "keep the desired state in a repository of its own";

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
pub(super) struct Store<'a> {
    repository: Repository,
    url: String,
    /// Set when nobody waits any more.
    interrupt: &'a AtomicBool,
}

type Cause = Box<dyn StdError + Send + Sync>;

impl<'a> Store<'a> {
    /// A repository on this host, read in place.
    pub(super) fn local(
        path: &Utf8Path,
        address: &Address,
        interrupt: &'a AtomicBool,
    ) -> Result<(Self, Tip), RepositoryError> {
        let url = address.url().to_owned();
        let unreachable = |source: Cause| RepositoryError::Unreachable { url: url.clone(), source };
        let repository = opened::local(path.as_std_path()).map_err(unreachable)?;
        let store = Self { repository, url: url.clone(), interrupt };
        let mut found = Vec::new();
        for name in names(address.reference()) {
            if let Some(target) = store.target(&name).map_err(unreachable)? {
                found.push((name, target));
            }
        }
        let (name, target) = one(found, address)?;
        let tip = match store.header(target)?.kind() {
            gix::objs::Kind::Tag => {
                let bytes = store.object(&target.to_string(), Kind::Tag)?;
                let tag = gix::objs::TagRef::from_bytes(&bytes, gix::hash::Kind::Sha1)
                    .map_err(|error| store.damaged(error.into()))?;
                Tip { commit: tag.target().to_string(), tag: Some(target.to_string()), name }
            }
            _ => Tip { commit: target.to_string(), tag: None, name },
        };
        Ok((store, tip))
    }

    /// The object that a reference of a repository on this host leads to.
    fn target(&self, name: &str) -> Result<Option<ObjectId>, Cause> {
        let mut name = name.to_owned();
        for _ in 0..FOLLOWED_MAX {
            opened::plain(&self.repository.git_dir().join(&name))?;
            opened::plain(&self.repository.common_dir().join(&name))?;
            let Some(reference) = self.repository.try_find_reference(name.as_str())? else {
                return Ok(None);
            };
            name = match reference.target() {
                TargetRef::Object(id) => return Ok(Some(id.to_owned())),
                TargetRef::Symbolic(next) => next.as_bstr().to_string(),
            };
        }
        Err(format!("the reference leads over {name} without end").into())
    }

    /// A repository elsewhere: asks where the branch or tag points, and fetches what is not there.
    pub(super) fn fetch(
        source: &Source,
        (directory, borrow): (&Path, Option<&Path>),
        known: Option<&str>,
        interrupt: &'a AtomicBool,
    ) -> Result<(Self, Tip), RepositoryError> {
        let address = &source.address;
        let url = address.url().to_owned();
        let repository = opened::bare(source, directory, borrow)
            .map_err(|source| RepositoryError::Damaged { url: url.clone(), source })?;
        let store = Self { repository, url, interrupt };
        let tip = store.receive(source, known)?;
        Ok((store, tip))
    }

    fn receive(&self, source: &Source, known: Option<&str>) -> Result<Tip, RepositoryError> {
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
        let meter = Meter::new(REFERENCES_BYTES_MAX);
        let prepared = connect(&remote, &meter)
            .map_err(|error| unreachable(error.into()))?
            .with_credentials(move |action| Ok(identify(action, account.as_ref(), home.as_ref())))
            .prepare_fetch(gix::progress::Discard, gix::remote::ref_map::Options::default())
            .map_err(|error| {
                let endless = meter.is_spent().then(|| self.endless(REFERENCES_BYTES_MAX));
                endless.unwrap_or_else(|| unreachable(error.into()))
            })?;
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
        meter.allow(FETCH_BYTES_MAX);
        prepared
            .with_shallow(self.shallow(commit, known))
            .receive(gix::progress::Discard, self.interrupt)
            .map_err(|error| {
                if meter.is_spent() {
                    self.endless(FETCH_BYTES_MAX)
                } else if meter.is_broken() || is_broken(&error) {
                    unreachable(error.into())
                } else {
                    // It arrived: what is wrong is kept here, or is what the repository has.
                    self.damaged(error.into())
                }
            })?;
        Ok(tip)
    }

    /// How much of the history is needed.
    fn shallow(&self, commit: ObjectId, known: Option<&str>) -> Shallow {
        match known.and_then(|known| ObjectId::from_hex(known.as_bytes()).ok()) {
            None => Shallow::DepthAtRemote(NonZeroU32::MIN),
            Some(known) if known == commit => Shallow::DepthAtRemote(NonZeroU32::MIN),
            Some(known) if self.repository.has_object(known) => Shallow::NoChange,
            // What is between the known commit and the new one is not here: all of it is needed.
            Some(_) => Shallow::undo(),
        }
    }

    fn endless(&self, bytes: u64) -> RepositoryError {
        RepositoryError::Endless { url: self.url.clone(), bytes, advice: TOO_LARGE }
    }

    /// That an object is missing or wrong.
    pub(super) fn damaged(&self, source: Cause) -> RepositoryError {
        RepositoryError::Damaged { url: self.url.clone(), source }
    }

    fn header(&self, id: ObjectId) -> Result<gix::odb::find::Header, RepositoryError> {
        opened::plain(&opened::loose(&self.repository, id)).map_err(|e| self.damaged(e.into()))?;
        self.repository.find_header(id).map_err(|e| self.damaged(e.into()))
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
    pub(super) fn read(
        &self,
        id: ObjectId,
        kind: gix::objs::Kind,
        limit: u64,
    ) -> Result<Option<Vec<u8>>, RepositoryError> {
        if self.interrupt.load(Ordering::Relaxed) {
            return Err(self.damaged("nobody waits for it any more".into()));
        }
        if self.header(id)?.size() > limit {
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
    pub(super) fn descends(&self, commit: &str, known: &str) -> Result<bool, RepositoryError> {
        let tip = commit;
        let (Ok(commit), Ok(known)) =
            (ObjectId::from_hex(tip.as_bytes()), ObjectId::from_hex(known.as_bytes()))
        else {
            return Ok(false);
        };
        let ends = self.repository.shallow_commits().map_err(|e| self.damaged(e.into()))?;
        let is_end = |id: &ObjectId| ends.as_ref().is_some_and(|ends| ends.iter().any(|e| e == id));
        let mut seen = HashSet::from([commit]);
        let mut pending = VecDeque::from([commit]);
        while let Some(id) = pending.pop_front() {
            if id == known {
                return Ok(true);
            }
            let bytes = self.object(&id.to_string(), Kind::Commit)?;
            let commit = gix::objs::CommitRef::from_bytes(&bytes, gix::hash::Kind::Sha1)
                .map_err(|error| self.damaged(error.into()))?;
            let end = is_end(&id);
            for parent in commit.parents() {
                // What is beyond the end of a shallow history is not here.
                let here = parent == known || !end || self.repository.has_object(parent);
                if here && seen.insert(parent) {
                    pending.push_back(parent);
                }
                if seen.len() > COMMITS_MAX {
                    return Err(RepositoryError::TooFar {
                        known: known.to_string(),
                        found: tip.to_owned(),
                        looked: COMMITS_MAX,
                    });
                }
            }
        }
        Ok(false)
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
        Walk::of(self, commit).files(tree, path)
    }
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

/// A connection; over HTTP it is metered. Over SSH the other side is known by its key.
fn connect<'a, 'r>(
    remote: &'a Remote<'r>,
    meter: &std::sync::Arc<Meter>,
) -> gix::Result<Connection<'a, 'static, 'r, Box<dyn Transport + Send>>> {
    let (url, version) = remote.sanitized_url_and_version(Direction::Fetch)?;
    if !matches!(url.scheme, Scheme::Http | Scheme::Https) {
        return remote.connect(Direction::Fetch);
    }
    let transport = meter::connect(std::sync::Arc::clone(meter), url, version);
    Ok(remote.to_connection_with_transport(Box::new(transport) as Box<dyn Transport + Send>))
}

/// Whether a connection that is not metered broke.
fn is_broken(error: &gix::Error) -> bool {
    let kinds = error.iter_errors().filter_map(|error| error.downcast_ref::<std::io::Error>());
    kinds.map(std::io::Error::kind).any(|kind| {
        matches!(
            kind,
            ErrorKind::UnexpectedEof
                | ErrorKind::BrokenPipe
                | ErrorKind::ConnectionReset
                | ErrorKind::ConnectionAborted
                | ErrorKind::TimedOut
        )
    })
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
