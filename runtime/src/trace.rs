//! Spans for those who follow a request through several processes: one for each answer, sent by OTLP.
//!
//! Nothing is made unless an endpoint was given. A span continues the trace its
//! caller names in `traceparent` (W3C Trace Context).

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};

use opentelemetry::propagation::TextMapPropagator as _;
use opentelemetry_sdk::propagation::TraceContextPropagator;
use tracing::Span;
use tracing_opentelemetry::OpenTelemetrySpanExt as _;

/// The target of spans that leave the process, and of nothing else.
pub(crate) const TARGET: &str = "trace";

const HEADERS: [&str; 2] = ["traceparent", "tracestate"];

static ON: AtomicBool = AtomicBool::new(false);

/// From now on spans are made.
pub(crate) fn turn_on() {
    ON.store(true, Ordering::Relaxed);
}

/// Whether spans are made.
pub fn is_on() -> bool {
    ON.load(Ordering::Relaxed)
}

/// A span called `name` for a call to answer, part of the trace that `header` names, if it names one.
/// Enter it only once it is made: a span that has begun cannot change its trace.
pub fn call<'h>(name: &'static str, header: impl Fn(&str) -> Option<&'h str>) -> Span {
    if !is_on() {
        return Span::none();
    }
    let span = tracing::info_span!(target: TARGET, "call", otel.name = name, otel.kind = "server");
    let named: HashMap<String, String> =
        HEADERS.iter().filter_map(|name| Some(((*name).to_owned(), header(name)?.to_owned()))).collect();
    if named.contains_key("traceparent") {
        // Refused only for a span nobody records.
        let _ = span.set_parent(TraceContextPropagator::new().extract(&named));
    }
    span
}

/// Says something about the call under way. Never a secret.
pub fn note(key: &'static str, value: impl Into<opentelemetry::Value>) {
    if is_on() {
        Span::current().set_attribute(key, value);
    }
}
