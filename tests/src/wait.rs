//! Waiting for what must come, with a deadline and the last thing seen.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Calls `look` until it returns `Ok`, at most for `deadline`; panics with the last `Err`.
pub fn eventually<T>(what: &str, deadline: Duration, mut look: impl FnMut() -> Result<T, String>) -> T {
    let start = Instant::now();
    loop {
        match look() {
            Ok(value) => return value,
            Err(last) if start.elapsed() > deadline => {
                panic!("{what}: not within {deadline:?}; last seen: {last}")
            }
            Err(_) => std::thread::sleep(Duration::from_millis(10)),
        }
    }
}

/// Returns when at least `room` of the current UTC minute is left, so that
/// a limit per minute is not reset between two requests.
pub fn fresh_minute(room: Duration) {
    let into = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis() % 60_000;
    let left = Duration::from_millis(u64::try_from(60_000 - into).unwrap());
    if left < room {
        std::thread::sleep(left + Duration::from_millis(5));
    }
}
