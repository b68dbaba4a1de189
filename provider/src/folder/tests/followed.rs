//! Files that come, change and go, whole or not, and what is served meanwhile.

use super::*;

#[tokio::test(flavor = "multi_thread")]
async fn files_added_edited_and_deleted_take_effect_within_a_second() {
    let mut story = Story::begin(&[("a.yaml", &config("a", "one"))]).await;
    assert_eq!(value(&story.now(), "a").as_deref(), Some("one"));
    story.write("b.yml", &config("b", "one"));
    let took = story.until("b is added", |s| value(s, "b").is_some()).await;
    assert!(took < Duration::from_secs(1), "{took:?}");
    story.write("a.yaml", &config("a", "two"));
    let took = story.until("a is edited", |s| value(s, "a").as_deref() == Some("two")).await;
    assert!(took < Duration::from_secs(1), "{took:?}");
    fs::remove_file(story.path("b.yml")).unwrap();
    let took = story.until("b is deleted", |s| value(s, "b").is_none()).await;
    assert!(took < Duration::from_secs(1), "{took:?}");
    fs::create_dir_all(story.path("deep/er")).unwrap();
    story.write(
        "deep/er/c.json",
        r#"{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"c","namespace":"shop"},"data":{"v":"x"}}"#,
    );
    let took = story.until("c in a new folder", |s| value(s, "c").is_some()).await;
    assert!(took < Duration::from_secs(1), "{took:?}");
    assert_eq!(story.now().revision, 5);
    let namespace = story.now().namespaces[&Name::new("", "shop")].clone();
    assert_eq!(namespace.metadata.labels.as_ref().unwrap()["kubernetes.io/metadata.name"], "shop");
}

