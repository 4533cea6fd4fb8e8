//! A document becomes specs: every value is checked at its place, every error is collected.

mod deliver;
mod health;
mod extension;
mod layout;
mod pace;
mod selection;
mod source;
pub(super) mod tree;
mod values;

pub use values::{file_place, own_directory};

use camino::Utf8PathBuf;
use jiff::SignedDuration;

use crate::desired::diagnostic::{Problem, Span};
use crate::desired::document::{
    AppDocument, Argv, AssetDocument, BinaryDocument, BinaryList, CredentialDocument,
    DesiredDocument, LibcDocument, LimitsDocument, OrderDocument, StripDocument, VersionDocument,
};
use crate::desired::field::{Field, Short, Spanned};
use crate::desired::parse::Problems;
use crate::desired::{CredentialRef, FollowAs};
use crate::model::facts::Libc;
use crate::model::manifest::Binary;
use crate::model::pace::Pace;
use crate::model::selection::Match;
use crate::model::step::{Binaries, Strip, UnpackLimits};
use crate::model::{Constraint, Name, Prereleases, ResourceId};
use crate::resource::Spec;
use crate::resource::app::spec::{
    AppSpec, AssetWish, Downgrade, Narrow, Order, TagPattern, VersionWish, recipe,
};
use crate::resource::extension::spec::Activate;

/// Where apps live unless `home` says otherwise.
const HOMES: &str = "/opt";

/// Releases kept unless `retain` says otherwise: the one in use and two to go back to.
const RETAIN_DEFAULT: u32 = 3;

/// Most releases kept.
const RETAIN_MAX: u32 = 1000;

/// Largest download unless `limits.download` says otherwise: GitHub's own bound for one file.
const DOWNLOAD_BYTES_DEFAULT: u64 = 2 << 30;

/// Most entries of an archive that can be asked for: memory for the manifest grows with them.
const ENTRIES_MAX: u64 = 10_000_000;

/// Highest ratio that can be asked for.
const RATIO_MAX: u64 = 100_000;

/// Most items of any list an operator writes.
const ITEMS_MAX: usize = 1000;

/// What one document wishes. Complete only when no problem was reported.
#[derive(Debug, Default)]
pub(super) struct Validated {
    /// In the order written.
    pub(super) resources: Vec<ValidatedResource>,
    /// Host, the place of its key, and where its token comes from.
    pub(super) auth: Vec<(String, Span, CredentialRef)>,
    /// How the host's own definitions are followed, and where that is said.
    pub(super) follow: Option<(FollowAs, Activate, Span)>,
    /// Which hosts all of it is for; `None` for all.
    pub(super) hosts: Option<Match>,
}

/// One resource of a document.
#[derive(Debug)]
pub(super) struct ValidatedResource {
    pub(super) id: ResourceId,
    /// The place of its name.
    pub(super) key: Span,
    /// The place that decides its home.
    pub(super) home: Span,
    pub(super) spec: Spec,
    /// When it is looked after.
    pub(super) pace: Pace,
    /// Which hosts it is for; `None` for all that the document is for.
    pub(super) hosts: Option<Match>,
}

/// Checks a whole document.
pub(super) fn validate(
    document: &DesiredDocument,
    directory: &str,
    problems: &Problems,
) -> Validated {
    let hosts = selection::of_document(&document.hosts, problems);
    let mut validated = Validated { hosts, ..Validated::default() };
    let apps = document.apps.value().map(|t| t.0.as_slice()).unwrap_or_default();
    validated.resources.reserve(apps.len());
    for (key, app) in apps {
        let subject = format!("app `{}`", key.value.escape_debug());
        let checker = Checker { subject, directory, problems };
        let Some(name) = checker.check(key, "the name", str::parse::<Name>) else {
            continue;
        };
        let Some(app) = app.value() else { continue };
        let home = app.home.good().map_or(key.span, |home| home.span);
        let spec = Spec::App(Box::new(checker.app(&name, key.span, app)));
        let (id, hosts) = (ResourceId::app(name), checker.selection(&app.hosts));
        let (key, pace) = (key.span, checker.pace(&app.every, &app.windows));
        validated.resources.push(ValidatedResource { id, key, home, spec, pace, hosts });
    }
    extension::extensions(document, directory, problems, &mut validated);
    validated.follow = extension::follow(document, problems);
    tree::trees(document, directory, problems, &mut validated);
    for (key, credential) in document.auth.value().map(|t| t.0.as_slice()).unwrap_or_default() {
        let checker = Checker { subject: "`auth`".to_owned(), directory, problems };
        let host = checker.check(key, "the host", values::host);
        let credential = credential.value().and_then(|c| checker.credential(c));
        if let (Some(host), Some(credential)) = (host, credential) {
            validated.auth.push((host, key.span, credential));
        }
    }
    validated
}

