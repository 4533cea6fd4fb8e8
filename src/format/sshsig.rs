//! Signatures by SSH keys as `ssh-keygen -Y sign` and git write them.
//!
//! The format is `PROTOCOL.sshsig` of OpenSSH, version 1; public keys after RFC 4253 §6.6, RFC 5656 and RFC 8709, keys
//! in hardware after `PROTOCOL.u2f`. Nothing is judged here: what the parts are is all that is said.

use data_encoding::BASE64;

/// The longest armoured signature: one by a 16384-bit RSA key with its key is under 8 KiB.
pub const SIGNATURE_BYTES_MAX: usize = 16 << 10;

/// The line that begins one.
pub const BEGIN: &str = "-----BEGIN SSH SIGNATURE-----";

const END: &str = "-----END SSH SIGNATURE-----";
const MAGIC: &[u8] = b"SSHSIG";
const VERSION: u32 = 1;

/// A signature taken apart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SshSignature {
    /// The key that is said to have made it, as it stands in the base64 of a public key file.
    pub key: Vec<u8>,
    /// What it was made for: `git`, `file`.
    pub namespace: String,
    /// How the message was digested before: `sha256` or `sha512`.
    pub hash: String,
    reserved: Vec<u8>,
    /// How the key signed: `ssh-ed25519`, `rsa-sha2-512`.
    pub algorithm: String,
    /// What the algorithm made, with what follows it for keys in hardware.
    pub blob: Vec<u8>,
}

/// What is wrong with bytes that should be a signature or a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    /// Longer than any is.
    #[error("it is longer than {SIGNATURE_BYTES_MAX} bytes")]
    TooLong,
    /// No armour, or no base64 in it.
    #[error("it is not `{BEGIN}` with base64")]
    Armour,
    /// It ends within a field, or goes on after the last.
    #[error("its fields do not fit its length")]
    Fields,
    /// A version of the format that is not known.
    #[error("its version {0} is not known")]
    Version(u32),
}

/// Takes an armoured signature apart.
pub fn parse(armoured: &[u8]) -> Result<SshSignature, Malformed> {
    if armoured.len() > SIGNATURE_BYTES_MAX {
        return Err(Malformed::TooLong);
    }
    let text = std::str::from_utf8(armoured).map_err(|_| Malformed::Armour)?;
    let inside = text.trim().strip_prefix(BEGIN).and_then(|rest| rest.strip_suffix(END));
    let base64: String = inside.ok_or(Malformed::Armour)?.split_ascii_whitespace().collect();
    let bytes = BASE64.decode(base64.as_bytes()).map_err(|_| Malformed::Armour)?;
    let rest = bytes.strip_prefix(MAGIC).ok_or(Malformed::Fields)?;
    let mut fields = Fields::new(rest);
    let version = fields.number()?;
    if version != VERSION {
        return Err(Malformed::Version(version));
    }
    let key = fields.string()?.to_vec();
    let namespace = fields.text()?;
    let reserved = fields.string()?.to_vec();
    let hash = fields.text()?;
    let mut signature = Fields::new(fields.string()?);
    fields.end()?;
    let algorithm = signature.text()?;
    let mut blob = Vec::new();
    put(&mut blob, signature.string()?);
    // Keys in hardware state flags and a counter after it.
    blob.extend_from_slice(signature.rest());
    Ok(SshSignature { key, namespace, hash, reserved, algorithm, blob })
}

impl SshSignature {
    /// What the key signed, given the digest of the message by [`Self::hash`].
    pub fn signed(&self, digest: &[u8]) -> Vec<u8> {
        let mut bytes = MAGIC.to_vec();
        put(&mut bytes, self.namespace.as_bytes());
        put(&mut bytes, &self.reserved);
        put(&mut bytes, self.hash.as_bytes());
        put(&mut bytes, digest);
        bytes
    }
}

/// Appends a field: its length, then it.
fn put(bytes: &mut Vec<u8>, field: &[u8]) {
    let length = u32::try_from(field.len()).unwrap_or(u32::MAX);
    bytes.extend_from_slice(&length.to_be_bytes());
    bytes.extend_from_slice(field);
}

/// The fields of an SSH structure (RFC 4251 §5), read one after another.
#[derive(Clone, Copy, Debug)]
pub struct Fields<'a>(&'a [u8]);

impl<'a> Fields<'a> {
    /// All of them.
    pub fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    /// A number of 32 bits.
    pub fn number(&mut self) -> Result<u32, Malformed> {
        let (number, rest) = self.0.split_first_chunk::<4>().ok_or(Malformed::Fields)?;
        self.0 = rest;
        Ok(u32::from_be_bytes(*number))
    }

    /// A string of bytes.
    pub fn string(&mut self) -> Result<&'a [u8], Malformed> {
        let length = usize::try_from(self.number()?).map_err(|_| Malformed::Fields)?;
        let (string, rest) = self.0.split_at_checked(length).ok_or(Malformed::Fields)?;
        self.0 = rest;
        Ok(string)
    }

    /// A string that is text.
    pub fn text(&mut self) -> Result<String, Malformed> {
        let string = std::str::from_utf8(self.string()?).map_err(|_| Malformed::Fields)?;
        Ok(string.to_owned())
    }

    /// A positive number of any size, big-endian, without the zero that keeps it positive.
    pub fn integer(&mut self) -> Result<&'a [u8], Malformed> {
        let string = self.string()?;
        Ok(string.strip_prefix(&[0]).unwrap_or(string))
    }

    /// What has not been read.
    pub fn rest(&self) -> &'a [u8] {
        self.0
    }

    /// Nothing may be left.
    pub fn end(&self) -> Result<(), Malformed> {
        if self.0.is_empty() { Ok(()) } else { Err(Malformed::Fields) }
    }
}
