//! What is accepted and what is refused, for every kind of evidence.

use super::evidence::*;
use super::policy::{Checksums, PinnedDigest, Policy};
use super::*;
use crate::format::checksums::Lookup;
use crate::model::Algorithm;
use crate::model::facts::Arch;

fn sha256(byte: u8) -> Digest {
    Digest::new(Algorithm::Sha256, &[byte; 32]).unwrap()
}

fn sha512(byte: u8) -> Digest {
    Digest::new(Algorithm::Sha512, &[byte; 64]).unwrap()
}

fn blob(digests: Vec<Digest>) -> Blob {
    Blob { path: "/cache/x".into(), size: 1, digests }
}

fn evidence(level: Level, digests: Vec<Digest>) -> Evidence {
    let stated_by = "SHA256SUMS".to_owned();
    Evidence { level, digests, of: Subject::Artifact, stated_by, signer: None }
}

fn nothing() -> EvidenceFacts<'static> {
    EvidenceFacts {
        program: None,
        artifact: "tool.tar.gz",
        arch: Arch::X86_64,
        forge: None,
        checksums: ChecksumFact::Absent,
        locked: None,
        transport: Transport::Authenticated,
        floor: Level::Lock,
    }
}

fn pinned(arch: Option<&str>, digest: Digest) -> Policy {
    let pinned = vec![PinnedDigest { arch: arch.map(str::to_owned), digest }];
    Policy { pinned, ..Policy::default() }
}

#[test]
fn only_bytes_with_every_stated_digest_are_verified() {
    let whole = blob(vec![sha256(1), sha512(2)]);
    let both = evidence(Level::Checksum, vec![sha256(1), sha512(2)]);
    assert_eq!(verify(whole.clone(), &both).unwrap().get(), &whole);
    for level in [Level::None, Level::Tls, Level::Lock] {
        assert!(verify(whole.clone(), &evidence(level, vec![])).is_ok(), "{level:?}");
    }
    let one_wrong = evidence(Level::Digest, vec![sha256(1), sha512(9)]);
    let refusal = verify(whole.clone(), &one_wrong).unwrap_err();
    let expected =
        Refusal::Digest { expected: sha512(9), got: sha512(2), stated_by: "SHA256SUMS".to_owned() };
    assert_eq!(refusal, expected);
    assert!(refusal.to_string().contains(&sha512(9).to_string()));
    let missing = verify(blob(vec![sha256(1)]), &both).unwrap_err();
    assert!(matches!(missing, Refusal::NotComputed { .. }));
    let ambiguous = blob(vec![sha256(1), sha256(2)]);
    assert!(verify(ambiguous, &evidence(Level::Lock, vec![sha256(1)])).is_err());
    for level in [Level::Checksum, Level::ForgeDigest, Level::Signature, Level::Digest] {
        let refusal = verify(whole.clone(), &evidence(level, vec![])).unwrap_err();
        assert_eq!(refusal, Refusal::NoDigest { level });
    }
}

#[test]
fn the_strongest_statement_gives_the_level_and_all_must_hold() {
    let (forge, locked) = (sha256(1), sha256(1));
    let lookup = Lookup::Found(vec![sha256(1), sha512(5)]);
    let mut facts = nothing();
    let level = |facts: &EvidenceFacts<'_>| decide(&Policy::default(), facts).unwrap().level;
    assert_eq!(level(&facts), Level::Lock);
    facts.locked = Some(&locked);
    assert_eq!(decide(&Policy::default(), &facts).unwrap().digests, [sha256(1)]);
    facts.checksums = ChecksumFact::Read { file: "SHA256SUMS", lookup: &lookup, signer: None };
    assert_eq!(level(&facts), Level::Checksum);
    facts.forge = Some((&forge, "the GitHub API"));
    let all = decide(&pinned(Some("x86_64"), sha512(5)), &facts).unwrap();
    assert_eq!(all.level, Level::Digest);
    assert_eq!(all.digests, [sha256(1), sha512(5)]);
    assert!(all.stated_by.starts_with("the desired state, the GitHub API, SHA256SUMS"));
    assert_eq!(level(&facts), Level::ForgeDigest);
}

