//! Staging a generation of a tree.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::SystemTime;

use camino::Utf8Path;
use data_encoding::{BASE64, DecodeError};
use jiff::Timestamp;
use sha2::{Digest as _, Sha256};
use tokio::sync::OwnedRwLockReadGuard;

use crate::apply::Stop;
use crate::apply::stage::{Bench, Stager};
use crate::assemble::{
    Accounts, AssembleError, Assembled, Behind, HEAD, InUse, Job, Me, NODES, Owner, Powers,
    SeedPlace, Stores, Trust, assemble, is_store, refresh,
};
use crate::fetch::{Client, piece};
use crate::format::casync::deltas::DELTA_BYTES_MAX;
use crate::format::casync::packs::PackList;
use crate::host::Change as Host;
use crate::model::difference::Seen;
use crate::model::outcome::{ChangeResult, End, Failure, FailureClass, chain};
use crate::model::snapshot::{Nodes, SNAPSHOT_FORMAT, SnapshotHead};
use crate::model::step::{
    AssembleRules, IndexSignature, Ownership, PackSource, ReleaseHead, Reuse, Seed,
};
use crate::model::{Algorithm, Blob, Change, Digest, Evidence, Step, StepKind};
use crate::trust::Verified;

/// A list of nodes is ours; this bounds a mistake.
const NODES_BYTES_MAX: u64 = 1 << 30;

/// Longest list of packs read, in bytes: one of 380,000 chunks.
const PACK_LIST_BYTES_MAX: u64 = 16 << 20;

/// `/etc/passwd` of a large host.
const ACCOUNTS_BYTES_MAX: u64 = 16 << 20;

/// A generation to make.
pub(super) struct Wish<'a> {
    pub(super) into: &'a Utf8Path,
    pub(super) rules: &'a AssembleRules,
    pub(super) release: &'a ReleaseHead,
    pub(super) index: Verified<Blob>,
    pub(super) evidence: Evidence,
    pub(super) now: Timestamp,
    /// Kept by the thread that writes it.
    pub(super) writes: OwnedRwLockReadGuard<()>,
    /// What looking at trees came to in this pass.
    pub(super) seen: &'a [Arc<Seen>],
}

/// Whether some steps make a generation to go back to, and not the one that the change brings into use.
pub(super) fn makes_way_back(change: &Change, steps: &[Step]) -> bool {
    let wished = change.after.as_ref().map(|after| after.tag.as_str());
    let other = |release: &ReleaseHead| wished != Some(release.tag.as_str());
    steps.iter().any(|step| matches!(step, Step::Assemble { release, .. } if other(release)))
}

