//! The requests: encoded once, with places for the numbers of rule and key.

use prost::Message as _;
use proto::envoy::extensions::common::ratelimit::v3::RateLimitDescriptor;
use proto::envoy::extensions::common::ratelimit::v3::rate_limit_descriptor::Entry;
use proto::envoy::service::ratelimit::v3::RateLimitRequest;
use waykeeper_bench::load::{Calls, Verdict};

const RULE: &[u8] = b"r#####";
const KEY: &[u8] = b"k#######";

/// Whose rules a server reads, and so what its requests look like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dialect {
    /// Of envoyproxy/ratelimit: the domain names the file.
    Envoy,
    /// Of RateLimitConfig: the first entry names the object.
    Gloo,
}

/// The set of rules a request is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Set {
    /// Limits that are never reached.
    Open,
    /// Limits that each request goes over by itself: it stands for two hits, and one is allowed.
    Shut,
    /// Limits by the second, whose counters end soon.
    Brief,
}

impl Set {
    /// All of them.
    pub const ALL: [Set; 3] = [Set::Open, Set::Shut, Set::Brief];

    /// Its name in files and requests.
    pub fn name(self) -> &'static str {
        match self {
            Set::Open => "open",
            Set::Shut => "shut",
            Set::Brief => "brief",
        }
    }
}

/// Which requests are made.
#[derive(Debug, Clone, Copy)]
pub struct Shape {
    /// Descriptors of each.
    pub descriptors: u32,
    /// Different values.
    pub keys: u32,
    /// Rules of a set.
    pub rules: u32,
    /// In ten requests, how many are refused.
    pub refused_in_ten: u64,
    /// The set of those that are not.
    pub set: Set,
    /// Whether values come one after the other, each once, rather than at random.
    pub counting: bool,
}

/// An endless row of requests.
#[derive(Debug, Clone)]
pub struct Messages {
    shape: Shape,
    pass: Template,
    refuse: Template,
    random: u64,
    made: u64,
    number: u64,
    step: u64,
}

#[derive(Debug, Clone)]
struct Template {
    bytes: Vec<u8>,
    rules: Vec<usize>,
    keys: Vec<usize>,
}

impl Messages {
    /// Of the given shape, in the words of a dialect, for so many connections.
    pub fn new(shape: Shape, dialect: Dialect, connections: usize) -> Messages {
        Messages {
            shape,
            pass: Template::new(dialect, shape.set, shape.descriptors),
            refuse: Template::new(dialect, Set::Shut, shape.descriptors),
            random: 1,
            made: 0,
            number: 0,
            step: connections as u64,
        }
    }
}

impl Calls for Messages {
    const PATH: &'static str = "/envoy.service.ratelimit.v3.RateLimitService/ShouldRateLimit";

    fn numbered(&self, number: usize) -> Messages {
        let random = 0x9e37_79b9_7f4a_7c15_u64.wrapping_mul(number as u64 + 1);
        Messages { random, number: number as u64, ..self.clone() }
    }

    fn next(&mut self) -> &[u8] {
        let keys = u64::from(self.shape.keys);
        let key = if self.shape.counting {
            (self.number + self.made * self.step) % keys
        } else {
            self.random ^= self.random << 13;
            self.random ^= self.random >> 7;
            self.random ^= self.random << 17;
            (self.random >> 16) % keys
        };
        let refuse = self.made % 10 < self.shape.refused_in_ten;
        self.made += 1;
        let template = if refuse { &mut self.refuse } else { &mut self.pass };
        template.fill(key, u64::from(self.shape.rules));
        &template.bytes
    }

    /// Field 1 is the overall code.
    fn verdict(answer: &[u8]) -> Verdict {
        match answer {
            [8, 1, ..] => Verdict::Pass,
            [8, 2, ..] => Verdict::Refuse,
            _ => Verdict::Neither,
        }
    }
}

impl Template {
    fn new(dialect: Dialect, set: Set, descriptors: u32) -> Template {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let own = Entry { key: text(RULE), value: text(KEY) };
        let (domain, entries) = match dialect {
            Dialect::Envoy => (set.name().to_owned(), vec![own]),
            Dialect::Gloo => {
                let object = Entry { key: "generic_key".to_owned(), value: format!("bench.{}", set.name()) };
                ("solo.io".to_owned(), vec![object, own])
            }
        };
        let descriptor = RateLimitDescriptor { entries, ..RateLimitDescriptor::default() };
        let hits_addend = if set == Set::Shut { 2 } else { 1 };
        let request = RateLimitRequest { domain, descriptors: vec![descriptor; descriptors as usize], hits_addend };
        let mut bytes = vec![0];
        bytes.extend_from_slice(&u32::try_from(request.encoded_len()).unwrap_or(0).to_be_bytes());
        bytes.extend_from_slice(&request.encode_to_vec());
        let places = |of: &[u8]| {
            bytes.windows(of.len()).enumerate().filter(|(_, window)| *window == of).map(|(at, _)| at + 1).collect()
        };
        Template { rules: places(RULE), keys: places(KEY), bytes }
    }

    /// The descriptors of a request meet rules that follow each other, so that no counter is hit twice.
    fn fill(&mut self, key: u64, rules: u64) {
        for (number, (rule_at, key_at)) in self.rules.iter().zip(&self.keys).enumerate() {
            let rule = (key.wrapping_mul(7919) + number as u64) % rules;
            digits(self.bytes.get_mut(*rule_at..rule_at + RULE.len() - 1), rule);
            digits(self.bytes.get_mut(*key_at..key_at + KEY.len() - 1), key);
        }
    }
}

fn digits(places: Option<&mut [u8]>, mut number: u64) {
    for place in places.into_iter().flatten().rev() {
        *place = b'0' + (number % 10) as u8;
        number /= 10;
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn nine_in_ten_are_for_the_rules_that_refuse_and_all_are_well_formed() {
        let shape =
            Shape { descriptors: 8, keys: 1_000_000, rules: 10, refused_in_ten: 9, set: Set::Open, counting: false };
        let mut messages = Messages::new(shape, Dialect::Envoy, 1).numbered(0);
        let requests: Vec<_> = (0..10).map(|_| RateLimitRequest::decode(&messages.next()[5..]).unwrap()).collect();
        assert_eq!(requests.iter().filter(|request| request.domain == "shut").count(), 9);
        for request in requests {
            let mut rules: Vec<_> = request.descriptors.iter().map(|one| one.entries[0].key.clone()).collect();
            rules.sort();
            rules.dedup();
            assert_eq!(rules.len(), 8);
            let value = &request.descriptors[0].entries[0].value;
            assert!(value.len() == 8 && value[1..].parse::<u32>().is_ok(), "{value}");
        }
    }
}
