//! Extensions: documents become specs.

use camino::Utf8PathBuf;

use crate::desired::FollowAs;
use crate::desired::diagnostic::Span;
use crate::desired::document::{
    ActivateDocument, ClassDocument, DesiredDocument, ExtensionDocument, ExtensionSourceDocument,
    FollowAsDocument, ImageLayoutDocument, ImageMinDocument, ImageVerifyDocument, MatchList,
    SysupdateDocument, VersionOrderDocument, VersionText,
};
use crate::desired::field::{Field, Short, Spanned};
use crate::desired::parse::Problems;
use crate::desired::validate::{
    Checker, DOWNLOAD_BYTES_DEFAULT, RETAIN_MAX, Validated, ValidatedResource, values,
};
use crate::format::sysupdate::order::is_version;
use crate::format::sysupdate::pattern::Pattern;
use crate::format::sysupdate::specifier::Specifiers;
use crate::model::extension::Shape;
use crate::model::{
    Algorithm, Check, Constraint, Digest, ExtensionClass, Level, Name, Prereleases, ResourceId,
};
use crate::resource::Spec;
use crate::resource::extension::ExtensionSpec;
use crate::resource::extension::apart::Others;
use crate::resource::extension::layout::class_at;
use crate::resource::extension::order::OrderWish;
use crate::resource::extension::spec::{
    Activate, FeatureWish, ImagePolicy, Stock, Transfer, Tries, Upkeep,
};
use crate::source::spec::DirectoryUrl;

/// Where images are unless `home` says otherwise.
const HOMES: &str = "/var/lib/extensions.d";

/// Images kept unless `retain` says otherwise: the one in use and one to go back to.
const RETAIN_DEFAULT: u32 = 2;

/// Largest image unless `limits.image` says otherwise: a whole graphics driver has 2 GiB.
const IMAGE_BYTES_DEFAULT: u64 = 8 << 30;

/// Most patterns of one source: each compression that a publisher has had.
const PATTERNS_MAX: usize = 32;

/// Checks the section.
pub(super) fn extensions(
    document: &DesiredDocument,
    directory: &str,
    problems: &Problems,
    validated: &mut Validated,
) {
    let table = document.extensions.value().map(|t| t.0.as_slice()).unwrap_or_default();
    for (key, extension) in table {
        let subject = format!("extension `{}`", key.value.escape_debug());
        let checker = Checker { subject, directory, problems };
        let Some(name) = checker.check(key, "the name", str::parse::<Name>) else { continue };
        let Some(extension) = extension.value() else { continue };
        let home = extension.home.good().map_or(key.span, |home| home.span);
        let Some(spec) = checker.extension(&name, key.span, extension) else { continue };
        let spec = Spec::Extension(Box::new(spec));
        let (id, hosts) = (ResourceId::extension(name), checker.selection(&extension.hosts));
        let (key, pace) = (key.span, checker.pace(&extension.every, &extension.windows));
        validated.resources.push(ValidatedResource { id, key, home, spec, pace, hosts });
    }
}

/// Checks the section `sysupdate`.
pub(super) fn follow(
    document: &DesiredDocument,
    problems: &Problems,
) -> Option<(FollowAs, Activate, Span)> {
    let field = document.sysupdate.good()?;
    let checker = Checker { subject: "`sysupdate`".to_owned(), directory: "", problems };
    let as_what = checker.required(&field.value.as_what, "`as`", field.span)?;
    let as_what = match as_what.value {
        FollowAsDocument::Sysupdate => FollowAs::Sysupdate,
        FollowAsDocument::Updex => FollowAs::Updex,
    };
    Some((as_what, activate(&field.value.activate), field.span))
}

fn activate(field: &Field<ActivateDocument>) -> Activate {
    match field.value() {
        Some(ActivateDocument::Boot) => Activate::Boot,
        Some(ActivateDocument::Now) | None => Activate::Now,
    }
}

