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
/// Which were recorded: as many as there are, which whoever records says.
static REACHED: LazyLock<Box<[AtomicBool]>> = LazyLock::new(places);
/// Which were recorded to mean the same.
static SAME: LazyLock<Box<[AtomicBool]>> = LazyLock::new(places);

fn places() -> Box<[AtomicBool]> {
    let most = std::env::var("MUTANTS_MOST").ok().and_then(|most| most.parse().ok()).unwrap_or(0_usize);
    (0..most).map(|_| AtomicBool::new(false)).collect()
}

/// Writes a line about mutant `id`, once.
fn record(known: &LazyLock<Box<[AtomicBool]>>, id: u32, line: fn(u32) -> String) {
    if let Some(record) = RECORD.as_ref()
        && !known[id as usize].swap(true, Relaxed)
    {
        let mut record = record.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        let _ = record.write_all(line(id).as_bytes());
    }
}

/// Whether the code is to behave as mutant `id` does.
pub fn on(id: u32) -> bool {
    record(&REACHED, id, |id| format!("{id}\n"));
    *CHOSEN == id
}

/// Whether what `I` goes through is one thing at most, by its type: an `Option`, whatever is done to it on the way.
pub fn is_one_at_most<I>() -> bool {
    let mut name = std::any::type_name::<I>();
    loop {
        let Some((outer, inner)) = name.split_once('<') else { return false };
        match outer.strip_prefix("core::") {
            Some(one) if ONE_AT_MOST.contains(&one) => return true,
            Some(adapter) if ADAPTERS.contains(&adapter) => name = inner,
            _ => return false,
        }
    }
}

/// Iterators over one thing at most.
const ONE_AT_MOST: [&str; 5] =
    ["option::Option", "option::IntoIter", "option::Iter", "option::IterMut", "iter::sources::once::Once"];

/// Iterators that yield no more than the one they are made of, which is the first of their parameters.
const ADAPTERS: [&str; 11] = [
    "iter::adapters::cloned::Cloned",
    "iter::adapters::copied::Copied",
    "iter::adapters::enumerate::Enumerate",
    "iter::adapters::filter::Filter",
    "iter::adapters::filter_map::FilterMap",
    "iter::adapters::fuse::Fuse",
    "iter::adapters::inspect::Inspect",
    "iter::adapters::map::Map",
    "iter::adapters::peekable::Peekable",
    "iter::adapters::rev::Rev",
    "iter::adapters::take::Take",
];

/// How many of what `I` goes through are looked at: all, or the first where mutant `id` is on. Where there is
/// one at most the mutant means the same, and whoever records it is told so.
fn first<I>(id: u32) -> usize {
    if RECORD.is_some() && is_one_at_most::<I>() {
        record(&SAME, id, |id| format!("same {id}\n"));
        return usize::MAX;
    }
    if on(id) { 1 } else { usize::MAX }
}

/// All of several, or the first where mutant `id` is on.
pub fn only_first<I: IntoIterator>(id: u32, all: I) -> Take<I::IntoIter> {
    all.into_iter().take(first::<I::IntoIter>(id))
}

/// All of several, or nothing of them where mutant `id` is on.
pub fn nothing_of<I: IntoIterator>(id: u32, all: I) -> Take<I::IntoIter> {
    all.into_iter().take(if on(id) { 0 } else { usize::MAX })
}

pub mod prelude {
    pub use super::{OfIterator as _, OfOption as _, OfOrd as _, OfOrdering as _, OfSlice as _};
}

pub trait OfIterator: Iterator + Sized {
    fn mutant_first(self, id: u32) -> Take<Self> {
        self.take(first::<Self>(id))
    }
    fn mutant_any(self, other: u32, few: u32, f: impl FnMut(Self::Item) -> bool) -> bool {
        let mut of = self.take(first::<Self>(few));
        if on(other) { of.all(f) } else { of.any(f) }
    }
    fn mutant_all(self, other: u32, few: u32, f: impl FnMut(Self::Item) -> bool) -> bool {
        let mut of = self.take(first::<Self>(few));
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
