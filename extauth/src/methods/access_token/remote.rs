//! Keys at an address: fetched before they are needed and again and again, the last good ones kept while that fails.
//!
//! ```text
//! age      0 ───────── refresh ───────── 2 × refresh ─────────── refresh + an hour ─────▶
//!          used as they are │ used, and fetched meanwhile │ fetched first; if that fails, used │ nobody passes
//! ```
//! Who comes with a key that is not among them has them fetched anew, but only so often.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use api::gloo::auth_config::jwks::{KeySet, MOST_BYTES};
use api::gloo::auth_config::{RemoteJwks, Target};
use bytes::Bytes;
use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use http::header::ACCEPT;
use http::{HeaderValue, Request, Response, StatusCode, Uri};
use outbound::http::{Authorities, Client, Limits, Speaks};
use outbound::source::{Fetched, Settings};
use outbound::{Outcome, Source, Unavailable, Why};
use parking_lot::Mutex;

use super::keys::Keys;
use crate::methods::Trust;

/// Keys that should have been fetched again are used for so long while that fails.
pub const KEPT: Duration = Duration::from_secs(3600);
/// Keys are not fetched anew for unknown ones before so long.
pub const ANEW: Duration = Duration::from_secs(10);
/// Where fetching has failed for so long, nobody waits for it.
const WAITED: Duration = Duration::from_secs(1);

/// Keys at an address, or what else an issuer says of itself.
pub struct Remote<T = Keys> {
    source: Source<(), Arc<T>>,
    held: Arc<Mutex<Held<T>>>,
    refresh: Duration,
}

struct Held<T> {
    /// The keys of the last good answer, and when it came.
    good: Option<(Arc<T>, Instant)>,
    /// When fetching was first tried since then.
    tried: Option<Instant>,
    /// When keys were last fetched for an unknown one.
    anew: Option<Instant>,
}

/// Keys and whether they are as new as they should be.
pub struct Found<T = Keys> {
    /// The keys.
    pub keys: Arc<T>,
    /// Whether they are. Of others it is not known that a key is none of them.
    pub fresh: bool,
}

impl Remote {
    /// Those at the address of `remote`.
    fn at(remote: &RemoteJwks, trust: &Trust) -> Option<Remote> {
        let target = Target::of_url(remote.url.as_deref()?).ok()?;
        let scheme = if target.tls { "https" } else { "http" };
        let uri = Uri::builder().scheme(scheme).authority(target.authority()).path_and_query(&*target.path);
        let uri = uri.build().ok()?;
        let limits = Limits { body: MOST_BYTES, idle: 1, ..Limits::default() };
        let trusted = if target.tls { trust.authorities() } else { Arc::new(Authorities::empty()) };
        let client = Client::speaking(Speaks::Either, limits, trusted).ok()?;
        let who: Arc<str> = target.authority().into();
        let asked = who.clone();
        Some(Remote::asking(&who, remote.refresh(), move |deadline| {
            let (client, who) = (client.clone(), asked.clone());
            let mut request = Request::new(Bytes::new());
            *request.uri_mut() = uri.clone();
            request.headers_mut().insert(ACCEPT, HeaderValue::from_static("application/json"));
            async move { client.call(request, deadline).await.and_then(|answer| read(&answer, &who)) }.boxed()
        }))
    }
}

