//! Never: text that panics the rules for what Envoy takes, or an expression that takes long to read.
#![no_main]

use api::envoy::{format, regex, text};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &str| {
    if let Ok(instructions) = regex::check(input) {
        assert!(instructions <= regex::MOST_INSTRUCTIONS);
    }
    let format = format::check(input);
    assert!(format.is_ok() || input.contains('%'), "refused although there is no operator in it");
    for check in [text::value, text::match_path, text::new_path, text::new_host, text::hostname] {
        let _ = check(input);
    }
    if text::match_path(input).is_ok() {
        assert_eq!(text::new_path(input), Ok(()), "a path that may be matched cannot be written");
    }
});