/// Makes a generation in its staging directory.
pub(super) async fn stage(
    host: &Host,
    client: &Client,
    wish: Wish<'_>,
) -> Result<Assembled, Failure> {
    let fail = |class, message| Failure { step: StepKind::Assemble, class, message };
    let io = |e: std::io::Error| fail(FailureClass::Transient, chain(&e));
    let into = wish.into;
    host.make_dirs_unsynced(into.parent().unwrap_or(into)).map_err(io)?;
    host.remove(into).map_err(io)?;
    host.make_new_dir(into).map_err(io)?;
    let rules = wish.rules;
    let powers = powers(host, rules).map_err(|e| fail(e.class(), chain(&e)))?;
    let seeds: Vec<SeedPlace> =
        rules.seeds.iter().map(|seed| place(host, seed, wish.seen)).collect();
    let in_use = rules.seeds.first().is_some_and(|seed| seed.in_use);
    let dirs = rules.seed_dirs.iter().map(|dir| dir.as_std_path().to_owned());
    let (dirs, foreign): (Vec<_>, Vec<_>) = dirs.partition(|dir| is_store(dir));
    let stays = rules.reuse == Reuse::Stays;
    let made_for = if stays { host.inode_of_dir(&rules.path).map_err(io)? } else { None };
    let delta = match &rules.delta {
        Some(url) => piece(client, url, DELTA_BYTES_MAX).await.ok(),
        None => None,
    };
    let stores = Stores::new(client, host.cache().chunks, &dirs, &rules.stores);
    stores.count(delta.as_ref().map_or(0, |delta| delta.len() as u64));
    let job = Job {
        delta,
        index: wish.index.get().path.clone(),
        into: host.real(into).into_std_path_buf(),
        seeds,
        foreign,
        live: host.real(&rules.path).into_std_path_buf(),
        in_use: if in_use { InUse::First } else { InUse::None },
        powers,
        reuse: rules.reuse,
        delete_max: rules.delete_max,
        preserve: rules.preserve.clone(),
        limits: rules.limits,
        writes: wish.writes,
    };
    let packs = match &rules.packs {
        Some(source) => packs(client, source).await,
        None => None,
    };
    let made =
        assemble(job, stores.with_packs(packs)).await.map_err(|e| fail(e.class(), chain(&e)))?;
    let index = wish.index.get().digests.iter().find(|d| d.algorithm() == Algorithm::Sha256);
    let head = SnapshotHead {
        format: SNAPSHOT_FORMAT,
        resource: wish.release.resource.to_string(),
        version: wish.release.version.clone(),
        recipe: wish.release.recipe.clone(),
        index: index.unwrap_or(&wish.release.recipe).clone(),
        evidence: wish.evidence,
        published: rules.published,
        staged_at: wish.now,
        inode: made.inode,
        merged: None,
        made_for,
        nodes: made.nodes,
        bytes: made.bytes,
        unsaid: made.unsaid,
    };
    let json = serde_json::to_vec(&head).map_err(|e| io(e.into()))?;
    host.write_unsynced(&into.join(HEAD), &json).map_err(io)?;
    Ok(made)
}

impl Stager<'_> {
    /// With what was seen of trees, so that nobody looks again.
    #[must_use]
    pub fn with_seen(mut self, seen: Vec<Arc<Seen>>) -> Self {
        self.seen = seen;
        self
    }

    /// Makes a generation of what was fetched.
    pub(super) async fn assemble(
        &self,
        (into, rules, release): (&Utf8Path, &AssembleRules, &ReleaseHead),
        bench: &mut Bench,
    ) -> Result<(), Failure> {
        let fail = |class, message| Failure { step: StepKind::Assemble, class, message };
        let Some((index, _, evidence)) = bench.take_whole() else {
            return Err(fail(FailureClass::Permanent, "nothing was fetched".to_owned()));
        };
        if let Some(slot) = &bench.slot {
            let made = self.host.make_dirs_unsynced(slot.parent().unwrap_or(slot));
            made.map_err(|e| fail(FailureClass::Transient, chain(&e)))?;
        }
        // Mostly waits for the network, which must not keep others from unpacking.
        let writes = self.writes().await;
        let (now, seen) = (self.now, &self.seen[..]);
        let wish = Wish { into, rules, release, index, evidence, now, writes, seen };
        let made = stage(self.host, self.client, wish).await?;
        bench.staged.fetched_bytes += made.fetched_bytes;
        bench.staged.notes.extend(made.notes);
        bench.staged.changed = Some(made.changed);
        Ok(())
    }

    /// Brings offline copies up to what is in use now, which has shown that it works.
    pub(super) async fn refresh(&self, change: &Change, result: &mut ChangeResult, stop: &Stop) {
        for step in &change.steps {
            let Step::Refresh { generation, tree, copy, signature, stores, published } = step
            else {
                continue;
            };
            let from = SeedPlace {
                generation: self.host.real(generation).into_std_path_buf(),
                tree: self.host.real(tree).into_std_path_buf(),
                touched: HashSet::new(),
                suspects: None,
                trust: Trust::Nothing,
            };
            let cache = self.host.cache().chunks;
            let stores = Stores::new(self.client, cache, &[], stores);
            let (index, store) = (copy.index.clone().into(), copy.store.clone().into());
            let published = published.map(SystemTime::from);
            let bytes = |signature: &IndexSignature| -> Result<_, DecodeError> {
                let bytes = BASE64.decode(signature.content.as_bytes())?;
                Ok((signature.path.clone().into(), bytes))
            };
            let signature = match signature.as_ref().map(bytes).transpose() {
                Ok(signature) => signature,
                Err(error) => {
                    result.fail(step, FailureClass::Permanent, chain(&error));
                    continue;
                }
            };
            let behind = Behind { from, index, store, signature, published };
            // Its index is replaced last: a copy that is left in the midst of it is what it was.
            let refreshed = tokio::select! {
                biased;
                () = stop.wait_for_end() => None,
                refreshed = refresh(&behind, stores) => Some(refreshed),
            };
            match refreshed {
                Some(Ok(_)) => {}
                Some(Err(error)) => result.fail(step, error.class(), chain(&error)),
                None => {
                    let index = &copy.index;
                    let note =
                        format!("the offline copy {index} stays behind: the agent was told to end");
                    result.notes.push(note);
                    result.end = End::Interrupted;
                    return;
                }
            }
        }
    }
}

