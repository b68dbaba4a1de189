//! Sends spans by OTLP, over gRPC or HTTP.
//!
//! From a thread of its own: a server that answers on one thread sends its last spans while that
//! thread waits for them, and would wait in vain.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use clap::ValueEnum;
use opentelemetry::KeyValue;
use opentelemetry_otlp::{Protocol, WithExportConfig as _};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::error::{OTelSdkError, OTelSdkResult};
use opentelemetry_sdk::trace::{Sampler, SdkTracerProvider, SpanData, SpanExporter};

/// What spans travel in, under the names OpenTelemetry has for it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub enum OtlpProtocol {
    /// gRPC, usually at port 4317.
    #[default]
    Grpc,
    /// HTTP, usually at port 4318.
    #[value(name = "http/protobuf")]
    HttpProtobuf,
}

/// How spans are sent.
pub(crate) struct Sending<'a> {
    /// The name of the service.
    pub service: &'static str,
    /// What else it is called, by OpenTelemetry's names.
    pub called: &'a [(&'static str, String)],
    /// Where to.
    pub url: &'a str,
    /// Over what.
    pub protocol: OtlpProtocol,
    /// The share of traces, of those that nobody before us decided on; OTEL_TRACES_SAMPLER's if none.
    pub share: Option<f64>,
}

/// What collects spans and sends them.
///
/// # Errors
/// When there is no place like the URL to which spans can be sent.
pub(crate) fn provider(sending: &Sending<'_>) -> anyhow::Result<SdkTracerProvider> {
    let Sending { service, called, url, protocol, share } = *sending;
    anyhow::ensure!(
        url.starts_with("http://"),
        "--otlp (OTEL_EXPORTER_OTLP_ENDPOINT): traces are sent in plain text, so write http://HOST:PORT"
    );
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .thread_name("otlp")
        .enable_all()
        .build()
        .context("starting a thread for traces")?;
    let exporter = {
        let _entered = runtime.enter();
        let builder = opentelemetry_otlp::SpanExporter::builder();
        match protocol {
            OtlpProtocol::Grpc => builder.with_tonic().with_endpoint(url).build(),
            OtlpProtocol::HttpProtobuf => {
                builder.with_http().with_endpoint(traces_at(url)).with_protocol(Protocol::HttpBinary).build()
            }
        }
        .with_context(|| format!("sending traces to {url}"))?
    };
    let exporter = Aside { exporter: Arc::new(exporter), runtime: Some(runtime) };
    let called = called.iter().map(|(name, value)| KeyValue::new(*name, value.clone()));
    let resource = Resource::builder().with_service_name(service).with_attributes(called).build();
    let mut builder = SdkTracerProvider::builder().with_batch_exporter(exporter).with_resource(resource);
    if let Some(share) = share {
        builder = builder.with_sampler(Sampler::ParentBased(Box::new(Sampler::TraceIdRatioBased(share))));
    }
    Ok(builder.build())
}

/// Below the endpoint of all signals each has its own path.
fn traces_at(url: &str) -> String {
    let url = url.trim_end_matches('/');
    if url.ends_with("/v1/traces") { url.to_owned() } else { format!("{url}/v1/traces") }
}

/// An exporter that works on a thread of its own.
struct Aside {
    exporter: Arc<opentelemetry_otlp::SpanExporter>,
    /// Taken when dropped: a runtime may not be waited for where others work.
    runtime: Option<tokio::runtime::Runtime>,
}

impl fmt::Debug for Aside {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Aside").finish_non_exhaustive()
    }
}

impl Drop for Aside {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

impl SpanExporter for Aside {
    fn export(&self, batch: Vec<SpanData>) -> impl Future<Output = OTelSdkResult> + Send {
        let exporter = self.exporter.clone();
        let sent = self.runtime.as_ref().map(|runtime| runtime.spawn(async move { exporter.export(batch).await }));
        async move {
            let Some(sent) = sent else { return Err(OTelSdkError::AlreadyShutdown) };
            sent.await.unwrap_or_else(|failure| Err(OTelSdkError::InternalFailure(failure.to_string())))
        }
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.exporter.shutdown_with_timeout(timeout)
    }

    fn force_flush(&self) -> OTelSdkResult {
        self.exporter.force_flush()
    }

    fn set_resource(&mut self, resource: &Resource) {
        if let Some(exporter) = Arc::get_mut(&mut self.exporter) {
            exporter.set_resource(resource);
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::time::Instant;

    use opentelemetry::trace::{Tracer as _, TracerProvider as _};
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use super::*;

    fn over(protocol: OtlpProtocol, url: &str) -> Sending<'_> {
        Sending { service: "test", called: &[], url, protocol, share: Some(1.0) }
    }

    /// Spans of one thread that is busy with leaving, and what a collector then has read.
    async fn sent_when_leaving(protocol: OtlpProtocol, answer: &'static [u8]) -> (String, Duration) {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let (seen, read) = std::sync::mpsc::channel();
        // The collector is another process: it has a thread of its own.
        let listener = listener.into_std().unwrap();
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async move {
                let listener = tokio::net::TcpListener::from_std(listener).unwrap();
                let (mut stream, _) = listener.accept().await.unwrap();
                let mut buffer = vec![0; 64 * 1024];
                let mut text = String::new();
                while !text.contains("span-to-see") && !text.contains("PRI * HTTP/2") {
                    let read = stream.read(&mut buffer).await.unwrap();
                    assert!(read > 0, "closed after {text}");
                    text.push_str(&String::from_utf8_lossy(&buffer[..read]));
                }
                stream.write_all(answer).await.unwrap();
                seen.send(text).unwrap();
            });
        });
        let provider = provider(&over(protocol, &url)).unwrap();
        provider.tracer("test").in_span("span-to-see", |_| {});
        let began = Instant::now();
        let _ = provider.shutdown_with_timeout(Duration::from_secs(5));
        let took = began.elapsed();
        (read.recv_timeout(Duration::from_secs(5)).unwrap(), took)
    }

    #[tokio::test]
    async fn the_last_spans_leave_over_http_while_the_only_thread_waits() {
        let answer = b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n";
        let (text, took) = sent_when_leaving(OtlpProtocol::HttpProtobuf, answer).await;
        assert!(text.starts_with("POST /v1/traces HTTP/1.1\r\n"), "{text}");
        assert!(text.to_ascii_lowercase().contains("content-type: application/x-protobuf"), "{text}");
        assert!(took < Duration::from_secs(4), "{took:?}");
    }

    #[tokio::test]
    async fn and_over_grpc() {
        // Not an answer of HTTP/2: that ends it.
        let (text, took) = sent_when_leaving(OtlpProtocol::Grpc, b"no\n").await;
        assert!(text.starts_with("PRI * HTTP/2"), "{text}");
        assert!(took < Duration::from_secs(4), "{took:?}");
    }

    #[test]
    fn what_is_no_plain_text_endpoint_is_refused_by_name() {
        let refused = provider(&over(OtlpProtocol::HttpProtobuf, "https://collector:4318")).unwrap_err();
        assert!(refused.to_string().contains("OTEL_EXPORTER_OTLP_ENDPOINT"), "{refused}");
        assert_eq!(traces_at("http://c:4318/"), "http://c:4318/v1/traces");
        assert_eq!(traces_at("http://c:4318/v1/traces"), "http://c:4318/v1/traces");
    }
}
