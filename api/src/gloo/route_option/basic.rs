//! The words in which `ratelimitBasic` describes a request, as Gloo chose them:
//! the control plane sends them, the rate-limit service knows them.

/// Value of `header_match`, before [`USER`], where authorization named a user.
pub const AUTHENTICATED: &str = "is-authenticated";
/// Value of `header_match`, before `remote_address`, where nobody is known.
pub const ANONYMOUS: &str = "not-authenticated";
/// The key of the user's name.
pub const USER: &str = "userid";
