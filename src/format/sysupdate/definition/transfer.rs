//! Transfers: where instances come from, what is checked, where they go.

use super::super::ini::{Assignment, Warning};
use super::super::pattern::{Pattern, uuid};
use super::super::specifier::Specifiers;
use super::feature::Feature;
use super::values::simplified;
use super::{DefinitionError, DefinitionText, INSTANCES_MIN, Reader};

/// What a source is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SourceKind {
    /// Files of a web server with a manifest.
    UrlFile,
    /// Archives of a web server with a manifest.
    UrlTar,
    /// Archives in a directory.
    Tar,
    /// Files in a directory.
    RegularFile,
    /// Directories in a directory.
    Directory,
    /// Subvolumes in a directory.
    Subvolume,
}

/// What a target is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TargetKind {
    /// Partitions of a disk.
    Partition,
    /// Files in a directory.
    RegularFile,
    /// Directories in a directory.
    Directory,
    /// Subvolumes in a directory.
    Subvolume,
}

/// Whether a transfer can be carried out here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Standing {
    /// It can.
    Ours,
    /// It is valid, and systemd-sysupdate's own business.
    NotOurs {
        /// Why, each reason on its own.
        why: Vec<String>,
    },
}

/// The `[Source]` of a transfer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Source {
    /// `Type=`.
    pub kind: SourceKind,
    /// `Path=`: an `http`, `https` or `file` URL, or an absolute directory.
    pub path: String,
    /// `MatchPattern=`, at least one.
    pub patterns: Vec<Pattern>,
}

/// Keys that concern partitions only.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Partition {
    /// `MatchPartitionType=`, as text.
    pub kind: Option<String>,
    /// `PartitionUUID=`.
    pub uuid: Option<[u8; 16]>,
    /// `PartitionFlags=`.
    pub flags: Option<u64>,
    /// `PartitionNoAuto=`.
    pub no_auto: Option<bool>,
    /// `PartitionGrowFileSystem=`.
    pub grow_file_system: Option<bool>,
}

/// The `[Target]` of a transfer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// `Type=`, or what the source suggests.
    pub kind: TargetKind,
    /// `Path=`: an absolute directory, without a slash at its end.
    pub path: String,
    /// `MatchPattern=`, at least one; the first names new instances.
    pub patterns: Vec<Pattern>,
    /// `Mode=`.
    pub mode: Option<u32>,
    /// `ReadOnly=`.
    pub read_only: Option<bool>,
    /// `TriesLeft=`.
    pub tries_left: Option<u64>,
    /// `TriesDone=`.
    pub tries_done: Option<u64>,
    /// `InstancesMax=`, at least 2, where it is written.
    pub instances_max: Option<u64>,
    /// `RemoveTemporary=`, by default yes.
    pub remove_temporary: bool,
    /// `CurrentSymlink=`: relative to the target's directory, or absolute.
    pub current_symlink: Option<String>,
    /// What concerns partitions.
    pub partition: Partition,
}

impl Target {
    /// How many instances are kept where whoever carries it out keeps so many by default; `None` is without a limit.
    pub fn kept(&self, default: u64) -> Option<u64> {
        self.instances_max.or((self.kind != TargetKind::Partition).then_some(default))
    }
}

/// One transfer file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Transfer {
    /// The file's name without its ending.
    pub id: String,
    /// The main file.
    pub file: String,
    /// `MinVersion=`: older ones are obsolete.
    pub min_version: Option<String>,
    /// `ProtectVersion=`: never vacuumed.
    pub protected_versions: Vec<String>,
    /// `Verify=`: whether the manifest must be signed, by default yes.
    pub verify: bool,
    /// `ChangeLog=`, web addresses; `@v` in them stands for the version.
    pub change_log: Vec<String>,
    /// `AppStream=`, web addresses.
    pub app_stream: Vec<String>,
    /// `Features=`: one of them must be enabled, if there are any.
    pub features: Vec<String>,
    /// `RequisiteFeatures=`: all of them must be enabled.
    pub requisite_features: Vec<String>,
    /// Where instances come from.
    pub source: Source,
    /// Where instances go.
    pub target: Target,
    /// Whether it can be carried out here.
    pub standing: Standing,
}

