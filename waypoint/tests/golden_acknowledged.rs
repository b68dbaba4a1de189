//! Every golden case of the translation, served over ADS to one real Envoy, one
//! after another, so that each is also a change from the one before. A case
//! counts once Envoy has acknowledged every resource of it and refused none.
#![allow(clippy::unwrap_used)]

#[path = "../translate/tests/support.rs"]
mod support;

mod envoy;

use std::sync::Arc;

use api::Name;
use runtime::{Readiness, Shutdown, Tasks};
use waypoint::{Listen, node_id};
use waypoint_translate::translate;
use xds::Hub;

use envoy::{PATIENCE, answered, elsewhere, spoil, start};

#[tokio::test(flavor = "multi_thread")]
async fn envoy_acknowledges_every_golden_case() {
    let dir = tempfile::tempdir().unwrap();
    let (hub, shutdown) = (Hub::new(), Shutdown::new());
    let socket = dir.path().join("run/xds.sock");
    let (_, serving) = Listen::Unix(socket.clone())
        .serve(hub.clone(), Readiness::new(), &mut Tasks::new(shutdown.clone()))
        .await
        .unwrap();
    let serving = tokio::spawn(serving);
    let gateway = Name::new("golden", "gateway");
    let mut envoy = start(&gateway, dir.path(), &socket);

    let mut generation = 0;
    let mut refused = Vec::new();
    let mut unmoved = 0;
    let mut last = None;
    for case in support::cases() {
        let translation = translate(&support::snapshot(&support::documents(&case)).0, &support::settings());
        for (name, output) in &translation.gateways {
            let resources = elsewhere(&output.resources);
            unmoved += usize::from(last.replace(resources.clone()).as_ref() == Some(&resources));
            generation += 1;
            hub.set(&node_id(&gateway), Arc::new(resources), generation);
            let state = answered(&hub, &node_id(&gateway), generation).await;
            assert!(envoy.try_wait().unwrap().is_none(), "{} ended Envoy", case.display());
            match state {
                Some(state) => {
                    refused.extend(state.nacks.iter().map(|nack| format!("{} {name}: {nack:?}", case.display())));
                }
                None => refused.push(format!("{} {name}: no answer within {PATIENCE:?}", case.display())),
            }
        }
    }
    assert!(refused.is_empty(), "{}", refused.join("\n"));
    assert!(generation >= 30 && unmoved < 6, "{generation} sets of resources, {unmoved} the same as the one before");

    // That silence means consent is only known when a refusal is heard.
    let mut spoilt = last.unwrap();
    spoil(&mut spoilt);
    hub.set(&node_id(&gateway), Arc::new(spoilt), generation + 1);
    let state = answered(&hub, &node_id(&gateway), generation + 1).await.expect("an answer");
    assert_eq!(state.nacks.len(), 1, "{state:?}");

    envoy.kill().await.unwrap();
    shutdown.begin();
    serving.await.unwrap().unwrap();
}
