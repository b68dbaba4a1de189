//! Protobuf's integers in JSON: a number, a number with nothing after the point, or a string of either.

use std::fmt;
use std::marker::PhantomData;

use serde::de::{self, Deserializer, Visitor};

/// For `skip_serializing_if`.
pub(super) fn is_zero(number: &u32) -> bool {
    *number == 0
}

struct Integer<T>(&'static str, PhantomData<T>);

impl<T: TryFrom<i128>> Integer<T> {
    fn narrow<E: de::Error>(&self, number: i128) -> Result<T, E> {
        T::try_from(number).map_err(|_| E::custom(format!("{number} is out of range; write {}", self.0)))
    }
}

impl<T: TryFrom<i128>> Visitor<'_> for Integer<T> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }

    fn visit_i64<E: de::Error>(self, number: i64) -> Result<T, E> {
        self.narrow(number.into())
    }

    fn visit_u64<E: de::Error>(self, number: u64) -> Result<T, E> {
        self.narrow(number.into())
    }

    fn visit_f64<E: de::Error>(self, number: f64) -> Result<T, E> {
        // Beyond 2^53 a double no longer tells neighbouring integers apart.
        if number.fract() == 0.0 && number.abs() <= 9_007_199_254_740_992.0 {
            self.narrow(number as i128)
        } else {
            Err(E::custom(format!("{number} is not a whole number; write {}", self.0)))
        }
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<T, E> {
        if let Ok(number) = text.parse::<i64>() {
            return self.narrow(number.into());
        }
        Err(E::custom(format!("{text:?} is not a number; write {}", self.0)))
    }
}

/// `uint32`.
pub(super) mod uint32 {
    use super::*;

    pub(in super::super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u32, D::Error> {
        deserializer.deserialize_any(Integer("a whole number from 0 to 4294967295", PhantomData))
    }

    pub(in super::super) fn serialize<S: serde::Serializer>(number: &u32, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_u32(*number)
    }
}

/// `google.protobuf.UInt32Value`.
pub(super) mod optional_uint32 {
    use serde::Deserialize as _;

    use super::*;

    #[derive(serde::Deserialize)]
    struct Number(#[serde(with = "uint32")] u32);

    pub(in super::super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<u32>, D::Error> {
        Ok(Option::<Number>::deserialize(deserializer)?.map(|Number(number)| number))
    }

    pub(in super::super) fn serialize<S: serde::Serializer>(
        number: &Option<u32>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        serde::Serialize::serialize(number, serializer)
    }
}

/// `int64`, written as a number although protobuf would quote it: both are read.
pub(super) mod int64 {
    use super::*;

    pub(in super::super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<i64, D::Error> {
        deserializer.deserialize_any(Integer("a whole number", PhantomData))
    }

    pub(in super::super) fn serialize<S: serde::Serializer>(number: &i64, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_i64(*number)
    }
}
