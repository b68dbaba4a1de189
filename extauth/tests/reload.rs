//! What changes when Secrets and AuthConfigs change.

use std::cell::RefCell;
use std::sync::Arc;
use std::time::{Duration, Instant};

use extauth::compile::NoChain;
use extauth::{Authority, Compilation, Compiler, Index, Settings};
use metrics_exporter_prometheus::PrometheusBuilder;

use crate::support::{ask, bringing, check, compile, compiler, one_key, read, snapshot};

#[test]
fn a_deleted_owner_leaves_the_key_to_the_next() {
    let secret = |name: &str| {
        format!(
            "{{apiVersion: v1, kind: Secret, type: extauth.solo.io/apikey, metadata: {{name: {name}, labels: {{team: a}}}}, stringData: {{api-key: shared}}}}\n---\n"
        )
    };
    let config = one_key("unrelated");
    let compiler = compiler();
    let (authority, last) = (Authority::new(), RefCell::new(Compilation::default()));
    let user = |revision, secrets: &[&str]| {
        let yaml: String = secrets.iter().map(|name| secret(name)).collect::<String>() + &config;
        let compilation = compile(&compiler, &snapshot(revision, &yaml), last.take());
        authority.install(compilation.index.clone());
        last.replace(compilation);
        read(&ask(&authority, &check(Some("default.keys"), &[("api-key", "shared")]))).set.get("x-user-id").cloned()
    };
    assert_eq!(user(1, &["a", "b"]).as_deref(), Some("a"));
    assert_eq!(user(2, &["b"]).as_deref(), Some("b"));
    assert_eq!(user(3, &[]), None);
}

#[test]
fn what_did_not_change_is_taken_over_and_what_did_is_not() {
    let (compiler, now) = (compiler(), Instant::now());
    let find = |index: &Index| index.find(Some("default.keys"), None, now).unwrap().clone();
    let mut declared = snapshot(1, &one_key("mykey"));
    let first = compiler.compile(Compilation::default(), &declared, now);
    declared.revision = 2;
    let second = compiler.compile(first.clone(), &declared, now);
    assert!(Arc::ptr_eq(&find(&first.index), &find(&second.index)) && second.touched.is_empty());
    declared.secrets.clear();
    let third = compiler.compile(second.clone(), &declared, now);
    assert!(!Arc::ptr_eq(&find(&second.index), &find(&third.index)));
}

/// `one_key`, with another name for the AuthConfig.
fn named(name: &str, key: &str) -> String {
    one_key(key).replace("name: keys}", &format!("name: {name}}}"))
}

#[test]
fn a_removed_config_answers_until_its_grace_is_over_and_is_not_reported() {
    let (compiler, now) = (compiler(), Instant::now());
    let after = |millis| now + Duration::from_millis(millis);
    let step = |before: &Compilation, revision, yaml: &str, at| {
        compiler.compile(before.clone(), &snapshot(revision, yaml), at)
    };
    let first = step(&Compilation::default(), 1, &named("old", "mykey"), now);
    assert_eq!(first.index.next_removal(), None);
    let compiled = step(&first, 2, &named("new", "mykey"), after(1));
    let second = compiled.index.clone();
    assert_eq!(second.next_removal(), Some(after(10_001)));
    for name in ["default.old", "default.new"] {
        assert!(second.find(Some(name), None, after(2)).is_ok(), "{name}");
    }
    let reported: Vec<_> = second.by_name().into_keys().map(ToString::to_string).collect();
    assert_eq!(reported, ["default/new"]);

    // The grace begins with the removal, not with whatever else changes.
    let compiled_again = step(&compiled, 3, &named("new", "mykey"), after(9_000));
    let third = compiled_again.index.clone();
    assert_eq!(third.next_removal(), Some(after(10_001)));
    assert!(third.find(Some("default.old"), None, after(10_000)).is_ok());
    assert_eq!(third.find(Some("default.old"), None, after(10_001)).unwrap_err(), NoChain::Unknown);
    let fourth = step(&compiled_again, 3, &named("new", "mykey"), after(10_001)).index;
    assert_eq!(fourth.next_removal(), None);
    assert_eq!(fourth.find(Some("default.old"), None, now).unwrap_err(), NoChain::Unknown, "it is forgotten");

    // One that comes back is an ordinary one again, and gets a whole grace when it goes once more.
    let back = step(&compiled, 4, &named("old", "mykey"), after(5_000));
    assert!(back.index.find(Some("default.old"), None, after(60_000)).is_ok());
    let gone = step(&back, 5, "", after(20_000));
    assert_eq!(gone.index.next_removal(), Some(after(30_000)));

    // After a fault of ours, when nothing but what answers is known, its grace is what it was.
    let resumed = step(&Compilation::resuming(second.clone()), 6, &named("new", "mykey"), after(9_000));
    assert_eq!(resumed.index.next_removal(), Some(after(10_001)));
    assert!(resumed.index.find(Some("default.old"), None, after(10_000)).is_ok());
}

