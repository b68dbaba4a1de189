//! Never: a file that panics the provider, or one that cannot be used and is not reported.
#![no_main]

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;

static FOLDER: LazyLock<tempfile::TempDir> = LazyLock::new(|| tempfile::tempdir().expect("a temporary folder"));

fuzz_target!(|bytes: &[u8]| {
    for name in ["manifest.yaml", "manifest.json"] {
        let path = FOLDER.path().join(name);
        std::fs::write(&path, bytes).expect("room for the file");
        let loaded = provider::load(std::slice::from_ref(&path));
        let file = loaded.files.values().find(|file| file.path.ends_with(name)).expect("a status of the file");
        if std::str::from_utf8(bytes).is_err() {
            assert!(!file.problems.is_empty(), "text that is not UTF-8 was taken");
        }
        std::fs::remove_file(path).expect("the file is still there");
    }
});
