//! What stands in place of what Envoy has refused although we had sent it, so that the rest is served.
//!
//! A route table is one resource, a scope, and one route that Envoy refuses keeps all of them from
//! taking effect. So resources are taken apart: a scope into the routes of its table, a listener
//! into its filter chains; any other resource is one part. A part is known by a digest of
//! its bytes, so that every replica comes to the same result, and an edited part is tried anew.
//!
//! A route that was refused answers 500. If Envoy refuses even that, its match is at fault:
//! then every request that it might have matched is answered 500, whatever comes behind it.
//! A filter chain that was refused is left out, and connections to its address are served by
//! nobody. A cluster is left out as well, and endpoints are taken for none.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;

use ir::{Name, Origins, Refusal};
use prost::Message as _;
use proto::envoy::config::endpoint::v3::ClusterLoadAssignment;
use proto::envoy::config::route::v3::RouteMatch;
use proto::envoy::config::route::v3::header_matcher::HeaderMatchSpecifier;
use proto::envoy::config::route::v3::route_match::PathSpecifier;
use proto::envoy::r#type::matcher::v3::string_matcher::MatchPattern;
use proto::fields::{Field, fields, put};
use proto::schema::pack_json;
use proto::{Resource, ResourceType};

use crate::{GatewayOutput, routes, scopes};

mod prefix;

/// A resource of one Envoy.
pub type Key = (ResourceType, String);

/// What a part is known by: a digest of its bytes.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Digest([u8; 32]);

impl Digest {
    fn of(bytes: &[u8]) -> Self {
        Self(*blake3::hash(bytes).as_bytes())
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&blake3::Hash::from_bytes(self.0).to_hex()[..16])
    }
}

/// Why a part is not sent as it was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// Envoy refused it, in these words.
    Refused(String),
    /// It came together with something that Envoy refused, and has not been tried without it.
    Untried,
}

/// The parts that one Gateway's Envoys are not to be sent.
pub type Quarantine = BTreeMap<Digest, Verdict>;

/// A part as it is sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Part {
    /// What it is known by.
    pub digest: Digest,
    /// Whether it takes the place of another in a form that Envoy is sure to take.
    pub safe: bool,
}

/// A part that is not sent as it was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SetAside {
    /// The resource it belongs to.
    pub resource: Key,
    /// Its name, e.g. that of a route.
    pub name: String,
    /// Why.
    pub verdict: Verdict,
    /// What happens instead.
    pub effect: &'static str,
}

/// A resource with what is in quarantine exchanged.
#[derive(Debug)]
pub struct Offer {
    /// The resource; none if it is not sent at all.
    pub resource: Option<Resource>,
    /// Its parts.
    pub parts: Vec<Part>,
    /// What was exchanged.
    pub aside: Vec<SetAside>,
    /// The verdicts that were used.
    pub used: BTreeSet<Digest>,
}

/// The parts of a resource as it stands.
pub fn parts(kind: ResourceType, resource: &Resource) -> Vec<Part> {
    offer(kind, resource, &Quarantine::new()).parts
}

/// What the whole of a resource is known by.
pub fn whole(resource: &Resource) -> Digest {
    Digest::of(&resource.body.value)
}

/// `resource` without what is in `quarantine`.
pub fn offer(kind: ResourceType, resource: &Resource, quarantine: &Quarantine) -> Offer {
    let mut work = Work {
        kind,
        resource,
        quarantine,
        offer: Offer { resource: None, parts: Vec::new(), aside: Vec::new(), used: BTreeSet::new() },
    };
    let bytes = match kind {
        ResourceType::Scope => work.scope(),
        ResourceType::Listener => work.listener(),
        ResourceType::Endpoint => work.endpoints(),
        ResourceType::Cluster | ResourceType::Route | ResourceType::FilterChain | ResourceType::Secret => work.one(),
    };
    work.offer.resource = bytes.map(|bytes| proto::canonical::of_bytes(kind, resource.name.clone(), bytes));
    work.offer
}

impl GatewayOutput {
    /// Exchanges what is in `quarantine`, beginning from what was written;
    /// the verdicts that no part deserves any more are taken out of it.
    pub fn keep_apart(&mut self, quarantine: &mut Quarantine) {
        for ((kind, name), resource) in std::mem::take(&mut self.written) {
            self.resources.entry(kind).or_default().insert(name, resource);
        }
        self.aside.clear();
        if quarantine.is_empty() {
            return;
        }
        let mut used = BTreeSet::new();
        for (kind, resources) in &mut self.resources {
            for (name, resource) in &resources.clone() {
                let offer = offer(*kind, resource, quarantine);
                used.extend(offer.used);
                if offer.aside.is_empty() {
                    continue;
                }
                self.aside.extend(offer.aside);
                self.written.insert((*kind, name.clone()), resource.clone());
                match offer.resource {
                    Some(offered) => drop(resources.insert(name.clone(), offered)),
                    None => drop(resources.remove(name)),
                }
            }
        }
        quarantine.retain(|digest, _| used.contains(digest));
    }

