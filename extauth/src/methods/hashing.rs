//! Where passwords are hashed: never on a thread that answers, and only so many at a time.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::sync::Semaphore;

use crate::step::{Answer, Fault, Outcome};

/// More checks than this do not wait for a processor: whoever comes then is told to come again.
const MOST_WAITING: usize = 256;

/// Processors for work that takes long on purpose.
#[derive(Debug)]
pub struct Hashing {
    running: Arc<Semaphore>,
    waiting: Arc<AtomicUsize>,
    most_waiting: usize,
}

impl Hashing {
    /// On half of the processors of this process, at least one.
    pub fn new() -> Hashing {
        let processors = std::thread::available_parallelism().map_or(1, usize::from);
        Hashing::on((processors / 2).max(1), MOST_WAITING)
    }

    fn on(processors: usize, most_waiting: usize) -> Hashing {
        Hashing { running: Arc::new(Semaphore::new(processors)), waiting: Arc::default(), most_waiting }
    }

    /// Does `work` when its turn comes. Whoever stops waiting gives up the turn.
    pub fn run(&self, work: impl FnOnce() -> Outcome + Send + 'static) -> Answer {
        let turn = Turn::take(&self.waiting, self.most_waiting);
        let Some(turn) = turn else { return Answer::Now(Outcome::Fault(Fault::Busy)) };
        let running = self.running.clone();
        Answer::Later(Box::pin(async move {
            let Ok(permit) = running.acquire_owned().await else { return Outcome::Fault(Fault::Internal) };
            drop(turn);
            // The permit goes with the work, which goes on when nobody waits for it any more.
            let worked = tokio::task::spawn_blocking(move || {
                let outcome = work();
                drop(permit);
                outcome
            });
            worked.await.unwrap_or(Outcome::Fault(Fault::Internal))
        }))
    }
}

impl Default for Hashing {
    fn default() -> Self {
        Self::new()
    }
}

/// A place among those that wait.
struct Turn(Arc<AtomicUsize>);

impl Turn {
    fn take(waiting: &Arc<AtomicUsize>, most: usize) -> Option<Turn> {
        let free = |count| (count < most).then_some(count + 1);
        waiting.fetch_update(Ordering::Relaxed, Ordering::Relaxed, free).ok()?;
        Some(Turn(waiting.clone()))
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use crate::step::Denial;

    fn later(answer: Answer) -> futures_util::future::BoxFuture<'static, Outcome> {
        let Answer::Later(later) = answer else { panic!("{answer:?}") };
        later
    }

    #[tokio::test]
    async fn so_many_at_a_time_and_so_many_waiting() {
        let hashing = Hashing::on(1, 2);
        let denied = Outcome::Deny(Denial::NEGATED);
        let (release, held) = std::sync::mpsc::channel::<()>();
        let done = denied.clone();
        let first = tokio::spawn(later(hashing.run(move || {
            held.recv().unwrap();
            done
        })));
        while hashing.running.available_permits() > 0 {
            tokio::task::yield_now().await;
        }
        let (second, third) = (later(hashing.run(|| Outcome::Deny(Denial::NEGATED))), hashing.run(|| panic!("asked")));
        assert!(matches!(hashing.run(|| panic!("asked")), Answer::Now(Outcome::Fault(Fault::Busy))));
        drop(third);
        assert!(matches!(hashing.run(|| panic!("asked")), Answer::Later(_)));
        release.send(()).unwrap();
        assert_eq!((first.await.unwrap(), second.await), (denied.clone(), denied));
        assert_eq!(later(hashing.run(|| panic!("on purpose"))).await, Outcome::Fault(Fault::Internal));
        assert_eq!((hashing.running.available_permits(), hashing.waiting.load(Ordering::Relaxed)), (1, 0));
    }
}
