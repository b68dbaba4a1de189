//! Keys that are good until a time.

use std::time::{Duration, Instant, SystemTime};

use api::secret::{EXPIRES, expires, expires_label};
use extauth::chain::{Decision, Known, Progress, Question};
use extauth::request::Request;
use extauth::{Authority, Compilation};

use crate::support::*;

const CONFIG: &str = "\
apiVersion: enterprise.gloo.solo.io/v1
kind: AuthConfig
metadata: {name: keys}
spec: {configs: [{apiKeyAuth: {labelSelector: {team: x}}}]}
";

fn secret(name: &str, key: &str, until: &str) -> String {
    format!(
        "---\napiVersion: v1\nkind: Secret\ntype: extauth.solo.io/apikey\nmetadata:\n  name: {name}\n  \
         labels: {{team: x, {EXPIRES}: '{until}'}}\nstringData: {{api-key: {key}}}\n"
    )
}

/// The status at `now`.
fn at(authority: &Authority, key: &str, now: SystemTime) -> u16 {
    let check = check(Some("default.keys"), &[("api-key", key)]);
    let (request, deadline) = (Request::new(&check), Instant::now() + Duration::from_secs(1));
    let index = authority.index();
    let chain = index.find(request.config_id(), request.brings(), Instant::now()).ok().unwrap();
    match chain.decide(Question { request, deadline, now }, &Known::new()) {
        Progress::Decided(Decision::Allow(_)) => 200,
        Progress::Decided(Decision::Deny(denial)) => denial.status,
        Progress::Waits(..) => panic!("it needs no time"),
    }
}

#[test]
fn a_key_is_good_until_its_time_and_nobody_has_to_do_anything_then() {
    let end = expires("2027-01-31").unwrap();
    let authority = authority(&format!(
        "{CONFIG}{}{}{}",
        secret("day", "of-a-day", "2027-01-31"),
        secret("second", "of-a-second", "2027-01-31T00.00.01Z"),
        secret("ever", "for-ever", "2027-01-31").replace(EXPIRES, "other")
    ));
    let moment = Duration::from_nanos(1);
    let second = Duration::from_secs(1);
    for (key, now, status) in [
        ("of-a-day", end - moment, 200),
        ("of-a-day", end, 401),
        ("of-a-day", end + second, 401),
        ("of-a-day", SystemTime::UNIX_EPOCH, 200),
        ("of-a-second", end, 200),
        ("of-a-second", end + second - moment, 200),
        ("of-a-second", end + second, 401),
        ("for-ever", end + second * 1_000_000_000, 200),
        ("unknown", end, 401),
    ] {
        assert_eq!(at(&authority, key, now), status, "{key} at {}", expires_label(now));
    }
}

/// Whoever writes a time and is not understood believes that the key ends.
#[test]
fn a_key_whose_time_cannot_be_read_is_not_accepted_and_it_is_said() {
    for wrong in ["soon", "2027-1-31", "2027-01-31T00.00Z", ""] {
        let yaml = format!("{CONFIG}{}{}", secret("a", "key", wrong), secret("b", "other", "2100-01-01"));
        let compiled = compile(&compiler(), &snapshot(1, &yaml), Compilation::default());
        let said = format!("{:?}", extauth::report::report(&compiled.index));
        assert!(said.contains("Secret default/a") && said.contains("which is no time"), "{wrong}: {said}");
        let authority = Authority::new();
        authority.install(compiled.index);
        let now = SystemTime::now();
        assert_eq!((at(&authority, "key", now), at(&authority, "other", now)), (401, 200), "{wrong}");
    }
}

/// The older of two Secrets has a key that both hold: the younger does not make it good for longer.
#[test]
fn a_key_that_is_over_is_not_good_by_another_secret_that_holds_it_too() {
    let yaml = format!("{CONFIG}{}{}", secret("a", "key", "2027-01-31"), secret("b", "key", "2100-01-01"));
    let authority = authority(&yaml);
    let end = expires("2027-01-31").unwrap();
    assert_eq!((at(&authority, "key", end - Duration::from_secs(1)), at(&authority, "key", end)), (200, 401));
}

#[test]
fn an_edit_of_the_time_counts_at_once() {
    let yaml = |until: &str| format!("{CONFIG}{}", secret("a", "key", until));
    let (compiler, authority, now) = (compiler(), Authority::new(), expires("2027-01-31").unwrap());
    let mut before = Compilation::default();
    for (revision, (until, status)) in
        [("2027-02-01", 200), ("2027-01-31", 401), ("2027-01-31T00.00.01Z", 200), ("2026-01-01", 401)]
            .iter()
            .enumerate()
    {
        before = compile(&compiler, &snapshot(revision as u64 + 1, &yaml(until)), before);
        authority.install(before.index.clone());
        assert_eq!(at(&authority, "key", now), *status, "{until}");
    }
}
