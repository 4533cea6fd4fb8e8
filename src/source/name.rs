//! The version in a file name that follows no known pattern.

/// Suffixes that say how a file is packed, signed or summed, not which version it is.
const SUFFIXES: [&str; 30] = [
    ".tar",
    ".gz",
    ".xz",
    ".bz2",
    ".zst",
    ".tgz",
    ".txz",
    ".tbz2",
    ".tzst",
    ".tbz",
    ".zip",
    ".raw",
    ".7z",
    ".deb",
    ".rpm",
    ".apk",
    ".exe",
    ".txt",
    ".json",
    ".sha256",
    ".sha512",
    ".sha256sum",
    ".sha512sum",
    ".sha384",
    ".asc",
    ".sig",
    ".minisig",
    ".pem",
    ".sigstore",
    ".AppImage",
];

/// What may stand before a version that stands by itself.
const BEFORE: [char; 4] = ['-', '_', '@', ' '];

/// What may stand behind a version.
const BEHIND: [char; 4] = ['-', '_', '.', ' '];

/// Words that make a pre-release.
const PRE_RELEASES: [&str; 6] = ["alpha", "beta", "rc", "pre", "preview", "dev"];

/// The version in a file name that follows no known pattern: `tool-1.2.3-rc.1-linux.tar.gz`.
///
/// The first dotted number that stands by itself; else one glued to the name (`go1.22.3`); else a `v7`
/// or a date.
pub(super) fn version_in(name: &str) -> Option<&str> {
    let mut stem = name;
    while let Some(shorter) = SUFFIXES.iter().find_map(|suffix| stem.strip_suffix(suffix)) {
        stem = shorter;
    }
    let alone = |before: Option<char>| before.is_none_or(|c| BEFORE.contains(&c));
    let glued = |before: Option<char>| before.is_none_or(|c| !c.is_ascii_digit() && c != '.');
    first(stem, alone, |rest| {
        let v = usize::from(rest.starts_with(['v', 'V']));
        Some(v + dotted(rest.get(v..)?)?)
    })
    .or_else(|| first(stem, glued, dotted))
    .or_else(|| first(stem, alone, plain))
}

/// The first part of a name that has the right character before it and is what `length` measures.
fn first(
    stem: &str,
    follows: impl Fn(Option<char>) -> bool,
    length: impl Fn(&str) -> Option<usize>,
) -> Option<&str> {
    let mut before = None;
    for (at, here) in stem.char_indices() {
        let rest = stem.get(at..)?;
        if follows(before)
            && let Some(length) = length(rest)
        {
            return rest.get(..length);
        }
        before = Some(here);
    }
    None
}

/// Length of a dotted number, with what makes it a pre-release or a build, when nothing else is glued to it.
/// As many parts as leave it so: of `1.2.3x` it is `1.2`.
fn dotted(text: &str) -> Option<usize> {
    let mut end = digits(text)?;
    let mut ends = Vec::new();
    while let Some(more) = text.get(end..)?.strip_prefix('.').and_then(digits) {
        end += 1 + more;
        ends.push(end);
    }
    ends.into_iter().rev().find_map(|end| Some(end + qualified(text.get(end..)?)?))
}

/// Length of what makes a number a pre-release or a build; `None` when something else is glued to it.
fn qualified(text: &str) -> Option<usize> {
    let separator = usize::from(text.starts_with(['-', '_', '~', '.']));
    let rest = text.get(separator..)?;
    let words = PRE_RELEASES.iter().filter(|word| {
        rest.get(..word.len()).is_some_and(|start| start.eq_ignore_ascii_case(word))
    });
    let pre_releases = words.flat_map(|word| {
        let bare = separator + word.len();
        let point = text.get(bare..).is_some_and(|rest| rest.starts_with(['.', '-']));
        let numbered = |from: usize| Some(from + text.get(from..).and_then(digits).unwrap_or(0));
        [point.then_some(bare + 1).and_then(numbered), numbered(bare)]
    });
    pre_releases.flatten().chain([0]).find_map(|end| {
        let rest = text.get(end..)?;
        let built = rest.strip_prefix('+').map_or(0, |build| {
            let is_part = |c: char| c.is_ascii_alphanumeric();
            build.find(|c| !is_part(c)).unwrap_or(build.len())
        });
        let length = if built > 0 { end + 1 + built } else { end };
        stands_alone(text.get(length..)?).then_some(length)
    })
}

