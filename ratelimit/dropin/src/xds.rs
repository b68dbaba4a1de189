//! Configuration from a management server: state-of-the-world ADS, one type, one stream.
//!
//! A resource that is wrong is named in the NACK; its last good version, and
//! every other resource, is served. A stream that ends is opened again.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use hyper_util::rt::TokioIo;
use parking_lot::Mutex;
use prost::Message as _;
use proto::envoy::config::core::v3 as pb_core;
use proto::envoy::service::discovery::v3 as pb;
use proto::envoy::service::discovery::v3::aggregated_discovery_service_client::AggregatedDiscoveryServiceClient;
use proto::google::protobuf as pb_google;
use proto::google::rpc::Status as RpcStatus;
use proto::ratelimit::config::ratelimit::v3 as pb_config;
use runtime::{Shutdown, tls};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::metadata::{MetadataKey, MetadataValue};
use tonic::transport::{Channel, Endpoint, Uri};

use super::domains::Content;
use super::env::XdsSettings;
use super::loading::Loading;
use super::yaml::{Descriptor, Document, RateLimit, Replaces};

/// The type of what is asked for.
pub const TYPE_URL: &str = "type.googleapis.com/ratelimit.config.ratelimit.v3.RateLimitConfig";
/// How long connecting may take.
const CONNECT: Duration = Duration::from_secs(10);
/// Where a server with TLS listens unless its address says.
const HTTPS: u16 = 443;
/// The `INVALID_ARGUMENT` of a NACK.
const INVALID_ARGUMENT: i32 = 3;
/// After this the second refusal in a row is told, each one later in twice the time; the first is told at once.
/// A management server that sends the same resources again after each NACK would otherwise keep both busy.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
/// But after no more than this.
const LONGEST_PAUSE: Duration = Duration::from_secs(30);
/// A NACK says no more than this.
const MOST_REASON: usize = 4096;

/// Follows the management server until shutdown.
///
/// # Errors
/// When the settings cannot be used.
pub async fn follow(settings: XdsSettings, loading: Loading, shutdown: Shutdown) -> anyhow::Result<()> {
    // Mistakes in settings and files come to light now.
    let server = Server::new(&settings)?;
    let loading = Arc::new(Mutex::new(loading));
    let (first, longest) = settings.backoff;
    let mut wait = first;
    loop {
        let ended = tokio::select! {
            ended = stream(&settings, &server, &loading) => ended,
            () = shutdown.begun() => return Ok(()),
        };
        match ended {
            Ok(Heard::Something) => wait = first,
            Ok(Heard::Nothing) => {}
            Err(error) => {
                tracing::error!(
                    server = settings.server,
                    error = format!("{error:#}"),
                    "no configuration from the management server; what was loaded serves on"
                );
            }
        }
        // Spread, so that many servers do not come back at once.
        let spread = wait.mul_f64(0.5 + f64::from(std::process::id() % 100) / 200.0);
        tokio::select! {
            () = tokio::time::sleep(spread) => {}
            () = shutdown.begun() => return Ok(()),
        }
        wait = (wait * 2).min(longest);
    }
}

enum Heard {
    Something,
    Nothing,
}

/// The way to the management server.
struct Server {
    endpoint: Endpoint,
    tls: Option<Secure>,
}

/// What TLS takes.
#[derive(Clone)]
struct Secure {
    client: tls::Client,
    host: String,
    port: u16,
    /// Of the certificate.
    name: String,
}

impl Server {
    fn new(settings: &XdsSettings) -> anyhow::Result<Server> {
        let server = settings.server.split_once("://").map_or(settings.server.as_str(), |(_, rest)| rest);
        // gRPC's other way to write an address.
        let server = server.trim_start_matches('/');
        let written = "CONFIG_GRPC_XDS_SERVER_URL is not an address: write host:port";
        let endpoint = Endpoint::from_shared(format!("http://{server}"))
            .context(written)?
            .connect_timeout(CONNECT)
            .http2_keep_alive_interval(Duration::from_secs(30))
            .keep_alive_while_idle(true);
        let Some(tls) = &settings.tls else { return Ok(Server { endpoint, tls: None }) };
        let client = tls::Client::http2(tls.clone()).context("TLS towards the management server")?;
        let host = endpoint.uri().host().context(written)?.trim_matches(['[', ']']).to_owned();
        let port = endpoint.uri().port_u16().unwrap_or(HTTPS);
        let name = settings.san.clone().unwrap_or_else(|| host.clone());
        let origin = Uri::try_from(format!("https://{server}")).context(written)?;
        Ok(Server { endpoint: endpoint.origin(origin), tls: Some(Secure { client, host, port, name }) })
    }

    async fn connect(&self) -> Result<Channel, tonic::transport::Error> {
        let Some(secure) = self.tls.clone() else { return self.endpoint.connect().await };
        let connector = tower::service_fn(move |_: Uri| {
            let Secure { client, host, port, name } = secure.clone();
            async move { client.connect(&host, port, &name).await.map(TokioIo::new) }
        });
        self.endpoint.connect_with_connector(connector).await
    }
}

