//! The files of the desired state: the only part of reading it that touches the disk.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::io::{self, Read};
use std::path::{Component, Path, PathBuf};

use fs_err as fs;
use fs_err::os::unix::fs::OpenOptionsExt;
use rustix::fs::OFlags;

use crate::desired::diagnostic::Diagnostic;
use crate::desired::parse::DOCUMENT_BYTES_MAX;
use crate::desired::{Origin, SourceText};

/// Most documents of one directory.
const FILES_MAX: usize = 10_000;

/// Most bytes of all documents together: memory stays bounded whatever a repository holds.
const ALL_BYTES_MAX: usize = 64 << 20;

/// Documents for every host, beside those of each.
const COMMON: &str = "common";

/// A directory for each host.
const HOSTS: &str = "hosts";

/// The texts below `paths`, or everything that cannot be read; of directories that have a place for each host only
/// what is for all and for this one, which may be none.
pub(super) fn texts_for(paths: &[PathBuf], host: &str) -> Result<Vec<SourceText>, Vec<Diagnostic>> {
    read_all(paths, &|path, texts, errors| match layout(path, host) {
        None => read_root(path, texts, errors),
        Some(parts) => {
            let root = label(path)?;
            for part in parts {
                let directory = fs::canonicalize(&part)?.to_string_lossy().into_owned();
                read_documents(documents(&part)?, errors, |file, text| {
                    let (root, directory) = (root.clone(), directory.clone());
                    texts.push(SourceText { root, file, directory, text });
                });
            }
            Ok(())
        }
    })
}

/// The same of one directory that goes by another name.
pub(super) fn texts_from(origin: &Origin, host: &str) -> Result<Vec<SourceText>, Vec<Diagnostic>> {
    let home = origin.directory.as_std_path();
    read_all(&[home.to_owned()], &|path, texts, errors| {
        let parts = layout(path, host);
        let whole = parts.is_none();
        for part in parts.unwrap_or_else(|| vec![path.to_owned()]) {
            let found = documents(&part)?;
            if found.is_empty() && whole {
                errors.push(empty(&origin.label));
            }
            read_documents(found, errors, |file, text| {
                let inside = Path::new(&file).strip_prefix(home).unwrap_or(Path::new(&file));
                let shown = origin.shown.as_std_path().join(inside);
                let own = inside.parent().unwrap_or(Path::new(""));
                let directory = origin.base.as_std_path().join(own);
                texts.push(SourceText {
                    root: origin.label.clone(),
                    directory: directory.to_string_lossy().trim_end_matches('/').to_owned(),
                    file: shown.to_string_lossy().into_owned(),
                    text,
                });
            });
        }
        Ok(())
    })
}

/// The directories for this host in a directory that has one for all and one for each; `None` for any other. Git keeps
/// no empty directory, so one of the two is enough where no documents stand beside it.
fn layout(path: &Path, host: &str) -> Option<Vec<PathBuf>> {
    let (common, hosts) = (path.join(COMMON), path.join(HOSTS));
    let alone = || documents(path).is_ok_and(|documents| documents.is_empty());
    match (common.is_dir(), hosts.is_dir()) {
        (true, true) => {}
        (true, false) | (false, true) if alone() => {}
        _ => return None,
    }
    let plain = !host.is_empty() && !host.starts_with('.') && !host.contains('/');
    let own = Some(hosts.join(host)).filter(|own| plain && own.is_dir());
    let common = Some(common).filter(|common| common.is_dir());
    Some([common, own].into_iter().flatten().collect())
}

/// The hosts that have a directory of their own.
pub(super) fn hosts_below(paths: &[PathBuf]) -> Vec<String> {
    let homes = paths.iter().filter(|path| layout(path, "").is_some());
    let entries = homes.filter_map(|path| fs::read_dir(path.join(HOSTS)).ok());
    let entries = entries.flat_map(|entries| entries.flatten().take(FILES_MAX));
    let directories = entries.filter(|entry| entry.path().is_dir());
    let names = directories.filter_map(|entry| entry.file_name().into_string().ok());
    let names: BTreeSet<String> = names.filter(|name| !name.starts_with('.')).collect();
    names.into_iter().collect()
}

/// What names a path of the desired state from one pass to the next: as it was given, made absolute. `..` may lead
/// anywhere behind a link.
pub(super) fn label(path: &Path) -> io::Result<String> {
    let climbs = path.components().any(|part| part == Component::ParentDir);
    let absolute = if climbs { fs::canonicalize(path)? } else { std::path::absolute(path)? };
    let label = absolute.to_string_lossy();
    let trimmed = label.trim_end_matches('/');
    Ok(if trimmed.is_empty() { "/" } else { trimmed }.to_owned())
}

/// Where paths lead, as far as they lead anywhere.
pub(super) fn behind(paths: &[PathBuf]) -> Vec<String> {
    let real = paths.iter().filter_map(|path| fs::canonicalize(path).ok());
    real.map(|path| path.to_string_lossy().into_owned()).collect()
}

type ReadOne<'a> = &'a dyn Fn(&Path, &mut Vec<SourceText>, &mut Vec<Diagnostic>) -> io::Result<()>;

