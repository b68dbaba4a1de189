//! What admission says of every accident in every field of a manifest, and what is left of the object.
//!
//! For each `NAME.yaml` in `testdata/accidents`, a manifest without mistakes, `NAME.said` has a paragraph for each field. A line of
//! it says which accidents (`waykeeper_tests::mutate`) come to what. `UPDATE_GOLDEN=1` writes them anew: read the difference as
//! whoever makes these mistakes would.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;
use std::{env, fs};

use serde_json::Value;
use waykeeper_api::{Admission, Reach, admit};
use waykeeper_tests::mutate::{Accident, mutants};

/// What came of a manifest, in a line.
fn said(admission: &Admission, intact: &Admission) -> String {
    let mut parts: Vec<String> = admission.problems.iter().take(3).map(ToString::to_string).collect();
    if admission.problems.len() > 3 {
        parts.push(format!("{} more", admission.problems.len() - 3));
    }
    if admission.reference != intact.reference {
        parts.push(match &admission.reference {
            Some(reference) => format!("it is {reference}"),
            None => "it has no name".to_owned(),
        });
    }
    let decoded = format!("{:?}", admission.object);
    match &admission.object {
        None => parts.push("nothing is left of it".to_owned()),
        Some(_) if decoded == format!("{:?}", intact.object) => parts.push("as it was".to_owned()),
        Some(_) => parts.push(format!("another one, {}", blake3::hash(decoded.as_bytes()).to_hex().split_at(6).0)),
    }
    if admission.reach != intact.reach {
        parts.push(match &admission.reach {
            Reach::Known(targets) if targets.is_empty() => "it would have governed nothing".to_owned(),
            Reach::Unknown => "it might govern anything".to_owned(),
            Reach::Known(targets) => {
                let names = targets.iter().map(|target| {
                    format!("{} {}{}", target.kind, target.name, target.section.as_deref().unwrap_or_default())
                });
                format!("it would have governed {}", names.collect::<Vec<_>>().join(", "))
            }
        });
    }
    if admission.withholds {
        parts.push("everything is withheld".to_owned());
    }
    parts.iter().map(|part| shortened(part)).collect::<Vec<_>>().join(" | ")
}

fn shortened(part: &str) -> String {
    let line = part.replace('\n', "\\n");
    if line.len() > 320 { format!("{}…", &line[..line.floor_char_boundary(300)]) } else { line }
}

/// The page of a manifest: for each field, which accidents come to what.
fn page(manifest: &Value) -> String {
    let intact = admit(manifest);
    let mut fields: Vec<(String, BTreeMap<String, Vec<String>>)> = Vec::new();
    let mut counts: BTreeMap<Accident, usize> = BTreeMap::new();
    // What is cut off is the YAML reader's to notice.
    for mutant in mutants(manifest).into_iter().filter(|mutant| mutant.accident != Accident::Truncated) {
        if fields.last().is_none_or(|(path, _)| *path != mutant.path) {
            fields.push((mutant.path.clone(), BTreeMap::new()));
            counts.clear();
        }
        let number = counts.entry(mutant.accident).and_modify(|count| *count += 1).or_insert(1);
        let accident = format!("{:?} {number}", mutant.accident);
        // Quicker than as YAML, which alone notices a key that stands there twice.
        let value = match mutant.accident {
            Accident::Duplicated => serde_norway::from_str::<Value>(&mutant.text).ok(),
            _ => serde_json::from_str::<Value>(&mutant.text).ok(),
        };
        let Some(value) = value else { continue };
        let line = said(&admit(&value), &intact);
        fields.last_mut().unwrap().1.entry(line).or_default().push(accident);
    }
    let mut page = format!("intact: {}\n", said(&intact, &intact));
    for (path, lines) in fields {
        writeln!(page, "{path}").unwrap();
        let mut lines: Vec<(String, String)> =
            lines.into_iter().map(|(line, accidents)| (accidents.join(", "), line)).collect();
        lines.sort();
        lines.iter().for_each(|(accidents, line)| writeln!(page, "  {accidents}: {line}").unwrap());
    }
    page
}

#[test]
fn every_accident_is_told_and_leaves_what_it_always_left() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata/accidents");
    let mut manifests: Vec<_> = fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    manifests.retain(|path| path.extension().is_some_and(|extension| extension == "yaml"));
    manifests.sort();
    assert!(!manifests.is_empty());
    let mut differing = Vec::new();
    for path in manifests {
        let manifest: Value = serde_norway::from_str(&fs::read_to_string(&path).unwrap()).unwrap();
        let (page, golden) = (page(&manifest), path.with_extension("said"));
        let before = fs::read_to_string(&golden).unwrap_or_default();
        if page == before {
            continue;
        }
        if env::var_os("UPDATE_GOLDEN").is_some() {
            fs::write(&golden, page).unwrap();
            continue;
        }
        let changed = page.lines().zip(before.lines()).find(|(now, before)| now != before);
        differing.push(format!("{}: {changed:?}", golden.display()));
    }
    assert!(differing.is_empty(), "UPDATE_GOLDEN=1 writes them anew:\n{}", differing.join("\n"));
}