async fn stream(settings: &XdsSettings, server: &Server, loading: &Arc<Mutex<Loading>>) -> anyhow::Result<Heard> {
    let channel = server.connect().await.context("connecting")?;
    let mut client = AggregatedDiscoveryServiceClient::new(channel);
    if let Some(most) = settings.most_bytes.filter(|most| *most > 0) {
        client = client.max_decoding_message_size(most);
    }
    let (sender, receiver) = mpsc::channel(4);
    let node = pb_core::Node {
        id: settings.node_id.clone(),
        metadata: Some(pb_google::Struct {
            fields: settings.node_metadata.iter().map(|(key, value)| (key.clone(), text(value))).collect(),
        }),
        ..Default::default()
    };
    let first = pb::DiscoveryRequest { node: Some(node.clone()), type_url: TYPE_URL.to_owned(), ..Default::default() };
    sender.send(first).await.context("asking")?;
    let mut request = tonic::Request::new(ReceiverStream::new(receiver));
    for (key, value) in &settings.headers {
        let key = MetadataKey::from_bytes(key.to_ascii_lowercase().as_bytes());
        let pair = key.ok().zip(MetadataValue::try_from(value.as_str()).ok());
        let (key, value) = pair.context("CONFIG_GRPC_XDS_CLIENT_ADDITIONAL_HEADERS holds what is no header")?;
        request.metadata_mut().insert(key, value);
    }
    let mut responses = client.stream_aggregated_resources(request).await.context("opening the stream")?.into_inner();
    tracing::info!(server = settings.server, "following the management server");
    let mut heard = Heard::Nothing;
    let mut accepted = String::new();
    let mut refusals = Refusals::default();
    // The ACK or NACK of the latest response, and when to send it.
    let mut answer: Option<(tokio::time::Instant, pb::DiscoveryRequest)> = None;
    loop {
        let due = answer.as_ref().map(|(due, _)| *due);
        let response = tokio::select! {
            response = responses.message() => response.context("reading the stream")?,
            () = tokio::time::sleep_until(due.unwrap_or_else(tokio::time::Instant::now)), if due.is_some() => {
                if let Some((_, answer)) = answer.take()
                    && sender.send(answer).await.is_err()
                {
                    break;
                }
                continue;
            }
        };
        let Some(response) = response else { break };
        heard = Heard::Something;
        let (version, nonce) = (response.version_info.clone(), response.nonce.clone());
        let content = content(&response);
        let problems = match refusals.known(&content) {
            Some(problems) => problems,
            None => {
                // Not on a thread that answers requests: many rules take their time.
                let loading = loading.clone();
                let taken = tokio::task::spawn_blocking(move || take(&response, &mut loading.lock()));
                taken.await.unwrap_or_else(|_| vec!["loading it panicked".to_owned()])
            }
        };
        let error_detail = (!problems.is_empty()).then(|| {
            let mut message = problems.join("; ");
            message.truncate(message.floor_char_boundary(MOST_REASON));
            RpcStatus { code: INVALID_ARGUMENT, message, details: Vec::new() }
        });
        if error_detail.is_none() {
            accepted = version;
        }
        let said = pb::DiscoveryRequest {
            version_info: accepted.clone(),
            node: Some(node.clone()),
            type_url: TYPE_URL.to_owned(),
            response_nonce: nonce,
            error_detail,
            ..Default::default()
        };
        answer = Some((tokio::time::Instant::now() + refusals.pause(content, problems), said));
    }
    Ok(heard)
}

/// What was refused last, and how often in a row something was.
#[derive(Debug, Default)]
struct Refusals {
    last: Option<(blake3::Hash, Vec<String>)>,
    in_a_row: u32,
}

impl Refusals {
    /// What is wrong with `content`, if it is what was refused last.
    fn known(&self, content: &blake3::Hash) -> Option<Vec<String>> {
        self.last.as_ref().filter(|(last, _)| last == content).map(|(_, problems)| problems.clone())
    }

    /// How long to wait before `content` is answered.
    fn pause(&mut self, content: blake3::Hash, problems: Vec<String>) -> Duration {
        if problems.is_empty() {
            *self = Refusals::default();
            return Duration::ZERO;
        }
        self.last = Some((content, problems));
        self.in_a_row = self.in_a_row.saturating_add(1);
        match self.in_a_row {
            1 => Duration::ZERO,
            more => FIRST_PAUSE.saturating_mul(1 << (more - 2).min(16)).min(LONGEST_PAUSE),
        }
    }
}