/// Checks the values of one resource and reports under its name.
struct Checker<'p> {
    subject: String,
    /// What relative paths are relative to.
    directory: &'p str,
    problems: &'p Problems,
}

impl Checker<'_> {
    /// Reports that a value cannot be used, and why.
    fn refuse(&self, span: Span, what: &str, why: impl Into<String>) {
        let title = format!("{what} of {} cannot be used", self.subject);
        self.problems.push(Problem::new(span, title).label(why));
    }

    /// Parses a text; reports what is wrong with it.
    fn check<T>(
        &self,
        text: &Spanned<String>,
        what: &str,
        parse: impl FnOnce(&str) -> Result<T, String>,
    ) -> Option<T> {
        parse(&text.value).map_err(|why| self.refuse(text.span, what, why)).ok()
    }

    /// The same for a field that may be absent.
    fn optional<T>(
        &self,
        field: &Field<String>,
        what: &str,
        parse: impl FnOnce(&str) -> Result<T, String>,
    ) -> Option<T> {
        field.good().and_then(|text| self.check(text, what, parse))
    }

    /// A field that must be there; `around` is where it is missing.
    fn required<'f, T>(
        &self,
        field: &'f Field<T>,
        what: &str,
        around: Span,
    ) -> Option<&'f Spanned<T>> {
        if field.is_absent() {
            let title = format!("{what} of {} is missing", self.subject);
            self.problems.push(Problem::new(around, title).label("needed here"));
        }
        field.good()
    }

    /// The readable items of a list.
    fn items<'f, T>(
        &self,
        list: &'f Field<Vec<Field<T>>>,
        what: &str,
    ) -> impl Iterator<Item = &'f Spanned<T>> + use<'f, T> {
        if let Some(list) = list.good().filter(|list| list.value.len() > ITEMS_MAX) {
            self.refuse(list.span, what, format!("a list has at most {ITEMS_MAX} items"));
        }
        list.value().map(Vec::as_slice).unwrap_or_default().iter().filter_map(Field::good)
    }

    /// Values that cannot be used are reported and stood in for: whoever reports refuses the wish, so
    /// nobody sees the stand-ins, and every other value has been looked at.
    fn app(&self, name: &Name, key: Span, app: &AppDocument) -> AppSpec {
        let verify = self.policy(app.verify.value());
        let source = self
            .required(&app.source, "`source`", key)
            .and_then(|source| self.source(source, app, &verify));
        let home = self.optional(&app.home, "`home`", values::own_directory);
        let protect = self.items(&app.protect, "`protect`").filter_map(|version| {
            let text = Spanned { span: version.span, value: version.value.0.clone() };
            self.check(&text, "`protect`", str::parse)
        });
        let limits = app.limits.value();
        let version = self.version(&app.version);
        if let Some((document, source)) = app.source.good().zip(source.as_ref()) {
            self.single_program(document, &source.origin, (&version, &verify));
        }
        let source = source.unwrap_or_else(source::stand_in);
        let (asset, binaries) = (self.asset(&app.asset), self.binaries(&app.binaries));
        let (file, follow) = self.layout(&app.layout);
        self.one_program(&app.binaries, &binaries, file.as_deref());
        let strip = match app.strip.value() {
            Some(StripDocument::None) => Strip::None,
            Some(StripDocument::Auto) | None => Strip::Auto,
        };
        AppSpec {
            recipe: recipe(&source.origin, &asset, strip, &binaries),
            source,
            version,
            asset,
            verify,
            delta: self.delta(&app.delta),
            strip,
            binaries,
            home: home.unwrap_or_else(|| Utf8PathBuf::from(format!("{HOMES}/{name}"))),
            file,
            follow,
            retain: self.retain(&app.retain),
            protect: protect.collect(),
            restart: self
                .items(&app.restart, "`restart`")
                .filter_map(|unit| self.check(unit, "`restart`", values::unit))
                .collect(),
            run: self
                .items(&app.run, "`run`")
                .filter_map(|argv| self.argv(argv, "`run`"))
                .collect(),
            health: app.health.good().map(|health| self.health(health)),
            limits: self.limits(limits),
            download_bytes_max: limits
                .and_then(|l| self.size(&l.download, "`limits.download`"))
                .unwrap_or(DOWNLOAD_BYTES_DEFAULT),
            suspend: app.suspend.good().and_then(|suspend| self.suspend(suspend)),
        }
    }

    fn version(&self, field: &Field<Short<VersionDocument>>) -> VersionWish {
        let absent = VersionDocument::default();
        let (want, wish) = match field.good() {
            None => (None, &absent),
            Some(Spanned { span, value: Short::Text(text) }) => {
                (Some(Spanned { span: *span, value: text.clone() }), &absent)
            }
            Some(Spanned { value: Short::Full(wish), .. }) => {
                let want = wish.want.good();
                (want.map(|w| Spanned { span: w.span, value: w.value.0.clone() }), wish)
            }
        };
        let flag = |field: &Field<bool>| field.value().copied().unwrap_or(false);
        VersionWish {
            want: want
                .and_then(|text| self.check(&text, "`version`", str::parse))
                .unwrap_or(Constraint::Latest),
            prereleases: if flag(&wish.prereleases) {
                Prereleases::Wanted
            } else {
                Prereleases::Refused
            },
            tag: self.optional(&wish.tag, "`version.tag`", tag).unwrap_or(TagPattern::Plain),
            min_age: self
                .optional(&wish.min_age, "`version.min_age`", values::duration)
                .unwrap_or(SignedDuration::ZERO),
            downgrade: if flag(&wish.allow_downgrade) {
                Downgrade::Allowed
            } else {
                Downgrade::Refused
            },
            order: match wish.order.value() {
                Some(OrderDocument::Published) => Order::Published,
                Some(OrderDocument::Version) | None => Order::Version,
            },
        }
    }

    fn asset(&self, field: &Field<Short<AssetDocument>>) -> AssetWish {
        let auto = AssetWish::Auto(Narrow::default());
        match field.good() {
            None => auto,
            Some(Spanned { value: Short::Text(text), .. }) if text == "auto" => auto,
            Some(Spanned { span, value: Short::Text(text) }) => {
                let text = Spanned { span: *span, value: text.clone() };
                let exact = self.check(&text, "`asset`", |text| {
                    values::template(text, &["version", "tag", "os", "arch", "libc"])?;
                    values::file_name(text)
                });
                exact.map_or(auto, AssetWish::Exact)
            }
            Some(Spanned { value: Short::Full(asset), .. }) => self.narrowed(asset),
        }
    }

    fn narrowed(&self, asset: &AssetDocument) -> AssetWish {
        let others = [&asset.contains, &asset.regex, &asset.exclude];
        if let Some(first) = asset.first_match.good() {
            let beside = others.iter().filter_map(|field| field.good().map(|text| text.span));
            let libc = asset.libc.good().map(|libc| libc.span);
            if let Some(span) = beside.chain(libc).next() {
                self.refuse(span, "`asset`", "`first_match` stands alone: nothing else narrows it");
            }
            let regex = self.check(first, "`asset.first_match`", values::regex);
            return AssetWish::FirstMatch(regex.unwrap_or_default());
        }
        AssetWish::Auto(Narrow {
            contains: self.optional(&asset.contains, "`asset.contains`", values::file_name),
            regex: self.optional(&asset.regex, "`asset.regex`", values::regex),
            exclude: self.optional(&asset.exclude, "`asset.exclude`", values::regex),
            libc: asset.libc.value().map(|libc| match libc {
                LibcDocument::Gnu => Libc::Gnu,
                LibcDocument::Musl => Libc::Musl,
            }),
        })
    }

    fn binaries(&self, field: &Field<Short<BinaryList>>) -> Binaries {
        match field.good() {
            None => Binaries::Auto,
            Some(Spanned { span, value: Short::Text(text) }) => match text.as_str() {
                "auto" => Binaries::Auto,
                "any-executable" => Binaries::AnyExecutable,
                _ => {
                    let why = "write `auto`, `any-executable`, or a list such as `[bin/tool]`";
                    self.refuse(*span, "`binaries`", why);
                    Binaries::Auto
                }
            },
            Some(Spanned { span, value: Short::Full(list) }) => self.listed(*span, list),
        }
    }

    fn listed(&self, span: Span, list: &BinaryList) -> Binaries {
        if list.0.is_empty() || list.0.len() > ITEMS_MAX {
            self.refuse(span, "`binaries`", format!("a list has 1 to {ITEMS_MAX} items"));
        }
        let mut binaries: Vec<Binary> = Vec::new();
        for item in list.0.iter().filter_map(Field::good) {
            let Some(binary) = self.binary(item) else { continue };
            if binaries.iter().any(|other| other.name == binary.name) {
                let why = format!("another program is linked as `{}` already", binary.name);
                self.refuse(item.span, "`binaries`", why);
            }
            binaries.push(binary);
        }
        Binaries::Listed(binaries)
    }

    fn binary(&self, item: &Spanned<Short<BinaryDocument>>) -> Option<Binary> {
        let (path, name) = match &item.value {
            Short::Text(text) => (Spanned { span: item.span, value: text.clone() }, None),
            Short::Full(binary) => {
                let path = self.required(&binary.path, "`binaries.path`", item.span)?;
                (path.clone(), binary.name.good())
            }
        };
        let path = self.check(&path, "`binaries`", values::inner_path)?;
        let name = match name {
            Some(name) => self.check(name, "`binaries.name`", values::file_name)?,
            None => path.rsplit('/').next().unwrap_or_default().to_owned(),
        };
        Some(Binary { name, path })
    }

    fn retain(&self, field: &Field<u32>) -> u32 {
        let Some(retain) = field.good() else { return RETAIN_DEFAULT };
        if retain.value == 0 {
            self.refuse(retain.span, "`retain`", "at least 1: the release in use counts");
        } else if retain.value > RETAIN_MAX {
            self.refuse(retain.span, "`retain`", format!("at most {RETAIN_MAX}"));
        }
        retain.value
    }

    fn argv(&self, field: &Spanned<Short<Argv>>, what: &str) -> Option<Vec<String>> {
        let argv = match &field.value {
            Short::Full(argv) => argv,
            Short::Text(line) => {
                let words: Vec<String> =
                    line.split_whitespace().map(|word| format!("{word:?}")).collect();
                let title = format!("{what} of {} cannot be used", self.subject);
                self.problems.push(
                    Problem::new(field.span, title)
                        .label("each program is a list of its own: no shell reads this")
                        .help(format!(
                            "write `[{}]`, or `[\"sh\", \"-c\", …]` where a shell is needed",
                            words.join(", ")
                        )),
                );
                return None;
            }
        };
        let words: Vec<String> = argv.0.iter().filter_map(|w| w.value().cloned()).collect();
        if words.len() < argv.0.len() {
            return None;
        }
        if words.first().is_none_or(String::is_empty) || words.len() > ITEMS_MAX {
            self.refuse(field.span, what, "a program has a name and may have arguments");
            return None;
        }
        Some(words)
    }

    fn size(&self, field: &Field<crate::desired::document::SizeText>, what: &str) -> Option<u64> {
        let text = field.good()?;
        let text = Spanned { span: text.span, value: text.value.0.clone() };
        self.check(&text, what, values::size)
    }

    fn limits(&self, limits: Option<&LimitsDocument>) -> UnpackLimits {
        let default = UnpackLimits::default();
        let Some(limits) = limits else { return default };
        let count = |field: &Field<u64>, what: &str, most: u64| {
            let count = field.good()?;
            if count.value == 0 || count.value > most {
                self.refuse(count.span, what, format!("write a number from 1 to {most}"));
            }
            Some(count.value)
        };
        UnpackLimits {
            entries: count(&limits.entries, "`limits.entries`", ENTRIES_MAX)
                .unwrap_or(default.entries),
            bytes: self.size(&limits.unpacked, "`limits.unpacked`").unwrap_or(default.bytes),
            file_bytes: self.size(&limits.file, "`limits.file`").unwrap_or(default.file_bytes),
            ratio: count(&limits.ratio, "`limits.ratio`", RATIO_MAX).unwrap_or(default.ratio),
        }
    }

    fn credential(&self, credential: &CredentialDocument) -> Option<CredentialRef> {
        match credential {
            CredentialDocument::Credential(name) => {
                let name = self.optional(name, "`credential`", values::file_name)?;
                Some(CredentialRef::Credential(name))
            }
            CredentialDocument::File(path) => {
                self.optional(path, "`file`", values::absolute_path).map(CredentialRef::File)
            }
            CredentialDocument::Env(name) => self.optional(name, "`env`", |text| {
                let good = |b: u8| b.is_ascii_uppercase() || b.is_ascii_digit() || b == b'_';
                if !text.is_empty() && text.bytes().all(good) {
                    Ok(CredentialRef::Env(text.to_owned()))
                } else {
                    Err("write a variable's name, such as `FORGE_TOKEN`, never the token".into())
                }
            }),
        }
    }
}

/// `cli/v{version}`.
fn tag(text: &str) -> Result<TagPattern, String> {
    values::template(text, &["version"])?;
    match text.split("{version}").collect::<Vec<_>>().as_slice() {
        [prefix, suffix] => {
            Ok(TagPattern::Around { prefix: (*prefix).to_owned(), suffix: (*suffix).to_owned() })
        }
        _ => Err("the tag must hold `{version}` once, such as `cli/v{version}`".to_owned()),
    }
}
