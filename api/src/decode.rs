//! From a JSON value to a typed one, with every mistake named.
//!
//! serde stops at the first type error. [`decode`] takes the offending value
//! out and tries again, so that an author sees all mistakes of an object at
//! once and we still have what could be read of it.

use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::problem::Problem;

/// More mistakes than this in one object are not looked for.
const MOST_PROBLEMS: usize = 32;

/// Whether a field no one knows makes the object unusable.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UnknownFields {
    /// As kubectl does by default: an error naming the field.
    Reject,
    /// A warning: for kinds that keep unknown fields, or of which we only read a part.
    Warn,
}

/// Decodes `value`, returning what could be read and everything that was wrong.
pub fn decode<T: DeserializeOwned>(value: &Value, unknown: UnknownFields) -> (Option<T>, Vec<Problem>) {
    let mut value = without_nulls(value.clone()).unwrap_or(Value::Null);
    let mut problems: Vec<Problem> = Vec::new();
    let mut taken_out = TakenOut::default();
    loop {
        let mut ignored = Vec::new();
        let mut track = serde_path_to_error::Track::new();
        let result = {
            let deserializer = serde_path_to_error::Deserializer::new(&value, &mut track);
            serde_ignored::deserialize::<_, _, T>(deserializer, |path| ignored.push(steps(&path)))
        };
        match result {
            Ok(decoded) => {
                for path in ignored {
                    let field = join(&taken_out.original(&path));
                    let known_already = problems.iter().any(|p| p.field == field);
                    if !known_already {
                        problems.push(match unknown {
                            UnknownFields::Reject => Problem::error(
                                field,
                                "unknown field: nothing would act on it; check the spelling or remove it",
                            ),
                            UnknownFields::Warn => Problem::warning(field, "unknown field, ignored"),
                        });
                    }
                }
                problems.sort();
                return (Some(decoded), problems);
            }
            Err(error) => {
                let path: Vec<Step> = track.path().iter().filter_map(Step::of).collect();
                let field = join(&taken_out.original(&path));
                // A field missing only because we took its bad value out is not a second mistake.
                let echo = problems.iter().any(|p| p.field != field && p.field.starts_with(&field));
                if !echo {
                    problems.push(Problem::error(field, explain(&error.to_string())));
                }
                let removed = if problems.len() < MOST_PROBLEMS { remove(&mut value, &path) } else { None };
                match removed {
                    Some(removed) => taken_out.note(removed),
                    None => {
                        problems.sort();
                        return (None, problems);
                    }
                }
            }
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Step {
    Key(String),
    Index(usize),
}

impl Step {
    fn of(segment: &serde_path_to_error::Segment) -> Option<Step> {
        match segment {
            serde_path_to_error::Segment::Map { key } => Some(Step::Key(key.clone())),
            serde_path_to_error::Segment::Seq { index } => Some(Step::Index(*index)),
            // The variant of an externally tagged enum is a key of the value as well.
            serde_path_to_error::Segment::Enum { variant } => Some(Step::Key(variant.clone())),
            serde_path_to_error::Segment::Unknown => None,
        }
    }
}

/// The list items taken out so far, so that later mistakes are named by the
/// place their author wrote them at.
#[derive(Default)]
struct TakenOut(Vec<(Vec<Step>, usize)>);

impl TakenOut {
    fn note(&mut self, removed: Vec<Step>) {
        let removed = self.original(&removed);
        if let Some((Step::Index(index), list)) = removed.split_last() {
            self.0.push((list.to_vec(), *index));
            self.0.sort_by_key(|(_, index)| *index);
        }
    }

    fn original(&self, path: &[Step]) -> Vec<Step> {
        let mut out: Vec<Step> = Vec::with_capacity(path.len());
        for step in path {
            out.push(match step {
                Step::Index(index) => {
                    let mut index = *index;
                    for (list, gone) in &self.0 {
                        if *list == out && *gone <= index {
                            index += 1;
                        }
                    }
                    Step::Index(index)
                }
                key => key.clone(),
            });
        }
        out
    }
}

fn join(path: &[Step]) -> String {
    let mut out = String::new();
    for step in path {
        match step {
            Step::Key(key) => {
                if !out.is_empty() {
                    out.push('.');
                }
                out.push_str(key);
            }
            Step::Index(index) => out.push_str(&format!("[{index}]")),
        }
    }
    out
}

/// serde_ignored's path as ours; wrappers such as `Some(_)` are no step.
fn steps(path: &serde_ignored::Path<'_>) -> Vec<Step> {
    use serde_ignored::Path;
    let (mut out, last) = match path {
        Path::Root => return Vec::new(),
        Path::Seq { parent, index } => (steps(parent), Step::Index(*index)),
        Path::Map { parent, key } => (steps(parent), Step::Key(key.clone())),
        Path::Some { parent } | Path::NewtypeStruct { parent } | Path::NewtypeVariant { parent } => {
            return steps(parent);
        }
    };
    out.push(last);
    out
}

fn explain(error: &str) -> String {
    error.strip_prefix("invalid type: ").map_or_else(|| error.to_owned(), |rest| format!("wrong type: {rest}"))
}

/// Takes the value at `path` out, or its nearest ancestor that exists, and says which it was.
/// None when only the whole is left to take.
fn remove(value: &mut Value, path: &[Step]) -> Option<Vec<Step>> {
    let (last, parents) = path.split_last()?;
    let mut at = Some(&mut *value);
    for step in parents {
        at = match step {
            Step::Key(key) => at.and_then(|v| v.get_mut(key.as_str())),
            Step::Index(index) => at.and_then(|v| v.get_mut(*index)),
        };
    }
    let removed = match (last, at) {
        (Step::Key(key), Some(Value::Object(map))) => map.remove(key.as_str()).is_some(),
        (Step::Index(index), Some(Value::Array(items))) if *index < items.len() => {
            items.remove(*index);
            true
        }
        _ => false,
    };
    if removed { Some(path.to_vec()) } else { remove(value, parents) }
}

/// `value` without null members, as an API server drops them; list items stay.
fn without_nulls(value: Value) -> Option<Value> {
    match value {
        Value::Null => None,
        Value::Object(map) => {
            Some(Value::Object(map.into_iter().filter_map(|(k, v)| Some((k, without_nulls(v)?))).collect()))
        }
        Value::Array(items) => {
            Some(Value::Array(items.into_iter().map(|v| without_nulls(v).unwrap_or(Value::Null)).collect()))
        }
        other => Some(other),
    }
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;
    use serde_json::json;

    use super::*;

    #[derive(Debug, Deserialize, PartialEq)]
    #[allow(dead_code)]
    struct Inner {
        size: u32,
        #[serde(default)]
        name: Option<String>,
    }

    #[derive(Debug, Deserialize)]
    #[allow(dead_code)]
    struct Outer {
        #[serde(default)]
        items: Vec<Inner>,
        #[serde(default)]
        on: bool,
    }

    fn fields(problems: &[Problem]) -> Vec<&str> {
        problems.iter().map(|p| p.field.as_str()).collect()
    }

    #[test]
    fn names_every_mistake_at_the_place_it_was_written() {
        let value = json!({"items": [{"size": "a"}, {"size": 1, "name": 5}, {"size": true}, {"size": 2, "colour": 1}], "on": "yes", "extra": 1});
        let (decoded, problems) = decode::<Outer>(&value, UnknownFields::Reject);
        assert_eq!(
            fields(&problems),
            ["extra", "items[0].size", "items[1].name", "items[2].size", "items[3].colour", "on"]
        );
        assert_eq!(decoded.map(|d| d.items.len()), Some(2));
    }

    #[test]
    fn a_null_is_absent() {
        let (decoded, problems) = decode::<Outer>(&json!({"items": null, "on": null}), UnknownFields::Reject);
        assert!(problems.is_empty(), "{problems:?}");
        assert!(decoded.is_some());
    }

    #[test]
    fn a_scalar_where_an_object_belongs_is_named() {
        let (decoded, problems) = decode::<Outer>(&json!("text"), UnknownFields::Reject);
        assert!(decoded.is_none());
        assert_eq!(fields(&problems), [""]);
    }
}
