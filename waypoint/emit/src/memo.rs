//! What was made last time, so that it is made again only from something else.

use std::collections::HashMap;
use std::hash::Hash;

/// Values by key, each with what it was made from.
#[derive(Debug, Clone)]
pub struct Memo<K, I, V> {
    last: HashMap<K, (I, V)>,
    now: HashMap<K, (I, V)>,
    /// How many were made since [`Memo::turn`].
    pub made: usize,
}

impl<K, I, V> Default for Memo<K, I, V> {
    fn default() -> Self {
        Self { last: HashMap::new(), now: HashMap::new(), made: 0 }
    }
}

impl<K: Eq + Hash, I: PartialEq + Clone, V: Clone> Memo<K, I, V> {
    /// Begins anew. What was not asked for since the last time is forgotten.
    pub fn turn(&mut self) {
        self.last = std::mem::take(&mut self.now);
        self.made = 0;
    }

    /// What `make` makes of `input`, unless it is still there.
    pub fn get(&mut self, key: K, input: &I, make: impl FnOnce(&I) -> V) -> V {
        let known = self.last.remove(&key).filter(|(from, _)| from == input);
        let (from, value) = known.unwrap_or_else(|| {
            self.made += 1;
            (input.clone(), make(input))
        });
        self.now.insert(key, (from, value.clone()));
        value
    }
}
