//! Units of time, with the numbers Gloo and Envoy's rate-limit service share.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::proto_json;

/// The length of a window.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Unit {
    /// Not set; no rule may have it.
    #[default]
    Unknown,
    /// One second.
    Second,
    /// 60 seconds.
    Minute,
    /// 60 minutes.
    Hour,
    /// 24 hours.
    Day,
    /// 7 days.
    Week,
    /// 30 days.
    Month,
    /// 365 days.
    Year,
}

const NAMES: &[(&str, i32)] =
    &[("UNKNOWN", 0), ("SECOND", 1), ("MINUTE", 2), ("HOUR", 3), ("DAY", 4), ("MONTH", 5), ("YEAR", 6), ("WEEK", 7)];

impl Unit {
    /// The unit with this protobuf number, if there is one.
    pub fn of_number(number: i32) -> Option<Unit> {
        Some(match number {
            0 => Unit::Unknown,
            1 => Unit::Second,
            2 => Unit::Minute,
            3 => Unit::Hour,
            4 => Unit::Day,
            5 => Unit::Month,
            6 => Unit::Year,
            7 => Unit::Week,
            _ => return None,
        })
    }

    /// The protobuf number, the same in Gloo's schema and in Envoy's rate-limit service.
    pub fn number(self) -> i32 {
        match self {
            Unit::Unknown => 0,
            Unit::Second => 1,
            Unit::Minute => 2,
            Unit::Hour => 3,
            Unit::Day => 4,
            Unit::Month => 5,
            Unit::Year => 6,
            Unit::Week => 7,
        }
    }

    /// The unit of this name in any case; `None` for `unknown` and for names of none.
    pub fn named(name: &str) -> Option<Unit> {
        let (_, number) = NAMES.iter().find(|(known, _)| known.eq_ignore_ascii_case(name))?;
        Unit::of_number(*number).filter(|unit| *unit != Unit::Unknown)
    }

    /// The protobuf name.
    pub fn as_str(self) -> &'static str {
        NAMES.iter().find(|(_, number)| *number == self.number()).map_or("UNKNOWN", |(name, _)| name)
    }

    /// Length in seconds; `None` for [`Unit::Unknown`].
    pub fn seconds(self) -> Option<u32> {
        const DAY: u32 = 24 * 60 * 60;
        match self {
            Unit::Unknown => None,
            Unit::Second => Some(1),
            Unit::Minute => Some(60),
            Unit::Hour => Some(60 * 60),
            Unit::Day => Some(DAY),
            Unit::Week => Some(7 * DAY),
            Unit::Month => Some(30 * DAY),
            Unit::Year => Some(365 * DAY),
        }
    }
}

impl fmt::Display for Unit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl<'de> Deserialize<'de> for Unit {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        proto_json::enumeration(deserializer, "a unit", NAMES).map(|n| Unit::of_number(n).unwrap_or_default())
    }
}

impl Serialize for Unit {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_unit_has_a_length_a_number_and_a_name() {
        let day = 86_400;
        for (number, name, seconds) in [
            (0, "UNKNOWN", None),
            (1, "SECOND", Some(1)),
            (2, "MINUTE", Some(60)),
            (3, "HOUR", Some(3_600)),
            (4, "DAY", Some(day)),
            (5, "MONTH", Some(30 * day)),
            (6, "YEAR", Some(365 * day)),
            (7, "WEEK", Some(7 * day)),
        ] {
            let unit = Unit::of_number(number).unwrap_or_default();
            assert_eq!((unit.number(), unit.as_str(), unit.seconds()), (number, name, seconds));
            let known = seconds.map(|_| unit);
            assert_eq!((Unit::named(name), Unit::named(&name.to_lowercase())), (known, known));
        }
        assert_eq!((Unit::of_number(8), Unit::of_number(-1), Unit::named("FORTNIGHT")), (None, None, None));
    }
}
