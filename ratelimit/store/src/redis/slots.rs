//! Which of a Cluster's 16,384 slots a key is in, and who has it. Pure.

use redis::Value;

use super::access::Place;

/// How many slots a Cluster has.
pub(super) const SLOTS: u16 = 16_384;

/// The slot of `key`: of what stands in its first braces, if there is anything.
pub(super) fn slot(key: &str) -> u16 {
    let tag = key.split_once('{').and_then(|(_, rest)| rest.split_once('}')).map(|(tag, _)| tag);
    crc16(tag.filter(|tag| !tag.is_empty()).unwrap_or(key).as_bytes()) % SLOTS
}

/// CRC-16/XMODEM, as the Cluster specification has it.
fn crc16(bytes: &[u8]) -> u16 {
    bytes.iter().fold(0, |crc, byte| {
        (0..8).fold(
            crc ^ (u16::from(*byte) << 8),
            |crc, _| if crc & 0x8000 == 0 { crc << 1 } else { (crc << 1) ^ 0x1021 },
        )
    })
}

/// Slots from the first to the last, both included, and the master that has them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Range {
    pub(super) first: u16,
    pub(super) last: u16,
    pub(super) master: Place,
}

/// Reads the answer of `CLUSTER SLOTS` from the node at `asked`; what cannot be read is left out.
pub(super) fn ranges(answer: &Value, asked: &Place) -> Vec<Range> {
    let Value::Array(rows) = answer else { return Vec::new() };
    let number = |value: Option<&Value>| match value {
        Some(Value::Int(n)) => u16::try_from(*n).ok(),
        _ => None,
    };
    let range = |row: &Value| {
        let Value::Array(row) = row else { return None };
        let (first, last) = (number(row.first())?, number(row.get(1))?);
        let Some(Value::Array(master)) = row.get(2) else { return None };
        let host = match master.first() {
            Some(Value::BulkString(host)) => std::str::from_utf8(host).ok()?,
            Some(Value::SimpleString(host)) => host,
            _ => "",
        };
        let master = near(host, number(master.get(1))?, asked)?;
        (first <= last && last < SLOTS).then_some(Range { first, last, master })
    };
    rows.iter().filter_map(range).collect()
}

/// A node that does not know its own address is where we found it.
pub(super) fn near(host: &str, port: u16, asked: &Place) -> Option<Place> {
    match (host, asked) {
        ("?", _) => None,
        ("", Place::Tcp(host, _)) => Some(Place::Tcp(host.clone(), port)),
        ("", Place::Unix(_)) => None,
        (host, _) => Some(Place::Tcp(host.to_owned(), port)),
    }
}

/// How many slots `ranges` cover, for ranges that do not overlap.
pub(super) fn covered(ranges: &[Range]) -> u32 {
    ranges.iter().map(|range| u32::from(range.last - range.first) + 1).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_in_the_slots_that_redis_says() {
        // From CLUSTER KEYSLOT.
        for (key, expected) in
            [("123456789", 12739), ("foo", 12182), ("{foo}bar", 12182), ("foo{}", 5542), ("x{foo}{y}", 12182)]
        {
            assert_eq!(slot(key), expected, "{key}");
        }
    }

    #[test]
    fn a_node_without_a_name_is_where_it_was_asked_and_nonsense_is_left_out() {
        let text = |text: &str| Value::BulkString(text.as_bytes().to_vec());
        let row = |first, last, host, port| {
            Value::Array(vec![Value::Int(first), Value::Int(last), Value::Array(vec![host, Value::Int(port)])])
        };
        let answer = Value::Array(vec![
            row(0, 5, text("a"), 1),
            row(6, 7, Value::Nil, 2),
            row(8, 9, text("?"), 3),
            row(9, 8, text("a"), 3),
            row(10, 99_999, text("a"), 3),
            Value::Nil,
        ]);
        let found = ranges(&answer, &Place::Tcp("seed".to_owned(), 9));
        let at = |first, last, host: &str, port| Range { first, last, master: Place::Tcp(host.to_owned(), port) };
        assert_eq!(found, [at(0, 5, "a", 1), at(6, 7, "seed", 2)]);
        assert_eq!(covered(&found), 8);
    }
}
