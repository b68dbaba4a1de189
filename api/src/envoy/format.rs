//! The values Envoy makes of a request or a response: text with command operators such as `%REQ(x-a)%`.

use crate::header;

/// What may stand in the parentheses behind an operator's name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Argument {
    /// No parentheses.
    None,
    /// A header, and after `?` another for when it is absent.
    Headers,
    /// A format of time, which may be left out; its own `%` signs are part of it.
    Time,
    /// One of these words, or nothing.
    OneOf(&'static [&'static str]),
    /// A namespace of metadata and keys, separated by ':'.
    Metadata,
    /// The name of an entry, and how to write it.
    FilterState,
    /// The name of a query parameter.
    Query,
    /// With or without the query, then which path.
    Path,
}

struct Operator {
    argument: Argument,
    /// Whether `:N` may follow, for at most N bytes.
    length: bool,
}

/// Operators without argument and length.
const PLAIN: &[&str] = &[
    "ACCESS_LOG_TYPE",
    "BYTES_RECEIVED",
    "BYTES_SENT",
    "CONNECTION_ID",
    "CONNECTION_TERMINATION_DETAILS",
    "DOWNSTREAM_DIRECT_LOCAL_ADDRESS",
    "DOWNSTREAM_DIRECT_LOCAL_ADDRESS_WITHOUT_PORT",
    "DOWNSTREAM_DIRECT_LOCAL_PORT",
    "DOWNSTREAM_DIRECT_REMOTE_ADDRESS",
    "DOWNSTREAM_DIRECT_REMOTE_ADDRESS_WITHOUT_PORT",
    "DOWNSTREAM_DIRECT_REMOTE_PORT",
    "DOWNSTREAM_HEADER_BYTES_RECEIVED",
    "DOWNSTREAM_HEADER_BYTES_SENT",
    "DOWNSTREAM_LOCAL_ADDRESS",
    "DOWNSTREAM_LOCAL_ADDRESS_WITHOUT_PORT",
    "DOWNSTREAM_LOCAL_DNS_SAN",
    "DOWNSTREAM_LOCAL_IP_SAN",
    "DOWNSTREAM_LOCAL_PORT",
    "DOWNSTREAM_LOCAL_SUBJECT",
    "DOWNSTREAM_LOCAL_URI_SAN",
    "DOWNSTREAM_PEER_CERT",
    "DOWNSTREAM_PEER_DNS_SAN",
    "DOWNSTREAM_PEER_FINGERPRINT_1",
    "DOWNSTREAM_PEER_FINGERPRINT_256",
    "DOWNSTREAM_PEER_IP_SAN",
    "DOWNSTREAM_PEER_ISSUER",
    "DOWNSTREAM_PEER_SERIAL",
    "DOWNSTREAM_PEER_SUBJECT",
    "DOWNSTREAM_PEER_URI_SAN",
    "DOWNSTREAM_REMOTE_ADDRESS",
    "DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT",
    "DOWNSTREAM_REMOTE_PORT",
    "DOWNSTREAM_TLS_CIPHER",
    "DOWNSTREAM_TLS_SESSION_ID",
    "DOWNSTREAM_TLS_VERSION",
    "DOWNSTREAM_TRANSPORT_FAILURE_REASON",
    "DOWNSTREAM_WIRE_BYTES_RECEIVED",
    "DOWNSTREAM_WIRE_BYTES_SENT",
    "DURATION",
    "FILTER_CHAIN_NAME",
    "GRPC_STATUS_NUMBER",
    "HOSTNAME",
    "LOCAL_REPLY_BODY",
    "PROTOCOL",
    "REQUESTED_SERVER_NAME",
    "REQUEST_DURATION",
    "REQUEST_HEADERS_BYTES",
    "REQUEST_TX_DURATION",
    "RESPONSE_CODE",
    "RESPONSE_DURATION",
    "RESPONSE_FLAGS",
    "RESPONSE_FLAGS_LONG",
    "RESPONSE_HEADERS_BYTES",
    "RESPONSE_TRAILERS_BYTES",
    "RESPONSE_TX_DURATION",
    "ROUTE_NAME",
    "STREAM_ID",
    "TRACE_ID",
    "UNIQUE_ID",
    "UPSTREAM_CLUSTER",
    "UPSTREAM_CLUSTER_RAW",
    "UPSTREAM_CONNECTION_ID",
    "UPSTREAM_HEADER_BYTES_RECEIVED",
    "UPSTREAM_HEADER_BYTES_SENT",
    "UPSTREAM_HOST",
    "UPSTREAM_HOST_NAME",
    "UPSTREAM_HOST_NAME_WITHOUT_PORT",
    "UPSTREAM_LOCAL_ADDRESS",
    "UPSTREAM_LOCAL_ADDRESS_WITHOUT_PORT",
    "UPSTREAM_LOCAL_PORT",
    "UPSTREAM_PEER_CERT",
    "UPSTREAM_PEER_ISSUER",
    "UPSTREAM_PEER_SUBJECT",
    "UPSTREAM_PROTOCOL",
    "UPSTREAM_REMOTE_ADDRESS",
    "UPSTREAM_REMOTE_ADDRESS_WITHOUT_PORT",
    "UPSTREAM_REMOTE_PORT",
    "UPSTREAM_REQUEST_ATTEMPT_COUNT",
    "UPSTREAM_TLS_CIPHER",
    "UPSTREAM_TLS_SESSION_ID",
    "UPSTREAM_TLS_VERSION",
    "UPSTREAM_TRANSPORT_FAILURE_REASON",
    "UPSTREAM_WIRE_BYTES_RECEIVED",
    "UPSTREAM_WIRE_BYTES_SENT",
    "VIRTUAL_CLUSTER_NAME",
];

