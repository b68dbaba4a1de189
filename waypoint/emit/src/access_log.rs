//! The access log: one sink for all Services, so that no Service's part of it is in a listener. Which Service a line
//! is about is told by the name of the cluster and, in JSON, by what the route says of itself.
//!
//! Text is the line that Istio's waypoints write, for whoever takes it apart; JSON has Istio's fields and `service`.

use ir::{AccessLog, PortRef, Settings};
use serde_json::{Map, Value, json};

use crate::{names, packed};

/// Istio's line, but for the cluster, of which the name for people is written.
const LINE: &str = "[%START_TIME%] \"%REQ(:METHOD)% %REQ(X-ENVOY-ORIGINAL-PATH?:PATH)% %PROTOCOL%\" %RESPONSE_CODE% \
     %RESPONSE_FLAGS% %RESPONSE_CODE_DETAILS% %CONNECTION_TERMINATION_DETAILS% \
     \"%UPSTREAM_TRANSPORT_FAILURE_REASON%\" %BYTES_RECEIVED% %BYTES_SENT% %DURATION% \
     %RESP(X-ENVOY-UPSTREAM-SERVICE-TIME)% \"%REQ(X-FORWARDED-FOR)%\" \"%REQ(USER-AGENT)%\" \
     \"%REQ(X-REQUEST-ID)%\" \"%REQ(:AUTHORITY)%\" \"%UPSTREAM_HOST%\" %UPSTREAM_CLUSTER% \
     %UPSTREAM_LOCAL_ADDRESS% %DOWNSTREAM_LOCAL_ADDRESS% %DOWNSTREAM_REMOTE_ADDRESS% \
     %REQUESTED_SERVER_NAME% %ROUTE_NAME%\n";

/// The fields of a line in JSON, each with what Envoy puts there.
const FIELDS: [(&str, &str); 25] = [
    ("start_time", "%START_TIME%"),
    ("method", "%REQ(:METHOD)%"),
    ("path", "%REQ(X-ENVOY-ORIGINAL-PATH?:PATH)%"),
    ("protocol", "%PROTOCOL%"),
    ("response_code", "%RESPONSE_CODE%"),
    ("response_flags", "%RESPONSE_FLAGS%"),
    ("response_code_details", "%RESPONSE_CODE_DETAILS%"),
    ("connection_termination_details", "%CONNECTION_TERMINATION_DETAILS%"),
    ("upstream_transport_failure_reason", "%UPSTREAM_TRANSPORT_FAILURE_REASON%"),
    ("bytes_received", "%BYTES_RECEIVED%"),
    ("bytes_sent", "%BYTES_SENT%"),
    ("duration", "%DURATION%"),
    ("upstream_service_time", "%RESP(X-ENVOY-UPSTREAM-SERVICE-TIME)%"),
    ("x_forwarded_for", "%REQ(X-FORWARDED-FOR)%"),
    ("user_agent", "%REQ(USER-AGENT)%"),
    ("request_id", "%REQ(X-REQUEST-ID)%"),
    ("authority", "%REQ(:AUTHORITY)%"),
    ("upstream_host", "%UPSTREAM_HOST%"),
    ("upstream_cluster", "%UPSTREAM_CLUSTER%"),
    ("upstream_local_address", "%UPSTREAM_LOCAL_ADDRESS%"),
    ("downstream_local_address", "%DOWNSTREAM_LOCAL_ADDRESS%"),
    ("downstream_remote_address", "%DOWNSTREAM_REMOTE_ADDRESS%"),
    ("requested_server_name", "%REQUESTED_SERVER_NAME%"),
    ("route_name", "%ROUTE_NAME%"),
    ("service", "%METADATA(ROUTE:waykeeper:service)%"),
];

/// The sinks of whatever writes a line for each request or connection; none if there is no log.
pub fn sinks(settings: &Settings) -> Vec<Value> {
    let Some(form) = settings.access_log else { return Vec::new() };
    let format = match form {
        AccessLog::Text => json!({"text_format_source": {"inline_string": LINE}}),
        AccessLog::Json => {
            let fields: Map<String, Value> = FIELDS.iter().map(|(name, what)| ((*name).into(), json!(what))).collect();
            json!({"json_format": fields})
        }
    };
    let stdout = packed("envoy.extensions.access_loggers.stream.v3.StdoutAccessLog", json!({"log_format": format}));
    vec![json!({"name": "envoy.access_loggers.stdout", "typed_config": stdout})]
}

/// What the routes of `port` say of themselves for the log; none if it does not ask.
pub fn said_by_routes(port: &PortRef, settings: &Settings) -> Option<Value> {
    (settings.access_log == Some(AccessLog::Json))
        .then(|| json!({"filter_metadata": {"waykeeper": {"service": names::shown(port, "http")}}}))
}
