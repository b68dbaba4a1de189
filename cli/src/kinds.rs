//! What kinds are called on the command line.

use api::Kind;
use provider::findings::did_you_mean;

/// Singular or plural, in any case, with or without its group, or kubectl's short name; nothing for `all`.
pub fn find_kind(text: &str) -> Result<Option<Kind>, String> {
    let lower = text.to_ascii_lowercase();
    let (plain, group) = lower.split_once('.').unwrap_or((&lower, ""));
    let wanted = match plain {
        "all" => return Ok(None),
        "svc" => "services",
        "ns" => "namespaces",
        "po" => "pods",
        "sa" => "serviceaccounts",
        "deploy" => "deployments",
        "cm" => "configmaps",
        "gtw" | "waypoint" | "waypoints" => "gateways",
        "route" | "routes" => "httproutes",
        "gc" => "gatewayclasses",
        "ac" => "authconfigs",
        "rlc" => "ratelimitconfigs",
        "rtopts" | "ro" => "routeoptions",
        other => other,
    };
    let is_it = |kind: &&Kind| {
        (kind.plural() == wanted || kind.as_str().eq_ignore_ascii_case(wanted))
            && (group.is_empty() || kind.api_versions().iter().any(|version| version.starts_with(group)))
    };
    if let Some(kind) = Kind::ALL.iter().find(is_it) {
        return Ok(Some(*kind));
    }
    let known: Vec<&str> = Kind::ALL.iter().map(|kind| kind.plural()).collect();
    Err(match did_you_mean(wanted, known.iter().copied()) {
        Some(near) => format!("{text:?} is not a kind; did you mean {near}?"),
        None => format!("{text:?} is not a kind; write one of {}", known.join(", ")),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_go_by_all_their_names() {
        for text in ["httproutes", "HTTPRoute", "httproute", "httproutes.gateway.networking.k8s.io"] {
            assert_eq!(find_kind(text), Ok(Some(Kind::HttpRoute)), "{text}");
        }
        assert_eq!(find_kind("rlc"), Ok(Some(Kind::RateLimitConfig)));
        assert_eq!(find_kind("all"), Ok(None));
        assert!(find_kind("gateways.networking.istio.io").is_err(), "another group's");
        assert_eq!(find_kind("httproutse"), Err("\"httproutse\" is not a kind; did you mean httproutes?".to_owned()));
        assert!(find_kind("nonsense").is_err_and(|why| why.contains("write one of")));
    }
}