    /// The resource as it was written, whatever of it is sent.
    pub fn as_written(&self, key: &Key) -> Option<&Arc<Resource>> {
        self.written.get(key).or_else(|| self.resources.get(&key.0)?.get(&key.1))
    }

    /// What a resource is called where people read it: the Service port that it serves, or its own name.
    pub fn shown(&self, key: &Key) -> String {
        self.ports.get(key).map_or_else(|| key.1.clone(), |port| port.to_string())
    }

    /// The Service that a resource concerns, if it is one alone.
    pub fn service(&self, key: &Key) -> Option<Name> {
        if let Some(port) = self.ports.get(key) {
            return Some(port.service.clone());
        }
        let (service, _port) = key.1.rsplit_once('/')?;
        let (namespace, name) = service.split_once('/')?;
        Some(Name::new(namespace, name))
    }

    /// The objects from which a part of a resource came, or else the resource.
    pub fn origins_of(&self, key: &Key, part: &str) -> Option<&Origins> {
        let of_part = self.rules.get(key).and_then(|rules| rules.get(part));
        of_part.or_else(|| self.origins.get(key).map(AsRef::as_ref))
    }
}

/// Field numbers of Envoy's messages.
mod number {
    pub(crate) const VIRTUAL_HOSTS: u32 = 2;
    pub(crate) const ROUTES: u32 = 3;
    pub(crate) const FILTER_CHAINS: u32 = 3;
    pub const FILTER_CHAIN_NAME: u32 = 7;
    pub(crate) const ROUTE_MATCH: u32 = 1;
    pub(crate) const ROUTE_DIRECT_RESPONSE: u32 = 7;
    pub const ROUTE_NAME: u32 = 14;
}

struct Work<'a> {
    kind: ResourceType,
    resource: &'a Resource,
    quarantine: &'a Quarantine,
    offer: Offer,
}

