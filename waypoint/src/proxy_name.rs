//! What is called after a Gateway: the objects of its proxy, among them the ServiceAccount by which it is known.

use api::Name;

/// What every such name begins with.
pub const PREFIX: &str = "gloo-proxy-";
/// The longest name of a Service, and the longest value of a label.
const LONGEST: usize = 63;
/// So many digits tell apart what is cut short.
const DIGITS: usize = 16;

/// The name of what belongs to the proxy of the Gateway `gateway`: no two Gateways of a namespace have the same.
pub fn proxy_name(gateway: &str) -> String {
    let plain = format!("{PREFIX}{gateway}");
    let looks_cut = gateway.rsplit_once('-').is_some_and(|(_, end)| is_digest(end));
    if plain.len() <= LONGEST && !gateway.contains('.') && !looks_cut { plain } else { cut(&plain) }
}

/// `name` as the value of a label: itself, or cut short.
pub fn label(name: &str) -> String {
    if name.len() <= LONGEST { name.to_owned() } else { cut(name) }
}

/// Whether the ServiceAccount `account` is that of the proxies of which `node` is one.
pub fn speaks_for(account: &Name, node: &str) -> bool {
    let Some((namespace, gateway)) = node.split_once('~') else { return false };
    !gateway.is_empty() && account.namespace == namespace && account.name == proxy_name(gateway)
}

/// The beginning of `name`, with a digest of all of it; without dots, which not every name may have.
fn cut(name: &str) -> String {
    let digest = blake3::hash(name.as_bytes()).to_hex();
    let begin: String = name.replace('.', "-").chars().take(LONGEST - DIGITS - 1).collect();
    format!("{}-{}", begin.trim_end_matches('-'), &digest.as_str()[..DIGITS])
}

fn is_digest(text: &str) -> bool {
    text.len() == DIGITS && text.bytes().all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_that_fits_is_kept_and_others_are_cut_and_never_the_same() {
        assert_eq!(proxy_name("gloo-waypoint"), "gloo-proxy-gloo-waypoint");
        let long = "g".repeat(253);
        let names = ["a", "a-b", "a.b", &"g".repeat(52), &"g".repeat(53), &long, &long[1..], "a.c"].map(proxy_name);
        for name in &names {
            let fits = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
            assert!(name.len() <= LONGEST && name.chars().all(fits) && !name.ends_with('-'), "{name}");
        }
        assert_eq!(names.iter().collect::<std::collections::BTreeSet<_>>().len(), names.len(), "{names:?}");
        // Nobody calls a Gateway so that it gets the name of another's.
        let other = proxy_name("a.b");
        let impostor = other.strip_prefix(PREFIX).expect("the prefix");
        assert_ne!(proxy_name(impostor), other);
        assert_eq!((label("a.b"), label(&long).len()), ("a.b".to_owned(), LONGEST));
        assert_eq!((label(&long[..LONGEST]), label(&long[..=LONGEST]).len()), (long[..LONGEST].to_owned(), LONGEST));
        // A name that only looks a little as if it were cut short is kept.
        for plain in ["a-0123456789abcdeg", "a-g123456789abcdef", "a-0123456789abcde", "a-0123456789abcdef0"] {
            assert_eq!(proxy_name(plain), format!("{PREFIX}{plain}"));
        }
        assert_ne!(proxy_name("a-0123456789abcdef"), "gloo-proxy-a-0123456789abcdef");
    }

    #[test]
    fn a_service_account_speaks_for_the_node_of_its_own_gateway() {
        let account = |namespace: &str, name: &str| Name::new(namespace, name);
        assert!(speaks_for(&account("shop", "gloo-proxy-a"), "shop~a"));
        for (account, node) in [
            (account("shop", "gloo-proxy-a"), "shop~b"),
            (account("bank", "gloo-proxy-a"), "shop~a"),
            (account("shop", "a"), "shop~a"),
            (account("shop", "default"), "shop~a"),
            (account("shop", "gloo-proxy-"), "shop~"),
            (account("shop", "gloo-proxy-a"), "gloo-proxy-a"),
            (account("", ""), ""),
        ] {
            assert!(!speaks_for(&account, node), "{account:?} {node}");
        }
    }
}