impl Transfer {
    /// True when the features that it names are enabled; a feature that does not exist is not.
    pub fn is_enabled(&self, features: &[Feature]) -> bool {
        let enabled = |id: &String| features.iter().any(|f| f.enabled && f.id == *id);
        self.requisite_features.iter().all(enabled)
            && (self.features.is_empty() || self.features.iter().any(enabled))
    }
}

/// The values of `PathRelativeTo=`.
const PLACES: [&str; 5] = ["root", "esp", "xbootldr", "boot", "explicit"];

/// One side of a transfer while it is read.
#[derive(Default)]
pub(super) struct End {
    pub(super) kind: Option<String>,
    pub(super) path: Option<String>,
    pub(super) relative_to: Option<String>,
    pub(super) patterns: Vec<Pattern>,
}

/// A transfer while it is read.
#[derive(Default)]
pub(super) struct Draft {
    pub(super) min_version: Option<String>,
    pub(super) protected_versions: Vec<String>,
    pub(super) verify: Option<bool>,
    pub(super) change_log: Vec<String>,
    pub(super) app_stream: Vec<String>,
    pub(super) features: Vec<String>,
    pub(super) requisite_features: Vec<String>,
    pub(super) source: End,
    pub(super) target: End,
    pub(super) mode: Option<u32>,
    pub(super) read_only: Option<bool>,
    pub(super) tries_left: Option<u64>,
    pub(super) tries_done: Option<u64>,
    pub(super) instances_max: Option<u64>,
    /// `InstancesMax=` where updex reads it.
    pub(super) transfer_instances_max: Option<u64>,
    pub(super) remove_temporary: Option<bool>,
    pub(super) current_symlink: Option<String>,
    pub(super) partition: Partition,
}

/// Reads a transfer from its file and its drop-ins, in their order.
pub fn transfer(
    id: &str,
    main: &DefinitionText,
    drop_ins: &[DefinitionText],
    specifiers: &Specifiers,
) -> Result<(Transfer, Vec<Warning>), DefinitionError> {
    let mut reader = Reader { specifiers, warnings: Vec::new() };
    let mut draft = Draft::default();
    for at in reader.assignments(main, drop_ins, &["Transfer", "Source", "Target"])? {
        match at.section.as_str() {
            "Transfer" => draft.transfer(&mut reader, &at)?,
            "Source" => draft.source.take(&mut reader, &at)?,
            _ => draft.target_key(&mut reader, &at)?,
        }
    }
    let invalid = |fault| DefinitionError::Invalid { file: main.path.clone(), fault };
    let transfer = draft.finish(id, &main.path).map_err(invalid)?;
    Ok((transfer, reader.warnings))
}

impl End {
    fn take(&mut self, reader: &mut Reader<'_>, at: &Assignment) -> Result<(), DefinitionError> {
        match at.key.as_str() {
            "Type" => {
                let known = super::finish::is_kind(&at.value).then(|| at.value.clone());
                reader.set(at, &mut self.kind, known);
            }
            "Path" => self.path = Some(reader.expand(at, &at.value)?).filter(|p| !p.is_empty()),
            "PathRelativeTo" if at.value.is_empty() => self.relative_to = None,
            "PathRelativeTo" => {
                let known = PLACES.contains(&at.value.as_str()).then(|| at.value.clone());
                reader.set(at, &mut self.relative_to, known);
            }
            "MatchPattern" => reader.add_patterns(at, &mut self.patterns)?,
            _ => reader.unknown(at),
        }
        Ok(())
    }
}

