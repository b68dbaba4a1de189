//! Every folder of `testdata`: the RateLimitConfigs of `config.yaml`, then the requests of
//! `requests.yaml` in order, each with what is to be answered.

use std::path::Path;
use std::sync::Arc;

use arc_swap::ArcSwap;
use ratelimit::config::Configs;
use ratelimit::service::Service;
use ratelimit::store::Memory;
use serde::Deserialize;

use crate::support::{HandClock, descriptor, request, scope, snapshot};

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Step {
    /// The descriptors sent, `"<config id>: a=1, b=2"`, or `"<config id> set: …"`.
    send: Vec<String>,
    /// So many times.
    #[serde(default = "once")]
    times: usize,
    /// Seconds that pass first.
    #[serde(default)]
    after: u64,
    /// `ok`, `over` or `error`.
    answer: String,
    /// The names of the tightest rules, `-` for none.
    #[serde(default)]
    names: Option<Vec<String>>,
    /// What is left, after the last of `times`.
    #[serde(default)]
    remaining: Option<Vec<u32>>,
}

fn once() -> usize {
    1
}

#[tokio::test]
async fn every_case_is_answered_as_written() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata");
    let mut cases: Vec<_> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    cases.sort();
    assert!(cases.len() >= 10, "{cases:?}");
    for case in cases {
        play(&case).await;
    }
}

async fn play(case: &Path) {
    let name = case.file_name().unwrap().to_string_lossy().into_owned();
    let config = std::fs::read_to_string(case.join("config.yaml")).unwrap();
    let steps: Vec<Step> =
        serde_norway::from_str(&std::fs::read_to_string(case.join("requests.yaml")).unwrap()).unwrap();
    let index = Configs::new(scope()).update(&snapshot(&config)).index;
    let clock = HandClock::at(1_000_000_020);
    let service = Service::new(Arc::new(ArcSwap::from_pointee(index)), Memory::new(1000), clock.clone());
    for (number, step) in steps.iter().enumerate() {
        clock.advance(step.after);
        let sent = step.send.iter().map(|text| {
            let (head, entries) = text.split_once(':').unwrap();
            let (id, set) = head.strip_suffix(" set").map_or((head, false), |id| (id, true));
            descriptor(id, set, entries)
        });
        let sent = request(sent.collect());
        for time in 1..=step.times {
            let answer = service.answer(&sent).await;
            let got = match &answer {
                Ok(response) if response.over => "over",
                Ok(_) => "ok",
                Err(_) => "error",
            };
            assert_eq!(got, step.answer, "{name}: step {number}, time {time}: {answer:?}");
            let Ok(response) = answer else { continue };
            assert_eq!(response.statuses.len(), sent.descriptors.len());
            if time < step.times {
                continue;
            }
            let tightest = || response.statuses.iter().map(|status| status.tightest.as_ref());
            if let Some(names) = &step.names {
                let got: Vec<_> = tightest().map(|t| t.map_or("-", |t| t.name.as_str())).collect();
                assert_eq!(&got, names, "{name}: step {number}");
            }
            if let Some(remaining) = &step.remaining {
                let got: Vec<_> = tightest().map(|t| t.map_or(0, |t| t.remaining)).collect();
                assert_eq!(&got, remaining, "{name}: step {number}");
            }
        }
    }
}
