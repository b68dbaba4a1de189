//! The method: many frameworks take it from a header, or from a parameter of the query, if one says another.
//!
//! What a body says (`_method` in a form) is not looked at.

use ir::{KeyMatch, Match, RequestTarget, Route, ValueMatch};

use super::queries;
use super::treatment::depends_on;

pub const WHY: &str = "this request may have another method for the application (small letters, or a header or parameter that overrides it)";

/// The headers by which frameworks let a request say another method than its own.
pub const OVERRIDES: [&str; 3] = ["x-http-method-override", "x-http-method", "x-method-override"];

/// Which requests are in doubt; none where no policy depends on the method.
pub fn doubtful(routes: &[Route]) -> Vec<Match> {
    // One that asks for no method takes every one.
    let looks = routes.iter().any(|route| route.matches.method.is_some());
    if !looks || !depends_on(routes, |matches| Some(&matches.method)) {
        return Vec::new();
    }
    let header = |name: &str, value: &str| Match {
        headers: vec![KeyMatch { name: name.to_owned(), value: ValueMatch::Regex(value.to_owned()) }],
        ..Match::everything()
    };
    let parameter = |is| Match { target: Some(RequestTarget { is, is_not: None }), ..Match::everything() };
    // HTTP/2 carries any word for a method, which Envoy compares as it is and some frameworks in capitals.
    let small = header(":method", ".*[a-z].*");
    let headers = std::iter::once(small).chain(OVERRIDES.map(|name| header(name, ".*")));
    headers.chain([queries::escaped_name(), queries::has("_method")].map(parameter)).collect()
}
