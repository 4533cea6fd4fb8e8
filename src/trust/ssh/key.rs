//! Public keys of SSH and the mathematics of their signatures, by the library that does TLS.

use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED, ECDSA_P384_SHA384_FIXED, ECDSA_P521_SHA512_FIXED, ED25519,
    RSA_PKCS1_2048_8192_SHA256, RSA_PKCS1_2048_8192_SHA512, RsaPublicKeyComponents,
    UnparsedPublicKey, VerificationAlgorithm,
};
use data_encoding::BASE64_NOPAD;

use crate::format::sshsig::{Fields, Malformed};
use crate::trust::ssh::SshSignatureError;

/// The flag by which a key in hardware says that somebody touched it (`PROTOCOL.u2f`).
const USER_PRESENT: u8 = 1;

/// A public key taken apart.
#[derive(Debug)]
pub(super) struct PublicKey<'a> {
    name: String,
    material: Material<'a>,
    /// What a key in hardware was made for; it signs the digest of that, too.
    application: Option<&'a [u8]>,
}

#[derive(Debug)]
enum Material<'a> {
    Ed25519(&'a [u8]),
    Ecdsa(Curve, &'a [u8]),
    Rsa { e: &'a [u8], n: &'a [u8] },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Curve {
    P256,
    P384,
    P521,
}

impl Curve {
    fn of(name: &str) -> Option<Self> {
        match name {
            "nistp256" => Some(Self::P256),
            "nistp384" => Some(Self::P384),
            "nistp521" => Some(Self::P521),
            _ => None,
        }
    }

    /// Bytes of one coordinate.
    fn size(self) -> usize {
        match self {
            Self::P256 => 32,
            Self::P384 => 48,
            Self::P521 => 66,
        }
    }

    fn algorithm(self) -> &'static dyn VerificationAlgorithm {
        match self {
            Self::P256 => &ECDSA_P256_SHA256_FIXED,
            Self::P384 => &ECDSA_P384_SHA384_FIXED,
            Self::P521 => &ECDSA_P521_SHA512_FIXED,
        }
    }
}

/// SHA-256 of a key as `ssh-keygen -l` prints it.
pub(super) fn fingerprint(key: &[u8]) -> String {
    format!("SHA256:{}", BASE64_NOPAD.encode(digest(&SHA256, key).as_ref()))
}

impl<'a> PublicKey<'a> {
    /// Takes a key apart.
    pub(super) fn parse(key: &'a [u8]) -> Result<Self, SshSignatureError> {
        let mut fields = Fields::new(key);
        let name = fields.text().map_err(SshSignatureError::Malformed)?;
        let unsupported = || SshSignatureError::Unsupported(format!("a key of the kind {name:?}"));
        let in_hardware = name.starts_with("sk-");
        let material = match name.as_str() {
            "ssh-ed25519" | "sk-ssh-ed25519@openssh.com" => fields.string().map(Material::Ed25519),
            "ecdsa-sha2-nistp256"
            | "ecdsa-sha2-nistp384"
            | "ecdsa-sha2-nistp521"
            | "sk-ecdsa-sha2-nistp256@openssh.com" => {
                let curve = fields.text().map_err(SshSignatureError::Malformed)?;
                let curve = Curve::of(&curve).ok_or_else(unsupported)?;
                fields.string().map(|point| Material::Ecdsa(curve, point))
            }
            "ssh-rsa" => rsa(&mut fields),
            _ => return Err(unsupported()),
        };
        let material = material.map_err(SshSignatureError::Malformed)?;
        let application = in_hardware.then(|| fields.string()).transpose();
        let application = application.map_err(SshSignatureError::Malformed)?;
        fields.end().map_err(SshSignatureError::Malformed)?;
        Ok(Self { name, material, application })
    }

    /// Whether the key made this signature over these bytes.
    pub(super) fn verify(
        &self,
        algorithm: &str,
        signed: &[u8],
        blob: &[u8],
    ) -> Result<(), SshSignatureError> {
        let mut fields = Fields::new(blob);
        let signature = fields.string().map_err(SshSignatureError::Malformed)?;
        let message = match self.application {
            None => {
                fields.end().map_err(SshSignatureError::Malformed)?;
                signed.to_vec()
            }
            Some(application) => by_hardware(application, fields.rest(), signed)?,
        };
        let unsupported =
            || SshSignatureError::Unsupported(format!("{algorithm:?} with a key {}", self.name));
        let altered = |_| SshSignatureError::Altered;
        match &self.material {
            Material::Rsa { e, n } => {
                let parameters = match algorithm {
                    "rsa-sha2-256" => &RSA_PKCS1_2048_8192_SHA256,
                    "rsa-sha2-512" => &RSA_PKCS1_2048_8192_SHA512,
                    _ => return Err(unsupported()),
                };
                RsaPublicKeyComponents { n, e }
                    .verify(parameters, &message, signature)
                    .map_err(altered)
            }
            _ if algorithm != self.name => Err(unsupported()),
            Material::Ed25519(key) => {
                UnparsedPublicKey::new(&ED25519, key).verify(&message, signature).map_err(altered)
            }
            Material::Ecdsa(curve, point) => {
                let fixed = fixed(signature, curve.size()).map_err(SshSignatureError::Malformed)?;
                UnparsedPublicKey::new(curve.algorithm(), point)
                    .verify(&message, &fixed)
                    .map_err(altered)
            }
        }
    }
}

fn rsa<'a>(fields: &mut Fields<'a>) -> Result<Material<'a>, Malformed> {
    Ok(Material::Rsa { e: fields.integer()?, n: fields.integer()? })
}

/// What a key in hardware signed: its application, its own flags and counter, and the message.
fn by_hardware(
    application: &[u8],
    state: &[u8],
    signed: &[u8],
) -> Result<Vec<u8>, SshSignatureError> {
    let state: &[u8; 5] =
        state.try_into().map_err(|_| SshSignatureError::Malformed(Malformed::Fields))?;
    let [flags, ..] = state;
    if flags & USER_PRESENT == 0 {
        let what = "a signature by a key in hardware that nobody touched";
        return Err(SshSignatureError::Unsupported(what.to_owned()));
    }
    let mut message = digest(&SHA256, application).as_ref().to_vec();
    message.extend_from_slice(state);
    message.extend_from_slice(digest(&SHA256, signed).as_ref());
    Ok(message)
}

/// Both numbers of an ECDSA signature, each as long as a coordinate.
fn fixed(signature: &[u8], size: usize) -> Result<Vec<u8>, Malformed> {
    let mut fields = Fields::new(signature);
    let mut fixed = Vec::with_capacity(2 * size);
    for _ in 0..2 {
        let number = fields.integer()?;
        let zeros = size.checked_sub(number.len()).ok_or(Malformed::Fields)?;
        fixed.resize(fixed.len() + zeros, 0);
        fixed.extend_from_slice(number);
    }
    fields.end()?;
    Ok(fixed)
}
