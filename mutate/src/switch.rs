//! Which mutant is on. Copied into every crate that is mutated.
#![allow(missing_docs, dead_code, unused_imports, clippy::all)]

use std::cmp::Ordering;
use std::fs::{File, OpenOptions};
use std::io::Write as _;
use std::iter::Take;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{LazyLock, Mutex};

static CHOSEN: LazyLock<u32> =
    LazyLock::new(|| std::env::var("MUTANT").ok().and_then(|id| id.parse().ok()).unwrap_or(u32::MAX));
static RECORD: LazyLock<Option<Mutex<File>>> = LazyLock::new(|| {
    let path = std::env::var_os("MUTANTS_REACHED")?;
    OpenOptions::new().create(true).append(true).open(path).ok().map(Mutex::new)
});
/// As many as there are, which whoever records says.
static REACHED: LazyLock<Box<[AtomicBool]>> = LazyLock::new(|| {
    let most = std::env::var("MUTANTS_MOST").ok().and_then(|most| most.parse().ok()).unwrap_or(0_usize);
    (0..most).map(|_| AtomicBool::new(false)).collect()
});

/// Whether the code is to behave as mutant `id` does.
pub fn on(id: u32) -> bool {
    if let Some(record) = RECORD.as_ref()
        && !REACHED[id as usize].swap(true, Relaxed)
    {
        let mut record = record.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        let _ = record.write_all(format!("{id}\n").as_bytes());
    }
    *CHOSEN == id
}

/// How many of several are looked at: all, or the first where mutant `id` is on.
pub fn first(id: u32) -> usize {
    if on(id) { 1 } else { usize::MAX }
}

/// How many of several are looked at: all, or none where mutant `id` is on.
pub fn none(id: u32) -> usize {
    if on(id) { 0 } else { usize::MAX }
}

pub mod prelude {
    pub use super::{OfIterator as _, OfOption as _, OfOrd as _, OfOrdering as _, OfSlice as _};
}

pub trait OfIterator: Iterator + Sized {
    fn mutant_first(self, id: u32) -> Take<Self> {
        self.take(first(id))
    }
    fn mutant_any(self, other: u32, few: u32, f: impl FnMut(Self::Item) -> bool) -> bool {
        let mut of = self.take(first(few));
        if on(other) { of.all(f) } else { of.any(f) }
    }
    fn mutant_all(self, other: u32, few: u32, f: impl FnMut(Self::Item) -> bool) -> bool {
        let mut of = self.take(first(few));
        if on(other) { of.any(f) } else { of.all(f) }
    }
    fn mutant_least(self, id: u32) -> Option<Self::Item>
    where
        Self::Item: Ord,
    {
        if on(id) { self.max() } else { self.min() }
    }
    fn mutant_most(self, id: u32) -> Option<Self::Item>
    where
        Self::Item: Ord,
    {
        if on(id) { self.min() } else { self.max() }
    }
    fn mutant_min_by_key<B: Ord>(self, id: u32, f: impl FnMut(&Self::Item) -> B) -> Option<Self::Item> {
        if on(id) { self.max_by_key(f) } else { self.min_by_key(f) }
    }
    fn mutant_max_by_key<B: Ord>(self, id: u32, f: impl FnMut(&Self::Item) -> B) -> Option<Self::Item> {
        if on(id) { self.min_by_key(f) } else { self.max_by_key(f) }
    }
}
impl<I: Iterator> OfIterator for I {}

pub trait OfOption<T>: Sized {
    fn mutant_or(self, id: u32, other: Option<T>) -> Option<T>;
    fn mutant_or_else(self, id: u32, other: impl FnOnce() -> Option<T>) -> Option<T>;
}
impl<T> OfOption<T> for Option<T> {
    fn mutant_or(self, id: u32, other: Option<T>) -> Option<T> {
        if on(id) { self } else { self.or(other) }
    }
    fn mutant_or_else(self, id: u32, other: impl FnOnce() -> Option<T>) -> Option<T> {
        if on(id) { self } else { self.or_else(other) }
    }
}

pub trait OfOrdering {
    fn mutant_then(self, id: u32, other: Ordering) -> Ordering;
    fn mutant_then_with(self, id: u32, other: impl FnOnce() -> Ordering) -> Ordering;
}
impl OfOrdering for Ordering {
    fn mutant_then(self, id: u32, other: Ordering) -> Ordering {
        if on(id) { self } else { self.then(other) }
    }
    fn mutant_then_with(self, id: u32, other: impl FnOnce() -> Ordering) -> Ordering {
        if on(id) { self } else { self.then_with(other) }
    }
}

pub trait OfOrd: Ord + Sized {
    fn mutant_min(self, id: u32, other: Self) -> Self {
        if on(id) { self } else { self.min(other) }
    }
    fn mutant_max(self, id: u32, other: Self) -> Self {
        if on(id) { self } else { self.max(other) }
    }
}
impl<T: Ord> OfOrd for T {}

pub trait OfSlice<T> {
    fn mutant_front(&self, id: u32) -> Option<&T>;
    fn mutant_back(&self, id: u32) -> Option<&T>;
}
impl<T> OfSlice<T> for [T] {
    fn mutant_front(&self, id: u32) -> Option<&T> {
        if on(id) { self.last() } else { self.first() }
    }
    fn mutant_back(&self, id: u32) -> Option<&T> {
        if on(id) { self.first() } else { self.last() }
    }
}
