//! Latencies, counted in buckets that are each at most 3 % wide.

use std::time::Duration;

/// Buckets within each doubling.
const PARTS: usize = 32;

/// How often each latency was seen.
#[derive(Debug, Clone)]
pub struct Histogram {
    buckets: Vec<u64>,
    sum: u128,
}

impl Default for Histogram {
    fn default() -> Self {
        Self { buckets: vec![0; 64 * PARTS], sum: 0 }
    }
}

impl Histogram {
    /// Adds one of `nanos`.
    pub fn add(&mut self, nanos: u64) {
        self.sum += u128::from(nanos);
        if let Some(bucket) = self.buckets.get_mut(bucket(nanos)) {
            *bucket += 1;
        }
    }

    /// Adds all of `other`.
    pub fn merge(&mut self, other: &Histogram) {
        self.sum += other.sum;
        self.buckets.iter_mut().zip(&other.buckets).for_each(|(into, from)| *into += from);
    }

    /// How many there are.
    pub fn count(&self) -> u64 {
        self.buckets.iter().sum()
    }

    /// The mean.
    pub fn mean(&self) -> Duration {
        let mean = self.sum / u128::from(self.count().max(1));
        Duration::from_nanos(u64::try_from(mean).unwrap_or(u64::MAX))
    }

    /// What the given share of them is not above.
    pub fn quantile(&self, share: f64) -> Duration {
        let rank = (self.count() as f64 * share).ceil() as u64;
        let mut seen = 0;
        let at = self.buckets.iter().position(|count| {
            seen += count;
            seen >= rank.max(1)
        });
        Duration::from_nanos(at.map_or(0, ceiling))
    }
}

fn bucket(nanos: u64) -> usize {
    let parts = PARTS as u64;
    if nanos < parts {
        return nanos as usize;
    }
    let doublings = nanos.ilog2() - parts.ilog2();
    (u64::from(doublings + 1) * parts + (nanos >> doublings) - parts) as usize
}

/// The largest value of a bucket.
fn ceiling(bucket: usize) -> u64 {
    let (doublings, part) = (bucket / PARTS, (bucket % PARTS) as u64);
    match doublings {
        0 => part,
        _ => ((PARTS as u64 + part + 1) << (doublings - 1)) - 1,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_value_is_in_a_bucket_that_ends_at_most_a_thirtieth_above_it() {
        for nanos in (0..5_000).chain([123_456, 9_999_999, 60_000_000_000]) {
            let end = ceiling(bucket(nanos));
            assert!(end >= nanos && end - nanos <= nanos / 30, "{nanos} {end}");
        }
    }

    #[test]
    fn quantiles_are_where_they_should_be() {
        let mut histogram = Histogram::default();
        (1..=100).for_each(|n| histogram.add(n * 1000));
        assert_eq!(histogram.mean(), Duration::from_nanos(50_500));
        assert!((99_000..103_000).contains(&histogram.quantile(0.99).as_nanos()));
        assert!((50_000..52_000).contains(&histogram.quantile(0.5).as_nanos()));
    }
}
