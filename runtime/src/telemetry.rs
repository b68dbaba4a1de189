//! Logs, metrics and traces of a process.

use std::fmt;
use std::io::IsTerminal as _;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use clap::{Args, ValueEnum};
use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle};
use opentelemetry::trace::TracerProvider as _;
use opentelemetry_sdk::trace::SdkTracerProvider;
use parking_lot::Mutex;
use tracing_subscriber::filter::{Directive, Targets};
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{EnvFilter, Layer as _, Registry, reload};

use crate::otlp::{OtlpProtocol, Sending};
use crate::{otlp, trace};

/// How log lines are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

/// Settings every server has.
#[derive(Debug, Clone, Args)]
pub struct TelemetryArgs {
    /// What to log: a level, or `target=level` pairs such as `ratelimit=debug,info`
    #[arg(long, env = "LOG_LEVEL", default_value = "info", value_name = "FILTER")]
    pub log_level: String,
    /// How to log
    #[arg(long, env = "LOG_FORMAT", default_value = "text", value_enum)]
    pub log_format: LogFormat,
    /// Where to send traces by OTLP over gRPC, e.g. http://127.0.0.1:4317 (none: no traces)
    #[arg(long, env = "OTEL_EXPORTER_OTLP_ENDPOINT", value_name = "URL")]
    pub otlp: Option<String>,
    /// Over what instead; help is one page, and few need it.
    #[arg(
        long,
        env = "OTEL_EXPORTER_OTLP_PROTOCOL",
        value_name = "OVER",
        default_value = "grpc",
        value_enum,
        hide = true
    )]
    pub otlp_protocol: OtlpProtocol,
    /// What the service calls itself in traces, by OpenTelemetry's names, beyond or instead of what it is called by itself.
    #[arg(skip)]
    pub otlp_service: Vec<(&'static str, String)>,
    /// The share of traces that is sent, of those that nobody before us decided on; OTEL_TRACES_SAMPLER's if none.
    #[arg(skip)]
    pub otlp_sampling: Option<f64>,
}

type FilterHandle = reload::Handle<EnvFilter, Registry>;

/// Handles on what [`init`] set up.
#[derive(Clone)]
pub struct Telemetry {
    prometheus: PrometheusHandle,
    filter: Option<FilterHandle>,
    initial: Arc<str>,
    current: Arc<Mutex<String>>,
    traces: Option<SdkTracerProvider>,
}

impl fmt::Debug for Telemetry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Telemetry").field("filter", &*self.current.lock()).finish_non_exhaustive()
    }
}

/// Buckets of every histogram whose name ends in `seconds`: 100 µs to 10 s.
const SECONDS: [f64; 16] =
    [0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0];

/// Sets up logging to stderr, the Prometheus recorder and, if asked for, OTLP traces.
///
/// # Errors
/// When the filter does not parse, or a recorder or subscriber is already set.
pub fn init(service: &'static str, args: &TelemetryArgs) -> anyhow::Result<Telemetry> {
    let filter = parse_filter(&args.log_level).map_err(|why| anyhow::anyhow!(why))?;
    let (filter, handle) = reload::Layer::new(filter);
    let lines = match args.log_format {
        LogFormat::Text => tracing_subscriber::fmt::layer().with_ansi(colours()).with_writer(std::io::stderr).boxed(),
        LogFormat::Json => tracing_subscriber::fmt::layer().json().with_writer(std::io::stderr).boxed(),
    };
    // Log lines and spans that leave the process are filtered separately.
    // By lists of targets, whose answers are remembered: asking anew at each of the libraries' own
    // trace lines costs more than answering a request.
    let lines = lines.with_filter(filter);
    let traces = args.otlp.as_deref().map(|url| {
        let (called, protocol, share) = (&*args.otlp_service, args.otlp_protocol, args.otlp_sampling);
        otlp::provider(&Sending { service, called, url, protocol, share })
    });
    let traces = traces.transpose()?;
    let spans = traces.as_ref().map(|provider| {
        trace::turn_on();
        let layer = tracing_opentelemetry::layer().with_tracer(provider.tracer(service));
        layer.with_filter(Targets::new().with_target(trace::TARGET, tracing::Level::INFO))
    });
    tracing_subscriber::registry().with(lines).with(spans).try_init().context("setting up logging")?;

    let prometheus = builder()?.install_recorder().context("setting up metrics")?;
    keep_up(upkeep_of(prometheus.clone()), UPKEEP).context("keeping metrics up")?;
    let initial: Arc<str> = args.log_level.as_str().into();
    let current = Arc::new(Mutex::new(args.log_level.clone()));
    Ok(Telemetry { prometheus, filter: Some(handle), initial, current, traces })
}

/// Whether log lines are coloured: for a person at a terminal who has not set NO_COLOR.
fn colours() -> bool {
    std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}

/// How often what histograms were told is put into their buckets.
const UPKEEP: Duration = Duration::from_secs(1);

/// Puts what histograms were told into their buckets. Until then each value is kept by itself: where nobody
/// reads the page they would fill the memory.
fn upkeep_of(prometheus: PrometheusHandle) -> impl Fn() + Send + 'static {
    move || prometheus.run_upkeep()
}

