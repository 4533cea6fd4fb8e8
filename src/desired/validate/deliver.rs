//! Sources of single programs, and how patches are used.

use crate::desired::document::{ChoriaDocument, DeltaDocument, SelfupdateDocument};
use crate::desired::field::{Field, Short, Spanned};
use crate::desired::validate::{Checker, values};
use crate::model::{Algorithm, Constraint, Fallback};
use crate::resource::app::spec::{DeltaWish, VersionWish};
use crate::source::spec::{DirectoryUrl, GoPlatform, Origin};
use crate::trust::policy::Policy;

impl Checker<'_> {
    pub(super) fn choria(
        &self,
        field: &Spanned<Short<ChoriaDocument>>,
        verify: &Policy,
    ) -> Option<Origin> {
        let absent = ChoriaDocument::default();
        let (url, choria) = match &field.value {
            Short::Text(url) => (Spanned { span: field.span, value: url.clone() }, &absent),
            Short::Full(choria) => {
                (self.required(&choria.url, "`choria.url`", field.span)?.clone(), choria)
            }
        };
        let url = self.anywhere(&url, "`choria.url`", verify);
        let name = self.optional(&choria.name, "`choria.name`", values::file_name);
        let platform = GoPlatform {
            os: self.optional(&choria.os, "`choria.os`", go_name),
            arch: self.optional(&choria.arch, "`choria.arch`", go_name),
        };
        Some(Origin::Choria { url: url?, name, platform })
    }

    pub(super) fn selfupdate(
        &self,
        field: &Spanned<SelfupdateDocument>,
        verify: &Policy,
    ) -> Option<Origin> {
        let Spanned { span, value: document } = field;
        let api = self.required(&document.api, "`selfupdate.api`", *span);
        let cmd = self.required(&document.cmd, "`selfupdate.cmd`", *span);
        let place = |field: &Field<String>, what: &str, default: &Option<DirectoryUrl>| match field
            .good()
        {
            Some(url) => self.anywhere(url, what, verify),
            None => default.clone(),
        };
        let api = api.and_then(|url| self.anywhere(url, "`selfupdate.api`", verify));
        let bin = place(&document.bin, "`selfupdate.bin`", &api);
        let diff = place(&document.diff, "`selfupdate.diff`", &bin);
        let cmd = cmd.and_then(|cmd| self.check(cmd, "`selfupdate.cmd`", command));
        let platform = self.optional(&document.platform, "`selfupdate.platform`", platform);
        let platform = platform.unwrap_or_default();
        Some(Origin::Selfupdate { api: api?, bin: bin?, diff: diff?, cmd: cmd?, platform })
    }

    /// A URL, or a path of this machine.
    fn anywhere(
        &self,
        text: &Spanned<String>,
        what: &str,
        verify: &Policy,
    ) -> Option<DirectoryUrl> {
        if text.value.contains("://") && !text.value.starts_with("file://") {
            return self.web(text, what, verify);
        }
        let path = text.value.strip_prefix("file://").unwrap_or(&text.value);
        let path = Spanned { span: text.span, value: path.trim_end_matches('/').to_owned() };
        let path = self.check(&path, what, |text| values::local_path(self.directory, text));
        path.map(DirectoryUrl::Local)
    }

    /// What only sources of single programs demand of the rest of an app.
    pub(super) fn single_program(
        &self,
        source: &Spanned<crate::desired::document::SourceDocument>,
        origin: &Origin,
        (version, verify): (&VersionWish, &Policy),
    ) {
        let single = matches!(origin, Origin::Choria { .. } | Origin::Selfupdate { .. });
        let sha256 =
            |p: &&crate::trust::policy::PinnedDigest| p.digest.algorithm() != Algorithm::Sha256;
        if single && verify.pinned.iter().any(|p| sha256(&p)) {
            let why = "this source needs a SHA-256 there: it is of the program itself";
            self.refuse(source.span, "`verify.digest`", why);
        }
        if single && verify.gpg.is_some() {
            let why = "repositories of this kind have no signatures; pin the program with `verify.digest`";
            self.refuse(source.span, "`verify.gpg`", why);
        }
        if let Origin::Choria { url: DirectoryUrl::Web(_), .. } = origin
            && !matches!(version.want, Constraint::Exact(_))
        {
            let why =
                "a Choria repository on the web has no list of its versions: write an exact one";
            self.refuse(source.span, "`version`", why);
        }
    }

    pub(super) fn delta(&self, field: &Field<Short<DeltaDocument>>) -> DeltaWish {
        let used = DeltaWish::Used(Fallback::Full);
        match field.good() {
            None => used,
            Some(Spanned { span, value: Short::Text(text) }) => match text.as_str() {
                "auto" => used,
                "none" => DeltaWish::Unused,
                _ => {
                    let why = "write `auto`, `none`, or a map such as `{ fallback: fail }`";
                    self.refuse(*span, "`delta`", why);
                    used
                }
            },
            Some(Spanned { value: Short::Full(delta), .. }) => {
                let fallback = self.optional(&delta.fallback, "`delta.fallback`", fallback);
                DeltaWish::Used(fallback.unwrap_or_default())
            }
        }
    }
}

fn fallback(text: &str) -> Result<Fallback, String> {
    match (text, text.strip_prefix("limit:")) {
        ("full", _) => Ok(Fallback::Full),
        ("fail", _) => Ok(Fallback::Fail),
        (_, Some(size)) => values::size(size.trim()).map(Fallback::Limit),
        _ => Err("write `full`, `fail`, or a limit such as `limit:10MiB`".to_owned()),
    }
}

fn go_name(text: &str) -> Result<String, String> {
    match GoPlatform::new(Some(text), None) {
        Some(_) => Ok(text.to_owned()),
        None => Err("write a name as Go has it: `linux`, `amd64`, `arm64`".to_owned()),
    }
}

fn platform(text: &str) -> Result<GoPlatform, String> {
    let names = text.split_once('-');
    let platform = names.and_then(|(os, arch)| GoPlatform::new(Some(os), Some(arch)));
    platform.ok_or_else(|| "write both names as Go has them: `linux-amd64`".to_owned())
}

/// Longest name of a command, in bytes: that of a file.
const COMMAND_BYTES_MAX: usize = 255;

fn command(text: &str) -> Result<String, String> {
    if text.is_empty() || text.len() > COMMAND_BYTES_MAX || text.chars().any(char::is_control) {
        return Err(format!("a command has 1 to {COMMAND_BYTES_MAX} bytes that can be printed"));
    }
    Ok(text.to_owned())
}
