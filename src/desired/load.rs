//! The files of the desired state: the only part of reading it that touches the disk.

use std::ffi::OsStr;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use fs_err as fs;
use fs_err::os::unix::fs::OpenOptionsExt;
use rustix::fs::OFlags;

use crate::desired::SourceText;
use crate::desired::diagnostic::Diagnostic;
use crate::desired::parse::DOCUMENT_BYTES_MAX;

/// Most documents of one directory.
const FILES_MAX: usize = 10_000;

/// Most bytes of all documents together: memory stays bounded whatever a repository holds.
const ALL_BYTES_MAX: usize = 64 << 20;

/// The texts below `paths`, or everything that cannot be read.
pub(super) fn texts(paths: &[PathBuf]) -> Result<Vec<SourceText>, Vec<Diagnostic>> {
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
        if let Err(error) = read_root(path, &mut texts, &mut errors) {
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
        io::ErrorKind::NotFound => "check `--desired`: nothing is changed on the host meanwhile",
        io::ErrorKind::PermissionDenied => "make it readable for the user that runs reconcile",
        _ => "repair the file or the file system, and run again",
    };
    let path = path.to_string_lossy();
    Diagnostic::about_file(&path, format!("cannot read the desired state: {reason}"), Some(help))
}

fn read_root(
    path: &Path,
    texts: &mut Vec<SourceText>,
    errors: &mut Vec<Diagnostic>,
) -> io::Result<()> {
    let root = fs::canonicalize(path)?.to_string_lossy().into_owned();
    if !fs::metadata(path)?.is_dir() {
        let directory = root.rsplit_once('/').map_or("", |(directory, _)| directory).to_owned();
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
        errors.push(Diagnostic::about_file(
            &path.to_string_lossy(),
            "the directory holds no document",
            Some("put a file whose name ends in `.yaml` directly into it; subdirectories are not read"),
        ));
    }
    for document in documents {
        match read(&document) {
            Ok(text) => {
                let file = document.to_string_lossy().into_owned();
                let (root, directory) = (root.clone(), root.clone());
                texts.push(SourceText { root, file, directory, text });
            }
            Err(error) => errors.push(unreadable(&document, &error)),
        }
    }
    Ok(())
}

/// The documents of a directory by name. A symbolic link counts when it leads to a file.
fn documents(directory: &Path) -> io::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        let name = entry.file_name();
        let hidden = name.as_encoded_bytes().starts_with(b".");
        let extension = Path::new(&name).extension().and_then(OsStr::to_str);
        if hidden || !matches!(extension, Some("yaml" | "yml")) {
            continue;
        }
        let kind = entry.file_type()?;
        let leads_to_directory =
            kind.is_symlink() && fs::metadata(entry.path()).is_ok_and(|m| m.is_dir());
        if !kind.is_dir() && !leads_to_directory {
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
    if !metadata.is_file() {
        return Err(io::Error::other("it is neither a file nor a directory"));
    }
    let expected = usize::try_from(metadata.len()).unwrap_or(usize::MAX);
    let mut bytes = Vec::with_capacity(expected.min(DOCUMENT_BYTES_MAX) + 1);
    file.take(DOCUMENT_BYTES_MAX as u64 + 1).read_to_end(&mut bytes)?;
    String::from_utf8(bytes).map_err(|error| {
        let line = error.as_bytes().iter().take(error.utf8_error().valid_up_to());
        let line = line.filter(|b| **b == b'\n').count() + 1;
        io::Error::other(format!("line {line} is not UTF-8 text"))
    })
}
