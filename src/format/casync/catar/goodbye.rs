//! The table at the end of a directory: where each entry is, found by the hash of its name.
//!
//! Names are hashed with SipHash-2-4 under a fixed key. Sorted by hash, the items are laid out as a complete
//! binary search tree: the root first, the children of item `i` at `2 i + 1` and `2 i + 2`.

/// Key of the hash, in two halves. Source: `CA_FORMAT_GOODBYE_HASH_KEY` in `caformat.h`.
const KEY: [u64; 2] = [0x8574_442b_0f1d_84b3, 0x2736_ed30_d1c2_2ec1];

/// One entry of a directory. Sorts by hash.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Item {
    /// Hash of the name.
    pub(super) hash: u64,
    /// Distance from the table back to the entry's FILENAME; its offset, while the directory is open.
    pub(super) offset: u64,
    /// Bytes of FILENAME and node.
    pub(super) size: u64,
}

/// The table in the order of the tree, for a table that begins at `start` of the stream.
pub(super) fn table(mut items: Vec<Item>, start: u64) -> Vec<Item> {
    for item in &mut items {
        item.offset = start.saturating_sub(item.offset);
    }
    items.sort_unstable();
    let mut tree = vec![Item::default(); items.len()];
    let mut left = vec![(items.as_slice(), 0)];
    while let Some((items, at)) = left.pop() {
        let (below, rest) = items.split_at(left_size(items.len()).min(items.len()));
        let Some((root, above)) = rest.split_first() else { continue };
        if let Some(place) = tree.get_mut(at) {
            *place = *root;
        }
        left.push((below, 2 * at + 1));
        left.push((above, 2 * at + 2));
    }
    tree
}

/// Items left of the root of a complete tree whose last row is filled from the left.
fn left_size(count: usize) -> usize {
    let Some(rows) = count.checked_ilog2() else { return 0 };
    // All rows but the last are full; half of the last row's places are on the left.
    let full = (1 << rows) - 1;
    let last = count - full;
    full / 2 + last.min((1 << rows) / 2)
}

/// SipHash-2-4 of a name under casync's key. Source: Aumasson and Bernstein, "`SipHash`", 2012.
pub(super) fn hash(name: &[u8]) -> u64 {
    let [k0, k1] = KEY;
    let mut state = Sip([
        k0 ^ 0x736f_6d65_7073_6575,
        k1 ^ 0x646f_7261_6e64_6f6d,
        k0 ^ 0x6c79_6765_6e65_7261,
        k1 ^ 0x7465_6462_7974_6573,
    ]);
    let (words, rest) = name.as_chunks::<8>();
    for word in words {
        state.absorb(u64::from_le_bytes(*word));
    }
    let length = (name.len() as u64) << 56;
    let last = rest.iter().rev().fold(0, |word, &byte| word << 8 | u64::from(byte));
    state.absorb(length | last);
    state.0[2] ^= 0xff;
    for _ in 0..4 {
        state.round();
    }
    state.0.iter().fold(0, |sum, word| sum ^ word)
}

struct Sip([u64; 4]);

impl Sip {
    fn absorb(&mut self, word: u64) {
        self.0[3] ^= word;
        self.round();
        self.round();
        self.0[0] ^= word;
    }

    fn round(&mut self) {
        let [mut a, mut b, mut c, mut d] = self.0;
        a = a.wrapping_add(b);
        b = b.rotate_left(13) ^ a;
        a = a.rotate_left(32);
        c = c.wrapping_add(d);
        d = d.rotate_left(16) ^ c;
        a = a.wrapping_add(d);
        d = d.rotate_left(21) ^ a;
        c = c.wrapping_add(b);
        b = b.rotate_left(17) ^ c;
        c = c.rotate_left(32);
        self.0 = [a, b, c, d];
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hash_is_that_of_the_standard_library_under_the_same_key() {
        use std::hash::Hasher;
        for length in 0..40_u8 {
            let name: Vec<u8> = (0..length).collect();
            #[expect(deprecated, reason = "the only SipHash-2-4 of the standard library")]
            let mut other = std::hash::SipHasher::new_with_keys(KEY[0], KEY[1]);
            other.write(&name);
            assert_eq!(hash(&name), other.finish());
        }
    }

    #[test]
    fn walking_the_tree_in_order_visits_the_items_sorted() {
        fn walk(tree: &[Item], at: usize, visited: &mut Vec<u64>) {
            if let Some(item) = tree.get(at) {
                walk(tree, 2 * at + 1, visited);
                visited.push(item.hash);
                walk(tree, 2 * at + 2, visited);
            }
        }
        for count in 0..200_u64 {
            let items = (0..count).map(|hash| Item { hash, offset: 0, size: 1 }).collect();
            let mut visited = Vec::new();
            walk(&table(items, 0), 0, &mut visited);
            assert_eq!(visited, (0..count).collect::<Vec<_>>());
        }
    }
}