impl Draft {
    fn transfer(
        &mut self,
        reader: &mut Reader<'_>,
        at: &Assignment,
    ) -> Result<(), DefinitionError> {
        match at.key.as_str() {
            "MinVersion" if at.value.is_empty() => self.min_version = None,
            "MinVersion" => {
                if let Some(version) = reader.version(at)? {
                    self.min_version = Some(version);
                }
            }
            "ProtectVersion" if at.value.is_empty() => self.protected_versions.clear(),
            "ProtectVersion" => {
                if let Some(version) = reader.version(at)? {
                    reader.push(at, &mut self.protected_versions, version);
                }
            }
            "Verify" => reader.set_tristate(at, &mut self.verify),
            "ChangeLog" => reader.add_url(at, &mut self.change_log)?,
            "AppStream" => reader.add_url(at, &mut self.app_stream)?,
            "Features" => reader.add_words(at, &mut self.features),
            "RequisiteFeatures" => reader.add_words(at, &mut self.requisite_features),
            "InstancesMax" => {
                let message = "InstancesMax= belongs in section [Target]; systemd ignores it here, \
                               updex does not";
                reader.warn(&at.place, message);
                set_instances(reader, at, &mut self.transfer_instances_max);
            }
            _ => reader.unknown(at),
        }
        Ok(())
    }

    fn target_key(
        &mut self,
        reader: &mut Reader<'_>,
        at: &Assignment,
    ) -> Result<(), DefinitionError> {
        match at.key.as_str() {
            "Mode" => reader.set_mode(at, &mut self.mode),
            "ReadOnly" => reader.set_tristate(at, &mut self.read_only),
            "TriesLeft" => reader.set_number(at, &mut self.tries_left),
            "TriesDone" => reader.set_number(at, &mut self.tries_done),
            "InstancesMax" => set_instances(reader, at, &mut self.instances_max),
            "RemoveTemporary" => reader.set_tristate(at, &mut self.remove_temporary),
            "CurrentSymlink" if at.value.is_empty() => self.current_symlink = None,
            "CurrentSymlink" => {
                let link = simplified(&reader.expand(at, &at.value)?);
                reader.set(at, &mut self.current_symlink, link);
            }
            key if key == "MatchPartitionType" || key.starts_with("Partition") => {
                self.partition.take(reader, at);
            }
            _ => self.target.take(reader, at)?,
        }
        Ok(())
    }
}

impl Partition {
    fn take(&mut self, reader: &mut Reader<'_>, at: &Assignment) {
        match at.key.as_str() {
            "MatchPartitionType" => {
                self.kind = (!at.value.is_empty()).then(|| at.value.clone());
            }
            "PartitionUUID" if at.value.is_empty() => self.uuid = None,
            "PartitionUUID" => reader.set(at, &mut self.uuid, uuid(&at.value)),
            "PartitionFlags" if at.value.is_empty() => self.flags = None,
            "PartitionFlags" => {
                let hex = at.value.strip_prefix("0x").unwrap_or(&at.value);
                reader.set(at, &mut self.flags, u64::from_str_radix(hex, 16).ok());
            }
            "PartitionNoAuto" => reader.set_tristate(at, &mut self.no_auto),
            "PartitionGrowFileSystem" => reader.set_tristate(at, &mut self.grow_file_system),
            _ => reader.unknown(at),
        }
    }
}

/// Nothing brings the default back; less than 2 would leave no room for an update.
fn set_instances(reader: &mut Reader<'_>, at: &Assignment, slot: &mut Option<u64>) {
    match at.value.parse::<u64>() {
        _ if at.value.is_empty() => *slot = None,
        Ok(number) if number < INSTANCES_MIN => {
            let message = format!("InstancesMax= value must be at least 2, bumping: {number}");
            reader.warn(&at.place, message);
            *slot = Some(INSTANCES_MIN);
        }
        Ok(number) => *slot = Some(number),
        Err(_) => reader.ignored(at),
    }
}
