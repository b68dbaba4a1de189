//! The host: many frameworks take it from a header that proxies write, if one says another.

use ir::{Match, Route, ValueMatch};

use super::treatment::depends_on;

/// The headers in which frameworks look for the host that a client asked for.
pub const OVERRIDES: [&str; 6] =
    ["forwarded", "x-forwarded-host", "x-forwarded-server", "x-host", "x-http-host-override", "x-original-host"];

/// Whether a policy depends on the host.
pub fn decide(routes: &[Route]) -> bool {
    routes.iter().any(|route| looks(&route.matches)) && depends_on(routes, |matches| Some(asked(matches)))
}

/// Whether `matches` looks at the host.
pub fn looks(matches: &Match) -> bool {
    !matches.hosts.is_empty() || asked(matches).1.is_some()
}

/// The hosts that `matches` asks for: by a Gateway, and as a header. One that asks for none takes every one.
fn asked(matches: &Match) -> (&[String], Option<&ValueMatch>) {
    let header = matches.headers.iter().find(|key| key.name.eq_ignore_ascii_case("host"));
    (&matches.hosts, header.map(|key| &key.value))
}
