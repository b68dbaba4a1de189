//! What is asked of the disk: at an edit only about what it touches, and never less than would tell everything.

use std::cell::Cell;
use std::os::unix::fs::symlink;
use std::path::PathBuf;

use proptest::sample::{select, subsequence};

use super::super::scan::{Asked, Listing, list};
use super::*;

/// So many files of a Service each, that somebody wrote long ago, and who reads them.
fn files(count: usize) -> (TempDir, Engine) {
    let folder = TempDir::new().unwrap();
    for number in 0..count {
        let path = folder.path().join(format!("{number}.yaml"));
        fs::write(&path, service(&format!("s{number}"), "ports: [{port: 80}]")).unwrap();
        age(&path, 1_000);
    }
    let mut engine = Engine::new(vec![folder.path().canonicalize().unwrap()], FolderSettings::default());
    engine.look_at_once();
    engine.assemble();
    (folder, engine)
}

#[test]
fn an_edit_asks_about_what_it_touches_however_many_files_there_are() {
    for count in [1, 40, 400] {
        let (folder, mut engine) = files(count);
        let at = |name: &str| folder.path().canonicalize().unwrap().join(name);
        let mut asked = engine.asked();
        assert_eq!(asked[2], count, "each file is read once");
        let mut costs = |engine: &mut Engine, name: &str| {
            let step = engine.look_at([at(name)]);
            let before = std::mem::replace(&mut asked, engine.asked());
            (step.changed, [0, 1, 2].map(|n| asked[n] - before[n]))
        };
        fs::write(at("0.yaml"), service("s0", "ports: [{port: 81}]")).unwrap();
        assert_eq!(costs(&mut engine, "0.yaml"), (true, [0, 1, 1]), "edited, among {count}");
        fs::write(at("new.yaml"), service("new", "ports: [{port: 80}]")).unwrap();
        assert_eq!(costs(&mut engine, "new.yaml"), (true, [0, 1, 1]), "another one, beside {count}");
        fs::write(at(".0.yaml.swp"), "x").unwrap();
        assert_eq!(costs(&mut engine, ".0.yaml.swp"), (false, [0, 0, 0]), "an editor's own file");
        fs::remove_file(at("new.yaml")).unwrap();
        assert_eq!(costs(&mut engine, "new.yaml"), (true, [0, 1, 0]), "taken away");
        assert_eq!(engine.assemble().snapshot.services.len(), count);
        fs::create_dir(at("more")).unwrap();
        let (_, [folders, ..]) = costs(&mut engine, "more");
        assert_eq!(folders, 2, "a new folder is listed, with the one that it is in");
    }
}

#[test]
fn what_is_not_settled_is_looked_at_again_without_an_event_and_nothing_else_is() {
    let (folder, _) = files(40);
    let top = folder.path().canonicalize().unwrap();
    let settings = FolderSettings { vanish: Duration::from_millis(20), ..FolderSettings::default() };
    let mut engine = Engine::new(vec![top.clone()], settings);
    engine.load();
    let path = top.join("0.yaml");
    fs::write(&path, "").unwrap();
    let (mut round, mut steps, before) = (Round::only([path]), 0, engine.asked());
    // It was emptied, probably to be written anew; then it stays as it is.
    while let Some(again) = engine.step(&round).again {
        (round, steps) = (Round::only([]), steps + 1);
        std::thread::sleep(again);
    }
    assert!(steps > 0);
    let asked = engine.asked();
    assert_eq!([0, 1, 2].map(|n| asked[n] - before[n]), [0, steps + 1, steps + 1]);
    assert_eq!(engine.assemble().snapshot.services.len(), 39);
    engine.step(&Round::only([]));
    assert_eq!(engine.asked(), asked, "nothing waits any more");
}

#[test]
fn where_links_lead_elsewhere_everything_is_looked_at() {
    let folder = TempDir::new().unwrap();
    let top = folder.path().canonicalize().unwrap();
    fs::write(top.join("text"), config("a", "one")).unwrap();
    symlink("text", top.join("a.yaml")).unwrap();
    let mut engine = Engine::new(vec![top.clone()], FolderSettings::default());
    engine.look_at_once();
    assert_eq!(value(&engine.assemble().snapshot, "a").as_deref(), Some("one"));
    fs::write(top.join("text"), config("a", "another")).unwrap();
    let before = engine.asked();
    engine.look_at([top.join("text")]);
    assert_eq!(engine.asked()[0], before[0] + 1, "the folder is listed");
    engine.look_at_once();
    assert_eq!(value(&engine.assemble().snapshot, "a").as_deref(), Some("another"));
}

/// What somebody does in a folder.
#[derive(Debug, Clone)]
enum Doing {
    Write(PathBuf),
    Remove(PathBuf),
    Rename(PathBuf, PathBuf),
    Folder(PathBuf),
    Link(PathBuf, PathBuf),
}

