//! Short ways to write resources, requests and what a response holds.

use std::sync::Arc;

use proto::envoy::service::discovery::v3 as pb;
use proto::google::protobuf::Any;
use proto::google::rpc::Status;
use proto::{Resource, ResourceSet, ResourceType};

/// A resource whose body is its version.
pub fn resource(kind: ResourceType, name: &str, version: &str) -> Arc<Resource> {
    let body = Any { type_url: kind.type_url().to_owned(), value: version.as_bytes().to_vec() };
    Arc::new(Resource { name: name.to_owned(), version: version.to_owned(), body })
}

/// A set written as (type, name, version).
pub fn set(resources: &[(ResourceType, &str, &str)]) -> Arc<ResourceSet> {
    let mut set: ResourceSet = ResourceSet::new();
    for (kind, name, version) in resources {
        set.entry(*kind).or_default().insert((*name).to_owned(), resource(*kind, name, version));
    }
    Arc::new(set)
}

/// Those resources for every client, whatever it has.
pub fn target(resources: Arc<ResourceSet>, generation: u64) -> xds::Target {
    xds::Target { resources, generation, first: None }
}

pub fn subscribe(kind: ResourceType, names: &[&str]) -> pb::DeltaDiscoveryRequest {
    pb::DeltaDiscoveryRequest {
        type_url: kind.type_url().to_owned(),
        resource_names_subscribe: names.iter().map(|name| (*name).to_owned()).collect(),
        ..Default::default()
    }
}

pub fn unsubscribe(kind: ResourceType, names: &[&str]) -> pb::DeltaDiscoveryRequest {
    let mut request = subscribe(kind, names);
    request.resource_names_unsubscribe = std::mem::take(&mut request.resource_names_subscribe);
    request
}

pub fn ack(response: &pb::DeltaDiscoveryResponse) -> pb::DeltaDiscoveryRequest {
    pb::DeltaDiscoveryRequest {
        type_url: response.type_url.clone(),
        response_nonce: response.nonce.clone(),
        ..Default::default()
    }
}

pub fn nack(response: &pb::DeltaDiscoveryResponse, why: &str) -> pb::DeltaDiscoveryRequest {
    let error = Status { code: 13, message: why.to_owned(), ..Default::default() };
    pb::DeltaDiscoveryRequest { error_detail: Some(error), ..ack(response) }
}

/// What a response holds, e.g. `Route +a@1 +b@2 -c`.
pub fn show(response: &pb::DeltaDiscoveryResponse) -> String {
    let kind = ResourceType::of_type_url(&response.type_url).map(|kind| format!("{kind:?}"));
    let mut words = vec![kind.unwrap_or_else(|| response.type_url.clone())];
    words.extend(response.resources.iter().map(|resource| format!("+{}@{}", resource.name, resource.version)));
    words.extend(response.removed_resources.iter().map(|name| format!("-{name}")));
    words.join(" ")
}

pub fn show_all(responses: &[pb::DeltaDiscoveryResponse]) -> Vec<String> {
    responses.iter().map(show).collect()
}
