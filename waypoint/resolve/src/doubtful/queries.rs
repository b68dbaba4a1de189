//! Parameters of the query: an application decodes their names, may take the last of several where Envoy takes
//! the first, may part them by `;`, and may not tell capitals.

use std::collections::BTreeSet;

use ir::{Match, RequestTarget, Route, ValueMatch};

use super::treatment::depends_on;

pub const WHY: &str = "a parameter of this request's query may mean something else to the application (written twice, or in another spelling)";

/// The escape of a letter, a digit or one of `-._~`, which nobody has to write.
const NEEDLESS: &str = "%(?:[46][1-9a-fA-F]|[57][0-9aA]|3[0-9]|2[dDeE]|5[fF]|7[eE])";

/// Which requests are in doubt; none where no policy depends on a parameter.
pub fn doubtful(routes: &[Route]) -> Vec<Match> {
    let names: BTreeSet<&str> =
        routes.iter().flat_map(|route| &route.matches.query).map(|key| key.name.as_str()).collect();
    let mut all = Vec::new();
    for name in names {
        let condition = |matches: &Match| -> Option<ValueMatch> {
            matches.query.iter().find(|key| key.name == name).map(|key| key.value.clone())
        };
        if !depends_on(routes, condition) {
            continue;
        }
        let any = spelled(name);
        let part = "(?:=[^&;]*)?";
        let twice = format!("[^?]*\\?(?:.*[&;])?{any}{part}[&;](?:.*[&;])?{any}{part}(?:[&;].*)?");
        let as_written = format!("[^?]*\\?(?:.*&)?{}(?:=.*|&.*)?", regex::escape(name));
        let value = format!("[^?]*\\?(?:.*[&;])?{any}=[^&;]*{NEEDLESS}.*");
        let otherwise = RequestTarget { is: has(name), is_not: Some(as_written) };
        let only = |is| RequestTarget { is, is_not: None };
        all.extend([only(twice), otherwise, only(value)]);
    }
    if !all.is_empty() {
        all.insert(0, RequestTarget { is: escaped_name(), is_not: None });
    }
    all.into_iter().map(|target| Match { target: Some(target), ..Match::everything() }).collect()
}

/// An expression for the targets of requests with a parameter `name`, however it is spelt but for needless escapes.
pub fn has(name: &str) -> String {
    format!("[^?]*\\?(?:.*[&;])?{}(?:[=&;].*)?", spelled(name))
}

/// An expression for the targets of requests with a parameter in whose name something is escaped that need not be.
pub fn escaped_name() -> String {
    format!("[^?]*\\?(?:.*[&;])?[^=&;]*{NEEDLESS}[^=&;]*(?:[=&;].*)?")
}

/// An expression for the name of a parameter as applications may read it: in capitals or not, with blanks before it,
/// which PHP drops, and as a list, `name[]`.
fn spelled(name: &str) -> String {
    let letter = |byte: u8| match char::from(byte) {
        plain if byte.is_ascii_alphanumeric() || b"-.~_".contains(&byte) => regex::escape(&plain.to_string()),
        plain if byte.is_ascii() => {
            let blank = if plain == ' ' { "|\\+" } else { "" };
            format!("(?:{}|%{byte:02X}{blank})", regex::escape(&plain.to_string()))
        }
        _ => format!("%{byte:02X}"),
    };
    let letters: String = name.bytes().map(letter).collect();
    format!("(?i:(?:\\+|%20)*{letters}(?:(?:\\[|%5B)[^=&;]*)?)")
}
