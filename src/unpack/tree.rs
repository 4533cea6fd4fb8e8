//! A release while it is unpacked: the staging directory and what is known to be in it.

use crate::format::elf;
use crate::model::manifest::{Binary, EntryKind, MANIFEST_NAME};
use crate::model::step::{UnpackLimits, UnpackRules};
use crate::unpack::error::{Refused, UnpackError};
use crate::unpack::limits::Account;
use crate::unpack::nodes::{Magic, Nodes};
use crate::unpack::pipe::Chunks;
use crate::unpack::sparse::SparseMap;
use crate::unpack::stage::Stage;
use crate::unpack::writing::{Content, Writing};
use crate::unpack::{Program, Unpacked, binaries, path};

/// 1980-01-01: older times in archives are stand-ins for "none", and zip has no older ones.
const MTIME_MIN: i64 = 315_532_800;

const DIRECTORY_MODE: u32 = 0o755;
const PROGRAM_MODE: u32 = 0o755;
const FILE_MODE: u32 = 0o644;

/// Notes kept about one artifact; what is beyond is counted.
const NOTES_MAX: usize = 20;

/// Whether a file may be executed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Executable {
    /// The archive says so.
    Yes,
    /// The archive says not.
    No,
    /// The archive cannot say (a zip without Unix modes): programs are.
    ByContent,
}

impl Executable {
    /// From Unix permission bits.
    pub(super) fn from_mode(mode: u32) -> Self {
        if mode & 0o111 == 0 { Self::No } else { Self::Yes }
    }
}

/// How many bytes of the stream are a file's content.
#[derive(Clone, Debug)]
pub(super) enum Length {
    /// So many.
    Exactly(u64),
    /// All that come.
    ToTheEnd,
    /// Pieces, with zeros between them.
    Sparse(SparseMap),
}

/// A regular file that is about to be unpacked.
#[derive(Clone, Debug)]
pub(super) struct FileHead {
    pub(super) path: String,
    pub(super) length: Length,
    pub(super) executable: Executable,
    /// Seconds since 1970, as the archive says.
    pub(super) mtime: i64,
}

/// The release so far.
#[derive(Debug)]
pub(super) struct Tree {
    stage: Stage,
    nodes: Nodes,
    account: Account,
    limits: UnpackLimits,
    mtime_max: i64,
    notes: Vec<String>,
    notes_left_out: u64,
}

impl Tree {
    /// An empty release. `mtime_max` (seconds since 1970) is the latest time a file may claim.
    pub(super) fn new(stage: Stage, limits: UnpackLimits, mtime_max: i64) -> Self {
        Self {
            stage,
            nodes: Nodes::default(),
            account: Account::new(limits),
            limits,
            mtime_max: mtime_max.max(MTIME_MIN),
            notes: Vec::new(),
            notes_left_out: 0,
        }
    }

    /// Counts a header, whatever it announces.
    pub(super) fn count_entry(&mut self) -> Result<(), UnpackError> {
        self.account.entry()
    }

    /// Says something about the release to people.
    pub(super) fn note(&mut self, text: String) {
        if self.notes.len() < NOTES_MAX {
            self.notes.push(text);
        } else {
            self.notes_left_out += 1;
        }
    }

    /// A directory; that it is there already is no error.
    pub(super) fn add_dir(&mut self, path: &str) -> Result<(), UnpackError> {
        if path.is_empty() {
            return Ok(());
        }
        if let Some(node) = self.nodes.get(path) {
            return match node.kind {
                EntryKind::Dir { .. } => Ok(()),
                _ => Err(refused(path, Refused::Duplicate)),
            };
        }
        self.add_parents(path)?;
        self.stage.make_dir(path)?;
        self.remember(path, EntryKind::Dir { mode: DIRECTORY_MODE }, Magic::Other)
    }

    /// A regular file whose content comes next in the stream.
    pub(super) fn add_file(
        &mut self,
        head: &FileHead,
        chunks: &mut Chunks,
    ) -> Result<(), UnpackError> {
        self.check_free(&head.path)?;
        match &head.length {
            Length::Exactly(bytes) => self.account.file(*bytes)?,
            Length::Sparse(map) => self.account.file(map.size)?,
            Length::ToTheEnd => {}
        }
        self.add_parents(&head.path)?;
        let initial = if head.executable == Executable::Yes { PROGRAM_MODE } else { FILE_MODE };
        let mut file = self.stage.make_file(&head.path, initial)?;
        let content = self.copy(&mut file, head, chunks)?;
        let program = match head.executable {
            Executable::Yes => true,
            Executable::No => false,
            Executable::ByContent => content.magic != Magic::Other,
        };
        let mode = if program { PROGRAM_MODE } else { FILE_MODE };
        let mtime = head.mtime.clamp(MTIME_MIN, self.mtime_max);
        self.stage.set_mode(&file, &head.path, initial, mode)?;
        Stage::set_time(&file, &head.path, mtime)?;
        let kind = EntryKind::File { mode, size: content.size, mtime, sha256: content.sha256 };
        self.remember(&head.path, kind, content.magic)
    }

    /// A symbolic link, made on disk only when the whole tree is known.
    pub(super) fn add_link(&mut self, path: &str, target: String) -> Result<(), UnpackError> {
        self.check_free(path)?;
        self.add_parents(path)?;
        self.remember(path, EntryKind::Link { target }, Magic::Other)
    }

    /// A second name for a file that is there.
    pub(super) fn add_hard_link(&mut self, path: &str, target: &str) -> Result<(), UnpackError> {
        self.check_free(path)?;
        let node = match self.nodes.get(target) {
            Some(node) if matches!(node.kind, EntryKind::File { .. }) => node.clone(),
            _ => return Err(refused(path, Refused::HardLinkTarget)),
        };
        self.add_parents(path)?;
        self.stage.make_hard_link(path, target)?;
        self.remember(path, node.kind, node.magic)
    }

