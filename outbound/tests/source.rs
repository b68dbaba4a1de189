//! Many who ask, one call; a server that fails is left alone; nobody waits longer than it may.
#![allow(clippy::unwrap_used)]

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use futures_util::future::{BoxFuture, join_all};
use proptest::prelude::*;
use waykeeper_outbound::cache::Bounds;
use waykeeper_outbound::source::Settings;
use waykeeper_outbound::{Fetched, Outcome, Source, Unavailable, Why, breaker};

/// How the server behaves towards a key.
#[derive(Debug, Clone, Copy)]
enum Behaviour {
    Answers { after: u64, fresh_for: u64 },
    Fails { after: u64 },
    Hangs,
    Panics,
}

struct Counted {
    calls: Arc<AtomicUsize>,
    at_once: Arc<AtomicUsize>,
    most_at_once: Arc<AtomicUsize>,
}

/// A source whose server does to the key `n` what `behaviour(n)` says, and answers with the number of the call.
fn source(
    settings: Settings,
    behaviour: impl Fn(u32) -> Behaviour + Send + Sync + 'static,
) -> (Source<u32, usize>, Counted) {
    let calls = Arc::new(AtomicUsize::new(0));
    let (at_once, most_at_once) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let counted = Counted { calls: calls.clone(), at_once: at_once.clone(), most_at_once: most_at_once.clone() };
    let who = settings.who.clone();
    let fetch = move |key: u32, _: Instant| -> BoxFuture<'static, Outcome<Fetched<usize>>> {
        let number = calls.fetch_add(1, Ordering::SeqCst) + 1;
        let (at_once, most, who, behaviour) = (at_once.clone(), most_at_once.clone(), who.clone(), behaviour(key));
        Box::pin(async move {
            most.fetch_max(at_once.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
            let outcome = match behaviour {
                Behaviour::Hangs => std::future::pending().await,
                Behaviour::Panics => panic!("on purpose"),
                Behaviour::Answers { after, fresh_for } => {
                    tokio::time::sleep(Duration::from_millis(after)).await;
                    Outcome::Answered(Fetched { value: number, bytes: 10, fresh_for: Duration::from_millis(fresh_for) })
                }
                Behaviour::Fails { after } => {
                    tokio::time::sleep(Duration::from_millis(after)).await;
                    Outcome::Unavailable(Unavailable::new(&who, Why::Broken, ""))
                }
            };
            at_once.fetch_sub(1, Ordering::SeqCst);
            outcome
        })
    };
    (Source::new(settings, fetch), counted)
}

fn settings() -> Settings {
    Settings {
        patience: Duration::from_secs(2),
        failures_for: Duration::from_millis(500),
        breaker: breaker::Settings { failures: 1_000, ..breaker::Settings::default() },
        ..Settings::new("them")
    }
}

fn within(millis: u64) -> Instant {
    tokio::time::Instant::now().into_std() + Duration::from_millis(millis)
}

fn why<T>(outcome: Outcome<T>) -> Why {
    match outcome {
        Outcome::Unavailable(unavailable) => unavailable.why,
        Outcome::Answered(_) => panic!("it was answered"),
    }
}

#[tokio::test(start_paused = true)]
async fn an_answer_is_kept_for_as_long_as_it_is_fresh() {
    let (source, counted) = source(settings(), |_| Behaviour::Answers { after: 10, fresh_for: 1_000 });
    assert_eq!(source.ask(&1, within(50)).await, Outcome::Answered(1));
    assert_eq!(source.ask(&1, within(50)).await, Outcome::Answered(1));
    assert_eq!(source.ask(&2, within(50)).await, Outcome::Answered(2), "another key is another question");
    tokio::time::sleep(Duration::from_millis(1_001)).await;
    assert_eq!(source.ask(&1, within(50)).await, Outcome::Answered(3));
    source.forget(&1);
    assert_eq!(source.ask(&1, within(50)).await, Outcome::Answered(4));
    assert_eq!(counted.calls.load(Ordering::SeqCst), 4);
    // Known is answered whatever the time is.
    assert_eq!(source.ask(&1, within(0)).await, Outcome::Answered(4));
}

