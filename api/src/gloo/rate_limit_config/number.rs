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

#[cfg(test)]
mod tests {
    use serde::Deserialize;
    use serde_json::json;

    use super::*;

    #[derive(Debug, PartialEq, Deserialize)]
    struct Numbers {
        #[serde(with = "uint32")]
        small: u32,
        #[serde(with = "int64")]
        large: i64,
    }

    #[test]
    fn a_number_is_read_however_it_is_written_and_none_is_rounded() {
        let read = |value: serde_json::Value| {
            serde_json::from_value::<Numbers>(json!({"small": 1, "large": value})).map(|numbers| numbers.large)
        };
        for (value, number) in [
            (json!(12), 12),
            (json!(12.0), 12),
            (json!("12"), 12),
            (json!(-12.0), -12),
            (json!("-12"), -12),
            (json!(9_007_199_254_740_992.0), 9_007_199_254_740_992),
            (json!(i64::MAX), i64::MAX),
        ] {
            assert_eq!(read(value.clone()).ok(), Some(number), "{value}");
        }
        // Of doubles as large as this one there is only every second.
        for value in [json!(1.5), json!(-0.5), json!(9_007_199_254_740_994.0), json!("1.5"), json!(""), json!(true)] {
            assert!(read(value.clone()).is_err(), "{value}");
        }
        let small = |value: serde_json::Value| {
            serde_json::from_value::<Numbers>(json!({"small": value, "large": 1})).map(|numbers| numbers.small)
        };
        assert_eq!((small(json!(u32::MAX)).ok(), small(json!(2.0)).ok()), (Some(u32::MAX), Some(2)));
        for value in [json!(4_294_967_296_u64), json!(4_294_967_296.0), json!(-1), json!(-1.0), json!(0.5)] {
            assert!(small(value.clone()).is_err(), "{value}");
        }
    }
}