impl Work<'_> {
    fn verdict(&mut self, digest: Digest) -> Option<Verdict> {
        let verdict = self.quarantine.get(&digest)?;
        self.offer.used.insert(digest);
        Some(verdict.clone())
    }

    fn send(&mut self, digest: Digest, safe: bool) {
        self.offer.parts.push(Part { digest, safe });
    }

    fn aside(&mut self, name: &str, verdict: Verdict, effect: &'static str) {
        let resource = (self.kind, self.resource.name.clone());
        self.offer.aside.push(SetAside { resource, name: name.to_owned(), verdict, effect });
    }

    fn scope(&mut self) -> Option<Vec<u8>> {
        let verdict = self.verdict(whole(self.resource));
        if let Some(verdict) = &verdict {
            self.aside("", verdict.clone(), "every request to it is answered 500");
        }
        let mut out = Vec::new();
        for field in fields(&self.resource.body.value)? {
            match field.number {
                scopes::number::ROUTE_CONFIGURATION => {
                    let table = match verdict {
                        Some(_) => refusing_table(&self.resource.name)?,
                        None => self.table(field.body)?,
                    };
                    put(field.number, &table, &mut out);
                }
                _ => out.extend_from_slice(field.raw),
            }
        }
        Some(out)
    }

    fn table(&mut self, written: &[u8]) -> Option<Vec<u8>> {
        let mut out = Vec::new();
        for field in fields(written)? {
            if field.number != number::VIRTUAL_HOSTS {
                out.extend_from_slice(field.raw);
                continue;
            }
            let mut host = Vec::new();
            for field in fields(field.body)? {
                match field.number {
                    number::ROUTES => put(number::ROUTES, &self.route(field.body)?, &mut host),
                    _ => host.extend_from_slice(field.raw),
                }
            }
            put(number::VIRTUAL_HOSTS, &host, &mut out);
        }
        Some(out)
    }

    fn route(&mut self, written: &[u8]) -> Option<Vec<u8>> {
        let digest = Digest::of(written);
        let Some(verdict) = self.verdict(digest) else {
            self.send(digest, false);
            return Some(written.to_vec());
        };
        let fields = fields(written)?;
        let body = |number: u32| fields.iter().find(|field| field.number == number).map(|field| field.body);
        let name = String::from_utf8_lossy(body(number::ROUTE_NAME).unwrap_or_default()).into_owned();
        let matches = body(number::ROUTE_MATCH).unwrap_or_default();
        let safe = refusing(&name, &widened(RouteMatch::decode(matches).ok()?).encode_to_vec())?;
        if let Verdict::Refused(_) = verdict {
            let answering = refusing(&name, matches)?;
            let digest = Digest::of(&answering);
            if self.verdict(digest).is_none() {
                self.aside(&name, verdict, "requests that it matches are answered 500");
                self.send(digest, answering == safe);
                return Some(answering);
            }
        }
        self.aside(&name, verdict, "requests that it may match are answered 500");
        self.send(Digest::of(&safe), true);
        Some(safe)
    }

    fn listener(&mut self) -> Option<Vec<u8>> {
        let mut out = Vec::new();
        for field in fields(&self.resource.body.value)? {
            if field.number == number::FILTER_CHAINS {
                let digest = Digest::of(field.body);
                if let Some(verdict) = self.verdict(digest) {
                    let name = |field: &Field<'_>| String::from_utf8_lossy(field.body).into_owned();
                    let named = fields(field.body)?.iter().find(|f| f.number == number::FILTER_CHAIN_NAME).map(name);
                    self.aside(&named.unwrap_or_default(), verdict, "connections to it are refused");
                    continue;
                }
                self.send(digest, false);
            }
            out.extend_from_slice(field.raw);
        }
        Some(out)
    }

    fn one(&mut self) -> Option<Vec<u8>> {
        let digest = whole(self.resource);
        if let Some(verdict) = self.verdict(digest) {
            self.aside("", verdict, "requests that would go there are answered 503");
            return None;
        }
        self.send(digest, false);
        Some(self.resource.body.value.clone())
    }

    fn endpoints(&mut self) -> Option<Vec<u8>> {
        let digest = whole(self.resource);
        let Some(verdict) = self.verdict(digest) else {
            self.send(digest, false);
            return Some(self.resource.body.value.clone());
        };
        self.aside("", verdict, "requests that would go there are answered 503");
        let none = ClusterLoadAssignment { cluster_name: self.resource.name.clone(), ..Default::default() };
        let bytes = none.encode_to_vec();
        self.send(Digest::of(&bytes), true);
        Some(bytes)
    }
}

/// A table that answers 500 to everything.
fn refusing_table(name: &str) -> Option<Vec<u8>> {
    Some(pack_json("envoy.config.route.v3.RouteConfiguration", routes::refusing(name)).ok()?.value)
}

/// A route of this name and match that answers 500.
fn refusing(name: &str, matches: &[u8]) -> Option<Vec<u8>> {
    let why = "this rule is written in a way that Envoy refuses; its status says why".to_owned();
    let answer = routes::direct(&Refusal { status: 500, why });
    let answer = pack_json("envoy.config.route.v3.DirectResponseAction", answer).ok()?;
    let mut route = Vec::new();
    put(number::ROUTE_MATCH, matches, &mut route);
    put(number::ROUTE_DIRECT_RESPONSE, &answer.value, &mut route);
    put(number::ROUTE_NAME, name.as_bytes(), &mut route);
    Some(route)
}

/// A match for every request that `matches` may match, of which Envoy refuses none.
///
/// Only what it compares letter by letter is kept: the path, or its beginning, and the method.
fn widened(matches: RouteMatch) -> RouteMatch {
    let path = match matches.path_specifier {
        Some(PathSpecifier::SafeRegex(expression)) => PathSpecifier::Prefix(prefix::of(&expression.regex)),
        Some(path @ (PathSpecifier::Prefix(_) | PathSpecifier::Path(_) | PathSpecifier::PathSeparatedPrefix(_))) => {
            path
        }
        _ => PathSpecifier::Prefix("/".to_owned()),
    };
    let mut headers = matches.headers;
    headers.retain(|header| match &header.header_match_specifier {
        Some(HeaderMatchSpecifier::StringMatch(text)) => {
            header.name == ":method"
                && !header.invert_match
                && matches!(text.match_pattern, Some(MatchPattern::Exact(_)))
        }
        _ => false,
    });
    let case_sensitive = matches.case_sensitive;
    RouteMatch { path_specifier: Some(path), headers, case_sensitive, ..Default::default() }
}

#[cfg(test)]
mod tests;
