//! What is read from text, and what is said of text that cannot be read.
#![allow(clippy::unwrap_used)]
use proptest::prelude::*;

use super::*;

fn yaml(text: &str) -> Parsed {
    parse(text.as_bytes(), false, Limits::DEFAULT)
}

fn error(text: &str) -> FileProblem {
    yaml(text).error.unwrap()
}

#[test]
fn documents_know_their_number_and_line() {
    let parsed = yaml("# hello\n---\na: 1\n---\n# nothing\n---\nb: |\n  text\n\n---\n{c: 3}\n...\n");
    assert_eq!(parsed.error, None);
    let places: Vec<_> = parsed.documents.iter().map(|d| (d.number, d.line)).collect();
    assert_eq!(places, [(1, 2), (2, 6), (3, 10)]);
}

#[test]
fn lists_are_their_items() {
    let parsed =
        yaml("kind: List\napiVersion: v1\nitems:\n- {kind: A}\n- kind: BList\n  apiVersion: g/v1\n  items: [{x: 1}]\n");
    let values: Vec<_> = parsed.documents.iter().map(|d| d.value.clone()).collect();
    assert_eq!(values[0]["kind"], "A");
    assert_eq!(values[1], serde_json::json!({"kind": "B", "apiVersion": "g/v1", "x": 1}));
}

#[test]
fn mistakes_have_a_line_and_a_column_in_the_file() {
    let problem = error("a: 1\n---\nb:\n  c: 1\n d: 2\n");
    assert_eq!((problem.line, problem.column), (Some(5), Some(2)), "{problem}");
    let second = error("a: 1\n...\nb:\n  c: 1\n d: 2\n");
    assert_eq!((second.line, second.column), (Some(3), Some(1)), "a document begins with ---: {second}");
    let twice = error("x: 1\n---\na: 1\nb: 2\na: 3\n");
    assert!(twice.message.contains("\"a\" stands twice"), "{twice}");
    assert!(twice.line.is_some_and(|line| (3..=5).contains(&line)), "{twice}");
    assert!(error("a:\n\tb: 1\n").message.contains("spaces, not tabs"));
    assert!(parse(b"{\"a\": 1,\n ]", true, Limits::DEFAULT).error.unwrap().line == Some(2));
    assert_eq!(parse(b"a: 1\nb: \xff", false, Limits::DEFAULT).error.unwrap().column, Some(4));
}

#[test]
fn nothing_of_a_file_with_a_secret_is_quoted() {
    for text in [
        "kind: Secret\nstringData:\n  c4n4ry: 1\n  c4n4ry: 2\n",
        "kind: Secret\nstringData: {a: !c4n4ry b}\n",
        "kind: Secret\nstringData: {a: *c4n4ry}\n",
        "kind: Secret\nstringData:\n  a: \"c4n4ry\n",
    ] {
        let problem = error(text);
        assert!(!format!("{problem:?}").contains("c4n4ry"), "{problem}");
        assert!(problem.line.is_some());
    }
}

#[test]
fn bombs_are_defused() {
    let mut bomb = "a0: &a0 [x, x, x, x, x, x, x, x, x]\n".to_owned();
    for level in 1..12 {
        let before = level - 1;
        bomb += &format!("a{level}: &a{level} [{}]\n", vec![format!("*a{before}"); 9].join(", "));
    }
    for text in [
        bomb,
        "[".repeat(200_000),
        "{a: ".repeat(200_000),
        "- ".repeat(200_000),
        "? ".repeat(200_000),
        format!("a: &a {}\nb: [{}]", "x".repeat(100_000), vec!["*a"; 10_000].join(",")),
        "- x\n".repeat(500_000),
        "---\na: 1\n".repeat(20_000),
    ] {
        let start = std::time::Instant::now();
        let problem = error(&text);
        assert!(start.elapsed().as_secs() < 10, "{:?} for {problem}", start.elapsed());
    }
}

#[test]
fn merge_keys_and_keys_that_are_not_text_read_as_kubectl_reads_them() {
    let parsed = yaml("base: &b {x: 1, y: 2}\nthis: {<<: *b, y: 3}\nlabels: {1: a, true: b}\n");
    assert_eq!(parsed.documents[0].value["this"], serde_json::json!({"x": 1, "y": 3}));
    assert_eq!(parsed.documents[0].value["labels"], serde_json::json!({"1": "a", "true": "b"}));
}

proptest! {
    #[test]
    fn any_bytes_are_read_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..400), json: bool) {
        parse(&bytes, json, Limits::DEFAULT);
    }

    #[test]
    fn any_near_yaml_is_read_or_refused(text in "([-?:,\\[\\]{}#&*!|>'\"%@ \n\ta-c0<.]|---\n|\\.\\.\\.\n|kind: List\nitems:\n){0,80}") {
        parse(text.as_bytes(), false, Limits::DEFAULT);
    }
}
