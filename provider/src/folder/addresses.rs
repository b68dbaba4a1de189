//! A loopback address for every Service.

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;
use std::sync::Arc;

use api::core::Service;
use api::loopback::{Range, candidate};
use api::{Name, Problem};

/// Addresses given out, remembered for the life of the provider.
#[derive(Debug, Default)]
pub(crate) struct Addresses {
    given: BTreeMap<Name, Ipv4Addr>,
}

/// What a Service says of its address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Wish {
    /// It is to have none: headless, or the name of something elsewhere.
    None,
    /// One of loopback.
    Own(Ipv4Addr),
    /// Any.
    Any,
    /// One that this machine cannot listen on; any will do.
    Foreign,
}

impl Wish {
    pub(crate) fn of(service: &Service) -> Self {
        let Some(spec) = &service.spec else { return Wish::Any };
        if spec.type_.as_deref() == Some("ExternalName") {
            return Wish::None;
        }
        let first = || spec.cluster_ips.as_ref().and_then(|ips| ips.first());
        match spec.cluster_ip.as_ref().filter(|ip| !ip.is_empty()).or_else(first).map(String::as_str) {
            None | Some("") => Wish::Any,
            Some("None") => Wish::None,
            Some(text) => match text.parse::<Ipv4Addr>() {
                Ok(ip) if ip.is_loopback() => Wish::Own(ip),
                _ => Wish::Foreign,
            },
        }
    }
}

/// A Service's address, or why it cannot have the one it asks for.
pub(crate) type Answer = Result<Option<Ipv4Addr>, Problem>;

impl Addresses {
    /// Decides for all Services at once: own addresses first, in the order of names, then those given
    /// before, then new ones.
    pub(crate) fn decide(&mut self, wishes: &BTreeMap<Name, Wish>) -> BTreeMap<Name, Answer> {
        let mut holders: BTreeMap<Ipv4Addr, &Name> = BTreeMap::new();
        let mut answers = BTreeMap::new();
        for (name, wish) in wishes {
            match wish {
                Wish::None => drop(answers.insert(name.clone(), Ok(None))),
                Wish::Own(ip) => {
                    let holder = *holders.entry(*ip).or_insert(name);
                    let answer = if holder == name { Ok(Some(*ip)) } else { Err(taken(*ip, holder)) };
                    answers.insert(name.clone(), answer);
                }
                Wish::Any | Wish::Foreign => {}
            }
        }
        let own: BTreeSet<Ipv4Addr> = holders.into_keys().collect();
        // An address given to one Service and then asked for by another goes to the one that asks.
        self.given.retain(|_, ip| !own.contains(ip));
        let mut used: BTreeSet<Ipv4Addr> = own.iter().copied().chain(self.given.values().copied()).collect();
        for (name, _) in wishes.iter().filter(|(_, wish)| matches!(wish, Wish::Any | Wish::Foreign)) {
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

    fn wish(spec: Value) -> Wish {
        let document = json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "a"}, "spec": spec});
        Wish::of(&serde_json::from_value(document).unwrap())
    }

    #[test]
    fn a_service_asks_for_an_address_by_either_field_or_for_none() {
        let own = Wish::Own(Ipv4Addr::new(127, 0, 20, 2));
        assert_eq!(wish(json!({"clusterIP": "127.0.20.2"})), own);
        assert_eq!(wish(json!({"clusterIPs": ["127.0.20.2", "127.0.20.3"]})), own);
        assert_eq!(wish(json!({"clusterIP": "", "clusterIPs": ["127.0.20.2"]})), own);
        assert_eq!(wish(json!({"clusterIP": "127.0.20.2", "clusterIPs": ["127.0.20.9"]})), own);
        for any in [json!({}), json!({"clusterIP": ""}), json!({"clusterIPs": []}), json!({"clusterIPs": [""]})] {
            assert_eq!(wish(any.clone()), Wish::Any, "{any}");
        }
        assert_eq!(Wish::of(&Service::default()), Wish::Any);
        for none in [json!({"clusterIP": "None"}), json!({"type": "ExternalName", "clusterIP": "127.0.20.2"})] {
            assert_eq!(wish(none.clone()), Wish::None, "{none}");
        }
        for foreign in ["10.0.0.1", "::1", "128.0.0.1"] {
            assert_eq!(wish(json!({"clusterIP": foreign})), Wish::Foreign, "{foreign}");
        }
    }

    #[test]
    fn an_address_has_one_holder_and_is_kept_until_somebody_asks_for_it() {
        let name = |name: &str| Name::new("t", name);
        let (mut addresses, ip) = (Addresses::default(), Ipv4Addr::new(127, 0, 20, 2));
        let wishes = |list: &[(&str, Wish)]| list.iter().map(|(n, wish)| (name(n), *wish)).collect::<BTreeMap<_, _>>();
        let first = wishes(&[
            ("a", Wish::Any),
            ("b", Wish::Own(ip)),
            ("c", Wish::Own(ip)),
            ("d", Wish::Foreign),
            ("e", Wish::None),
        ]);
        let answers = addresses.decide(&first);
        let given = |answers: &BTreeMap<Name, Answer>, n: &str| answers[&name(n)].clone().unwrap().unwrap();
        assert_eq!(given(&answers, "b"), ip);
        assert!(answers[&name("c")].as_ref().unwrap_err().message.contains("belongs to Service t/b"));
        assert_eq!(answers[&name("e")], Ok(None));
        let (a, d) = (given(&answers, "a"), given(&answers, "d"));
        assert!(a != d && a != ip && d != ip && a.is_loopback() && d.is_loopback());
        // The same again, whoever comes besides.
        let more = wishes(&[("0", Wish::Any), ("a", Wish::Any), ("d", Wish::Foreign)]);
        let answers = addresses.decide(&more);
        assert_eq!((given(&answers, "a"), given(&answers, "d")), (a, d));
        assert!(![a, d].contains(&given(&answers, "0")));
        // Whoever asks for an address by name has it.
        let asks = wishes(&[("a", Wish::Any), ("d", Wish::Foreign), ("z", Wish::Own(a))]);
        let answers = addresses.decide(&asks);
        assert_eq!((given(&answers, "z"), given(&answers, "d")), (a, d));
        assert!(![a, d].contains(&given(&answers, "a")));
    }
}
