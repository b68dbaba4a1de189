//! Classes of characters: ASCII one by one, and the bytes of everything else all or none.

/// A set of bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Class {
    /// One bit for each character of ASCII.
    ascii: u128,
    /// Whether it holds the bytes of which other characters are made.
    beyond: bool,
}

impl Class {
    /// What `.` stands for: everything, with or without a line break.
    pub fn dot(newline: bool) -> Class {
        let line_break = if newline { Class::default() } else { Class::range('\n', '\n') };
        line_break.negated()
    }

    /// The ASCII characters from `first` to `last`.
    pub fn range(first: char, last: char) -> Class {
        let bits = |c: char| u128::MAX >> (127 - u32::from(c).min(127));
        Class { ascii: bits(last) & !(bits(first) >> 1), beyond: false }
    }

    fn ranges(ranges: &[(char, char)]) -> Class {
        ranges.iter().fold(Class::default(), |all, (first, last)| all.with(Class::range(*first, *last)))
    }

    /// `\d`, `\s`, `\w` and their opposites in capitals.
    pub fn perl(letter: char) -> Class {
        let class = match letter.to_ascii_lowercase() {
            'd' => Class::range('0', '9'),
            's' => Class::ranges(&[('\t', '\n'), ('\x0c', '\r'), (' ', ' ')]),
            _ => Class::ranges(WORD),
        };
        if letter.is_ascii_uppercase() { class.negated() } else { class }
    }

    /// `[:name:]`.
    pub fn posix(name: &str) -> Option<Class> {
        Some(Class::ranges(match name {
            "alnum" => &[('0', '9'), ('A', 'Z'), ('a', 'z')],
            "alpha" => &[('A', 'Z'), ('a', 'z')],
            "ascii" => &[('\0', '\x7f')],
            "blank" => &[('\t', '\t'), (' ', ' ')],
            "cntrl" => &[('\0', '\x1f'), ('\x7f', '\x7f')],
            "digit" => &[('0', '9')],
            "graph" => &[('!', '~')],
            "lower" => &[('a', 'z')],
            "print" => &[(' ', '~')],
            "punct" => &[('!', '/'), (':', '@'), ('[', '`'), ('{', '~')],
            "space" => &[('\t', '\r'), (' ', ' ')],
            "upper" => &[('A', 'Z')],
            "word" => WORD,
            "xdigit" => &[('0', '9'), ('A', 'F'), ('a', 'f')],
            _ => return None,
        }))
    }

    /// What is in either.
    pub fn with(self, other: Class) -> Class {
        Class { ascii: self.ascii | other.ascii, beyond: self.beyond || other.beyond }
    }

    /// What is not in it.
    pub fn negated(self) -> Class {
        Class { ascii: !self.ascii, beyond: !self.beyond }
    }

    /// With the other case of each letter.
    pub fn folded(self) -> Class {
        let (upper, lower) = (Class::range('A', 'Z').ascii, Class::range('a', 'z').ascii);
        Class { ascii: self.ascii | (self.ascii & upper) << 32 | (self.ascii & lower) >> 32, ..self }
    }

    /// At most so many instructions match it: one for each range of bytes.
    pub fn instructions(self) -> usize {
        let begins = self.ascii & !(self.ascii << 1);
        // The bytes beyond ASCII go on from its last character.
        let own = self.beyond && self.ascii >> 127 == 0;
        (begins.count_ones() as usize + usize::from(own)).max(1)
    }
}

const WORD: &[(char, char)] = &[('0', '9'), ('A', 'Z'), ('_', '_'), ('a', 'z')];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_ends_where_ascii_does() {
        let last = Class::range('\x7f', '\x7f');
        assert_eq!(last, Class { ascii: 1 << 127, beyond: false });
        assert_eq!(Class::range('\x7f', 'é'), last);
        assert_eq!(Class::range('\0', '\u{10ffff}'), Class { ascii: u128::MAX, beyond: false });
    }
}