fn read_all(paths: &[PathBuf], read_one: ReadOne<'_>) -> Result<Vec<SourceText>, Vec<Diagnostic>> {
    let mut texts = Vec::new();
    let mut errors = Vec::new();
    if paths.is_empty() {
        errors.push(Diagnostic::about_file(
            "",
            "no desired state was named",
            Some("give `--desired PATH`"),
        ));
    }
    for path in paths {
        if let Err(error) = read_one(path, &mut texts, &mut errors) {
            errors.push(unreadable(path, &error));
        }
        let bytes: usize = texts.iter().map(|t| t.text.len()).sum();
        if bytes > ALL_BYTES_MAX {
            let title = format!("the documents are larger than {ALL_BYTES_MAX} bytes together");
            errors.push(Diagnostic::about_file(&path.to_string_lossy(), title, None));
            break;
        }
    }
    if errors.is_empty() { Ok(texts) } else { Err(errors) }
}

fn unreadable(path: &Path, error: &io::Error) -> Diagnostic {
    let reason = match error.kind() {
        io::ErrorKind::NotFound => "it does not exist".to_owned(),
        io::ErrorKind::PermissionDenied => "permission denied".to_owned(),
        _ => error.to_string(),
    };
    let help = match error.kind() {
        io::ErrorKind::NotFound => Some("check the path; nothing is changed on the host meanwhile"),
        io::ErrorKind::PermissionDenied => {
            Some("make it readable for the user that runs reconcile")
        }
        io::ErrorKind::IsADirectory => Some(
            "documents in directories are not read; give it a name that does not end in `.yaml`",
        ),
        io::ErrorKind::InvalidData => Some("save it as UTF-8"),
        _ => None,
    };
    let path = path.to_string_lossy();
    Diagnostic::about_file(&path, format!("cannot read the desired state: {reason}"), help)
}

fn read_root(
    path: &Path,
    texts: &mut Vec<SourceText>,
    errors: &mut Vec<Diagnostic>,
) -> io::Result<()> {
    let (root, real) = (label(path)?, fs::canonicalize(path)?.to_string_lossy().into_owned());
    if !fs::metadata(path)?.is_dir() {
        let directory = real.rsplit_once('/').map_or("", |(directory, _)| directory).to_owned();
        texts.push(SourceText {
            root,
            directory,
            file: path.to_string_lossy().into_owned(),
            text: read(path)?,
        });
        return Ok(());
    }
    let documents = documents(path)?;
    if documents.is_empty() {
        errors.push(empty(&path.to_string_lossy()));
    }
    read_documents(documents, errors, |file, text| {
        let (root, directory) = (root.clone(), real.clone());
        texts.push(SourceText { root, file, directory, text });
    });
    Ok(())
}

fn empty(path: &str) -> Diagnostic {
    Diagnostic::about_file(
        path,
        "the directory holds no document",
        Some(
            "put a file whose name ends in `.yaml` directly into it; of subdirectories only `common` and \
             `hosts/<name>` are read",
        ),
    )
}

fn read_documents(
    documents: Vec<PathBuf>,
    errors: &mut Vec<Diagnostic>,
    mut take: impl FnMut(String, String),
) {
    for document in documents {
        match read(&document) {
            Ok(text) => take(document.to_string_lossy().into_owned(), text),
            Err(error) => errors.push(unreadable(&document, &error)),
        }
    }
}

/// The documents of a directory by name. A directory that is named like one is not passed over: it may have taken the
/// place of a document, and what that wished would be removed.
fn documents(directory: &Path) -> io::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        let name = entry.file_name();
        let hidden = name.as_encoded_bytes().starts_with(b".");
        let extension = Path::new(&name).extension().and_then(OsStr::to_str);
        let names =
            |suffix| extension.is_some_and(|extension| extension.eq_ignore_ascii_case(suffix));
        if !hidden && (names("yaml") || names("yml")) {
            found.push(entry.path());
        }
        if found.len() > FILES_MAX {
            return Err(io::Error::other(format!("it holds more than {FILES_MAX} documents")));
        }
    }
    found.sort();
    Ok(found)
}

fn read(path: &Path) -> io::Result<String> {
    // Opened first and looked at then: one system call less for each of a thousand files. Without
    // O_NONBLOCK a named pipe would wait for a writer.
    let nonblocking = OFlags::NONBLOCK.bits().cast_signed();
    let file = fs::OpenOptions::new().read(true).custom_flags(nonblocking).open(path)?;
    let metadata = file.metadata()?;
    if metadata.is_dir() {
        let why = "it is a directory and named like a document";
        return Err(io::Error::new(io::ErrorKind::IsADirectory, why));
    }
    if !metadata.is_file() {
        return Err(io::Error::other("it is neither a file nor a directory"));
    }
    let expected = usize::try_from(metadata.len()).unwrap_or(usize::MAX);
    let mut bytes = Vec::with_capacity(expected.min(DOCUMENT_BYTES_MAX) + 1);
    file.take(DOCUMENT_BYTES_MAX as u64 + 1).read_to_end(&mut bytes)?;
    String::from_utf8(bytes).map_err(|error| {
        let line = error.as_bytes().iter().take(error.utf8_error().valid_up_to());
        let line = line.filter(|b| **b == b'\n').count() + 1;
        let why = format!("line {line} is not UTF-8 text");
        io::Error::new(io::ErrorKind::InvalidData, why)
    })
}
