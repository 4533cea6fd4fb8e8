//! What the offline copy is to get, where it is kept up to what is installed.

use camino::Utf8PathBuf;
use data_encoding::BASE64;

use super::signed::Signed;
use super::{From, Tree};
use crate::model::step::IndexSignature;
use crate::resource::tree::spec::file_url;
use crate::resource::tree::wanted::{Behind, Wanted};
use crate::source::casync::read;

impl Tree<'_> {
    /// The offline copy, if it is there and has another index, or not the signature that is demanded of it.
    pub(super) async fn refresh(&self, wanted: &Wanted, signed: Option<&Signed>) -> Option<Behind> {
        let mut copy = self.spec.refreshed.clone()?;
        let name = copy.index.file_name()?.replacen("@v", wanted.version.as_str(), 1);
        copy.index.set_file_name(name);
        if !copy.index.parent()?.is_dir() {
            return None;
        }
        let there = read(&file_url(&copy.index), self.reader).await.ok();
        let there = there.filter(|there| there.sha256 == wanted.index);
        let Some(keys) = self.keys().ok()? else {
            return there.is_none().then_some(Behind { copy, signature: None });
        };
        if let Some(there) = &there
            && self.check(there, keys).await.is_ok()
        {
            return None;
        }
        let asked = match signed {
            Some(_) => None,
            None => self.signature_of(wanted).await,
        };
        // Without it nobody could use the copy.
        let signed = signed.or(asked.as_ref())?;
        let path = Utf8PathBuf::from(format!("{}{}", copy.index, signed.end));
        let signature = IndexSignature { path, content: BASE64.encode(&signed.bytes) };
        Some(Behind { copy, signature: Some(signature) })
    }

    /// The signature of an index that is installed, as its source has it now.
    async fn signature_of(&self, wanted: &Wanted) -> Option<Signed> {
        let mut file = read(&self.spec.source.index.url(), self.reader).await.ok()?;
        let signed = self.signed(&mut file, From::Network).await.ok()?;
        signed.filter(|_| file.sha256 == wanted.index)
    }
}
