//! Whether what there is has all that is wanted. Pure.
//!
//! An API server adds defaults and writes amounts in its own way, and others add labels and annotations: none of that
//! is a difference. So an object is written when it has to be, and not for ever.

use serde_json::{Map, Value};

/// Whether all that `wanted` says is so in `there`. What `wanted` does not name may be as it likes; null, false and
/// what is empty are as good as absent.
pub fn covers(wanted: &Value, there: Option<&Value>) -> bool {
    within(wanted, there, false)
}

fn within(wanted: &Value, there: Option<&Value>, amounts: bool) -> bool {
    let Some(there) = there else { return is_nothing(wanted) };
    match (wanted, there) {
        (Value::Object(wanted), Value::Object(there)) => wanted.iter().all(|(key, value)| {
            let amounts = amounts || matches!(key.as_str(), "requests" | "limits" | "sizeLimit");
            within(value, there.get(key), amounts)
        }),
        (Value::Array(wanted), Value::Array(there)) => {
            wanted.len() == there.len()
                && wanted.iter().zip(there).all(|(wanted, there)| within(wanted, Some(there), amounts))
        }
        (wanted, there) if wanted == there => true,
        (wanted, there) if is_nothing(wanted) => is_nothing(there),
        (wanted, there) => amounts && amount(wanted).is_some_and(|wanted| amount(there) == Some(wanted)),
    }
}

fn is_nothing(value: &Value) -> bool {
    match value {
        Value::Null | Value::Bool(false) => true,
        Value::Array(all) => all.is_empty(),
        Value::Object(fields) => fields.values().all(is_nothing),
        Value::String(text) => text.is_empty(),
        _ => false,
    }
}

/// An amount of Kubernetes, in billionths: `1` and `1000m` are the same.
pub fn amount(value: &Value) -> Option<i128> {
    let text = match value {
        Value::String(text) => text.clone(),
        Value::Number(number) => number.to_string(),
        _ => return None,
    };
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, unit) = text.split_at(end);
    let (whole, part) = number.split_once('.').unwrap_or((number, ""));
    if whole.is_empty() && part.is_empty() || part.len() > 9 || part.contains('.') {
        return None;
    }
    let digits: i128 = format!("{whole}{part:0<9}").parse().ok()?;
    let (times, over): (i128, i128) = match unit {
        "" => (1, 1),
        "n" => (1, 1_000_000_000),
        "u" => (1, 1_000_000),
        "m" => (1, 1_000),
        "k" => (1_000, 1),
        "M" => (1_000_000, 1),
        "G" => (1_000_000_000, 1),
        "T" => (1_000_000_000_000, 1),
        "Ki" => (1 << 10, 1),
        "Mi" => (1 << 20, 1),
        "Gi" => (1 << 30, 1),
        "Ti" => (1 << 40, 1),
        _ => {
            let power: u32 = unit.strip_prefix(['e', 'E'])?.parse().ok().filter(|power| *power <= 15)?;
            (10_i128.pow(power), 1)
        }
    };
    Some(digits.checked_mul(times)? / over)
}

/// The merge patch that makes of `there` what is `wanted`, where of the maps at the pointers in `whole` nothing else is
/// to be left.
pub fn patch(wanted: &Value, there: &Value, whole: &[&str]) -> Value {
    let mut patch = wanted.clone();
    for pointer in whole {
        let Some(Value::Object(there)) = there.pointer(pointer) else { continue };
        let Some(Value::Object(wanted)) = patch.pointer_mut(pointer) else { continue };
        forget(wanted, there.keys());
    }
    patch
}

/// Takes away from `wanted` what was said `before` in maps and is said no longer.
pub fn gone(before: &Value, wanted: &mut Value) {
    let (Value::Object(before), Value::Object(wanted)) = (before, wanted) else { return };
    for (key, value) in before {
        match wanted.get_mut(key) {
            Some(now) => gone(value, now),
            None => drop(wanted.insert(key.clone(), Value::Null)),
        }
    }
}

