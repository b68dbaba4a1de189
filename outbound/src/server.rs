//! A server that is asked a question of its own each time, so that nothing can be kept: at most so many calls at a time,
//! and none while it keeps failing.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use futures_util::FutureExt as _;
use parking_lot::Mutex;
use tokio::sync::Semaphore;
use tokio::time::timeout_at;
use tracing::{debug, error};

use crate::breaker::{self, Breaker, Pass};
use crate::{Outcome, Unavailable, Why};

/// How a server is asked.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Who is asked, for logs and errors: a name or an address, nothing that may hold secrets.
    pub who: Arc<str>,
    /// So many calls are under way at most.
    pub most_calls: usize,
    /// So many more wait for one of these to end. Others are not asked at all.
    pub most_waiting: usize,
    /// When the server is left alone.
    pub breaker: breaker::Settings,
}

impl Settings {
    /// Of `who`, with figures that suit most.
    pub fn new(who: &str) -> Self {
        Self { who: who.into(), most_calls: 256, most_waiting: 256, breaker: breaker::Settings::default() }
    }
}

/// Who had less time than this and got no answer in it does not know whether the server is slow.
const FAIR: Duration = Duration::from_millis(50);

/// A server.
#[derive(Debug)]
pub struct Server {
    settings: Settings,
    breaker: Mutex<Breaker>,
    calls: Semaphore,
    waiting: AtomicUsize,
}

impl Server {
    /// One that has not been asked yet.
    pub fn new(settings: Settings) -> Self {
        let (breaker, calls) = (Mutex::new(Breaker::new(settings.breaker)), Semaphore::new(settings.most_calls));
        Self { settings, breaker, calls, waiting: AtomicUsize::new(0) }
    }

    /// Who it is.
    pub fn who(&self) -> &Arc<str> {
        &self.settings.who
    }

    /// Makes `call` when there is room and the server is not left alone, and hears what comes of it by `deadline`.
    ///
    /// The call ends with whoever asks. It speaks against the server that there is no connection, that it breaks, and
    /// that a fair time was not enough. An answer that cannot be used does not: the question may have been made for that.
    pub async fn ask<T>(&self, deadline: Instant, call: impl Future<Output = Outcome<T>>) -> Outcome<T> {
        let Some(_room) = self.room(deadline).await else { return self.unavailable(Why::Busy, "") };
        let begun = now();
        let pass = match self.breaker.lock().admit(begun) {
            Ok(pass) => pass,
            Err(wait) => return self.unavailable(Why::Resting, format!("{} ms more", wait.as_millis())),
        };
        let outcome = match timeout_at(deadline.into(), AssertUnwindSafe(call).catch_unwind()).await {
            Ok(Ok(outcome)) => outcome,
            Ok(Err(_)) => {
                error!(who = %self.settings.who, "asking panicked");
                self.unavailable(Why::Fault, "")
            }
            Err(_) => self.unavailable(Why::TooLate, ""),
        };
        let fair = deadline.saturating_duration_since(begun) >= FAIR;
        match &outcome {
            Outcome::Answered(_) => self.heard(pass, true),
            Outcome::Unavailable(unavailable) => {
                debug!(%unavailable, "asking failed");
                match unavailable.why {
                    Why::Unreachable | Why::Broken => self.heard(pass, false),
                    Why::TooLate if fair => self.heard(pass, false),
                    Why::TooLarge | Why::Unreadable => self.heard(pass, true),
                    Why::TooLate | Why::Resting | Why::Busy | Why::Forbidden | Why::Fault => {}
                }
            }
        }
        outcome
    }

    /// A place among the calls under way.
    async fn room(&self, deadline: Instant) -> Option<tokio::sync::SemaphorePermit<'_>> {
        if let Ok(room) = self.calls.try_acquire() {
            return Some(room);
        }
        let _turn = Turn::take(&self.waiting, self.settings.most_waiting)?;
        timeout_at(deadline.into(), self.calls.acquire()).await.ok()?.ok()
    }

    fn heard(&self, pass: Pass, well: bool) {
        self.breaker.lock().heard(pass, well, now());
    }

    fn unavailable<T>(&self, why: Why, detail: impl Into<Arc<str>>) -> Outcome<T> {
        Outcome::Unavailable(Unavailable::new(&self.settings.who, why, detail))
    }
}

/// A place among those that wait.
struct Turn<'a>(&'a AtomicUsize);

