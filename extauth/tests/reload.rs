//! What changes when Secrets and AuthConfigs change.

use std::sync::Arc;
use std::time::{Duration, Instant};

use extauth::compile::NoChain;
use extauth::{Authority, Index};

use crate::support::{ask, check, compile, compiler, one_key, read, snapshot};

#[test]
fn a_deleted_owner_leaves_the_key_to_the_next() {
    let secret = |name: &str| {
        format!(
            "{{apiVersion: v1, kind: Secret, type: extauth.solo.io/apikey, metadata: {{name: {name}, labels: {{team: a}}}}, stringData: {{api-key: shared}}}}\n---\n"
        )
    };
    let config = one_key("unrelated");
    let compiler = compiler();
    let authority = Authority::new();
    let user = |revision, secrets: &[&str]| {
        let yaml: String = secrets.iter().map(|name| secret(name)).collect::<String>() + &config;
        let index = compile(&compiler, &snapshot(revision, &yaml), &authority.index());
        authority.install(Arc::new(index));
        read(&ask(&authority, &check(Some("default.keys"), &[("api-key", "shared")]))).set.get("x-user-id").cloned()
    };
    assert_eq!(user(1, &["a", "b"]).as_deref(), Some("a"));
    assert_eq!(user(2, &["b"]).as_deref(), Some("b"));
    assert_eq!(user(3, &[]), None);
}

#[test]
fn what_did_not_change_is_taken_over_and_what_did_is_not() {
    let (compiler, now) = (compiler(), Instant::now());
    let find = |index: &Index| index.find(Some("default.keys"), now).unwrap().clone();
    let mut declared = snapshot(1, &one_key("mykey"));
    let first = compiler.compile(&declared, &Index::default(), now);
    declared.revision = 2;
    let second = compiler.compile(&declared, &first, now);
    assert!(Arc::ptr_eq(&find(&first), &find(&second)));
    declared.secrets.clear();
    let third = compiler.compile(&declared, &second, now);
    assert!(!Arc::ptr_eq(&find(&second), &find(&third)));
}

/// `one_key`, with another name for the AuthConfig.
fn named(name: &str, key: &str) -> String {
    one_key(key).replace("name: keys}", &format!("name: {name}}}"))
}

#[test]
fn a_removed_config_answers_until_its_grace_is_over_and_is_not_reported() {
    let (compiler, now) = (compiler(), Instant::now());
    let after = |millis| now + Duration::from_millis(millis);
    let first = compiler.compile(&snapshot(1, &named("old", "mykey")), &Index::default(), now);
    assert_eq!(first.next_removal(), None);
    let second = compiler.compile(&snapshot(2, &named("new", "mykey")), &first, after(1));
    assert_eq!(second.next_removal(), Some(after(10_001)));
    for name in ["default.old", "default.new"] {
        assert!(second.find(Some(name), after(2)).is_ok(), "{name}");
    }
    let reported: Vec<_> = second.by_name().into_keys().map(ToString::to_string).collect();
    assert_eq!(reported, ["default/new"]);

    // The grace begins with the removal, not with whatever else changes.
    let third = compiler.compile(&snapshot(3, &named("new", "mykey")), &second, after(9_000));
    assert_eq!(third.next_removal(), Some(after(10_001)));
    assert!(third.find(Some("default.old"), after(10_000)).is_ok());
    assert_eq!(third.find(Some("default.old"), after(10_001)).unwrap_err(), NoChain::Unknown);
    let fourth = compiler.compile(&snapshot(3, &named("new", "mykey")), &third, after(10_001));
    assert_eq!(fourth.next_removal(), None);
    assert_eq!(fourth.find(Some("default.old"), now).unwrap_err(), NoChain::Unknown, "it is forgotten");

    // One that comes back is an ordinary one again, and gets a whole grace when it goes once more.
    let back = compiler.compile(&snapshot(4, &named("old", "mykey")), &second, after(5_000));
    assert!(back.find(Some("default.old"), after(60_000)).is_ok());
    let gone = compiler.compile(&snapshot(5, ""), &back, after(20_000));
    assert_eq!(gone.next_removal(), Some(after(30_000)));
}

#[test]
fn a_key_that_is_revoked_is_revoked_in_a_removed_config_too() {
    let (compiler, authority) = (compiler(), Authority::new());
    let install = |revision, yaml: &str| {
        authority.install(Arc::new(compile(&compiler, &snapshot(revision, yaml), &authority.index())));
    };
    let status = |config: &str, key: &str| read(&ask(&authority, &check(Some(config), &[("api-key", key)]))).status;
    install(1, &named("old", "mykey"));
    install(2, &named("new", "mykey"));
    assert_eq!((status("default.old", "mykey"), status("default.new", "mykey")), (200, 200));
    install(3, &named("new", "newkey"));
    for config in ["default.old", "default.new"] {
        assert_eq!((status(config, "mykey"), status(config, "newkey")), (401, 200), "{config}");
    }
    install(4, "");
    assert_eq!(status("default.new", "newkey"), 401, "its Secret is gone as well");
}

#[test]
fn nothing_passes_while_manifests_cannot_be_read() {
    let (compiler, now) = (compiler(), Instant::now());
    let mut declared = snapshot(1, &one_key("mykey"));
    declared.withheld.push(api::Withheld { place: "a.yaml".into(), why: "a tab".into() });
    let first = compiler.compile(&declared, &Index::default(), now);
    assert_eq!(first.find(Some("default.keys"), now).unwrap_err(), NoChain::Withheld);
    assert_eq!(first.by_name().len(), 1, "what could be read has its status");
    declared.withheld.clear();
    assert!(compiler.compile(&declared, &first, now).find(Some("default.keys"), now).is_ok());
}

#[test]
fn a_config_that_breaks_has_no_grace() {
    let (compiler, now) = (compiler(), Instant::now());
    let first = compiler.compile(&snapshot(1, &one_key("mykey")), &Index::default(), now);
    let broken = "{apiVersion: extauth.solo.io/v1, kind: AuthConfig, metadata: {name: keys}, spec: {configs: []}}";
    let second = compiler.compile(&snapshot(2, broken), &first, now);
    assert_eq!(second.find(Some("default.keys"), now).unwrap_err(), NoChain::Refused);
    let third = compiler.compile(&snapshot(3, ""), &second, now);
    assert_eq!(third.find(Some("default.keys"), now).unwrap_err(), NoChain::Unknown);
}
