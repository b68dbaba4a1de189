//! Who may do what: refuses callers with 403 `RBAC: access denied`, as Istio does.
//!
//! The filter stands in a chain twice, first for those who are refused, then for those who pass. Both are off until
//! the table of a Service port turns them on, for all of its routes at once, its refusals and redirects among them.

use ir::Settings;
use ir::access::Decision;
use serde_json::{Value, json};

use super::{Guards, HttpFilter, InChain};
use crate::access::{Verdict, matcher};
use crate::packed;

const MESSAGE: &str = "envoy.extensions.filters.http.rbac.v3.RBAC";

/// One of the two filters.
#[derive(Debug)]
pub struct Rbac(pub Verdict);

impl HttpFilter for Rbac {
    fn name(&self) -> &'static str {
        match self.0 {
            Verdict::Deny => "envoy.filters.http.rbac.deny",
            Verdict::Allow => "envoy.filters.http.rbac.allow",
        }
    }

    fn chain(&self, _settings: &Settings) -> Option<InChain> {
        InChain::off(MESSAGE, json!({}))
    }

    fn table(&self, Guards { access, .. }: Guards<'_>) -> Option<Value> {
        let decides = |decision: &Decision| match self.0 {
            Verdict::Deny => (!decision.deny.is_empty()).then(|| matcher(&decision.deny, Verdict::Deny)),
            Verdict::Allow => decision.allow.as_ref().map(|allow| matcher(allow, Verdict::Allow)),
        };
        let (enforced, tried) = (decides(&access.enforced), decides(&access.tried));
        if enforced.is_none() && tried.is_none() {
            return None;
        }
        let mut rbac = json!({});
        if let Some(matcher) = enforced {
            rbac["matcher"] = matcher;
        }
        if let Some(matcher) = tried {
            rbac["shadow_matcher"] = matcher;
            rbac["shadow_rules_stat_prefix"] = json!(match self.0 {
                Verdict::Deny => "istio_dry_run_deny_",
                Verdict::Allow => "istio_dry_run_allow_",
            });
        }
        Some(packed("envoy.extensions.filters.http.rbac.v3.RBACPerRoute", json!({"rbac": rbac})))
    }
}
