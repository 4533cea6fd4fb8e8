//! Apps that are one file in place.

use camino::{Utf8Path, Utf8PathBuf};

use crate::desired::document::{BinaryList, LayoutDocument};
use crate::desired::field::{Field, Short, Spanned};
use crate::desired::validate::{Checker, values};
use crate::model::manifest::Binary;
use crate::model::step::Binaries;

impl Checker<'_> {
    /// The one file, and where a link there may lead.
    pub(super) fn layout(
        &self,
        layout: &Field<LayoutDocument>,
    ) -> (Option<Utf8PathBuf>, Option<Utf8PathBuf>) {
        let Some(Spanned { span, value: layout }) = layout.good() else { return (None, None) };
        let file = self.required(&layout.file, "`layout.file`", *span);
        let file = file.and_then(|file| self.check(file, "`layout.file`", values::file_place));
        (file, self.optional(&layout.follow, "`layout.follow`", values::absolute_path))
    }

    /// One file takes one program of those that are listed.
    pub(super) fn one_program(
        &self,
        field: &Field<Short<BinaryList>>,
        binaries: &Binaries,
        file: Option<&Utf8Path>,
    ) {
        if let (Some(field), Binaries::Listed(listed), Some(file)) = (field.good(), binaries, file)
            && listed.len() > 1
            && Binary::in_place_of(listed, file).is_none()
        {
            let name = file.file_name().unwrap_or_default();
            let why =
                format!("`layout.file` takes one program: list one, or name one of them `{name}`");
            self.refuse(field.span, "`binaries`", why);
        }
    }
}
