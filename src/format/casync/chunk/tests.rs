//! Chunks that are what they should be, and those that are not.

use std::io::Write;

use super::*;

fn wanted(bytes: &[u8]) -> Wanted {
    let digest = DigestKind::Sha512_256;
    Wanted { id: digest.of(bytes), digest, length: bytes.len() as u64 }
}

fn sample() -> Vec<u8> {
    (0..40_000_u32).flat_map(|n| (n / 7).to_le_bytes()).collect()
}

#[test]
fn every_compression_opens_to_the_same_chunk() {
    let plain = sample();
    let mut xz = liblzma::write::XzEncoder::new(Vec::new(), 1);
    xz.write_all(&plain).unwrap();
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    gzip.write_all(&plain).unwrap();
    let unsized_zstd = zstd::stream::encode_all(plain.as_slice(), 3).unwrap();
    let stored =
        [compress(&plain).unwrap(), unsized_zstd, xz.finish().unwrap(), gzip.finish().unwrap()];
    for stored in stored {
        assert!(stored.len() < plain.len());
        assert_eq!(open(&wanted(&plain), &stored, Form::Compressed).unwrap(), plain);
        assert!(open(&wanted(&plain), &stored, Form::Plain).is_err());
        for cut in [0, 1, 4, stored.len() / 2, stored.len() - 1] {
            let error = open(&wanted(&plain), &stored[..cut], Form::Compressed).unwrap_err();
            assert!(error.to_string().contains(&wanted(&plain).id.to_string()), "{error}");
        }
    }
    assert_eq!(open(&wanted(&plain), &plain, Form::Plain).unwrap(), plain);
}

#[test]
fn chunk_that_grows_beyond_its_length_is_refused() {
    let bomb = vec![0; 20 << 20];
    let small = Wanted { length: 1000, ..wanted(&bomb) };
    assert!(open(&small, &compress(&bomb).unwrap(), Form::Compressed).is_err());
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    gzip.write_all(&bomb).unwrap();
    let error = open(&small, &gzip.finish().unwrap(), Form::Compressed).unwrap_err();
    assert!(matches!(error, ChunkError::Length { expected: 1000, found: 1001, .. }));
}

#[test]
fn other_content_of_the_same_length_is_refused() {
    let (plain, mut other) = (sample(), sample());
    other[77] ^= 1;
    let error = open(&wanted(&plain), &compress(&other).unwrap(), Form::Compressed).unwrap_err();
    assert!(matches!(error, ChunkError::Digest { .. }));
}

#[test]
fn path_of_a_chunk_leads_back_to_it() {
    let id = DigestKind::Sha256.of(b"");
    let path = id.path(Form::Compressed);
    assert_eq!(path, format!("e3b0/{id}.cacnk"));
    assert_eq!(ChunkId::from_path(&path), Some((id, Form::Compressed)));
    assert_eq!(ChunkId::from_path(&id.path(Form::Plain)), Some((id, Form::Plain)));
    assert_eq!(ChunkId::from_path(&path.replace("e3b0/", "e3b1/")), None);
    assert_eq!(ChunkId::from_path("e3b0/x.tmp"), None);
    assert!("e3b0".parse::<ChunkId>().is_err());
}
