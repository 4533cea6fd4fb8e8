//! What a certificate says about its keys: which may sign, until when, and whether they are revoked.

use jiff::Timestamp;
use pgp::composed::{SignedPublicKey, SignedPublicSubKey};
use pgp::crypto::hash::HashAlgorithm;
use pgp::errors::Error;
use pgp::packet::{
    Signature, SignatureConfig, SignatureType, SignatureVersion, Subpacket, SubpacketData, UserId,
};
use pgp::ser::Serialize;
use pgp::types::{Duration, Fingerprint, KeyDetails, KeyVersion, PublicParams, SignedUser, Tag};

use super::{SKEW, Why};

/// The fewest bits of an RSA modulus that are relied on.
const RSA_BITS_MIN: u16 = 2048;
/// The longest user ID that is shown, in characters.
const USER_ID_CHARS_MAX: usize = 256;

/// The moments that a signature is judged by.
#[derive(Clone, Copy, Debug)]
pub(super) struct Moments {
    /// When it was made, as it says.
    pub(super) created: Timestamp,
    /// The clock of this host.
    pub(super) now: Timestamp,
}

/// A key that a signature may be by: the primary key of a certificate, or one of its subkeys.
#[derive(Clone, Copy, Debug)]
pub(super) struct Candidate<'a> {
    certificate: &'a SignedPublicKey,
    subkey: Option<&'a SignedPublicSubKey>,
    revocations: &'a [Signature],
}

impl<'a> Candidate<'a> {
    /// Every key of a certificate.
    pub(super) fn all(
        certificate: &'a SignedPublicKey,
        revocations: &'a [Signature],
    ) -> impl Iterator<Item = Self> {
        let primary = std::iter::once(None);
        primary.chain(certificate.public_subkeys.iter().map(Some)).map(move |subkey| Self {
            certificate,
            subkey,
            revocations,
        })
    }

    /// Whether a signature says that it is by this key.
    pub(super) fn is_named_by(&self, signature: &Signature) -> bool {
        match self.subkey {
            Some(subkey) => names(signature, &subkey.key),
            None => names(signature, &self.certificate.primary_key),
        }
    }

    /// Whether this key made a signature over some data: the mathematics only.
    pub(super) fn verify(&self, signature: &Signature, data: &[u8]) -> Result<(), Error> {
        match self.subkey {
            Some(subkey) => signature.verify(&subkey.key, data),
            None => signature.verify(&self.certificate.primary_key, data),
        }
    }

    /// The fingerprint of this key.
    pub(super) fn fingerprint(&self) -> String {
        match self.subkey {
            Some(subkey) => hexadecimal(&subkey.key.fingerprint()),
            None => self.primary_fingerprint(),
        }
    }

    /// The fingerprint of the certificate.
    pub(super) fn primary_fingerprint(&self) -> String {
        hexadecimal(&self.certificate.primary_key.fingerprint())
    }

    /// Whether this key may sign data; the certificate's user ID.
    pub(super) fn may_sign(&self, moments: Moments) -> Result<Option<String>, Why> {
        let primary = &self.certificate.primary_key;
        sound(primary, moments)?;
        self.primary_not_revoked(moments.now)?;
        let direct = self.direct_statement(moments.now);
        let by_user = self.user_statement(moments.now);
        // Programs renew one and forget the other, or state what limits the key in only one of them: what
        // either says holds.
        let statements: Vec<&Signature> =
            direct.into_iter().chain(by_user.map(|(statement, _)| statement)).collect();
        if statements.is_empty() {
            return Err(Why::NotSelfSigned);
        }
        for statement in &statements {
            not_expired(primary, statement, moments)?;
        }
        match self.subkey {
            Some(subkey) => self.subkey_may_sign(subkey, moments)?,
            None if statements.iter().all(|statement| allows_signing(statement)) => {}
            None => return Err(Why::NotForSigning),
        }
        Ok(by_user.map(|(_, user)| readable(user)))
    }

    fn subkey_may_sign(&self, subkey: &SignedPublicSubKey, moments: Moments) -> Result<(), Why> {
        let primary = &self.certificate.primary_key;
        sound(&subkey.key, moments)?;
        for revocation in self.revocations {
            if kind(revocation) == Some(SignatureType::SubkeyRevocation)
                && names(revocation, primary)
                && revocation.verify_subkey_binding(primary, &subkey.key).is_ok()
            {
                return Err(Why::KeyRevoked(reason(revocation)));
            }
        }
        let binding = newest(subkey.signatures.iter().filter(|signature| {
            kind(signature) == Some(SignatureType::SubkeyBinding)
                && in_force(signature, &subkey.key, moments.now)
                && signature.verify_subkey_binding(primary, &subkey.key).is_ok()
        }));
        let binding = binding.ok_or(Why::NotBound)?;
        not_expired(&subkey.key, binding, moments)?;
        if !allows_signing(binding) {
            return Err(Why::NotForSigning);
        }
        // Without it anybody could pass off another's signing key, and its signatures, as a subkey of theirs.
        let vouches = binding.embedded_signature().is_some_and(|back| {
            in_force(back, &subkey.key, moments.now)
                && back.verify_primary_key_binding(&subkey.key, primary).is_ok()
        });
        if vouches { Ok(()) } else { Err(Why::NotBound) }
    }

