//! What is decided about all that was declared: which of two counts, addresses, ages, Namespaces, mistakes.

use super::*;

#[tokio::test(flavor = "multi_thread")]
async fn of_two_files_with_the_same_object_the_newest_wins_and_it_is_said() {
    let folder = TempDir::new().unwrap();
    for (name, old) in [("a.yaml", 100), ("b.yaml", 50)] {
        fs::write(folder.path().join(name), config("x", &name[..1])).unwrap();
        age(&folder.path().join(name), old);
    }
    let mut story = Story::of(folder, FolderSettings::default()).await;
    assert_eq!(value(&story.now(), "x").as_deref(), Some("b"));
    let said = story.said(Kind::ConfigMap, "shop", "x");
    assert!(said.contains("a.yaml") && said.contains("b.yaml"), "{said}");
    story.write("a.yaml", &config("x", "a2"));
    story.until("a is newest", |s| value(s, "x").as_deref() == Some("a2")).await;
    fs::remove_file(story.path("a.yaml")).unwrap();
    story.until("only b is left", |s| value(s, "x").as_deref() == Some("b")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn services_keep_the_addresses_they_were_given() {
    let mut story = Story::begin(&[(
        "a.yaml",
        &[
            service("own", "clusterIP: 127.9.9.9"),
            service("rival", "clusterIP: 127.9.9.9"),
            service("headless", "clusterIP: None"),
            service("foreign", "clusterIP: 10.0.0.1"),
            service("any", "ports: [{port: 80}]"),
        ]
        .concat(),
    )])
    .await;
    let now = story.now();
    assert_eq!(ip(&now, "own").as_deref(), Some("127.9.9.9"));
    assert!(now.broken.contains_key(&ObjectRef::new(Kind::Service, "shop", "rival")));
    let refused = story.said(Kind::Service, "shop", "rival");
    assert_eq!(refused.matches("belongs to Service shop/own").count(), 1, "it is said once: {refused}");
    assert!(story.said(Kind::Service, "shop", "foreign").contains("10.0.0.1 is not"));
    let headless = &now.services[&Name::new("shop", "headless")];
    assert_eq!(headless.spec.as_ref().unwrap().cluster_ip.as_deref(), Some("None"));
    let any = ip(&now, "any").unwrap();
    assert!(any.starts_with("127."), "{any}");
    let born = now.services[&Name::new("shop", "any")].metadata.creation_timestamp.clone();
    assert!(born.is_some());
    story.write("a.yaml", &service("any", "ports: [{port: 81}]"));
    story.until("edited", |s| s.services.len() == 1).await;
    assert_eq!(ip(&story.now(), "any"), Some(any));
    assert_eq!(story.now().services[&Name::new("shop", "any")].metadata.creation_timestamp, born);
}

#[tokio::test(flavor = "multi_thread")]
async fn every_namespace_that_something_is_in_is_there_and_carries_its_own_name() {
    let inside = |namespace: &str| {
        format!("{{apiVersion: v1, kind: ConfigMap, metadata: {{name: x, namespace: {namespace}}}}}\n---\n")
    };
    let declared =
        "{apiVersion: v1, kind: Namespace, metadata: {name: two, labels: {kubernetes.io/metadata.name: one, a: b}}}\n";
    let all = ["three", "one", "two", "one"].map(inside).concat().replacen("name: x", "name: y", 1) + declared;
    let story = Story::begin(&[("a.yaml", &all)]).await;
    let now = story.now();
    for name in ["one", "two", "three"] {
        let labels = now.namespaces[&Name::new("", name)].metadata.labels.clone().unwrap();
        assert_eq!(labels.get("kubernetes.io/metadata.name").map(String::as_str), Some(name));
        assert_eq!(labels.contains_key("a"), name == "two");
    }
}

/// Of two policies the oldest counts: one that went and came back is no older than its return, and one that was only
/// ever in a file that could not be used has not been there.
#[test]
fn an_object_is_as_old_as_the_file_in_which_it_was_there_without_a_break() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("a.yaml");
    let mut engine = Engine::new(vec![folder.path().to_owned()], FolderSettings::default());
    let begun = std::time::SystemTime::now();
    let mut with = |text: &str, old: u64| {
        fs::write(&path, text).unwrap();
        // By one clock, however long the steps take.
        let file = fs::File::options().write(true).open(&path).unwrap();
        file.set_modified(begun - Duration::from_secs(old)).unwrap();
        engine.look_at_once();
        let snapshot = engine.assemble().snapshot;
        let modified = jiff_seconds(fs::metadata(&path).unwrap().modified().unwrap());
        let age = |name: &str| {
            let service = snapshot.services.get(&Name::new("shop", name))?;
            Some(modified - service.metadata.creation_timestamp.as_ref()?.0.as_second())
        };
        (age("x"), age("y"))
    };
    let (x, y) = (service("x", "ports: [{port: 80}]"), service("y", "ports: [{port: 80}]"));
    assert_eq!(with(&x, 1_000), (Some(0), None));
    let unusable = format!("{x}{y}---\napiVersion: gateway.solo.io/v1\nkind: RouteOptions\nmetadata: {{name: z}}\n");
    assert_eq!(with(&unusable, 900), (Some(100), None), "the last good version stays");
    assert_eq!(with(&x, 800), (Some(200), None));
    assert_eq!(with(&format!("{x}{y}"), 700), (Some(300), Some(0)));
    assert_eq!(with(&format!("{x}{y}"), 600), (Some(400), Some(100)));
    assert_eq!(with(&x, 500), (Some(500), None));
    assert_eq!(with(&format!("{x}{y}"), 400), (Some(600), Some(0)));
}

fn jiff_seconds(time: std::time::SystemTime) -> i64 {
    i64::try_from(time.duration_since(std::time::UNIX_EPOCH).unwrap().as_secs()).unwrap()
}

#[test]
fn mistakes_name_the_object_or_the_file_they_are_in() {
    let folder = TempDir::new().unwrap();
    let text = [on_port("a", 0), on_port("b", 0)].join("\n---\n");
    fs::write(folder.path().join("services.yaml"), text).unwrap();
    fs::write(folder.path().join("torn.yaml"), "kind: [").unwrap();
    let mut engine = Engine::new(vec![folder.path().to_owned()], FolderSettings::default());
    engine.look_at_once();
    let mistakes = engine.assemble().mistakes;
    let service = |name: &str| Some(ObjectRef::new(Kind::Service, "t", name));
    let of: Vec<_> = mistakes.iter().map(|one| (one.object.clone(), one.line)).collect();
    assert_eq!(of, [(None, mistakes[0].line), (service("a"), Some(1)), (service("b"), Some(2))]);
    assert!(mistakes[0].file.ends_with("torn.yaml") && mistakes[2].file.ends_with("services.yaml"));
}

/// The last good version of an object is served, and whoever counts what is not as it was written counts it.
#[test]
fn an_object_of_which_an_older_version_is_served_counts_as_rejected() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("services.yaml");
    let mut engine = Engine::new(vec![folder.path().to_owned()], FolderSettings::default());
    let mut with = |a: u16, b: u16| {
        fs::write(&path, [on_port("a", a), on_port("b", b)].join("\n---\n")).unwrap();
        engine.look_at_once();
        let assembled = engine.assemble();
        (assembled.rejected, assembled.snapshot.services.len(), assembled.snapshot.broken.len())
    };
    assert_eq!(with(80, 0), (1, 1, 1));
    assert_eq!(with(0, 0), (2, 1, 1));
    assert_eq!(with(81, 82), (0, 2, 0));
}

