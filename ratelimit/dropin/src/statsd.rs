//! Statistics to statsd or dogstatsd, in what has been added since the last time.
//!
//! What could not be sent is part of the next sum: nothing is lost while the
//! other side is away, and nothing is kept for it but the sums.

use std::collections::{BTreeMap, HashMap};
use std::io;
use std::sync::Arc;
use std::time::Duration;

use runtime::Shutdown;
use tokio::io::AsyncWriteExt as _;
use tokio::net::{TcpStream, UdpSocket};

use super::env::{Mogrifier, Sink, Transport};
use super::exhausted::Exhausted;
use super::stats::Stats;

/// What a datagram holds on any network.
const MOST_DATAGRAM: usize = 1432;
/// How long the other side may take.
const PATIENCE: Duration = Duration::from_secs(2);

/// Who is told, and how lines look.
#[derive(Debug)]
pub struct Statsd {
    address: String,
    transport: Transport,
    style: Style,
    told: HashMap<Box<str>, u64>,
    stream: Option<TcpStream>,
    complained: bool,
}

#[derive(Debug)]
enum Style {
    /// Tags in the name: `name.__tag=value:1|c`.
    Plain(String),
    /// Tags after the value: `name:1|c|#tag:value`.
    Dog(Vec<Mogrifier>, Vec<String>),
}

impl Statsd {
    /// The sink's, if it is of this kind.
    pub fn new(sink: &Sink, tags: &BTreeMap<String, String>) -> Option<Statsd> {
        let (address, transport, style) = match sink {
            Sink::Statsd(address, transport) => {
                let tags = tags.iter().map(|(key, value)| format!(".__{key}={value}")).collect();
                (address, *transport, Style::Plain(tags))
            }
            Sink::DogStatsd(address, mogrifiers) => {
                let tags = tags.iter().map(|(key, value)| format!("{key}:{value}")).collect();
                (address, Transport::Udp, Style::Dog(mogrifiers.clone(), tags))
            }
            Sink::None | Sink::Prometheus(..) => return None,
        };
        Some(Statsd {
            address: address.clone(),
            transport,
            style,
            told: HashMap::new(),
            stream: None,
            complained: false,
        })
    }

    /// Tells every `interval`, and a last time when shutdown begins.
    pub async fn run(
        mut self,
        stats: Arc<Stats>,
        exhausted: Option<Arc<Exhausted>>,
        interval: Duration,
        shutdown: Shutdown,
    ) {
        stats.keep_times();
        loop {
            let last = tokio::select! {
                () = tokio::time::sleep(interval) => false,
                () = shutdown.begun() => true,
            };
            self.flush(&stats, exhausted.as_deref()).await;
            if last {
                return;
            }
        }
    }

    async fn flush(&mut self, stats: &Stats, exhausted: Option<&Exhausted>) {
        let all = stats.all();
        let counts: Vec<(Box<str>, u64, u64)> = all
            .into_iter()
            .map(|(name, value)| {
                let before = self.told.get(&name).copied().unwrap_or(0);
                (name, value, value - before)
            })
            .filter(|(_, _, added)| *added > 0)
            .collect();
        let mut lines: Vec<String> =
            counts.iter().map(|(name, _, added)| self.line(name, &added.to_string(), "c")).collect();
        for (name, value) in exhausted.map(Exhausted::gauges).into_iter().flatten() {
            lines.push(self.line(name, &value.to_string(), "g"));
        }
        for took in stats.take_times() {
            let millis = format!("{:.6}", took.as_secs_f64() * 1000.0);
            lines.push(self.line("ratelimit_server.ShouldRateLimit.response_time", &millis, "ms"));
        }
        let sent = tokio::time::timeout(PATIENCE, self.send(&lines)).await;
        match sent.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into())) {
            Ok(()) => {
                self.told.extend(counts.into_iter().map(|(name, value, _)| (name, value)));
                self.complained = false;
            }
            Err(error) => {
                self.stream = None;
                if !self.complained {
                    tracing::warn!(address = self.address, %error, "statistics cannot be sent; they are kept and sent later");
                }
                self.complained = true;
            }
        }
    }

    fn line(&self, name: &str, value: &str, kind: &str) -> String {
        match &self.style {
            Style::Plain(tags) => format!("{name}{tags}:{value}|{kind}\n"),
            Style::Dog(mogrifiers, tags) => {
                let (name, more) = mogrify(mogrifiers, name);
                let tags: Vec<&str> = tags.iter().chain(&more).map(String::as_str).collect();
                let tags = if tags.is_empty() { String::new() } else { format!("|#{}", tags.join(",")) };
                format!("{name}:{value}|{kind}{tags}\n")
            }
        }
    }

    async fn send(&mut self, lines: &[String]) -> io::Result<()> {
        if lines.is_empty() {
            return Ok(());
        }
        match self.transport {
            Transport::Udp => {
                let address = tokio::net::lookup_host(&self.address).await?.next();
                let address = address.ok_or(io::ErrorKind::AddrNotAvailable)?;
                let from = if address.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" };
                let socket = UdpSocket::bind(from).await?;
                socket.connect(address).await?;
                let mut datagram = String::new();
                for line in lines {
                    if !datagram.is_empty() && datagram.len() + line.len() > MOST_DATAGRAM {
                        socket.send(datagram.as_bytes()).await?;
                        datagram.clear();
                    }
                    datagram.push_str(line);
                }
                socket.send(datagram.as_bytes()).await.map(|_| ())
            }
            Transport::Tcp => {
                let mut stream = match self.stream.take() {
                    Some(stream) => stream,
                    None => TcpStream::connect(&self.address).await?,
                };
                stream.write_all(lines.concat().as_bytes()).await?;
                self.stream = Some(stream);
                Ok(())
            }
        }
    }
}

