//! The door: Envoy's message becomes a [`Request`] that borrows from it, or is refused.

use api::gloo::rate_limit_config::Unit;
use proto::envoy::extensions::common::ratelimit::v3 as pb_common;
use proto::envoy::service::ratelimit::v3 as pb;

use crate::bounds;
use limit::{Change, Limit};

/// Entries of a descriptor, in order.
pub type Entries<'a> = &'a [pb_common::rate_limit_descriptor::Entry];

/// What is asked: is there room for this?
#[derive(Debug, Clone)]
pub struct Request<'a> {
    /// Which set of rules is meant; not empty.
    pub domain: &'a str,
    /// At least one.
    pub descriptors: Vec<Descriptor<'a>>,
}

/// One description of the request.
#[derive(Debug, Clone, Copy)]
pub struct Descriptor<'a> {
    /// Keys and values; at least one.
    pub entries: Entries<'a>,
    /// A limit to use instead of the rule's.
    pub limit: Option<Limit>,
    /// What to do to the counters.
    pub change: Change,
}

/// Why a request is not answered.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    /// No domain.
    #[error("rate limit domain must not be empty")]
    NoDomain,
    /// No descriptors.
    #[error("rate limit descriptor list must not be empty")]
    NoDescriptors,
    /// A descriptor without entries.
    #[error("descriptor {0} has no entries")]
    NoEntries(usize),
    /// An entry without key.
    #[error("entry {1} of descriptor {0} has an empty key")]
    NoKey(usize, usize),
    /// Something is larger than [`bounds`] allow.
    #[error("too large: {what} is {size}, at most {most} is allowed")]
    TooLarge {
        /// What of it.
        what: &'static str,
        /// How large it is.
        size: usize,
        /// How large it may be.
        most: usize,
    },
}

