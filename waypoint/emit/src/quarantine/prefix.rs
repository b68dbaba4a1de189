//! With what every text begins that a regular expression may match.

/// The longest beginning of `expression` that stands in it as plain letters; `/` if nothing is sure.
///
/// It need not be the longest there is, but whatever the expression matches begins with it.
pub fn of(expression: &str) -> String {
    let prefix = letters(expression);
    if prefix.is_empty() { "/".to_owned() } else { prefix }
}

fn letters(expression: &str) -> String {
    // Flags and quotations change what the letters mean.
    let plain_groups = expression.match_indices("(?").all(|(at, _)| expression[at..].starts_with("(?:"));
    if !plain_groups || expression.contains("\\Q") || alternatives(expression) {
        return String::new();
    }
    let mut letters = String::new();
    let mut rest = expression.strip_prefix('^').unwrap_or(expression).chars().peekable();
    while let Some(letter) = rest.next() {
        let letter = match letter {
            '\\' => match rest.next() {
                Some(escaped) if escaped.is_ascii_punctuation() => escaped,
                _ => break,
            },
            '.' | '+' | '*' | '?' | '(' | ')' | '|' | '[' | ']' | '{' | '}' | '^' | '$' => break,
            letter => letter,
        };
        match rest.peek() {
            // It may not be there at all.
            Some('*' | '?' | '{') => break,
            _ => letters.push(letter),
        }
    }
    letters
}

/// Whether the expression as a whole is a choice, or cannot be told to be none.
fn alternatives(expression: &str) -> bool {
    if !expression.contains('|') {
        return false;
    }
    let (mut depth, mut class) = (0_usize, None);
    let mut rest = expression.chars();
    while let Some(letter) = rest.next() {
        match (letter, class) {
            ('\\', _) => drop(rest.next()),
            // The first `]` of a class, also after `^`, is a member of it.
            ('^', Some(0)) => {}
            (']', Some(members)) if members > 0 => class = None,
            // A class within a class, such as [[:alpha:]], is not worth telling apart.
            ('[', Some(_)) => return true,
            (_, Some(members)) => class = Some(members + 1),
            ('[', None) => class = Some(0),
            ('(', None) => depth += 1,
            (')', None) => match depth.checked_sub(1) {
                Some(less) => depth = less,
                None => return true,
            },
            ('|', None) if depth == 0 => return true,
            _ => {}
        }
    }
    depth > 0 || class.is_some()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_letters_before_anything_that_varies() {
        for (expression, prefix) in [
            ("/zz(a|b|c){1,400}", "/zz"),
            ("/api/v[0-9]+/x", "/api/v"),
            ("/files\\.d/.*", "/files.d/"),
            ("/ab?c", "/a"),
            ("/ab+c", "/ab"),
            ("/a{3}", "/"),
            ("/a|/b", "/"),
            ("/a(x|/b", "/"),
            ("/a[(]|/b", "/"),
            ("/a[]|]x|/b", "/"),
            ("/a[]|]x", "/a"),
            ("/a[^]|]x|/b", "/"),
            ("/a[^]|]x", "/a"),
            ("/a\\|b", "/a|b"),
            ("(?i)/a", "/"),
            ("/a(?:b|c)", "/a"),
            ("/a\\Q(\\E|/b", "/"),
            ("/a\\d", "/a"),
            ("", "/"),
        ] {
            assert_eq!(of(expression), prefix, "{expression}");
        }
    }

    proptest! {
        #[test]
        fn whatever_an_expression_matches_begins_with_its_prefix(
            expression in "/[ab(|)\\[\\]^.*+?]{0,8}",
            path in "/[ab()|]{0,6}",
        ) {
            if let Ok(regex) = regex::Regex::new(&format!("^(?:{expression})$"))
                && regex.is_match(&path)
            {
                let prefix = of(&expression);
                prop_assert!(path.starts_with(&prefix), "{expression} matches {path}, prefix {prefix}");
            }
        }
    }
}
