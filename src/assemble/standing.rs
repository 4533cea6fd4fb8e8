//! What stays as it is in the tree in use, where a new generation is moved into that file by file.
//!
//! Whoever made the plan looked at every node, so that what is as it was made is not looked at again. Anything else stays
//! only when its content was compared with that of the archive.

use std::collections::HashSet;
use std::fs::File;
use std::os::fd::OwnedFd;

use rustix::fs::{CWD, Mode, OFlags, Timestamps};

use crate::assemble::attributes::{self, Wanted};
use crate::assemble::changes::Bytes;
use crate::assemble::content::FileWish;
use crate::assemble::old::{SeedPlace, Trust};
use crate::assemble::stream::Stream;
use crate::assemble::write::{Made, Writer};
use crate::format::casync::catar::{Content, Decoder, Metadata};
use crate::format::casync::flags::Flags;
use crate::host::nodes::{node_stat, open_below};
use crate::model::snapshot::{NodeKind, NodeStat};

/// The tree in use.
#[derive(Debug)]
pub(super) struct Standing {
    root: OwnedFd,
    suspects: Option<HashSet<usize>>,
    trust: Trust,
}

impl Standing {
    /// Opens the tree in use; `None` where nothing of it can stay.
    pub(super) fn open(seed: &SeedPlace) -> Option<Self> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let root = rustix::fs::openat(CWD, &seed.tree, flags, Mode::empty()).ok()?;
        Some(Self { root, suspects: seed.suspects.clone(), trust: seed.trust })
    }

    fn is_as_listed(&self, node: usize) -> bool {
        self.suspects.as_ref().is_some_and(|suspects| !suspects.contains(&node))
    }

    /// Whether even the content of a file need not be looked at.
    fn vouches_for(&self, node: usize) -> bool {
        self.trust == Trust::Stat && self.is_as_listed(node)
    }
}

impl Writer<'_> {
    /// What is known of the node that came last, where it is in the tree in use as it was made.
    pub(super) fn as_listed(&self) -> Option<NodeStat> {
        let (standing, node) = (self.standing.as_ref()?, self.changes.old_node()?);
        standing.is_as_listed(node).then(|| self.changes.old_stat().copied())?
    }

    /// What is known of the directory that came last, where nothing but its mode, owner and time need be set in its place.
    pub(super) fn directory_stays(&self, wanted: &Wanted) -> Option<NodeStat> {
        self.as_listed().filter(|listed| listed.attributes == wanted.attributes)
    }

    /// What a directory that stays is to be listed with: it gets its mode, owner and time there.
    pub(super) fn directory_standing(
        &self,
        stays: NodeStat,
        wanted: &Wanted,
        times: Option<&Timestamps>,
    ) -> NodeStat {
        let (uid, gid) = wanted.owner.unwrap_or((self.powers.me.uid, self.powers.me.gid));
        let mtime = times.map_or(stays.mtime, modified);
        NodeStat { mode: wanted.mode, uid, gid, mtime, ..stays }
    }

    /// Something that is no file, and is in the tree in use as it shall be.
    pub(super) fn stands(
        &self,
        content: &Content,
        metadata: &Metadata,
        (wanted, flags): (&Wanted, Flags),
    ) -> Option<Made> {
        let stat = self.vouched_for()?;
        let same = match content {
            Content::Symlink { target } => self.changes.old_target() == target.as_slice(),
            Content::Fifo | Content::Socket => true,
            // What a device is the list does not say.
            Content::Block { .. }
            | Content::Character { .. }
            | Content::File { .. }
            | Content::Directory => false,
        };
        let same = same && self.is_about(&stat, wanted, attributes::times(flags, metadata));
        same.then_some(Made { stat, bytes: Bytes::Same, later: None })
    }

    /// A file that is in the tree in use as it shall be, by all that is known without reading it.
    pub(super) fn file_stands(
        &self,
        wish: &FileWish<'_>,
        flags: Flags,
        decoder: &mut Decoder<Stream>,
    ) -> Option<Made> {
        let stat = self.vouched_for()?;
        let times = attributes::times(flags, wish.metadata);
        if stat.size != wish.size || !self.is_about(&stat, wish.wanted, times) {
            return None;
        }
        if wish.size > 0 {
            let whole = decoder.source().find_whole(wish.size)?;
            if whole.old != 0 || Some(whole.node) != self.changes.old_node() {
                return None;
            }
            decoder.source().pass(&whole);
            decoder.pass_payload(wish.size);
        }
        Some(Made { stat, bytes: Bytes::Same, later: None })
    }

    /// The file in the tree in use of which nothing but its content may be another than it shall be.
    pub(super) fn standing_file(&self, wish: &FileWish<'_>, flags: Flags) -> Option<Draft> {
        let standing = self.standing.as_ref()?;
        let listed = *self.changes.old_stat()?;
        let path = self.changes.path_of(wish.name);
        let reading = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NONBLOCK;
        let open = || open_below(&standing.root, &path, reading).ok();
        let times = attributes::times(flags, wish.metadata);
        let fits = |stat: &NodeStat| {
            let file = stat.kind == NodeKind::File && stat.size == wish.size;
            file && self.is_about(stat, wish.wanted, times)
        };
        if self.as_listed().is_some() {
            return fits(&listed).then(open)?.map(|file| Draft::Stands(file.into(), listed));
        }
        if listed.attributes != 0 {
            // Nobody knows what became of them.
            return None;
        }
        let file = open()?;
        let found = node_stat(&rustix::fs::fstat(&file).ok()?);
        fits(&found).then(|| Draft::Stands(file.into(), found))
    }

    fn vouched_for(&self) -> Option<NodeStat> {
        let (standing, node) = (self.standing.as_ref()?, self.changes.old_node()?);
        standing.vouches_for(node).then(|| self.changes.old_stat().copied())?
    }

    /// Whether mode, owner, attributes and time are as they shall be.
    pub(super) fn is_about(
        &self,
        stat: &NodeStat,
        wanted: &Wanted,
        times: Option<Timestamps>,
    ) -> bool {
        let mine = (self.powers.me.uid, self.powers.me.gid);
        (stat.mode == wanted.mode || stat.kind == NodeKind::Link)
            && (stat.uid, stat.gid) == wanted.owner.unwrap_or(mine)
            && stat.attributes == wanted.attributes
            && times.is_none_or(|times| stat.mtime == modified(&times))
    }
}

/// A file while it is put together.
pub(super) enum Draft {
    /// So far all of it is in its place in the tree in use, and this is what `stat` says of that.
    Stands(File, NodeStat),
    /// It is being written.
    Written(File),
}

fn modified(times: &Timestamps) -> (i64, u32) {
    let time = times.last_modification;
    (time.tv_sec, u32::try_from(time.tv_nsec).unwrap_or_default())
}