impl<'a> Request<'a> {
    /// Reads `message`.
    ///
    /// # Errors
    /// When it is not a request we can answer.
    pub fn read(message: &'a pb::RateLimitRequest) -> Result<Request<'a>, Malformed> {
        Self::read_with(message, Empty::Refused)
    }

    /// Reads `message` as envoyproxy/ratelimit does: what is empty matches nothing, and is no mistake.
    ///
    /// # Errors
    /// When it is not a request we can answer.
    pub fn read_leniently(message: &'a pb::RateLimitRequest) -> Result<Request<'a>, Malformed> {
        Self::read_with(message, Empty::Allowed)
    }

    fn read_with(message: &'a pb::RateLimitRequest, empty: Empty) -> Result<Request<'a>, Malformed> {
        if message.domain.is_empty() {
            return Err(Malformed::NoDomain);
        }
        if message.descriptors.is_empty() {
            return Err(Malformed::NoDescriptors);
        }
        bounded("the domain's length", message.domain.len(), bounds::MOST_DOMAIN_BYTES)?;
        bounded("the number of descriptors", message.descriptors.len(), bounds::MOST_DESCRIPTORS)?;
        // Envoy leaves the field out for one hit.
        let default_hits = message.hits_addend.max(1);
        let descriptors = message
            .descriptors
            .iter()
            .enumerate()
            .map(|(index, descriptor)| read_descriptor(index, descriptor, default_hits, empty))
            .collect::<Result<_, _>>()?;
        Ok(Request { domain: &message.domain, descriptors })
    }
}

/// What becomes of descriptors without entries, and of entries without key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Empty {
    Refused,
    Allowed,
}

fn read_descriptor(
    index: usize,
    message: &pb_common::RateLimitDescriptor,
    default_hits: u32,
    empty: Empty,
) -> Result<Descriptor<'_>, Malformed> {
    if message.entries.is_empty() && empty == Empty::Refused {
        return Err(Malformed::NoEntries(index));
    }
    bounded("the number of entries of a descriptor", message.entries.len(), bounds::MOST_ENTRIES)?;
    // Values may come from clients. A long one is not an error, since Envoy may be told to let requests pass
    // on errors: only the message's size bounds its length. They are hashed; only the
    // server's book of counters keeps a little of them for a while.
    for (at, entry) in message.entries.iter().enumerate() {
        if entry.key.is_empty() && empty == Empty::Refused {
            return Err(Malformed::NoKey(index, at));
        }
        bounded("the length of a key", entry.key.len(), bounds::MOST_KEY_BYTES)?;
    }
    // A limit is a uint32: more hits than that are as good as that many.
    let hits = message.hits_addend.as_ref().map_or(default_hits, |hits| u32::try_from(hits.value).unwrap_or(u32::MAX));
    let change = if message.is_negative_hits { Change::Refund(hits) } else { Change::Add(hits) };
    // An override whose unit is unknown is no override: the rule's own limit holds.
    let limit =
        message.limit.as_ref().and_then(|limit| Limit::new(limit.requests_per_unit, Unit::of_number(limit.unit)?));
    Ok(Descriptor { entries: &message.entries, limit, change })
}

fn bounded(what: &'static str, size: usize, most: usize) -> Result<(), Malformed> {
    if size > most { Err(Malformed::TooLarge { what, size, most }) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use pb_common::RateLimitDescriptor;
    use pb_common::rate_limit_descriptor::{Entry, RateLimitOverride};
    use proto::google::protobuf::UInt64Value;

    use super::*;

    fn entry(key: &str) -> Entry {
        Entry { key: key.to_owned(), value: "v".to_owned() }
    }

    fn descriptor(keys: &[&str]) -> RateLimitDescriptor {
        RateLimitDescriptor { entries: keys.iter().map(|key| entry(key)).collect(), ..Default::default() }
    }

    fn message(descriptors: Vec<RateLimitDescriptor>) -> pb::RateLimitRequest {
        pb::RateLimitRequest { domain: "d".into(), descriptors, hits_addend: 0 }
    }

    #[test]
    fn what_is_empty_is_refused_wherever_it_stands_and_matches_nothing_for_those_who_ask_leniently() {
        let refused = |message: &pb::RateLimitRequest| Request::read(message).unwrap_err();
        let whole = message(vec![descriptor(&["a"]), descriptor(&["a", "b"])]);
        assert_eq!(Request::read(&whole).unwrap().descriptors.len(), 2);
        let nowhere = pb::RateLimitRequest { domain: String::new(), ..whole.clone() };
        assert_eq!(refused(&nowhere), Malformed::NoDomain);
        assert_eq!(refused(&message(vec![])), Malformed::NoDescriptors);
        let second = message(vec![descriptor(&["a"]), descriptor(&[])]);
        assert_eq!(refused(&second), Malformed::NoEntries(1));
        let keyless = message(vec![descriptor(&["a"]), descriptor(&["a", ""])]);
        assert_eq!(refused(&keyless), Malformed::NoKey(1, 1));
        for lenient in [&second, &keyless] {
            assert_eq!(Request::read_leniently(lenient).unwrap().descriptors.len(), 2);
        }
        for none in [&nowhere, &message(vec![])] {
            assert!(Request::read_leniently(none).is_err());
        }
    }

    #[test]
    fn as_much_as_is_allowed_is_read_and_one_more_is_not() {
        let domain =
            |bytes: usize| pb::RateLimitRequest { domain: "d".repeat(bytes), ..message(vec![descriptor(&["a"])]) };
        let many = |descriptors: usize| message(vec![descriptor(&["a"]); descriptors]);
        let entries = |entries: usize| message(vec![descriptor(&["a"]), descriptor(&vec!["a"; entries])]);
        let key = |bytes: usize| message(vec![descriptor(&["a", &"k".repeat(bytes)])]);
        for (most, make) in [
            (bounds::MOST_DOMAIN_BYTES, &domain as &dyn Fn(usize) -> pb::RateLimitRequest),
            (bounds::MOST_DESCRIPTORS, &many),
            (bounds::MOST_ENTRIES, &entries),
            (bounds::MOST_KEY_BYTES, &key),
        ] {
            let (whole, larger) = (make(most), make(most + 1));
            assert!(Request::read(&whole).is_ok() && Request::read_leniently(&whole).is_ok(), "{most}");
            for refused in [Request::read(&larger), Request::read_leniently(&larger)] {
                let refused = refused.unwrap_err();
                assert!(
                    matches!(refused, Malformed::TooLarge { size, most: told, .. } if (size, told) == (most + 1, most))
                );
            }
        }
        // A value is the client's: however long, it is counted.
        let mut long = message(vec![descriptor(&["a"])]);
        long.descriptors[0].entries[0].value = "v".repeat(1 << 20);
        assert!(Request::read(&long).is_ok());
    }

    #[test]
    fn each_descriptor_has_its_own_hits_and_its_own_limit() {
        let hits = |value: u64| Some(UInt64Value { value });
        let limit = |unit: i32| Some(RateLimitOverride { requests_per_unit: 7, unit });
        let mut asked = message(vec![descriptor(&["a"]); 6]);
        asked.descriptors[1].hits_addend = hits(0);
        asked.descriptors[2].hits_addend = hits(5);
        asked.descriptors[3].hits_addend = hits(5);
        asked.descriptors[3].is_negative_hits = true;
        asked.descriptors[4].hits_addend = hits(u64::MAX);
        asked.descriptors[4].limit = limit(Unit::Minute.number());
        asked.descriptors[5].limit = limit(99);
        for (addend, usual) in [(0, 1), (1, 1), (3, 3)] {
            asked.hits_addend = addend;
            let read = Request::read(&asked).unwrap();
            let changes: Vec<_> = read.descriptors.iter().map(|descriptor| descriptor.change).collect();
            let most = Change::Add(u32::MAX);
            let expected =
                [Change::Add(usual), Change::Add(0), Change::Add(5), Change::Refund(5), most, Change::Add(usual)];
            assert_eq!(changes, expected);
            let limits: Vec<_> = read.descriptors.iter().map(|descriptor| descriptor.limit).collect();
            assert_eq!(limits, [None, None, None, None, Limit::new(7, Unit::Minute), None]);
        }
    }
}