fn doing() -> impl Strategy<Value = Doing> {
    let path = || {
        // Few, so that links lead to what is written.
        let folder = select(vec!["", "f"]);
        let name = select(vec!["a.yaml", "b.json", "d.txt", ".e.yaml", "f"]);
        (folder, name).prop_map(|(folder, name)| PathBuf::from(folder).join(name))
    };
    prop_oneof![
        4 => path().prop_map(Doing::Write),
        2 => path().prop_map(Doing::Remove),
        2 => (path(), path()).prop_map(|(from, to)| Doing::Rename(from, to)),
        1 => path().prop_map(Doing::Folder),
        2 => (path(), path()).prop_map(|(from, to)| Doing::Link(from, to)),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    /// Looking at what was touched comes to what looking at everything comes to, or says that it does not.
    #[test]
    fn what_was_touched_tells_as_much_as_everything(
        rounds in proptest::collection::vec(proptest::collection::vec(doing(), 0..3), 1..8),
        max_files in 1..6_usize,
        // The folder, something in it by itself, behind a link, or on the way through one.
        given in subsequence(vec!["top", "top/a.yaml", "top/f", "a.yaml", "f", "all/a.yaml", "all/f"], 1..3),
    ) {
        let folder = TempDir::new().unwrap();
        let beside = folder.path().canonicalize().unwrap();
        let top = beside.join("top");
        fs::create_dir(&top).unwrap();
        let links = [("a.yaml", top.join("a.yaml")), ("f", top.join("f")), ("all", top.clone())];
        links.iter().for_each(|(name, to)| symlink(to, beside.join(name)).unwrap());
        let roots: Vec<PathBuf> = given.iter().map(|given| beside.join(given)).collect();
        let asked = Asked { folders: Cell::new(0), ..Asked::default() };
        let (mut listing, mut length) = (list(&roots, max_files, &asked), 0);
        for round in rounds {
            let mut touched = Vec::new();
            for one in round {
                // Each version differs in what is looked at, however coarse the clock of the files is.
                length += 1;
                touched.extend(one.done_in(&top, &"x".repeat(length)));
            }
            let whole = list(&roots, max_files, &asked);
            match listing.update(touched.iter().map(PathBuf::as_path), &asked) {
                Some(_) => prop_assert_eq!(shown(&listing), shown(&whole), "after {:?}", touched),
                None => listing = whole,
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    /// Once nothing waits any more, what was looked at because something happened to it tells what all tells to
    /// somebody who begins: nobody waits for the poll.
    #[test]
    fn what_happened_is_known_without_looking_at_everything(
        before in proptest::collection::vec(doing(), 0..8),
        rounds in proptest::collection::vec(proptest::collection::vec(doing(), 0..3), 1..6),
    ) {
        let folder = TempDir::new().unwrap();
        let top = folder.path().canonicalize().unwrap();
        let mut value = 0;
        let mut done = |doing: &Doing| {
            value += 1;
            doing.done_in(&top, &format!("{{\"apiVersion\": \"v1\", \"kind\": \"ConfigMap\", \"metadata\": {{\"name\": \"c{value}\", \"namespace\": \"shop\"}}}}"))
        };
        before.iter().for_each(|doing| drop(done(doing)));
        let settings = FolderSettings { vanish: Duration::from_millis(1), ..FolderSettings::default() };
        let begin = || {
            let mut engine = Engine::new(vec![top.clone()], settings.clone());
            engine.look_at_once();
            engine
        };
        let mut engine = begin();
        for round in rounds {
            let touched: Vec<PathBuf> = round.iter().flat_map(&mut done).collect();
            let mut step = engine.step(&Round::only(touched.clone()));
            while let Some(again) = step.again {
                std::thread::sleep(again);
                step = engine.step(&Round::only([]));
            }
            let names = |engine: &mut Engine| engine.assemble().snapshot.config_maps.keys().cloned().collect::<Vec<_>>();
            prop_assert_eq!(names(&mut engine), names(&mut begin()), "after {:?}", touched);
        }
    }
}

impl Doing {
    /// Does it, as far as it can be done, and says which paths it touched. What is written is `text`.
    fn done_in(&self, top: &Path, text: &str) -> Vec<PathBuf> {
        let at = |path: &Path| top.join(path);
        match self {
            // What is written through a link is told of where the bytes are.
            Doing::Write(path) => {
                drop(fs::write(at(path), text));
                vec![fs::canonicalize(at(path)).unwrap_or_else(|_| at(path))]
            }
            Doing::Remove(path) => {
                // Of a folder, what was in it goes first.
                let inside = fs::read_dir(at(path)).into_iter().flatten().flatten().map(|entry| entry.path());
                let touched = inside.chain([at(path)]).collect();
                drop(fs::remove_file(at(path)).or_else(|_| fs::remove_dir_all(at(path))));
                touched
            }
            Doing::Rename(from, to) => {
                drop(fs::rename(at(from), at(to)));
                vec![at(from), at(to)]
            }
            Doing::Link(from, to) => {
                drop(symlink(at(from), at(to)));
                vec![at(from), at(to)]
            }
            // Folders on the way are made, too.
            Doing::Folder(path) => {
                drop(fs::create_dir_all(at(path)));
                path.ancestors().filter(|path| !path.as_os_str().is_empty()).map(at).collect()
            }
        }
    }
}

fn shown(listing: &Listing) -> String {
    format!("{:?} {:?} {:?} {:?}", listing.files, listing.directories, listing.unknown, listing.missing)
}
