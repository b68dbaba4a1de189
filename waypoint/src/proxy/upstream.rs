//! Streams to the control plane, for an Envoy: over TLS, with the token of its pod's ServiceAccount.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use anyhow::{Context as _, ensure};
use hyper_util::rt::TokioIo;
use proto::envoy::service::discovery::v3 as pb;
use proto::envoy::service::discovery::v3::aggregated_discovery_service_client::AggregatedDiscoveryServiceClient;
use runtime::tls::{Client, ClientTls};
use tokio::sync::mpsc;
use tokio::time::timeout;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Streaming;
use tonic::transport::{Endpoint, Uri};
use zeroize::Zeroizing;

/// How long one address may take to answer.
const ONE: Duration = Duration::from_secs(2);
/// How long all of them may take.
const ALL: Duration = Duration::from_secs(8);
/// The largest response: a control plane that begins with an Envoy sends all clusters at once.
const MOST_RESPONSE: usize = 512 << 20;
/// How much may be under way.
const WINDOW: u32 = 1 << 20;
/// Whether the other end is there is asked so often, and so long it may take to say so.
const KEEPALIVE: (Duration, Duration) = (Duration::from_secs(30), Duration::from_secs(5));

/// Where the control plane is, and how it and we prove who we are.
#[derive(Debug)]
pub struct Upstream {
    host: String,
    port: u16,
    server_name: String,
    tls: Client,
    token: PathBuf,
    /// Of its addresses the one that is tried first.
    turn: AtomicUsize,
}

/// A stream: requests go in, responses come out.
pub type Open = (mpsc::Sender<pb::DeltaDiscoveryRequest>, Streaming<pb::DeltaDiscoveryResponse>);

impl Upstream {
    /// The one at `xds`, whose certificate is for `server_name` and signed by who stands in the file `ca`; it is shown the
    /// token that then stands in the file `token`.
    ///
    /// # Errors
    /// When the authorities cannot be read.
    pub fn new(xds: (String, u16), server_name: String, ca: PathBuf, token: PathBuf) -> anyhow::Result<Self> {
        let tls =
            Client::http2(ClientTls { ca: Some(ca), ..ClientTls::default() }).context("TLS to the control plane")?;
        let (host, port) = xds;
        Ok(Self { host, port, server_name, tls, token, turn: AtomicUsize::new(0) })
    }

    /// A stream to whichever replica serves. All addresses are tried, in turn: of several replicas one serves, and the
    /// others turn away.
    ///
    /// # Errors
    /// Why there is none.
    pub async fn open(&self) -> anyhow::Result<Open> {
        timeout(ALL, self.try_all()).await.context("it does not answer in time")?
    }

    async fn try_all(&self) -> anyhow::Result<Open> {
        let addresses = tokio::net::lookup_host((self.host.as_str(), self.port));
        let mut addresses: Vec<SocketAddr> =
            addresses.await.with_context(|| format!("looking up {}", self.host))?.collect();
        addresses.sort_unstable();
        ensure!(!addresses.is_empty(), "{} has no address", self.host);
        let first = self.turn.load(Ordering::Relaxed) % addresses.len();
        let mut why = anyhow::anyhow!("no address was tried");
        for at in (first..addresses.len()).chain(0..first) {
            match timeout(ONE, self.try_one(addresses[at])).await {
                Ok(Ok(open)) => {
                    self.turn.store(at, Ordering::Relaxed);
                    return Ok(open);
                }
                Ok(Err(error)) => why = error.context(addresses[at]),
                Err(_) => why = anyhow::anyhow!("{} does not answer in time", addresses[at]),
            }
        }
        Err(why)
    }

    async fn try_one(&self, address: SocketAddr) -> anyhow::Result<Open> {
        let token = tokio::fs::read_to_string(&self.token).await.map(Zeroizing::new);
        let token = token.with_context(|| format!("reading the token {}", self.token.display()))?;
        let bearer = Zeroizing::new(format!("Bearer {}", token.trim()));
        let (tls, name) = (self.tls.clone(), self.server_name.clone());
        let connect = tower::service_fn(move |_: Uri| {
            let (tls, name) = (tls.clone(), name.clone());
            async move { tls.connect(&address.ip().to_string(), address.port(), &name).await.map(TokioIo::new) }
        });
        let (interval, patience) = KEEPALIVE;
        let channel = Endpoint::from_shared(format!("http://{address}"))?
            .origin(Uri::try_from(format!("https://{address}"))?)
            .http2_keep_alive_interval(interval)
            .keep_alive_timeout(patience)
            .keep_alive_while_idle(true)
            .initial_stream_window_size(WINDOW)
            .initial_connection_window_size(WINDOW)
            .connect_with_connector(connect)
            .await?;
        let (sender, receiver) = mpsc::channel(16);
        let mut request = tonic::Request::new(ReceiverStream::new(receiver));
        // What it is is said to nobody: not even that it is none of a header.
        let mut bearer = bearer.parse::<tonic::metadata::AsciiMetadataValue>().ok().context("the token is none")?;
        bearer.set_sensitive(true);
        request.metadata_mut().insert("authorization", bearer);
        let mut client = AggregatedDiscoveryServiceClient::new(channel).max_decoding_message_size(MOST_RESPONSE);
        let responses = client.delta_aggregated_resources(request).await?;
        Ok((sender, responses.into_inner()))
    }
}