#[test]
fn of_what_is_said_only_what_is_new_is_told() {
    let (folder, told) = (TempDir::new().unwrap(), |engine: &mut Engine| {
        let said = engine.assemble().said;
        (said.said.into_iter().map(|(object, _)| object.name.name.to_string()).collect::<Vec<_>>(), said.silent.len())
    });
    fs::write(folder.path().join("a.yaml"), on_port("a", 0)).unwrap();
    fs::write(folder.path().join("b.yaml"), on_port("b", 0)).unwrap();
    let mut engine = Engine::new(vec![folder.path().to_owned()], FolderSettings::default());
    engine.look_at_once();
    assert_eq!(told(&mut engine), (vec!["a".to_owned(), "b".to_owned()], 0));
    engine.all_changed();
    assert_eq!(told(&mut engine), (vec![], 0));
    fs::write(folder.path().join("b.yaml"), on_port("b", 80)).unwrap();
    engine.look_at_once();
    engine.all_changed();
    assert_eq!(told(&mut engine), (vec![], 1));
}

/// What a file of the law below holds: an object each in one of some versions.
fn some_file() -> impl Strategy<Value = Option<String>> {
    let object = (0..8_u8, 0..7_u8).prop_map(|(name, version)| {
        let spec = match version {
            0 => "spec: {ports: [{port: 80}]}",
            1 => "spec: {clusterIP: 127.0.20.1, ports: [{port: 80}]}",
            2 => "spec: {clusterIP: 127.0.20.2, ports: [{port: 81}]}",
            3 => "spec: {clusterIP: 10.0.0.1, ports: [{port: 80}]}",
            4 => "spec: {ports: [{port: 0}]}",
            5 => "spec: {clusterIP: None}",
            _ => "spec: {ports: [{port: 80}], nonsense: 1}",
        };
        let (namespace, name) = (["t", "u"][usize::from(name % 2)], name / 2);
        match name {
            3 if version % 2 == 0 => {
                format!(
                    "{{apiVersion: v1, kind: Namespace, metadata: {{name: {namespace}, labels: {{v: \"{version}\"}}}}}}"
                )
            }
            3 => "kind: [".to_owned(),
            _ => format!(
                "{{apiVersion: v1, kind: Service, metadata: {{name: s{name}, namespace: {namespace}}}, {spec}}}"
            ),
        }
    });
    proptest::option::weighted(0.8, proptest::collection::vec(object, 0..4).prop_map(|all| all.join("\n---\n")))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Deciding about what a changed file declares comes to what deciding about everything comes to.
    #[test]
    fn after_any_edits_what_is_assembled_is_what_assembling_everything_comes_to(
        edits in proptest::collection::vec((0..4_usize, some_file()), 1..14),
    ) {
        let folder = TempDir::new().unwrap();
        let engine = || Engine::new(vec![folder.path().to_owned()], FolderSettings::default());
        let (mut step_by_step, mut at_once) = (engine(), engine());
        let mut said = Report::new();
        for (step, (file, text)) in edits.into_iter().enumerate() {
            let path = folder.path().join(format!("{file}.yaml"));
            match text {
                Some(text) => {
                    fs::write(&path, text).unwrap();
                    // Each edit is newer than the one before, and old enough to be believed.
                    let then = std::time::SystemTime::now() - Duration::from_secs(1_000 - 10 * step as u64);
                    fs::File::options().write(true).open(&path).unwrap().set_modified(then).unwrap();
                }
                None => drop(fs::remove_file(&path)),
            }
            // The first time nothing is known yet.
            if step == 0 {
                step_by_step.look_at_once();
            } else {
                step_by_step.look_at([path.canonicalize().unwrap_or(path)]);
            }
            at_once.look_at_once();
            at_once.all_changed();
            let (one, other) = (step_by_step.assemble(), at_once.assemble());
            prop_assert!(one.snapshot.withheld == other.snapshot.withheld, "step {}", step);
            prop_assert_eq!(one.snapshot.revision, other.snapshot.revision, "step {}", step);
            prop_assert_eq!(format!("{:?}", one.snapshot), format!("{:?}", other.snapshot), "step {}", step);
            prop_assert!(one.files == other.files && one.origins == other.origins, "step {}", step);
            prop_assert_eq!(step_by_step.report(), at_once.report(), "step {}", step);
            said.extend(one.said.said);
            one.said.silent.iter().for_each(|object| drop(said.remove(object)));
            prop_assert_eq!(&said, step_by_step.report(), "step {}", step);
        }
    }
}
