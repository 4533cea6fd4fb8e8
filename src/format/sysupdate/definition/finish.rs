//! Making a transfer of the values that were read: what is derived, what must fit, what is not ours.

use super::super::pattern::Pattern;
use super::transfer::{Draft, End, Source, SourceKind, Standing, Target, TargetKind, Transfer};
use super::values::{is_plain_absolute, is_web_url};

/// The word that leaves the disk to be found.
const AUTO: &str = "auto";

const SOURCES: [(&str, SourceKind); 6] = [
    ("url-file", SourceKind::UrlFile),
    ("url-tar", SourceKind::UrlTar),
    ("tar", SourceKind::Tar),
    ("regular-file", SourceKind::RegularFile),
    ("directory", SourceKind::Directory),
    ("subvolume", SourceKind::Subvolume),
];

const TARGETS: [(&str, TargetKind); 4] = [
    ("partition", TargetKind::Partition),
    ("regular-file", TargetKind::RegularFile),
    ("directory", TargetKind::Directory),
    ("subvolume", TargetKind::Subvolume),
];

/// True for the words that `Type=` knows, on either side.
pub(super) fn is_kind(word: &str) -> bool {
    SOURCES.iter().any(|(name, _)| *name == word) || TARGETS.iter().any(|(name, _)| *name == word)
}

fn look_up<K: Copy>(table: &[(&str, K)], word: Option<&str>) -> Option<K> {
    table.iter().find(|(name, _)| Some(*name) == word).map(|(_, kind)| *kind)
}

impl Draft {
    /// The transfer, or what is wrong with it.
    pub(super) fn finish(self, id: &str, file: &str) -> Result<Transfer, String> {
        let standing = self.standing();
        let source = source(&self.source)?;
        let kind = self.target_kind(source.kind)?;
        let path = target_path(&self.target)?;
        let patterns = target_patterns(&self.target.patterns, &source.patterns)?;
        if let Some(link) = &self.current_symlink
            && kind == TargetKind::Partition
            && !link.starts_with('/')
        {
            return Err(format!(
                "`CurrentSymlink={link}` is relative, and a partition has no directory; write an \
                 absolute path"
            ));
        }
        let target = Target {
            kind,
            path,
            patterns,
            mode: self.mode,
            read_only: self.read_only,
            tries_left: self.tries_left,
            tries_done: self.tries_done,
            instances_max: self.instances_max.or(self.transfer_instances_max),
            remove_temporary: self.remove_temporary.unwrap_or(true),
            current_symlink: self.current_symlink,
            partition: self.partition,
        };
        let standing = also_kinds(standing, kind);
        Ok(Transfer {
            id: id.to_owned(),
            file: file.to_owned(),
            min_version: self.min_version,
            protected_versions: self.protected_versions,
            verify: self.verify.unwrap_or(true),
            change_log: self.change_log,
            app_stream: self.app_stream,
            features: self.features,
            requisite_features: self.requisite_features,
            source,
            target,
            standing: if standing.is_empty() {
                Standing::Ours
            } else {
                Standing::NotOurs { why: standing }
            },
        })
    }

    /// The target's kind, stated or derived, if it suits the source.
    fn target_kind(&self, source: SourceKind) -> Result<TargetKind, String> {
        let on_disk = self.target.path.as_deref().is_some_and(|p| p.starts_with("/dev/"));
        let files = matches!(source, SourceKind::UrlFile | SourceKind::RegularFile);
        let kind = match (self.target.kind.as_deref(), source) {
            (None, _) if files && on_disk => TargetKind::Partition,
            (None, _) if files => TargetKind::RegularFile,
            (None, SourceKind::Subvolume) => TargetKind::Subvolume,
            (None, _) => TargetKind::Directory,
            (word, _) => look_up(&TARGETS, word).ok_or_else(|| {
                "`Type=` of [Target] is not partition, regular-file, directory or subvolume; \
                 write one of them"
                    .to_owned()
            })?,
        };
        if files == matches!(kind, TargetKind::Partition | TargetKind::RegularFile) {
            return Ok(kind);
        }
        Err("the types of [Source] and [Target] do not suit each other; files go to files or \
             partitions, archives and directories to directories or subvolumes"
            .to_owned())
    }

