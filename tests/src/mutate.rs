//! Mutants of a manifest: what people do to one by accident, one accident each.
//!
//! Every field is dropped, retyped, renamed, misspelt, duplicated and over-filled, and the text is
//! cut off. Same manifest, same mutants.

use serde_json::{Map, Value, json};

/// What was done to a field, or to the text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Accident {
    /// The field, or the item of a list, is not there.
    Dropped,
    /// Another type stands there.
    Retyped,
    /// Another value of the same type stands there.
    Changed,
    /// The key is misspelt.
    Misspelt,
    /// The item stands there twice, or the key does.
    Duplicated,
    /// Far too much stands there.
    OverFilled,
    /// The text ends there.
    Truncated,
}

/// A manifest with one accident.
#[derive(Debug, Clone)]
pub struct Mutant {
    /// What happened.
    pub accident: Accident,
    /// To which field, e.g. `spec.targetRefs[0].name`; for [`Accident::Truncated`], after how many bytes.
    pub path: String,
    /// The manifest as it is now.
    pub text: String,
}

#[derive(Debug, Clone)]
enum Step {
    Key(String),
    Index(usize),
}

/// Every mutant of `manifest`.
pub fn mutants(manifest: &Value) -> Vec<Mutant> {
    let mut paths = Vec::new();
    walk(manifest, &mut Vec::new(), &mut paths);
    let mut found = Vec::new();
    for path in &paths {
        let name = text_of(path);
        let mut add = |accident, value: Value| {
            found.push(Mutant { accident, path: name.clone(), text: format!("{value:#}\n") });
        };
        let old = get(manifest, path);
        add(Accident::Dropped, with(manifest, path, |_| None));
        for other in other_types(old) {
            add(Accident::Retyped, with(manifest, path, |_| Some(other.clone())));
        }
        for other in other_values(old) {
            add(Accident::Changed, with(manifest, path, |_| Some(other.clone())));
        }
        if let Some(Step::Key(key)) = path.last() {
            for misspelt in misspellings(key) {
                add(Accident::Misspelt, renamed(manifest, path, &misspelt));
            }
        }
        for full in over_full(old) {
            add(Accident::OverFilled, with(manifest, path, |_| Some(full.clone())));
        }
        match (path.last(), old) {
            (Some(Step::Index(_)), _) => add(Accident::Duplicated, twice(manifest, path)),
            // A key that stands there twice, as an editor's paste leaves it.
            (Some(Step::Key(key)), _) if path.len() == 1 => {
                let text = format!("{manifest:#}");
                let again = format!(",\n  {}: {old}\n}}\n", json!(key));
                let text = text.trim_end().trim_end_matches('}').trim_end().to_owned() + &again;
                found.push(Mutant { accident: Accident::Duplicated, path: name.clone(), text });
            }
            _ => {}
        }
    }
    let text = yaml(manifest, 0);
    let cuts = (1..24).map(|part| text.len() * part / 24);
    found.extend(cuts.map(|at| {
        let at = (at..text.len()).find(|at| text.is_char_boundary(*at)).unwrap_or(text.len());
        Mutant { accident: Accident::Truncated, path: at.to_string(), text: text[..at].to_owned() }
    }));
    found
}

fn walk(value: &Value, here: &mut Vec<Step>, paths: &mut Vec<Vec<Step>>) {
    let steps: Vec<(Step, &Value)> = match value {
        Value::Object(map) => map.iter().map(|(key, value)| (Step::Key(key.clone()), value)).collect(),
        Value::Array(items) => items.iter().enumerate().map(|(index, value)| (Step::Index(index), value)).collect(),
        _ => return,
    };
    for (step, value) in steps {
        here.push(step);
        paths.push(here.clone());
        walk(value, here, paths);
        here.pop();
    }
}

fn text_of(path: &[Step]) -> String {
    path.iter().fold(String::new(), |text, step| match step {
        Step::Key(key) if text.is_empty() => key.clone(),
        Step::Key(key) => format!("{text}.{key}"),
        Step::Index(index) => format!("{text}[{index}]"),
    })
}

fn get<'a>(value: &'a Value, path: &[Step]) -> &'a Value {
    path.iter().fold(value, |value, step| match step {
        Step::Key(key) => &value[key.as_str()],
        Step::Index(index) => &value[*index],
    })
}

/// The manifest with another value at `path`, or none.
fn with(value: &Value, path: &[Step], change: impl Fn(&Value) -> Option<Value>) -> Value {
    edited(value, path, &|parent, last| match (parent, last) {
        (Value::Object(map), Step::Key(key)) => match map.get(key).and_then(&change) {
            Some(other) => drop(map.insert(key.clone(), other)),
            None => drop(map.remove(key)),
        },
        (Value::Array(items), Step::Index(index)) => match change(&items[*index]) {
            Some(other) => items[*index] = other,
            None => drop(items.remove(*index)),
        },
        _ => unreachable!("paths come from the manifest"),
    })
}

fn renamed(value: &Value, path: &[Step], to: &str) -> Value {
    edited(value, path, &|parent, last| {
        if let (Value::Object(map), Step::Key(key)) = (parent, last)
            && let Some(value) = map.remove(key)
        {
            map.insert(to.to_owned(), value);
        }
    })
}

fn twice(value: &Value, path: &[Step]) -> Value {
    edited(value, path, &|parent, last| {
        if let (Value::Array(items), Step::Index(index)) = (parent, last) {
            items.insert(*index, items[*index].clone());
        }
    })
}

