//! A loopback address for every Service.

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;
use std::sync::Arc;

use api::core::Service;
use api::loopback::{Range, candidate};
use api::{Name, Object, Problem};

use crate::assembly::Stamped;

/// What each Service asks for and what it gets.
#[derive(Default)]
pub(crate) struct ServiceAddresses {
    addresses: Addresses,
    requests: BTreeMap<Name, Requested>,
    given: BTreeMap<Name, Addressed>,
}

/// The address that one Service gets.
#[derive(Clone, PartialEq)]
pub(crate) struct Addressed {
    /// Why it does not get the one that is written: then its last good version counts, if it may.
    pub refused: Option<Problem>,
    pub answer: Option<Answer>,
}

impl ServiceAddresses {
    /// What this Service gets.
    pub(crate) fn of(&self, service: &Name) -> Option<&Addressed> {
        self.given.get(service)
    }

    /// Notes what a Service asks for, if there is one of this name. Whether addresses are to be decided anew.
    pub(crate) fn ask(&mut self, service: &Name, request: Option<Requested>) -> bool {
        let refused = self.of(service).is_some_and(|addressed| addressed.refused.is_some());
        let differs = refused || self.requests.get(service) != request.as_ref();
        match request {
            Some(request) => drop(self.requests.insert(service.clone(), request)),
            None => drop(self.requests.remove(service)),
        }
        differs
    }

    /// Decides for all. A Service that does not get what it asks for is served as it was, and that version may have
    /// asked for another address: `before` tells. The answer is the Services for which it is decided otherwise than
    /// before.
    pub(crate) fn decide(&mut self, before: impl Fn(&Name) -> Option<Requested>) -> Vec<Name> {
        let mut answers = self.addresses.decide(&self.requests);
        let refused: BTreeMap<Name, Problem> =
            answers.iter().filter_map(|(name, answer)| Some((name.clone(), answer.clone().err()?))).collect();
        let again: Vec<(Name, Requested)> =
            refused.keys().filter_map(|name| Some((name.clone(), before(name)?))).collect();
        // The answers to those that were refused say why; only what is served of them needs another one.
        if !again.is_empty() {
            let mut requests = self.requests.clone();
            requests.retain(|name, _| !refused.contains_key(name));
            requests.extend(again);
            answers = self.addresses.decide(&requests);
        }
        let mut given = BTreeMap::new();
        for name in self.requests.keys() {
            let addressed = Addressed { refused: refused.get(name).cloned(), answer: answers.remove(name) };
            given.insert(name.clone(), addressed);
        }
        let old = std::mem::replace(&mut self.given, given);
        self.given.iter().filter(|(name, now)| old.get(*name) != Some(now)).map(|(name, _)| name.clone()).collect()
    }
}

/// Addresses given out, remembered for the life of the provider.
#[derive(Debug, Default)]
pub(crate) struct Addresses {
    given: BTreeMap<Name, Ipv4Addr>,
}

/// What a Service says of its address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Requested {
    /// It is to have none: headless, or the name of something elsewhere.
    None,
    /// One of loopback.
    Own(Ipv4Addr),
    /// Any.
    Any,
    /// One that this machine cannot listen on; any will do.
    Foreign,
}

impl Requested {
    pub(crate) fn of(service: &Service) -> Self {
        let Some(spec) = &service.spec else { return Requested::Any };
        if spec.type_.as_deref() == Some("ExternalName") {
            return Requested::None;
        }
        let first = || spec.cluster_ips.as_ref().and_then(|ips| ips.first());
        match spec.cluster_ip.as_ref().filter(|ip| !ip.is_empty()).or_else(first).map(String::as_str) {
            None | Some("") => Requested::Any,
            Some("None") => Requested::None,
            Some(text) => match text.parse::<Ipv4Addr>() {
                Ok(ip) if ip.is_loopback() => Requested::Own(ip),
                _ => Requested::Foreign,
            },
        }
    }
}

/// A Service's address, or why it cannot have the one it asks for.
pub(crate) type Answer = Result<Option<Ipv4Addr>, Problem>;

