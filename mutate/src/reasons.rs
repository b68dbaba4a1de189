//! Survivors that stand, each with its reason: `docs/mutants.md`.

use std::collections::BTreeMap;

/// Reasons by the mutant's name.
pub type Reasons = BTreeMap<String, String>;

/// Reads lines of the form ``- `mutant`: reason``. A name that ends with `*` stands for all that begin so.
pub fn read(page: &str) -> Reasons {
    let line = |line: &str| {
        let (name, reason) = line.strip_prefix("- `")?.split_once("`: ")?;
        (!reason.trim().is_empty()).then(|| (name.to_owned(), reason.trim().to_owned()))
    };
    page.lines().filter_map(line).collect()
}

/// The reason for which the mutant called `key` may live.
pub fn of<'r>(reasons: &'r Reasons, key: &str) -> Option<&'r str> {
    let exact = reasons.get(key);
    let wide = || {
        reasons
            .iter()
            .find(|(name, _)| name.strip_suffix('*').is_some_and(|front| key.starts_with(front)))
            .map(|(_, reason)| reason)
    };
    exact.or_else(wide).map(String::as_str)
}

/// Names that no mutant has any more.
pub fn stale<'r>(reasons: &'r Reasons, keys: &[String]) -> Vec<&'r str> {
    let names = |name: &&str| match name.strip_suffix('*') {
        Some(front) => !keys.iter().any(|key| key.starts_with(front)),
        None => !keys.iter().any(|key| key == name),
    };
    reasons.keys().map(String::as_str).filter(names).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reason_is_for_one_mutant_or_for_all_that_begin_alike() {
        let page = "# Survivors\n\n- `a/b.rs f: \"x || y\" is true`: both mean the same\n- `a/b.rs g: *`: only faster\n- `no`:\n";
        let reasons = read(page);
        assert_eq!(of(&reasons, "a/b.rs f: \"x || y\" is true"), Some("both mean the same"));
        assert_eq!(of(&reasons, "a/b.rs g: 1 is 2"), Some("only faster"));
        assert_eq!(of(&reasons, "a/b.rs f: \"x || y\" is false"), None);
        assert_eq!(stale(&reasons, &["a/b.rs g: 1 is 2".to_owned()]), ["a/b.rs f: \"x || y\" is true"]);
    }
}
