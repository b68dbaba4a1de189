//! Real folders, real events.
#![allow(clippy::unwrap_used)]

use std::fs;
use std::io::Write as _;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use api::core::Service;
use api::{Kind, Name, ObjectRef, Snapshot};
use proptest::prelude::*;
use runtime::Readiness;
use tempfile::TempDir;
use tokio::sync::watch;

use super::*;
use crate::Provider;

/// A served folder.
struct Story {
    folder: TempDir,
    board: StatusBoard,
    snapshots: watch::Receiver<Arc<Snapshot>>,
    readiness: Readiness,
    _provider: Provider,
}

impl Story {
    async fn begin(files: &[(&str, &str)]) -> Self {
        let folder = TempDir::new().unwrap();
        for (name, text) in files {
            fs::write(folder.path().join(name), text).unwrap();
        }
        Self::of(folder, FolderSettings::default()).await
    }

    async fn of(folder: TempDir, settings: FolderSettings) -> Self {
        let board = StatusBoard::new();
        let paths = vec![folder.path().to_owned()];
        let readiness = Readiness::new();
        let shutdown = runtime::Shutdown::new();
        let provider = Provider::folder(paths, settings, board.clone(), &readiness, shutdown).await.unwrap();
        let snapshots = provider.watch();
        assert_eq!(snapshots.borrow().revision, 1);
        Self { folder, board, snapshots, readiness, _provider: provider }
    }

    fn now(&self) -> Arc<Snapshot> {
        self.snapshots.borrow().clone()
    }

    fn write(&self, name: &str, text: &str) {
        fs::write(self.path(name), text).unwrap();
    }

    fn path(&self, name: &str) -> std::path::PathBuf {
        self.folder.path().join(name)
    }

    /// Waits for a snapshot that is as told, and says how long it took.
    async fn until(&mut self, what: &str, told: impl Fn(&Snapshot) -> bool) -> Duration {
        let start = Instant::now();
        let wait = self.snapshots.wait_for(|snapshot| told(snapshot));
        tokio::time::timeout(Duration::from_secs(10), wait).await.unwrap_or_else(|_| panic!("never: {what}")).unwrap();
        start.elapsed()
    }

    /// Waits until the board is as told.
    async fn until_board(&self, what: &str, told: impl Fn(&StatusBoard) -> bool) {
        let mut changes = self.board.subscribe();
        let wait = async {
            while !told(&self.board) {
                changes.changed().await.unwrap();
            }
        };
        tokio::time::timeout(Duration::from_secs(10), wait).await.unwrap_or_else(|_| panic!("never: {what}"));
    }

