//! Single values of documents: sizes, durations, times, paths, units, patterns.

use camino::{Utf8Component, Utf8Path, Utf8PathBuf};
use jiff::civil::Date;
use jiff::tz::TimeZone;
use jiff::{SignedDuration, SpanRelativeTo, Timestamp};

/// Longest regular expression, in bytes: without counted repetitions, what it compiles to stays far
/// below the `regex` crate's own bound of 10 MiB.
const REGEX_BYTES_MAX: usize = 300;

/// Largest size that can be written: a tebibyte.
const SIZE_MAX: u64 = 1 << 40;

/// Longest age that can be demanded, in hours: ten years.
const AGE_HOURS_MAX: i64 = 10 * 366 * 24;

/// Longest unit name systemd accepts, in bytes (`UNIT_NAME_MAX`).
const UNIT_BYTES_MAX: usize = 255;

/// Longest pattern, in bytes.
const GLOB_BYTES_MAX: usize = 300;

/// Longest name of a user or group, in bytes: `useradd` takes 32, directory services more.
const ACCOUNT_BYTES_MAX: usize = 255;

/// Where reconcile keeps its own things.
const OWN_PLACES: [&str; 3] = ["/var/lib/reconcile", "/var/cache/reconcile", "/run/reconcile"];

/// What is no place for files.
const KERNEL_PLACES: [&str; 3] = ["/dev", "/proc", "/sys"];

/// Directories that no single resource can own (file-hierarchy(7)).
const SYSTEM_PLACES: [&str; 34] = [
    "/bin",
    "/boot",
    "/etc",
    "/home",
    "/lib",
    "/lib32",
    "/lib64",
    "/media",
    "/mnt",
    "/opt",
    "/root",
    "/run",
    "/sbin",
    "/tmp",
    "/usr",
    "/usr/bin",
    "/usr/games",
    "/usr/include",
    "/usr/lib",
    "/usr/lib32",
    "/usr/lib64",
    "/usr/libexec",
    "/usr/local",
    "/usr/local/bin",
    "/usr/local/lib",
    "/usr/local/sbin",
    "/usr/sbin",
    "/usr/share",
    "/var",
    "/var/cache",
    "/var/lib",
    "/var/log",
    "/var/spool",
    "/var/tmp",
];

/// Unit types that can be restarted.
const UNIT_TYPES: [&str; 7] =
    [".service", ".socket", ".target", ".timer", ".path", ".mount", ".slice"];

/// A number of bytes: digits, optionally followed by a decimal or binary unit.
pub(super) fn size(text: &str) -> Result<u64, String> {
    let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (digits, unit) = text.split_at(end);
    let factor: u64 = match unit.trim() {
        "" | "B" => 1,
        "kB" => 1000,
        "MB" => 1_000_000,
        "GB" => 1_000_000_000,
        "TB" => 1_000_000_000_000,
        "KiB" => 1 << 10,
        "MiB" => 1 << 20,
        "GiB" => 1 << 30,
        "TiB" => 1 << 40,
        _ => return Err("write a whole number with a unit, such as `500MiB` or `4GiB`".to_owned()),
    };
    let number: u64 = digits
        .parse()
        .map_err(|_| "write a whole number with a unit, such as `500MiB` or `4GiB`".to_owned())?;
    match number.checked_mul(factor) {
        Some(0) => Err("a bound of zero bytes allows nothing".to_owned()),
        Some(bytes) if bytes <= SIZE_MAX => Ok(bytes),
        _ => Err("the largest size that can be written is 1TiB".to_owned()),
    }
}

/// A length of time such as `72h`, `3d` or `1d 12h`; a day has 24 hours.
pub(super) fn duration(text: &str) -> Result<SignedDuration, String> {
    let example = "write a length of time such as `72h`, `3d` or `90 min`";
    let span: jiff::Span = text.parse().map_err(|_| example.to_owned())?;
    let duration = span.to_duration(SpanRelativeTo::days_are_24_hours()).map_err(|_| {
        "months and years have no fixed length: use hours, days or weeks".to_owned()
    })?;
    if duration.is_negative() {
        return Err("a length of time cannot be negative".to_owned());
    }
    if duration.as_hours() > AGE_HOURS_MAX {
        return Err("the longest time that can be written is ten years".to_owned());
    }
    Ok(duration)
}

