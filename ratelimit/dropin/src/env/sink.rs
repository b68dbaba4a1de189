//! Where statistics go, besides the metrics page.

use std::collections::BTreeMap;
use std::path::PathBuf;

use super::{Place, Reader};

/// Where statistics go, besides the metrics page.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Sink {
    /// Nowhere.
    None,
    /// A Prometheus page of its own, at a path; names and labels may be those of a mapping file.
    Prometheus(Place, String, Option<PathBuf>),
    /// `host:port`, and whether by UDP.
    Statsd(String, Transport),
    /// `host:port`; names and tags may be made over.
    DogStatsd(String, Vec<Mogrifier>),
}

/// How statsd is spoken to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Transport {
    /// A connection, that server's default.
    Tcp,
    /// Datagrams.
    Udp,
}

/// Makes a name over into another with tags, where it matches.
#[derive(Debug, Clone)]
pub struct Mogrifier {
    /// What it matches.
    pub pattern: regex::Regex,
    /// The new name, in which `$1` stands for the first group.
    pub name: String,
    /// What tags are mapped to.
    pub tags: BTreeMap<String, String>,
}

impl PartialEq for Mogrifier {
    fn eq(&self, other: &Self) -> bool {
        (self.pattern.as_str(), &self.name, &self.tags) == (other.pattern.as_str(), &other.name, &other.tags)
    }
}

impl Eq for Mogrifier {}

/// Reads where statistics go.
pub fn read(env: &mut Reader<'_>) -> Sink {
    let off = env.flag("DISABLE_STATS", false);
    let dog = env.flag("USE_DOG_STATSD", false);
    let prometheus = env.flag("USE_PROMETHEUS", false);
    // That server's default gives way to what is asked for.
    let statsd = env.flag("USE_STATSD", !dog && !prometheus);
    let address = format!("{}:{}", env.text("STATSD_HOST", "localhost"), env.number::<u16>("STATSD_PORT", 8125));
    let transport = match env.text("STATSD_PROTOCOL", "tcp").as_str() {
        "tcp" => Transport::Tcp,
        "udp" => Transport::Udp,
        _ => {
            env.mistake("STATSD_PROTOCOL", "is neither tcp nor udp");
            Transport::Tcp
        }
    };
    let page = env.text("PROMETHEUS_PATH", "/metrics");
    let at = env.address("PROMETHEUS_ADDR", ":9090");
    let mapping = env.path("PROMETHEUS_MAPPER_YAML");
    let mogrifiers = mogrifiers(env);
    if [dog, prometheus, statsd].into_iter().filter(|on| *on).count() > 1 {
        env.mistake("USE_STATSD", "set one of USE_DOG_STATSD, USE_STATSD, USE_PROMETHEUS, not several");
    }
    if off {
        Sink::None
    } else if dog {
        Sink::DogStatsd(address, mogrifiers)
    } else if prometheus {
        Sink::Prometheus(at, page, mapping)
    } else if statsd {
        Sink::Statsd(address, transport)
    } else {
        Sink::None
    }
}

fn mogrifiers(env: &mut Reader<'_>) -> Vec<Mogrifier> {
    let keys = env.list("USE_DOG_STATSD_MOGRIFIERS");
    let one = |key: String| {
        let of = |what: &str| format!("DOG_STATSD_MOGRIFIER_{key}_{what}");
        let (pattern, name, tags) = (of("PATTERN"), of("NAME"), of("TAGS"));
        let text = env.optional(&pattern);
        let new_name = env.optional(&name);
        let tags = env.map(&tags, ':');
        let Some(text) = text else {
            env.mistake(&pattern, "is not set, though USE_DOG_STATSD_MOGRIFIERS names it");
            return None;
        };
        let Some(new_name) = new_name else {
            env.mistake(&name, "is not set, though USE_DOG_STATSD_MOGRIFIERS names it");
            return None;
        };
        match regex::Regex::new(&text) {
            Ok(regex) => Some(Mogrifier { pattern: regex, name: new_name, tags }),
            Err(error) => {
                env.mistake(&pattern, &format!("is no regular expression: {error}"));
                None
            }
        }
    };
    keys.into_iter().filter_map(one).collect()
}
