//! A server that fails again and again is left alone for a while. Pure: the time is an argument.

use std::time::{Duration, Instant};

/// When a server is left alone, and for how long.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Settings {
    /// After so many failures in a row.
    pub failures: u32,
    /// For so long at first; twice as long after each attempt that fails.
    pub pause: Duration,
    /// And never longer than this.
    pub longest_pause: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        Self { failures: 5, pause: Duration::from_secs(1), longest_pause: Duration::from_secs(30) }
    }
}

/// Whether a server may be asked.
#[derive(Debug)]
pub struct Breaker {
    settings: Settings,
    state: State,
    /// Counts up with each change of state, so that a call from before it does not count after it.
    era: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// It is asked. So many of its last answers were failures.
    Closed { failures: u32 },
    /// It is not asked until then.
    Open { until: Instant, pause: Duration },
    /// One call tries whether it is back. If nobody hears of that one by then, another may try.
    Trying { until: Instant, pause: Duration },
}

/// The permission to ask once. Give it back with what came of it.
#[derive(Debug)]
#[must_use = "give it back with what came of the call"]
pub struct Pass(u64);

impl Breaker {
    /// One that lets calls through.
    pub fn new(settings: Settings) -> Self {
        Self { settings, state: State::Closed { failures: 0 }, era: 0 }
    }

    /// Whether a call may be made at `now`.
    ///
    /// # Errors
    /// How long to wait until one may be.
    pub fn admit(&mut self, now: Instant) -> Result<Pass, Duration> {
        match self.state {
            State::Closed { .. } => {}
            State::Open { until, .. } | State::Trying { until, .. } if now < until => return Err(until - now),
            State::Open { pause, .. } | State::Trying { pause, .. } => {
                self.change(State::Trying { until: now + pause, pause });
            }
        }
        Ok(Pass(self.era))
    }

    /// A call came to its end at `now`, well or not.
    pub fn heard(&mut self, pass: Pass, went_well: bool, now: Instant) {
        if pass.0 != self.era {
            return;
        }
        match (self.state, went_well) {
            (State::Closed { failures: 0 }, true) => {}
            (State::Closed { .. }, true) => self.state = State::Closed { failures: 0 },
            (State::Closed { failures }, false) if failures + 1 < self.settings.failures => {
                self.state = State::Closed { failures: failures + 1 };
            }
            (State::Closed { .. }, false) => self.rest(self.settings.pause, now),
            (State::Trying { .. } | State::Open { .. }, true) => self.change(State::Closed { failures: 0 }),
            (State::Trying { pause, .. } | State::Open { pause, .. }, false) => self.rest(pause * 2, now),
        }
    }

    /// Whether calls are let through as if nothing had happened.
    pub fn is_closed(&self) -> bool {
        matches!(self.state, State::Closed { .. })
    }

    fn rest(&mut self, pause: Duration, now: Instant) {
        let pause = pause.min(self.settings.longest_pause);
        self.change(State::Open { until: now + pause, pause });
    }

    fn change(&mut self, state: State) {
        self.state = state;
        self.era += 1;
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use proptest::prelude::*;

    use super::*;

    const SETTINGS: Settings =
        Settings { failures: 3, pause: Duration::from_secs(1), longest_pause: Duration::from_secs(4) };

    fn seconds(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn it_opens_tries_with_one_call_and_closes_or_rests_for_longer() {
        let (mut breaker, start) = (Breaker::new(SETTINGS), Instant::now());
        let at = |millis| start + Duration::from_millis(millis);
        let before = breaker.admit(at(0)).unwrap();
        for _ in 0..3 {
            let pass = breaker.admit(at(0)).unwrap();
            breaker.heard(pass, false, at(0));
        }
        assert_eq!(breaker.admit(at(400)).unwrap_err(), Duration::from_millis(600));
        // Begun before it opened: says nothing about now.
        breaker.heard(before, true, at(500));
        assert!(breaker.admit(at(999)).is_err());
        let trying = breaker.admit(at(1_000)).unwrap();
        assert!(breaker.admit(at(1_000)).is_err(), "one at a time");
        breaker.heard(trying, false, at(1_100));
        assert_eq!(breaker.admit(at(1_100)).unwrap_err(), seconds(2), "twice as long");
        // Of this one nobody ever hears.
        let _lost = breaker.admit(at(3_100)).unwrap();
        assert!(breaker.admit(at(5_000)).is_err());
        let trying = breaker.admit(at(5_100)).unwrap();
        breaker.heard(trying, true, at(5_200));
        assert!(breaker.is_closed());
        let passes: Vec<_> = (0..5).map(|_| breaker.admit(at(5_200)).unwrap()).collect();
        assert_eq!(passes.len(), 5);
    }

    #[derive(Debug, Clone, Copy)]
    enum Event {
        Wait(u64),
        Ask,
        Hear(usize, bool),
    }

    fn event() -> impl Strategy<Value = Event> {
        prop_oneof![
            2 => (0..3_000_u64).prop_map(Event::Wait),
            4 => Just(Event::Ask),
            6 => (0..4_usize, prop::bool::weighted(0.3)).prop_map(|(which, well)| Event::Hear(which, well)),
        ]
    }

    proptest! {
        #[test]
        fn whatever_happens_it_rests_when_it_should_and_never_for_ever(events in prop::collection::vec(event(), 0..120)) {
            let mut breaker = Breaker::new(SETTINGS);
            let mut now = Instant::now();
            let mut under_way: Vec<(Pass, u64)> = Vec::new();
            let mut in_a_row = 0_u32;
            for event in events {
                match event {
                    Event::Wait(millis) => now += Duration::from_millis(millis),
                    Event::Ask => match breaker.admit(now) {
                        Ok(pass) => {
                            let era = pass.0;
                            under_way.push((pass, era));
                        }
                        Err(wait) => {
                            prop_assert!(wait > Duration::ZERO && wait <= SETTINGS.longest_pause);
                            prop_assert!(!breaker.is_closed());
                            // After that wait it is asked again, whatever else happens.
                            let mut later = Breaker { ..Breaker::new(SETTINGS) };
                            (later.state, later.era) = (breaker.state, breaker.era);
                            prop_assert!(later.admit(now + wait).is_ok());
                        }
                    },
                    Event::Hear(which, well) if !under_way.is_empty() => {
                        let (pass, era) = under_way.swap_remove(which % under_way.len());
                        let (counts, was_closed) = (era == breaker.era, breaker.is_closed());
                        breaker.heard(pass, well, now);
                        if !counts {
                            prop_assert_eq!(breaker.is_closed(), was_closed, "a call from before changes nothing");
                            continue;
                        }
                        in_a_row = if well { 0 } else { in_a_row + 1 };
                        if was_closed {
                            prop_assert_eq!(breaker.is_closed(), in_a_row < SETTINGS.failures);
                        } else {
                            prop_assert_eq!(breaker.is_closed(), well);
                        }
                        if !breaker.is_closed() {
                            prop_assert!(breaker.admit(now).is_err(), "a failure is followed by a rest");
                        }
                        if breaker.is_closed() != was_closed {
                            in_a_row = 0;
                        }
                    }
                    Event::Hear(..) => {}
                }
                if !breaker.is_closed() {
                    let current = under_way.iter().filter(|(_, era)| *era == breaker.era).count();
                    prop_assert!(current <= 1, "one tries at a time");
                }
            }
        }
    }
}
