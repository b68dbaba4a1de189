//! What cannot be read or told apart: everything at a start, its own file later.

use super::*;

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
fn unreadable() -> Vec<(&'static str, Vec<u8>)> {
    let good = route_option(GUARDED);
    let texts = [
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
        ("a character that YAML has not", good.replace("auth", "au\u{0}th")),
    ];
    let name = good.find("auth").unwrap();
    let no_text = [&good.as_bytes()[..name + 2], b"\xff", &good.as_bytes()[name + 2..]].concat();
    let bytes = texts.into_iter().map(|(what, text)| (what, text.into_bytes()));
    bytes.chain([("bytes that are no text", no_text)]).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_start_with_what_cannot_be_read_withholds_everything_until_it_is_mended() {
    for (what, text) in unreadable() {
        let mut story = Story::begin(&[("a.yaml", config("a", "one").as_bytes()), ("auth.yaml", &text)]).await;
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

#[test]
fn every_path_that_is_not_there_at_the_start_is_named() {
    let folder = TempDir::new().unwrap();
    let paths = ["a", "b", "c"].map(|name| folder.path().join(name));
    fs::write(&paths[1], route_option(GUARDED)).unwrap();
    let mut engine = Engine::new(paths.to_vec(), FolderSettings::default());
    engine.look_at_once();
    let withheld: Vec<String> = engine.assemble().snapshot.withheld.iter().map(ToString::to_string).collect();
    let named = |name: &str| withheld.iter().any(|why| why.contains(&format!("/{name}: does not exist")));
    assert!(withheld.len() == 2 && named("a") && named("c"), "{withheld:?}");
}

#[test]
fn a_path_that_comes_or_goes_is_news_though_there_is_no_file() {
    let folder = TempDir::new().unwrap();
    let paths = ["a", "b"].map(|name| folder.path().join(name));
    fs::create_dir(&paths[0]).unwrap();
    fs::write(paths[0].join("auth.yaml"), route_option(GUARDED)).unwrap();
    age(&paths[0].join("auth.yaml"), 1_000);
    let mut engine = Engine::new(paths.to_vec(), FolderSettings::default());
    engine.load();
    assert_eq!(engine.assemble().snapshot.withheld.len(), 1);
    assert!(!engine.step(&Round::default()).changed, "nothing has happened");
    fs::create_dir(&paths[1]).unwrap();
    assert!(engine.step(&Round::default()).changed);
    assert!(engine.assemble().snapshot.withheld.is_empty());
    fs::remove_dir(&paths[1]).unwrap();
    assert!(engine.step(&Round::default()).changed);
    let problems: Vec<_> = engine.assemble().files.values().flat_map(|file| file.problems.clone()).collect();
    assert!(problems.len() == 1 && problems[0].message.contains("does not exist"), "{problems:?}");
}

/// A start is not over as long as somebody writes: the file is looked at again though nothing more may be told of it.
#[test]
fn a_file_that_its_writer_has_not_closed_is_looked_at_later() {
    let folder = TempDir::new().unwrap();
    let top = folder.path().canonicalize().unwrap();
    let path = top.join("auth.yaml");
    let mut engine = Engine::new(vec![top], FolderSettings::default());
    engine.load();
    fs::write(&path, route_option(GUARDED)).unwrap();
    age(&path, 1_000);
    let wait = Duration::from_millis(70);
    let step = engine.step(&Round::open([path], wait));
    assert_eq!((step.again, guards(&engine.assemble().snapshot)), (Some(wait), false));
    let mut again = step.again;
    while let Some(wait) = again {
        std::thread::sleep(wait);
        again = engine.step(&Round::only([])).again;
    }
    assert!(guards(&engine.assemble().snapshot));
}

#[test]
fn a_file_that_cannot_be_read_is_named_with_the_reason_at_a_start_and_later() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("auth.yaml");
    let good = route_option(GUARDED);
    let large = format!("{good}# {}\n", "x".repeat(4 << 20));
    let mut engine = Engine::new(vec![folder.path().to_owned()], FolderSettings::default());
    let mut with = |text: &str| {
        fs::write(&path, text).unwrap();
        engine.look_at_once();
        let assembled = engine.assemble();
        let of_files = assembled.mistakes.iter().filter(|mistake| mistake.object.is_none());
        let said: Vec<_> = of_files.map(|mistake| mistake.problem.message.clone()).collect();
        let withheld: Vec<_> = assembled.snapshot.withheld.iter().map(|withheld| withheld.why.clone()).collect();
        (said.concat(), withheld.concat(), guards(&assembled.snapshot))
    };
    let why = "larger than 4 MiB; split it into several files".to_owned();
    assert_eq!(with(&large), (why.clone(), why.clone(), false));
    assert_eq!(with(&good), (String::new(), String::new(), true));
    assert_eq!(with(&large), (why, String::new(), true), "the last good version stays");
}

#[test]
fn a_start_withholds_as_long_as_a_file_may_still_be_written() {
    let folder = TempDir::new().unwrap();
    fs::write(folder.path().join("auth.yaml"), route_option(GUARDED)).unwrap();
    let mut engine = Engine::new(vec![folder.path().to_owned()], FolderSettings::default());
    assert!(engine.step(&Round::default()).again.is_some(), "what was just written is looked at twice");
    let begun = engine.assemble().snapshot;
    let withheld: Vec<String> = begun.withheld.iter().map(ToString::to_string).collect();
    assert!(withheld.len() == 1 && withheld[0].ends_with("auth.yaml: is still being written to"), "{withheld:?}");
    engine.load();
    let whole = engine.assemble().snapshot;
    assert!(whole.withheld.is_empty() && guards(&whole));
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