/// The operators that take neither argument nor length.
pub fn plain_operators() -> &'static [&'static str] {
    PLAIN
}

/// Envoy has it, and it is not for policies: it shows the environment of the proxy.
const WITHHELD: &[&str] = &["ENVIRONMENT"];

fn operator(name: &str) -> Option<Operator> {
    let with = |argument, length| Some(Operator { argument, length });
    match name {
        "REQ" | "RESP" | "TRAILER" => with(Argument::Headers, true),
        "START_TIME" | "START_TIME_LOCAL" | "EMIT_TIME" | "EMIT_TIME_LOCAL" => with(Argument::Time, false),
        "DOWNSTREAM_PEER_CERT_V_START"
        | "DOWNSTREAM_PEER_CERT_V_END"
        | "UPSTREAM_PEER_CERT_V_START"
        | "UPSTREAM_PEER_CERT_V_END" => with(Argument::Time, false),
        "RESPONSE_CODE_DETAILS" => with(Argument::OneOf(&["ALLOW_WHITESPACES"]), false),
        "GRPC_STATUS" => with(Argument::OneOf(&["CAMEL_STRING", "SNAKE_STRING", "NUMBER"]), false),
        "DYNAMIC_METADATA" | "CLUSTER_METADATA" | "UPSTREAM_METADATA" => with(Argument::Metadata, false),
        "FILTER_STATE" | "UPSTREAM_FILTER_STATE" => with(Argument::FilterState, true),
        "QUERY_PARAM" => with(Argument::Query, true),
        "PATH" => with(Argument::Path, true),
        name if PLAIN.contains(&name) => with(Argument::None, false),
        _ => None,
    }
}

/// Whether Envoy takes `value` as the format of a header.
pub fn check(value: &str) -> Result<(), String> {
    let mut rest = value;
    while let Some(at) = rest.find('%') {
        rest = &rest[at + 1..];
        rest = match rest.strip_prefix('%') {
            Some(after) => after,
            None => command(rest)?,
        };
    }
    Ok(())
}

/// Reads one command, behind its first percent sign, and returns what follows the last.
fn command(text: &str) -> Result<&str, String> {
    let end = text.find(|c: char| !(c.is_ascii_uppercase() || c.is_ascii_digit() || c == '_')).unwrap_or(text.len());
    let (name, mut rest) = text.split_at(end);
    if name.is_empty() {
        return Err("a single % begins a command operator such as %REQ(x-a)%; write %% for a percent sign".to_owned());
    }
    if WITHHELD.contains(&name) {
        return Err(format!("%{name}% shows what belongs to the proxy; remove it"));
    }
    let operator = operator(name).ok_or_else(|| {
        format!("%{name}% is not a command operator we know; write one of Envoy's, or %% for a percent sign")
    })?;
    let mut argument = None;
    if let Some(inner) = rest.strip_prefix('(') {
        let close = inner.find(')').ok_or_else(|| format!("%{name}( is not closed"))?;
        argument = Some(&inner[..close]);
        rest = &inner[close + 1..];
    }
    self::argument(name, operator.argument, argument)?;
    if let Some(length) = rest.strip_prefix(':') {
        if !operator.length {
            return Err(format!("%{name}% takes no length; remove what follows the ':'"));
        }
        let digits = length.find(|c: char| !c.is_ascii_digit()).unwrap_or(length.len());
        if !(1..=6).contains(&digits) {
            return Err(format!("%{name}: is followed by a length of at most 6 digits"));
        }
        rest = &length[digits..];
    }
    rest.strip_prefix('%').ok_or_else(|| format!("%{name} is not closed by a percent sign"))
}