impl Addresses {
    /// Decides for all Services at once: own addresses first, in the order of names, then those given
    /// before, then new ones.
    pub(crate) fn decide(&mut self, requests: &BTreeMap<Name, Requested>) -> BTreeMap<Name, Answer> {
        let mut holders: BTreeMap<Ipv4Addr, &Name> = BTreeMap::new();
        let mut answers = BTreeMap::new();
        for (name, request) in requests {
            match request {
                Requested::None => drop(answers.insert(name.clone(), Ok(None))),
                Requested::Own(ip) => {
                    let holder = *holders.entry(*ip).or_insert(name);
                    let answer = if holder == name { Ok(Some(*ip)) } else { Err(taken(*ip, holder)) };
                    answers.insert(name.clone(), answer);
                }
                Requested::Any | Requested::Foreign => {}
            }
        }
        let own: BTreeSet<Ipv4Addr> = holders.into_keys().collect();
        // An address given to one Service and then asked for by another goes to the one that asks.
        self.given.retain(|_, ip| !own.contains(ip));
        let mut used: BTreeSet<Ipv4Addr> = own.iter().copied().chain(self.given.values().copied()).collect();
        for (name, _) in requests.iter().filter(|(_, request)| matches!(request, Requested::Any | Requested::Foreign)) {
            let ip = *self.given.entry(name.clone()).or_insert_with(|| {
                let text = name.to_string();
                let mut ips = (0..).map(|attempt| candidate(Range::Services, &text, attempt));
                // The range holds four million.
                ips.find(|ip| used.insert(*ip)).unwrap_or(Ipv4Addr::LOCALHOST)
            });
            answers.insert(name.clone(), Ok(Some(ip)));
        }
        answers
    }
}

fn taken(ip: Ipv4Addr, holder: &Name) -> Problem {
    Problem::error(
        "spec.clusterIP",
        format!(
            "{ip} belongs to Service {holder}; write another address of 127.0.0.0/8, or leave it out to be given one"
        ),
    )
}

/// What is asked for, if it is a Service.
pub(crate) fn requested(object: Option<&Stamped>) -> Option<Requested> {
    match object {
        Some((Object::Service(service), _)) => Some(Requested::of(service)),
        _ => None,
    }
}

/// The Service with `ip` as its address.
pub(crate) fn with_address(service: &Arc<Service>, ip: Ipv4Addr) -> Arc<Service> {
    let mut service = Service::clone(service);
    let spec = service.spec.get_or_insert_default();
    spec.cluster_ip = Some(ip.to_string());
    spec.cluster_ips = Some(vec![ip.to_string()]);
    Arc::new(service)
}