/// Or whoever asks about what nobody knows could have all forgotten that somebody does.
#[tokio::test(start_paused = true)]
async fn an_answer_that_counts_for_no_time_takes_the_place_of_none() {
    let one = Settings { bounds: Bounds { entries: 1, bytes: 1_000 }, ..settings() };
    let fresh_for = |key| if key == 1 { 60_000 } else { 0 };
    let (source, counted) = source(one, move |key| Behaviour::Answers { after: 10, fresh_for: fresh_for(key) });
    assert_eq!(source.ask(&1, within(50)).await, Outcome::Answered(1));
    let both = tokio::join!(source.ask(&2, within(50)), source.ask(&2, within(50)));
    assert_eq!(both, (Outcome::Answered(2), Outcome::Answered(2)), "who asks together shares it");
    assert!(!source.is_under_way(&2));
    assert_eq!(source.ask(&2, within(50)).await, Outcome::Answered(3));
    assert_eq!(source.ask(&1, within(50)).await, Outcome::Answered(1));
    assert_eq!(counted.calls.load(Ordering::SeqCst), 3);
}

#[tokio::test(start_paused = true)]
async fn a_failure_counts_briefly_and_is_no_answer() {
    let (source, counted) = source(settings(), |_| Behaviour::Fails { after: 1 });
    for _ in 0..10 {
        assert_eq!(why(source.ask(&1, within(50)).await), Why::Broken);
    }
    assert_eq!(counted.calls.load(Ordering::SeqCst), 1);
    tokio::time::sleep(Duration::from_millis(501)).await;
    assert_eq!(why(source.ask(&1, within(50)).await), Why::Broken);
    assert_eq!(counted.calls.load(Ordering::SeqCst), 2);
    // However long somebody wants failures to be kept.
    let long = Settings { failures_for: Duration::from_secs(3_600), ..settings() };
    let (source, counted) = self::source(long, |_| Behaviour::Fails { after: 1 });
    assert_eq!(why(source.ask(&1, within(50)).await), Why::Broken);
    tokio::time::sleep(waykeeper_outbound::source::LONGEST_FAILURE).await;
    assert_eq!(why(source.ask(&1, within(50)).await), Why::Broken);
    assert_eq!(counted.calls.load(Ordering::SeqCst), 2);
}

#[tokio::test(start_paused = true)]
async fn whoever_asks_has_an_answer_by_its_deadline_and_the_call_goes_on_for_the_next() {
    let (source, counted) = source(settings(), |key| match key {
        1 => Behaviour::Answers { after: 300, fresh_for: 60_000 },
        2 => Behaviour::Hangs,
        _ => Behaviour::Panics,
    });
    let begun = tokio::time::Instant::now();
    assert_eq!(why(source.ask(&1, within(100)).await), Why::TooLate);
    assert_eq!(begun.elapsed(), Duration::from_millis(100));
    assert_eq!(source.ask(&1, within(250)).await, Outcome::Answered(1));
    assert_eq!(begun.elapsed(), Duration::from_millis(300));

    // A call ends by the source's own patience, and then the next may try.
    assert_eq!(why(source.ask(&2, within(60_000)).await), Why::TooLate);
    assert_eq!(begun.elapsed(), Duration::from_millis(2_300));
    assert_eq!(why(source.ask(&2, within(100)).await), Why::TooLate);
    tokio::time::sleep(Duration::from_millis(600)).await;
    let before = counted.calls.load(Ordering::SeqCst);
    assert_eq!(why(source.ask(&2, within(100)).await), Why::TooLate);
    assert_eq!(counted.calls.load(Ordering::SeqCst), before + 1);

    assert_eq!(why(source.ask(&3, within(100)).await), Why::Fault);
    assert_eq!(why(source.ask(&9, within(0)).await), Why::TooLate, "and is not even asked for");
}

#[tokio::test(start_paused = true)]
async fn no_more_calls_than_there_may_be() {
    let few = Settings { most_calls: 2, ..settings() };
    let (source, counted) = source(few, |_| Behaviour::Answers { after: 100, fresh_for: 0 });
    let asked = (0..5).map(|key| {
        let source = source.clone();
        async move { source.ask(&key, within(1_000)).await }
    });
    let outcomes = join_all(asked).await;
    let busy =
        outcomes.into_iter().filter(|outcome| *outcome != Outcome::Answered(1) && *outcome != Outcome::Answered(2));
    let busy: Vec<Why> = busy.map(why).collect();
    assert_eq!(busy, [Why::Busy; 3]);
    assert_eq!(counted.most_at_once.load(Ordering::SeqCst), 2);
    assert!(matches!(source.ask(&7, within(1_000)).await, Outcome::Answered(_)), "there is room again");
}

