//! Patches made and applied, and patches that lie.

use std::io::Write;

use bzip2::write::BzEncoder;

use super::*;

/// Bytes that look like nothing.
fn noise(seed: u32, count: usize) -> Vec<u8> {
    let mut state = seed;
    let next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 24) as u8
    };
    std::iter::repeat_with(next).take(count).collect()
}

fn packed(bytes: &[u8]) -> Vec<u8> {
    let mut packer = BzEncoder::new(Vec::new(), bzip2::Compression::best());
    packer.write_all(bytes).unwrap();
    packer.finish().unwrap()
}

fn patch_of(triples: &[(i64, i64, i64)], difference: &[u8], extra: &[u8], size: i64) -> Vec<u8> {
    let control: Vec<u8> = triples
        .iter()
        .flat_map(|&(add, copy, seek)| [add, copy, seek])
        .flat_map(number_bytes)
        .collect();
    let (control, difference, extra) = (packed(&control), packed(difference), packed(extra));
    let mut patch = MAGIC.to_vec();
    for value in [control.len().cast_signed() as i64, difference.len().cast_signed() as i64, size] {
        patch.extend(number_bytes(value));
    }
    [patch, control, difference, extra].concat()
}

fn applied(old: &[u8], patch: &[u8], size_max: u64) -> Result<Vec<u8>, ApplyError> {
    let mut made = Vec::new();
    let size = apply(old, patch, &mut made, size_max)?;
    assert_eq!(size, made.len() as u64);
    Ok(made)
}

#[track_caller]
fn round(old: &[u8], new: &[u8]) -> usize {
    let patch = make(old, new).unwrap();
    assert!(
        applied(old, &patch, new.len() as u64).unwrap() == new,
        "{} -> {}",
        old.len(),
        new.len()
    );
    patch.len()
}

#[test]
fn numbers_have_a_sign_and_a_magnitude() {
    for value in [0, 1, -1, 300, -300, i64::MAX, -i64::MAX] {
        assert_eq!(number(number_bytes(value)), value);
    }
    assert_eq!(number_bytes(-2), [2, 0, 0, 0, 0, 0, 0, 0x80]);
    assert_eq!(number([0, 0, 0, 0, 0, 0, 0, 0x80]), 0);
}

#[test]
fn patches_make_the_new_file() {
    let old = noise(1, 200_000);
    round(b"", b"");
    round(b"", &old[..1000]);
    round(&old, b"");
    round(b"a", b"a");
    round(b"ab", b"ba");
    round(&vec![0; 100_000], &vec![0; 150_001]);
    assert!(round(&old, &old) < 200);
    let mut edited = old.clone();
    for at in (0..200_000).step_by(997) {
        edited[at] = edited[at].wrapping_add(1);
    }
    assert!(round(&old, &edited) < 2000);
    let moved =
        [&old[150_000..], b"between", &old[..90_000], &noise(2, 500)[..], &old[80_000..]].concat();
    assert!(round(&old, &moved) < 1500);
}

#[test]
fn bytes_outside_the_old_file_count_as_zero() {
    let patch = patch_of(&[(0, 0, -2), (4, 0, 1), (4, 0, 0)], &[1; 8], b"", 8);
    assert_eq!(applied(b"abcd", &patch, 8).unwrap(), [1, 1, b'b', b'c', b'e', 1, 1, 1]);
}

#[test]
fn streams_of_several_bzip2_streams_are_read() {
    let two = [packed(b"one "), packed(b"two")].concat();
    let control: Vec<u8> = [0, 7, 0].into_iter().flat_map(number_bytes).collect();
    let (control, difference) = (packed(&control), packed(b""));
    let mut patch = MAGIC.to_vec();
    for value in [control.len().cast_signed() as i64, difference.len().cast_signed() as i64, 7] {
        patch.extend(number_bytes(value));
    }
    let patch = [patch, control, difference, two].concat();
    assert_eq!(applied(b"", &patch, 7).unwrap(), b"one two");
}

