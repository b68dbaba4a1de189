//! The corners of protobuf's JSON form, for `#[serde(with = …)]` and field types.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use serde::de::{self, Deserializer, Visitor};
use serde::{Deserialize, Serialize, Serializer};

/// A duration as protobuf JSON spells it (`"0.2s"`), and as Go does (`"1m30s"`, `"200ms"`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct ProtoDuration(pub Duration);

impl FromStr for ProtoDuration {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let wrong = || format!("{text:?} is not a duration; write for example \"1.5s\", \"200ms\" or \"1m30s\"");
        let mut rest = text;
        let mut total = Duration::ZERO;
        if rest.is_empty() {
            return Err(wrong());
        }
        while !rest.is_empty() {
            let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.').ok_or_else(wrong)?;
            let (number, tail) = rest.split_at(digits);
            let unit_len = tail.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(tail.len());
            let (unit, tail) = tail.split_at(unit_len);
            let seconds_per_unit = match unit {
                "h" => 3600.0,
                "m" => 60.0,
                "s" => 1.0,
                "ms" => 1e-3,
                "us" | "µs" => 1e-6,
                "ns" => 1e-9,
                _ => return Err(wrong()),
            };
            let number: f64 = number.parse().map_err(|_| wrong())?;
            let part = Duration::try_from_secs_f64(number * seconds_per_unit).map_err(|_| wrong())?;
            total = total.checked_add(part).ok_or_else(wrong)?;
            rest = tail;
        }
        // Protobuf's own bound on durations: about ten thousand years.
        if total.as_secs() > 315_576_000_000 { Err(wrong()) } else { Ok(Self(total)) }
    }
}

impl<'de> Deserialize<'de> for ProtoDuration {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(de::Error::custom)
    }
}

impl Serialize for ProtoDuration {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&format_args!("{}s", self.0.as_secs_f64()))
    }
}

/// Deserialises an enum from its proto name or its number.
///
/// `names` lists name and number; `what` is used in the message, e.g. `"a unit"`.
pub(crate) fn enumeration<'de, D: Deserializer<'de>>(
    deserializer: D,
    what: &'static str,
    names: &'static [(&'static str, i32)],
) -> Result<i32, D::Error> {
    struct EnumVisitor(&'static str, &'static [(&'static str, i32)]);

    impl EnumVisitor {
        fn list(&self) -> String {
            self.1.iter().map(|(name, _)| *name).collect::<Vec<_>>().join(", ")
        }
    }

    impl Visitor<'_> for EnumVisitor {
        type Value = i32;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            write!(f, "{}: one of {}", self.0, self.list())
        }

        fn visit_str<E: de::Error>(self, text: &str) -> Result<i32, E> {
            match self.1.iter().find(|(name, _)| *name == text) {
                Some((_, number)) => Ok(*number),
                None => Err(E::custom(match self.1.iter().find(|(name, _)| name.eq_ignore_ascii_case(text)) {
                    Some((name, _)) => {
                        format!("{text:?} is not {}, names count in this spelling; write {name}", self.0)
                    }
                    None => format!("{text:?} is not {}; write one of {}", self.0, self.list()),
                })),
            }
        }

        fn visit_i64<E: de::Error>(self, number: i64) -> Result<i32, E> {
            match self.1.iter().find(|(_, known)| i64::from(*known) == number) {
                Some((_, number)) => Ok(*number),
                None => Err(E::custom(format!("{number} is not {}; write one of {}", self.0, self.list()))),
            }
        }

        fn visit_u64<E: de::Error>(self, number: u64) -> Result<i32, E> {
            self.visit_i64(i64::try_from(number).unwrap_or(i64::MAX))
        }
    }

    deserializer.deserialize_any(EnumVisitor(what, names))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_in_both_spellings() {
        for (text, millis) in
            [("1s", 1000), ("0.2s", 200), ("200ms", 200), ("1m30s", 90_000), ("1h", 3_600_000), ("0s", 0)]
        {
            assert_eq!(text.parse(), Ok(ProtoDuration(Duration::from_millis(millis))), "{text}");
        }
        for text in ["", "5", "s", "-1s", "1 s", "1d", "1e400s", "1.2.3s", "99999999999999s"] {
            assert!(text.parse::<ProtoDuration>().is_err(), "{text}");
        }
    }
}
