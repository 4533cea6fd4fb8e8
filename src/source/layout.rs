//! How a directory names versions: in file names, in names of sub-directories, or by a pattern.

use regex::Regex;

use crate::source::SourceError;

/// Longest pattern accepted, in bytes.
const PATTERN_BYTES_MAX: usize = 1024;

/// Where versions are found, relative to the fixed part of the source's URL.
#[derive(Clone, Debug)]
pub(super) struct Layout {
    /// The fixed part of the URL or path, without a final slash.
    pub(super) base: String,
    /// Fixed directories below it.
    pub(super) fixed: Vec<String>,
    /// The directory that carries the version, if one does.
    pub(super) version_directory: Option<NamePattern>,
    /// Templates of directories below that.
    pub(super) inner: Vec<String>,
    /// The file, if a pattern was given.
    pub(super) file: Option<NamePattern>,
}

impl Layout {
    /// The layout of `url` and `pattern`; `arch_names` are the names `{arch}` may stand for, any when
    /// empty.
    pub(super) fn new(
        url: &str,
        pattern: Option<&str>,
        arch_names: &[(String, String)],
    ) -> Result<Self, SourceError> {
        let fixed_end = url.find("{version}").and_then(|at| url.get(..at)?.rfind('/'));
        let (base, tail) = match fixed_end.and_then(|end| url.split_at_checked(end)) {
            Some((base, tail)) => (base, tail.trim_start_matches('/')),
            None => (url, ""),
        };
        let (directories, file) =
            match pattern.map(|text| text.rsplit_once('/').unwrap_or(("", text))) {
                Some((directories, file)) => (directories, Some(file)),
                None => ("", None),
            };
        let parts = tail.split('/').chain(directories.split('/')).filter(|part| !part.is_empty());
        let (mut fixed, mut carrying, mut inner) = (Vec::new(), None, Vec::new());
        for part in parts {
            if carrying.is_some() {
                inner.push(part.to_owned());
            } else if part.contains("{version}") {
                carrying = Some(NamePattern::new(part, arch_names)?);
            } else {
                fixed.push(part.to_owned());
            }
        }
        Ok(Self {
            base: base.trim_end_matches('/').to_owned(),
            fixed,
            version_directory: carrying,
            inner,
            file: file.map(|file| NamePattern::new(file, arch_names)).transpose()?,
        })
    }
}

/// A name with `{version}`, `{os}`, `{arch}` and `{libc}` in it.
#[derive(Clone, Debug)]
pub(super) struct NamePattern {
    template: String,
    regex: Regex,
}

impl NamePattern {
    fn new(template: &str, arch_names: &[(String, String)]) -> Result<Self, SourceError> {
        let unusable = |what: String| SourceError::Malformed {
            place: format!("pattern `{}`", template.escape_debug()),
            what,
        };
        if template.len() > PATTERN_BYTES_MAX {
            return Err(unusable(format!("it has more than {PATTERN_BYTES_MAX} bytes")));
        }
        let arches: Vec<String> =
            arch_names.iter().map(|(_, theirs)| regex::escape(theirs)).collect();
        let arch = if arches.is_empty() { "[A-Za-z0-9_]+".to_owned() } else { arches.join("|") };
        let mut text = regex::escape(template)
            .replace(r"\{os\}", "[A-Za-z0-9_]+")
            .replace(r"\{libc\}", "[A-Za-z0-9_]+")
            .replace(r"\{arch\}", &format!("(?:{arch})"));
        let mut count = 0;
        while let Some(at) = text.find(r"\{version\}") {
            let group = format!("(?<v{count}>[0-9A-Za-z][0-9A-Za-z.+~_-]*)");
            text.replace_range(at..at + r"\{version\}".len(), &group);
            count += 1;
        }
        let regex = Regex::new(&format!("^(?:{text})$")).map_err(|e| unusable(e.to_string()))?;
        Ok(Self { template: template.to_owned(), regex })
    }

    /// Whether `name` fits.
    pub(super) fn fits(&self, name: &str) -> bool {
        self.versions(name).is_some_and(|versions| {
            versions.iter().all(|version| Some(version) == versions.first())
        })
    }

    /// The version text in a `name` that fits.
    pub(super) fn version<'a>(&self, name: &'a str) -> Option<&'a str> {
        let versions = self.versions(name).filter(|_| self.fits(name))?;
        versions.first().copied()
    }

    /// What stands for each `{version}`.
    fn versions<'a>(&self, name: &'a str) -> Option<Vec<&'a str>> {
        let captures = self.regex.captures(name)?;
        Some(captures.iter().skip(1).flatten().map(|group| group.as_str()).collect())
    }

    /// The name for a version, when nothing else is open.
    pub(super) fn fill(&self, version: &str) -> Option<String> {
        let name = fill(&self.template, version);
        (!name.contains('{')).then_some(name)
    }
}

/// A template with its version filled in.
pub(super) fn fill(template: &str, version: &str) -> String {
    template.replace("{version}", version)
}

/// Whether a file speaks about other files: checksums and signatures.
pub(super) fn is_side_file(name: &str) -> bool {
    let lower = name.to_ascii_lowercase();
    let suffixes = [".asc", ".sig", ".minisig", ".gpg", ".pem", ".sigstore", ".sigstore.json"];
    ["sha256", "sha384", "sha512", "checksum"].iter().any(|word| lower.contains(word))
        || suffixes.iter().any(|suffix| lower.ends_with(suffix))
        || lower == crate::format::deltas::NAME
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pattern_finds_the_version_and_nothing_else() {
        let arch = [("x86_64".to_owned(), "x64".to_owned())];
        let layout =
            Layout::new("https://a.example/dl/", Some("t-{version}-{os}-{arch}.tgz"), &arch);
        let file = layout.unwrap().file.unwrap();
        assert_eq!(file.version("t-1.2-rc.1-linux-x64.tgz"), Some("1.2-rc.1"));
        assert!(!file.fits("t-1.2-linux-arm64.tgz"));
        assert!(!file.fits("t-1.2-linux-x64.tgz.sha256"));
        assert_eq!(file.fill("1.2"), None, "the architecture is open");
    }

    #[test]
    fn version_in_url_and_pattern_makes_one_layout() {
        let layout =
            Layout::new("https://a.example/dl/v{version}/bin", Some("x/t-{version}.gz"), &[]);
        let layout = layout.unwrap();
        assert_eq!(layout.base, "https://a.example/dl");
        assert_eq!(layout.version_directory.unwrap().version("v1.2"), Some("1.2"));
        assert_eq!(layout.inner, ["bin", "x"]);
        assert_eq!(layout.file.unwrap().fill("1.2").as_deref(), Some("t-1.2.gz"));
        let layout = Layout::new("/srv/tool", Some("stable/{version}/t"), &[]).unwrap();
        assert_eq!((layout.base.as_str(), layout.fixed), ("/srv/tool", vec!["stable".to_owned()]));
        assert!(layout.file.unwrap().fits("t"));
    }

    #[test]
    fn repeated_version_must_be_the_same() {
        let layout = Layout::new("/x", Some("{version}-{version}"), &[]).unwrap();
        let file = layout.file.unwrap();
        assert_eq!(file.version("1.0-1.0"), Some("1.0"));
        assert_eq!(file.version("1.0-1.1"), None);
        assert!(!file.fits("1.0-1.1"));
    }
}
