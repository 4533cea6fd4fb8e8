//! Certificates changed in ways that gpg would not write.

use camino::{Utf8Path, Utf8PathBuf};
use pgp::packet::{Packet, PacketParser, PacketTrait, SignatureType};
use pgp::ser::Serialize;
use pgp::types::Tag;

use super::*;

const DATA: &[u8] = include_bytes!("../../../tests/golden/openpgp/SHA256SUMS");
const GOOD: &[u8] = include_bytes!("../../../tests/golden/openpgp/good.pgp");
const GOOD_SIGNATURE: &[u8] = include_bytes!("../../../tests/golden/openpgp/good.sig");
const OTHER: &[u8] = include_bytes!("../../../tests/golden/openpgp/rsa.pgp");

fn now() -> Timestamp {
    "2025-01-01T12:00:00Z".parse().unwrap()
}

/// The packets of a keyring.
fn packets(keyring: &[u8]) -> Vec<Packet> {
    PacketParser::new(keyring).collect::<Result<_, _>>().unwrap()
}

/// What becomes of the good signature with the keyring of these packets.
fn verdict(packets: &[Packet]) -> Result<Signed, Why> {
    let bytes: Vec<u8> = packets.iter().flat_map(|packet| packet.to_bytes().unwrap()).collect();
    let keyring = Keyring::read(&bytes).unwrap();
    match verify_detached(DATA, GOOD_SIGNATURE, &keyring, now()) {
        Ok(signed) => Ok(signed),
        Err(SignatureError::Refused { problems }) => Err(problems[0].why.clone()),
        Err(other) => panic!("{other}"),
    }
}

fn is_signature(packet: &Packet, kind: SignatureType) -> bool {
    matches!(packet, Packet::Signature(signature) if signature.typ() == Some(kind))
}

#[test]
fn the_unchanged_packets_hold() {
    verdict(&packets(GOOD)).unwrap();
}

#[test]
fn a_subkey_that_does_not_vouch_for_its_primary_key_is_not_believed() {
    let mut packets = packets(GOOD);
    for packet in &mut packets {
        if let Packet::Signature(signature) = packet
            && signature.typ() == Some(SignatureType::SubkeyBinding)
        {
            let parts = signature.config().unwrap().unhashed_subpackets().count();
            for _ in 0..parts {
                signature.unhashed_subpacket_remove(0).unwrap();
            }
        }
    }
    assert_eq!(verdict(&packets), Err(Why::NotBound));
}

#[test]
fn a_subkey_moved_to_another_certificate_is_not_believed() {
    let subkey = packets(GOOD).into_iter().skip_while(|packet| packet.tag() != Tag::PublicSubkey);
    let moved: Vec<Packet> = packets(OTHER).into_iter().chain(subkey).collect();
    assert_eq!(verdict(&moved), Err(Why::NotBound));
}

#[test]
fn a_certificate_without_a_valid_self_signature_is_not_believed() {
    let mut packets = packets(GOOD);
    packets.retain(|packet| !is_signature(packet, SignatureType::CertPositive));
    assert_eq!(verdict(&packets), Err(Why::NotSelfSigned));
}

#[test]
fn a_user_id_under_anothers_self_signature_is_not_believed() {
    let mut changed = packets(GOOD);
    let foreign = packets(OTHER).into_iter().find(|packet| packet.tag() == Tag::UserId).unwrap();
    for packet in &mut changed {
        if packet.tag() == Tag::UserId {
            *packet = foreign.clone();
        }
    }
    assert_eq!(verdict(&changed), Err(Why::NotSelfSigned));
}

#[test]
fn a_signature_holds_from_a_day_before_it_was_made() {
    let keyring = Keyring::read(GOOD).unwrap();
    let at = |now: &str| verify_detached(DATA, GOOD_SIGNATURE, &keyring, now.parse().unwrap());
    at("2024-05-31T12:00:00Z").unwrap();
    let problem = Why::Future;
    match at("2024-05-31T11:59:59Z") {
        Err(SignatureError::Refused { problems }) => assert_eq!(problems[0].why, problem),
        other => panic!("{other:?}"),
    }
}

#[test]
fn systemd_looks_in_its_two_places_or_where_it_is_told() {
    let paths = systemd_keyring_paths(None).unwrap();
    let first: Vec<&Utf8PathBuf> = paths.iter().filter_map(|place| place.first()).collect();
    assert_eq!(first, ["/etc/systemd/import-pubring.pgp", "/usr/lib/systemd/import-pubring.pgp"]);
    let chosen = systemd_keyring_paths(Some(Utf8Path::new("/keys/ours.pgp"))).unwrap();
    assert_eq!(chosen, [["/keys/ours.pgp"]]);
    let relative = systemd_keyring_paths(Some(Utf8Path::new("ours.pgp")));
    assert!(matches!(relative, Err(KeyringError::Relative { .. })), "{relative:?}");
}