/// Takes these keys away from a map, unless it has a value for them.
pub fn forget<'k>(map: &mut Map<String, Value>, keys: impl IntoIterator<Item = &'k String>) {
    for key in keys {
        map.entry(key.clone()).or_insert(Value::Null);
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn equal_amounts_are_equal_however_they_are_written() {
        let same =
            [("1", "1000m"), ("0.5", "500m"), ("1Gi", "1024Mi"), ("1k", "1000"), ("1e3", "1k"), ("1.5Gi", "1536Mi")];
        for (one, other) in same {
            assert_eq!(amount(&json!(one)), amount(&json!(other)), "{one} {other}");
            let of = |amount: &str| json!({"resources": {"requests": {"cpu": amount}, "limits": {"memory": amount}}});
            assert!(covers(&of(one), Some(&of(other))) && covers(&of(other), Some(&of(one))), "{one} {other}");
        }
        assert_eq!(amount(&json!(1)), amount(&json!("1000m")));
        // Every unit that Kubernetes knows.
        for (unit, thousand) in [("n", "u"), ("u", "m"), ("m", ""), ("", "k"), ("k", "M"), ("M", "G"), ("G", "T")] {
            let (one, other) = (json!(format!("3{thousand}")), json!(format!("3000{unit}")));
            assert!(amount(&one).is_some() && amount(&one) == amount(&other), "{one} {other}");
        }
        for (unit, larger) in [("", "Ki"), ("Ki", "Mi"), ("Mi", "Gi"), ("Gi", "Ti")] {
            let (one, other) = (json!(format!("3{larger}")), json!(format!("3072{unit}")));
            assert!(amount(&one).is_some() && amount(&one) == amount(&other), "{one} {other}");
        }
        assert_ne!(amount(&json!("1Gi")), amount(&json!("1G")));
        for none in ["", "m", "x", "1.2.3", "1Zi", "1 Gi", "-1", "1e99"] {
            assert_eq!(amount(&json!(none)), None, "{none:?}");
        }
        // Elsewhere text is text.
        assert!(!covers(&json!({"data": {"a": "1"}}), Some(&json!({"data": {"a": "1000m"}}))));
    }

    #[test]
    fn defaults_and_what_others_add_are_no_difference_and_edits_are() {
        let wanted = json!({
            "metadata": {"labels": {"a": "1"}},
            "spec": {"hostNetwork": false, "env": [], "list": [{"name": "x", "image": "i"}], "mode": {}},
        });
        let there = json!({
            "metadata": {"labels": {"a": "1", "b": "2"}, "uid": "u"},
            "spec": {"list": [{"name": "x", "image": "i", "imagePullPolicy": "Always"}], "dnsPolicy": "ClusterFirst"},
        });
        assert!(covers(&wanted, Some(&there)));
        for (pointer, value) in [
            ("/metadata/labels/a", json!("2")),
            ("/metadata/labels", json!({})),
            ("/spec/hostNetwork", json!(true)),
            ("/spec/env", json!([{"name": "LD_PRELOAD"}])),
            ("/spec/list/0/image", json!("other")),
            ("/spec/list", json!([])),
            ("/spec/list", json!([{"name": "x", "image": "i"}, {"name": "y"}])),
        ] {
            let mut edited = there.clone();
            let (parent, key) = pointer.rsplit_once('/').expect("a pointer");
            match edited.pointer_mut(pointer) {
                Some(at) => *at = value.clone(),
                None => edited.pointer_mut(parent).expect("a parent")[key] = value.clone(),
            }
            assert!(!covers(&wanted, Some(&edited)), "{pointer} {value}");
        }
        assert!(!covers(&wanted, None));
    }

    #[test]
    fn an_amount_has_digits_in_front_of_its_point_or_behind_it_and_no_more_power_than_there_is() {
        for (written, billionths) in [
            (".5", Some(500_000_000)),
            ("5.", Some(5_000_000_000)),
            ("0.123456789", Some(123_456_789)),
            ("0.1234567891", None),
            (".", None),
            ("1e15", Some(10_i128.pow(24))),
            ("1e16", None),
            ("1e0", Some(1_000_000_000)),
        ] {
            assert_eq!(amount(&json!(written)), billionths, "{written}");
        }
    }

    /// What is wanted to be nothing may be absent, and may not be something.
    #[test]
    fn nothing_is_as_good_as_absent() {
        for nothing in [json!(null), json!(false), json!([]), json!({}), json!({"a": {"b": []}}), json!("")] {
            assert!(covers(&json!({"x": nothing}), Some(&json!({}))), "{nothing}");
            for same in [json!(null), json!(false), json!(""), json!([]), json!({})] {
                assert!(covers(&json!({"x": nothing}), Some(&json!({"x": same}))), "{nothing} {same}");
            }
            for something in [json!(0), json!(true), json!("a"), json!([0])] {
                assert!(!covers(&json!({"x": nothing}), Some(&json!({"x": something}))), "{nothing} {something}");
            }
        }
        assert!(!covers(&json!({"x": 0}), Some(&json!({}))) && !covers(&json!({"x": 0}), Some(&json!({"x": false}))));
        // A map that others have written into has what was wanted of it.
        assert!(covers(&json!({"x": {"a": []}}), Some(&json!({"x": {"b": 1}}))));
    }

    #[test]
    fn what_was_said_before_and_is_said_no_longer_is_taken_away() {
        let before = json!({"spec": {"a": 1, "map": {"x": 1, "y": 2}, "list": [{"z": 1}], "other": {"deep": 1}}});
        let mut wanted = json!({"spec": {"a": 2, "map": {"y": 2}, "list": [{"w": 1}]}, "data": {}});
        gone(&before, &mut wanted);
        let left = json!({"spec": {"a": 2, "map": {"x": null, "y": 2}, "list": [{"w": 1}], "other": null}, "data": {}});
        assert_eq!(wanted, left);
    }

    #[test]
    fn of_a_map_that_is_wanted_as_a_whole_everything_else_goes() {
        let (wanted, there) =
            (json!({"s": {"a": "1"}, "l": {"x": "y"}}), json!({"s": {"a": "2", "b": "3"}, "l": {"z": "z"}}));
        assert_eq!(patch(&wanted, &there, &["/s"]), json!({"s": {"a": "1", "b": null}, "l": {"x": "y"}}));
    }
}
