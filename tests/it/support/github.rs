//! A GitHub of one's own: releases described in Rust, served as the REST API serves them.
//!
//! ```ignore
//! let github = GitHub::start();
//! github.publish("acme/tool", [release("v1.0.0").asset("tool-linux-x86_64.tar.gz", bytes)]);
//! let spec = github.spec("acme/tool");
//! ```
//!
//! Files come from a second server, as GitHub's do: every download is a redirect to another origin.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use data_encoding::HEXLOWER;
use reconcile::source::spec::{Origin, SourceSpec};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use super::server::{Reply, Request, Server};

/// A release to publish.
#[derive(Clone, Debug)]
pub struct FakeRelease {
    tag: String,
    prerelease: bool,
    draft: bool,
    published: String,
    assets: Vec<FakeAsset>,
}

#[derive(Clone, Debug)]
struct FakeAsset {
    name: String,
    bytes: Vec<u8>,
    digest: bool,
    state: &'static str,
}

/// A release without files, published on 1 January 2026.
pub fn release(tag: &str) -> FakeRelease {
    FakeRelease {
        tag: tag.to_owned(),
        prerelease: false,
        draft: false,
        published: "2026-01-01T00:00:00Z".to_owned(),
        assets: Vec::new(),
    }
}

impl FakeRelease {
    /// Adds a file; its digest is stated.
    pub fn asset(mut self, name: &str, bytes: impl Into<Vec<u8>>) -> Self {
        let (name, bytes) = (name.to_owned(), bytes.into());
        self.assets.push(FakeAsset { name, bytes, digest: true, state: "uploaded" });
        self
    }

    /// The last file's digest is not stated, as for files from before June 2025.
    pub fn without_digest(mut self) -> Self {
        self.assets.last_mut().unwrap().digest = false;
        self
    }

    /// The last file is still being uploaded.
    pub fn uploading(mut self) -> Self {
        self.assets.last_mut().unwrap().state = "starter";
        self
    }

    pub fn prerelease(mut self) -> Self {
        self.prerelease = true;
        self
    }

    pub fn draft(mut self) -> Self {
        self.draft = true;
        self
    }

    /// When it was published, in RFC 3339.
    pub fn published(mut self, at: &str) -> Self {
        at.clone_into(&mut self.published);
        self
    }
}

/// The API server, and the server that has the files.
pub struct GitHub {
    pub api: Server,
    pub files: Server,
    repos: Arc<Mutex<HashMap<String, Vec<FakeRelease>>>>,
    token: Arc<Mutex<Option<String>>>,
    refusal: Arc<Mutex<Option<Reply>>>,
}

impl GitHub {
    pub fn start() -> Self {
        let (api, files) = (Server::start(), Server::start());
        let repos: Arc<Mutex<HashMap<String, Vec<FakeRelease>>>> = Arc::default();
        let token: Arc<Mutex<Option<String>>> = Arc::default();
        let refusal: Arc<Mutex<Option<Reply>>> = Arc::default();
        let refusing = Arc::clone(&refusal);
        let world = (Arc::clone(&repos), Arc::clone(&token));
        let (origin, storage) = (api.url(""), files.url(""));
        api.handle(move |request| {
            if let Some(refusal) = refusing.lock().unwrap().clone() {
                return Some(refusal);
            }
            let (repos, token) = (world.0.lock().unwrap(), world.1.lock().unwrap());
            let reply = respond(request, &repos, &origin, &storage)?;
            Some(reply.needing_token(token.as_deref()))
        });
        Self { api, files, repos, token, refusal }
    }

    /// Replaces all releases of a repository; the first is the newest.
    pub fn publish(&self, repo: &str, releases: impl IntoIterator<Item = FakeRelease>) {
        let releases: Vec<_> = releases.into_iter().collect();
        for release in &releases {
            for asset in &release.assets {
                let path = format!("/storage/{}/{}", release.tag, asset.name);
                self.files.serve(&path, Reply::file(asset.bytes.clone()));
            }
        }
        self.repos.lock().unwrap().insert(repo.to_owned(), releases);
    }

    /// Answers only to this token from now on.
    pub fn demand_token(&self, token: &str) {
        *self.token.lock().unwrap() = Some(token.to_owned());
    }

    /// Answers every question of the API like this from now on; as usual again with `None`.
    pub fn refuse_with(&self, reply: Option<Reply>) {
        *self.refusal.lock().unwrap() = reply;
    }