impl<T: Send + Sync + 'static> Remote<T> {
    /// Those that `ask` has from `who`.
    pub fn asking(
        who: &str,
        refresh: Duration,
        ask: impl Fn(Instant) -> BoxFuture<'static, Outcome<Arc<T>>> + Send + Sync + 'static,
    ) -> Remote<T> {
        let held = Arc::new(Mutex::new(Held { good: None, tried: None, anew: None }));
        let keeps = held.clone();
        let source = Source::new(Settings::new(who), move |(), deadline: Instant| {
            let (asked, held) = (ask(deadline), keeps.clone());
            async move {
                asked.await.map(|keys| {
                    let mut held = held.lock();
                    held.good = Some((keys.clone(), now()));
                    held.tried = None;
                    // What is kept is kept there, with its age.
                    Fetched { value: keys, bytes: 0, fresh_for: Duration::ZERO }
                })
            }
            .boxed()
        });
        Remote { source, held, refresh }
    }

    /// The keys that may be used without waiting. Has them fetched if it is time.
    pub fn at_hand(&self) -> Option<Found<T>> {
        let now = now();
        let held = self.held.lock();
        let (keys, at) = held.good.clone()?;
        let age = now.saturating_duration_since(at);
        if age < self.refresh {
            return Some(Found { keys, fresh: true });
        }
        let given_up = held.tried.is_some_and(|tried| now.saturating_duration_since(tried) >= WAITED);
        drop(held);
        if age >= self.refresh * 2 && !given_up {
            return None;
        }
        self.begin();
        (age < self.refresh + KEPT).then_some(Found { keys, fresh: false })
    }

    /// The keys, fetched now; by `deadline`.
    ///
    /// # Errors
    /// Why there are none, not even old ones.
    pub async fn fetched(&self, deadline: Instant) -> Result<Found<T>, Unavailable> {
        self.held.lock().tried.get_or_insert_with(now);
        match self.source.ask(&(), deadline).await {
            Outcome::Answered(keys) => Ok(Found { keys, fresh: true }),
            Outcome::Unavailable(unavailable) => {
                let good = self.held.lock().good.clone();
                let good = good.map(|(keys, at)| (keys, now().saturating_duration_since(at)));
                let usable = good.filter(|(_, age)| *age < self.refresh + KEPT);
                // However new they are, they are not what was asked for.
                usable.map(|(keys, _)| Found { keys, fresh: false }).ok_or(unavailable)
            }
        }
    }

    /// Whether they may be fetched for a key that is not among them. Whoever comes while that is done waits for it too.
    pub fn may_fetch_anew(&self) -> bool {
        if self.source.is_under_way(&()) {
            return true;
        }
        let now = now();
        let mut held = self.held.lock();
        let may = held.anew.is_none_or(|last| now.saturating_duration_since(last) >= ANEW);
        if may {
            held.anew = Some(now);
        }
        may
    }

    /// Has them fetched, if they are not there.
    pub fn prepare(&self) {
        if self.held.lock().good.is_none() {
            self.begin();
        }
    }

    /// Has them fetched while nobody waits.
    fn begin(&self) {
        self.held.lock().tried.get_or_insert_with(now);
        let soon = now() + Duration::from_secs(5);
        // Asking once starts the call, which goes on by itself.
        let _ = self.source.ask(&(), soon).now_or_never();
    }
}

fn read(answer: &Response<Bytes>, who: &Arc<str>) -> Outcome<Arc<Keys>> {
    let unreadable = |why: String| Outcome::Unavailable(Unavailable::new(who, Why::Unreadable, why));
    if answer.status() != StatusCode::OK {
        return unreadable(format!("status {}", answer.status().as_u16()));
    }
    match KeySet::parse(answer.body()) {
        Ok(set) => Outcome::Answered(Arc::new(Keys::of(set))),
        Err(why) => unreadable(format!("its JSON Web Key Set {why}")),
    }
}

impl<T> fmt::Debug for Remote<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Remote").finish_non_exhaustive()
    }
}

/// All of a process: AuthConfigs with the same address share its keys, and so do versions of one.
#[derive(Debug, Clone, Default)]
pub struct Remotes(Arc<Mutex<HashMap<Address, Weak<Remote>>>>);

#[derive(Clone, PartialEq, Eq, Hash)]
struct Address(String, Duration);

impl fmt::Debug for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Address")
    }
}

impl Remotes {
    /// The keys at the address of `remote`; none by a fault of ours.
    pub fn at(&self, remote: &RemoteJwks, trust: &Trust) -> Option<Arc<Remote>> {
        let address = Address(remote.url.clone().unwrap_or_default(), remote.refresh());
        let mut known = self.0.lock();
        if let Some(there) = known.get(&address).and_then(Weak::upgrade) {
            return Some(there);
        }
        known.retain(|_, remote| remote.strong_count() > 0);
        let made = Arc::new(Remote::at(remote, trust)?);
        known.insert(address, Arc::downgrade(&made));
        Some(made)
    }
}

