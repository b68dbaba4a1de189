//! Lines of one header are a list to many readers.

use ir::ValueMatch;

/// An expression for values of which a reader of lists may take one, or all, for `value`.
pub fn in_a_list(value: &ValueMatch) -> String {
    let one = match value {
        ValueMatch::Exact(text) => text
            .split(',')
            .map(|part| regex::escape(part.trim_matches([' ', '\t'])))
            .collect::<Vec<_>>()
            .join("[ \\t]*,[ \\t]*"),
        ValueMatch::Regex(regex) => format!("(?:{regex})"),
    };
    let regex = format!("(?:.*,)?[ \\t]*{one}[ \\t]*(?:,.*)?");
    // What Envoy would not compile is a list all the same.
    if api::envoy::regex::check(&regex).is_ok() { regex } else { ".*,.*".to_owned() }
}