    /// The source as a desired state would name it.
    pub fn spec(&self, repo: &str) -> SourceSpec {
        let origin = Origin::Github { repo: repo.to_owned(), api: self.api.url("") };
        SourceSpec { origin, mirrors: Vec::new() }
    }
}

fn respond(
    request: &Request,
    repos: &HashMap<String, Vec<FakeRelease>>,
    origin: &str,
    storage: &str,
) -> Option<Reply> {
    let path = request.bare_path();
    let page = |repo: &str| Page { repo: repo.to_owned(), origin: origin.to_owned() };
    if let Some(rest) = path.strip_prefix("/repos/") {
        let mut parts = rest.splitn(3, '/');
        let repo = format!("{}/{}", parts.next()?, parts.next()?);
        let releases = repos.get(&repo)?;
        let page = page(&repo);
        return match parts.next()? {
            "releases" => Some(page.list(request, releases)),
            "releases/latest" => {
                let latest = releases.iter().find(|r| !r.draft && !r.prerelease)?;
                Some(Reply::file(page.release(latest).to_string()))
            }
            what => match what.strip_prefix("releases/tags/") {
                Some(tag) => {
                    let tag = percent_decoded(tag);
                    let found = releases.iter().find(|r| r.tag == tag && !r.draft)?;
                    Some(Reply::file(page.release(found).to_string()))
                }
                None => asset_by_id(what, releases, request, storage),
            },
        };
    }
    // /OWNER/REPO/releases/download/TAG/NAME
    let parts: Vec<&str> = path.split('/').collect();
    let [_, _, _, "releases", "download", tag, name] = parts[..] else { return None };
    Some(Reply::redirect(&format!(
        "{storage}/storage/{}/{name}?signature=abc",
        percent_decoded(tag)
    )))
}

fn asset_by_id(
    what: &str,
    releases: &[FakeRelease],
    request: &Request,
    storage: &str,
) -> Option<Reply> {
    let name = percent_decoded(what.strip_prefix("releases/assets/")?);
    let (tag, name) = name.split_once(':')?;
    let release = releases.iter().find(|release| release.tag == tag)?;
    let asset = release.assets.iter().find(|asset| asset.name == name)?;
    if request.header("accept") != Some("application/octet-stream") {
        return Some(Reply::file(json!({ "name": asset.name }).to_string()));
    }
    Some(Reply::redirect(&format!("{storage}/storage/{tag}/{name}?signature=abc")))
}

/// What the JSON of one repository refers to.
struct Page {
    repo: String,
    origin: String,
}

impl Page {
    fn list(&self, request: &Request, releases: &[FakeRelease]) -> Reply {
        let number = |name, absent| request.query(name).map_or(absent, |n| n.parse().unwrap());
        let (size, page): (usize, usize) = (number("per_page", 30), number("page", 1));
        let shown: Vec<Value> = releases
            .iter()
            .filter(|release| !release.draft || request.header("authorization").is_some())
            .skip(size * (page - 1))
            .take(size)
            .map(|release| self.release(release))
            .collect();
        let reply = Reply::file(Value::Array(shown).to_string());
        if releases.len() <= size * page {
            return reply;
        }
        let Self { repo, origin } = self;
        let next = format!("{origin}/repos/{repo}/releases?per_page={size}&page={}", page + 1);
        reply.header("Link", &format!("<{next}>; rel=\"next\", <{origin}/x>; rel=\"last\""))
    }

    fn release(&self, release: &FakeRelease) -> Value {
        let assets: Vec<Value> = release.assets.iter().map(|a| self.asset(release, a)).collect();
        json!({
            "id": 1,
            "tag_name": release.tag,
            "name": null,
            "draft": release.draft,
            "prerelease": release.prerelease,
            "created_at": release.published,
            "published_at": release.published,
            "assets": assets,
            "body": "notes",
        })
    }

    fn asset(&self, release: &FakeRelease, asset: &FakeAsset) -> Value {
        let Self { repo, origin } = self;
        let (tag, name) = (release.tag.replace('/', "%2F"), &asset.name);
        let digest = HEXLOWER.encode(&Sha256::digest(&asset.bytes));
        json!({
            "url": format!("{origin}/repos/{repo}/releases/assets/{tag}:{name}"),
            "name": name,
            "state": asset.state,
            "size": asset.bytes.len(),
            "digest": asset.digest.then(|| format!("sha256:{digest}")),
            "browser_download_url": format!("{origin}/{repo}/releases/download/{tag}/{name}"),
        })
    }
}

fn percent_decoded(text: &str) -> String {
    percent_encoding::percent_decode_str(text).decode_utf8().unwrap().into_owned()
}