#[tokio::test(start_paused = true)]
async fn a_server_that_fails_is_left_alone_and_tried_again() {
    let failing = Arc::new(std::sync::atomic::AtomicBool::new(true));
    let brief = Settings { failures_for: Duration::ZERO, breaker: breaker::Settings::default(), ..settings() };
    let fails = failing.clone();
    let (source, counted) = source(brief, move |_| match fails.load(Ordering::SeqCst) {
        true => Behaviour::Fails { after: 1 },
        false => Behaviour::Answers { after: 1, fresh_for: 0 },
    });
    let mut last = Why::Broken;
    for _ in 0..20 {
        last = why(source.ask(&1, within(50)).await);
    }
    assert_eq!((last, counted.calls.load(Ordering::SeqCst)), (Why::Resting, 5));
    failing.store(false, Ordering::SeqCst);
    assert_eq!(why(source.ask(&2, within(50)).await), Why::Resting, "for every key");
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert!(matches!(source.ask(&2, within(50)).await, Outcome::Answered(_)));
    assert!(matches!(source.ask(&3, within(50)).await, Outcome::Answered(_)));
}

#[tokio::test(start_paused = true)]
async fn calls_end_with_the_source() {
    let (source, counted) = source(settings(), |_| Behaviour::Hangs);
    assert_eq!(why(source.ask(&1, within(10)).await), Why::TooLate);
    assert_eq!(counted.at_once.load(Ordering::SeqCst), 1);
    let weak = Arc::downgrade(&counted.at_once);
    drop((source, counted));
    tokio::time::sleep(Duration::from_millis(1)).await;
    assert_eq!(weak.strong_count(), 0, "the call is gone with all that it held");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    /// Whoever comes when, and however the server behaves: one call for a key at a time, an answer for
    /// each by its deadline, none that nobody gave, and room that is kept to.
    #[test]
    fn many_who_ask(
        askers in prop::collection::vec((0..4_u32, 0..2_000_u64, 1..1_500_u64), 1..60),
        behaviours in prop::collection::vec((0..4_u8, 0..800_u64, 0..600_u64), 4),
        entries in 0..4_usize,
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
        let hook = std::panic::take_hook();
        std::panic::set_hook(Box::new(|_| {}));
        let result = runtime.block_on(async {
            let of = behaviours.clone();
            let behaviour = move |key: u32| match of[key as usize] {
                (0, after, _) => Behaviour::Fails { after },
                (1, 0..50, 0..50) => Behaviour::Panics,
                (1, ..) => Behaviour::Hangs,
                (_, after, fresh_for) => Behaviour::Answers { after, fresh_for },
            };
            let bounds = Bounds { entries, bytes: 1_000 };
            let under_way: Arc<[AtomicUsize; 4]> = Arc::default();
            let twice = Arc::new(AtomicUsize::new(0));
            let (seen, both) = (under_way.clone(), twice.clone());
            let (inner, counted) = source(Settings { bounds, ..settings() }, behaviour);
            // Around it another, which sees whether two calls for a key are ever under way.
            let outer = Source::new(Settings { bounds, ..settings() }, move |key: u32, deadline: Instant| -> BoxFuture<'static, Outcome<Fetched<usize>>> {
                let (inner, seen, both) = (inner.clone(), seen.clone(), both.clone());
                if seen[key as usize].fetch_add(1, Ordering::SeqCst) > 0 {
                    both.fetch_add(1, Ordering::SeqCst);
                }
                struct Ended(Arc<[AtomicUsize; 4]>, usize);
                impl Drop for Ended {
                    fn drop(&mut self) { self.0[self.1].fetch_sub(1, Ordering::SeqCst); }
                }
                let ended = Ended(seen, key as usize);
                Box::pin(async move {
                    let outcome = inner.ask(&key, deadline).await;
                    drop(ended);
                    outcome.map(|value| Fetched { value, bytes: 10, fresh_for: Duration::from_millis(100) })
                })
            });
            let begun = tokio::time::Instant::now();
            let all = askers.iter().map(|(key, comes, waits)| {
                let (outer, behaviours) = (outer.clone(), behaviours.clone());
                async move {
                    tokio::time::sleep(Duration::from_millis(*comes)).await;
                    let outcome = outer.ask(key, within(*waits)).await;
                    let took = begun.elapsed() - Duration::from_millis(*comes);
                    prop_assert!(took <= Duration::from_millis(*waits), "{took:?}");
                    match outcome {
                        Outcome::Answered(_) => prop_assert!(behaviours[*key as usize].0 >= 2, "nobody said so"),
                        Outcome::Unavailable(unavailable) => {
                            let slow = behaviours[*key as usize].1 + 1 >= *waits;
                            prop_assert!(behaviours[*key as usize].0 < 2 || slow && unavailable.why == Why::TooLate, "{unavailable}");
                        }
                    }
                    Ok(())
                }
            });
            for checked in join_all(all).await {
                checked?;
            }
            prop_assert_eq!(twice.load(Ordering::SeqCst), 0);
            prop_assert!(counted.calls.load(Ordering::SeqCst) <= askers.len());
            Ok(())
        });
        std::panic::set_hook(hook);
        result?;
    }
}
