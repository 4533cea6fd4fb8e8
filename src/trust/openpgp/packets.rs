//! OpenPGP packets from bytes: binary, or armoured in one or more blocks.
//!
//! Armour after RFC 9580 §6: text between `-----BEGIN PGP …-----` and `-----END PGP …-----`. Whatever stands
//! outside the blocks is not looked at. Its checksum is not computed, as §6.1 asks: what is inside has to be
//! signed anyway.

use std::io::Read;

use pgp::armor::{BlockType, Dearmor, DearmorOptions};
use pgp::errors::Error;
use pgp::packet::{Packet, PacketParser, PacketTrait};
use pgp::types::Tag;

/// What armour must say that it holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Block {
    /// `PGP PUBLIC KEY BLOCK`.
    PublicKey,
    /// `PGP SIGNATURE`.
    Signature,
}

impl Block {
    fn is(self, found: &BlockType) -> bool {
        match self {
            Self::PublicKey => *found == BlockType::PublicKey,
            Self::Signature => *found == BlockType::Signature,
        }
    }
}

/// Why bytes are no OpenPGP packets.
#[derive(Debug, thiserror::Error)]
pub enum EncodingError {
    /// Nothing at all.
    #[error("reading OpenPGP packets: the file is empty")]
    Empty,
    /// Neither a packet nor armour at the beginning.
    #[error("reading OpenPGP packets: the file is neither binary nor armoured OpenPGP data")]
    Foreign,
    /// The armour says that it holds something else.
    #[error("reading OpenPGP packets: the armour holds `{found}`")]
    Block {
        /// The name of the block.
        found: String,
    },
    /// Armour begins and does not end.
    #[error("reading OpenPGP packets: the armour has no end, so the file is truncated")]
    Unfinished,
    /// The armour is damaged.
    #[error("reading OpenPGP packets: the armour is damaged or truncated")]
    Armour(#[source] Box<Error>),
    /// The armour's text is damaged.
    #[error("reading OpenPGP packets: the armour is damaged or truncated")]
    Base64(#[source] std::io::Error),
    /// A packet is damaged.
    #[error("reading OpenPGP packets: packet {number} is damaged or truncated")]
    Packet {
        /// Its position in the file, from 1.
        number: usize,
        /// What is wrong.
        source: Box<Error>,
    },
}

/// How armour begins.
const BEGIN: &[u8] = b"-----BEGIN PGP ";
/// How armour ends.
const END: &[u8] = b"-----END PGP ";
/// How both lines end.
const DASHES: &[u8] = b"-----";

/// The packets of a file, without those that carry nothing to decide on.
///
/// Packets of a version or type that is not known are left out, as RFC 9580 §4.3 asks for those that are
/// not critical; a truncated packet is an error.
pub(super) fn read(bytes: &[u8], expected: Block) -> Result<Vec<Packet>, EncodingError> {
    let first = *bytes.first().ok_or(EncodingError::Empty)?;
    // Every packet begins with a byte whose highest bit is set (RFC 9580 §4.2); no armour does.
    if first & 0x80 != 0 {
        return parse(bytes);
    }
    let mut packets = Vec::new();
    let mut blocks = 0;
    let mut rest = bytes;
    while let Some(start) = find(rest, BEGIN) {
        let (block, behind) = split_block(rest.get(start..).unwrap_or_default())?;
        packets.extend(parse(&unwrap_armour(block, expected)?)?);
        blocks += 1;
        rest = behind;
    }
    if blocks == 0 {
        return Err(EncodingError::Foreign);
    }
    Ok(packets)
}

/// The one block at the beginning of `text`, and what is behind it.
///
/// rPGP must see one at a time: of several it reads only the last.
fn split_block(text: &[u8]) -> Result<(&[u8], &[u8]), EncodingError> {
    let end = find(text, END).ok_or(EncodingError::Unfinished)?;
    let inside = text.get(BEGIN.len()..end).unwrap_or_default();
    let name = text.get(end + END.len()..).unwrap_or_default();
    let name_length = find(name, DASHES).ok_or(EncodingError::Unfinished)?;
    if find(inside, BEGIN).is_some() {
        return Err(EncodingError::Unfinished);
    }
    let length = end + END.len() + name_length + DASHES.len();
    text.split_at_checked(length).ok_or(EncodingError::Unfinished)
}

/// The bytes inside the armour at the beginning of `block`.
fn unwrap_armour(block: &[u8], expected: Block) -> Result<Vec<u8>, EncodingError> {
    let options = DearmorOptions::new().set_limit(block.len());
    let mut armour = Dearmor::with_options(block, options);
    armour.read_header().map_err(|error| EncodingError::Armour(Box::new(error)))?;
    if let Some(found) = armour.typ.filter(|found| !expected.is(found)) {
        return Err(EncodingError::Block { found: found.to_string() });
    }
    let mut bytes = Vec::new();
    armour.read_to_end(&mut bytes).map_err(EncodingError::Base64)?;
    Ok(bytes)
}

/// The packets of binary data.
fn parse(bytes: &[u8]) -> Result<Vec<Packet>, EncodingError> {
    let mut packets = Vec::new();
    for (index, packet) in PacketParser::new(bytes).enumerate() {
        match packet {
            // Trust packets are notes that `gpg` makes in its own rings.
            Ok(Packet::Marker(_) | Packet::Padding(_) | Packet::Trust(_)) => {}
            Ok(packet) => packets.push(packet),
            Err(error) if is_unsupported(&error) => {}
            Err(error) => {
                return Err(EncodingError::Packet { number: index + 1, source: Box::new(error) });
            }
        }
    }
    Ok(packets)
}

/// Whether a packet is whole, but of a kind that is not known.
fn is_unsupported(error: &Error) -> bool {
    match error {
        Error::Unsupported { .. } => true,
        Error::InvalidPacketContent { source } => matches!(**source, Error::Unsupported { .. }),
        _ => false,
    }
}

fn find(bytes: &[u8], what: &[u8]) -> Option<usize> {
    bytes.windows(what.len()).position(|window| window == what)
}

/// What a packet is, for people.
pub(super) fn name(packet: &Packet) -> String {
    match packet.tag() {
        Tag::PublicKey | Tag::PublicSubkey => "a public key".to_owned(),
        Tag::SecretKey | Tag::SecretSubkey => "a secret key".to_owned(),
        Tag::OnePassSignature | Tag::CompressedData | Tag::LiteralData => {
            "a signed or compressed message".to_owned()
        }
        other => format!("a packet of the type {other:?}"),
    }
}