    /// The finished release: stripped, linked, its programs found.
    pub(super) fn finish(mut self, rules: &UnpackRules) -> Result<Unpacked, UnpackError> {
        if let Some(top) = self.nodes.stripped(rules.strip) {
            self.nodes.lift(&top);
            self.check_reserved()?;
            self.stage.lift(&top, MANIFEST_NAME, self.nodes.tops_on_disk())?;
        }
        self.check_reserved()?;
        self.make_links()?;
        if let Some((one, other)) = self.nodes.case_collision() {
            let text = format!("`{one}` and `{other}` differ only in case");
            self.note(text);
        }
        let chosen = binaries::choose(&self.nodes, rules)?;
        for note in chosen.notes {
            self.note(note);
        }
        self.make_executable(&chosen.binaries)?;
        let programs = self.inspect(&chosen.binaries)?;
        if self.notes_left_out > 0 {
            self.notes.push(format!("{} more notes are left out", self.notes_left_out));
        }
        self.stage.keep()?;
        Ok(Unpacked {
            entries: self.nodes.into_entries(),
            binaries: chosen.binaries,
            programs,
            notes: self.notes,
        })
    }

    fn check_reserved(&self) -> Result<(), UnpackError> {
        self.nodes.check_reserved().map_err(|why| refused(MANIFEST_NAME, why))
    }

    fn check_free(&self, path: &str) -> Result<(), UnpackError> {
        match self.nodes.get(path) {
            _ if path.is_empty() => Err(refused(path, Refused::EmptyPath)),
            Some(_) => Err(refused(path, Refused::Duplicate)),
            None => Ok(()),
        }
    }

    /// Makes the directories that the archive did not list.
    fn add_parents(&mut self, path: &str) -> Result<(), UnpackError> {
        for parent in self.nodes.missing_parents(path).map_err(|why| refused(path, why))? {
            self.account.entry()?;
            self.stage.make_dir(parent)?;
            self.remember(parent, EntryKind::Dir { mode: DIRECTORY_MODE }, Magic::Other)?;
        }
        Ok(())
    }

    fn remember(&mut self, path: &str, kind: EntryKind, magic: Magic) -> Result<(), UnpackError> {
        self.nodes.add(path, kind, magic).map_err(|why| refused(path, why))
    }

    /// Hashes and writes a file's content as it comes.
    fn copy(
        &self,
        file: &mut std::fs::File,
        head: &FileHead,
        chunks: &mut Chunks,
    ) -> Result<Content, UnpackError> {
        let mut content = Writing::new(file, &head.path);
        match &head.length {
            Length::Exactly(bytes) => content.data(*bytes, chunks)?,
            Length::ToTheEnd => {
                let limit = self.limits.file_bytes.min(self.limits.bytes);
                content.all(limit, chunks)?;
            }
            Length::Sparse(map) => {
                for &(offset, bytes) in &map.data {
                    content.hole(offset)?;
                    content.data(bytes, chunks)?;
                }
                content.hole(map.size)?;
            }
        }
        Ok(content.finish())
    }

    fn make_links(&mut self) -> Result<(), UnpackError> {
        for (path, target) in self.nodes.links() {
            self.nodes.follow(path, target).map_err(|why| refused(path, why))?;
            self.stage.make_link(path, target)?;
        }
        Ok(())
    }

    /// Programs that are wanted by name are executable whatever the archive says; so are their copies,
    /// because those may be hard links and share the mode.
    fn make_executable(&mut self, binaries: &[Binary]) -> Result<(), UnpackError> {
        for binary in binaries {
            let file = self.linked_file(binary);
            for copy in self.nodes.plain_copies(&file) {
                self.stage.make_executable(&copy)?;
                if let Some(EntryKind::File { mode, .. }) = self.nodes.kind_mut(&copy) {
                    *mode = PROGRAM_MODE;
                }
            }
        }
        Ok(())
    }

    /// Looks into the programs that will be linked. One that cannot be read is noted, not refused: the
    /// bytes are those that the publisher vouched for, and the kernel has the last word.
    fn inspect(&mut self, binaries: &[Binary]) -> Result<Vec<Program>, UnpackError> {
        let mut programs = Vec::new();
        for binary in binaries {
            let file = self.linked_file(binary);
            if self.nodes.get(&file).is_none_or(|node| node.magic != Magic::Elf) {
                continue;
            }
            match elf::inspect(&self.stage.read_file(&file)?) {
                Ok(elf) => programs.push(Program { path: binary.path.clone(), elf }),
                Err(error) => self.note(format!("`{file}` is not checked: {error}")),
            }
        }
        Ok(programs)
    }

    /// The regular file behind a program's path.
    fn linked_file(&self, binary: &Binary) -> String {
        match self.nodes.get(&binary.path).map(|node| &node.kind) {
            Some(EntryKind::Link { target }) => {
                self.nodes.follow(&binary.path, target).unwrap_or_default()
            }
            _ => binary.path.clone(),
        }
    }
}

/// The error for an entry that is not acceptable.
pub(super) fn refused(entry: &str, why: Refused) -> UnpackError {
    UnpackError::Entry { entry: entry.to_owned(), why }
}

/// The same for a path that is not even text.
pub(super) fn refused_raw(entry: &[u8], why: Refused) -> UnpackError {
    let shown = entry.get(..path::SHOWN_BYTES_MAX).unwrap_or(entry);
    refused(&String::from_utf8_lossy(shown), why)
}