fn argument(name: &str, kind: Argument, written: Option<&str>) -> Result<(), String> {
    let needs = |what: &str| format!("%{name}% needs {what} in parentheses");
    let text = written.unwrap_or_default();
    if kind == Argument::None {
        return if written.is_none() {
            Ok(())
        } else {
            Err(format!("%{name}% takes nothing in parentheses; remove them"))
        };
    }
    if written == Some("") {
        return Err(format!("%{name}()% names nothing"));
    }
    if text.contains('(') || kind != Argument::Time && text.contains('%') {
        return Err(format!("%{name}({text})% holds a parenthesis or a percent sign"));
    }
    match kind {
        Argument::None => Ok(()),
        Argument::Headers if written.is_none() => Err(needs("the name of a header")),
        Argument::Headers => {
            let mut names = text.split('?');
            let (first, second, more) = (names.next().unwrap_or_default(), names.next(), names.next());
            if more.is_some() {
                return Err(format!("%{name}({text})% names more than one header to fall back on"));
            }
            [Some(first), second].into_iter().flatten().try_for_each(header::reserved)?;
            let right = |name: &str| header::is_name(name.strip_prefix(':').unwrap_or(name));
            if right(first) && second.is_none_or(right) {
                Ok(())
            } else {
                Err(format!("%{name}({text})% does not name a header; write for example %{name}(x-a)%"))
            }
        }
        Argument::Time => time(name, text),
        Argument::OneOf(words) if written.is_some() && !words.contains(&text) => {
            Err(format!("%{name}({text})%: write {} in the parentheses, or no parentheses", words.join(" or ")))
        }
        Argument::OneOf(_) => Ok(()),
        Argument::Metadata if written.is_none() => Err(needs("a namespace and keys, separated by ':',")),
        Argument::Metadata => Ok(()),
        Argument::FilterState if written.is_none() => Err(needs("the name of an entry")),
        Argument::FilterState => {
            let mut parts = text.split(':');
            let (key, how) = (parts.next().unwrap_or_default(), parts.next());
            let field = parts.next();
            let right = match how {
                None => true,
                Some("PLAIN" | "TYPED") => field.is_none(),
                Some("FIELD") => field.is_some_and(|field| !field.is_empty()),
                Some(_) => false,
            };
            if right && !key.is_empty() && parts.next().is_none() {
                Ok(())
            } else {
                Err(format!("%{name}({text})%: write a name, alone or followed by :PLAIN, :TYPED or :FIELD:its-field"))
            }
        }
        Argument::Query if written.is_none() => Err(needs("the name of a query parameter")),
        Argument::Query => Ok(()),
        Argument::Path => {
            let (query, which) = text.split_once(':').map_or((text, None), |(query, which)| (query, Some(which)));
            let right = matches!(query, "" | "WQ" | "NQ")
                && which.is_none_or(|which| matches!(which, "ORIG" | "PATH" | "ORIG_OR_PATH"));
            if right {
                Ok(())
            } else {
                Err(format!("%{name}({text})%: write WQ or NQ, alone or followed by :ORIG, :PATH or :ORIG_OR_PATH"))
            }
        }
    }
}

