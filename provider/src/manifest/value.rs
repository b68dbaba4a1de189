//! A JSON value read from YAML or JSON under a budget, duplicate keys refused.
//!
//! Scalars are those of YAML 1.2: unquoted `yes`, `no`, `on` and `off` are text here, while kubectl,
//! which reads YAML 1.1, takes them for booleans. Where a boolean is wanted, admission refuses the
//! text and says so; where text is wanted, it is what was meant.

use std::cell::Cell;
use std::fmt;

use serde::de::{self, DeserializeSeed, Deserializer, EnumAccess, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};

/// Said when the budget of a file is spent.
pub(super) const TOO_MUCH: &str = "the file holds too much, perhaps by aliases that repeat each other; split it";

/// YAML deeper than this is no manifest.
const DEPTH: usize = 100;

/// What one file may still grow to.
pub(super) struct Budget {
    nodes: Cell<usize>,
    text: Cell<usize>,
}

impl Budget {
    pub(super) fn new(nodes: usize, text: usize) -> Self {
        Self { nodes: Cell::new(nodes), text: Cell::new(text) }
    }

    /// Reads one document.
    pub(super) fn read<'de, D: Deserializer<'de>>(&self, deserializer: D) -> Result<Value, D::Error> {
        Seed { budget: self, depth: 0 }.deserialize(deserializer)
    }

    /// Whether so many more values are too many.
    pub(super) fn is_below(&self, nodes: usize) -> bool {
        self.nodes.get() <= nodes
    }

    /// Whether nothing more can be read.
    pub(super) fn spent(&self) -> bool {
        self.nodes.get() == 0 || self.text.get() == 0
    }

    fn take<E: de::Error>(&self, text: usize) -> Result<(), E> {
        self.nodes.set(self.nodes.get().saturating_sub(1));
        self.text.set(self.text.get().saturating_sub(text));
        if self.spent() { Err(E::custom(TOO_MUCH)) } else { Ok(()) }
    }
}

#[derive(Clone, Copy)]
struct Seed<'b> {
    budget: &'b Budget,
    depth: usize,
}

impl<'de> DeserializeSeed<'de> for Seed<'_> {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl Seed<'_> {
    fn inner<E: de::Error>(self) -> Result<Self, E> {
        if self.depth >= DEPTH {
            return Err(E::custom("nested too deeply"));
        }
        Ok(Self { depth: self.depth + 1, ..self })
    }
}

impl<'de> Visitor<'de> for Seed<'_> {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a mapping, sequence, string, number, boolean or null")
    }

    fn visit_unit<E: de::Error>(self) -> Result<Value, E> {
        self.budget.take(0)?;
        Ok(Value::Null)
    }

    fn visit_none<E: de::Error>(self) -> Result<Value, E> {
        self.visit_unit()
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }

    fn visit_bool<E: de::Error>(self, value: bool) -> Result<Value, E> {
        self.budget.take(0)?;
        Ok(Value::Bool(value))
    }

    fn visit_i64<E: de::Error>(self, value: i64) -> Result<Value, E> {
        self.budget.take(0)?;
        Ok(value.into())
    }

    fn visit_u64<E: de::Error>(self, value: u64) -> Result<Value, E> {
        self.budget.take(0)?;
        Ok(value.into())
    }

    fn visit_i128<E: de::Error>(self, _: i128) -> Result<Value, E> {
        Err(E::custom("a number too large; put it in quotes if it is meant as text"))
    }

    fn visit_u128<E: de::Error>(self, _: u128) -> Result<Value, E> {
        self.visit_i128(0)
    }

    fn visit_f64<E: de::Error>(self, value: f64) -> Result<Value, E> {
        self.budget.take(0)?;
        Number::from_f64(value)
            .map(Value::Number)
            .ok_or_else(|| E::custom("not a finite number; put it in quotes if it is meant as text"))
    }

    fn visit_str<E: de::Error>(self, value: &str) -> Result<Value, E> {
        self.budget.take(value.len())?;
        Ok(value.into())
    }

    fn visit_string<E: de::Error>(self, value: String) -> Result<Value, E> {
        self.budget.take(value.len())?;
        Ok(value.into())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut access: A) -> Result<Value, A::Error> {
        self.budget.take(0)?;
        let inner = self.inner()?;
        let mut items = Vec::new();
        while let Some(item) = access.next_element_seed(inner)? {
            items.push(item);
        }
        Ok(Value::Array(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<Value, A::Error> {
        self.budget.take(0)?;
        let inner = self.inner()?;
        let (mut map, mut merged) = (Map::new(), Vec::new());
        while let Some(key) = access.next_key_seed(inner)? {
            let key = match key {
                Value::String(key) => key,
                Value::Bool(key) => key.to_string(),
                Value::Number(key) if !key.is_f64() => key.to_string(),
                _ => return Err(de::Error::custom("a key must be text; put it in quotes")),
            };
            if map.contains_key(&key) {
                return Err(de::Error::custom(format!("the key {key:?} stands twice in this mapping")));
            }
            let value = access.next_value_seed(inner)?;
            if key == "<<" { merged.push(value) } else { drop(map.insert(key, value)) }
        }
        // YAML's merge key, as kubectl reads it: what is written out wins, then what is merged first.
        for value in merged {
            let sources = if let Value::Array(list) = value { list } else { vec![value] };
            for source in sources {
                let Value::Object(source) = source else {
                    return Err(de::Error::custom("what follows << must be a mapping or a list of mappings"));
                };
                for (key, value) in source {
                    map.entry(key).or_insert(value);
                }
            }
        }
        Ok(Value::Object(map))
    }

    fn visit_enum<A: EnumAccess<'de>>(self, _: A) -> Result<Value, A::Error> {
        Err(de::Error::custom("manifests have no tags (!name); put the text in quotes"))
    }
}
