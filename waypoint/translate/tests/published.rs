//! Manifests with the fields and spellings that the published guides of Gateway API,
//! Gloo and Istio use, in words of our own. Each is admitted, or refused at the
//! field that its annotation `refused-at` names.
#![allow(clippy::unwrap_used)]

use std::path::PathBuf;

use waykeeper_tests::manifests::documents;

#[test]
fn published_spellings_are_read_and_published_mistakes_refused() {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/published");
    let (mut wrong, mut read, mut refused) = (Vec::new(), 0, 0);
    let mut files: Vec<_> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    for file in files {
        let text = std::fs::read_to_string(&file).unwrap();
        for document in documents(&text) {
            let expected = document["metadata"]["annotations"]["refused-at"].as_str();
            let admission = api::admit(&document);
            let errors: Vec<_> = admission.problems.iter().filter(|problem| problem.is_error()).collect();
            let fields: Vec<_> = errors.iter().map(|problem| problem.field.as_str()).collect();
            let right = match expected {
                None => fields.is_empty(),
                Some(field) => fields == [field],
            };
            if !right {
                let name = document["metadata"]["name"].as_str().unwrap_or_default();
                wrong.push(format!("{} {name}: {expected:?}, {errors:?}", file.display()));
            }
            *(if expected.is_some() { &mut refused } else { &mut read }) += 1;
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(read >= 20 && refused >= 30, "{read} read, {refused} refused");
}