    /// Any revocation by the key itself counts, whenever it was made and whatever its reason.
    fn primary_not_revoked(&self, now: Timestamp) -> Result<(), Why> {
        let primary = &self.certificate.primary_key;
        let by_itself = self.revocations.iter().find(|revocation| {
            kind(revocation) == Some(SignatureType::KeyRevocation)
                && revocation.verify_key(primary).is_ok()
        });
        match by_itself.or_else(|| self.revocation_by_another(now)) {
            Some(revocation) => Err(Why::KeyRevoked(reason(revocation))),
            None => Ok(()),
        }
    }

    /// A revocation in this certificate by a key that its holder allowed to revoke it (RFC 9580 §5.2.3.23).
    ///
    /// It is believed as it stands: the key that made it need not be in the keyring.
    fn revocation_by_another(&self, now: Timestamp) -> Option<&'a Signature> {
        let primary = &self.certificate.primary_key;
        let allowed = |revocation: &Signature, part: &Subpacket| match &part.data {
            SubpacketData::RevocationKey(other) => {
                let by = |named: &&Fingerprint| named.as_bytes() == other.fingerprint.as_slice();
                revocation.issuer_fingerprint().iter().any(by)
                    || revocation
                        .issuer_key_id()
                        .iter()
                        .any(|id| other.fingerprint.as_slice().ends_with(id.as_ref()))
            }
            _ => false,
        };
        let permits = |revocation: &Signature, statement: &Signature| {
            statement
                .config()
                .is_some_and(|config| config.hashed_subpackets().any(|p| allowed(revocation, p)))
                && in_force(statement, primary, now)
                && statement.verify_key(primary).is_ok()
        };
        let details = &self.certificate.details;
        details.revocation_signatures.iter().find(|revocation| {
            details.direct_signatures.iter().any(|statement| permits(revocation, statement))
        })
    }

    /// The newest statement of the primary key about itself.
    fn direct_statement(&self, now: Timestamp) -> Option<&'a Signature> {
        let primary = &self.certificate.primary_key;
        newest(self.certificate.details.direct_signatures.iter().filter(|signature| {
            kind(signature) == Some(SignatureType::Key)
                && in_force(signature, primary, now)
                && signature.verify_key(primary).is_ok()
        }))
    }

    /// The newest statement of the primary key about itself and a user ID that is not revoked.
    fn user_statement(&self, now: Timestamp) -> Option<(&'a Signature, &'a UserId)> {
        let primary = &self.certificate.primary_key;
        let of_user = |user: &'a SignedUser| {
            let statement = newest(user.signatures.iter().filter(|signature| {
                in_force(signature, primary, now)
                    && signature.verify_certification(primary, Tag::UserId, &user.id).is_ok()
            }))?;
            let revoked = kind(statement) == Some(SignatureType::CertRevocation);
            (!revoked).then_some((statement, &user.id))
        };
        let users = self.certificate.details.users.iter().filter_map(of_user);
        users.max_by_key(|(statement, _)| statement.created())
    }
}

/// Whether keys of this version are made by current programs.
pub(super) fn is_current(version: KeyVersion) -> bool {
    matches!(version, KeyVersion::V4 | KeyVersion::V6)
}

/// Who made a signature, as it says: a fingerprint, else a key id.
pub(super) fn signer(signature: &Signature) -> Option<String> {
    let fingerprint = signature.issuer_fingerprint().first().map(|print| hexadecimal(print));
    let key_id = || signature.issuer_key_id().first().map(|id| upper(id.as_ref()));
    fingerprint.or_else(key_id)
}

/// The moment of a date of the format, which counts seconds since 1970 in 32 bits.
pub(super) fn moment(date: pgp::types::Timestamp) -> Timestamp {
    Timestamp::from_second(i64::from(date.as_secs())).unwrap_or_default()
}

/// The end of a time that begins at `start`; zero is no end (RFC 9580 §5.2.3.13, §5.2.3.18).
pub(super) fn end(start: Timestamp, length: Option<Duration>) -> Option<Timestamp> {
    let seconds = length.map(Duration::as_secs).filter(|seconds| *seconds != 0)?;
    Timestamp::from_second(start.as_second().saturating_add(i64::from(seconds))).ok()
}

/// Whether a signature says that a part must be understood which is not understood here.
pub(super) fn has_unknown_critical(config: &SignatureConfig) -> bool {
    config.hashed_subpackets().any(|part| {
        part.is_critical
            && matches!(
                part.data,
                SubpacketData::Notation(_)
                    | SubpacketData::Experimental(..)
                    | SubpacketData::Other(..)
            )
    })
}

