//! One list followed for good: asks what the machine wants asked, and passes on what has changed.

use std::time::{Duration, Instant};

use tokio::sync::mpsc;
use tracing::{info, warn};

use crate::machine::{Action, Change, Event, Failure, Machine, Moment};
use crate::server::{Server, Watch};
use crate::source::Source;
use crate::wire::{self, Item};

/// How long a watch lives; up to a half more, so that not all end at once. A connection that is dead without
/// a word is noticed soon after.
const WATCH_SECONDS: u64 = 60;
/// More objects of one source than these are not kept.
const MOST: usize = 500_000;

/// What one source has to say.
#[derive(Debug)]
pub struct News {
    /// Which one.
    pub source: usize,
    /// What changed, in order.
    pub changes: Vec<Change<Item>>,
    /// Whether all of it was listed once, or is known not to be served.
    pub settled: bool,
    /// Whether it is not served.
    pub absent: bool,
    /// Why what is known may be out of date.
    pub failing: Option<Failure>,
}

/// Follows `source` and tells `news` of it, until nobody listens any more.
pub async fn run(server: Server, source: Source, number: usize, news: mpsc::Sender<News>) {
    let begun = Instant::now();
    let (mut asked, mut watch) = (Asked { server, source, version: 0 }, None);
    let (mut machine, mut action) = Machine::new(MOST);
    let mut told = (false, false, None);
    loop {
        let event = asked.perform(&action, &mut watch).await;
        asked.count(&event);
        let step = machine.step(event, Moment { now: begun.elapsed(), dice: rand::random() });
        action = step.action;
        let standing = (machine.settled(), machine.absent(), machine.failing().cloned());
        if standing != told {
            asked.log(&told, &standing);
        }
        if !step.changes.is_empty() || standing != told {
            let (settled, absent, failing) = standing.clone();
            told = standing;
            let one = News { source: number, changes: step.changes, settled, absent, failing };
            if news.send(one).await.is_err() {
                return;
            }
        }
    }
}

type Standing = (bool, bool, Option<Failure>);

/// A line of so many bytes is taken apart where it is read; a longer one where nobody waits for it.
const QUICK: usize = 64 << 10;

/// Where the API server lists its API groups.
const GROUPS: &str = "/apis";

struct Asked {
    server: Server,
    source: Source,
    /// Under which of the source's versions its objects are served.
    version: usize,
}

impl Asked {
    /// Does what is asked, with the watch there is, if there is one.
    async fn perform(&mut self, action: &Action, watch: &mut Option<Watch>) -> Event<Item> {
        if *action != Action::Read {
            *watch = None;
        }
        match action {
            Action::Find => self.find().await.unwrap_or_else(Event::Failed),
            Action::List { more, limit } => self.list(more.as_deref(), *limit).await.unwrap_or_else(Event::Failed),
            Action::Watch(version) => match self.watch(version).await {
                Ok(begun) => {
                    *watch = Some(begun);
                    Event::Opened
                }
                Err(failure) => Event::Failed(failure),
            },
            Action::Read => self.read(watch.as_mut()).await.unwrap_or_else(Event::Failed),
            Action::Wait(time) => {
                tokio::time::sleep(*time).await;
                Event::Elapsed
            }
        }
    }

    fn served_version(&self) -> &str {
        &self.source.versions[self.version]
    }

    /// Looks for the first version that is served.
    async fn find(&mut self) -> Result<Event<Item>, Failure> {
        for (number, version) in self.source.versions.iter().enumerate() {
            let served = match self.server.get(&Source::discovery(version)).await {
                Ok(body) => wire::serves(self.source.subject.plural(), version, &body)?,
                // The API server's own list has to say so too. The core group is not in it, and always there.
                Err(Failure::NotFound) if version.contains('/') => {
                    if wire::knows(version, &self.server.get(GROUPS).await?)? {
                        return Err(Failure::NotFound);
                    }
                    false
                }
                Err(failure) => return Err(failure),
            };
            if served {
                self.version = number;
                return Ok(Event::Served);
            }
        }
        Ok(Event::NotServed)
    }

    async fn list(&self, more: Option<&str>, limit: u32) -> Result<Event<Item>, Failure> {
        let mut query = format!("limit={limit}");
        if let Some(more) = more {
            query.push_str("&continue=");
            query.push_str(&escaped(more));
        }
        let body = self.server.get(&self.path(&query)).await?;
        let (subject, version) = (self.source.subject, self.served_version().to_owned());
        let read = tokio::task::spawn_blocking(move || wire::page(subject, &version, &body)).await;
        read.map_err(|_| Failure::Unreadable("a page that cannot be taken apart"))
    }

    async fn watch(&self, version: &str) -> Result<Watch, Failure> {
        let seconds = WATCH_SECONDS + rand::random_range(0..=WATCH_SECONDS / 2);
        let query = format!(
            "watch=true&allowWatchBookmarks=true&timeoutSeconds={seconds}&resourceVersion={}",
            escaped(version)
        );
        self.server.watch(&self.path(&query), Duration::from_secs(seconds)).await
    }

    async fn read(&self, watch: Option<&mut Watch>) -> Result<Event<Item>, Failure> {
        let watch = watch.ok_or(Failure::Unreadable("no watch"))?;
        let Some(line) = watch.next().await? else { return Ok(Event::Closed) };
        let (subject, version) = (self.source.subject, self.served_version());
        if line.len() <= QUICK {
            return Ok(wire::line(subject, version, &line));
        }
        let version = version.to_owned();
        let read = tokio::task::spawn_blocking(move || wire::line(subject, &version, &line)).await;
        read.map_err(|_| Failure::Unreadable("a line that cannot be taken apart"))
    }

    fn path(&self, query: &str) -> String {
        let path = self.source.path(self.served_version());
        match self.source.selector().as_str() {
            "" => format!("{path}?{query}"),
            selector => format!("{path}?fieldSelector={}&{query}", escaped(selector)),
        }
    }

    fn count(&self, event: &Event<Item>) {
        let kind = self.source.subject.as_str();
        match event {
            Event::Page { more: None, .. } => {
                metrics::counter!("waykeeper_kubernetes_lists_total", "kind" => kind).increment(1);
            }
            Event::Failed(failure) => {
                metrics::counter!("waykeeper_kubernetes_failures_total", "kind" => kind, "why" => failure.word())
                    .increment(1);
            }
            _ => {}
        }
    }

    /// Says what has become of the source, once each time.
    fn log(&self, before: &Standing, now: &Standing) {
        let source = &self.source;
        match now {
            (settled, _, Some(failure)) if before.2.as_ref() != Some(failure) => {
                let served = if *settled { "what was read last" } else { "nothing yet" };
                warn!(%source, why = %failure, served, "cannot be read from the API server, trying again");
            }
            (_, true, None) if !before.1 => {
                info!(%source, "not served by the API server; looking for it every few seconds")
            }
            (true, false, None) if before.2.is_some() || !before.0 || before.1 => info!(%source, "read"),
            _ => {}
        }
    }
}

/// `text` as a value of a query.
pub fn escaped(text: &str) -> String {
    form_urlencoded::byte_serialize(text.as_bytes()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_in_a_value_ends_it() {
        assert_eq!(escaped("type=extauth.solo.io/apikey&x"), "type%3Dextauth.solo.io%2Fapikey%26x");
        assert_eq!(escaped("eyJ2Ij0-_.é"), "eyJ2Ij0-_.%C3%A9");
    }
}