/// A time is written by strftime's conversions; one of them is a line break.
fn time(name: &str, format: &str) -> Result<(), String> {
    let mut rest = format;
    while let Some(at) = rest.find('%') {
        let flags = rest[at + 1..].trim_start_matches(|c: char| c.is_ascii_digit() || "-_0^#*EO".contains(c));
        match flags.chars().next() {
            Some('n') => return Err(format!("%{name}({format})% writes a line break (%n)")),
            Some(conversion) => rest = &flags[conversion.len_utf8()..],
            None => return Err(format!("%{name}({format})% ends in a single percent sign")),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn formats_that_envoy_takes() {
        for right in [
            "plain",
            "",
            "100%%",
            "%REQ(x-a)%",
            "%REQ(:path)%",
            "a %REQ(x-a?y):10% b%RESP(c)%",
            "%START_TIME%",
            "%START_TIME(%s)%",
            "%START_TIME(%Y-%m-%dT%H:%M:%S.%3fZ)%",
            "%PROTOCOL%%HOSTNAME%",
            "%DYNAMIC_METADATA(envoy.filters.http.ext_authz:user)%",
            "%UPSTREAM_METADATA(envoy.lb:canary)%",
            "%FILTER_STATE(wasm.x:PLAIN)%",
            "%FILTER_STATE(x):5%",
            "%DOWNSTREAM_PEER_FINGERPRINT_256%",
            "%RESPONSE_CODE_DETAILS(ALLOW_WHITESPACES)%",
            "%PATH(NQ)%",
            "%PATH%",
            "%PATH(WQ:ORIG)%",
            "%PATH(NQ:PATH)%",
            "%PATH(WQ:ORIG_OR_PATH):9%",
            "%PATH(:PATH)%",
            "%REQ(a):123456%",
            "%TRAILER(x)%",
            "%QUERY_PARAM(a):5%",
            "%UPSTREAM_FILTER_STATE(x:TYPED):3%",
            "%FILTER_STATE(x:FIELD:y)%",
            "%CLUSTER_METADATA(a:b)%",
            "%GRPC_STATUS%%GRPC_STATUS(NUMBER)%",
            "%EMIT_TIME_LOCAL(%%n)%",
            "%DOWNSTREAM_PEER_CERT_V_START(%b)%%UPSTREAM_PEER_CERT_V_END%",
        ] {
            assert_eq!(check(right), Ok(()), "{right}");
        }
    }

    #[test]
    fn formats_that_envoy_would_refuse_are_named() {
        for wrong in [
            "100%",
            "%REQ%",
            "%REQ(x%",
            "%req(x)%",
            "%NO_SUCH%",
            "%REQ(x):%",
            "%REQ()%",
            "%PROTOCOL(x)%",
            "%PROTOCOL()%",
            "%PROTOCOL:5%",
            "%REQ(a?b?c)%",
            "%REQ(a b)%",
            "%REQ(a?)%",
            "%REQ(?a)%",
            "%HOSTNAME(x)%",
            "%REQ(a)",
            "%REQ(a)b%",
            "%REQ(a):b%",
            "%REQ(a):12345678%",
            "%START_TIME(%n)%",
            "%START_TIME(%-3n)%",
            "%START_TIME:4%",
            "%UPSTREAM_PEER_CERT_V_END:4%",
            "%DYNAMIC_METADATA%",
            "%DYNAMIC_METADATA()%",
            "%FILTER_STATE(x:ODD)%",
            "%FILTER_STATE(x:FIELD)%",
            "%ENVIRONMENT(HOME)%",
            "%GRPC_STATUS(odd)%",
            "%PATH(a)%",
            "%QUERY_PARAM%",
            "%%%",
            "% a %",
            "%REQ((a))%",
            "%REQ(a):1234567%",
            "%REQ(%)%",
            "%PATH(WQ:x)%",
            "%PATH(x:ORIG)%",
            "%QUERY_PARAM()%",
            "%RESPONSE_CODE_DETAILS()%",
            "%RESPONSE_CODE_DETAILS(ALLOW_WHITESPACES):5%",
            "%START_TIME(%)%",
            "%EMIT_TIME(%H%n)%",
            "%CLUSTER_METADATA%",
            "%FILTER_STATE%",
            "%FILTER_STATE(:PLAIN)%",
            "%FILTER_STATE(x:PLAIN:y)%",
            "%FILTER_STATE(x:FIELD:)%",
            "%FILTER_STATE(x:FIELD:y:z)%",
            "%PROTOCOL% and %ENVIRONMENT(HOME)%",
        ] {
            assert!(check(wrong).is_err(), "{wrong}");
        }
    }
}
