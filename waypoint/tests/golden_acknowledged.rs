//! Every golden case of the translation, served over ADS to one real Envoy, one
//! after another, so that each is also a change from the one before. A case
//! counts once Envoy has acknowledged every resource of it and refused none.
#![allow(clippy::unwrap_used)]

#[path = "../translate/tests/support.rs"]
mod support;

mod envoy;

use api::Name;
use waypoint_translate::translate;

use envoy::{Fed, PATIENCE, elsewhere, spoil};

#[tokio::test(flavor = "multi_thread")]
async fn envoy_acknowledges_every_golden_case() {
    let mut fed = Fed::begin(Name::new("golden", "gateway")).await;

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
            let state = fed.tell(resources, generation).await;
            assert!(fed.process.try_wait().unwrap().is_none(), "{} ended Envoy", case.display());
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
    let state = fed.tell(spoilt, generation + 1).await.expect("an answer");
    assert_eq!(state.nacks.len(), 1, "{state:?}");

    fed.end().await;
}
