//! What is forgotten of a ledger that became too large to be read again.

use std::collections::{BTreeMap, BTreeSet};

use crate::model::ledger::{Inventory, Trust};

/// Bytes of an entry in a file beside its own text: a digest, quotes and indentation.
const ENTRY_BYTES: usize = 96;

impl Trust {
    /// Forgets first uses worth `bytes` of those resources that have most, so that their releases would be first uses
    /// again; then what cannot run here, which is found out again; then what releases were made of that are there to say it
    /// themselves. False when there is nothing left to forget.
    pub fn shed(&mut self, bytes: usize) -> bool {
        let surplus = surplus(self.locks.keys(), bytes);
        if !surplus.is_empty() {
            self.locks.retain(|key, _| !surplus.contains(key));
            return true;
        }
        if !self.unsuitable.is_empty() {
            self.unsuitable.clear();
            return true;
        }
        let any = !self.accepted.is_empty() || !self.accepted_images.is_empty();
        self.accepted.clear();
        self.accepted_images.clear();
        any
    }
}

impl Inventory {
    /// Forgets names worth `bytes` of releases that were in use longest ago, of those resources that had most. False when
    /// there is nothing left to forget.
    pub fn shed(&mut self, bytes: usize) -> bool {
        let mut left = bytes;
        let lengths = self.resources.values().map(|owned| owned.activated.len()).collect();
        let names = self.resources.values().flat_map(|owned| &owned.activated);
        let sizes: Vec<usize> = names.map(|name| name.len() + ENTRY_BYTES).collect();
        let most = capped(lengths, sizes.len().saturating_sub(needed(&sizes, bytes))).max(1);
        for owned in self.resources.values_mut() {
            let surplus = owned.activated.len().saturating_sub(most);
            let gone: usize =
                owned.activated.drain(..surplus).map(|name| name.len() + ENTRY_BYTES).sum();
            left = left.saturating_sub(gone);
        }
        left < bytes
    }
}

/// Keys, each beginning with its resource, that go.
fn surplus<'k>(keys: impl Iterator<Item = &'k String>, bytes: usize) -> BTreeSet<String> {
    let mut of: BTreeMap<&str, Vec<&String>> = BTreeMap::new();
    let mut sizes = Vec::new();
    for key in keys {
        sizes.push(key.len() + ENTRY_BYTES);
        of.entry(key.split(' ').next().unwrap_or_default()).or_default().push(key);
    }
    let keep = sizes.len().saturating_sub(needed(&sizes, bytes));
    let most = capped(of.values().map(Vec::len).collect(), keep);
    let gone = of.into_values().flat_map(|mut keys| {
        keys.truncate(keys.len().saturating_sub(most));
        keys
    });
    gone.cloned().collect()
}

/// How many entries of the mean size have so many bytes: at least one.
fn needed(sizes: &[usize], bytes: usize) -> usize {
    let mean = sizes.iter().sum::<usize>() / sizes.len().max(1);
    (bytes / mean.max(1)).saturating_add(1)
}

/// How many each may have so that all of them together have at most `keep`.
fn capped(mut lengths: Vec<usize>, keep: usize) -> usize {
    lengths.sort_unstable();
    let (mut left, mut sharing) = (keep, lengths.len());
    for length in lengths {
        if length.saturating_mul(sharing) > left {
            return left / sharing.max(1);
        }
        left -= length;
        sharing -= 1;
    }
    usize::MAX
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Algorithm, Digest, ResourceId};

    #[test]
    fn who_has_most_gives_first() {
        for (lengths, keep, most) in [
            (vec![1, 10, 10], 11, 5),
            (vec![1, 2, 30], 13, 10),
            (vec![5, 5], 0, 0),
            (vec![3, 3], 6, usize::MAX),
            (vec![], 0, usize::MAX),
        ] {
            assert_eq!(capped(lengths.clone(), keep), most, "{lengths:?} {keep}");
        }
    }

    #[test]
    fn locks_go_until_none_is_left() {
        let (few, many): (ResourceId, ResourceId) =
            ("app/few".parse().unwrap(), "app/many".parse().unwrap());
        let digest = Digest::new(Algorithm::Sha256, &[0; 32]).unwrap();
        let mut trust = Trust::default();
        for n in 0..100 {
            let id = if n < 5 { &few } else { &many };
            trust.lock(id, Trust::lock_key(id, &format!("{n:03}"), "a"), digest.clone());
        }
        assert!(trust.shed(1000));
        let of = |trust: &Trust, id: &str| trust.locks.keys().filter(|k| k.starts_with(id)).count();
        assert_eq!(of(&trust, "app/few "), 5);
        assert!((80..95).contains(&of(&trust, "app/many ")));
        assert!(trust.shed(1 << 20));
        assert!(trust.locks.is_empty() && !trust.shed(1));
    }

    #[test]
    fn releases_used_longest_ago_are_forgotten_first() {
        let owned = |count: usize| {
            let activated: Vec<String> = (0..count).map(|n| format!("{n:03}")).collect();
            serde_json::json!({ "declaredIn": "/d", "home": "/opt/a", "activated": activated })
        };
        let all =
            serde_json::json!({ "resources": { "app/few": owned(3), "app/many": owned(100) } });
        let mut inventory: Inventory = serde_json::from_value(all).unwrap();
        assert!(inventory.shed(2000));
        let of = |id: &str| inventory.resources[&id.parse().unwrap()].activated.clone();
        assert_eq!(of("app/few").len(), 3);
        let many = of("app/many");
        assert!((70..90).contains(&many.len()) && many.last().unwrap() == "099", "{many:?}");
    }
}
