//! What is counted: per binding, under ztunnel's metric names.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use metrics::Counter;

/// Why a connection was not carried.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Reason {
    /// The plan says to refuse it, or has no such binding any more.
    Refused,
    /// As many connections as allowed are open.
    Limit,
    /// The caller's address has as many as one address may have.
    SourceLimit,
    /// The Service has as many as one Service may have.
    ServiceLimit,
    /// The waypoint or endpoint refused the connection.
    ConnectRefused,
    /// The waypoint or endpoint did not answer in time.
    ConnectTimeout,
    /// It could not be reached for another reason.
    ConnectError,
    /// No address was found for the endpoint's host name.
    NameLookup,
    /// The service has no endpoints.
    NoEndpoints,
    /// The endpoint is the binding itself.
    Loop,
    /// The endpoint is an address of our own that no Service may expose.
    Reserved,
    /// The caller's identity cannot be written in a header.
    Identity,
}

impl Reason {
    /// Every reason.
    pub const ALL: [Reason; 12] = [
        Reason::Refused,
        Reason::Limit,
        Reason::SourceLimit,
        Reason::ServiceLimit,
        Reason::ConnectRefused,
        Reason::ConnectTimeout,
        Reason::ConnectError,
        Reason::NameLookup,
        Reason::NoEndpoints,
        Reason::Loop,
        Reason::Reserved,
        Reason::Identity,
    ];

    /// The value of the metric's label.
    pub fn as_str(self) -> &'static str {
        match self {
            Reason::Refused => "refused",
            Reason::Limit => "limit",
            Reason::SourceLimit => "source_limit",
            Reason::ServiceLimit => "service_limit",
            Reason::ConnectRefused => "connect_refused",
            Reason::ConnectTimeout => "connect_timeout",
            Reason::ConnectError => "connect_error",
            Reason::NameLookup => "name_lookup",
            Reason::NoEndpoints => "no_endpoints",
            Reason::Loop => "loop",
            Reason::Reserved => "reserved",
            Reason::Identity => "identity",
        }
    }
}

const OPENED: &str = "istio_tcp_connections_opened_total";
const CLOSED: &str = "istio_tcp_connections_closed_total";
const SENT: &str = "istio_tcp_sent_bytes_total";
const RECEIVED: &str = "istio_tcp_received_bytes_total";
const FAILED: &str = "tunnel_connections_failed_total";

/// Describes the metrics to the process's recorder, once.
pub fn describe_metrics() {
    metrics::describe_counter!(OPENED, "Connections passed on to their target, by destination.");
    metrics::describe_counter!(CLOSED, "Connections that were passed on and have ended, by destination.");
    metrics::describe_counter!(SENT, "Bytes sent to callers, by destination.");
    metrics::describe_counter!(RECEIVED, "Bytes received from callers, by destination.");
    metrics::describe_counter!(FAILED, "Connections reset without being passed on, by destination and reason.");
}

/// The counters of one binding.
pub(crate) struct Counters {
    destination: String,
    open: AtomicUsize,
    failed: [AtomicU64; Reason::ALL.len()],
    opened_total: Counter,
    closed_total: Counter,
    /// Bytes to the caller.
    pub sent: Counter,
    /// Bytes from the caller.
    pub received: Counter,
}

impl Counters {
    pub fn new(binding: SocketAddr) -> Self {
        let destination = binding.to_string();
        Self {
            open: AtomicUsize::new(0),
            failed: Default::default(),
            opened_total: metrics::counter!(OPENED, "reporter" => "source", "destination" => destination.clone()),
            closed_total: metrics::counter!(CLOSED, "reporter" => "source", "destination" => destination.clone()),
            sent: metrics::counter!(SENT, "reporter" => "source", "destination" => destination.clone()),
            received: metrics::counter!(RECEIVED, "reporter" => "source", "destination" => destination.clone()),
            destination,
        }
    }

    /// Counts a connection as open until the returned value is dropped.
    pub fn opened(&self) -> Open<'_> {
        self.open.fetch_add(1, Ordering::Relaxed);
        self.opened_total.increment(1);
        Open(self)
    }

    pub fn failed(&self, reason: Reason) {
        self.failed[reason as usize].fetch_add(1, Ordering::Relaxed);
        metrics::counter!(FAILED, "destination" => self.destination.clone(), "reason" => reason.as_str()).increment(1);
    }

    pub fn open(&self) -> usize {
        self.open.load(Ordering::Relaxed)
    }

    /// The reasons that occurred and how often.
    pub fn failures(&self) -> Vec<(Reason, u64)> {
        Reason::ALL
            .into_iter()
            .map(|reason| (reason, self.failed[reason as usize].load(Ordering::Relaxed)))
            .filter(|(_, count)| *count > 0)
            .collect()
    }
}

/// A connection counted as open.
pub(crate) struct Open<'a>(&'a Counters);

impl Drop for Open<'_> {
    fn drop(&mut self) {
        self.0.open.fetch_sub(1, Ordering::Relaxed);
        self.0.closed_total.increment(1);
    }
}
