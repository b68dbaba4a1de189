//! Mistakes made on purpose, to see what an application makes of them.

use ir::{Policy, Settings};
use serde_json::{Value, json};

use super::{HttpFilter, InChain};
use crate::{duration, packed};

const MESSAGE: &str = "envoy.extensions.filters.http.fault.v3.HTTPFault";

/// Fault injection.
#[derive(Debug)]
pub struct Fault;

impl HttpFilter for Fault {
    fn name(&self) -> &'static str {
        "envoy.filters.http.fault"
    }

    fn chain(&self, _settings: &Settings) -> Option<InChain> {
        InChain::on(MESSAGE, json!({}))
    }

    fn route(&self, policy: &Policy) -> Option<Value> {
        let faults = policy.faults.as_ref()?;
        // In millionths, so that a fraction of a percent is not lost.
        let share = |millionths: u32| json!({"numerator": millionths, "denominator": "MILLION"});
        let mut fields = json!({});
        if let Some(abort) = &faults.abort {
            fields["abort"] = json!({"http_status": abort.status, "percentage": share(abort.millionths)});
        }
        if let Some(delay) = &faults.delay {
            fields["delay"] = json!({"fixed_delay": duration(delay.time), "percentage": share(delay.millionths)});
        }
        Some(packed(MESSAGE, fields))
    }
}
