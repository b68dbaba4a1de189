//! How many there are of each: one more, one less, and none is not kept.

use std::collections::BTreeMap;

/// One more of `key`; whether that is the first.
pub fn up<K: Ord + Clone>(counts: &mut BTreeMap<K, usize>, key: &K) -> bool {
    let count = counts.entry(key.clone()).or_default();
    *count += 1;
    *count == 1
}

/// One less of `key`; whether that was the last.
pub fn down<K: Ord>(counts: &mut BTreeMap<K, usize>, key: &K) -> bool {
    let Some(count) = counts.get_mut(key) else { return false };
    *count -= 1;
    let last = *count == 0;
    if last {
        counts.remove(key);
    }
    last
}