impl<'a> Turn<'a> {
    fn take(waiting: &'a AtomicUsize, most: usize) -> Option<Self> {
        let free = |count| (count < most).then_some(count + 1);
        waiting.fetch_update(Ordering::Relaxed, Ordering::Relaxed, free).ok()?;
        Some(Turn(waiting))
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// The time, as the runtime tells it, so that tests may move it.
fn now() -> Instant {
    tokio::time::Instant::now().into_std()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::future::{pending, ready};

    use super::*;

    fn server(most_calls: usize, most_waiting: usize) -> Arc<Server> {
        let breaker =
            breaker::Settings { failures: 2, pause: Duration::from_secs(1), longest_pause: Duration::from_secs(2) };
        Arc::new(Server::new(Settings { most_calls, most_waiting, breaker, ..Settings::new("a:1") }))
    }

    fn soon(millis: u64) -> Instant {
        now() + Duration::from_millis(millis)
    }

    async fn why(server: &Server, millis: u64, outcome: Outcome<u8>) -> Option<Why> {
        match server.ask(soon(millis), ready(outcome)).await {
            Outcome::Answered(_) => None,
            Outcome::Unavailable(unavailable) => Some(unavailable.why),
        }
    }

    fn failed(why: Why) -> Outcome<u8> {
        Outcome::Unavailable(Unavailable::new(&"a:1".into(), why, ""))
    }

    #[test]
    fn so_many_wait_and_no_more() {
        let waiting = AtomicUsize::new(0);
        let turns: Vec<_> = (0..4).map_while(|_| Turn::take(&waiting, 2)).collect();
        assert_eq!((turns.len(), waiting.load(Ordering::Relaxed)), (2, 2));
        drop(turns);
        assert!(Turn::take(&waiting, 1).is_some() && Turn::take(&waiting, 0).is_none());
        assert_eq!(waiting.load(Ordering::Relaxed), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn who_hangs_is_left_alone_after_a_fair_time_and_tried_again() {
        let server = server(8, 8);
        for _ in 0..3 {
            // Too short to say anything of it.
            let outcome = server.ask(soon(20), pending::<Outcome<u8>>()).await;
            assert!(matches!(outcome, Outcome::Unavailable(Unavailable { why: Why::TooLate, .. })), "{outcome:?}");
        }
        for _ in 0..2 {
            let outcome = server.ask(soon(100), pending::<Outcome<u8>>()).await;
            assert!(matches!(outcome, Outcome::Unavailable(Unavailable { why: Why::TooLate, .. })), "{outcome:?}");
        }
        assert_eq!(why(&server, 100, Outcome::Answered(1)).await, Some(Why::Resting));
        tokio::time::sleep(Duration::from_secs(1)).await;
        assert_eq!(why(&server, 100, Outcome::Answered(1)).await, None);
        assert_eq!(why(&server, 100, Outcome::Answered(1)).await, None);
    }

    /// Or whoever can make a server answer nonsense could have it left alone, for everybody.
    #[tokio::test(start_paused = true)]
    async fn an_answer_that_cannot_be_used_does_not_speak_against_the_server() {
        let server = server(8, 8);
        for answer in [Why::TooLarge, Why::Unreadable, Why::Forbidden, Why::Fault].repeat(3) {
            assert_eq!(why(&server, 100, failed(answer)).await, Some(answer));
        }
        for answer in [Why::Unreachable, Why::Broken] {
            assert_eq!(why(&server, 100, failed(answer)).await, Some(answer));
        }
        assert_eq!(why(&server, 100, Outcome::Answered(1)).await, Some(Why::Resting));
    }

    #[tokio::test(start_paused = true)]
    async fn so_many_calls_at_a_time_so_many_that_wait_and_no_more() {
        let server = server(1, 1);
        let (release, held) = tokio::sync::oneshot::channel::<()>();
        let first = tokio::spawn({
            let server = server.clone();
            async move {
                server
                    .ask(soon(10_000), async {
                        let _ = held.await;
                        Outcome::Answered(1_u8)
                    })
                    .await
            }
        });
        while server.calls.available_permits() > 0 {
            tokio::task::yield_now().await;
        }
        let second = tokio::spawn({
            let server = server.clone();
            async move { server.ask(soon(10_000), ready(Outcome::Answered(2_u8))).await }
        });
        while server.waiting.load(Ordering::Relaxed) == 0 {
            tokio::task::yield_now().await;
        }
        assert_eq!(why(&server, 10_000, Outcome::Answered(3)).await, Some(Why::Busy));
        release.send(()).unwrap();
        assert_eq!((first.await.unwrap(), second.await.unwrap()), (Outcome::Answered(1), Outcome::Answered(2)));
        assert_eq!((server.calls.available_permits(), server.waiting.load(Ordering::Relaxed)), (1, 0));
        let panicked = server.ask(soon(100), async { panic!("on purpose") }).await;
        assert!(matches!(panicked, Outcome::<u8>::Unavailable(Unavailable { why: Why::Fault, .. })));
        assert_eq!(server.calls.available_permits(), 1);
    }
}