/// The list of packs that was planned with. Packs only save requests: without it chunks come one by one.
async fn packs(client: &Client, source: &PackSource) -> Option<PackList> {
    let bytes = piece(client, &source.list, PACK_LIST_BYTES_MAX).await.ok()?;
    let hash: [u8; 32] = Sha256::digest(&bytes).into();
    let same = Digest::new(Algorithm::Sha256, &hash).as_ref() == Some(&source.digest);
    PackList::read(bytes.as_slice()).ok().filter(|_| same)
}

/// A generation and which of its paths somebody touched, looked at only where this pass did not do so yet.
fn place(host: &Host, seed: &Seed, known: &[Arc<Seen>]) -> SeedPlace {
    let look = || {
        let bytes = host.read(seed.generation.join(NODES), NODES_BYTES_MAX).ok()??;
        let nodes = Nodes::decode(&bytes).ok()?;
        let found = host.compare(&seed.tree, &nodes, &|_| true).ok()?;
        Some((found.touched.into_iter().collect(), found.suspects.into_iter().collect()))
    };
    let known = known.iter().find(|seen| seen.generation == seed.generation).map(|seen| {
        (seen.touched.iter().cloned().collect(), seen.suspects.iter().copied().collect())
    });
    let looked: Option<(HashSet<Vec<u8>>, HashSet<usize>)> =
        if seed.in_use { known.or_else(look) } else { None };
    let (touched, suspects) = looked.unzip();
    SeedPlace {
        generation: host.real(&seed.generation).into_std_path_buf(),
        tree: host.real(&seed.tree).into_std_path_buf(),
        touched: touched.unwrap_or_default(),
        suspects,
        trust: if seed.verify { Trust::Nothing } else { Trust::Stat },
    }
}

fn powers(host: &Host, rules: &AssembleRules) -> Result<Powers, AssembleError> {
    let text = |path: &str| {
        let bytes = host.read(path, ACCOUNTS_BYTES_MAX).ok().flatten().unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    };
    let accounts = Accounts::parse(&text("/etc/passwd"), &text("/etc/group"));
    let owner = match &rules.owner {
        Ownership::Archive => Owner::Archive,
        Ownership::Fixed { user, group } => {
            let uid = user.parse().ok().or_else(|| accounts.users.get(user).copied());
            let gid = group.parse().ok().or_else(|| accounts.groups.get(group).copied());
            let missing =
                |what, name: &String| AssembleError::NoAccount { what, name: name.clone() };
            Owner::Fixed {
                uid: uid.ok_or_else(|| missing("user", user))?,
                gid: gid.ok_or_else(|| missing("group", group))?,
            }
        }
    };
    Ok(Powers { owner, allow: rules.allow.clone(), accounts, me: Me::now() })
}
