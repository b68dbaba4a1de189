//! Never: reports, in whatever order, that panic the ledger of quotas or have it give more than the limit.
#![no_main]

use std::sync::{Arc, LazyLock};

use libfuzzer_sys::fuzz_target;
use ratelimit::limit::UnixSecs;
use ratelimit::rules::config::{Configs, Index, Scope, WeightScope};
use ratelimit::server::quota::{Bucket, Ledger, StreamId, Usage};
use waykeeper_fuzz::{documents, snapshot};

const LIMIT: u64 = 10;

fn index(limits: &str) -> Index {
    let text = format!(
        "apiVersion: ratelimit.solo.io/v1alpha1\nkind: RateLimitConfig\nmetadata: {{name: q}}\nspec: {{raw: {{setDescriptors: \
         [{{simpleDescriptors: [{{key: user}}], {limits}}}]}}}}\n"
    );
    let snapshot = snapshot(&documents(text.as_bytes()));
    let scope = Scope { domains: Arc::from(["solo.io".into()]), weights: WeightScope::default() };
    let outcome = Configs::new(scope).update(&snapshot);
    assert!(outcome.refused == 0 && snapshot.rate_limit_configs.len() == 1, "the fixture is wrong: {text}");
    outcome.index
}

static INDEXES: LazyLock<[Index; 3]> = LazyLock::new(|| {
    [
        index("rateLimit: {requestsPerUnit: 10, unit: MINUTE}"),
        index("rateLimit: {requestsPerUnit: 10, unit: SECOND, algorithm: tokenBucket, burst: 20}"),
        index("rateLimit: {requestsPerUnit: 10, unit: HOUR, algorithm: slidingWindow}"),
    ]
});

fn bucket(user: u8) -> Bucket {
    [("config", "default.q"), ("user", ["ann", "bob", ""][usize::from(user % 3)])]
        .map(|(key, value)| (key.to_owned(), value.to_owned()))
        .into()
}

// Each step is four bytes: what happens, to which stream and bucket, and two numbers.
fuzz_target!(|bytes: &[u8]| {
    let (first, steps) = bytes.split_first().unwrap_or((&0, &[]));
    let index = &INDEXES[usize::from(first % 3)];
    let mut ledger = Ledger::default();
    let mut streams: Vec<StreamId> = vec![ledger.open()];
    let (domain, mut now) = (Arc::from("solo.io"), 1_700_000_000_u64);
    for step in steps.chunks_exact(4) {
        let stream = streams[usize::from(step[1] >> 2) % streams.len()];
        match step[0] % 5 {
            0 if streams.len() < 8 => streams.push(ledger.open()),
            1 => {
                now = now.saturating_add_signed(i64::from(i16::from_le_bytes([step[2], step[3]])) / 64);
                let _ = ledger.tick(index, UnixSecs(now));
            }
            2 => {
                let _ = ledger.close(stream, UnixSecs(now));
            }
            _ => {
                let usage = Usage { allowed: step[2].into(), denied: (step[3] >> 1).into(), new: step[3] & 1 == 1 };
                let _ = ledger.report(index, stream, &domain, bucket(step[1]), usage, UnixSecs(now));
            }
        }
        for user in 0..3 {
            let shares = ledger.shares_of(&bucket(user));
            // Of a window what was used before anything was assigned counts as given, whatever it was.
            assert!(first % 3 == 0 || shares.iter().sum::<u64>() <= LIMIT, "{shares:?}");
        }
    }
});
