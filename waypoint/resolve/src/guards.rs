//! What RouteOptions ask for so that requests do not pass freely.

use std::collections::BTreeSet;
use std::fmt;

use api::Name;
use api::gloo::route_option::RouteOptions;

use crate::gloo;

/// Something that a RouteOption asks for so that requests do not pass freely.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Guard {
    /// Authorization by this AuthConfig.
    Auth(Name),
    /// The limits of this RateLimitConfig.
    Limit(Name),
    /// `ratelimitBasic`.
    Basic,
}

impl fmt::Display for Guard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Guard::Auth(name) => write!(f, "AuthConfig {name}"),
            Guard::Limit(name) => write!(f, "RateLimitConfig {name}"),
            Guard::Basic => f.write_str("this ratelimitBasic"),
        }
    }
}

/// What `options` of namespace `home` ask for to guard requests.
pub fn guards(options: &RouteOptions, home: &str) -> BTreeSet<Guard> {
    let auth = options.extauth.iter().filter(|extauth| extauth.disable != Some(true));
    let auth = auth.filter_map(|extauth| Some(Guard::Auth(extauth.config_ref.as_ref()?.resolve(home))));
    let limits = gloo::limits(options).map(|(_, reference)| Guard::Limit(reference.resolve(home)));
    auth.chain(limits).chain(options.ratelimit_basic.as_ref().map(|_| Guard::Basic)).collect()
}
