//! Archives of a tree as large releases have it, made from a seed.

use std::fs::{self, File};
use std::io::{self, BufWriter, Read, Write};
use std::path::{Path, PathBuf};

/// Files in the tree: as many as the release that the reference figures were taken with.
pub const FILES: usize = 4_300;

/// Bytes of the tree at full scale.
pub const BYTES: u64 = 1_300_000_000;

/// The quick scale is this much smaller.
pub const QUICK: u64 = 10;

/// The directory with the packed trees, made when it is not there yet.
pub fn data(bytes: u64) -> PathBuf {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("target/bench-data/{bytes}"));
    if dir.join("tree.tar.zst").exists() {
        return dir;
    }
    println!("making {bytes} bytes of data in {}", dir.display());
    fs::create_dir_all(&dir).unwrap();
    let gz = File::create(dir.join("tree.tar.gz")).unwrap();
    let gz = flate2::write::GzEncoder::new(BufWriter::new(gz), flate2::Compression::new(6));
    write_tree(gz, bytes).finish().unwrap().flush().unwrap();
    let zst = File::create(dir.join("tree.tar.part")).unwrap();
    let zst = zstd::Encoder::new(BufWriter::new(zst), 3).unwrap();
    write_tree(zst, bytes).finish().unwrap().flush().unwrap();
    fs::rename(dir.join("tree.tar.part"), dir.join("tree.tar.zst")).unwrap();
    dir
}

/// A tree as large releases have it: many small files, few that hold most of the bytes.
fn write_tree<W: Write>(out: W, bytes: u64) -> W {
    let mut random = Random(0x9e37_79b9_7f4a_7c15);
    let words = words(&mut random);
    // The weights fall like 1 / rank, so that the largest file has about a ninth of all bytes.
    let total: f64 = (1..=FILES).map(|rank| 1.0 / rank_weight(rank)).sum();
    let mut builder = tar::Builder::new(out);
    for index in 0..FILES {
        // A stride that is coprime to the count spreads large files over the archive.
        let rank = (index * 1_009) % FILES + 1;
        #[expect(
            clippy::cast_precision_loss,
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "sizes need not be exact"
        )]
        let size = (bytes as f64 / total / rank_weight(rank)) as u64;
        let mut header = tar::Header::new_gnu();
        header.set_size(size);
        header.set_mode(if index % 50 == 0 { 0o755 } else { 0o644 });
        header.set_mtime(1_700_000_000);
        let path =
            format!("release-1.0/dir{:02}/part{}/file{index}.txt", index / 100, index / 15 % 7);
        let content = Content { random: &mut random, words: &words, rest: Vec::new() };
        builder.append_data(&mut header, path, content.take(size)).unwrap();
    }
    builder.into_inner().unwrap()
}

#[expect(clippy::cast_precision_loss, reason = "there are few ranks")]
fn rank_weight(rank: usize) -> f64 {
    rank as f64
}

/// Words of three to twelve bytes.
fn words(random: &mut Random) -> Vec<Vec<u8>> {
    let letters = |random: &mut Random, count: u64| {
        (0..count).map(|_| b'a' + u8::try_from(random.next() % 26).unwrap()).collect()
    };
    (0..3_000)
        .map(|_| {
            let count = 3 + random.next() % 10;
            letters(random, count)
        })
        .collect()
}

/// Endless text that deflates to about a third.
struct Content<'a> {
    random: &'a mut Random,
    words: &'a [Vec<u8>],
    rest: Vec<u8>,
}

impl Read for Content<'_> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        if self.rest.is_empty() {
            while self.rest.len() < 8 << 10 {
                let index = usize::try_from(self.random.next()).unwrap() % self.words.len();
                self.rest.extend(&self.words[index]);
                self.rest.push(b' ');
            }
        }
        let count = self.rest.len().min(into.len());
        into[..count].copy_from_slice(&self.rest[..count]);
        self.rest.drain(..count);
        Ok(count)
    }
}

/// Xorshift64: the same numbers everywhere.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 >> 11
    }
}
