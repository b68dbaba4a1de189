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
