//! What a client refuses, in words that may be shown.

use proto::ResourceType;

/// A resource that the client refuses.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Nack {
    /// Its type.
    pub kind: ResourceType,
    /// Its name.
    pub name: String,
    /// The client's reason, shortened.
    pub message: String,
    /// The version of the resource that was refused.
    pub version: String,
    /// The generation with which it was sent.
    pub generation: u64,
}

/// Why one version of one resource was refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Rejection {
    pub version: String,
    pub message: String,
    pub generation: u64,
}

/// Envoy quotes the whole message that broke a constraint.
const LONGEST: usize = 600;

/// The client's reason as it may appear in logs and statuses.
///
/// For secrets it is withheld: Envoy may quote what it refuses.
pub(super) fn presentable(kind: ResourceType, message: &str) -> String {
    if kind == ResourceType::Secret {
        return "refused by Envoy; the reason is withheld because it may quote the secret".to_owned();
    }
    let mut text: String = message.split_whitespace().collect::<Vec<_>>().join(" ");
    if let Some((end, _)) = text.char_indices().nth(LONGEST) {
        text.truncate(end);
        text.push('…');
    }
    if text.is_empty() { "refused by Envoy without a reason".to_owned() } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reasons_are_one_short_line_and_never_quote_a_secret() {
        let long = "a\n b\t".repeat(1000);
        let text = presentable(ResourceType::Route, &long);
        assert!(text.starts_with("a b a b") && text.chars().count() == LONGEST + 1 && !text.contains('\n'));
        assert!(!presentable(ResourceType::Secret, "bad key: hunter2").contains("hunter2"));
        let fits = "x".repeat(LONGEST);
        assert_eq!(presentable(ResourceType::Route, &fits), fits);
        for nothing in ["", " \n\t"] {
            assert_eq!(presentable(ResourceType::Route, nothing), "refused by Envoy without a reason");
        }
    }
}