/// What is said of a Service whose own address cannot be used here.
pub(crate) fn replaced(service: &Service, ip: Ipv4Addr) -> Problem {
    let own = service.spec.as_ref().and_then(|spec| spec.cluster_ip.clone()).unwrap_or_default();
    Problem::warning("spec.clusterIP", format!("{own} is not an IPv4 loopback address; served at {ip} instead"))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use serde_json::{Value, json};

    use super::*;

    fn request(spec: Value) -> Requested {
        let document = json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "a"}, "spec": spec});
        Requested::of(&serde_json::from_value(document).unwrap())
    }

    #[test]
    fn a_service_asks_for_an_address_by_either_field_or_for_none() {
        let own = Requested::Own(Ipv4Addr::new(127, 0, 20, 2));
        assert_eq!(request(json!({"clusterIP": "127.0.20.2"})), own);
        assert_eq!(request(json!({"clusterIPs": ["127.0.20.2", "127.0.20.3"]})), own);
        assert_eq!(request(json!({"clusterIP": "", "clusterIPs": ["127.0.20.2"]})), own);
        assert_eq!(request(json!({"clusterIP": "127.0.20.2", "clusterIPs": ["127.0.20.9"]})), own);
        for any in [json!({}), json!({"clusterIP": ""}), json!({"clusterIPs": []}), json!({"clusterIPs": [""]})] {
            assert_eq!(request(any.clone()), Requested::Any, "{any}");
        }
        assert_eq!(Requested::of(&Service::default()), Requested::Any);
        for none in [json!({"clusterIP": "None"}), json!({"type": "ExternalName", "clusterIP": "127.0.20.2"})] {
            assert_eq!(request(none.clone()), Requested::None, "{none}");
        }
        for foreign in ["10.0.0.1", "::1", "128.0.0.1"] {
            assert_eq!(request(json!({"clusterIP": foreign})), Requested::Foreign, "{foreign}");
        }
    }

    /// Two names may come to one address: whoever had it first keeps it, and the other has the next.
    #[test]
    fn an_address_that_was_given_is_given_to_nobody_else() {
        let (a, b) = (Name::new("t", "a"), Name::new("t", "b"));
        let contested = candidate(Range::Services, &b.to_string(), 0);
        let mut addresses = Addresses { given: BTreeMap::from([(a.clone(), contested)]) };
        let answers = addresses.decide(&[a.clone(), b.clone()].map(|name| (name, Requested::Any)).into());
        assert_eq!(answers[&a], Ok(Some(contested)));
        assert!(answers[&b] != answers[&a] && answers[&b].clone().unwrap().is_some());
    }

    /// What is served of a Service that was refused its address is its version of before: that has what it asked for.
    #[test]
    fn who_is_refused_an_address_keeps_the_one_of_before() {
        let name = |name: &str| Name::new("t", name);
        let ip = |last: u8| Ipv4Addr::new(127, 0, 20, last);
        let mut services = ServiceAddresses::default();
        services.ask(&name("a"), Some(Requested::Own(ip(2))));
        services.ask(&name("b"), Some(Requested::Own(ip(3))));
        services.ask(&name("c"), Some(Requested::Own(ip(4))));
        services.decide(|_| None);
        // Two of them want the address of the first now, and were served with others.
        services.ask(&name("b"), Some(Requested::Own(ip(2))));
        services.ask(&name("c"), Some(Requested::Own(ip(2))));
        // And one that was never there: nothing of it is served, so that it has no answer.
        services.ask(&name("d"), Some(Requested::Own(ip(2))));
        let before = BTreeMap::from([(name("b"), Requested::Own(ip(3))), (name("c"), Requested::Own(ip(4)))]);
        let moved = services.decide(|service| before.get(service).copied());
        assert_eq!(moved, [name("b"), name("c"), name("d")]);
        assert_eq!(services.of(&name("d")).unwrap().answer, None);
        for (service, given, refused) in [("a", ip(2), false), ("b", ip(3), true), ("c", ip(4), true)] {
            let addressed = services.of(&name(service)).unwrap();
            assert_eq!(addressed.answer, Some(Ok(Some(given))), "{service}");
            assert_eq!(addressed.refused.is_some(), refused, "{service}");
        }
    }

    #[test]
    fn an_address_has_one_holder_and_is_kept_until_somebody_asks_for_it() {
        let name = |name: &str| Name::new("t", name);
        let (mut addresses, ip) = (Addresses::default(), Ipv4Addr::new(127, 0, 20, 2));
        let requests = |list: &[(&str, Requested)]| {
            list.iter().map(|(n, request)| (name(n), *request)).collect::<BTreeMap<_, _>>()
        };
        let first = requests(&[
            ("a", Requested::Any),
            ("b", Requested::Own(ip)),
            ("c", Requested::Own(ip)),
            ("d", Requested::Foreign),
            ("e", Requested::None),
        ]);
        let answers = addresses.decide(&first);
        let given = |answers: &BTreeMap<Name, Answer>, n: &str| answers[&name(n)].clone().unwrap().unwrap();
        assert_eq!(given(&answers, "b"), ip);
        assert!(answers[&name("c")].as_ref().unwrap_err().message.contains("belongs to Service t/b"));
        assert_eq!(answers[&name("e")], Ok(None));
        let (a, d) = (given(&answers, "a"), given(&answers, "d"));
        assert!(a != d && a != ip && d != ip && a.is_loopback() && d.is_loopback());
        // The same again, whoever comes besides.
        let more = requests(&[("0", Requested::Any), ("a", Requested::Any), ("d", Requested::Foreign)]);
        let answers = addresses.decide(&more);
        assert_eq!((given(&answers, "a"), given(&answers, "d")), (a, d));
        assert!(![a, d].contains(&given(&answers, "0")));
        // Whoever asks for an address by name has it.
        let asks = requests(&[("a", Requested::Any), ("d", Requested::Foreign), ("z", Requested::Own(a))]);
        let answers = addresses.decide(&asks);
        assert_eq!((given(&answers, "z"), given(&answers, "d")), (a, d));
        assert!(![a, d].contains(&given(&answers, "a")));
        // However many others ask for one.
        let now = given(&answers, "a");
        let first = Ipv4Addr::new(127, 0, 0, 2);
        let asks = requests(&[("a", Requested::Any), ("y", Requested::Own(first)), ("z", Requested::Own(now))]);
        let answers = addresses.decide(&asks);
        assert_eq!((given(&answers, "y"), given(&answers, "z")), (first, now));
        assert_ne!(given(&answers, "a"), now);
    }
}
