//! Several digests of one stream of bytes.

use sha2::{Digest as _, Sha256, Sha384, Sha512};

use crate::model::{Algorithm, Digest};

/// SHA-256, and every other algorithm that is asked for, over the same bytes.
#[derive(Clone, Debug, Default)]
pub struct Hasher {
    sha256: Sha256,
    sha384: Option<Sha384>,
    sha512: Option<Sha512>,
}

impl Hasher {
    /// A hasher for SHA-256 and the algorithms of `expect`.
    pub fn wanting(expect: &[Digest]) -> Self {
        let asked = |algorithm| expect.iter().any(|digest| digest.algorithm() == algorithm);
        Self {
            sha256: Sha256::new(),
            sha384: asked(Algorithm::Sha384).then(Sha384::new),
            sha512: asked(Algorithm::Sha512).then(Sha512::new),
        }
    }

    /// Takes the next bytes.
    pub fn update(&mut self, bytes: &[u8]) {
        self.sha256.update(bytes);
        if let Some(hash) = &mut self.sha384 {
            hash.update(bytes);
        }
        if let Some(hash) = &mut self.sha512 {
            hash.update(bytes);
        }
    }

    /// The digests, SHA-256 first.
    pub fn finish(self) -> Vec<Digest> {
        let sha256 = Digest::new(Algorithm::Sha256, &self.sha256.finalize());
        let sha384 = self.sha384.and_then(|h| Digest::new(Algorithm::Sha384, &h.finalize()));
        let sha512 = self.sha512.and_then(|h| Digest::new(Algorithm::Sha512, &h.finalize()));
        [sha256, sha384, sha512].into_iter().flatten().collect()
    }
}

/// The first of `expect` that `found` contradicts, with what was found instead.
pub fn contradiction<'a>(
    expect: &'a [Digest],
    found: &'a [Digest],
) -> Option<(&'a Digest, &'a Digest)> {
    expect.iter().find_map(|wanted| {
        let same = |digest: &&Digest| digest.algorithm() == wanted.algorithm();
        // A digest that was not computed contradicts too: nothing passes unlooked at.
        let is = found.iter().find(same).or(found.first())?;
        (is != wanted).then_some((wanted, is))
    })
}
