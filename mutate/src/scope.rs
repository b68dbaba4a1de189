//! Which modules are mutated, and why those: they decide who may pass, or what is to be enforced.

use std::path::Path;

/// A part of the source that decides.
#[derive(Debug, Clone, Copy)]
pub struct Area {
    /// The name in the report.
    pub name: &'static str,
    /// Files and folders, from the root of the workspace.
    pub paths: &'static [&'static str],
    /// Why it is here.
    pub why: &'static str,
}

/// All of them.
pub const AREAS: [Area; 12] = [
    Area {
        name: "extauth",
        paths: &[
            "extauth/src/answer.rs",
            "extauth/src/chain.rs",
            "extauth/src/compile.rs",
            "extauth/src/headers.rs",
            "extauth/src/methods.rs",
            "extauth/src/methods",
            "extauth/src/patience.rs",
            "extauth/src/request.rs",
            "extauth/src/sealed.rs",
            "extauth/src/select.rs",
            "extauth/src/service.rs",
            "extauth/src/state.rs",
            "extauth/src/step.rs",
        ],
        why: "whether a request may pass",
    },
    Area {
        name: "asking others",
        paths: &[
            "outbound/src/address.rs",
            "outbound/src/breaker.rs",
            "outbound/src/grpc.rs",
            "outbound/src/server.rs",
            "outbound/src/source.rs",
            "api/src/gloo/auth_config/oauth",
            "api/src/gloo/auth_config/pass_through",
            "api/src/json.rs",
        ],
        why: "whether somebody is asked, and what is taken for an answer",
    },
    Area {
        name: "ratelimit rules",
        paths: &[
            "ratelimit/limit/src/algorithm.rs",
            "ratelimit/limit/src/algorithm",
            "ratelimit/limit/src/hit.rs",
            "ratelimit/limit/src/limit.rs",
            "ratelimit/limit/src/rate.rs",
            "ratelimit/limit/src/trial.rs",
            "ratelimit/limit/src/window.rs",
            "ratelimit/rules/src/config.rs",
            "ratelimit/rules/src/config",
            "ratelimit/rules/src/decide.rs",
            "ratelimit/rules/src/plan.rs",
            "ratelimit/rules/src/request.rs",
            "ratelimit/src/check.rs",
        ],
        why: "which limits govern a request, and whether there is room",
    },
    Area {
        name: "ratelimit stores",
        paths: &[
            "ratelimit/store/src/memory.rs",
            "ratelimit/store/src/memory",
            "ratelimit/store/src/redis/args.rs",
            "ratelimit/store/src/redis/batch.rs",
            "ratelimit/store/src/redis/naming.rs",
            "ratelimit/store/src/redis/slots.rs",
            "ratelimit/store/src/resilient.rs",
        ],
        why: "what was counted",
    },
    Area {
        name: "admission",
        paths: &[
            "api/src/admit.rs",
            "api/src/admit",
            "api/src/decode.rs",
            "api/src/fields.rs",
            "api/src/header.rs",
            "api/src/strict.rs",
        ],
        why: "what of a manifest is taken, and what is refused",
    },
    Area {
        name: "kinds and reach",
        paths: &[
            "api/src/fingerprint.rs",
            "api/src/redacted.rs",
            "api/src/rules",
            "api/src/reach.rs",
            "api/src/secret.rs",
            "api/src/snapshot.rs",
            "table/src",
        ],
        why: "what a broken object would have governed",
    },
    Area {
        name: "Gloo's kinds",
        paths: &[
            "api/src/gloo/auth_config.rs",
            "api/src/gloo/auth_config",
            "api/src/gloo/rate_limit_config.rs",
            "api/src/gloo/rate_limit_config",
            "api/src/gloo/route_option.rs",
            "api/src/gloo/route_option",
        ],
        why: "what a policy says, and which policies cannot be enforced",
    },
    Area { name: "Envoy's rules", paths: &["api/src/envoy.rs", "api/src/envoy"], why: "what Envoy would refuse" },
    Area {
        name: "provider",
        paths: &[
            "provider/src/assembly.rs",
            "provider/src/folder/addresses.rs",
            "provider/src/folder/assemble.rs",
            "provider/src/folder/creation.rs",
            "provider/src/folder/decision.rs",
            "provider/src/folder/declarations.rs",
            "provider/src/folder/engine.rs",
            "provider/src/folder/namespaces.rs",
            "provider/kubernetes/src/identity.rs",
            "provider/kubernetes/src/machine.rs",
            "provider/kubernetes/src/world.rs",
            "provider/kubernetes/src/wire.rs",
            "provider/src/manifest.rs",
        ],
        why: "which version of an object counts",
    },
    Area {
        name: "tunnel",
        paths: &["tunnel/src/header.rs", "tunnel/src/plan.rs", "tunnel/src/shares.rs", "tunnel/src/connection.rs"],
        why: "who is passed on, and as whom",
    },
    Area {
        name: "Envoys of a cluster",
        paths: &[
            "waypoint/src/authority/state.rs",
            "waypoint/src/deploy/class.rs",
            "waypoint/src/deploy/plan.rs",
            "waypoint/src/deploy/same.rs",
            "waypoint/src/proxy_name.rs",
            "xds/src/peer.rs",
            "xds/src/session",
            "xds/src/session.rs",
        ],
        why: "who is told what, and what is made and taken away for it",
    },
    Area {
        name: "resolve and emit",
        paths: &["waypoint/resolve/src", "waypoint/emit/src"],
        why: "which routes govern, what guards them, and what Envoy is told",
    },
];

/// What lies within them and decides nothing: it only warns of what is likely not meant.
const ADVICE: [&str; 2] =
    ["api/src/gloo/rate_limit_config/validate/contradict.rs", "api/src/gloo/rate_limit_config/validate/reach.rs"];

/// Files that only hold tests.
fn of_tests(path: &str) -> bool {
    path.ends_with("/tests.rs") || path.contains("/tests/")
}

/// The area of a file, by its number; none if it is not mutated.
pub fn area(path: &str) -> Option<usize> {
    let of = |area: &Area| {
        area.paths
            .iter()
            .any(|given| path == *given || path.strip_prefix(given).is_some_and(|rest| rest.starts_with('/')))
    };
    if !path.ends_with(".rs") || of_tests(path) || ADVICE.contains(&path) {
        return None;
    }
    AREAS.iter().position(of)
}

/// Paths of the list that are not under `root` any more.
pub fn gone(root: &Path) -> Vec<&'static str> {
    AREAS.iter().flat_map(|area| area.paths).copied().filter(|path| !root.join(path).exists()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_stands_for_its_files_but_not_for_their_tests() {
        assert_eq!(area("extauth/src/methods/api_key.rs"), Some(0));
        assert_eq!(area("extauth/src/methods.rs"), Some(0));
        assert_eq!(area("extauth/src/chain/tests.rs"), None);
        assert_eq!(area("extauth/src/meters.rs"), None);
        assert_eq!(area("extauth/src/methods_of_old.rs"), None);
    }

    #[test]
    fn every_path_is_there() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap_or(Path::new("."));
        assert_eq!(gone(root), Vec::<&str>::new(), "mend the list in scope.rs");
    }
}
