//! Never: a mapping of statistics that panics, or that makes a name into something a metrics page cannot hold.
#![no_main]

use libfuzzer_sys::fuzz_target;
use ratelimit::dropin::mapping::{Kind, file};

fuzz_target!(|text: &str| {
    let Ok(mapping) = file::read(text) else { return };
    // What stands in the file is a good start for the names it is to match.
    let names = text.split(|c: char| c.is_whitespace() || c == '"').filter(|word| !word.is_empty()).take(16);
    for name in names.chain(["ratelimit.service.rate_limit.domain.key_value.total_hits"]) {
        for kind in [Kind::Counter, Kind::Gauge, Kind::Observer] {
            let Some(series) = mapping.series(name, kind) else { continue };
            let fits = |text: &str| {
                let mut chars = text.chars();
                chars.next().is_some_and(|c| c.is_ascii_alphabetic() || c == '_' || c == ':')
                    && chars.all(|c| c.is_ascii_alphanumeric() || c == '_' || c == ':')
            };
            assert!(fits(&series.name), "{name:?} became {:?}", series.name);
            assert!(series.labels.iter().all(|(label, _)| fits(label)), "{:?}", series.labels);
        }
    }
});