#[test]
fn demanded_signature_is_replaced_by_nothing_else() {
    let lookup = Lookup::Found(vec![sha256(1)]);
    let read = |signer| ChecksumFact::Read { file: "SHA256SUMS", lookup: &lookup, signer };
    let (digest, gpg) = (sha256(1), Some("/keys.pgp".into()));
    let wish = Policy { gpg, ..pinned(None, digest.clone()) };
    let mut facts = EvidenceFacts {
        forge: Some((&digest, "the GitHub API")),
        locked: Some(&digest),
        ..nothing()
    };
    let unlisted = Lookup::NotListed;
    for checksums in [
        ChecksumFact::Absent,
        ChecksumFact::Unsigned { why: "there is no signature of SHA256SUMS".to_owned() },
        ChecksumFact::Unusable { file: "SHA256SUMS", why: "it is gone".to_owned() },
        ChecksumFact::Read { file: "SHA256SUMS", lookup: &unlisted, signer: Some("ABCD") },
        read(None),
    ] {
        facts.checksums = checksums;
        let refusal = decide(&wish, &facts).unwrap_err();
        assert!(matches!(refusal, Unverified::Unsigned { .. }), "{refusal}");
    }
    facts.checksums = read(Some("0123456789ABCDEF0123"));
    let both = decide(&wish, &facts).unwrap();
    assert_eq!((both.level, both.signer.as_deref()), (Level::Digest, Some("0123456789ABCDEF0123")));
    assert!(both.stated_by.contains("signed by 456789ABCDEF0123"), "{}", both.stated_by);
    let signed = Policy { pinned: Vec::new(), ..wish };
    assert_eq!(decide(&signed, &facts).unwrap().level, Level::Signature);
    assert_eq!(signed.demanded(), Some(Level::Signature));
}

#[test]
fn statements_that_contradict_each_other_are_refused_with_both_named() {
    let (one, two) = (sha256(1), sha256(2));
    let lookup = Lookup::Found(vec![sha256(2)]);
    let sums = ChecksumFact::Read { file: "SHA256SUMS", lookup: &lookup, signer: None };
    let forge = EvidenceFacts { forge: Some((&two, "the GitHub API")), ..nothing() };
    let file = EvidenceFacts { checksums: sums.clone(), ..nothing() };
    for (facts, by) in [(&forge, "the GitHub API"), (&file, "SHA256SUMS")] {
        let text = decide(&pinned(None, one.clone()), facts).unwrap_err().to_string();
        for part in ["the desired state", by, &one.to_string(), &two.to_string()] {
            assert!(text.contains(part), "{text}");
        }
    }
    let replaced = EvidenceFacts { locked: Some(&one), ..forge.clone() };
    let text = decide(&Policy::default(), &replaced).unwrap_err().to_string();
    assert!(text.contains("first accepted"), "{text}");
    let accepted = decide(&pinned(None, two.clone()), &replaced).unwrap();
    assert_eq!(accepted.digests, [sha256(2)], "a pin replaces what was recorded");
    let conflict = Lookup::Conflict { first: sha256(1), second: sha256(2) };
    let facts = EvidenceFacts {
        checksums: ChecksumFact::Read { file: "SUMS", lookup: &conflict, signer: None },
        ..nothing()
    };
    assert!(matches!(decide(&Policy::default(), &facts), Err(Unverified::Contradiction(_))));
}

#[test]
fn less_than_the_floor_is_refused_with_what_to_write() {
    let web = EvidenceFacts { floor: Level::Checksum, ..nothing() };
    let refusal = decide(&Policy::default(), &web).unwrap_err().to_string();
    assert!(refusal.contains("the level checksum is demanded, but only lock"), "{refusal}");
    assert!(refusal.contains("`verify: { min: lock }`"), "{refusal}");
    for (lookup, said) in [
        (Lookup::NotListed, "SUMS does not list it"),
        (Lookup::OnlyWeak { functions: vec!["md5".to_owned()] }, "only md5"),
    ] {
        let checksums = ChecksumFact::Read { file: "SUMS", lookup: &lookup, signer: None };
        let facts = EvidenceFacts { checksums, ..web.clone() };
        let refusal = decide(&Policy::default(), &facts).unwrap_err().to_string();
        assert!(refusal.contains(said), "{refusal}");
    }
    let plain = EvidenceFacts { transport: Transport::Plain, ..nothing() };
    assert!(matches!(
        decide(&Policy::default(), &plain),
        Err(Unverified::BelowFloor { reached: Level::None, floor: Level::Lock, .. })
    ));
    let anything = Policy { min: Some(Level::None), ..Policy::default() };
    assert_eq!(decide(&anything, &plain).unwrap().level, Level::None);
    let signed = Policy { min: Some(Level::Signature), ..Policy::default() };
    assert!(decide(&signed, &nothing()).is_err());
}