/// Length of a `v7` or a date.
fn plain(text: &str) -> Option<usize> {
    let length = match text.strip_prefix(['v', 'V']) {
        Some(rest) => 1 + digits(rest)?,
        None => digits(text).filter(|length| *length == 8)?,
    };
    stands_alone(text.get(length..)?).then_some(length)
}

/// How many digits a text starts with; `None` for none.
fn digits(text: &str) -> Option<usize> {
    let length = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    (length > 0).then_some(length)
}

fn stands_alone(rest: &str) -> bool {
    rest.is_empty() || rest.starts_with(BEHIND)
}

#[cfg(test)]
mod tests {
    use std::sync::LazyLock;

    use proptest::prelude::*;
    use regex::Regex;

    use super::*;

    #[test]
    fn versions_are_found_in_names() {
        for (name, version) in [
            ("ripgrep-14.1.1-x86_64-unknown-linux-musl.tar.gz", Some("14.1.1")),
            ("prometheus-2.45.0.linux-amd64.tar.gz", Some("2.45.0")),
            ("tool_v1.2.3-rc.1_linux_amd64.zip", Some("v1.2.3-rc.1")),
            ("tool-1.2.3-beta2-linux.tar.zst.sha256", Some("1.2.3-beta2")),
            ("tool-1.2.3+build5.tar.gz", Some("1.2.3+build5")),
            ("go1.22.3.linux-amd64.tar.gz", Some("1.22.3")),
            ("tool-x86_64-1.0", Some("1.0")),
            ("tool-1.0-manylinux2.17.whl", Some("1.0")),
            ("tool-20240501.tar.gz", Some("20240501")),
            ("tool-v7.tar.xz", Some("v7")),
            ("SHA256SUMS", None),
            ("tool-x86_64.tar.gz", None),
            ("README.md", None),
            ("", None),
        ] {
            assert_eq!(version_in(name), version, "{name}");
        }
    }

    /// The same as regular expressions, which take longer to compile than everything else that a pass does when
    /// there is nothing to do.
    fn by_expression(stem: &str) -> Option<&str> {
        const PRE: &str =
            r"(?:[-_~.]?(?:alpha|beta|rc|pre|preview|dev)[.-]?[0-9]*)?(?:\+[0-9A-Za-z]+)?";
        static RULES: LazyLock<Vec<Regex>> = LazyLock::new(|| {
            [
                format!(r"(?i-u)(?:^|[-_@ ])(v?[0-9]+(?:\.[0-9]+)+{PRE})(?:$|[-_. ])"),
                format!(r"(?i)(?:^|[^0-9.])([0-9]+(?:\.[0-9]+)+{PRE})(?:$|[-_. ])"),
                r"(?i-u)(?:^|[-_@ ])(v[0-9]+|[0-9]{8})(?:$|[-_. ])".to_owned(),
            ]
            .iter()
            .map(|rule| Regex::new(rule).unwrap())
            .collect()
        });
        RULES.iter().find_map(|rule| Some(rule.captures(stem)?.get(1)?.as_str()))
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2000))]

        #[test]
        fn version_is_what_the_expressions_find(
            parts in prop::collection::vec(
                prop::sample::select(vec![
                    "1", "2.3", "20240501", "v", "V4", ".", "-", "_", "~", "+", "@", " ", "x", "tool", "é", "rc",
                    "RC1", "pre", "preview", "alpha", "beta.", "dev", "b7", "0",
                ]),
                0..9,
            ),
        ) {
            let name = parts.concat();
            prop_assert_eq!(version_in(&name), by_expression(&name), "{}", name);
        }
    }
}
