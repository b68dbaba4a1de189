//! Holding the fields of a good object to what may stand there and what may not.
#![allow(clippy::unwrap_used, missing_docs, dead_code, unreachable_pub)]

use serde_json::Value;
use waykeeper_api::admit;

/// The fields with errors once `value` stands at `pointer`.
pub fn errors(of: &Value, pointer: &str, value: &Value) -> Vec<String> {
    let mut document = of.clone();
    let (parent, last) = pointer.rsplit_once('/').unwrap();
    match document.pointer_mut(parent).unwrap() {
        Value::Array(items) => items[last.parse::<usize>().unwrap()] = value.clone(),
        Value::Object(fields) => drop(fields.insert(last.to_owned(), value.clone())),
        other => panic!("{pointer}: {other}"),
    }
    admit(&document).problems.iter().filter(|problem| problem.is_error()).map(|problem| problem.field.clone()).collect()
}

/// `/spec/rules/0/name` as `spec.rules[0].name`.
fn field(pointer: &str) -> String {
    let part = |part: &str| if part.parse::<usize>().is_ok() { format!("[{part}]") } else { format!(".{part}") };
    pointer.split('/').skip(1).map(part).collect::<String>().trim_start_matches('.').to_owned()
}

/// Holds a field to what may stand there and what may not: an error names it, what is around it or in it.
pub fn hold(of: &Value, pointer: &str, right: &[Value], wrong: &[Value]) {
    for value in right {
        let found = errors(of, pointer, value);
        assert!(found.is_empty(), "{pointer} may be {value}: {found:?}");
    }
    let at = field(pointer);
    for value in wrong {
        let found = errors(of, pointer, value);
        let related = |named: &String| named.starts_with(&at) || at.starts_with(named.as_str());
        assert!(found.iter().any(related), "{pointer} may not be {value}: {found:?}");
    }
}

pub fn x(count: usize) -> Value {
    "x".repeat(count).into()
}

pub fn several(count: usize, one: impl Fn(usize) -> Value) -> Value {
    (0..count).map(one).collect()
}
