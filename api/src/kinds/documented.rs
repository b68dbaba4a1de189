//! Holds `docs/kinds.md` against the kinds and fields there are.

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use serde::de::DeserializeOwned;
    use serde_json::json;

    use super::super::{NOT_YET, Unserved};
    use crate::admit::NAMESAKES;
    use crate::fields::{Step, known};
    use crate::gateway::{Gateway, GrpcRoute, HttpRoute, ReferenceGrant};
    use crate::gloo::{AuthConfig, RateLimitConfig, RouteOption};
    use crate::istio::{AuthorizationPolicy, RequestAuthentication};
    use crate::object::Kind;

    const PAGE: &str = include_str!("../../../docs/kinds.md");

    /// What stands between backticks in `text`.
    fn named(text: &str) -> BTreeSet<&str> {
        text.split('`').skip(1).step_by(2).collect()
    }

    /// The part of the page under the heading of `title`.
    fn section(title: &str) -> &'static str {
        let (_, rest) = PAGE.split_once(&format!("\n## {title}\n")).unwrap_or_else(|| panic!("no heading {title}"));
        rest.split("\n## ").next().unwrap_or_default()
    }

    /// The fields of `T` at `path`, a text of keys with `[]` for the items of a list.
    fn fields<T: DeserializeOwned>(path: &str) -> &'static [&'static str] {
        let steps: Vec<Step> = path
            .split('.')
            .filter(|key| !key.is_empty())
            .map(|key| if key == "[]" { Step::Index(0) } else { Step::Key(key.to_owned()) })
            .collect();
        known::<T>(&steps).unwrap_or_else(|| panic!("{path:?} tells no fields"))
    }

    /// A field by its name in YAML; the other spellings that Gloo's readers take are not documented one by one.
    fn is_written(field: &str) -> bool {
        !field.contains('_')
    }

    fn missing<T: DeserializeOwned>(title: &str, paths: &[&str]) -> Vec<String> {
        let named = named(section(title));
        let all = paths.iter().flat_map(|path| fields::<T>(path).iter().map(move |field| (path, *field)));
        let absent = all.filter(|(_, field)| is_written(field) && !named.contains(field));
        absent.map(|(path, field)| format!("{title}: {path}.{field}")).collect()
    }

    #[test]
    fn the_page_names_every_kind_with_its_versions() {
        for kind in Kind::ALL {
            let begins = format!("| `{}` |", kind.as_str());
            let row = PAGE.lines().find(|line| line.starts_with(&begins)).unwrap_or_else(|| panic!("no row {begins}"));
            for version in kind.api_versions() {
                // The same group is not written twice.
                let short = version.rsplit('/').next().unwrap_or_default();
                assert!(named(row).contains(version) || named(row).contains(short), "{begins} {version}");
                assert!(row.contains(kind.group()), "{begins} {version}");
            }
        }
        let rows = PAGE.lines().filter(|line| line.starts_with("| `") && line.contains("v1")).count();
        let groups: BTreeSet<&str> = NOT_YET.iter().map(|unserved| unserved.group).collect();
        assert_eq!(rows, Kind::ALL.len() + groups.len() + NAMESAKES.len(), "no row is of a kind that is not there");
    }

    #[test]
    fn the_page_names_what_is_not_served_yet_and_what_is_anothers() {
        let later = section("Kinds that are not served yet");
        for Unserved { group, kind, .. } in NOT_YET {
            let row = later.lines().find(|line| line.contains(&format!("`{group}/v1`"))).unwrap_or_default();
            assert!(named(row).contains(kind), "{group} {kind}");
        }
        for (group, kind, _) in NAMESAKES {
            let begins = format!("| `{kind}` | `{group}");
            assert!(section("Kinds of other products").lines().any(|line| line.starts_with(&begins)), "{begins}");
        }
    }

    #[test]
    fn the_page_names_every_field_of_the_kinds_that_decide() {
        let mut absent = missing::<HttpRoute>("HTTPRoute", &["spec", "spec.parentRefs.[]", "spec.rules.[]"]);
        for path in ["matches.[]", "backendRefs.[]", "filters.[]", "timeouts"] {
            absent.extend(missing::<HttpRoute>("HTTPRoute", &[&format!("spec.rules.[].{path}")]));
        }
        absent.extend(missing::<GrpcRoute>("GRPCRoute", &["spec", "spec.parentRefs.[]", "spec.rules.[]"]));
        for path in ["matches.[]", "matches.[].method", "backendRefs.[]", "filters.[]"] {
            absent.extend(missing::<GrpcRoute>("GRPCRoute", &[&format!("spec.rules.[].{path}")]));
        }
        absent.extend(missing::<Gateway>("Gateway", &["spec", "spec.listeners.[]", "spec.listeners.[].allowedRoutes"]));
        absent.extend(missing::<ReferenceGrant>("ReferenceGrant", &["spec", "spec.from.[]", "spec.to.[]"]));
        absent.extend(missing::<RouteOption>("RouteOption", &["spec", "spec.targetRefs.[]", "spec.options"]));
        for option in ["extauth", "ratelimitBasic", "headerManipulation", "retries", "cors", "faults"] {
            absent.extend(missing::<RouteOption>("RouteOption", &[&format!("spec.options.{option}")]));
        }
        absent.extend(missing::<AuthConfig>("AuthConfig", &["spec", "spec.configs.[]"]));
        for method in ["apiKeyAuth", "basicAuth", "passThroughAuth"] {
            absent.extend(missing::<AuthConfig>("AuthConfig", &[&format!("spec.configs.[].{method}")]));
        }
        for part in ["grpc", "grpc.tlsConfig", "http", "http.request", "http.response"] {
            let path = format!("spec.configs.[].passThroughAuth.{part}");
            absent.extend(missing::<AuthConfig>("AuthConfig", &[&path]));
        }
        for part in [
            "",
            ".accessTokenValidation",
            ".accessTokenValidation.jwt",
            ".accessTokenValidation.jwt.remoteJwks",
            ".accessTokenValidation.introspection",
            ".oidcAuthorizationCode",
            ".oidcAuthorizationCode.session",
            ".oidcAuthorizationCode.session.cookie",
        ] {
            let path = format!("spec.configs.[].oauth2{part}");
            absent.extend(missing::<AuthConfig>("AuthConfig", &[&path]));
        }
        absent.extend(missing::<AuthorizationPolicy>(
            "AuthorizationPolicy",
            &["spec", "spec.targetRefs.[]", "spec.rules.[]"],
        ));
        for path in ["from.[].source", "to.[].operation", "when.[]"] {
            absent.extend(missing::<AuthorizationPolicy>("AuthorizationPolicy", &[&format!("spec.rules.[].{path}")]));
        }
        let tokens = ["spec", "spec.targetRefs.[]", "spec.jwtRules.[]", "spec.jwtRules.[].fromHeaders.[]"];
        absent.extend(missing::<RequestAuthentication>("RequestAuthentication", &tokens));
        let claims = ["spec.jwtRules.[].outputClaimToHeaders.[]"];
        absent.extend(missing::<RequestAuthentication>("RequestAuthentication", &claims));
        let raw =
            ["spec", "spec.raw", "spec.raw.descriptors.[]", "spec.raw.setDescriptors.[]", "spec.raw.rateLimits.[]"];
        absent.extend(missing::<RateLimitConfig>("RateLimitConfig", &raw));
        absent.extend(missing::<RateLimitConfig>("RateLimitConfig", &["spec.raw.rateLimits.[].actions.[]"]));
        assert!(absent.is_empty(), "docs/kinds.md does not name {absent:#?}");
    }

    /// What the code says of a field is what the page says.
    #[test]
    fn the_page_calls_served_what_is_served_and_refused_what_is_refused() {
        let page = section("RouteOption");
        let (served, refused) =
            page.split_once("Options that are refused").unwrap_or_else(|| panic!("no such sentence"));
        for option in fields::<RouteOption>("spec.options").iter().filter(|option| is_written(option)) {
            let mut options = json!({});
            options[*option] = json!({});
            let manifest = json!({"apiVersion": "gateway.solo.io/v1", "kind": "RouteOption",
            "metadata": {"name": "a", "namespace": "n"}, "spec": {"options": options}});
            let not_yet = |problem: &crate::Problem| problem.message.contains("is not supported yet");
            let is_refused = crate::admit(&manifest).problems.iter().any(not_yet);
            assert_eq!(
                (named(served).contains(option), named(refused).contains(option)),
                (!is_refused, is_refused),
                "{option}"
            );
        }
        let page = section("AuthConfig");
        let (served, refused) = page.split_once("Types that are refused").unwrap_or_else(|| panic!("no such sentence"));
        let types =
            fields::<AuthConfig>("spec.configs.[]").iter().filter(|field| is_written(field) && **field != "name");
        for method in types {
            let mut config = json!({});
            config[*method] = json!({});
            let manifest = json!({"apiVersion": "enterprise.gloo.solo.io/v1", "kind": "AuthConfig",
            "metadata": {"name": "a", "namespace": "n"}, "spec": {"configs": [config]}});
            let not_yet = |problem: &crate::Problem| problem.message.contains("is not implemented yet");
            let is_refused = crate::admit(&manifest).problems.iter().any(not_yet);
            assert_eq!(
                (named(served).contains(method), named(refused).contains(method)),
                (!is_refused, is_refused),
                "{method}"
            );
        }
    }
}