fn edited(value: &Value, path: &[Step], edit: &dyn Fn(&mut Value, &Step)) -> Value {
    let mut value = value.clone();
    let (last, above) = path.split_last().expect("a path has a step");
    let mut here = &mut value;
    for step in above {
        here = match step {
            Step::Key(key) => &mut here[key.as_str()],
            Step::Index(index) => &mut here[*index],
        };
    }
    edit(here, last);
    value
}

/// What else might stand there, of other types.
fn other_types(value: &Value) -> Vec<Value> {
    let first = |map: &Map<String, Value>| map.values().next().cloned().unwrap_or_default();
    match value {
        Value::String(text) => vec![json!([text]), json!({"value": text}), json!(7), json!(true), Value::Null],
        Value::Number(number) => {
            vec![json!(number.to_string()), json!(format!("{number}x")), json!([number]), json!(1.5), json!(1e18)]
        }
        Value::Bool(flag) => vec![json!(flag.to_string()), json!(1), Value::Null],
        Value::Array(items) => vec![items.first().cloned().unwrap_or_default(), json!("text"), json!({}), Value::Null],
        Value::Object(map) => vec![json!([map]), first(map), json!("text"), json!([]), Value::Null],
        Value::Null => vec![json!("text")],
    }
}

/// What else might stand there, of the same type.
fn other_values(value: &Value) -> Vec<Value> {
    match value {
        Value::String(text) => {
            let mut swapped: Vec<char> = text.chars().collect();
            if swapped.len() > 2 {
                swapped.swap(1, 2);
            }
            let swapped: String = swapped.into_iter().collect();
            let mut others = vec![format!("{text}x"), text.to_uppercase(), format!(" {text}"), String::new()];
            others.push(swapped);
            others.retain(|other| other != text);
            others.into_iter().map(Value::String).collect()
        }
        Value::Number(number) => {
            let number = number.as_i64().unwrap_or_default();
            vec![json!(-1), json!(0), json!(number + 1), json!(i64::from(i32::MAX) + 1)]
        }
        Value::Bool(flag) => vec![json!(!flag)],
        Value::Array(_) => vec![json!([])],
        Value::Object(_) => vec![json!({})],
        Value::Null => vec![],
    }
}

fn over_full(value: &Value) -> Vec<Value> {
    match value {
        Value::String(text) => vec![json!(text.repeat(400))],
        Value::Array(items) if !items.is_empty() => {
            // So many mistakes that nobody lists them all, and so many items that are right one by one.
            let wrong = vec![json!({"nonsense": [1]}); 40];
            let more = items.iter().cycle().take(1_100).cloned().collect();
            vec![items.iter().cloned().chain(wrong).collect(), more]
        }
        Value::Object(map) => {
            let more = (0..40).map(|n| (format!("nonsense{n}"), json!([{}])));
            vec![Value::Object(map.clone().into_iter().chain(more).collect())]
        }
        _ => vec![],
    }
}

fn misspellings(key: &str) -> Vec<String> {
    let mut letters: Vec<char> = key.chars().collect();
    let middle = letters.len() / 2;
    if letters.len() > 2 {
        letters.swap(middle - 1, middle);
    }
    let swapped: String = letters.into_iter().collect();
    let other_number = key.strip_suffix('s').map_or_else(|| format!("{key}s"), str::to_owned);
    let capital = key.chars().next().map(|first| first.to_uppercase().to_string() + &key[first.len_utf8()..]);
    let mut all = vec![swapped, other_number, key.to_lowercase(), format!("{key} ")];
    all.extend(capital);
    all.retain(|other| other != key);
    all
}

/// The manifest as people write it, a field a line.
fn yaml(value: &Value, depth: usize) -> String {
    let indent = "  ".repeat(depth);
    match value {
        Value::Object(map) if !map.is_empty() => map
            .iter()
            .fold(String::new(), |text, (key, value)| text + &format!("{indent}{key}:{}", below(value, depth))),
        Value::Array(items) if !items.is_empty() => items.iter().fold(String::new(), |text, item| match item {
            Value::Object(_) | Value::Array(_) => text + &format!("{indent}- {}", yaml(item, depth + 1).trim_start()),
            scalar => text + &format!("{indent}- {scalar}\n"),
        }),
        scalar => format!("{indent}{scalar}\n"),
    }
}

fn below(value: &Value, depth: usize) -> String {
    match value {
        Value::Object(map) if !map.is_empty() => format!("\n{}", yaml(value, depth + 1)),
        Value::Array(items) if !items.is_empty() => format!("\n{}", yaml(value, depth)),
        scalar => format!(" {scalar}\n"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_field_has_accidents_of_every_sort_and_none_is_the_manifest_itself() {
        let manifest =
            json!({"kind": "RouteOption", "metadata": {"name": "a"}, "spec": {"targetRefs": [{"name": "r"}]}});
        let all = mutants(&manifest);
        for path in
            ["kind", "metadata.name", "spec", "spec.targetRefs", "spec.targetRefs[0]", "spec.targetRefs[0].name"]
        {
            let of = |accident| all.iter().any(|mutant| mutant.accident == accident && mutant.path == path);
            assert!(of(Accident::Dropped) && of(Accident::Retyped) && of(Accident::OverFilled), "{path}");
        }
        let intact = format!("{manifest:#}\n");
        assert!(all.iter().all(|mutant| mutant.text != intact));
        assert!(all.iter().any(|mutant| mutant.accident == Accident::Truncated && mutant.text.starts_with("kind: ")));
        assert!(
            all.iter().any(|mutant| mutant.text.contains("\"targetRef\":") && mutant.accident == Accident::Misspelt)
        );
    }
}