    fn standing(&self) -> Vec<String> {
        let mut why = Vec::new();
        for (section, end) in [("Source", &self.source), ("Target", &self.target)] {
            if let Some(place) = end.relative_to.as_deref().filter(|place| *place != "root") {
                why.push(format!(
                    "[{section}] PathRelativeTo={place} is relative to a boot file system or an \
                     option"
                ));
            }
            if end.path.as_deref() == Some(AUTO) {
                why.push(format!("[{section}] Path=auto means the disk that the host runs from"));
            }
        }
        why
    }
}

fn also_kinds(mut why: Vec<String>, target: TargetKind) -> Vec<String> {
    match target {
        TargetKind::Partition => why.push("[Target] Type=partition writes partitions".to_owned()),
        // What a file system without subvolumes has instead.
        TargetKind::Subvolume | TargetKind::RegularFile | TargetKind::Directory => {}
    }
    why
}

fn source(end: &End) -> Result<Source, String> {
    let kind = look_up(&SOURCES, end.kind.as_deref()).ok_or_else(|| {
        "`Type=` of [Source] is missing or not one of url-file, url-tar, tar, regular-file, \
         directory, subvolume; write one of them"
            .to_owned()
    })?;
    let path = end.path.as_deref().ok_or("[Source] lacks `Path=`; write where instances are")?;
    let web = matches!(kind, SourceKind::UrlFile | SourceKind::UrlTar);
    let is_file_url = path.strip_prefix("file://").is_some_and(is_plain_absolute);
    if web && path != AUTO && !is_web_url(path) && !is_file_url {
        let path = path.escape_debug();
        return Err(format!(
            "`Path={path}` of [Source] is not a valid HTTP or HTTPS URL; write one"
        ));
    }
    if !web && path != AUTO && !is_plain_absolute(path) {
        let path = path.escape_debug();
        return Err(format!(
            "`Path={path}` of [Source] is not a normalized, absolute path; write one"
        ));
    }
    if end.patterns.is_empty() {
        return Err("[Source] lacks `MatchPattern=`; write how instances are named".to_owned());
    }
    let whole = matches!(kind, SourceKind::Directory | SourceKind::Subvolume);
    if whole && end.patterns.iter().any(Pattern::any_directory) {
        return Err("`MatchPattern=` with `**/` finds files, not directories; remove it".to_owned());
    }
    Ok(Source { kind, path: path.to_owned(), patterns: end.patterns.clone() })
}

fn target_path(end: &End) -> Result<String, String> {
    if end.relative_to.as_deref() == Some("explicit") {
        return Err(
            "`PathRelativeTo=explicit` is for [Source] only; remove it from [Target]".to_owned()
        );
    }
    let path = end.path.as_deref().ok_or("[Target] lacks `Path=`; write where instances go")?;
    if path != AUTO && !is_plain_absolute(path) {
        let path = path.escape_debug();
        return Err(format!(
            "`Path={path}` of [Target] is not a normalized, absolute path; write one"
        ));
    }
    Ok(path.strip_suffix('/').filter(|bare| !bare.is_empty()).unwrap_or(path).to_owned())
}

/// The target's own patterns, or the source's without `**/`.
fn target_patterns(own: &[Pattern], source: &[Pattern]) -> Result<Vec<Pattern>, String> {
    if own.iter().any(Pattern::any_directory) {
        return Err(
            "`MatchPattern=` of [Target] begins with `**/`, which is for [Source]; remove it"
                .to_owned(),
        );
    }
    if !own.is_empty() {
        return Ok(own.to_vec());
    }
    let mut inherited: Vec<Pattern> = Vec::new();
    for pattern in source.iter().map(Pattern::without_directory) {
        if !inherited.contains(&pattern) {
            inherited.push(pattern);
        }
    }
    Ok(inherited)
}
