//! Patterns in which `*` stands for any text, none included.

/// A text with at least one `*`, cut at each.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wildcard {
    /// As written.
    pub text: Box<str>,
    first: usize,
    last: usize,
    middle: Box<[Box<str>]>,
}

impl Wildcard {
    /// `None` for a text without `*`, which matches only itself.
    pub fn new(text: &str) -> Option<Wildcard> {
        let (first, rest) = text.split_once('*')?;
        let (middle, last) = rest.rsplit_once('*').unwrap_or(("", rest));
        let middle = middle.split('*').filter(|piece| !piece.is_empty()).map(Box::from).collect();
        Some(Wildcard { text: text.into(), first: first.len(), last: last.len(), middle })
    }

    /// Whether `value` is what the pattern describes, from end to end.
    pub fn matches(&self, value: &str) -> bool {
        let first = self.text.get(..self.first).unwrap_or_default();
        let last = self.text.get(self.text.len() - self.last..).unwrap_or_default();
        let Some(mut left) = value.strip_prefix(first).and_then(|left| left.strip_suffix(last)) else { return false };
        self.middle.iter().all(|piece| match left.find(&**piece) {
            Some(at) => {
                left = left.get(at + piece.len()..).unwrap_or_default();
                true
            }
            None => false,
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_star_is_any_text_wherever_it_stands() {
        for (pattern, yes, no) in [
            ("foo*", "foo foobar", "fo xfoo"),
            ("*", "a anything", ""),
            ("a*b", "ab axb aabb", "a b abx"),
            ("a*b*c", "abc axbxc abbc", "ac acb bc"),
            ("aa*aa", "aaaa aaxaa", "aaa aa"),
            ("**a", "a xa", "ab"),
        ] {
            let wildcard = Wildcard::new(pattern).unwrap();
            assert!(yes.split(' ').all(|value| wildcard.matches(value)), "{pattern}");
            assert!(!no.split(' ').filter(|value| !value.is_empty()).any(|value| wildcard.matches(value)), "{pattern}");
        }
        assert_eq!(Wildcard::new("plain"), None);
    }

    proptest! {
        /// The plainest definition there is, by recursion.
        #[test]
        fn as_the_recursive_definition_says(pattern in "[ab*]{0,6}", value in "[ab]{0,8}") {
            fn is_match(pattern: &[u8], value: &[u8]) -> bool {
                match pattern {
                    [] => value.is_empty(),
                    [b'*', rest @ ..] => (0..=value.len()).any(|skip| is_match(rest, &value[skip..])),
                    [byte, rest @ ..] => value.first() == Some(byte) && is_match(rest, &value[1..]),
                }
            }
            if let Some(wildcard) = Wildcard::new(&pattern) {
                prop_assert_eq!(wildcard.matches(&value), is_match(pattern.as_bytes(), value.as_bytes()));
            }
        }
    }
}