impl Checker<'_> {
    /// `None` when the source cannot be used; every other value is looked at first.
    fn extension(
        &self,
        name: &Name,
        key: Span,
        extension: &ExtensionDocument,
    ) -> Option<ExtensionSpec> {
        let class = match extension.class.value() {
            Some(ClassDocument::Confext) => ExtensionClass::Confext,
            Some(ClassDocument::Sysext) | None => ExtensionClass::Sysext,
        };
        let limits = extension.limits.value();
        let transfer = self.transfer(name, key, (extension, class));
        let home = transfer.as_ref().map(|transfer| transfer.directory.clone());
        Some(ExtensionSpec {
            version: self
                .text(&extension.version, "`version`", str::parse)
                .unwrap_or(Constraint::Latest),
            prereleases: Prereleases::Refused,
            order: match extension.order.value() {
                Some(VersionOrderDocument::Semver) => OrderWish::Semver,
                Some(VersionOrderDocument::Uapi) => OrderWish::Uapi,
                Some(VersionOrderDocument::Auto) | None => OrderWish::Auto,
            },
            verify: self.image_policy(extension.verify.value()),
            retain: self.kept(&extension.retain),
            protect: self
                .items(&extension.protect, "`protect`")
                .filter_map(|version| {
                    let text = Spanned { span: version.span, value: version.value.0.clone() };
                    self.check(&text, "`protect`", version_text)
                })
                .collect(),
            min_version: self.text(&extension.min_version, "`min_version`", version_text),
            activate: activate(&extension.activate),
            health: self.image_health(extension),
            restart: self
                .items(&extension.restart, "`restart`")
                .filter_map(|unit| self.check(unit, "`restart`", values::unit))
                .collect(),
            run: self
                .items(&extension.run, "`run`")
                .filter_map(|argv| self.argv(argv, "`run`"))
                .collect(),
            download_bytes_max: limits
                .and_then(|l| self.size(&l.download, "`limits.download`"))
                .unwrap_or(DOWNLOAD_BYTES_DEFAULT),
            image_bytes_max: limits
                .and_then(|l| self.size(&l.image, "`limits.image`"))
                .unwrap_or(IMAGE_BYTES_DEFAULT),
            suspend: extension.suspend.good().and_then(|suspend| self.suspend(suspend)),
            transfers: vec![transfer?],
            retired: Vec::new(),
            features: FeatureWish {
                any: self.features(&extension.features, "`features`"),
                all: self.features(&extension.requisite_features, "`requisite_features`"),
            },
            upkeep: Upkeep::Full,
            follows: None,
            home: home?,
        })
    }

    fn text<T>(
        &self,
        field: &Field<VersionText>,
        what: &str,
        parse: impl FnOnce(&str) -> Result<T, String>,
    ) -> Option<T> {
        let text = field.good()?;
        let text = Spanned { span: text.span, value: text.value.0.clone() };
        self.check(&text, what, parse)
    }

    /// Nothing can be looked at before an image is merged.
    fn image_health(&self, extension: &ExtensionDocument) -> Option<Check> {
        let health = extension.health.good()?;
        if activate(&extension.activate) == Activate::Boot {
            let why = "an image for the next boot is not merged by the pass that could look";
            self.refuse(health.span, "`health`", why);
        }
        Some(self.health(health))
    }

    fn features(&self, field: &Field<Vec<Field<String>>>, what: &str) -> Vec<String> {
        let names = self.items(field, what);
        names.filter_map(|name| self.check(name, what, values::file_name)).collect()
    }

    fn kept(&self, field: &Field<u32>) -> u32 {
        let Some(retain) = field.good() else { return RETAIN_DEFAULT };
        if !(1..=RETAIN_MAX).contains(&retain.value) {
            let why = format!("1 to {RETAIN_MAX}: the image in use counts");
            self.refuse(retain.span, "`retain`", why);
        }
        retain.value
    }

    fn image_policy(&self, verify: Option<&ImageVerifyDocument>) -> ImagePolicy {
        let Some(verify) = verify else { return ImagePolicy::default() };
        let keyring = verify.gpg.good().and_then(|gpg| self.keyring(gpg));
        let min = verify.min.value().map(|min| match min {
            ImageMinDocument::Lock => Level::Lock,
            ImageMinDocument::Checksum => Level::Checksum,
            ImageMinDocument::Signature => Level::Signature,
        });
        let digest = self.optional(&verify.digest, "`verify.digest`", sha256);
        ImagePolicy { min, keyring, digest }
    }

    /// The one file of a release that is declared here.
    fn transfer(
        &self,
        name: &Name,
        key: Span,
        (extension, class): (&ExtensionDocument, ExtensionClass),
    ) -> Option<Transfer> {
        let source = self.required(&extension.source, "`source`", key);
        let home = self.optional(&extension.home, "`home`", values::absolute_path);
        let layout = extension.layout.value();
        let versioned = matches!(layout, Some(ImageLayoutDocument::Versioned));
        let (shape, ending) = match layout {
            Some(ImageLayoutDocument::Directory) => (Shape::Directory, ""),
            Some(ImageLayoutDocument::Link | ImageLayoutDocument::Versioned) | None => {
                (Shape::Image, ".raw")
            }
        };
        let searched = home.as_deref().filter(|home| !versioned && class_at(home, None).is_some());
        if let Some((home, _)) = extension.home.good().zip(searched) {
            let why = "systemd would merge every image there beside the one that is linked; leave it out, or write \
                       `layout: versioned`";
            self.refuse(home.span, "`home`", why);
        }
        let source = source?;
        let ExtensionSourceDocument::Sysupdate(sysupdate) = &source.value;
        let sysupdate = sysupdate.good()?;
        let from = self.place(&sysupdate.value, sysupdate.span);
        let patterns = self.patterns(&sysupdate.value, sysupdate.span);
        let manifest =
            self.optional(&sysupdate.value.manifest, "`sysupdate.manifest`", values::file_name);
        let directory = match class {
            ExtensionClass::Sysext => "/var/lib/extensions",
            ExtensionClass::Confext => "/var/lib/confexts",
        };
        let default =
            if versioned { format!("{directory}/{name}.raw.v") } else { format!("{HOMES}/{name}") };
        let link = Utf8PathBuf::from(format!("{}/{name}{ending}", class.search_directory()));
        Some(Transfer {
            definition: None,
            min: None,
            from: from?,
            stock: Stock::Listed,
            manifest: manifest.unwrap_or_else(|| "SHA256SUMS".to_owned()),
            source: patterns?,
            directory: home.unwrap_or_else(|| Utf8PathBuf::from(default)),
            target: Pattern::parse(&format!("{name}_@v{ending}")).into_iter().collect(),
            link: (!versioned).then_some(link),
            name: name.to_string(),
            entry: None,
            shape,
            mode: None,
            read_only: None,
            tries: Tries::default(),
            class: Some(class),
            remove_temporary: true,
            others: Others::default(),
        })
    }

    fn place(&self, sysupdate: &SysupdateDocument, span: Span) -> Option<DirectoryUrl> {
        match (sysupdate.url.good(), sysupdate.path.good()) {
            (Some(url), None) => {
                self.hide_credentials(url);
                self.check(url, "`sysupdate.url`", values::url).map(DirectoryUrl::Web)
            }
            (None, Some(path)) => {
                let local = |text: &str| values::local_path(self.directory, text);
                self.check(path, "`sysupdate.path`", local).map(DirectoryUrl::Local)
            }
            (None, None) if !sysupdate.url.is_absent() || !sysupdate.path.is_absent() => None,
            _ => {
                self.refuse(span, "`source`", "write exactly one of `url` and `path`");
                None
            }
        }
    }

    fn patterns(&self, sysupdate: &SysupdateDocument, span: Span) -> Option<Vec<Pattern>> {
        let what = "`sysupdate.match`";
        let field = self.required(&sysupdate.pattern, what, span)?;
        let texts: Vec<Spanned<String>> = match &field.value {
            Short::Text(text) => vec![Spanned { span: field.span, value: text.clone() }],
            Short::Full(MatchList(list)) => list.iter().filter_map(Field::good).cloned().collect(),
        };
        if texts.is_empty() || texts.len() > PATTERNS_MAX {
            self.refuse(field.span, what, format!("a list has 1 to {PATTERNS_MAX} patterns"));
        }
        let patterns: Vec<Pattern> =
            texts.iter().filter_map(|text| self.check(text, what, pattern)).collect();
        (!patterns.is_empty()).then_some(patterns)
    }
}

/// A pattern of sysupdate.d(5). Its specifiers are facts of the host, which are put in once there is one.
fn pattern(text: &str) -> Result<Pattern, String> {
    Specifiers::default().expand(text).map_err(|error| error.to_string())?;
    Pattern::parse(text).map_err(|error| error.to_string())
}

fn sha256(text: &str) -> Result<Digest, String> {
    let digest: Digest = text.parse()?;
    match digest.algorithm() {
        Algorithm::Sha256 => Ok(digest),
        _ => Err("write `sha256:` and 64 hexadecimal digits".to_owned()),
    }
}

fn version_text(text: &str) -> Result<String, String> {
    if is_version(text) {
        Ok(text.to_owned())
    } else {
        Err("a version here has letters, digits and `. - ~ ^ _ +`".to_owned())
    }
}
