//! Where Envoy finds a service of ours, as people write it.

use std::net::SocketAddr;

use url::Url;
use waypoint_translate::{GrpcTarget, UpstreamTls};

const TLS: &str = "tls://HOST:PORT?ca=FILE[&cert=FILE&key=FILE][&name=NAME]";
const MUTUAL: &str = "mtls://HOST:PORT[?name=NAME]";

/// Reads `host:port`, `unix:PATH`, or over TLS `tls://host:port?ca=FILE` with files as Envoy sees them:
/// `ca` signs the service's certificate, which must be for `name` (`host` unless said), and `cert` and
/// `key` are what Envoy shows. By `mtls://host:port` both sides prove who they are by certificates that the control plane
/// signs. Envoy resolves the host, so it may be a name.
///
/// # Errors
/// What to write instead.
pub fn target(text: &str) -> Result<GrpcTarget, String> {
    if let Some(path) = text.strip_prefix("unix:") {
        return Ok(GrpcTarget::Unix(path.to_owned()));
    }
    if text.starts_with("tls://") {
        return secured(text);
    }
    if text.starts_with("mtls://") {
        return mutual(text);
    }
    if let Ok(addr) = text.parse::<SocketAddr>() {
        return Ok(GrpcTarget::Tcp { host: addr.ip().to_string(), port: addr.port() });
    }
    let (host, port) = host_and_port(text).map_err(|why| format!("{why}, unix:PATH, {MUTUAL} or {TLS}"))?;
    Ok(GrpcTarget::Tcp { host, port })
}

fn secured(text: &str) -> Result<GrpcTarget, String> {
    let wrong = |what: &str| format!("{what}; write {TLS}");
    let (host, port, [ca, cert, key, name]) =
        taken_apart(text, ["ca", "cert", "key", "name"]).map_err(|w| wrong(&w))?;
    let ca = ca.ok_or_else(|| wrong("no ca: anybody could answer"))?;
    let client = match (cert, key) {
        (Some(cert), Some(key)) => Some((cert, key)),
        (None, None) => None,
        _ => return Err(wrong("cert and key belong together")),
    };
    let tls = UpstreamTls { server_name: name.unwrap_or_else(|| host.clone()), ca, client };
    Ok(GrpcTarget::Tls { host, port, tls })
}

fn mutual(text: &str) -> Result<GrpcTarget, String> {
    let taken = taken_apart(text, ["name"]).map_err(|what| format!("{what}; write {MUTUAL}"))?;
    let (host, port, [name]) = taken;
    Ok(GrpcTarget::Mutual { server_name: name.unwrap_or_else(|| host.clone()), host, port })
}

/// Host, port, and the values of the parameters that are known, each once at most.
fn taken_apart<const N: usize>(text: &str, known: [&str; N]) -> Result<(String, u16, [Option<String>; N]), String> {
    let url = Url::parse(text).map_err(|error| error.to_string())?;
    let (Some(host), Some(port)) = (url.host_str(), url.port()) else { return Err("no host or no port".to_owned()) };
    if !url.username().is_empty() || url.password().is_some() || !matches!(url.path(), "" | "/") {
        return Err("a user or a path has no meaning here".to_owned());
    }
    let host = host.trim_start_matches('[').trim_end_matches(']').to_owned();
    let mut values = [const { None }; N];
    for (said, value) in url.query_pairs() {
        let place = known.iter().position(|known| **known == *said);
        let place = place.ok_or_else(|| format!("{said} is not known"))?;
        if value.is_empty() || values[place].replace(value.into_owned()).is_some() {
            return Err(format!("{said} is empty or there twice"));
        }
    }
    Ok((host, port, values))
}

/// Reads `host:port`.
///
/// # Errors
/// What to write instead.
pub fn host_and_port(text: &str) -> Result<(String, u16), String> {
    let wrong = || format!("{text:?} is not an address; write host:port");
    let (host, port) = text.rsplit_once(':').ok_or_else(wrong)?;
    let port = port.parse().map_err(|_| wrong())?;
    if host.is_empty() { Err(wrong()) } else { Ok((host.to_owned(), port)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_service_is_at_an_address_a_socket_or_behind_tls() {
        let extauth = target("extauth.gloo-system:8083");
        assert_eq!(extauth, Ok(GrpcTarget::Tcp { host: "extauth.gloo-system".to_owned(), port: 8083 }));
        assert_eq!(target("unix:/run/x.sock"), Ok(GrpcTarget::Unix("/run/x.sock".to_owned())));
        assert!(target("extauth").is_err() && target(":80").is_err());

        let tls = |server_name: &str, client: Option<(&str, &str)>| UpstreamTls {
            server_name: server_name.to_owned(),
            ca: "/ca.crt".to_owned(),
            client: client.map(|(cert, key)| (cert.to_owned(), key.to_owned())),
        };
        let at = |host: &str, tls| Ok(GrpcTarget::Tls { host: host.to_owned(), port: 8083, tls });
        assert_eq!(target("tls://extauth:8083?ca=/ca.crt"), at("extauth", tls("extauth", None)));
        let mutual = target("tls://[::1]:8083?ca=/ca.crt&cert=/a&key=/b&name=extauth.test");
        assert_eq!(mutual, at("::1", tls("extauth.test", Some(("/a", "/b")))));
    }

    #[test]
    fn for_certificates_that_the_control_plane_signs_only_a_name_is_said() {
        let at = |host: &str, name: &str| {
            Ok(GrpcTarget::Mutual { host: host.to_owned(), port: 8083, server_name: name.to_owned() })
        };
        assert_eq!(
            target("mtls://extauth.gloo-system.svc:8083"),
            at("extauth.gloo-system.svc", "extauth.gloo-system.svc")
        );
        assert_eq!(target("mtls://127.0.0.1:8083?name=extauth.test"), at("127.0.0.1", "extauth.test"));
    }

    #[test]
    fn what_would_be_less_safe_than_it_looks_is_refused() {
        for (text, why) in [
            ("tls://extauth:8083", "no ca"),
            ("tls://extauth?ca=/c", "no port"),
            ("tls://extauth:8083?ca=/c&cert=/a", "belong together"),
            ("tls://extauth:8083?ca=/c&ca=/d", "twice"),
            ("tls://extauth:8083?ca=", "empty"),
            ("tls://extauth:8083?ca=/c&insecure=true", "insecure is not known"),
            ("tls://user:pass@extauth:8083?ca=/c", "a user"),
            ("tls://extauth:8083/x?ca=/c", "a path"),
            ("https://extauth:8083?ca=/c", "tls://"),
        ] {
            let said = target(text).expect_err(text);
            assert!(said.contains(why) && said.contains("tls://HOST:PORT?ca=FILE"), "{text}: {said}");
        }
        for (text, why) in [
            ("mtls://extauth:8083?ca=/c", "ca is not known"),
            ("mtls://extauth:8083?name=a&name=b", "twice"),
            ("mtls://extauth", "no port"),
            ("mtls://extauth:8083/x", "a path"),
        ] {
            let said = target(text).expect_err(text);
            assert!(said.contains(why) && said.contains(MUTUAL), "{text}: {said}");
        }
    }
}
