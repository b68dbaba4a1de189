//! From a JSON value to a typed one, with every mistake named.
//!
//! serde stops at the first type error. [`decode`] takes the offending value
//! out and tries again, so that an author sees all mistakes of an object at
//! once and we still have what could be read of it.

use std::collections::BTreeSet;

use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::fields::{Step, known, nearest};
use crate::problem::Problem;
use crate::strict::Strict;

/// Values visited, again and again, to find mistakes one by one; an object with more of them than this
/// allows has whole parts taken out at once.
const WORK: usize = 2_000_000;
/// Mistakes found one by one in an object of any size, and in an object however small.
const ONE_BY_ONE: (usize, usize) = (4, 64);

/// Whether a field no one knows makes the object unusable.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UnknownFields {
    /// As kubectl does by default: an error naming the field.
    Reject,
    /// A warning: for kinds that keep unknown fields, or of which we only read a part.
    /// One that resembles a field of the kind is an error all the same.
    Warn,
}

/// Decodes a kind of which every field is known.
pub(crate) fn rejecting<T: DeserializeOwned>(value: &Value) -> (Option<T>, Vec<Problem>) {
    decode(value, UnknownFields::Reject)
}

/// Decodes a kind that may have fields we do not know.
pub fn warning<T: DeserializeOwned>(value: &Value) -> (Option<T>, Vec<Problem>) {
    decode(value, UnknownFields::Warn)
}

/// Decodes `value`, returning what could be read and everything that was wrong.
///
/// However many mistakes there are, what is around them is read: after the first few, the
/// parts they are in are taken out with them, so that the time is bounded.
pub fn decode<T: DeserializeOwned>(value: &Value, unknown: UnknownFields) -> (Option<T>, Vec<Problem>) {
    let mut value = without_nulls(value.clone()).unwrap_or(Value::Null);
    let one_by_one = (WORK / size(&value).max(1)).clamp(ONE_BY_ONE.0, ONE_BY_ONE.1);
    let mut mistakes = 0_usize;
    let mut problems: Vec<Problem> = Vec::new();
    let mut taken_out = TakenOut::default();
    loop {
        let mut ignored = Vec::new();
        let mut track = serde_path_to_error::Track::new();
        let result = {
            let deserializer = serde_path_to_error::Deserializer::new(Strict(&value), &mut track);
            serde_ignored::deserialize::<_, _, T>(deserializer, |path| ignored.push(steps(&path)))
        };
        match result {
            Ok(decoded) => {
                let named: BTreeSet<String> = problems.iter().map(|p| p.field.clone()).collect();
                for path in ignored {
                    let field = join(&taken_out.original(&path));
                    if !named.contains(&field) {
                        problems.push(unknown_field::<T>(&path, field, unknown));
                    }
                }
                problems.sort();
                return (Some(decoded), problems);
            }
            Err(error) => {
                let mut path: Vec<Step> = track.path().iter().filter_map(step).collect();
                let field = join(&taken_out.original(&path));
                // A field missing only because we took its bad value out is not a second mistake.
                let echo = problems.iter().any(|p| p.field != field && p.field.starts_with(&field));
                if !echo {
                    problems.push(Problem::error(field, explain(&error.to_string())));
                }
                mistakes += 1;
                // A part that is taken out whole takes the mistakes with it that it still holds: a few list
                // items at first, then a few fields of the spec, then whatever stands at the top.
                match mistakes.saturating_sub(one_by_one) {
                    0 => {}
                    1..=8 => path.truncate(4),
                    9..=16 => path.truncate(2),
                    _ => path.truncate(1),
                }
                match remove(&mut value, &path) {
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

/// The problem of a field that `T` does not have.
fn unknown_field<T: DeserializeOwned>(path: &[Step], field: String, unknown: UnknownFields) -> Problem {
    let meant = match path.split_last() {
        Some((Step::Key(written), parent)) => known::<T>(parent).and_then(|known| nearest(written, known)),
        _ => None,
    };
    match (meant, unknown) {
        (Some(meant), _) => Problem::error(field, format!("unknown field; did you mean {meant}?")),
        (None, UnknownFields::Reject) => {
            Problem::error(field, "unknown field: nothing would act on it; check the spelling or remove it")
        }
        (None, UnknownFields::Warn) => Problem::warning(field, "unknown field, ignored"),
    }
}

/// How many values there are in `value`.
fn size(value: &Value) -> usize {
    match value {
        Value::Array(items) => 1 + items.iter().map(size).sum::<usize>(),
        Value::Object(map) => 1 + map.values().map(size).sum::<usize>(),
        _ => 1,
    }
}

fn step(segment: &serde_path_to_error::Segment) -> Option<Step> {
    match segment {
        serde_path_to_error::Segment::Map { key } => Some(Step::Key(key.clone())),
        serde_path_to_error::Segment::Seq { index } => Some(Step::Index(*index)),
        // The variant of an externally tagged enum is a key of the value as well.
        serde_path_to_error::Segment::Enum { variant } => Some(Step::Key(variant.clone())),
        serde_path_to_error::Segment::Unknown => None,
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
    fn a_field_that_resembles_a_known_one_is_an_error_where_others_are_warnings() {
        let value = json!({"item": [], "On": true, "extra": 1});
        let (_, problems) = decode::<Outer>(&value, UnknownFields::Warn);
        let said: Vec<String> = problems.iter().map(|p| format!("{:?} {p}", p.severity)).collect();
        assert_eq!(
            said,
            [
                "Warning extra: unknown field, ignored",
                "Error On: unknown field; did you mean on?",
                "Error item: unknown field; did you mean items?"
            ]
        );
    }

    #[derive(Debug, Deserialize, PartialEq)]
    enum Choice {
        Of(u32),
    }

    #[derive(Debug, Deserialize, PartialEq)]
    struct Chosen {
        choice: Option<Choice>,
        on: bool,
    }

    #[test]
    fn of_a_mistake_in_what_is_not_there_the_nearest_that_is_goes() {
        let (decoded, problems) = decode::<Chosen>(&json!({"choice": "Of", "on": true}), UnknownFields::Reject);
        assert_eq!(decoded, Some(Chosen { choice: None, on: true }));
        assert_eq!(fields(&problems), ["choice.Of"]);
    }

    #[test]
    fn thousands_of_mistakes_are_survived_and_cost_little() {
        let items: Vec<_> =
            (0..20_000).map(|n| json!({"size": if n % 2 == 0 { json!("x") } else { json!(n) }})).collect();
        let started = std::time::Instant::now();
        let (decoded, problems) = decode::<Outer>(&json!({"items": items, "on": true}), UnknownFields::Reject);
        assert!(decoded.is_some_and(|outer| outer.on), "what is not wrong is read");
        assert!(problems.len() > 4, "{problems:?}");
        assert!(started.elapsed() < std::time::Duration::from_secs(5), "{:?}", started.elapsed());
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

    #[test]
    fn a_list_does_not_stand_for_a_mapping() {
        for value in [json!([]), json!([[], true])] {
            let (decoded, problems) = decode::<Outer>(&value, UnknownFields::Warn);
            assert!(decoded.is_none());
            assert_eq!(fields(&problems), [""]);
        }
        let (_, problems) = decode::<Outer>(&json!({"items": [[1, "a"]]}), UnknownFields::Warn);
        assert_eq!(fields(&problems), ["items[0]"]);
    }
}
