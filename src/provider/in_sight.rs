//! Definitions whose images lie where systemd itself looks for extensions.
//!
//! There each image is an extension of its own. One that a link leads to as well would be there twice: systemd 252 then
//! merges nothing at all, and later ones merge what the link does not lead to.

use std::fmt::Write as _;

use camino::Utf8Path;

use crate::format::sysupdate::definition::Transfer;
use crate::format::sysupdate::pattern::Pattern;
use crate::model::ExtensionClass;
use crate::model::extension::Shape;
use crate::resource::extension::layout::{class_at, class_of};
use crate::resource::extension::spec::Transfer as Wish;

/// Why a transfer is not carried out, and what to do about it.
pub(super) fn refuse(transfer: &Transfer, wish: &Wish) -> Option<String> {
    let class = wish.target.iter().find_map(|pattern| found_wrongly(wish, pattern))?;
    let (file, from) = (&transfer.file, &wish.directory);
    let to = match class {
        ExtensionClass::Sysext => "/var/lib/extensions.d",
        ExtensionClass::Confext => "/var/lib/confexts.d",
    };
    let images = wish.target.first().map(|pattern| any(pattern.as_str())).unwrap_or_default();
    let mut out = format!("mkdir -p {to} && mv {from}/{images} {to}/");
    let mut lines = format!("`Path={to}`");
    if let Some(link) = &wish.link {
        let _ = write!(out, " && ln -sfn {to}/$(basename $(readlink {link})) {link}");
        let _ = write!(lines, " and `CurrentSymlink={link}`");
    }
    Some(format!(
        "{file}: systemd takes whatever is in {from} for extensions of their own, so its images must not lie there \
         beside what leads to them. Write {lines} into its [Target], and where there are images already, move them: \
         `{out}`"
    ))
}

/// What is said of one whose images systemd merges each by itself.
pub(super) fn note(transfer: &Transfer, wish: &Wish) -> Option<String> {
    let directory = &wish.directory;
    class_of(directory).filter(|_| wish.link.is_none())?;
    let (file, name) = (&transfer.file, &transfer.id);
    let end = match wish.shape {
        Shape::Image => ".raw",
        Shape::Directory => "",
    };
    Some(format!(
        "{file}: systemd merges every image in {directory} under the name of its file, so all versions that are kept \
         are merged at once; let `Path=` lead elsewhere and set `CurrentSymlink={directory}/{name}{end}`, or write \
         `Path={directory}/{name}{end}.v` (systemd 256 and later)"
    ))
}

/// As what systemd finds the images of a pattern, or a directory of theirs, where that is not how they are used.
fn found_wrongly(wish: &Wish, pattern: &Pattern) -> Option<ExtensionClass> {
    let image = wish.directory.join(pattern.as_str());
    let class = image.ancestors().skip(1).find_map(class_of)?;
    let alone = wish.link.is_none() && image.parent().is_some_and(is_entry_or_place);
    (!alone).then_some(class)
}

/// Whether systemd finds each image in a directory, or picks one of them.
fn is_entry_or_place(directory: &Utf8Path) -> bool {
    class_at(directory, None).is_some()
}

/// What a shell finds every name of a pattern by.
fn any(pattern: &str) -> String {
    let mut parts = pattern.split('@');
    let first = parts.next().unwrap_or_default();
    let rest = parts.map(|part| part.chars().skip(1).collect::<String>());
    rest.fold(first.to_owned(), |all, part| all + "*" + &part)
}