#[test]
fn a_key_that_is_revoked_is_revoked_in_a_removed_config_too() {
    let (compiler, authority, last) = (compiler(), Authority::new(), RefCell::new(Compilation::default()));
    let install = |revision, yaml: &str| {
        let compilation = compile(&compiler, &snapshot(revision, yaml), last.take());
        authority.install(compilation.index.clone());
        last.replace(compilation);
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
    let first = compiler.compile(Compilation::default(), &declared, now);
    assert_eq!(first.index.find(Some("default.keys"), None, now).unwrap_err(), NoChain::Withheld);
    assert_eq!(first.index.by_name().len(), 1, "what could be read has its status");
    declared.withheld.clear();
    assert!(compiler.compile(first, &declared, now).index.find(Some("default.keys"), None, now).is_ok());
}

#[test]
fn a_config_that_breaks_has_no_grace() {
    let (compiler, now) = (compiler(), Instant::now());
    let first = compiler.compile(Compilation::default(), &snapshot(1, &one_key("mykey")), now);
    let broken = "{apiVersion: extauth.solo.io/v1, kind: AuthConfig, metadata: {name: keys}, spec: {configs: []}}";
    let second = compiler.compile(first, &snapshot(2, broken), now);
    assert_eq!(second.index.find(Some("default.keys"), None, now).unwrap_err(), NoChain::Refused);
    let third = compiler.compile(second, &snapshot(3, ""), now);
    assert_eq!(third.index.find(Some("default.keys"), None, now).unwrap_err(), NoChain::Unknown);
}

#[test]
fn of_two_that_were_removed_the_first_to_go_is_next() {
    let (compiler, now) = (compiler(), Instant::now());
    let after = |seconds| now + Duration::from_secs(seconds);
    let step = |before: &Compilation, revision, yaml: &str, at| {
        compiler.compile(before.clone(), &snapshot(revision, yaml), at)
    };
    let both = format!("{}---\n{}", named("old", "mykey"), named("older", "mykey"));
    let first = step(&Compilation::default(), 1, &both, now);
    let second = step(&first, 2, &named("old", "mykey"), after(1));
    let third = step(&second, 3, "", after(3));
    assert_eq!(third.index.next_removal(), Some(after(11)));
    let fourth = step(&third, 4, "", after(11));
    assert_eq!(fourth.index.next_removal(), Some(after(13)));
    let answers =
        |index: &Index| ["default.older", "default.old"].map(|name| index.find(Some(name), None, after(11)).is_ok());
    assert_eq!((answers(&third.index), answers(&fourth.index)), ([false, true], [false, true]));
}

#[test]
fn no_name_and_an_empty_one_are_no_name() {
    let index = compile(&compiler(), &snapshot(1, &one_key("mykey")), Compilation::default()).index;
    for (id, why) in [(None, NoChain::Unnamed), (Some(""), NoChain::Unnamed), (Some("default.key"), NoChain::Unknown)] {
        assert_eq!(index.find(id, None, Instant::now()).unwrap_err(), why, "{id:?}");
    }
}

#[test]
fn what_admission_would_have_refused_is_refused_by_the_compiler_as_well() {
    let step = "{name: x, apiKeyAuth: {labelSelector: {team: a}}}";
    let steps = format!("configs: [{step}, {step}, {{}}, ");
    let mut declared = snapshot(1, &one_key("mykey").replace("configs: [", &steps));
    let name = api::Name::new("default", "keys");
    let reference = api::ObjectRef { kind: api::Kind::AuthConfig, name: name.clone() };
    let partial = declared.broken.get(&reference).unwrap().partial.clone().unwrap();
    declared.insert(partial);
    declared.broken.remove(&reference);
    let index = compile(&compiler(), &declared, Compilation::default()).index;
    assert_eq!(index.find(Some("default.keys"), None, Instant::now()).unwrap_err(), NoChain::Refused);
    let fields: Vec<_> = index.declared(&name).unwrap().problems.iter().map(|problem| problem.field.clone()).collect();
    assert_eq!(fields, ["spec.configs[1].name", "spec.configs[2]"], "every mistake is told");
}

#[test]
fn of_many_warnings_some_are_told_and_the_rest_is_counted() {
    let warned = |secrets: usize| {
        let secret = |number: usize| {
            format!(
                "{{apiVersion: v1, kind: Secret, type: extauth.solo.io/apikey, metadata: {{name: s{number:02}, labels: {{team: a}}}}, stringData: {{api-key: 'key{number} '}}}}\n---\n"
            )
        };
        let yaml: String = (0..secrets).rev().map(secret).collect::<String>() + &one_key("mykey");
        let index = compile(&compiler(), &snapshot(1, &yaml), Compilation::default()).index;
        let problems = index.declared(&api::Name::new("default", "keys")).unwrap().problems.clone();
        problems.iter().map(|problem| problem.message.clone()).collect::<Vec<_>>()
    };
    assert_eq!(warned(0), [""; 0]);
    let most = warned(20);
    assert!(most.len() == 20 && most.iter().all(|message| message.contains("spaces around it")), "{most:?}");
    assert!(most.is_sorted() && most[0].contains("s00"), "{most:?}");
    let more = warned(22);
    assert_eq!((more.len(), more.last().map(String::as_str)), (21, Some("2 more warnings")));
}

#[test]
fn every_broken_config_is_refused_and_not_unknown() {
    let broken = |name: &str| {
        format!(
            "{{apiVersion: extauth.solo.io/v1, kind: AuthConfig, metadata: {{name: {name}}}, spec: {{configs: []}}}}\n---\n"
        )
    };
    let (compiler, now) = (compiler(), Instant::now());
    let yaml = ["a", "b", "c"].map(broken).concat();
    let first = compile(&compiler, &snapshot(1, &one_key("mykey")), Compilation::default());
    for before in [Compilation::default(), first] {
        let index = compile(&compiler, &snapshot(2, &yaml), before).index;
        for name in ["default.a", "default.b", "default.c"] {
            assert_eq!(index.find(Some(name), None, now).unwrap_err(), NoChain::Refused, "{name}");
        }
    }
}

/// `one_key` whose key is in the header `header`, and which takes Secrets of `team`.
fn keyed(header: &str, team: &str) -> String {
    one_key("mykey")
        .replace("labelSelector: {team: a}", &format!("headerName: {header}, labelSelector: {{team: {team}}}"))
}

#[test]
fn a_question_that_brings_few_headers_is_answered_by_the_version_that_reads_just_these() {
    let (compiler, now) = (compiler(), Instant::now());
    let after = |millis| now + Duration::from_millis(millis);
    let (api_key, x_key) = (Some("api-key,x-org"), Some("x-key,x-org"));
    let find = |index: &Index, brings: Option<&str>, at| index.find(Some("default.keys"), brings, at).err();
    let step = |before: &Compilation, revision, yaml: &str, at| {
        compiler.compile(before.clone(), &snapshot(revision, yaml), at)
    };
    let first = step(&Compilation::default(), 1, &keyed("api-key", "a"), now);
    assert_eq!([api_key, None].map(|brings| find(&first.index, brings, now)), [None, None]);
    assert_eq!(find(&first.index, x_key, now), Some(NoChain::ReadsOther));

    // Edited, both are answered, until Envoy has been told.
    let second = step(&first, 2, &keyed("x-key", "a"), after(1));
    assert_eq!([api_key, x_key, None].map(|brings| find(&second.index, brings, after(2))), [None; 3]);
    assert_eq!(second.index.next_removal(), Some(after(2_001)));
    assert_eq!(second.index.by_name().len(), 1);
    let third = step(&second, 3, &keyed("x-key", "a"), after(1_500));
    assert_eq!(third.index.next_removal(), Some(after(2_001)), "the grace begins with the edit");
    assert_eq!(find(&third.index, api_key, after(2_000)), None);
    assert_eq!(find(&third.index, api_key, after(2_001)), Some(NoChain::ReadsOther));
    let fourth = step(&third, 4, &keyed("x-key", "a"), after(2_001));
    assert_eq!((fourth.index.next_removal(), find(&fourth.index, api_key, now)), (None, Some(NoChain::ReadsOther)));

    // Edited once more, so are both that were before.
    let again = step(&second, 3, &keyed("y-key", "a"), after(3));
    assert_eq!([api_key, x_key, Some("x-org,y-key")].map(|brings| find(&again.index, brings, after(4))), [None; 3]);

    // What is refused or gone is so for every question.
    let broken = "{apiVersion: extauth.solo.io/v1, kind: AuthConfig, metadata: {name: keys}, spec: {configs: []}}";
    let refused = step(&second, 5, broken, after(3)).index;
    assert_eq!([api_key, x_key, None].map(|brings| find(&refused, brings, after(3))), [Some(NoChain::Refused); 3]);
    let gone = step(&second, 6, "", after(3));
    assert_eq!([api_key, x_key, None].map(|brings| find(&gone.index, brings, after(4))), [None; 3]);
    let gone = step(&gone, 7, "", after(20_000)).index;
    assert_eq!([api_key, x_key, None].map(|brings| find(&gone, brings, after(20_000))), [Some(NoChain::Unknown); 3]);
}

/// An AuthConfig `default/keys` of these steps.
fn steps(configs: &str, expression: &str) -> String {
    format!(
        "{{apiVersion: extauth.solo.io/v1, kind: AuthConfig, metadata: {{name: keys}}, spec: {{configs: [{configs}], booleanExpr: {expression:?}}}}}"
    )
}

/// A version that reads other headers goes on answering beside the new one only if nobody lost permission.
#[test]
fn an_edit_that_takes_permission_away_takes_effect_at_once_whatever_it_reads() {
    const ENTRY: &str = "headersFromMetadataEntry: {x-org: {name: org, required: true}}";
    let key =
        |header: &str, team: &str| format!("{{apiKeyAuth: {{headerName: {header}, labelSelector: {{team: {team}}}}}}}");
    let named =
        |header: &str, names: &str| format!("{{apiKeyAuth: {{headerName: {header}, apiKeySecretRefs: [{names}]}}}}");
    let required = |header: &str| key(header, "a").replace("labelSelector", &format!("{ENTRY}, labelSelector"));
    let user = |name: &str, hash: &str| format!("{name}: {{salt: TYiryv0/, hashedPassword: {hash}}}");
    let (ann, bob) = (user("ann", "8BvzLUO9IfGPGGsPnAgSu1"), user("bob", "8BvzLUO9IfGPGGsPnAgSu1"));
    let users = |users: &[&str]| format!("{{basicAuth: {{apr: {{users: {{{}}}}}}}}}", users.join(", "));
    // Reads Proxy-Authorization too.
    let newer = |users: &[&str]| {
        format!("{{basicAuth: {{encryption: {{apr: {{}}}}, userList: {{users: {{{}}}}}}}}}", users.join(", "))
    };
    let both = |one: &str, other: &str| format!("{one}, {other}");
    let a = key("api-key", "a");
    let token = |issuer: &str, more: &str| {
        format!(
            "{{oauth2: {{accessTokenValidation: {{jwt: {{remoteJwks: {{url: 'http://idp/'}}, issuer: {issuer}}}{more}}}}}}}"
        )
    };
    let told = ", claimsToHeaders: [{claim: org, header: x-org}]";
    let nine: Vec<String> = (0..9).map(|team| key("api-key", &format!("t{team}"))).collect();
    let cases = [
        ("another header", steps(&a, ""), steps(&key("x-key", "a"), ""), true),
        ("other keys", steps(&a, ""), steps(&key("x-key", "b"), ""), false),
        (
            "more keys",
            steps(&named("api-key", "{name: s}"), ""),
            steps(&named("x-key", "{name: s}, {name: t}"), ""),
            true,
        ),
        (
            "fewer keys",
            steps(&named("api-key", "{name: s}, {name: t}"), ""),
            steps(&named("x-key", "{name: s}"), ""),
            false,
        ),
        ("an entry is needed now", steps(&a, ""), steps(&required("api-key"), ""), false),
        ("another header, with the entry", steps(&required("api-key"), ""), steps(&required("x-key"), ""), true),
        ("passwords instead", steps(&a, ""), steps(&users(&[&ann]), ""), false),
        ("keys instead of passwords", steps(&users(&[&ann]), ""), steps(&a, ""), false),
        ("passwords as well", steps(&a, ""), steps(&both(&a, &users(&[&ann])), "config_0 || config_1"), true),
        ("passwords no more", steps(&both(&a, &users(&[&ann])), "config_0 || config_1"), steps(&a, ""), false),
        ("a password besides", steps(&a, ""), steps(&both(&a, &users(&[&ann])), ""), false),
        ("a password besides no more", steps(&both(&a, &users(&[&ann])), ""), steps(&a, ""), true),
        ("the newer form", steps(&users(&[&ann]), ""), steps(&newer(&[&ann]), ""), true),
        ("a user more", steps(&users(&[&ann]), ""), steps(&newer(&[&ann, &bob]), ""), true),
        ("a user fewer", steps(&users(&[&ann, &bob]), ""), steps(&newer(&[&bob]), ""), false),
        ("another header, by a negation", steps(&a, "!config_0"), steps(&key("x-key", "a"), "!config_0"), false),
        (
            "a user fewer, by a negation",
            steps(&users(&[&ann]), "!config_0"),
            steps(&newer(&[&ann, &bob]), "!config_0"),
            false,
        ),
        (
            "a user more, by a negation",
            steps(&users(&[&ann, &bob]), "!config_0"),
            steps(&newer(&[&bob]), "!config_0"),
            false,
        ),
        (
            "another password",
            steps(&users(&[&ann]), ""),
            steps(&newer(&[&user("ann", "5O5RSnGInwm75z.7lpn4i0")]), ""),
            false,
        ),
        ("a claim of tokens is told", steps(&token("i", ""), ""), steps(&token("i", told), ""), true),
        ("tokens of another issuer", steps(&token("i", ""), ""), steps(&token("j", told), ""), false),
        (
            "tokens need a scope now",
            steps(&token("i", ""), ""),
            steps(&token("i", &format!("{told}, requiredScopes: {{scope: [read]}}")), ""),
            false,
        ),
        ("no negation", steps(&a, "!config_0"), steps(&key("x-key", "a"), ""), false),
        (
            "too many steps to tell",
            steps(&nine.join(", "), ""),
            steps(&nine.join(", ").replace("api-key", "x-key"), ""),
            false,
        ),
    ];
    for (what, old, new, kept) in cases {
        let (compiler, now) = (compiler(), Instant::now());
        let first = compiler.compile(Compilation::default(), &snapshot(1, &old), now);
        let second = compiler.compile(first.clone(), &snapshot(2, &new), now);
        let name = api::Name::new("default", "keys");
        let [was, is] = [&first, &second].map(|of| of.index.declared(&name).unwrap().reads().map(str::to_owned));
        assert!(was.is_some() && is.is_some() && was != is, "{what}: {was:?}, {is:?}");
        let [old, new] = [was, is].map(|brings| second.index.find(Some("default.keys"), brings.as_deref(), now).err());
        assert_eq!((old, new), ((!kept).then_some(NoChain::ReadsOther), None), "{what}");
    }
}

#[test]
fn an_older_version_has_no_longer_than_a_removed_config() {
    let compiler = Compiler::new(&Settings { removed_grace: 1, ..Settings::default() });
    let now = Instant::now();
    let first = compiler.compile(Compilation::default(), &snapshot(1, &keyed("api-key", "a")), now);
    let second = compiler.compile(first, &snapshot(2, &keyed("x-key", "a")), now);
    assert_eq!(second.index.next_removal(), Some(now + Duration::from_secs(1)));
    // One that was removed and comes back otherwise is replaced like any other.
    let compiler = Compiler::new(&Settings::default());
    let first = compiler.compile(Compilation::default(), &snapshot(1, &keyed("api-key", "a")), now);
    let gone = compiler.compile(first, &snapshot(2, ""), now);
    let back = compiler.compile(gone, &snapshot(3, &keyed("x-key", "a")), now + Duration::from_secs(3));
    assert_eq!(back.index.next_removal(), Some(now + Duration::from_secs(5)));
}

#[test]
fn an_older_version_takes_the_keys_that_are_declared_now_and_an_edit_that_reads_the_same_takes_effect_at_once() {
    let (compiler, authority, last) = (compiler(), Authority::new(), RefCell::new(Compilation::default()));
    let install = |revision, yaml: &str| {
        let compilation = compile(&compiler, &snapshot(revision, yaml), last.take());
        authority.install(compilation.index.clone());
        last.replace(compilation);
    };
    let status = |header: &str, key: &str| {
        let asked = check(Some("default.keys"), &[(header, key)]);
        read(&ask(&authority, &bringing(&format!("{header},x-org"), asked))).status
    };
    install(1, &keyed("api-key", "a"));
    install(2, &keyed("x-key", "a"));
    assert_eq!(
        [("api-key", "mykey"), ("x-key", "mykey"), ("api-key", "no")].map(|(h, k)| status(h, k)),
        [200, 200, 401]
    );
    // Revoked for all of them.
    install(3, &keyed("x-key", "a").replace("mykey", "newkey"));
    assert_eq!(["api-key", "x-key"].map(|header| status(header, "mykey")), [401, 401]);
    assert_eq!(["api-key", "x-key"].map(|header| status(header, "newkey")), [200, 200]);
    // Nobody's keys any more: the version that reads the same is its new self at once.
    install(4, &keyed("x-key", "b").replace("mykey", "newkey"));
    assert_eq!(status("x-key", "newkey"), 401);
}

/// What an edit begins to prove, a client must not say by itself while Envoy still asks the version of before.
#[test]
fn an_older_version_takes_out_what_the_new_one_proves() {
    let key = |headers: &str| steps(&format!("{{apiKeyAuth: {{labelSelector: {{team: a}}{headers}}}}}"), "");
    let secret = one_key("mykey").split("---").next().unwrap().to_owned();
    let (compiler, authority) = (compiler(), Authority::new());
    let first = compile(&compiler, &snapshot(1, &format!("{secret}---\n{}", key(""))), Compilation::default());
    let role = key(", headersFromMetadataEntry: {x-role: {name: org}}");
    let second = compile(&compiler, &snapshot(2, &format!("{secret}---\n{role}")), first.clone());
    let asked = check(Some("default.keys"), &[("api-key", "mykey")]);
    let mut answers = Vec::new();
    for (compilation, brings) in [(&first, "api-key"), (&second, "api-key"), (&second, "api-key,x-role")] {
        authority.install(compilation.index.clone());
        let answer = read(&ask(&authority, &bringing(brings, asked.clone())));
        assert_eq!(answer.status, 200, "{brings}");
        answers.push((answer.set.contains_key("x-role"), answer.removed.contains(&"x-role".to_owned())));
    }
    assert_eq!(answers, [(false, false), (false, true), (true, false)]);
}

/// Otherwise every password would have to be hashed once more, for nothing.
#[test]
fn what_is_declared_stays_the_very_same_when_the_version_before_it_ends() {
    let (compiler, now) = (compiler(), Instant::now());
    let name = api::Name::new("default", "keys");
    let later = |seconds| now + Duration::from_secs(seconds);
    let (secrets, _) = one_key("mykey").split_once("---").map(|(one, rest)| (one.to_owned(), rest.to_owned())).unwrap();
    let config = |header: &str, wanted: &str| {
        let keys = format!("{{apiKeyAuth: {{headerName: {header}, {wanted}}}}}");
        let users = "{basicAuth: {apr: {users: {ann: {salt: TYiryv0/, hashedPassword: 8BvzLUO9IfGPGGsPnAgSu1}}}}}";
        format!("{secrets}---\n{}", steps(&format!("{keys}, {users}"), "config_0 || config_1"))
    };
    let yaml = [
        config("api-key", "labelSelector: {team: a}"),
        config("x-key", "labelSelector: {team: a}, apiKeySecretRefs: [{name: t}]"),
    ];
    let first = compiler.compile(Compilation::default(), &snapshot(1, &yaml[0]), now);
    let edited = snapshot(2, &yaml[1]);
    let second = compiler.compile(first, &edited, later(1));
    let chain = |of: &Compilation| of.index.declared(&name).unwrap().chain.clone().unwrap();
    let brings = Some("api-key,authorization");
    assert!(second.index.find(Some("default.keys"), brings, later(1)).is_ok());
    assert_eq!(second.index.next_removal(), Some(later(3)));

    let third = compiler.compile(second.clone(), &edited, later(3));
    assert!(Arc::ptr_eq(&chain(&second), &chain(&third)));
    assert_eq!((third.touched.len(), third.index.next_removal()), (0, None));
    assert_eq!(third.index.find(Some("default.keys"), brings, later(1)).unwrap_err(), NoChain::ReadsOther);
    // It goes on reading what the other read as well.
    let mut revoked = edited.clone();
    revoked.secrets.insert(
        api::Name::new("default", "owner"),
        snapshot(3, &one_key("newkey")).secrets.values().next().unwrap().clone(),
    );
    revoked.revision = 3;
    let fourth = compiler.compile(third.clone(), &revoked, later(4));
    assert!(fourth.touched.contains(&name) && !Arc::ptr_eq(&chain(&third), &chain(&fourth)));
}

#[test]
fn a_question_that_brings_other_headers_is_counted_apart_from_one_about_a_config_that_is_not_there() {
    let recorder = PrometheusBuilder::new().build_recorder();
    metrics::with_local_recorder(&recorder, || {
        let authority = Authority::new();
        authority.install(compile(&compiler(), &snapshot(1, &one_key("mykey")), Compilation::default()).index);
        for (id, brings) in [("default.keys", "x-key"), ("default.keys", "x-org"), ("default.gone", "api-key,x-org")] {
            let question = bringing(brings, check(Some(id), &[("x-key", "mykey")]));
            assert_eq!(read(&ask(&authority, &question)).status, 403);
        }
    });
    let text = recorder.handle().render();
    for (reason, count) in [("reads_other", 2), ("no_such_config", 1)] {
        let line = format!("auth_server_faults_total{{reason=\"{reason}\"}} {count}\n");
        assert!(text.contains(&line), "{line}{text}");
    }
}
