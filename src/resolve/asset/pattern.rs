//! Regular expressions and name templates that come from the desired state.

use regex::{Regex, RegexBuilder};

use crate::model::facts::{Arch, Libc};
use crate::resolve::asset::Target;

/// Largest compiled regular expression, in bytes: ordinary patterns over file names need a few KiB,
/// while nested counted repetitions grow without bound.
pub const REGEX_BYTES_MAX: usize = 256 << 10;

/// Compiles a regular expression that matches anywhere in a name.
///
/// Validation and choice use this same function, so a pattern that was accepted compiles again.
pub fn regex(text: &str) -> Result<Regex, PatternError> {
    RegexBuilder::new(text)
        .size_limit(REGEX_BYTES_MAX)
        .build()
        .map_err(|source| PatternError::Regex { text: text.to_owned(), source: Box::new(source) })
}

/// A pattern that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum PatternError {
    /// Not a regular expression, or one that is too large.
    #[error(
        "`{text}` is not a usable regular expression: correct it; the syntax is that of the Rust \
         crate regex, without look-around and back-references"
    )]
    Regex {
        /// As written.
        text: String,
        /// What is wrong with it.
        #[source]
        source: Box<regex::Error>,
    },
    /// A template with a placeholder that does not exist.
    #[error(
        "`{{{name}}}` in the file name `{template}` is not a placeholder: use {{version}}, {{tag}}, \
         {{os}}, {{arch}} or {{libc}}"
    )]
    Placeholder {
        /// The template.
        template: String,
        /// The placeholder without braces.
        name: String,
    },
}

/// One piece of a template.
enum Piece<'a> {
    Text(&'a str),
    Placeholder(&'a str),
}

/// Checks that every placeholder of a file name template exists.
pub fn check_template(template: &str) -> Result<(), PatternError> {
    for piece in pieces(template) {
        if let Piece::Placeholder(name) = piece
            && !matches!(name, "version" | "tag" | "os" | "arch" | "libc")
        {
            return Err(PatternError::Placeholder {
                template: template.to_owned(),
                name: name.to_owned(),
            });
        }
    }
    Ok(())
}

/// The names a template can stand for, in order of preference.
///
/// A publisher writes one of several names for an architecture, so `{arch}` is tried as the kernel's
/// name first and then as the other common ones. Without `{arch}` there is exactly one name.
pub fn fill(
    template: &str,
    (version, tag): (&str, &str),
    target: Target,
) -> Result<Vec<String>, PatternError> {
    check_template(template)?;
    let libc = match target.libc {
        Libc::Gnu => "gnu",
        Libc::Musl => "musl",
    };
    let filled = |arch: &str| {
        pieces(template)
            .map(|piece| match piece {
                Piece::Text(text) => text,
                Piece::Placeholder("version") => version,
                Piece::Placeholder("tag") => tag,
                Piece::Placeholder("os") => "linux",
                Piece::Placeholder("libc") => libc,
                Piece::Placeholder(_) => arch,
            })
            .collect::<String>()
    };
    let mut names: Vec<String> = spellings(target.arch).iter().map(|arch| filled(arch)).collect();
    names.dedup();
    Ok(names)
}

/// Names of an architecture in published files, the kernel's own first.
fn spellings(arch: Arch) -> &'static [&'static str] {
    match arch {
        Arch::X86_64 => &["x86_64", "amd64", "x64"],
        Arch::Aarch64 => &["aarch64", "arm64"],
    }
}

/// Splits at `{word}`; braces around anything else are text.
fn pieces(template: &str) -> impl Iterator<Item = Piece<'_>> {
    let mut rest = template;
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        if let Some((name, after)) = placeholder(rest) {
            rest = after;
            return Some(Piece::Placeholder(name));
        }
        let from_second = rest.char_indices().skip(1);
        let end = from_second
            .filter(|(_, c)| *c == '{')
            .map(|(at, _)| at)
            .find(|at| placeholder(rest.split_at(*at).1).is_some())
            .unwrap_or(rest.len());
        let (text, after) = rest.split_at(end);
        rest = after;
        Some(Piece::Text(text))
    })
}

/// `{word}` at the start, and what follows it.
fn placeholder(text: &str) -> Option<(&str, &str)> {
    let (name, after) = text.strip_prefix('{')?.split_once('}')?;
    let word = !name.is_empty() && name.bytes().all(|b| b.is_ascii_lowercase());
    word.then_some((name, after))
}

#[cfg(test)]
mod tests {
    use super::*;

    const ARM: Target = Target { arch: Arch::Aarch64, libc: Libc::Musl };

    #[test]
    fn templates_name_every_spelling_of_the_architecture() {
        let names = fill("t-{tag}-{os}-{arch}-{libc}-{version}.zip", ("1.2", "v1.2"), ARM);
        assert_eq!(
            names.unwrap(),
            ["t-v1.2-linux-aarch64-musl-1.2.zip", "t-v1.2-linux-arm64-musl-1.2.zip"]
        );
        assert_eq!(fill("a{}{B}{", ("", ""), ARM).unwrap(), ["a{}{B}{"]);
    }

    #[test]
    fn unknown_placeholders_and_huge_regexes_are_refused() {
        assert!(check_template("tool-{platform}.zip").is_err());
        assert!(regex("(a{1000}){1000}").is_err());
        assert!(regex("(").is_err());
        assert!(regex(r"linux.*\.tar\.gz$").unwrap().is_match("x-linux-y.tar.gz"));
    }
}