/// A point in time, or a date that means its first moment in UTC.
pub(super) fn time(text: &str) -> Result<Timestamp, String> {
    if let Ok(timestamp) = text.parse::<Timestamp>() {
        return Ok(timestamp);
    }
    let date = text.parse::<Date>().ok().filter(|_| text.len() == "2026-12-24".len());
    date.and_then(|date| date.to_zoned(TimeZone::UTC).ok())
        .map(|zoned| zoned.timestamp())
        .ok_or_else(|| {
            "write a time such as `2026-12-24T18:00:00Z`, or a date such as `2026-12-24`".to_owned()
        })
}

/// A path on this machine: absolute, or relative to the document's own directory.
pub(super) fn local_path(directory: &str, text: &str) -> Result<Utf8PathBuf, String> {
    if text.is_empty() || text.starts_with('/') {
        return absolute_path(text);
    }
    let mut path = Utf8PathBuf::from(directory);
    for component in Utf8Path::new(text).components() {
        match component {
            Utf8Component::ParentDir => {
                path.pop();
            }
            Utf8Component::Normal(name) => path.push(name),
            Utf8Component::CurDir | Utf8Component::RootDir | Utf8Component::Prefix(_) => {}
        }
    }
    absolute_path(path.as_str())
}

/// An absolute path without `.` and `..`, other than `/` itself.
pub(super) fn absolute_path(text: &str) -> Result<Utf8PathBuf, String> {
    let path = Utf8Path::new(text);
    if !path.is_absolute() {
        return Err("write an absolute path: it must start with `/`".to_owned());
    }
    if text.split('/').any(|part| matches!(part, "." | "..")) {
        return Err("a path cannot hold `.` or `..`".to_owned());
    }
    if text.chars().any(char::is_control) {
        return Err("a path cannot hold control characters".to_owned());
    }
    let clean: Utf8PathBuf = path.components().collect();
    if clean == "/" {
        return Err("`/` itself cannot be used".to_owned());
    }
    Ok(clean)
}

/// A path where a file of a release may be put: nothing of reconcile's own.
pub fn file_place(text: &str) -> Result<Utf8PathBuf, String> {
    let path = absolute_path(text)?;
    if let Some(own) = OWN_PLACES.iter().find(|own| path.starts_with(own) || within(own, &path)) {
        return Err(format!("`{own}` is where reconcile keeps what it must remember"));
    }
    if let Some(kernel) = KERNEL_PLACES.iter().find(|kernel| path.starts_with(kernel)) {
        return Err(format!("`{kernel}` is the kernel's"));
    }
    Ok(path)
}

/// A directory that may belong to one resource alone: nothing of the system's or of reconcile's own.
pub fn own_directory(text: &str) -> Result<Utf8PathBuf, String> {
    let path = file_place(text)?;
    if SYSTEM_PLACES.iter().any(|system| path == *system) {
        return Err(format!(
            "`{path}` belongs to the whole system; name a directory of its own, such as `{path}/NAME`"
        ));
    }
    Ok(path)
}

fn within(path: &str, directory: &Utf8Path) -> bool {
    Utf8Path::new(path).starts_with(directory)
}

/// A path inside a release: relative, without `.` and `..`.
pub(super) fn inner_path(text: &str) -> Result<String, String> {
    let path = Utf8Path::new(text);
    let plain = path.components().all(|c| matches!(c, Utf8Component::Normal(_)));
    if text.is_empty() || !plain || text.ends_with('/') || text.chars().any(char::is_control) {
        return Err("write a path inside the release, such as `bin/tool`, without `..`".to_owned());
    }
    Ok(path.components().collect::<Utf8PathBuf>().into_string())
}

/// Files or directories in a tree: a relative path without `.` and `..`, or `.` for all of it.
pub(super) fn tree_path(text: &str) -> Result<String, String> {
    let trimmed = text.trim_start_matches("./").trim_end_matches('/');
    if matches!(trimmed, "" | ".") && !text.is_empty() {
        return Ok(".".to_owned());
    }
    inner_path(trimmed)
        .map_err(|_| "write a path in the tree, such as `conf.d`, or `.` for all of it".to_owned())
}