/// The first that matches makes the name over.
fn mogrify(mogrifiers: &[Mogrifier], name: &str) -> (String, Vec<String>) {
    for mogrifier in mogrifiers {
        let Some(groups) = mogrifier.pattern.captures(name) else { continue };
        let fill = |template: &str| {
            let mut out = template.to_owned();
            // From the last, so that $1 does not eat the beginning of $10.
            for at in (0..groups.len()).rev() {
                out = out.replace(&format!("${at}"), groups.get(at).map_or("", |group| group.as_str()));
            }
            out
        };
        let tags = mogrifier.tags.iter().map(|(key, value)| format!("{key}:{}", fill(value))).collect();
        return (fill(&mogrifier.name), tags);
    }
    (name.to_owned(), Vec::new())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tags() -> BTreeMap<String, String> {
        BTreeMap::from([("env".to_owned(), "test".to_owned())])
    }

    #[tokio::test]
    async fn sums_go_out_as_what_was_added_and_none_is_lost_while_nobody_listens() {
        let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = free.local_addr().unwrap();
        drop(free);
        let stats = Stats::new();
        stats.rule("d.key_1.2.3.4").total_hits.add(2);
        let mut statsd = Statsd::new(&Sink::Statsd(address.to_string(), Transport::Tcp), &tags()).unwrap();
        statsd.flush(&stats, None).await;
        stats.rule("d.key_1.2.3.4").total_hits.add(3);

        let listener = tokio::net::TcpListener::bind(address).await.unwrap();
        statsd.flush(&stats, None).await;
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut buffer = vec![0; 4096];
        let read = tokio::io::AsyncReadExt::read(&mut stream, &mut buffer).await.unwrap();
        let text = String::from_utf8_lossy(&buffer[..read]).into_owned();
        assert_eq!(text, "ratelimit.service.rate_limit.d.key_1_2_3_4.total_hits.__env=test:5|c\n");
    }

    #[tokio::test]
    async fn dogstatsd_gets_tags_and_names_made_over() {
        let listener = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let mogrifier = Mogrifier {
            pattern: regex::Regex::new(r"^ratelimit\.service\.rate_limit\.(.*)\.(.*)\.(.*)$").unwrap(),
            name: "ratelimit.service.rate_limit.$3".to_owned(),
            tags: BTreeMap::from([("domain".to_owned(), "$1".to_owned()), ("descriptor".to_owned(), "$2".to_owned())]),
        };
        let stats = Stats::new();
        stats.rule("d.key").over_limit.add(1);
        let mut statsd = Statsd::new(&Sink::DogStatsd(address, vec![mogrifier]), &tags()).unwrap();
        statsd.flush(&stats, None).await;
        let mut buffer = [0; 2048];
        let read = listener.recv(&mut buffer).await.unwrap();
        let text = String::from_utf8_lossy(&buffer[..read]);
        assert_eq!(text, "ratelimit.service.rate_limit.over_limit:1|c|#env:test,descriptor:key,domain:d\n");
    }
}
