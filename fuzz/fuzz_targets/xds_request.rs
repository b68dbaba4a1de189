//! Never: a client, whatever it says and in whatever order, that panics its session or is given a nonce twice.
#![no_main]

use std::sync::Arc;

use libfuzzer_sys::fuzz_target;
use prost::Message as _;
use proto::envoy::service::discovery::v3::{DeltaDiscoveryRequest, DeltaDiscoveryResponse};
use proto::google::protobuf::Any;
use proto::google::rpc::Status;
use proto::resource::Named;
use proto::{Resource, ResourceSet, ResourceType};
use xds::{Limits, Session};

// Each message is a byte of flags, a byte of length and that many bytes of protobuf.
fuzz_target!(|bytes: &[u8]| {
    let mut session = Session::new(Limits { names: 20, in_flight: 3 });
    let mut sent: Vec<DeltaDiscoveryResponse> = Vec::new();
    let mut generation = 0;
    let mut rest = bytes;
    while let [flags, length, tail @ ..] = rest {
        let (body, after) = tail.split_at(tail.len().min(usize::from(*length)));
        rest = after;
        let mut responses = Vec::new();
        if flags & 0x08 != 0 {
            generation += 1;
            responses.extend(session.on_resources(&resources(*length), generation));
        }
        if flags & 0x10 != 0 {
            responses.extend(session.release());
        }
        let Ok(mut request) = DeltaDiscoveryRequest::decode(body) else { continue };
        if let Some(kind) = ResourceType::ALL.get(usize::from(flags & 0x07)) {
            request.type_url = kind.type_url().to_owned();
        }
        // An answer to something that was sent, good or bad.
        let answered = sent.iter().rev().find(|response| response.type_url == request.type_url);
        if let (0x20, Some(response)) = (flags & 0x20, answered) {
            request.response_nonce = response.nonce.clone();
            let refused = flags & 0x40 != 0;
            request.error_detail = refused.then(|| Status { code: 3, message: "no".into(), ..Default::default() });
        }
        match session.on_request(request) {
            Ok(more) => responses.extend(more),
            Err(_) => return,
        }
        for response in responses {
            assert!(sent.iter().all(|before| before.nonce != response.nonce), "nonce {} again", response.nonce);
            sent.push(response);
        }
        let state = session.state();
        assert!(state.generation <= generation, "more was acknowledged than there is");
        assert!(!session.is_settled() || state.generation == generation);
    }
});

/// Resources `a`, `b`, `c` of each type; `choice` says which there are and in which version.
fn resources(choice: u8) -> Arc<ResourceSet> {
    let of_kind = |kind: ResourceType| -> Named {
        let names = ["a", "b", "c"].into_iter().enumerate().filter(|(bit, _)| choice & (1 << bit) != 0);
        names
            .map(|(_, name)| {
                let body = Any { type_url: kind.type_url().to_owned(), value: vec![choice >> 3] };
                let resource = Resource { name: name.to_owned(), version: format!("v{}", choice >> 3), body };
                (name.to_owned(), Arc::new(resource))
            })
            .collect()
    };
    Arc::new(ResourceType::ALL.into_iter().map(|kind| (kind, of_kind(kind))).collect())
}