/// Repeats `work` for as long as the process lives, on a thread of its own since it may take long.
fn keep_up(work: impl Fn() + Send + 'static, every: Duration) -> std::io::Result<()> {
    let keep_up = move || {
        loop {
            std::thread::sleep(every);
            work();
        }
    };
    std::thread::Builder::new().name("metrics".to_owned()).spawn(keep_up).map(|_| ())
}

fn builder() -> anyhow::Result<PrometheusBuilder> {
    let seconds = metrics_exporter_prometheus::Matcher::Suffix("seconds".to_owned());
    PrometheusBuilder::new().set_buckets_for_metric(seconds, &SECONDS).context("histogram buckets")
}

/// Libraries whose own words below `info` are of frames and wakers: they are heard only where they are named.
const WORDY: [&str; 10] =
    ["h2", "hyper", "hyper_util", "tower", "tonic", "rustls", "tokio_util", "mio", "reqwest", "opentelemetry_sdk"];

/// Libraries that are heard only where they are named. What `kube_client` says we say already, and its warnings may hold
/// what an API server answered, Secrets too; `notify` warns of every folder that is deleted while it is watched.
const UNHEARD: [&str; 2] = ["kube_client", "notify"];

fn parse_filter(text: &str) -> Result<EnvFilter, String> {
    let quiet: String = match text.trim().to_ascii_lowercase().as_str() {
        "debug" | "trace" => WORDY.map(|library| format!(",{library}=info")).concat(),
        _ => String::new(),
    };
    let filter = EnvFilter::builder().parse(format!("{text}{quiet}")).map_err(|error| {
        format!("{text:?} is not a log filter ({error}); write for example info or ratelimit=debug,info")
    })?;
    let off = |target: &str| format!("{target}=off").parse::<Directive>().map_err(|error| error.to_string());
    let filter = filter.add_directive(off(trace::TARGET)?);
    // Named is the library itself; a part of it says nothing of the rest.
    let is_named = |library: &str| {
        text.split(',').any(|directive| directive.split('=').next().unwrap_or_default().trim() == library)
    };
    UNHEARD
        .into_iter()
        .filter(|library| !is_named(library))
        .try_fold(filter, |filter, library| Ok(filter.add_directive(off(library)?)))
}

impl Telemetry {
    /// Handles that set nothing up globally: for tests that run several servers in one process.
    ///
    /// # Errors
    /// When the histogram settings are refused.
    pub fn detached() -> anyhow::Result<Telemetry> {
        let prometheus = builder()?.build_recorder().handle();
        let current = Arc::new(Mutex::new("off".to_owned()));
        Ok(Telemetry { prometheus, filter: None, initial: "off".into(), current, traces: None })
    }

    /// All metrics in Prometheus' classic text format.
    pub fn render_metrics(&self) -> String {
        self.prometheus.render()
    }

    /// What is logged now.
    pub fn log_filter(&self) -> String {
        self.current.lock().clone()
    }

    /// Changes what is logged, from now on.
    ///
    /// # Errors
    /// A sentence for the person who asked, when `text` is no filter.
    pub(crate) fn set_log_filter(&self, text: &str) -> Result<String, String> {
        let filter = parse_filter(text)?;
        if let Some(handle) = &self.filter {
            handle.reload(filter).map_err(|error| error.to_string())?;
        }
        text.clone_into(&mut self.current.lock());
        Ok(text.to_owned())
    }

    /// Logs what the process was started with.
    ///
    /// # Errors
    /// Never for a filter that [`init`] accepted.
    pub(crate) fn reset_log_filter(&self) -> Result<String, String> {
        self.set_log_filter(&self.initial.clone())
    }

    /// Sends what is still buffered. Call last.
    pub fn flush(&self) {
        if let Some(traces) = &self.traces {
            let _ = traces.shutdown();
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn a_level_alone_is_ours_and_a_library_is_heard_where_it_is_named() {
        let shown = |text: &str| parse_filter(text).unwrap().to_string();
        for level in ["debug", "TRACE"] {
            assert!(shown(level).contains("h2=info") && shown(level).contains("hyper=info"), "{}", shown(level));
        }
        assert!(!shown("info").contains("h2"));
        assert!(shown("debug,h2=trace").contains("h2=trace"));
        for level in ["", "info", "trace", "extauth=debug"] {
            assert!(shown(level).contains("kube_client=off") && shown(level).contains("notify=off"), "{level}");
        }
        assert!(shown("info,kube_client=warn").contains("kube_client=warn"));
        assert!(!shown("info,kube_client=warn").contains("kube_client=off"));
        assert!(shown("info,kube_client=warn").contains("notify=off"));
        for part in ["info,kube_client::config=off", "info,my_kube_client=debug"] {
            assert!(shown(part).contains(",kube_client=off") || shown(part).starts_with("kube_client=off"), "{part}");
        }
        assert!(parse_filter("debug=debug=debug").unwrap_err().starts_with("\"debug=debug=debug\""));
    }

    /// What that is for, only `make bench-ratelimit` shows: memory that does not grow under random keys.
    #[test]
    fn upkeep_goes_on_for_as_long_as_somebody_is_there() {
        let (told, heard) = std::sync::mpsc::channel();
        keep_up(move || told.send(()).unwrap_or_default(), Duration::from_millis(1)).unwrap();
        (0..3).for_each(|_| heard.recv_timeout(Duration::from_secs(10)).unwrap());
    }
}
