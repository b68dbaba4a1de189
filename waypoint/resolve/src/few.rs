//! A sorted set that mostly holds one: there is one for each of very many Services, and a tree has
//! room for eleven where one stands.

use std::borrow::Borrow;
use std::collections::{BTreeSet, HashMap};
use std::hash::Hash;

/// See the module.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Few<T> {
    /// Nothing.
    #[default]
    None,
    /// One.
    One(T),
    /// Any number.
    Many(BTreeSet<T>),
}

impl<T: Ord> Few<T> {
    /// Adds `value`, if it is not there.
    pub fn insert(&mut self, value: T) {
        *self = match std::mem::take(self) {
            Few::None => Few::One(value),
            Few::One(known) if known == value => Few::One(known),
            Few::One(known) => Few::Many(BTreeSet::from([known, value])),
            Few::Many(mut all) => {
                all.insert(value);
                Few::Many(all)
            }
        };
    }

    /// Takes `value` away, if it is there.
    pub fn remove<Q: Ord + ?Sized>(&mut self, value: &Q)
    where
        T: Borrow<Q>,
    {
        match self {
            Few::None => {}
            Few::One(known) if (*known).borrow() == value => *self = Few::None,
            Few::One(_) => {}
            Few::Many(all) => {
                all.remove(value);
                // What is left alone stands as if the others had never been there.
                if all.len() <= 1 {
                    *self = all.pop_first().map_or(Few::None, Few::One);
                }
            }
        }
    }

    /// Whether there is nothing.
    pub fn is_empty(&self) -> bool {
        self.first().is_none()
    }

    /// The first.
    pub fn first(&self) -> Option<&T> {
        self.iter().next()
    }

    /// All, in order.
    pub fn iter(&self) -> impl Iterator<Item = &T> + Clone {
        let (one, many) = match self {
            Few::None => (None, None),
            Few::One(one) => (Some(one), None),
            Few::Many(many) => (None, Some(many)),
        };
        one.into_iter().chain(many.into_iter().flatten())
    }
}

/// Takes `value` out of what is found under `key`.
pub fn remove_from<K: Eq + Hash, V: Ord>(index: &mut HashMap<K, Few<V>>, key: &K, value: &V) {
    let left = index.get_mut(key).is_some_and(|values| {
        values.remove(value);
        !values.is_empty()
    });
    if !left {
        index.remove(key);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn it_holds_what_a_tree_holds(edits in proptest::collection::vec((any::<bool>(), 0..4_u8), 0..20)) {
            let (mut few, mut tree) = (Few::default(), BTreeSet::new());
            for (come, value) in edits {
                if come {
                    few.insert(value);
                    tree.insert(value);
                } else {
                    few.remove(&value);
                    tree.remove(&value);
                }
                prop_assert!(few.iter().eq(tree.iter()) && few.first() == tree.first());
                let anew = tree.iter().fold(Few::None, |mut few, value| {
                    few.insert(*value);
                    few
                });
                prop_assert_eq!(&few, &anew);
                prop_assert_eq!(few.is_empty(), tree.is_empty());
            }
        }
    }
}
