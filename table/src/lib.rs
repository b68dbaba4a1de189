//! Ordered tables whose copies share what they have in common.
//!
//! A copy costs a few machine words, an insertion into a copy a few microseconds however large the
//! table is, and the difference of two copies about as much as they differ.

use std::borrow::Borrow;
use std::fmt;
use std::ops::{Bound, Index};
use std::sync::Arc;

use imbl::OrdMap;
use imbl::ordmap::{ConsumingIter, DiffItem, Iter};
use imbl::shared_ptr::DefaultSharedPtr;

/// Shared values by key.
pub struct Table<T, K>(OrdMap<K, Shared<T>>);

/// An object that equals only itself: what is in two tables is compared by address, never by contents.
struct Shared<T>(Arc<T>);

impl<T> Clone for Shared<T> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<T> PartialEq for Shared<T> {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

/// The entries of a table, in the order of their keys.
pub struct Entries<'t, T, K>(Iter<'t, K, Shared<T>, DefaultSharedPtr>);

impl<'t, T, K: Ord> Iterator for Entries<'t, T, K> {
    type Item = (&'t K, &'t Arc<T>);

    fn next(&mut self) -> Option<Self::Item> {
        self.0.next().map(|(key, shared)| (key, &shared.0))
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        self.0.size_hint()
    }
}

impl<T, K: Ord + Clone> Table<T, K> {
    /// The object under `key`.
    pub fn get<Q: Ord + ?Sized>(&self, key: &Q) -> Option<&Arc<T>>
    where
        K: Borrow<Q>,
    {
        self.0.get(key).map(|shared| &shared.0)
    }

    /// The object under `key`, to be replaced by another.
    pub fn get_mut<Q: Ord + ?Sized>(&mut self, key: &Q) -> Option<&mut Arc<T>>
    where
        K: Borrow<Q>,
    {
        self.0.get_mut(key).map(|shared| &mut shared.0)
    }

    /// The object under `key`, with the key as the table holds it.
    pub fn get_key_value(&self, key: &K) -> Option<(&K, &Arc<T>)> {
        self.0.get_key_value(key).map(|(key, shared)| (key, &shared.0))
    }

    /// Whether there is an object under `key`.
    pub fn contains_key<Q: Ord + ?Sized>(&self, key: &Q) -> bool
    where
        K: Borrow<Q>,
    {
        self.0.contains_key(key)
    }

    /// How many objects there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Puts `object` under `key` and returns the one that was there.
    pub fn insert(&mut self, key: K, object: impl Into<Arc<T>>) -> Option<Arc<T>> {
        self.0.insert(key, Shared(object.into())).map(|before| before.0)
    }

    /// Takes the object under `key` away.
    pub fn remove<Q: Ord + ?Sized>(&mut self, key: &Q) -> Option<Arc<T>>
    where
        K: Borrow<Q>,
    {
        self.0.remove(key).map(|before| before.0)
    }

    /// Takes all objects away.
    pub fn clear(&mut self) {
        self.0.clear();
    }

    /// All objects with their keys, in the order of the keys.
    pub fn iter(&self) -> Entries<'_, T, K> {
        Entries(self.0.iter())
    }

    /// The entries from `first` on, in the order of their keys.
    pub fn iter_from(&self, first: K) -> impl Iterator<Item = (&K, &Arc<T>)> {
        let range = (Bound::Included(first), Bound::Unbounded);
        self.0.range::<_, K>(range).map(|(key, shared)| (key, &shared.0))
    }

    /// The keys, in order.
    pub fn keys(&self) -> impl DoubleEndedIterator<Item = &K> {
        self.0.keys()
    }

    /// The objects, in the order of their keys.
    pub fn values(&self) -> impl DoubleEndedIterator<Item = &Arc<T>> {
        self.0.values().map(|shared| &shared.0)
    }

    /// The keys under which `self` and `old` hold another object, or only one of them holds any.
    pub fn changed<'t>(&'t self, old: &'t Self) -> impl Iterator<Item = &'t K> {
        old.0.diff(&self.0).map(|item| match item {
            DiffItem::Add(key, _) | DiffItem::Update { new: (key, _), .. } | DiffItem::Remove(key, _) => key,
        })
    }
}

impl<T, K> Clone for Table<T, K> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<T, K> Default for Table<T, K> {
    fn default() -> Self {
        Self(OrdMap::default())
    }
}

/// Tables are equal if they hold equal values under the same keys; what they share is not looked at.
impl<T: PartialEq, K: Ord + Clone> PartialEq for Table<T, K> {
    fn eq(&self, other: &Self) -> bool {
        self.len() == other.len() && self.changed(other).all(|key| self.get(key) == other.get(key))
    }
}

impl<T: fmt::Debug, K: Ord + Clone + fmt::Debug> fmt::Debug for Table<T, K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.iter()).finish()
    }
}

impl<T, K: Ord + Clone + Borrow<Q>, Q: Ord + ?Sized> Index<&Q> for Table<T, K> {
    type Output = Arc<T>;

    fn index(&self, key: &Q) -> &Arc<T> {
        match self.get(key) {
            Some(object) => object,
            None => panic!("no object under this key"),
        }
    }
}

impl<'t, T, K: Ord + Clone> IntoIterator for &'t Table<T, K> {
    type Item = (&'t K, &'t Arc<T>);
    type IntoIter = Entries<'t, T, K>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

/// The entries of a table that is not needed any more.
pub struct IntoEntries<T, K>(ConsumingIter<K, Shared<T>, DefaultSharedPtr>);

impl<T, K: Ord + Clone> Iterator for IntoEntries<T, K> {
    type Item = (K, Arc<T>);

    fn next(&mut self) -> Option<Self::Item> {
        self.0.next().map(|(key, shared)| (key, shared.0))
    }
}

impl<T, K: Ord + Clone> IntoIterator for Table<T, K> {
    type Item = (K, Arc<T>);
    type IntoIter = IntoEntries<T, K>;

    fn into_iter(self) -> Self::IntoIter {
        IntoEntries(self.0.into_iter())
    }
}

impl<T, K: Ord + Clone, A: Into<Arc<T>>> FromIterator<(K, A)> for Table<T, K> {
    fn from_iter<I: IntoIterator<Item = (K, A)>>(entries: I) -> Self {
        Self(entries.into_iter().map(|(key, object)| (key, Shared(object.into()))).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_that_hold_equal_values_are_equal_whatever_they_share() {
        let one: Table<u32, u32> = (0..100).map(|n| (n, n)).collect();
        let mut other = one.clone();
        assert_eq!(one, other);
        other.insert(7, 7);
        assert_eq!(one, other, "another allocation of the same value");
        assert_eq!(other.changed(&one).collect::<Vec<_>>(), [&7]);
        other.insert(7, 8);
        assert_ne!(one, other);
        other.insert(7, 7);
        other.remove(&9);
        assert_ne!(one, other);
        other.insert(200, 9);
        assert_ne!(one, other);
        assert_eq!(other.iter_from(98).map(|(key, _)| *key).collect::<Vec<_>>(), [98, 99, 200]);
    }
}
