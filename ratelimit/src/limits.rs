//! What a request may hold. More is an error for the caller, never a crash or a silent cut.
//!
//! Only what the owner's configuration decides is bounded here. What a client
//! decides, the length of a value, is not: see [`crate::request`].

/// Descriptors in a request.
pub const MOST_DESCRIPTORS: usize = 64;
/// Entries in a descriptor, the one or two put in front of the user's included.
pub const MOST_ENTRIES: usize = 32;
/// Bytes of a key.
pub const MOST_KEY_BYTES: usize = 1024;
/// Bytes of a domain.
pub const MOST_DOMAIN_BYTES: usize = 256;