#[test]
fn a_digest_for_another_architecture_does_not_vouch_here() {
    let policy = pinned(Some("aarch64"), sha256(1));
    let forge = sha256(2);
    let facts = EvidenceFacts { forge: Some((&forge, "the GitHub API")), ..nothing() };
    assert!(matches!(
        decide(&policy, &facts),
        Err(Unverified::BelowFloor { reached: Level::ForgeDigest, floor: Level::Digest, .. })
    ));
    let lowered = Policy { min: Some(Level::ForgeDigest), ..policy };
    assert_eq!(decide(&lowered, &facts).unwrap().digests, [sha256(2)]);
}

#[test]
fn a_checksum_file_asked_for_by_name_must_vouch() {
    let forge = sha256(1);
    let lookup = Lookup::NotListed;
    let facts = EvidenceFacts {
        forge: Some((&forge, "the GitHub API")),
        checksums: ChecksumFact::Read { file: "SUMS", lookup: &lookup, signer: None },
        ..nothing()
    };
    assert!(decide(&Policy::default(), &facts).is_ok());
    let named = Policy { checksums: Checksums::Named("SUMS".to_owned()), ..Policy::default() };
    let refusal = decide(&named, &facts).unwrap_err();
    assert!(matches!(refusal, Unverified::ChecksumsDemanded { .. }), "{refusal}");
    let unusable = ChecksumFact::Unusable { file: "SUMS", why: "line 3".to_owned() };
    let refusal = decide(&named, &EvidenceFacts { checksums: unusable, ..facts }).unwrap_err();
    assert!(refusal.to_string().contains("line 3"), "{refusal}");
}

#[test]
fn a_checksum_file_that_cannot_be_read_does_not_lower_the_level() {
    let forge = sha256(1);
    let checksums = ChecksumFact::Unusable { file: "SUMS", why: "timed out".to_owned() };
    let facts = EvidenceFacts { checksums, ..nothing() };
    let refusal = decide(&Policy::default(), &facts).unwrap_err();
    assert!(matches!(refusal, Unverified::ChecksumsUnusable { .. }), "{refusal}");
    let without = Policy { checksums: Checksums::None, ..Policy::default() };
    assert_eq!(decide(&without, &facts).unwrap().level, Level::Lock);
    let stated = EvidenceFacts { forge: Some((&forge, "the GitHub API")), ..facts };
    assert_eq!(decide(&Policy::default(), &stated).unwrap().level, Level::ForgeDigest);
}

#[test]
fn a_policy_below_lock_follows_replaced_files() {
    let locked = sha256(1);
    let facts = EvidenceFacts { locked: Some(&locked), ..nothing() };
    let tls = Policy { min: Some(Level::Tls), ..Policy::default() };
    assert!(decide(&tls, &facts).unwrap().digests.is_empty());
    assert_eq!(decide(&Policy::default(), &facts).unwrap().digests, [sha256(1)]);
}

#[test]
fn digest_of_the_program_inside_goes_along_to_where_it_can_be_compared() {
    let (inside, whole) = (sha256(1), sha256(2));
    let facts = EvidenceFacts { program: Some((&inside, "release.json")), ..nothing() };
    let evidence = decide(&Policy::default(), &facts).unwrap();
    assert_eq!((evidence.level, evidence.of), (Level::Checksum, Subject::Program));
    let verified = verify(blob(vec![whole.clone()]), &evidence).unwrap();
    assert_eq!(verified.program(), Some(&inside));
    let of_the_artifact = Evidence { of: Subject::Artifact, ..evidence.clone() };
    assert!(verify(blob(vec![whole.clone()]), &of_the_artifact).is_err());
    let nobody = Evidence { digests: Vec::new(), ..evidence.clone() };
    assert!(matches!(verify(blob(vec![whole.clone()]), &nobody), Err(Refusal::NoDigest { .. })));
    let longer = Evidence { digests: vec![sha512(1)], ..evidence };
    assert!(matches!(verify(blob(vec![whole]), &longer), Err(Refusal::NotComputed { .. })));
}

#[test]
fn pinned_digest_of_a_program_must_be_what_its_source_states() {
    let (inside, other) = (sha256(1), sha256(2));
    let facts = EvidenceFacts { program: Some((&inside, "release.json")), ..nothing() };
    let pinned = |digest: Digest| Policy {
        pinned: vec![PinnedDigest { arch: None, digest }],
        ..Policy::default()
    };
    let evidence = decide(&pinned(inside.clone()), &facts).unwrap();
    assert_eq!((evidence.level, evidence.of), (Level::Digest, Subject::Program));
    let refused = decide(&pinned(other), &facts).unwrap_err();
    assert!(matches!(refused, Unverified::Contradiction(_)), "{refused}");
}