#[test]
fn controls_that_lie_are_refused_with_their_place() {
    for (triples, at, what) in [
        (vec![(2, 0, 0), (-1, 0, 0)], 2, "negative count"),
        (vec![(0, 2, 0), (0, -1, 0)], 2, "negative count"),
        (vec![(9, 0, 0)], 0, "more bytes"),
        (vec![(4, i64::MAX, 0)], 0, "more bytes"),
        (vec![(i64::MAX, i64::MAX, 0)], 0, "more bytes"),
        (vec![(1, 0, i64::MAX)], 0, "too far"),
        (vec![(1, 0, -i64::MAX)], 0, "too far"),
        (vec![(0, 0, 0); 100], 0, "without making a byte"),
    ] {
        let patch = patch_of(&triples, &[0; 8], &[0; 8], 8);
        let error = applied(b"old bytes", &patch, 8).unwrap_err();
        assert!(matches!(error, ApplyError::Control { at: a, .. } if a == at), "{error}");
        assert!(error.to_string().contains(what), "{error}");
    }
}

#[test]
fn triples_that_hardly_make_anything_end_in_proportion_to_what_they_make() {
    let mut triples = Vec::new();
    for _ in 0..1000 {
        triples.extend([(0, 0, 0); 60]);
        triples.push((0, 1, 0));
    }
    let patch = patch_of(&triples, b"", &[b'x'; 1000], 1000);
    let error = applied(b"", &patch, 1000).unwrap_err();
    assert!(error.to_string().contains("more steps"), "{error}");
}

#[test]
fn streams_that_end_early_are_damaged() {
    for (triples, stream) in [
        (vec![(4, 4, 0), (8, 0, 0)], "difference"),
        (vec![(4, 8, 0)], "extra"),
        (vec![(4, 4, 0)], "control"),
    ] {
        let error = applied(b"old", &patch_of(&triples, &[0; 4], &[0; 4], 16), 16).unwrap_err();
        assert!(matches!(error, ApplyError::Stream { stream: s, .. } if s == stream), "{error}");
    }
}

#[test]
fn headers_are_checked_before_anything_is_made() {
    let good = patch_of(&[(0, 1, 0)], b"", b"x", 1);
    assert_eq!(Header::read(&good).unwrap().new_bytes, 1);
    assert!(matches!(applied(b"", &good, 0), Err(ApplyError::TooLarge { size: 1, size_max: 0 })));
    assert!(matches!(applied(b"", b"", 9), Err(ApplyError::NotAPatch)));
    assert!(matches!(applied(b"", b"ENDSLEY/BSDIFF43", 9), Err(ApplyError::Endsley)));
    assert!(matches!(applied(b"", &good[..31], 9), Err(ApplyError::Header { .. })));
    for field in 1..=3 {
        for value in [-1, i64::MAX, -i64::MAX, 1 << 40] {
            let mut patch = good.clone();
            patch[field * 8..field * 8 + 8].copy_from_slice(&number_bytes(value));
            let error = applied(b"", &patch, 1 << 30).unwrap_err();
            assert!(
                matches!(error, ApplyError::Header { .. } | ApplyError::TooLarge { .. }),
                "{error}"
            );
        }
    }
}

#[test]
fn bombs_stop_where_the_header_said() {
    let bomb = vec![0; 8 << 20];
    let patch = patch_of(&[(10, 10, 0)], &bomb, &bomb, 20);
    assert_eq!(applied(b"", &patch, 20).unwrap(), [0; 20]);
}

#[test]
fn writers_that_fail_end_it() {
    let patch = make(b"", &noise(3, 1 << 20)).unwrap();
    let mut small = [0; 1000];
    let error = apply(&b""[..], &patch, &mut &mut small[..], 1 << 20).unwrap_err();
    assert!(matches!(error, ApplyError::New(_)), "{error}");
}
