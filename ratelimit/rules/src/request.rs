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
    // Values may come from clients, and an error may be a pass where Envoy is told to fail open:
    // their length is bounded by the message's size alone. They are hashed; only the names in
    // [`server::explain::book`] keep a little of them for a while.
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
