//! What changes when Secrets and AuthConfigs change.

use std::sync::Arc;

use extauth::{Authority, Compiler, Index};

use crate::support::{check, one_key, read, snapshot};

#[test]
fn a_deleted_owner_leaves_the_key_to_the_next() {
    let secret = |name: &str| {
        format!(
            "{{apiVersion: v1, kind: Secret, type: extauth.solo.io/apikey, metadata: {{name: {name}, labels: {{team: a}}}}, stringData: {{api-key: shared}}}}\n---\n"
        )
    };
    let config = one_key("unrelated");
    let compiler = Compiler::new("x-user-id");
    let authority = Authority::new();
    let user = |revision, secrets: &[&str]| {
        let yaml: String = secrets.iter().map(|name| secret(name)).collect::<String>() + &config;
        let index = compiler.compile(&snapshot(revision, &yaml), &authority.index());
        authority.install(Arc::new(index));
        read(&authority.answer(&check(Some("default.keys"), &[("api-key", "shared")]))).set.get("x-user-id").cloned()
    };
    assert_eq!(user(1, &["a", "b"]).as_deref(), Some("a"));
    assert_eq!(user(2, &["b"]).as_deref(), Some("b"));
    assert_eq!(user(3, &[]), None);
}

#[test]
fn what_did_not_change_is_taken_over_and_what_did_is_not() {
    let compiler = Compiler::new("x-user-id");
    let mut declared = snapshot(1, &one_key("mykey"));
    let first = compiler.compile(&declared, &Index::default());
    declared.revision = 2;
    let second = compiler.compile(&declared, &first);
    assert!(Arc::ptr_eq(first.find(Some("default.keys")).unwrap(), second.find(Some("default.keys")).unwrap()));
    declared.secrets.clear();
    let third = compiler.compile(&declared, &second);
    assert!(!Arc::ptr_eq(second.find(Some("default.keys")).unwrap(), third.find(Some("default.keys")).unwrap()));
    declared.auth_configs.clear();
    assert!(compiler.compile(&declared, &third).find(Some("default.keys")).is_err());
}
