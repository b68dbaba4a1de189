//! What steps tell one another and Envoy beside headers: JSON, and its form on the wire.

use std::fmt;

use proto::google::protobuf::{ListValue, Struct, Value as Wire, value::Kind};
use serde_json::{Map, Number, Value};

/// Facts by name. They may hold keys and what other servers said of a user, so they are never printed.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct State(Map<String, Value>);

impl State {
    /// A fact.
    pub fn set(&mut self, name: impl Into<String>, value: Value) {
        self.0.insert(name.into(), value);
    }

    /// These facts and then those of `later`, which replace what has the same name.
    pub fn extend(&mut self, later: &State) {
        self.0.extend(later.0.iter().map(|(name, value)| (name.clone(), value.clone())));
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The facts, for whoever is to be told.
    pub fn expose(&self) -> &Map<String, Value> {
        &self.0
    }

    /// The same as a message.
    pub fn to_wire(&self) -> Struct {
        struct_of(&self.0)
    }

    /// What `wire` says; none if a number in it is none.
    pub(crate) fn of_wire(wire: &Struct) -> Option<State> {
        object(wire).map(State)
    }
}

impl From<Map<String, Value>> for State {
    fn from(facts: Map<String, Value>) -> Self {
        Self(facts)
    }
}

impl fmt::Debug for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "State({} redacted)", self.0.len())
    }
}

/// `facts` as a message.
pub fn struct_of(facts: &Map<String, Value>) -> Struct {
    Struct { fields: facts.iter().map(|(name, value)| (name.clone(), wire(value))).collect() }
}

fn wire(value: &Value) -> Wire {
    let kind = match value {
        Value::Null => Kind::NullValue(0),
        Value::Bool(bool) => Kind::BoolValue(*bool),
        // A message has no other numbers.
        Value::Number(number) => Kind::NumberValue(number.as_f64().unwrap_or_default()),
        Value::String(text) => Kind::StringValue(text.clone()),
        Value::Array(items) => Kind::ListValue(ListValue { values: items.iter().map(wire).collect() }),
        Value::Object(fields) => Kind::StructValue(struct_of(fields)),
    };
    Wire { kind: Some(kind) }
}

/// What `wire` says, as JSON.
pub fn object(wire: &Struct) -> Option<Map<String, Value>> {
    wire.fields.iter().map(|(name, value)| Some((name.clone(), json(value)?))).collect()
}

fn json(wire: &Wire) -> Option<Value> {
    Some(match wire.kind.as_ref() {
        None | Some(Kind::NullValue(_)) => Value::Null,
        Some(Kind::BoolValue(bool)) => Value::Bool(*bool),
        Some(Kind::NumberValue(number)) => Value::Number(self::number(*number)?),
        Some(Kind::StringValue(text)) => Value::String(text.clone()),
        Some(Kind::ListValue(list)) => Value::Array(list.values.iter().map(json).collect::<Option<_>>()?),
        Some(Kind::StructValue(fields)) => Value::Object(object(fields)?),
    })
}

/// Whole numbers are written without a point, as whoever sent them wrote them.
fn number(number: f64) -> Option<Number> {
    const EXACT: f64 = 9_007_199_254_740_992.0;
    if number.fract() == 0.0 && number.abs() <= EXACT {
        return format!("{number:.0}").parse::<i64>().ok().map(Number::from);
    }
    Number::from_f64(number)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use serde_json::json;

    use super::*;

    #[test]
    fn json_goes_over_the_wire_and_comes_back() {
        let facts =
            json!({"a": null, "b": [true, 1, -7, 1.5, "x", {"c": {}}], "d": 9_007_199_254_740_992_i64, "e": 1e300});
        let state = State::from(facts.as_object().unwrap().clone());
        assert_eq!(State::of_wire(&state.to_wire()), Some(state.clone()));
        assert_eq!(format!("{state:?}"), "State(4 redacted)");
        let nan = Wire { kind: Some(Kind::NumberValue(f64::NAN)) };
        assert_eq!(State::of_wire(&Struct { fields: [("a".to_owned(), nan)].into() }), None);
        let nothing = Struct { fields: [("a".to_owned(), Wire { kind: None })].into() };
        assert_eq!(State::of_wire(&nothing).unwrap().expose()["a"], Value::Null);
    }

    #[test]
    fn what_is_learned_later_replaces_what_has_the_same_name() {
        let of = |value: Value| State::from(value.as_object().unwrap().clone());
        let mut state = of(json!({"a": 1, "b": {"x": 1}}));
        state.extend(&of(json!({"b": {"y": 2}, "c": 3})));
        assert_eq!(state, of(json!({"a": 1, "b": {"y": 2}, "c": 3})));
    }
}
