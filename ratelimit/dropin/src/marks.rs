//! What decoding leaves out of a file: where everything stands, and which scalars are in quotes.

use saphyr_parser::{Event, Parser, ScalarStyle, Span};

/// Deeper than any file of ours: an end to the looking.
const MOST_DEPTH: usize = 100;

/// Line and column, both from 1.
pub type Position = (usize, usize);

/// One node of a file.
#[derive(Debug, Clone)]
pub struct Mark {
    /// Where it begins.
    pub at: Position,
    /// What it is.
    pub what: What,
}

/// What a node is.
#[derive(Debug, Clone)]
pub enum What {
    /// A scalar, and whether it stands there without quotes.
    Scalar(String, bool),
    /// Keys and values, in order.
    Mapping(Vec<(Mark, Mark)>),
    /// Items.
    Sequence(Vec<Mark>),
    /// What stands elsewhere.
    Alias,
}

/// The first document of `text`, as far as it can be read.
pub fn first(text: &str) -> Option<Mark> {
    let mut open: Vec<Mark> = Vec::new();
    // Of each mapping that is open, the key whose value comes next.
    let mut keys: Vec<Option<Mark>> = Vec::new();
    for event in Parser::new_from_str(text) {
        let (event, span) = event.ok()?;
        let at = position(span);
        let node = match event {
            Event::MappingStart(..) | Event::SequenceStart(..) => {
                let mapping = matches!(event, Event::MappingStart(..));
                let what = if mapping { What::Mapping(Vec::new()) } else { What::Sequence(Vec::new()) };
                open.push(Mark { at, what });
                keys.push(None);
                if open.len() > MOST_DEPTH {
                    return None;
                }
                continue;
            }
            Event::MappingEnd | Event::SequenceEnd => {
                keys.pop();
                open.pop()?
            }
            Event::Scalar(text, style, ..) => {
                Mark { at, what: What::Scalar(text.into_owned(), style == ScalarStyle::Plain) }
            }
            Event::Alias(_) => Mark { at, what: What::Alias },
            _ => continue,
        };
        match (open.last_mut().map(|parent| &mut parent.what), keys.last_mut()) {
            (Some(What::Mapping(entries)), Some(key)) => match key.take() {
                Some(key) => entries.push((key, node)),
                None => *key = Some(node),
            },
            (Some(What::Sequence(items)), _) => items.push(node),
            _ => return Some(node),
        }
    }
    None
}

fn position(span: Span) -> Position {
    (span.start.line(), span.start.col() + 1)
}

impl Mark {
    /// The value of `key`.
    pub fn get(&self, key: &str) -> Option<&Mark> {
        let What::Mapping(entries) = &self.what else { return None };
        let found = entries.iter().find(|(known, _)| matches!(&known.what, What::Scalar(text, _) if text == key));
        found.map(|(_, value)| value)
    }

    /// The item of this number.
    pub fn item(&self, number: usize) -> Option<&Mark> {
        let What::Sequence(items) = &self.what else { return None };
        items.get(number)
    }

    /// Where `path` (`descriptors[0].rate_limit.unit`) stands, or the nearest thing around it.
    pub fn find(&self, path: &str) -> Position {
        let (mut at, mut node, mut rest) = (self.at, self, path);
        while !rest.is_empty() {
            let next = match &node.what {
                What::Mapping(entries) => {
                    let path = rest.strip_prefix('.').unwrap_or(rest);
                    // Keys may hold dots themselves: the longest that fits.
                    let fitting = entries.iter().filter_map(|(key, value)| {
                        let What::Scalar(text, _) = &key.what else { return None };
                        let rest = path.strip_prefix(text.as_str())?;
                        (rest.is_empty() || rest.starts_with(['.', '['])).then_some((key.at, value, rest))
                    });
                    fitting.min_by_key(|(_, _, rest)| rest.len())
                }
                What::Sequence(items) => {
                    rest.strip_prefix('[').and_then(|rest| rest.split_once(']')).and_then(|(number, rest)| {
                        let item = items.get(number.parse::<usize>().ok()?)?;
                        Some((item.at, item, rest))
                    })
                }
                What::Scalar(..) | What::Alias => None,
            };
            let Some(found) = next else { return at };
            (at, node, rest) = found;
        }
        at
    }

