//! What a request may hold. More is an error for the caller, never a crash or a silent cut.
//!
//! Only what the owner's configuration decides is bounded here. What a client
//! decides, the length of a value, is not: see [`crate::request`].

/// Descriptors in a request: more than any route that is admitted sends.
pub const MOST_DESCRIPTORS: usize = 2 * api::gloo::rate_limit_config::MOST_DESCRIPTORS_PER_ROUTE;
/// Bytes of a request. Envoy copies a client's header, at most 60 KiB by itself, into each entry that
/// reads it; what the largest route makes of that (15 MiB), with what its RateLimitConfigs write, fits.
pub const MOST_MESSAGE_BYTES: usize = 64 * 1024 * 1024;
/// Entries in a descriptor, the one or two put in front of the user's included.
pub const MOST_ENTRIES: usize = 32;
/// Bytes of a key.
pub const MOST_KEY_BYTES: usize = 1024;
/// Bytes of a domain.
pub const MOST_DOMAIN_BYTES: usize = 256;