/// A digest of the resources in `response`, in whatever order they come.
fn content(response: &pb::DiscoveryResponse) -> blake3::Hash {
    let one = |resource: &pb_google::Any| {
        let mut hasher = blake3::Hasher::new();
        hasher.update(&(resource.type_url.len() as u64).to_le_bytes());
        hasher.update(resource.type_url.as_bytes()).update(&resource.value);
        *hasher.finalize().as_bytes()
    };
    let mut digests: Vec<[u8; 32]> = response.resources.iter().map(one).collect();
    digests.sort_unstable();
    blake3::hash(digests.as_flattened())
}

/// Loads the resources of a response, and returns what is wrong with them.
fn take(response: &pb::DiscoveryResponse, loading: &mut Loading) -> Vec<String> {
    let mut sources = BTreeMap::new();
    let mut problems = Vec::new();
    for (number, resource) in response.resources.iter().enumerate() {
        match pb_config::RateLimitConfig::decode(resource.value.as_slice()) {
            _ if resource.type_url != TYPE_URL => {
                problems.push(format!("resource {number} is a {}", resource.type_url))
            }
            Err(error) => {
                let why = format!("cannot be decoded: {error}");
                sources.insert(format!("resource {number}"), Content::Unreadable(why));
            }
            Ok(config) => {
                let name = if config.name.is_empty() { config.domain.clone() } else { config.name.clone() };
                if sources.insert(name.clone(), Content::Decoded(Arc::new(document(config)))).is_some() {
                    problems.push(format!("{name}: two resources have this name"));
                }
            }
        }
    }
    problems.extend(loading.update(sources));
    problems
}

/// A resource as a file would have said it.
pub fn document(config: pb_config::RateLimitConfig) -> Document {
    Document { domain: config.domain, descriptors: config.descriptors.into_iter().map(descriptor).collect() }
}

fn descriptor(one: pb_config::RateLimitDescriptor) -> Descriptor {
    Descriptor {
        key: one.key,
        value: one.value,
        rate_limit: one.rate_limit.map(rate_limit),
        descriptors: one.descriptors.into_iter().map(descriptor).collect(),
        shadow_mode: one.shadow_mode,
        quota_mode: one.quota_mode,
        detailed_metric: one.detailed_metric,
        metadata: one.metadata.map(|metadata| mapping(&metadata)),
        ..Descriptor::default()
    }
}

fn rate_limit(policy: pb_config::RateLimitPolicy) -> RateLimit {
    RateLimit {
        requests_per_unit: policy.requests_per_unit,
        // A number nobody knows is refused by its digits.
        unit: pb_config::RateLimitUnit::try_from(policy.unit)
            .map_or_else(|_| policy.unit.to_string(), |unit| unit.as_str_name().to_owned()),
        unit_multiplier: 0,
        unlimited: policy.unlimited,
        name: policy.name,
        replaces: policy.replaces.into_iter().map(|replaces| Replaces { name: replaces.name }).collect(),
    }
}

fn mapping(of: &pb_google::Struct) -> serde_norway::Mapping {
    let fields: BTreeMap<_, _> = of.fields.iter().collect();
    fields.into_iter().map(|(key, value)| (serde_norway::Value::from(key.as_str()), plain(value))).collect()
}

fn plain(value: &pb_google::Value) -> serde_norway::Value {
    use pb_google::value::Kind;
    use serde_norway::Value;
    match &value.kind {
        None | Some(Kind::NullValue(_)) => Value::Null,
        Some(Kind::NumberValue(number)) => Value::from(*number),
        Some(Kind::StringValue(text)) => Value::from(text.as_str()),
        Some(Kind::BoolValue(flag)) => Value::from(*flag),
        Some(Kind::StructValue(fields)) => Value::Mapping(mapping(fields)),
        Some(Kind::ListValue(list)) => Value::Sequence(list.values.iter().map(plain).collect()),
    }
}

fn text(text: &str) -> pb_google::Value {
    pb_google::Value { kind: Some(pb_google::value::Kind::StringValue(text.to_owned())) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refusals_in_a_row_are_told_later_and_later_and_one_that_is_taken_ends_the_row() {
        let mut refusals = Refusals::default();
        let (a, b) = (blake3::hash(b"a"), blake3::hash(b"b"));
        let wrong = || vec!["wrong".to_owned()];
        let millis: Vec<u128> = (0..5).map(|_| refusals.pause(a, wrong()).as_millis()).collect();
        assert_eq!(millis, [0, 100, 200, 400, 800]);
        assert_eq!((refusals.known(&a), refusals.known(&b)), (Some(wrong()), None));
        assert_eq!(refusals.pause(b, wrong()).as_millis(), 1600, "whatever is refused");
        let last = (0..100).map(|_| refusals.pause(b, wrong())).last();
        assert_eq!(last, Some(LONGEST_PAUSE));
        assert_eq!(refusals.pause(a, Vec::new()), Duration::ZERO);
        assert_eq!((refusals.pause(a, wrong()), refusals.known(&b)), (Duration::ZERO, None));
    }
}
