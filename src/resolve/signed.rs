//! Signatures of checksum files: whether a key of the operator's keyring vouches for a release.

use camino::Utf8Path;

use crate::model::outcome::chain;
use crate::model::{Artifact, Release};
use crate::resolve::App;
use crate::resolve::sums::read;
use crate::source::{self, Class, SourceError};
use crate::trust::openpgp::{KEYRING_BYTES_MAX, Keyring, SIGNATURE_BYTES_MAX, verify_detached};

/// Reads a keyring of this machine.
pub(super) fn keyring(path: &Utf8Path) -> Result<Keyring, String> {
    let bytes = source::read_local(path.into(), KEYRING_BYTES_MAX as u64);
    let bytes = bytes.map_err(|error| format!("the keyring cannot be read: {}", chain(&error)))?;
    Keyring::read(&bytes).map_err(|error| format!("{path} is of no use: {}", chain(&error)))
}

/// The signatures of one release, and the keys that count.
pub(super) struct Signatures<'a> {
    app: &'a App<'a>,
    release: &'a Release,
    keyring: Keyring,
}

impl<'a> Signatures<'a> {
    /// Of a release of an app that demands any.
    pub(super) fn of(app: &'a App<'a>, release: &'a Release) -> Result<Option<Self>, String> {
        let Some(path) = &app.spec.verify.gpg else { return Ok(None) };
        Ok(Some(Self { app, release, keyring: keyring(path)? }))
    }

    /// The fingerprint of the key that signed a checksum file. What is remembered of the source is no evidence: this is
    /// computed every time. Where file and signature do not belong together, one of them may be an older one that the
    /// server took for unchanged: both are read once more.
    pub(super) async fn signer(
        &self,
        file: &Artifact,
        bytes: &mut Vec<u8>,
    ) -> Result<String, String> {
        let places = source::signatures(file, self.release, &self.app.spec.source.origin);
        let why = match self.check(file, bytes, &places).await {
            Err(why) => why,
            signer => return signer,
        };
        let urls = places.iter().chain([file]).filter_map(|place| place.urls.last());
        let forgotten: Vec<bool> = urls.map(|url| source::forget(url, self.app.reader)).collect();
        if !forgotten.contains(&true) {
            return Err(why);
        }
        *bytes = read(self.app, file).await?;
        self.check(file, bytes, &places).await
    }

    /// Tries every signature there is: some of those names are also used for signatures of other kinds.
    async fn check(
        &self,
        file: &Artifact,
        bytes: &[u8],
        places: &[Artifact],
    ) -> Result<String, String> {
        let mut wrong = None;
        for place in places {
            let signature = match self.read(place).await {
                Ok(Some(signature)) => signature,
                Ok(None) => continue,
                Err(error) => return Err(chain(&error)),
            };
            match verify_detached(bytes, &signature, &self.keyring, self.app.now()) {
                Ok(signed) => return Ok(signed.primary),
                Err(error) => wrong = wrong.or(Some(format!("{}: {}", place.name, chain(&error)))),
            }
        }
        Err(wrong.unwrap_or_else(|| format!("there is no signature of {}", file.name)))
    }

    async fn read(&self, place: &Artifact) -> Result<Option<Vec<u8>>, SourceError> {
        let limit = SIGNATURE_BYTES_MAX as u64;
        match source::read_small(place, self.app.reader, limit).await {
            Ok(bytes) => Ok(Some(bytes)),
            Err(error) if error.class() == Class::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }
}

impl App<'_> {
    /// Whether an installed release is vouched for as is demanded now: the key that did so may be trusted no longer,
    /// or nobody may have been asked for a signature then.
    pub(super) fn is_vouched_for(&self, slot: &str) -> bool {
        let Some(path) = &self.spec.verify.gpg else { return true };
        let signer = self.made_of(slot).and_then(|made| made.evidence.signer);
        let trusted =
            |signer| keyring(path).is_ok_and(|keys| keys.fingerprints().contains(&signer));
        signer.is_some_and(trusted)
    }
}
