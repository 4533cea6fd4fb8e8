//! Keyrings: the certificates that an operator trusts to sign.
//!
//! A keyring is what `gpg --export` writes: transferable public keys (RFC 9580 §10.1) one after another,
//! binary or armoured. Revocations count wherever in the file they stand, so that appending a revocation
//! certificate to a keyring revokes the key.

use camino::{Utf8Path, Utf8PathBuf};
use pgp::composed::{SignedPublicKey, SignedPublicKeyParser};
use pgp::packet::{Packet, PacketTrait, Signature, SignatureType};
use pgp::types::{KeyDetails, Tag};

use super::certificate::{self, Candidate};
use super::packets::{self, Block, EncodingError};

/// The longest keyring: hundreds of certificates with their signatures.
pub const KEYRING_BYTES_MAX: usize = 4 * 1024 * 1024;
/// The most certificates in a keyring: more are a public directory, not a choice of whom to trust.
pub const CERTIFICATES_MAX: usize = 1024;

/// Certificates that are trusted to sign, with every revocation known.
#[derive(Clone, Debug, Default)]
pub struct Keyring {
    certificates: Vec<SignedPublicKey>,
    revocations: Vec<Signature>,
}

/// Why a keyring cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum KeyringError {
    /// Longer than any keyring is.
    #[error(
        "reading an OpenPGP keyring: it has {bytes} bytes, and at most {KEYRING_BYTES_MAX} are read; keep only \
         the keys that sign these releases"
    )]
    TooLong {
        /// Its length.
        bytes: usize,
    },
    /// The private database of `gpg` 2.1 and later.
    #[error(
        "reading an OpenPGP keyring: it is a keybox, a database of `gpg`; write a keyring with `gpg \
         --no-default-keyring --keyring FILE --export`"
    )]
    Keybox,
    /// It is not OpenPGP data, or damaged.
    #[error("reading an OpenPGP keyring: write it again with `gpg --export KEY`")]
    Encoding(#[source] EncodingError),
    /// It holds a secret.
    #[error(
        "reading an OpenPGP keyring: it has a secret key; remove it from this host, and write the public key \
         with `gpg --export KEY`"
    )]
    Secret,
    /// A certificate whose packets are in no sensible order.
    #[error(
        "reading an OpenPGP keyring: certificate {number} is damaged; write it again with `gpg --export KEY`"
    )]
    Certificate {
        /// Its position in the file, from 1.
        number: usize,
        /// What is wrong.
        source: Box<pgp::errors::Error>,
    },
    /// More certificates than anybody chose.
    #[error(
        "reading an OpenPGP keyring: it has more than {CERTIFICATES_MAX} certificates; keep only the keys that \
         sign these releases"
    )]
    TooMany,
    /// No certificate that could ever verify anything.
    #[error(
        "reading an OpenPGP keyring: it has no public key of version 4 or 6; add one with `gpg --export KEY`"
    )]
    NoCertificate,
    /// A path that depends on the directory where the program was started.
    #[error(
        "looking for systemd's keyrings: SYSTEMD_OPENPGP_KEYRING is `{path}`; make it an absolute path"
    )]
    Relative {
        /// The path.
        path: Utf8PathBuf,
    },
}