    /// Waits until nothing is waited for.
    async fn until_ready(&self) {
        let wait = async {
            while !self.readiness.is_ready() {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(Duration::from_secs(10), wait).await.expect("never ready");
    }

    fn said(&self, kind: Kind, namespace: &str, name: &str) -> String {
        said(&self.board, kind, namespace, name)
    }
}

fn said(board: &StatusBoard, kind: Kind, namespace: &str, name: &str) -> String {
    let merged = board.merged();
    let statuses = merged.get(&ObjectRef::new(kind, namespace, name)).cloned().unwrap_or_default();
    statuses.iter().flat_map(|(_, s)| &s.conditions).map(|c| format!("{:?} {}", c.status, c.message)).collect()
}

fn config(name: &str, value: &str) -> String {
    format!("---\napiVersion: v1\nkind: ConfigMap\nmetadata: {{name: {name}, namespace: shop}}\ndata: {{v: {value}}}\n")
}

fn service(name: &str, spec: &str) -> String {
    format!("---\napiVersion: v1\nkind: Service\nmetadata: {{name: {name}, namespace: shop}}\nspec: {{{spec}}}\n")
}

fn value(snapshot: &Snapshot, name: &str) -> Option<String> {
    snapshot.config_maps.get(&Name::new("shop", name))?.data.as_ref()?.get("v").cloned()
}

fn ip(snapshot: &Snapshot, name: &str) -> Option<String> {
    let service: &Service = snapshot.services.get(&Name::new("shop", name))?;
    let spec = service.spec.as_ref()?;
    assert_eq!(spec.cluster_ip.as_ref(), spec.cluster_ips.as_ref()?.first());
    spec.cluster_ip.clone()
}

fn age(path: &Path, seconds: u64) {
    let time = std::time::SystemTime::now() - Duration::from_secs(seconds);
    fs::File::options().write(true).open(path).unwrap().set_modified(time).unwrap();
}

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
    assert!(story.said(Kind::Service, "shop", "rival").contains("belongs to Service shop/own"));
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
async fn a_folder_may_come_go_and_come_back() {
    let above = TempDir::new().unwrap();
    let folder = above.path().join("later/here");
    let board = StatusBoard::new();
    let settings = FolderSettings { poll: Duration::from_secs(60), ..FolderSettings::default() };
    let readiness = Readiness::new();
    let provider =
        Provider::folder(vec![folder.clone()], settings, board.clone(), &readiness, runtime::Shutdown::new())
            .await
            .unwrap();
    assert!(board.files()[0].problems[0].message.contains("does not exist"));
    let mut story = Story { folder: above, board, snapshots: provider.watch(), readiness, _provider: provider };
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
    let story = Story::begin(&[("a.yaml", &text), ("b.yaml", "apiVersion: v1\nkind: Nonsense\n")]).await;
    let now = story.now();
    assert!(now.services.is_empty());
    let broken = &now.broken[&ObjectRef::new(Kind::Service, "shop", "a")];
    assert!(broken.partial.is_some() && broken.problems[0].message.contains("cannot be read as a whole"));
    assert!(story.board.files()[1].problems[0].message.contains("Nonsense"));
}

fn route_option(options: &str) -> String {
    format!(
        "---\napiVersion: gateway.solo.io/v1\nkind: RouteOption\nmetadata: {{name: auth, namespace: shop}}\nspec:\n  \
         targetRefs: [{{group: gateway.networking.k8s.io, kind: HTTPRoute, name: a}}]\n  options: {options}\n"
    )
}

const GUARDED: &str = "{extauth: {configRef: {name: keys}}}";

fn guards(snapshot: &Snapshot) -> bool {
    let option = snapshot.route_options.get(&Name::new("shop", "auth"));
    option.is_some_and(|option| option.spec.options.extauth.is_some())
}

/// Mistakes after which nobody can tell which object a document means, or that it means one.
fn unreadable() -> Vec<(&'static str, String)> {
    let good = route_option(GUARDED);
    vec![
        ("a tab", good.replace("  options", "\toptions")),
        ("a kind misspelt", good.replace("kind: RouteOption", "kind: RouteOptions")),
        ("a kind of ours in other case", good.replace("kind: RouteOption", "kind: routeoption")),
        ("a version that is not known", good.replace("gateway.solo.io/v1", "gateway.solo.io/v2")),
        ("a group misspelt", good.replace("gateway.solo.io/v1", "gatway.solo.io/v1")),
        ("no kind", good.replace("kind: RouteOption\n", "")),
        ("no name", good.replace("name: auth", "nmae: auth")),
        ("a namespace that cannot be read", good.replace("namespace: shop", "namespace: [shop]")),
        ("a key twice", good.replace("spec:", "kind: RouteOption\nspec:")),
        ("cut in the middle of a word", good[..good.find("RouteOp").unwrap() + 7].to_owned()),
        ("bytes that are no text", good.replace("auth", "au\u{fffd}th").replace('\u{fffd}', "\u{0}")),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn a_start_with_what_cannot_be_read_withholds_everything_until_it_is_mended() {
    for (what, text) in unreadable() {
        let mut story = Story::begin(&[("a.yaml", &config("a", "one")), ("auth.yaml", &text)]).await;
        let now = story.now();
        assert_eq!(now.withheld.len(), 1, "{what}: {:?}", now.withheld);
        assert!(now.withheld[0].place.contains("auth.yaml:"), "{what}: {:?}", now.withheld);
        let waiting = story.readiness.waiting_for();
        assert!(waiting[0].contains("auth.yaml:"), "{what}: {waiting:?}");
        story.write("auth.yaml", &route_option(GUARDED));
        story.until("mended", |s| s.withheld.is_empty() && guards(s)).await;
        story.until_ready().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn while_running_what_cannot_be_read_leaves_the_last_good_version() {
    let mut story = Story::begin(&[("a.yaml", &config("a", "one")), ("auth.yaml", &route_option(GUARDED))]).await;
    assert!(story.readiness.is_ready() && guards(&story.now()));
    for (round, (what, text)) in unreadable().into_iter().enumerate() {
        story.write("auth.yaml", &text);
        story.until_board(what, |board| board.files().iter().any(|file| !file.problems.is_empty())).await;
        story.write("a.yaml", &config("a", &format!("v{round}")));
        story.until("another file goes on", |s| value(s, "a") == Some(format!("v{round}"))).await;
        let now = story.now();
        assert!(guards(&now) && now.withheld.is_empty() && story.readiness.is_ready(), "{what}");
        story.write("auth.yaml", &route_option(GUARDED));
        story.until_board("mended", |board| board.files().iter().all(|file| file.problems.is_empty())).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn manifests_of_other_products_are_advised_about_and_withhold_nothing() {
    let foreign = "apiVersion: networking.istio.io/v1\nkind: Gateway\nmetadata: {name: g}\n---\n\
                   apiVersion: v1\nkind: PersistentVolumeClaim\nmetadata: {name: data}\n";
    let story = Story::begin(&[("a.yaml", &(config("a", "one") + "---\n" + foreign))]).await;
    assert!(story.now().withheld.is_empty() && story.readiness.is_ready());
    assert_eq!(value(&story.now(), "a").as_deref(), Some("one"));
    let files = story.board.files();
    assert!(files[0].problems.iter().all(|problem| !problem.is_error()), "{files:?}");
    assert!(files[0].problems[0].message.contains("Istio's own gateway"), "{files:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn more_files_than_are_read_withhold_at_a_start_and_are_told_of_later() {
    let settings = || FolderSettings { max_files: 2, ..FolderSettings::default() };
    let folder = TempDir::new().unwrap();
    for name in ["a", "b", "c"] {
        fs::write(folder.path().join(format!("{name}.yaml")), config(name, "one")).unwrap();
    }
    let mut story = Story::of(folder, settings()).await;
    assert!(story.now().withheld[0].place.contains("c.yaml") && !story.readiness.is_ready());
    fs::remove_file(story.path("a.yaml")).unwrap();
    story.until("two are left", |s| s.withheld.is_empty() && value(s, "c").is_some()).await;
    story.until_ready().await;
    story.write("aa.yaml", &config("aa", "one"));
    story.until("a third comes", |s| value(s, "aa").is_some()).await;
    assert!(value(&story.now(), "c").is_some() && story.now().withheld.is_empty(), "what was read stays");
    let said = story.board.files().iter().flat_map(|f| f.problems.clone()).map(|p| p.message).collect::<String>();
    assert!(said.contains("more than 2 files"), "{said}");
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
    assert!(super::files::read(&story.path("a.yaml")).is_err());
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

fn on_port(name: &str, port: u16) -> String {
    format!(
        "{{apiVersion: v1, kind: Service, metadata: {{name: {name}, namespace: t}}, spec: {{ports: [{{port: {port}}}]}}}}"
    )
}

fn port_of(snapshot: &Snapshot, name: &str) -> Option<u16> {
    let service = snapshot.services.get(&Name::new("t", name))?;
    u16::try_from(service.spec.as_ref()?.ports.as_ref()?.first()?.port).ok()
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
            for engine in [&mut step_by_step, &mut at_once] {
                engine.look_at_once();
            }
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