/// A pattern over paths in a tree.
pub(super) fn glob(text: &str) -> Result<String, String> {
    let inner = text.trim_start_matches('/').trim_end_matches('/');
    let bad = |part: &str| matches!(part, "" | "." | "..");
    if text.contains(['[', ']', '{', '}']) {
        return Err(
            "only `?`, `*` and `**` have a meaning in a pattern; write `?` for any other character"
                .to_owned(),
        );
    }
    if text.starts_with('/') {
        return Err(format!("a pattern starts at the top of the tree: write `{inner}`"));
    }
    if inner.split('/').any(bad)
        || text.chars().any(char::is_control)
        || text.len() > GLOB_BYTES_MAX
    {
        return Err(
            "write a pattern over paths in the tree, such as `*.log` or `data/**`".to_owned()
        );
    }
    Ok(text.to_owned())
}

/// A user or a group, by name or number.
pub(super) fn account(text: &str) -> Result<String, String> {
    let known = |b: u8| b.is_ascii_alphanumeric() || b"_-.$".contains(&b);
    if text.is_empty() || text.len() > ACCOUNT_BYTES_MAX || !text.bytes().all(known) {
        return Err("write the name or number of a user or group".to_owned());
    }
    Ok(text.to_owned())
}

/// A file name: one path component.
pub(super) fn file_name(text: &str) -> Result<String, String> {
    let bad = text.is_empty()
        || matches!(text, "." | "..")
        || text.contains('/')
        || text.chars().any(char::is_control);
    if bad { Err("write a file name without any `/`".to_owned()) } else { Ok(text.to_owned()) }
}

/// The name of a unit that systemd can restart (systemd.unit(5)).
pub(super) fn unit(text: &str) -> Result<String, String> {
    let known = |b: u8| b.is_ascii_alphanumeric() || b":-_.\\@".contains(&b);
    if text.is_empty() || text.len() > UNIT_BYTES_MAX || !text.bytes().all(known) {
        return Err(
            "a unit's name holds letters, digits and `: - _ . \\ @`, at most 255".to_owned()
        );
    }
    let Some(stem) = UNIT_TYPES.iter().find_map(|kind| text.strip_suffix(kind)) else {
        return Err(format!("a unit's name ends in its type: write `{text}.service`"));
    };
    if stem.is_empty() || stem.starts_with('@') {
        return Err(format!("`{text}` has no name before its type"));
    }
    if stem.ends_with('@') {
        return Err(format!("`{text}` is a template: name an instance, `{stem}NAME.service`"));
    }
    Ok(text.to_owned())
}

/// A regular expression in the syntax of the `regex` crate. It is parsed only, which takes a hundredth of
/// the time of compiling it; counted repetitions alone can make it too large, so those are compiled.
pub(super) fn regex(text: &str) -> Result<String, String> {
    if text.is_empty() || text.len() > REGEX_BYTES_MAX {
        return Err(format!("a regular expression has 1 to {REGEX_BYTES_MAX} bytes"));
    }
    regex_syntax::parse(text).map_err(|error| match error {
        regex_syntax::Error::Parse(error) => error.kind().to_string(),
        regex_syntax::Error::Translate(error) => error.kind().to_string(),
        _ => "this is not a regular expression".to_owned(),
    })?;
    if text.contains('{') && regex::Regex::new(text).is_err() {
        return Err(
            "this regular expression repeats too much: it would need too much memory".to_owned()
        );
    }
    Ok(text.to_owned())
}

/// Checks the variables of a template: braces only around names from `known`.
pub(super) fn template(text: &str, known: &[&str]) -> Result<(), String> {
    let listed = || known.iter().map(|k| format!("`{{{k}}}`")).collect::<Vec<_>>().join(", ");
    let mut rest = text;
    while let Some(at) = rest.find(['{', '}']) {
        let (_, tail) = rest.split_at(at);
        let Some((name, after)) = tail.strip_prefix('{').and_then(|t| t.split_once('}')) else {
            return Err("a brace is not closed or not opened".to_owned());
        };
        if !known.contains(&name) {
            let name = name.escape_debug();
            return Err(format!("`{{{name}}}` is not a variable here: use {}", listed()));
        }
        rest = after;
    }
    Ok(())
}

/// A template for one file name that must hold `{version}` once.
pub(super) fn versioned_name(text: &str) -> Result<String, String> {
    file_name(text)?;
    template(text, &["version", "os", "arch", "libc"])?;
    if text.matches("{version}").count() == 1 {
        Ok(text.to_owned())
    } else {
        Err("the pattern must hold `{version}` once".to_owned())
    }
}

