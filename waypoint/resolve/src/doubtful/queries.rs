//! Parameters of the query: an application decodes their names, may take the last of several where Envoy takes
//! the first, may part them by `;`, and may not tell capitals.

use std::collections::BTreeSet;

use ir::{Match, RequestTarget, Route, ValueMatch};

use super::escapes::{self, Spelling};
use super::treatment::depends_on;

pub const WHY: &str = "a parameter of this request's query may mean something else to the application (written twice, or in another spelling)";

/// The escape of a letter, a digit or one of `-._~`, which nobody has to write.
const NEEDLESS: &str = "%(?:[46][1-9a-fA-F]|[57][0-9aA]|3[0-9]|2[dDeE]|5[fF]|7[eE])";

/// How the characters of a parameter's value are written.
pub(super) const SPELLING: Spelling =
    Spelling { either: "!\"$'()*+,/:<=>?@[\\]^`{|}", escaped: " #%&;", blank: Some('+') };

/// A longer name would make expressions that Envoy does not compile.
const LONGEST_SPELLED: usize = 40;

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
        let only = |is| RequestTarget { is, is_not: None };
        if name.len() > LONGEST_SPELLED {
            let alone = format!("[^?]*\\?{}=[^&;]*", regex::escape(name));
            all.push(RequestTarget { is: "[^?]*\\?.+".to_owned(), is_not: Some(alone) });
            continue;
        }
        let any = spelled(name);
        let part = "(?:=[^&;]*)?";
        let twice = format!("[^?]*\\?(?:.*[&;])?{any}{part}[&;](?:.*[&;])?{any}{part}(?:[&;].*)?");
        let as_written = format!("[^?]*\\?(?:.*&)?{}(?:=.*|&.*)?", regex::escape(name));
        let value_with = |escapes: &str| format!("[^?]*\\?(?:.*[&;])?{any}=[^&;]*(?:{escapes}).*");
        let value = value_with(&format!("{NEEDLESS}|{}", escapes::NO_CHARACTER));
        let otherwise = RequestTarget { is: has(name), is_not: Some(as_written) };
        all.extend([only(twice), otherwise, only(value)]);
        let regexes = routes.iter().flat_map(|route| &route.matches.query).filter(|key| key.name == name);
        let regexes = regexes.filter_map(|key| match &key.value {
            ValueMatch::Regex(regex) => Some(regex.as_str()),
            ValueMatch::Exact(_) => None,
        });
        let missed = escapes::missed(regexes, SPELLING);
        all.extend(missed.map(|escapes| only(value_with(&escapes))));
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

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use api::{Kind, ObjectRef};
    use ir::{Action, Auth, Forward, KeyMatch, Name, Policy};
    use proptest::prelude::*;

    use super::*;

    /// A rule for `name=value` that asks for authorization, and one for the rest that does not.
    fn table(name: &str) -> Vec<Route> {
        let forward = Forward::to(vec![]);
        let route = |query: Vec<KeyMatch>, auth: Option<Auth>| Route {
            name: "r".to_owned(),
            matches: Match { query, ..Match::everything() },
            action: Action::Forward(forward.clone()),
            policy: Policy { auth, ..Policy::default() },
            origins: BTreeSet::from([ObjectRef::new(Kind::HttpRoute, "t", "r")]),
        };
        let key = KeyMatch { name: name.to_owned(), value: ValueMatch::Exact("v".to_owned()) };
        let auth = Auth { config: Name::new("t", "keys"), user_header: "x-user-id".to_owned(), reads: None };
        vec![route(vec![key], Some(auth)), route(vec![], None)]
    }

    fn refused(table: &[Route], target: &str) -> bool {
        let is = |regex: &str| regex::Regex::new(&format!("^(?:{regex})$")).is_ok_and(|regex| regex.is_match(target));
        let targets = doubtful(table).into_iter().filter_map(|matches| matches.target);
        targets.into_iter().any(|target| is(&target.is) && !target.is_not.is_some_and(|other| is(&other)))
    }

    /// What an expression for one parameter does not see is in doubt in that one, and in no other.
    #[test]
    fn an_escape_is_in_doubt_in_the_parameter_of_which_an_expression_decides() {
        let mut table = table("a");
        let mut other = table[0].clone();
        other.matches.query = vec![KeyMatch { name: "b".to_owned(), value: ValueMatch::Regex("x!.*".to_owned()) }];
        table.insert(0, other);
        assert!(refused(&table, "/p?b=x%21"));
        assert!(!refused(&table, "/p?a=x%21"));
        assert!(!refused(&table, "/p?c=x%21"));
    }

    /// What is not ASCII comes escaped, in whichever case.
    #[test]
    fn a_name_of_other_letters_is_known_by_its_escapes() {
        let table = table("ü");
        assert!(!refused(&table, "/p?x=1"));
        for twice in ["/p?%C3%BC=v&%C3%BC=w", "/p?%c3%bc=v&%C3%BC=w"] {
            assert!(refused(&table, twice), "{twice}");
        }
    }

    /// A blank has three spellings in a query; what is none has no more than anywhere.
    #[test]
    fn a_blank_may_be_a_plus() {
        let missed = |regex: &str| escapes::missed([regex].into_iter(), SPELLING);
        for (regex, expected) in [
            ("a", None),
            ("a b", Some(r"%20|\+")),
            (r"a\+b", Some("%20|%2[bB]")),
            ("a%20b", Some(r"\+")),
            ("a%2[bB]b", None),
            ("[a]", None),
        ] {
            assert_eq!(missed(regex).as_deref(), expected, "{regex}");
        }
    }

    proptest! {
        /// A query with the parameter once, as it is written, is passed on; with any letter of its name escaped or in
        /// capitals, or with it a second time, it is not.
        #[test]
        fn a_parameter_is_there_once_and_as_it_is_written(name in "[a-z][a-z0-9_.-]{0,11}", at in 0..12_usize, before in "(q=[a-z]{0,3}&)?", value in "[a-z]{0,3}") {
            let table = table(&name);
            let plain = format!("/p?{before}{name}={value}");
            if !before.starts_with(&format!("{name}=")) {
                prop_assert!(!refused(&table, &plain), "{plain}");
            }
            let at = at % name.len();
            let byte = name.as_bytes()[at];
            for letter in [format!("%{byte:02x}"), format!("%{byte:02X}"), char::from(byte).to_uppercase().to_string()] {
                let spelt = format!("{}{letter}{}", &name[..at], &name[at + 1..]);
                if spelt != name {
                    for query in [format!("{before}{spelt}={value}"), format!("{before}{name}={value}&{spelt}=v"), format!("a;{spelt}")] {
                        prop_assert!(refused(&table, &format!("/p?{query}")), "{query}");
                    }
                }
            }
            let twice = format!("{plain}&x&{name}=v");
            prop_assert!(refused(&table, &twice), "{twice}");
        }

        #[test]
        fn envoy_compiles_what_is_made_of_any_name(name in "[!#$%&'*+.^_`|~0-9A-Za-z-]{1,256}") {
            for matches in doubtful(&table(&name)) {
                let target = matches.target.expect("a target");
                for regex in [Some(target.is), target.is_not].into_iter().flatten() {
                    prop_assert!(api::envoy::regex::check(&regex).is_ok(), "{regex}");
                }
            }
        }
    }
}
