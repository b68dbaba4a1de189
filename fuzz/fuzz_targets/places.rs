//! Never: an address, as somebody wrote it, that panics, or whose password is printed.
#![no_main]

use libfuzzer_sys::fuzz_target;
use ratelimit::store::redis::RedisUrl;

fuzz_target!(|text: &str| {
    let _ = waypoint::target::target(text);
    let _ = waypoint::target::host_and_port(text);
    // As it is, and with a password that nothing else has in it.
    let _ = text.parse::<RedisUrl>();
    if text.contains("c4n4ry") {
        return;
    }
    let secret = format!("rediss://user:c4n4ry-c4n4ry@{text}");
    let shown = match secret.parse::<RedisUrl>() {
        Ok(url) => format!("{url} {url:?}"),
        Err(why) => format!("{why} {why:?}"),
    };
    assert!(!shown.contains("c4n4ry"), "{shown}");
});
