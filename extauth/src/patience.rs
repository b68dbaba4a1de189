//! By when Envoy must have its answer: what it says itself in `grpc-timeout`, less what the way back takes.

use std::time::{Duration, Instant};

use tonic::metadata::MetadataMap;

/// How long whoever names no time waits, and the most that anybody does.
const MOST: Duration = Duration::from_secs(10);

/// When the answer to a call that comes in `now` must be ready.
pub fn deadline(metadata: &MetadataMap, now: Instant) -> Instant {
    let named = metadata.get("grpc-timeout").and_then(|value| value.to_str().ok()).and_then(read);
    let waits = named.unwrap_or(MOST).min(MOST);
    // An eighth is for the way back: of Envoy's usual 200 ms, 25.
    now + (waits - waits / 8)
}

/// At most eight digits and a unit, as gRPC writes a duration.
fn read(text: &str) -> Option<Duration> {
    let (digits, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    let all_digits = (1..=8).contains(&digits.len()) && digits.bytes().all(|byte| byte.is_ascii_digit());
    let number: u64 = all_digits.then(|| digits.parse().ok()).flatten()?;
    match unit {
        "H" => Some(Duration::from_secs(number * 3600)),
        "M" => Some(Duration::from_secs(number * 60)),
        "S" => Some(Duration::from_secs(number)),
        "m" => Some(Duration::from_millis(number)),
        "u" => Some(Duration::from_micros(number)),
        "n" => Some(Duration::from_nanos(number)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_envoy_waits_is_read_and_bounded() {
        let now = Instant::now();
        let waits = |text: &'static str| {
            let mut metadata = MetadataMap::new();
            metadata.insert("grpc-timeout", tonic::metadata::MetadataValue::from_static(text));
            deadline(&metadata, now).saturating_duration_since(now)
        };
        assert_eq!(waits("200m"), Duration::from_millis(175));
        assert_eq!((waits("8S"), waits("80000u")), (Duration::from_secs(7), Duration::from_millis(70)));
        assert_eq!(
            (waits("80000000n"), waits("1M"), waits("1H")),
            (Duration::from_millis(70), MOST / 8 * 7, MOST / 8 * 7)
        );
        let most = Duration::from_millis(8750);
        for text in ["99999999H", "", "m", "-1m", "1", "123456789m", "1x", "1\u{20}m"] {
            assert_eq!(waits(text), most, "{text:?}");
        }
        assert_eq!(deadline(&MetadataMap::new(), now).saturating_duration_since(now), most);
    }
}