/// A folder that goes takes its files with it as quickly as they would have gone one by one: keys may be in them.
#[tokio::test(flavor = "multi_thread")]
async fn a_folder_is_deleted_or_moved_away_with_all_that_is_in_it_within_a_second() {
    let folder = TempDir::new().unwrap();
    // Whoever waits for the poll waits until this test fails.
    let settings = FolderSettings { poll: Duration::from_secs(60), ..FolderSettings::default() };
    let mut story = Story::of(folder, settings).await;
    let away = TempDir::new().unwrap();
    for (name, inner) in [("deleted", "keys"), ("deep", "keys/of/tenants"), ("moved", "keys"), ("renamed", "keys")] {
        fs::create_dir_all(story.path(inner)).unwrap();
        let names = [format!("{name}-one"), format!("{name}-two")];
        for name in &names {
            story.write(&format!("{inner}/{name}.yaml"), &config(name, "x"));
        }
        story.until("both are there", |s| names.iter().all(|name| value(s, name).is_some())).await;
        match name {
            "moved" => fs::rename(story.path("keys"), away.path().join("keys")).unwrap(),
            "renamed" => fs::rename(story.path("keys"), story.path(".keys")).unwrap(),
            _ => fs::remove_dir_all(story.path("keys")).unwrap(),
        }
        let took = story.until("both are gone", |s| names.iter().all(|name| value(s, name).is_none())).await;
        assert!(took < Duration::from_secs(1), "{name}: {took:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_half_written_file_is_never_served() {
    let mut story = Story::begin(&[("a.yaml", &(config("a", "old") + &config("b", "old")))]).await;
    let mut seen = story.snapshots.clone();
    // The first snapshot is news to each receiver.
    seen.borrow_and_update();
    let watcher = tokio::spawn(async move {
        let mut states = Vec::new();
        while seen.changed().await.is_ok() {
            let now = seen.borrow_and_update().clone();
            states.push((value(&now, "a"), value(&now, "b")));
            if value(&now, "b").as_deref() == Some("new") {
                break;
            }
        }
        states
    });
    let text = config("a", "new") + &config("b", "new");
    let mut file = fs::File::create(story.path("a.yaml")).unwrap();
    for piece in text.as_bytes().chunks(40) {
        file.write_all(piece).unwrap();
        file.flush().unwrap();
        // Longer than the quiet time: only that the file is not closed tells that it is not whole.
        tokio::time::sleep(Duration::from_millis(120)).await;
    }
    drop(file);
    story.until("both are new", |s| value(s, "b").as_deref() == Some("new")).await;
    let new = Some("new".to_owned());
    assert_eq!(watcher.await.unwrap(), [(new.clone(), new)]);
}

#[tokio::test(flavor = "multi_thread")]
async fn truncating_before_writing_and_renaming_over_lose_nothing() {
    let mut story = Story::begin(&[("a.yaml", &config("a", "zero"))]).await;
    let mut seen = story.snapshots.clone();
    let watcher = tokio::spawn(async move {
        loop {
            seen.changed().await.unwrap();
            let now = value(&seen.borrow_and_update(), "a").expect("always there");
            if now == "end" {
                return;
            }
        }
    });
    fs::write(story.path("a.yaml"), "").unwrap();
    tokio::time::sleep(Duration::from_millis(90)).await;
    story.write("a.yaml", &config("a", "truncated"));
    story.until("written anew", |s| value(s, "a").as_deref() == Some("truncated")).await;
    story.write(".a.yaml.tmp", &config("a", "renamed"));
    fs::rename(story.path(".a.yaml.tmp"), story.path("a.yaml")).unwrap();
    story.until("renamed over", |s| value(s, "a").as_deref() == Some("renamed")).await;
    fs::rename(story.path("a.yaml"), story.path("a.yaml~")).unwrap();
    story.write("a.yaml", &config("a", "end"));
    story.until("saved with a backup", |s| value(s, "a").as_deref() == Some("end")).await;
    watcher.await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn broken_yaml_keeps_what_was_served_and_says_where() {
    let mut story = Story::begin(&[("a.yaml", &config("a", "one")), ("b.yaml", &config("b", "one"))]).await;
    story.write("a.yaml", &(config("a", "two") + "---\nkind: x\n bad: y\n"));
    story.until_board("the file is reported", |b| b.files().iter().any(|f| !f.problems.is_empty())).await;
    let files = story.board.files();
    let problem = &files[0].problems[0];
    assert_eq!((problem.line, problem.column), (Some(8), Some(5)), "{problem}");
    assert_eq!(story.now().revision, 1);
    assert!(
        story.said(Kind::ConfigMap, "shop", "a").contains("a.yaml is not in use"),
        "{}",
        story.said(Kind::ConfigMap, "shop", "a")
    );
    story.write("b.yaml", &config("b", "two"));
    story.until("another file goes on", |s| value(s, "b").as_deref() == Some("two")).await;
    assert_eq!(value(&story.now(), "a").as_deref(), Some("one"));
    story.write("a.yaml", &config("a", "three"));
    story.until("repaired", |s| value(s, "a").as_deref() == Some("three")).await;
    assert!(story.board.files().iter().all(|f| f.problems.is_empty()));
}

#[tokio::test(flavor = "multi_thread")]
async fn one_wrong_object_stays_at_its_last_good_version_while_its_file_goes_on() {
    let mut story = Story::begin(&[("a.yaml", &(service("a", "ports: [{port: 80}]") + &config("b", "one")))]).await;
    story.write(
        "a.yaml",
        &(service("a", "ports: [{port: 0}]") + &config("b", "two") + &service("c", "ports: [{port: -1}]")),
    );
    story.until("b is new", |s| value(s, "b").as_deref() == Some("two")).await;
    let now = story.now();
    assert_eq!(now.services[&Name::new("shop", "a")].spec.as_ref().unwrap().ports.as_ref().unwrap()[0].port, 80);
    assert!(now.broken.contains_key(&ObjectRef::new(Kind::Service, "shop", "c")));
    let said = story.said(Kind::Service, "shop", "a");
    assert!(said.starts_with("Some(false)") && said.contains("serving the last good version"), "{said}");
    story.write("a.yaml", &config("b", "two"));
    story.until("a and c are gone", |s| s.services.is_empty() && s.broken.is_empty()).await;
    assert_eq!(story.said(Kind::Service, "shop", "a"), "");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_contents_are_no_news() {
    let mut story = Story::begin(&[("a.yaml", &config("a", "one")), ("b.yaml", &config("b", "one"))]).await;
    let before = story.now().config_maps[&Name::new("shop", "a")].clone();
    story.write("a.yaml", &format!("# a comment\n{}", config("a", "one")));
    story.write("b.yaml", &config("b", "two"));
    story.until("b is new", |s| value(s, "b").as_deref() == Some("two")).await;
    assert_eq!(story.now().revision, 2);
    assert!(Arc::ptr_eq(&before, &story.now().config_maps[&Name::new("shop", "a")]));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mounted_config_map_is_swapped_as_one() {
    let folder = TempDir::new().unwrap();
    let at = |name: &str| folder.path().join(name);
    for version in ["..1", "..2"] {
        fs::create_dir(at(version)).unwrap();
        fs::write(at(version).join("a.yaml"), config("a", &format!("v{}", &version[2..]))).unwrap();
    }
    std::os::unix::fs::symlink("..1", at("..data")).unwrap();
    std::os::unix::fs::symlink("..data/a.yaml", at("a.yaml")).unwrap();
    std::os::unix::fs::symlink(".", at("loop")).unwrap();
    let mut story = Story::of(folder, FolderSettings::default()).await;
    assert_eq!(value(&story.now(), "a").as_deref(), Some("v1"));
    std::os::unix::fs::symlink("..2", story.path("..data_tmp")).unwrap();
    fs::rename(story.path("..data_tmp"), story.path("..data")).unwrap();
    let took = story.until("swapped", |s| value(s, "a").as_deref() == Some("v2")).await;
    assert!(took < Duration::from_secs(1), "{took:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_is_given_by_a_link_is_followed_to_where_its_bytes_are() {
    let folder = TempDir::new().unwrap();
    let at = |name: &str| folder.path().join(name);
    fs::create_dir(at("kept")).unwrap();
    fs::write(at("kept/bytes"), config("a", "one")).unwrap();
    std::os::unix::fs::symlink("bytes", at("kept/link")).unwrap();
    std::os::unix::fs::symlink("kept/link", at("given.yaml")).unwrap();
    let settings = FolderSettings { poll: Duration::from_secs(60), ..FolderSettings::default() };
    let (board, mut process) = (StatusBoard::new(), Process::detached().unwrap());
    let snapshots = follow_folder(vec![at("given.yaml")], settings, board.clone(), &mut process).await.unwrap();
    let readiness = process.readiness().clone();
    let mut story = Story { folder, board, snapshots, readiness, _process: process };
    // Once more everything is looked at, right after the first reading.
    story.until("read", |s| value(s, "a").as_deref() == Some("one")).await;
    for round in 0..5 {
        story.write("kept/bytes", &config("a", &format!("v{round}")));
        story.until("written", |s| value(s, "a") == Some(format!("v{round}"))).await;
    }
    story.write("kept/.other", &config("a", "another"));
    for (link, to, expected) in [("kept/link", ".other", "another"), ("given.yaml", "kept/bytes", "v4")] {
        std::os::unix::fs::symlink(to, story.path(".link")).unwrap();
        fs::rename(story.path(".link"), story.path(link)).unwrap();
        story.until("led elsewhere", |s| value(s, "a").as_deref() == Some(expected)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_folder_may_come_go_and_come_back() {
    let above = TempDir::new().unwrap();
    let folder = above.path().join("later/here");
    let board = StatusBoard::new();
    let settings = FolderSettings { poll: Duration::from_secs(60), ..FolderSettings::default() };
    let mut process = Process::detached().unwrap();
    let snapshots = follow_folder(vec![folder.clone()], settings, board.clone(), &mut process).await.unwrap();
    assert!(board.files()[0].problems[0].message.contains("does not exist"));
    let readiness = process.readiness().clone();
    let mut story = Story { folder: above, board, snapshots, readiness, _process: process };
    assert!(story.readiness.waiting_for()[0].contains("does not exist"), "{:?}", story.readiness.waiting_for());
    for round in ["one", "two"] {
        fs::create_dir_all(&folder).unwrap();
        fs::write(folder.join("a.yaml"), config("a", round)).unwrap();
        story.until("it came", |s| value(s, "a").as_deref() == Some(round)).await;
        fs::remove_dir_all(&folder).unwrap();
        story.until("it went", |s| s.config_maps.is_empty()).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_served_from_the_start_is_kept_as_broken() {
    let text = service("a", "ports: [{port: 80}]") + "---\nkind: [\n";
    let story = Story::begin(&[("a.yaml", text.as_str()), ("b.yaml", "apiVersion: v1\nkind: Nonsense\n")]).await;
    let now = story.now();
    assert!(now.services.is_empty());
    let broken = &now.broken[&ObjectRef::new(Kind::Service, "shop", "a")];
    assert!(broken.partial.is_some() && broken.problems[0].message.contains("cannot be read as a whole"));
    assert!(story.board.files()[1].problems[0].message.contains("Nonsense"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pipe_in_the_place_of_a_file_holds_nothing_up_and_takes_nothing_away() {
    let mut story = Story::begin(&[("a.yaml", &config("a", "one")), ("b.yaml", &config("b", "one"))]).await;
    let pipe = story.path("pipe");
    let made = std::process::Command::new("mkfifo").arg(&pipe).status().unwrap();
    assert!(made.success());
    fs::rename(&pipe, story.path("a.yaml")).unwrap();
    story.write("b.yaml", &config("b", "two"));
    story.until("the others go on", |s| value(s, "b").as_deref() == Some("two")).await;
    assert_eq!(value(&story.now(), "a").as_deref(), Some("one"));
    story.until_board("it is said", |b| b.files().iter().any(|f| !f.problems.is_empty())).await;
    // Between the listing and the reading, too.
    assert!(super::super::files::read(&story.path("a.yaml")).is_err());
    fs::remove_file(story.path("a.yaml")).unwrap();
    std::os::unix::fs::symlink("nowhere.yaml", story.path("a.yaml")).unwrap();
    story.write("b.yaml", &config("b", "three"));
    story.until("the others go on", |s| value(s, "b").as_deref() == Some("three")).await;
    assert_eq!(value(&story.now(), "a").as_deref(), Some("one"), "a link that leads nowhere takes nothing away");
}

/// Collects what is logged.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl std::io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[test]
fn no_secret_appears_in_logs_statuses_or_debug_output() {
    let log = Log::default();
    let writer = log.clone();
    let subscriber =
        tracing_subscriber::fmt().with_max_level(tracing::Level::TRACE).with_writer(move || writer.clone()).finish();
    // With one subscriber alone, tracing asks whichever thread comes by first whether a message is wanted.
    let _second = tracing::Dispatch::new(tracing_subscriber::registry());
    tracing::subscriber::with_default(subscriber, || {
        let folder = TempDir::new().unwrap();
        let secret = "apiVersion: v1\nkind: Secret\nmetadata: {name: s, namespace: shop}\n";
        for (name, rest) in [
            ("good", "stringData: {key: c4n4ry}\n"),
            ("number", "data: {key: \"c4n4ry!\"}\n"),
            ("syntax", "stringData:\n  key: c4n4ry\n   more: c4n4ry\n"),
            ("twice", "stringData: {c4n4ry: a, c4n4ry: b}\n"),
            ("wrong", "stringData: [c4n4ry]\n"),
        ] {
            fs::write(folder.path().join(format!("{name}.yaml")), format!("{secret}{rest}")).unwrap();
            let loaded = load(&[folder.path().to_owned()]);
            assert!(!format!("{loaded:?}").contains("c4n4ry"), "{name}");
        }
    });
    let logged = String::from_utf8(log.0.lock().clone()).unwrap();
    assert!(logged.contains("manifests read") && !logged.contains("c4n4ry"), "{logged}");
}

#[test]
fn a_thousand_files_load_in_bounded_time() {
    let folder = TempDir::new().unwrap();
    for number in 0..1000 {
        fs::write(folder.path().join(format!("{number}.yaml")), service(&format!("s{number}"), "ports: [{port: 80}]"))
            .unwrap();
    }
    let start = Instant::now();
    let loaded = load(&[folder.path().to_owned()]);
    assert_eq!(loaded.snapshot.services.len(), 1000);
    assert!(start.elapsed() < Duration::from_secs(20), "{:?}", start.elapsed());
    let ips: std::collections::BTreeSet<_> =
        (0..1000).map(|n| ip(&loaded.snapshot, &format!("s{n}")).unwrap()).collect();
    assert_eq!(ips.len(), 1000);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn whatever_a_file_holds_the_others_are_served(bytes in proptest::collection::vec(any::<u8>(), 0..200), near in "[-?:,\\[\\]{}&*!|'\" \na-c]{0,60}") {
        let folder = TempDir::new().unwrap();
        fs::write(folder.path().join("good.yaml"), config("good", "one")).unwrap();
        fs::write(folder.path().join("bytes.yaml"), &bytes).unwrap();
        fs::write(folder.path().join("near.yml"), &near).unwrap();
        fs::write(folder.path().join("bytes.json"), &bytes).unwrap();
        let loaded = load(&[folder.path().to_owned()]);
        prop_assert_eq!(value(&loaded.snapshot, "good"), Some("one".to_owned()));
    }
}

#[tokio::test]
async fn a_file_that_is_renamed_into_place_is_read_at_once() {
    let folder = TempDir::new().unwrap();
    fs::write(folder.path().join("a.yaml"), on_port("a", 80)).unwrap();
    // Whoever waited for quiet would wait until this test fails.
    let quiet = Duration::from_secs(60);
    let mut story = Story::of(folder, FolderSettings { quiet, max_delay: quiet, ..FolderSettings::default() }).await;
    for (port, beside) in [(81, ".a.yaml.swp"), (82, "4913"), (83, "new.yaml")] {
        story.write(beside, &on_port("a", port));
        fs::rename(story.path(beside), story.path("a.yaml")).unwrap();
        story.until("the new port", |snapshot| port_of(snapshot, "a") == Some(port)).await;
    }
}
