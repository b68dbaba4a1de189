//! Lengths of time, kept so that they can be shown as a histogram or a summary.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;

/// How lengths of time are shown.
#[derive(Debug, Clone, PartialEq)]
pub enum Shape {
    /// How many are at most so long, for each of these seconds.
    Histogram(Vec<f64>),
    /// How long these shares of them are at most.
    Summary(Vec<f64>),
}

/// The latest calls, whose quantiles a summary shows.
const LATEST: usize = 4_096;

/// Lengths of time seen so far.
#[derive(Debug)]
pub struct Observed {
    /// The bounds, in seconds, and how many were at most so long and longer than the bound before.
    buckets: Vec<(f64, AtomicU64)>,
    count: AtomicU64,
    nanos: AtomicU64,
    /// A ring, for a summary.
    latest: Option<Mutex<Vec<f64>>>,
}

impl Observed {
    /// None seen yet; values are compared with bounds once they are multiplied with `scale`.
    pub fn new(shape: &Shape) -> Observed {
        let (bounds, latest) = match shape {
            Shape::Histogram(bounds) => (bounds.as_slice(), None),
            Shape::Summary(_) => (Default::default(), Some(Mutex::default())),
        };
        let buckets = bounds.iter().map(|bound| (*bound, AtomicU64::new(0))).collect();
        Observed { buckets, count: AtomicU64::new(0), nanos: AtomicU64::new(0), latest }
    }

    /// Adds one; `scale` is what seconds are multiplied with before they are compared.
    pub fn add(&self, took: Duration, scale: f64) {
        let value = took.as_secs_f64() * scale;
        if let Some((_, held)) = self.buckets.iter().find(|(bound, _)| value <= *bound) {
            held.fetch_add(1, Ordering::Relaxed);
        }
        let number = self.count.fetch_add(1, Ordering::Relaxed);
        self.nanos.fetch_add(u64::try_from(took.as_nanos()).unwrap_or(u64::MAX), Ordering::Relaxed);
        if let Some(mut latest) = self.latest.as_ref().and_then(Mutex::try_lock) {
            match usize::try_from(number).ok().and_then(|number| latest.get_mut(number % LATEST)) {
                Some(place) => *place = value,
                None => latest.push(value),
            }
        }
    }

    /// How many, and how long all of them together, in seconds.
    pub fn total(&self) -> (u64, f64) {
        (self.count.load(Ordering::Relaxed), self.nanos.load(Ordering::Relaxed) as f64 / 1e9)
    }

    /// For each bound how many were at most so long.
    pub(crate) fn up_to(&self) -> Vec<(f64, u64)> {
        let mut sum = 0;
        let mut add = |(bound, held): &(f64, AtomicU64)| {
            sum += held.load(Ordering::Relaxed);
            (*bound, sum)
        };
        self.buckets.iter().map(&mut add).collect()
    }

    /// For each share of the latest how long they were at most; not a number while there are none.
    pub(crate) fn quantiles(&self, shares: &[f64]) -> Vec<(f64, f64)> {
        let mut latest = self.latest.as_ref().map(|latest| latest.lock().clone()).unwrap_or_default();
        latest.sort_unstable_by(f64::total_cmp);
        let at = |share: f64| ((latest.len() as f64 * share).ceil() as usize).saturating_sub(1);
        shares.iter().map(|share| (*share, latest.get(at(*share)).copied().unwrap_or(f64::NAN))).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_histogram_counts_what_is_at_most_so_long() {
        let seen = Observed::new(&Shape::Histogram(vec![1.0, 10.0]));
        for millis in [1, 1, 5, 50] {
            seen.add(Duration::from_millis(millis), 1000.0);
        }
        assert_eq!(seen.up_to(), [(1.0, 2), (10.0, 3)]);
        assert_eq!(seen.total().0, 4);
    }

    #[test]
    fn a_summary_knows_the_latest() {
        let seen = Observed::new(&Shape::Summary(vec![0.5]));
        assert!(seen.quantiles(&[0.5])[0].1.is_nan());
        (0..2 * LATEST as u64).for_each(|_| seen.add(Duration::from_secs(100), 1.0));
        (1..=LATEST as u64).for_each(|number| seen.add(Duration::from_millis(number), 1.0));
        assert_eq!(seen.quantiles(&[0.0, 0.5, 1.0]), [(0.0, 0.001), (0.5, 2.048), (1.0, 4.096)]);
    }
}