impl Keyring {
    /// Reads the certificates of a file, binary or armoured, at least one.
    ///
    /// Keys of versions that no current program makes (2, 3, 5) are left out.
    pub fn read(bytes: &[u8]) -> Result<Self, KeyringError> {
        if bytes.len() > KEYRING_BYTES_MAX {
            return Err(KeyringError::TooLong { bytes: bytes.len() });
        }
        // The first blob of a keybox has this magic behind its length, type, version and flags.
        if bytes.get(8..12) == Some(b"KBXf") {
            return Err(KeyringError::Keybox);
        }
        let packets = packets::read(bytes, Block::PublicKey).map_err(KeyringError::Encoding)?;
        if packets.iter().any(|p| matches!(p.tag(), Tag::SecretKey | Tag::SecretSubkey)) {
            return Err(KeyringError::Secret);
        }
        if packets.iter().filter(|packet| packet.tag() == Tag::PublicKey).count() > CERTIFICATES_MAX
        {
            return Err(KeyringError::TooMany);
        }
        let mut keyring = Self::default();
        keyring.revocations.extend(packets.iter().filter_map(revocation).cloned());
        let packets = packets.into_iter().map(Ok).peekable();
        for (index, certificate) in SignedPublicKeyParser::from_packets(packets).enumerate() {
            let certificate = certificate.map_err(|source| KeyringError::Certificate {
                number: index + 1,
                source: Box::new(source),
            })?;
            if certificate::is_current(certificate.version()) {
                keyring.add(certificate);
            }
        }
        if keyring.certificates.is_empty() {
            return Err(KeyringError::NoCertificate);
        }
        Ok(keyring)
    }

    /// The certificates and revocations of two keyrings.
    #[must_use]
    pub fn join(mut self, other: Self) -> Self {
        for certificate in other.certificates {
            self.add(certificate);
        }
        self.revocations.extend(other.revocations);
        self
    }

    /// The fingerprints of the primary keys, in the order of the file: upper-case hexadecimal.
    pub fn fingerprints(&self) -> Vec<String> {
        self.certificates.iter().map(|key| certificate::hexadecimal(&key.fingerprint())).collect()
    }

    /// The keys that a signature may be by.
    pub(super) fn candidates<'a>(
        &'a self,
        signature: &'a Signature,
    ) -> impl Iterator<Item = Candidate<'a>> {
        self.certificates
            .iter()
            .flat_map(|certificate| Candidate::all(certificate, &self.revocations))
            .filter(|candidate| candidate.is_named_by(signature))
    }

    /// Adds a certificate, or what one says beyond the copy that is there.
    fn add(&mut self, certificate: SignedPublicKey) {
        let fingerprint = certificate.fingerprint();
        let same = |key: &&mut SignedPublicKey| key.fingerprint() == fingerprint;
        let Some(known) = self.certificates.iter_mut().find(same) else {
            self.certificates.push(certificate);
            return;
        };
        known.details.revocation_signatures.extend(certificate.details.revocation_signatures);
        known.details.direct_signatures.extend(certificate.details.direct_signatures);
        known.details.users.extend(certificate.details.users);
        for subkey in certificate.public_subkeys {
            let fingerprint = subkey.fingerprint();
            match known.public_subkeys.iter_mut().find(|key| key.fingerprint() == fingerprint) {
                Some(same) => same.signatures.extend(subkey.signatures),
                None => known.public_subkeys.push(subkey),
            }
        }
    }
}

/// A packet that revokes a key or a subkey.
fn revocation(packet: &Packet) -> Option<&Signature> {
    let Packet::Signature(signature) = packet else {
        return None;
    };
    let revokes = matches!(
        signature.typ(),
        Some(SignatureType::KeyRevocation | SignatureType::SubkeyRevocation)
    );
    revokes.then_some(signature)
}

/// The keyrings that `systemd-sysupdate` 262 trusts: of each place the first file that exists, and all
/// places together.
///
/// `chosen` is the value of `SYSTEMD_OPENPGP_KEYRING`, which replaces every other keyring. The names that
/// end in `.gpg` are those of systemd before 262.
pub fn systemd_keyring_paths(
    chosen: Option<&Utf8Path>,
) -> Result<Vec<Vec<Utf8PathBuf>>, KeyringError> {
    match chosen {
        Some(path) if path.is_absolute() => Ok(vec![vec![path.to_owned()]]),
        Some(path) => Err(KeyringError::Relative { path: path.to_owned() }),
        None => {
            let place = |directory: &str| {
                let file = |name: &str| Utf8Path::new(directory).join(name);
                vec![file("import-pubring.pgp"), file("import-pubring.gpg")]
            };
            Ok(vec![place("/etc/systemd"), place("/usr/lib/systemd")])
        }
    }
}
