//! What is counted, under the names Authorino and go-grpc-prometheus use, so that their dashboards work.
//!
//! Labels are AuthConfigs that exist, so many of them, and a few fixed words; nothing a client sends becomes one.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use api::Name;
use metrics::{Counter, Histogram, counter, histogram};
use parking_lot::Mutex;

use crate::no_chain::NoChain;

/// AuthConfigs beyond this are counted together, as `other`: of each there are five series, of seventeen lines on the page.
const MOST_AUTH_CONFIGS: usize = 1_000;

const SERVICE: &str = "envoy.service.auth.v3.Authorization";

/// How a request was answered, as Authorino calls it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Status {
    /// It may pass.
    Ok,
    /// 401.
    Unauthenticated,
    /// Any other denial.
    PermissionDenied,
}

impl Status {
    const ALL: [(Status, &'static str); 3] = [
        (Status::Ok, "OK"),
        (Status::Unauthenticated, "UNAUTHENTICATED"),
        (Status::PermissionDenied, "PERMISSION_DENIED"),
    ];
}

/// Counters of the service as a whole.
pub struct Meters {
    started: Counter,
    handled: Counter,
    seconds: Histogram,
    statuses: [Counter; 3],
    panics: Counter,
    unreadable: Counter,
    no_such_config: Counter,
    reads_other: Counter,
    /// Of AuthConfigs that have been asked for.
    configs: Mutex<HashMap<Name, Arc<ConfigMeters>>>,
}

/// Counters of one AuthConfig, or of all that have none of their own.
pub struct ConfigMeters {
    total: Counter,
    seconds: Histogram,
    statuses: [Counter; 3],
}

impl Meters {
    /// Counters of the recorder that is installed now.
    pub fn new() -> Self {
        let fault = |reason: &'static str| counter!("auth_server_faults_total", "reason" => reason);
        let grpc = [("grpc_type", "unary"), ("grpc_service", SERVICE), ("grpc_method", "Check")];
        Self {
            started: counter!("grpc_server_started_total", &grpc),
            handled: counter!("grpc_server_handled_total", "grpc_type" => "unary", "grpc_service" => SERVICE, "grpc_method" => "Check", "grpc_code" => "OK"),
            seconds: histogram!("grpc_server_handling_seconds", &grpc),
            statuses: Status::ALL.map(|(_, status)| counter!("auth_server_response_status", "status" => status)),
            panics: fault("panic"),
            unreadable: fault("unreadable"),
            no_such_config: fault("no_such_config"),
            reads_other: fault("reads_other"),
            configs: Mutex::default(),
        }
    }

    /// Those of the AuthConfig `name`: the first so many that are asked for have counters of their own.
    pub(crate) fn of(&self, name: &Name) -> Arc<ConfigMeters> {
        let mut known = self.configs.lock();
        if let Some(meters) = known.get(name) {
            return meters.clone();
        }
        let other = Name::new("", "other");
        let name = if known.len() < MOST_AUTH_CONFIGS { name } else { &other };
        known.entry(name.clone()).or_insert_with(|| Arc::new(ConfigMeters::new(name))).clone()
    }

    /// A call has come in.
    pub fn started(&self) {
        self.started.increment(1);
    }

    /// A call has been answered.
    pub(crate) fn handled(&self, status: Status, took: Duration) {
        self.handled.increment(1);
        self.seconds.record(took);
        self.statuses[status as usize].increment(1);
    }

    /// Evaluation panicked.
    pub fn panicked(&self) {
        self.panics.increment(1);
    }

    /// A message could not be decoded.
    pub fn unreadable(&self) {
        self.unreadable.increment(1);
    }

    /// There was no chain to decide a check.
    pub(crate) fn no_chain(&self, why: NoChain) {
        let counter = match why {
            NoChain::Withheld | NoChain::Unnamed | NoChain::Unknown | NoChain::Refused => &self.no_such_config,
            NoChain::ReadsOther => &self.reads_other,
        };
        counter.increment(1);
    }
}

impl Default for Meters {
    fn default() -> Self {
        Self::new()
    }
}

impl ConfigMeters {
    fn new(name: &Name) -> Self {
        let labels = [("namespace", name.namespace.clone()), ("authconfig", name.name.clone())];
        let status = |status: &'static str| {
            let [namespace, authconfig] = labels.clone();
            counter!("auth_server_authconfig_response_status", &[namespace, authconfig, ("status", status.to_owned())])
        };
        Self {
            total: counter!("auth_server_authconfig_total", &labels),
            seconds: histogram!("auth_server_authconfig_duration_seconds", &labels),
            statuses: Status::ALL.map(|(_, text)| status(text)),
        }
    }

    /// A request has been decided.
    pub fn decided(&self, status: Status, took: Duration) {
        self.total.increment(1);
        self.seconds.record(took);
        self.statuses[status as usize].increment(1);
    }
}

macro_rules! opaque {
    ($($ty:ident),+) => { $(impl std::fmt::Debug for $ty {
        fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result { f.write_str(stringify!($ty)) }
    })+ };
}
opaque!(Meters, ConfigMeters);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn so_many_have_counters_of_their_own_and_the_others_share() {
        let meters = Meters::new();
        let config = |number: usize| meters.of(&Name::new("n", number.to_string()));
        let own: Vec<_> = (0..MOST_AUTH_CONFIGS).map(config).collect();
        assert!(!Arc::ptr_eq(&own[0], &own[1]));
        let shared = config(MOST_AUTH_CONFIGS);
        assert!(Arc::ptr_eq(&shared, &config(MOST_AUTH_CONFIGS + 1)));
        // Who has some keeps them, in whichever version.
        assert!(
            own.iter().enumerate().all(|(number, own)| Arc::ptr_eq(own, &config(number)) && !Arc::ptr_eq(own, &shared))
        );
    }
}