    /// Reads scalars without quotes in `value`, which is what this node was decoded to, as YAML 1.1 does.
    pub(crate) fn as_yaml_1_1(&self, value: &mut serde_norway::Value) {
        use serde_norway::Value;
        match (&self.what, value) {
            (What::Scalar(text, true), value @ Value::String(_)) => {
                if let Some(other) = scalar_of_yaml_1_1(text) {
                    *value = other;
                }
            }
            (What::Mapping(entries), Value::Mapping(mapping)) => {
                for (key, value) in mapping.iter_mut() {
                    let found = entries.iter().find(|(known, _)| {
                        matches!((&known.what, key), (What::Scalar(text, _), Value::String(key)) if text == key)
                    });
                    if let Some((_, mark)) = found {
                        mark.as_yaml_1_1(value);
                    }
                }
            }
            (What::Sequence(items), Value::Sequence(values)) => {
                items.iter().zip(values).for_each(|(mark, value)| mark.as_yaml_1_1(value));
            }
            _ => {}
        }
    }
}

/// What YAML 1.1 takes for something else than text, and YAML 1.2 does not.
fn scalar_of_yaml_1_1(text: &str) -> Option<serde_norway::Value> {
    use serde_norway::Value;
    match text {
        "y" | "Y" | "yes" | "Yes" | "YES" | "on" | "On" | "ON" => return Some(Value::Bool(true)),
        "n" | "N" | "no" | "No" | "NO" | "off" | "Off" | "OFF" => return Some(Value::Bool(false)),
        _ => {}
    }
    if !text.starts_with(|first: char| first.is_ascii_digit() || "+-.".contains(first)) {
        return None;
    }
    let plain = text.replace('_', "");
    let (sign, digits) = match plain.strip_prefix('-') {
        Some(digits) => (-1, digits),
        None => (1, plain.strip_prefix('+').unwrap_or(&plain)),
    };
    let radix =
        |digits: &str, radix| i64::from_str_radix(digits, radix).ok().filter(|_| !digits.starts_with(['+', '-']));
    let whole = match digits.as_bytes() {
        [b'0', b'x', ..] => radix(&digits[2..], 16),
        [b'0', b'b', ..] => radix(&digits[2..], 2),
        [b'0', _, ..] => radix(&digits[1..], 8),
        _ => radix(digits, 10),
    };
    let is_decimal = |byte: u8| byte.is_ascii_digit() || b"+-.eE".contains(&byte);
    let float = || plain.bytes().all(is_decimal).then(|| plain.parse::<f64>().ok()).flatten();
    whole.map(|number| Value::from(sign * number)).or_else(|| float().map(Value::from))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_found_by_path_or_by_what_is_around_them() {
        let text = "# a file\ndomain: d\ndescriptors:\n- key: a\n- key: b\n  rate_limit:\n    unit: eon\n  limits: [{unit: x}]\n---\nother: 1\n";
        let mark = first(text).unwrap();
        for (path, at) in [
            ("domain", (2, 1)),
            ("descriptors[1].rate_limit.unit", (7, 5)),
            ("descriptors[1].limits[0].unit", (8, 13)),
            ("descriptors[1].value", (5, 3)),
            ("descriptors[9].key", (3, 1)),
            ("", (2, 1)),
        ] {
            assert_eq!(mark.find(path), at, "{path}");
        }
        assert!(first("a: [").is_none() && first("").is_none());
    }

    #[test]
    fn scalars_are_what_yaml_1_1_takes_them_for_unless_they_are_in_quotes() {
        for (text, value) in [
            ("yes", "true"),
            ("Off", "false"),
            ("010", "8"),
            ("1_000", "1000"),
            ("-0b11", "-3"),
            ("0x_1F", "31"),
            ("1_0.5", "10.5"),
            // No octal number, so a decimal fraction.
            ("089", "89.0"),
        ] {
            let shown = scalar_of_yaml_1_1(text).map(|value| serde_norway::to_string(&value).unwrap());
            assert_eq!(shown.as_deref().map(str::trim), Some(value), "{text}");
        }
        for text in ["yEs", "nope", "1.2.3", "0b2", "-", "+", "2026-01-01", "infinity", "a1"] {
            assert_eq!(scalar_of_yaml_1_1(text), None, "{text}");
        }
    }
}