/// The time, as the runtime tells it, so that tests may move it.
fn now() -> Instant {
    tokio::time::Instant::now().into_std()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::sync::atomic::{AtomicUsize, Ordering};

    use tokio::time::{advance, sleep};

    use super::*;

    const REFRESH: Duration = Duration::from_secs(300);

    /// Keys of somebody who is well or not, takes a second to answer, and counts how often he is asked.
    struct World {
        remote: Arc<Remote>,
        well: Arc<Mutex<bool>>,
        asked: Arc<AtomicUsize>,
    }

    impl World {
        fn new() -> World {
            let (well, asked) = (Arc::new(Mutex::new(true)), Arc::new(AtomicUsize::new(0)));
            let (is_well, counts) = (well.clone(), asked.clone());
            let remote = Remote::asking("idp", REFRESH, move |_| {
                counts.fetch_add(1, Ordering::Relaxed);
                let is_well = is_well.clone();
                async move {
                    sleep(Duration::from_secs(1)).await;
                    match *is_well.lock() {
                        true => Outcome::Answered(Arc::new(Keys::of(KeySet::default()))),
                        false => Outcome::Unavailable(Unavailable::new(&"idp".into(), Why::Broken, "")),
                    }
                }
                .boxed()
            });
            World { remote: Arc::new(remote), well, asked }
        }

        async fn fetched(&self) -> Option<bool> {
            self.remote.fetched(now() + Duration::from_secs(3)).await.ok().map(|found| found.fresh)
        }

        fn at_hand(&self) -> Option<bool> {
            self.remote.at_hand().map(|found| found.fresh)
        }

        fn asked(&self) -> usize {
            self.asked.load(Ordering::Relaxed)
        }

        /// What is under way comes to its end.
        async fn settled(&self) {
            sleep(Duration::from_secs(2)).await;
        }
    }

    #[tokio::test(start_paused = true)]
    async fn keys_are_fetched_before_they_are_needed_and_once_by_all_who_wait() {
        let world = World::new();
        assert_eq!(world.at_hand(), None);
        world.remote.prepare();
        world.remote.prepare();
        assert_eq!(tokio::join!(world.fetched(), world.fetched()), (Some(true), Some(true)));
        assert_eq!((world.at_hand(), world.asked()), (Some(true), 1));
        world.remote.prepare();
        world.settled().await;
        assert_eq!(world.asked(), 1, "they are there");
    }

    #[tokio::test(start_paused = true)]
    async fn keys_of_some_age_are_used_while_they_are_fetched_again() {
        let world = World::new();
        assert_eq!(world.fetched().await, Some(true));
        advance(REFRESH - Duration::from_millis(1)).await;
        assert_eq!((world.at_hand(), world.asked()), (Some(true), 1));
        advance(Duration::from_millis(1)).await;
        assert_eq!((world.at_hand(), world.at_hand()), (Some(false), Some(false)));
        world.settled().await;
        assert_eq!((world.at_hand(), world.asked()), (Some(true), 2));
    }

    #[tokio::test(start_paused = true)]
    async fn keys_that_nobody_asked_for_for_long_are_fetched_first() {
        let world = World::new();
        assert_eq!(world.fetched().await, Some(true));
        advance(REFRESH * 2).await;
        assert_eq!(world.at_hand(), None);
        assert_eq!(world.fetched().await, Some(true));
        // Even when nobody is there any more, those of before count for a while.
        advance(REFRESH * 2).await;
        *world.well.lock() = false;
        assert_eq!(world.at_hand(), None);
        assert_eq!(world.fetched().await, Some(false));
    }

    #[tokio::test(start_paused = true)]
    async fn while_fetching_fails_the_last_good_keys_count_for_an_hour_and_then_nobody_passes() {
        let world = World::new();
        assert_eq!(world.fetched().await, Some(true));
        *world.well.lock() = false;
        let mut passed = Duration::ZERO;
        let mut step = async |world: &World, by: Duration| {
            advance(by).await;
            passed += by;
            let at_hand = world.at_hand();
            world.settled().await;
            passed += Duration::from_secs(2);
            (at_hand, passed)
        };
        assert_eq!(step(&world, REFRESH).await.0, Some(false));
        loop {
            let (at_hand, passed) = step(&world, Duration::from_secs(60)).await;
            if passed >= REFRESH + KEPT {
                break;
            }
            // Nobody waits for whoever has failed all along.
            assert_eq!(at_hand, Some(false), "after {passed:?}");
        }
        assert_eq!(step(&world, Duration::from_secs(60)).await.0, None);
        assert_eq!(world.fetched().await, None);
        let asked = world.asked();
        assert!((40..80).contains(&asked), "asked {asked} times in an hour");
        *world.well.lock() = true;
        world.settled().await;
        advance(Duration::from_secs(60)).await;
        assert_eq!((world.fetched().await, world.at_hand()), (Some(true), Some(true)));
    }

    #[tokio::test(start_paused = true)]
    async fn for_unknown_keys_they_are_fetched_anew_now_and_then() {
        let world = World::new();
        assert_eq!(world.fetched().await, Some(true));
        assert!(world.remote.may_fetch_anew());
        let (remote, other) = (world.remote.clone(), world.remote.clone());
        let first = tokio::spawn(async move { remote.fetched(now() + REFRESH).await.is_ok() });
        tokio::task::yield_now().await;
        // Whoever comes meanwhile waits for the same answer.
        assert!(other.may_fetch_anew());
        assert!(first.await.unwrap());
        assert!(!world.remote.may_fetch_anew());
        advance(ANEW).await;
        assert!(world.remote.may_fetch_anew() && !world.remote.may_fetch_anew());
        assert_eq!(world.asked(), 2);
        // That they are new does not make them the answer, if they could not be fetched.
        *world.well.lock() = false;
        assert_eq!(world.fetched().await, Some(false));
    }

    #[test]
    fn who_names_the_same_address_shares_its_keys_for_as_long_as_anybody_does() {
        let (remotes, trust) = (Remotes::default(), Trust::beside(None));
        let at = |url: &str| remotes.at(&RemoteJwks { url: Some(url.into()), refresh_interval: None }, &trust).unwrap();
        let (one, same, other) = (at("http://a/k"), at("http://a/k"), at("http://a/l"));
        assert!(Arc::ptr_eq(&one, &same) && !Arc::ptr_eq(&one, &other));
        drop((one, same, other));
        let _left = at("http://b");
        assert_eq!(remotes.0.lock().len(), 1);
    }
}