/// The texts of all notations of this name that a signature covers.
pub(super) fn notations(signature: &Signature, name: &str) -> Vec<String> {
    let parts = signature.config().into_iter().flat_map(SignatureConfig::hashed_subpackets);
    let values = parts.filter_map(|part| match &part.data {
        SubpacketData::Notation(notation) if notation.name == name.as_bytes() => {
            Some(String::from_utf8_lossy(&notation.value).into_owned())
        }
        _ => None,
    });
    values.collect()
}

/// Upper-case hexadecimal, as `gpg` prints it.
pub(super) fn hexadecimal(fingerprint: &Fingerprint) -> String {
    upper(fingerprint.as_bytes())
}

fn upper(bytes: &[u8]) -> String {
    data_encoding::HEXUPPER.encode(bytes)
}

fn kind(signature: &Signature) -> Option<SignatureType> {
    signature.typ()
}

/// Whether a signature says that it is by this key.
fn names(signature: &Signature, key: &impl KeyDetails) -> bool {
    signature.issuer_fingerprint().contains(&&key.fingerprint())
        || signature.issuer_key_id().contains(&&key.legacy_key_id())
}

/// Whether a statement of a certificate counts now, if its mathematics holds.
///
/// SHA-1 is enough here, unlike for data: these are statements of the key's holder about their own key, and
/// who forges one must find a second text with the hash of a given one, which nobody can. Many keys in use
/// have no other.
fn in_force(signature: &Signature, key: &impl KeyDetails, now: Timestamp) -> bool {
    let Some(config) = signature.config() else {
        return false;
    };
    let Some(created) = signature.created().map(moment) else {
        return false;
    };
    matches!(config.version(), SignatureVersion::V4 | SignatureVersion::V6)
        && (super::strong(config.hash_alg)
            || matches!(config.hash_alg, HashAlgorithm::Sha1 | HashAlgorithm::Sha224))
        && !has_unknown_critical(config)
        && created >= moment(key.created_at())
        && created.duration_since(now) <= SKEW
        && end(created, signature.signature_expiration_time()).is_none_or(|end| end > now)
}

/// The newest; of equally new ones the last.
fn newest<'a>(signatures: impl Iterator<Item = &'a Signature>) -> Option<&'a Signature> {
    signatures.max_by_key(|signature| signature.created())
}

/// Whether a key is strong enough and existed when the signature was made.
fn sound(key: &impl KeyDetails, moments: Moments) -> Result<(), Why> {
    let made = moment(key.created_at());
    if made > moments.created {
        return Err(Why::OlderThanKey(made));
    }
    match key.public_params() {
        PublicParams::RSA(_) => match rsa_bits(key.public_params()) {
            bits if bits < RSA_BITS_MIN => Err(Why::WeakKey(format!("an RSA key of {bits} bits"))),
            _ => Ok(()),
        },
        PublicParams::ECDSA(_)
        | PublicParams::EdDSALegacy(_)
        | PublicParams::Ed25519(_)
        | PublicParams::Ed448(_) => Ok(()),
        PublicParams::DSA(_) => Err(Why::WeakKey("a DSA key".to_owned())),
        _ => Err(Why::NotForSigning),
    }
}

/// The bits of an RSA modulus: its number is written first, after two bytes with their count (RFC 9580
/// §3.2).
fn rsa_bits(params: &PublicParams) -> u16 {
    let written = params.to_bytes().unwrap_or_default();
    written.first_chunk().map_or(0, |bits| u16::from_be_bytes(*bits))
}

fn not_expired(key: &impl KeyDetails, statement: &Signature, moments: Moments) -> Result<(), Why> {
    match end(moment(key.created_at()), statement.key_expiration_time()) {
        Some(end) if end <= moments.now => Err(Why::KeyExpired(end)),
        _ => Ok(()),
    }
}

/// Whether a statement does not keep its key from signing; one without flags leaves everything open.
fn allows_signing(statement: &Signature) -> bool {
    let stated = statement.config().is_some_and(|config| {
        config.hashed_subpackets().any(|part| matches!(part.data, SubpacketData::KeyFlags(_)))
    });
    !stated || statement.key_flags().sign()
}

/// Why a key was revoked, for people.
fn reason(revocation: &Signature) -> String {
    use pgp::packet::RevocationCode;
    let code = match revocation.revocation_reason_code() {
        Some(RevocationCode::KeySuperseded) => "it was superseded",
        Some(RevocationCode::KeyCompromised) => "its secret is known to others",
        Some(RevocationCode::KeyRetired) => "it is no longer used",
        _ => "without a reason",
    };
    match revocation.created() {
        Some(created) => format!("{code}, {}", moment(created)),
        None => code.to_owned(),
    }
}

/// A user ID without what a terminal would obey.
fn readable(user: &UserId) -> String {
    let text = String::from_utf8_lossy(user.id());
    text.chars().filter(|c| !c.is_control()).take(USER_ID_CHARS_MAX).collect()
}
