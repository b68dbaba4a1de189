//! How Go writes and reads things: JSON, header names, queries, durations.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::Duration;

use serde_json::Value;

/// Named values, several to a name, as Go's `url.Values` and `http.Header`.
pub type Values = BTreeMap<String, Vec<String>>;

/// [`Values`] as JSON.
pub fn values(values: &Values) -> Value {
    values.iter().map(|(name, values)| (name.clone(), Value::from(values.clone()))).collect()
}

/// An object with its fields in the order given, indented by two, with a line end.
pub fn object(fields: &[(&str, Value)]) -> String {
    let mut out = String::from("{");
    for (at, (name, value)) in fields.iter().enumerate() {
        out.push_str(if at == 0 { "\n  " } else { ",\n  " });
        string(&mut out, name);
        out.push_str(": ");
        json(&mut out, value, 1);
    }
    out.push_str(if fields.is_empty() { "}\n" } else { "\n}\n" });
    out
}

fn json(out: &mut String, value: &Value, depth: usize) {
    match value {
        Value::Null => out.push_str("null"),
        Value::Bool(yes) => out.push_str(if *yes { "true" } else { "false" }),
        Value::Number(number) => out.push_str(&float(number.as_f64().unwrap_or(0.0))),
        Value::String(text) => string(out, text),
        Value::Array(items) => list(out, depth, ['[', ']'], items, |out, item| json(out, item, depth + 1)),
        Value::Object(map) => list(out, depth, ['{', '}'], map, |out, (name, value)| {
            string(out, name);
            out.push_str(": ");
            json(out, value, depth + 1);
        }),
    }
}

fn list<T>(
    out: &mut String,
    depth: usize,
    [open, close]: [char; 2],
    items: impl IntoIterator<Item = T>,
    mut write: impl FnMut(&mut String, T),
) {
    out.push(open);
    let mut any = false;
    for item in items {
        out.push_str(if any { ",\n" } else { "\n" });
        any = true;
        out.push_str(&"  ".repeat(depth + 1));
        write(out, item);
    }
    if any {
        out.push('\n');
        out.push_str(&"  ".repeat(depth));
    }
    out.push(close);
}

fn string(out: &mut String, text: &str) {
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\u{8}' => out.push_str("\\b"),
            '\u{c}' => out.push_str("\\f"),
            '\0'..='\u{1f}' | '\u{2028}' | '\u{2029}' => drop(write!(out, "\\u{:04x}", u32::from(c))),
            c => out.push(c),
        }
    }
    out.push('"');
}

/// A number as Go prints a float64: plain between 1e-6 and 1e21, else with an exponent.
fn float(number: f64) -> String {
    let size = number.abs();
    if size != 0.0 && !(1e-6..1e21).contains(&size) {
        let text = format!("{number:e}");
        return if text.contains("e-") { text } else { text.replace('e', "e+") };
    }
    number.to_string()
}

/// `x-request-id` as `X-Request-Id`.
pub fn header_name(name: &str) -> String {
    let mut upper = true;
    let canonical = |c: char| {
        let c = if upper { c.to_ascii_uppercase() } else { c.to_ascii_lowercase() };
        upper = c == '-';
        c
    };
    name.chars().map(canonical).collect()
}

/// Reads `a=1&b=2`; pairs that cannot be read are left out, and counted.
pub fn query(text: &str) -> (Values, usize) {
    let mut values = Values::new();
    let mut unreadable = 0;
    for pair in text.split('&').filter(|pair| !pair.is_empty()) {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        match (unescape(name), unescape(value)) {
            (Some(name), Some(value)) if !pair.contains(';') => values.entry(name).or_default().push(value),
            _ => unreadable += 1,
        }
    }
    (values, unreadable)
}

fn unescape(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'+' => b' ',
            b'%' => hex(rest.next()?)? << 4 | hex(rest.next()?)?,
            other => other,
        });
    }
    Some(String::from_utf8_lossy(&bytes).into_owned())
}

fn hex(digit: u8) -> Option<u8> {
    char::from(digit).to_digit(16).and_then(|digit| u8::try_from(digit).ok())
}

/// Reads `1.5` (seconds) or `1h2m3.5s4ms`.
pub fn duration(text: &str) -> Option<Duration> {
    if let Ok(seconds) = text.parse::<f64>() {
        return Duration::try_from_secs_f64(seconds).ok();
    }
    let mut rest = text.strip_prefix('+').unwrap_or(text);
    let mut total = Duration::ZERO;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| c != '.' && !c.is_ascii_digit())?;
        let (number, tail) = rest.split_at(digits);
        let end = tail.find(|c: char| c == '.' || c.is_ascii_digit()).unwrap_or(tail.len());
        let (unit, tail) = tail.split_at(end);
        let unit = match unit {
            "ns" => 1e-9,
            "us" | "µs" | "μs" => 1e-6,
            "ms" => 1e-3,
            "s" => 1.0,
            "m" => 60.0,
            "h" => 3600.0,
            _ => return None,
        };
        let part = Duration::try_from_secs_f64(number.parse::<f64>().ok()? * unit).ok()?;
        total = total.checked_add(part)?;
        rest = tail;
    }
    (!text.is_empty()).then_some(total)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    #[test]
    fn json_is_indented_by_two_in_the_order_given() {
        let text = object(&[("b", json!({"x": [1, "é<\u{2028}"], "y": {}})), ("a", Value::Null)]);
        assert_eq!(
            text,
            "{\n  \"b\": {\n    \"x\": [\n      1,\n      \"é<\\u2028\"\n    ],\n    \"y\": {}\n  },\n  \"a\": null\n}\n"
        );
        assert_eq!(object(&[]), "{}\n");
    }

    #[test]
    fn numbers_are_floats() {
        let cases = [
            (1.0, "1"),
            (0.1, "0.1"),
            (1e21, "1e+21"),
            (1.5e-7, "1.5e-7"),
            (-0.0, "-0"),
            (1e20, "100000000000000000000"),
        ];
        for (number, text) in cases {
            assert_eq!(float(number), text);
        }
    }

    #[test]
    fn durations_are_seconds_or_have_units() {
        assert_eq!(duration("1.5"), Some(Duration::from_millis(1500)));
        assert_eq!(duration("1m2.5s10ms"), Some(Duration::from_millis(62_510)));
        for bad in ["", "x", "1x", "-1", "-1s", "1s2", "s", "NaN", "1.2.3s"] {
            assert_eq!(duration(bad), None, "{bad}");
        }
    }

    proptest! {
        #[test]
        fn what_is_printed_is_the_json_it_was(text in "\\PC*|[\\x00-\\x7f]*", list in prop::collection::vec(any::<bool>(), 0..4)) {
            let value = json!({"text": text, "list": list, &text: null});
            let printed = object(&[("v", value.clone())]);
            let read: Value = serde_json::from_str(&printed).expect("valid JSON");
            prop_assert_eq!(&read["v"], &value);
        }

        #[test]
        fn no_query_or_duration_makes_the_readers_panic(text in "\\PC*|[0-9a-z%=&;+.µ]*") {
            query(&text);
            duration(&text);
        }
    }
}
