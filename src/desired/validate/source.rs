//! Sources and the evidence demanded of them.

use camino::Utf8PathBuf;

use crate::desired::diagnostic::{Problem, Span};
use crate::desired::document::{
    AppDocument, ArchDigests, ChecksumsDocument, GpgDocument, MinDocument, SourceDocument,
    VerifyDocument,
};
use crate::desired::field::{Field, Short, Spanned, Table};
use crate::desired::validate::{Checker, values};
use crate::model::facts::Arch;
use crate::model::{Digest, Level};
use crate::source::spec::{DirectoryUrl, Origin, SourceSpec};
use crate::trust::policy::{Checksums, PinnedDigest, Policy};

/// The public API of github.com.
const GITHUB_API: &str = "https://api.github.com";

/// Most mirrors of one source: each may cost a connection.
const MIRRORS_MAX: usize = 16;

/// What a refused wish holds in place of a source that could not be read.
pub(super) fn stand_in() -> SourceSpec {
    let origin = Origin::Github { repo: String::new(), api: String::new() };
    SourceSpec { origin, mirrors: Vec::new() }
}

impl Checker<'_> {
    pub(super) fn source(
        &self,
        source: &Spanned<SourceDocument>,
        app: &AppDocument,
        verify: &Policy,
    ) -> Option<SourceSpec> {
        let mirrors = self.mirrors(app, source);
        let origin = match &source.value {
            SourceDocument::Github(field) => self.github(field.good()?, verify),
            SourceDocument::Http(field) => match &field.good()?.value {
                Short::Text(url) => {
                    let url = Spanned { span: field.good()?.span, value: url.clone() };
                    self.directory(self.web(&url, "`http`", verify), None, None)
                }
                Short::Full(http) => {
                    let url = self.required(&http.url, "`http.url`", field.good()?.span);
                    let url = url.and_then(|url| self.web(url, "`http.url`", verify));
                    self.directory(url, http.pattern.good(), http.arch.value())
                }
            },
            SourceDocument::File(field) => match &field.good()?.value {
                Short::Text(path) => {
                    let path = Spanned { span: field.good()?.span, value: path.clone() };
                    let path = self
                        .check(&path, "`file`", |text| values::local_path(self.directory, text));
                    self.directory(path.map(DirectoryUrl::Local), None, None)
                }
                Short::Full(file) => {
                    let path = self.required(&file.path, "`file.path`", field.good()?.span);
                    let path = path.and_then(|p| {
                        self.check(p, "`file.path`", |text| {
                            values::local_path(self.directory, text)
                        })
                    });
                    let path = path.map(DirectoryUrl::Local);
                    self.directory(path, file.pattern.good(), file.arch.value())
                }
            },
            SourceDocument::Choria(field) => self.choria(field.good()?, verify),
            SourceDocument::Selfupdate(field) => self.selfupdate(field.good()?, verify),
        };
        Some(SourceSpec { origin: origin?, mirrors })
    }

    fn mirrors(&self, app: &AppDocument, source: &Spanned<SourceDocument>) -> Vec<String> {
        let mirrors: Vec<String> = self
            .items(&app.mirrors, "`mirrors`")
            .filter_map(|url| {
                self.hide_credentials(url);
                self.check(url, "`mirrors`", values::url)
            })
            .collect();
        let Some(field) = app.mirrors.good() else { return mirrors };
        if mirrors.len() > MIRRORS_MAX {
            self.refuse(field.span, "`mirrors`", format!("at most {MIRRORS_MAX}"));
        }
        if matches!(source.value, SourceDocument::File(_)) {
            self.refuse(field.span, "`mirrors`", "a directory on this host has no mirrors");
        }
        mirrors
    }

    fn github(
        &self,
        field: &Spanned<Short<crate::desired::document::GithubDocument>>,
        verify: &Policy,
    ) -> Option<Origin> {
        let (repo, api) = match &field.value {
            Short::Text(text) => (Spanned { span: field.span, value: text.clone() }, None),
            Short::Full(github) => {
                let repo = self.required(&github.repo, "`github.repo`", field.span)?;
                (repo.clone(), github.api.good())
            }
        };
        let repo = self.check(&repo, "`github`", values::github_repo);
        let api = match api {
            None => Some(GITHUB_API.to_owned()),
            Some(api) => match self.web(api, "`github.api`", verify)? {
                DirectoryUrl::Web(url) => Some(url),
                DirectoryUrl::Local(_) => None,
            },
        };
        Some(Origin::Github { repo: repo?, api: api? })
    }

    fn directory(
        &self,
        url: Option<DirectoryUrl>,
        pattern: Option<&Spanned<String>>,
        arch: Option<&Table<String>>,
    ) -> Option<Origin> {
        let pattern = pattern.map(|p| self.check(p, "`pattern`", values::versioned_name));
        let mut arch_names = Vec::new();
        for (arch, name) in arch.map(|table| table.0.as_slice()).unwrap_or_default() {
            let arch = self.check(arch, "`arch`", known_arch);
            let name = self.optional(name, "`arch`", values::file_name);
            arch_names.extend(arch.zip(name));
        }
        let pattern = match pattern {
            None => None,
            Some(checked) => Some(checked?),
        };
        Some(Origin::Directory { url: url?, pattern, arch_names })
    }

    /// A URL; one that nobody vouches for needs a stated level of evidence.
    pub(super) fn web(
        &self,
        url: &Spanned<String>,
        what: &str,
        verify: &Policy,
    ) -> Option<DirectoryUrl> {
        self.hide_credentials(url);
        let checked = self.check(url, what, values::url)?;
        if checked.starts_with("http://") {
            let title = format!("{what} of {} is not protected on its way", self.subject);
            let problem = Problem::new(url.span, title);
            match verify.min {
                None if verify.pinned.is_empty() && verify.gpg.is_none() => {
                    self.problems.push(problem.label("plain `http:` proves nothing").help(
                        "use `https:`, name who signs with `verify.gpg`, or state `verify.min`: `checksum`, \
                         `digest`, or `none` to accept anything",
                    ));
                }
                Some(Level::Tls) => {
                    self.problems.push(
                        problem
                            .label("`verify.min: tls` can never be met over plain `http:`")
                            .help("use `https:`, or state another `verify.min`"),
                    );
                }
                _ => {}
            }
        }
        Some(DirectoryUrl::Web(checked))
    }

    /// A user, a password or a query may be a secret; messages then show asterisks.
    pub(super) fn hide_credentials(&self, url: &Spanned<String>) {
        if url.value.contains(['@', '?']) {
            self.problems.hide(url.span);
        }
    }

    pub(super) fn policy(&self, verify: Option<&VerifyDocument>) -> Policy {
        let Some(verify) = verify else { return Policy::default() };
        let pinned = match verify.digest.good() {
            None => Vec::new(),
            Some(Spanned { span, value: Short::Text(text) }) => {
                let text = Spanned { span: *span, value: text.clone() };
                let digest = self.check(&text, "`verify.digest`", digest);
                digest.map(|digest| PinnedDigest { arch: None, digest }).into_iter().collect()
            }
            Some(Spanned { span, value: Short::Full(table) }) => self.digests(*span, table),
        };
        let min = verify.min.good().and_then(|min| level(min.value));
        if let Some(span) = verify.min.good().map(|min| min.span)
            && min == Some(Level::Digest)
            && verify.digest.is_absent()
        {
            self.refuse(span, "`verify.min`", "`digest` needs a digest in `verify.digest`");
        }
        let gpg = verify.gpg.good().and_then(|gpg| self.keyring(gpg));
        let checksums = self.checksums(&verify.checksums);
        self.signed(verify, min, &checksums);
        Policy { min, pinned, checksums, gpg }
    }

    /// The keyring of a wish for signatures.
    pub(super) fn keyring(&self, gpg: &Spanned<GpgDocument>) -> Option<Utf8PathBuf> {
        let keyring = self.required(&gpg.value.keyring, "`verify.gpg.keyring`", gpg.span)?;
        let local = |text: &str| values::local_path(self.directory, text);
        self.check(keyring, "`verify.gpg.keyring`", local)
    }

    /// A signature is demanded by naming who may sign, and by nothing else.
    fn signed(&self, verify: &VerifyDocument, min: Option<Level>, checksums: &Checksums) {
        let min_span = verify.min.good().map(|min| min.span);
        match (verify.gpg.is_absent(), min, min_span) {
            (true, Some(Level::Signature), Some(span)) => {
                let why = "`signature` needs the keyring of who may sign: `gpg: { keyring: PATH }`";
                self.refuse(span, "`verify.min`", why);
            }
            (false, Some(min), Some(span)) if min < Level::Signature => {
                let why =
                    "`gpg` demands a signature; leave `min` out, or leave `gpg` out to go without";
                self.refuse(span, "`verify.min`", why);
            }
            _ => {}
        }
        if let Some(gpg) = verify.gpg.good().filter(|_| *checksums == Checksums::None) {
            let why =
                "it is the checksum file that is signed, and `checksums: none` looks for none";
            self.refuse(gpg.span, "`verify.gpg`", why);
        }
    }

    fn digests(&self, span: Span, table: &ArchDigests) -> Vec<PinnedDigest> {
        let rows = &table.0.0;
        if rows.is_empty() {
            self.refuse(span, "`verify.digest`", "name at least one architecture");
        }
        rows.iter()
            .filter_map(|(arch, text)| {
                let arch = self.check(arch, "`verify.digest`", known_arch);
                let digest = self.optional(text, "`verify.digest`", digest);
                Some(PinnedDigest { arch: Some(arch?), digest: digest? })
            })
            .collect()
    }

    fn checksums(&self, field: &Field<Short<ChecksumsDocument>>) -> Checksums {
        let what = "`verify.checksums`";
        let checked = match field.good() {
            None => None,
            Some(Spanned { span, value: Short::Text(text) }) => match text.as_str() {
                "auto" => None,
                "none" => Some(Checksums::None),
                _ => {
                    let text = Spanned { span: *span, value: text.clone() };
                    let named = self.check(&text, what, |text| {
                        values::template(text, &["version", "tag", "asset", "arch"])?;
                        values::file_name(text)
                    });
                    named.map(Checksums::Named)
                }
            },
            Some(Spanned { span, value: Short::Full(checksums) }) => self
                .required(&checksums.matching, "`verify.checksums.matching`", *span)
                .and_then(|regex| self.check(regex, what, values::regex))
                .map(Checksums::Matching),
        };
        checked.unwrap_or(Checksums::Auto)
    }
}

fn digest(text: &str) -> Result<Digest, String> {
    text.parse()
}

fn level(min: MinDocument) -> Option<Level> {
    match min {
        MinDocument::Auto => None,
        MinDocument::None => Some(Level::None),
        MinDocument::Tls => Some(Level::Tls),
        MinDocument::Lock => Some(Level::Lock),
        MinDocument::Checksum => Some(Level::Checksum),
        MinDocument::ForgeDigest => Some(Level::ForgeDigest),
        MinDocument::Signature => Some(Level::Signature),
        MinDocument::Digest => Some(Level::Digest),
    }
}

fn known_arch(text: &str) -> Result<String, String> {
    let known = [Arch::X86_64, Arch::Aarch64];
    if known.iter().any(|arch| arch.name() == text) {
        Ok(text.to_owned())
    } else {
        Err("write `x86_64` or `aarch64`".to_owned())
    }
}
