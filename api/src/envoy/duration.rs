//! Times Envoy can wait.

use std::time::Duration;

/// Ten years. Envoy counts nanoseconds in 64 bits and refuses what does not fit; nobody means this much.
pub const LONGEST: Duration = Duration::from_secs(10 * 365 * 24 * 3600);

/// Whether Envoy can wait for `duration`.
pub fn check(duration: Duration) -> Result<(), String> {
    if duration > LONGEST { Err("longer than ten years; write less, or 0s for no limit".to_owned()) } else { Ok(()) }
}