/// An `https:` or `http:` URL without user, query and fragment; a trailing `/` is dropped.
pub(super) fn url(text: &str) -> Result<String, String> {
    let Some((_, rest)) =
        text.split_once("://").filter(|(scheme, _)| matches!(*scheme, "https" | "http"))
    else {
        return Err("write a URL that starts with `https://` or `http://`".to_owned());
    };
    let host = rest.split('/').next().unwrap_or_default();
    if host.contains('@') {
        return Err("a URL cannot hold a user or a password: write them into `auth`".to_owned());
    }
    if host.is_empty() || !text.bytes().all(|b| b.is_ascii_graphic()) {
        return Err("a URL has a host and no blanks; other characters are written `%20`".to_owned());
    }
    if text.contains(['?', '#', '{', '}', '"', '<', '>', '\\', '^', '`', '|']) {
        return Err("a URL here has no query, no fragment and no variables".to_owned());
    }
    Ok(text.trim_end_matches('/').to_owned())
}

/// `HOST` or `HOST:PORT`, in lower case.
pub(super) fn host(text: &str) -> Result<String, String> {
    let (name, port) = text.split_once(':').map_or((text, None), |(n, p)| (n, Some(p)));
    let named = !name.is_empty()
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-'));
    if named && port.is_none_or(|port| port.parse::<u16>().is_ok_and(|port| port > 0)) {
        Ok(text.to_ascii_lowercase())
    } else {
        Err("write the host alone, such as `api.github.com` or `git.example.net:8443`".to_owned())
    }
}

/// `OWNER/REPO` by GitHub's rules.
pub(super) fn github_repo(text: &str) -> Result<String, String> {
    if let Some((_, path)) = text.split_once("github.com/") {
        let short: Vec<&str> = path.trim_end_matches(".git").split('/').take(2).collect();
        return Err(format!("write the repository alone: `{}`", short.join("/")));
    }
    let good = text.split_once('/').is_some_and(|(owner, repo)| {
        let owner_good = (1..=39).contains(&owner.len())
            && owner.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_'));
        let repo_good = (1..=100).contains(&repo.len())
            && !matches!(repo, "." | "..")
            && repo.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_'));
        owner_good && repo_good
    });
    if good { Ok(text.to_owned()) } else { Err("write `OWNER/REPO`".to_owned()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn regexes_without_counts_always_compile() {
        for piece in [r"\w", r"\W", ".", r"(?i:ß)", r"[\d\s]+"] {
            let text = piece.repeat(REGEX_BYTES_MAX / piece.len());
            assert!(regex(&text).is_ok() && regex::Regex::new(&text).is_ok(), "{piece}");
        }
        assert!(regex(r"((\w{99}){99}){99}").is_err());
        assert!(regex(r"\p{L}{2}-(linux|gnu)\.tar\.gz$").is_ok());
        assert_eq!(regex("a(b").unwrap_err(), "unclosed group");
    }

    #[test]
    fn sizes_and_times_have_units_and_bounds() {
        assert_eq!(size("4GiB"), Ok(4 << 30));
        assert_eq!(size("500 MB"), Ok(500_000_000));
        for bad in ["", "GiB", "-1", "1.5GiB", "1 gib", "99999999999999999999", "0"] {
            assert!(size(bad).is_err(), "{bad}");
        }
        assert_eq!(duration("3d").unwrap().as_hours(), 72);
        assert_eq!(duration("72h").unwrap().as_hours(), 72);
        for bad in ["", "3", "1 month", "-3d", "1000000h", "soon"] {
            assert!(duration(bad).is_err(), "{bad}");
        }
        assert_eq!(time("2026-12-24").unwrap(), time("2026-12-24T00:00:00Z").unwrap());
        for bad in ["2026-12", "tomorrow", "2026-12-24T18:00:00", "2026-02-30"] {
            assert!(time(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn names_that_leave_their_place_are_refused() {
        for bad in ["", "x", "/", "/..", "/a/../b", "/a/./b", "/a\nb"] {
            assert!(absolute_path(bad).is_err(), "{bad:?}");
        }
        assert_eq!(absolute_path("//srv//x/").unwrap(), "/srv/x");
        for bad in ["", "/bin/x", "../x", "a/../b", "x/", "a\nb"] {
            assert!(inner_path(bad).is_err(), "{bad:?}");
        }
        for bad in ["web", "@x.service", "x@.service", "a b.service", ".service", "x.scope"] {
            assert!(unit(bad).is_err(), "{bad:?}");
        }
        assert!(unit(r"dev-disk\x2dby.mount").is_ok());
    }
}
