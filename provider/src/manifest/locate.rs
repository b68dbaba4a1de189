//! Where in a file a field of an object stands.
//!
//! Manifests are decoded without positions, which would have to be kept for every value of every
//! file. Positions are found when a mistake is to be shown, by reading its file once more.

use api::{Kind, ObjectRef};
use saphyr_parser::{Event, Parser, Span};

/// Deeper than any manifest: an end to the looking.
const MAX_DEPTH: usize = 100;

/// Line and column, both from 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Position {
    pub line: usize,
    pub column: usize,
}

/// The documents of a file, values left out except for what tells objects apart.
#[derive(Debug, Default)]
pub(crate) struct Layout(Vec<Node>);

#[derive(Debug)]
struct Node {
    at: Position,
    shape: Shape,
}

#[derive(Debug)]
enum Shape {
    /// The text only of what names an object: never of a Secret's values.
    Scalar(Option<String>),
    Mapping(Vec<Entry>),
    Sequence(Vec<Node>),
}

#[derive(Debug)]
struct Entry {
    key: String,
    at: Position,
    value: Node,
}

impl Layout {
    /// The layout of a file, as far as it can be read.
    pub(crate) fn of(text: &str) -> Layout {
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        let chunks = super::chunks(text);
        Layout(chunks.iter().flat_map(|chunk| documents(chunk.text, chunk.line - 1)).collect())
    }

    /// Where `field` of `object` stands; if it is missing, where the nearest thing around it stands.
    pub(crate) fn find(&self, object: &ObjectRef, field: &str) -> Option<Position> {
        // Of several, the last is what `kubectl apply` would leave.
        let found = self.0.iter().rev().find_map(|document| document.object(object))?;
        Some(found.walk(field, found.at))
    }
}

impl Node {
    fn entry(&self, key: &str) -> Option<&Node> {
        let Shape::Mapping(entries) = &self.shape else { return None };
        entries.iter().find(|entry| entry.key == key).map(|entry| &entry.value)
    }

    fn text(&self, key: &str) -> Option<&str> {
        match &self.entry(key)?.shape {
            Shape::Scalar(text) => text.as_deref(),
            _ => None,
        }
    }

    /// This document, or the item of it, that declares `object`.
    fn object(&self, object: &ObjectRef) -> Option<&Node> {
        if let Some(Node { shape: Shape::Sequence(items), .. }) = self.entry("items")
            && self.text("kind").is_some_and(|kind| kind.ends_with("List"))
        {
            return items.iter().rev().find_map(|item| item.object(object));
        }
        let kind = self.text("kind");
        // Items of a typed list leave out what the list says.
        let same_kind = kind.is_none_or(|kind| kind == object.kind.as_str());
        let metadata = self.entry("metadata")?;
        let same_name = metadata.text("name") == Some(object.name.name.as_str());
        (same_kind && same_name && namespace(metadata, object.kind) == object.name.namespace).then_some(self)
    }

    fn walk(&self, path: &str, at: Position) -> Position {
        if path.is_empty() {
            return at;
        }
        match &self.shape {
            Shape::Mapping(entries) => {
                let path = path.strip_prefix('.').unwrap_or(path);
                // Keys may hold dots themselves, such as those of labels: the longest that fits.
                let fitting = entries.iter().filter_map(|entry| Some((entry, rest_after(path, &entry.key)?)));
                match fitting.min_by_key(|(_, rest)| rest.len()) {
                    Some((entry, rest)) => entry.value.walk(rest, entry.at),
                    None => at,
                }
            }
            Shape::Sequence(items) => {
                let item = path.strip_prefix('[').and_then(|path| path.split_once(']'));
                let item = item.and_then(|(index, rest)| Some((items.get(index.parse::<usize>().ok()?)?, rest)));
                item.map_or(at, |(item, rest)| item.walk(rest, item.at))
            }
            Shape::Scalar(_) => at,
        }
    }
}

fn namespace(metadata: &Node, kind: Kind) -> &str {
    match metadata.text("namespace") {
        _ if !kind.namespaced() => "",
        None | Some("") => "default",
        Some(namespace) => namespace,
    }
}

/// What of `path` follows `key`, by which a field is read under its JSON name or its proto name.
fn rest_after<'a>(path: &'a str, key: &str) -> Option<&'a str> {
    let ends = |rest: &&str| rest.is_empty() || rest.starts_with(['.', '[']);
    if let Some(rest) = path.strip_prefix(key).filter(ends) {
        return Some(rest);
    }
    let name = path.split(['.', '[']).next()?;
    let plain = |text: &str| text.replace('_', "").to_ascii_lowercase();
    (plain(name) == plain(key)).then(|| &path[name.len()..])
}

/// The documents of one chunk of a file, whose first line is line `above + 1`.
fn documents(text: &str, above: usize) -> Vec<Node> {
    let mut documents = Vec::new();
    let mut open: Vec<Building> = Vec::new();
    for event in Parser::new_from_str(text) {
        let Ok((event, span)) = event else { break };
        let finished = match event {
            Event::MappingStart(..) => {
                open.push(Building::mapping(position(span, above)));
                None
            }
            Event::SequenceStart(..) => {
                open.push(Building::sequence(position(span, above)));
                None
            }
            Event::MappingEnd | Event::SequenceEnd => open.pop().map(Building::finish),
            Event::Scalar(text, ..) => {
                let keep = open.last().is_some_and(Building::keeps_text);
                let shape = Shape::Scalar(keep.then(|| text.into_owned()));
                Some(Node { at: position(span, above), shape })
            }
            // What it stands for is not looked into.
            Event::Alias(_) => Some(Node { at: position(span, above), shape: Shape::Scalar(None) }),
            _ => None,
        };
        if open.len() > MAX_DEPTH {
            break;
        }
        if let Some(node) = finished {
            match open.last_mut() {
                Some(parent) => parent.take(node),
                None => documents.push(node),
            }
        }
    }
    documents
}

fn position(span: Span, above: usize) -> Position {
    Position { line: span.start.line() + above, column: span.start.col() + 1 }
}

/// A mapping or sequence that has begun.
struct Building {
    at: Position,
    key: Option<(String, Position)>,
    shape: Shape,
}

impl Building {
    fn mapping(at: Position) -> Self {
        Self { at, key: None, shape: Shape::Mapping(Vec::new()) }
    }

    fn sequence(at: Position) -> Self {
        Self { at, key: None, shape: Shape::Sequence(Vec::new()) }
    }

    /// Whether the next scalar is a key, or names an object.
    fn keeps_text(&self) -> bool {
        match (&self.shape, &self.key) {
            (Shape::Mapping(_), None) => true,
            (Shape::Mapping(_), Some((key, _))) => matches!(key.as_str(), "kind" | "name" | "namespace"),
            _ => false,
        }
    }

    fn take(&mut self, node: Node) {
        match (&mut self.shape, self.key.take()) {
            (Shape::Sequence(items), _) => items.push(node),
            (Shape::Mapping(entries), Some((key, at))) => entries.push(Entry { key, at, value: node }),
            (Shape::Mapping(_), None) => {
                let key = match node.shape {
                    Shape::Scalar(Some(text)) => text,
                    _ => String::new(),
                };
                self.key = Some((key, node.at));
            }
            (Shape::Scalar(_), _) => {}
        }
    }

    fn finish(self) -> Node {
        Node { at: self.at, shape: self.shape }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "# a comment
apiVersion: v1
kind: Service
metadata: {name: a, namespace: x, labels: {istio.io/use-waypoint: w}}
spec:
  ports:
  - name: http
    port: 0
---
apiVersion: v1
kind: List
items:
- kind: Secret
  metadata:
    name: s
  data:
    api-key: 'unquoted'
    a.b[0]: x
- kind: RouteOption
  metadata: {name: o, namespace: x}
  spec:
    options: {rate_limit_configs: {refs: [{name: n}]}}
";

    fn line(kind: Kind, namespace: &str, name: &str, field: &str) -> Option<usize> {
        Some(Layout::of(TEXT).find(&ObjectRef::new(kind, namespace, name), field)?.line)
    }

    #[test]
    fn a_field_is_found_in_its_object_however_it_is_written() {
        let service = |field: &str| line(Kind::Service, "x", "a", field);
        assert_eq!(service(""), Some(2));
        assert_eq!(service("spec.ports[0].port"), Some(8));
        assert_eq!(service("metadata.labels.istio.io/use-waypoint"), Some(4));
        assert_eq!(service("spec.ports[0].protocol"), Some(7), "what is missing would stand here");
        assert_eq!(service("spec.ports[7]"), Some(6));
        assert_eq!(line(Kind::Secret, "default", "s", "data.api-key"), Some(17));
        assert_eq!(line(Kind::Secret, "default", "s", "data.a.b[0]"), Some(18));
        let option = "spec.options.rateLimitConfigs.refs[0].name";
        assert_eq!(line(Kind::RouteOption, "x", "o", option), Some(22));
        assert_eq!(line(Kind::Service, "x", "b", ""), None);
        assert!(!format!("{:?}", Layout::of(TEXT)).contains("unquoted"), "a Secret's values are not kept");
    }

    #[test]
    fn what_cannot_be_read_has_no_lines_and_costs_nothing() {
        for text in ["\t- a", "a: [", "{", "a: *b", "", &"[".repeat(100_000), &"- ".repeat(100_000)] {
            let layout = Layout::of(text);
            assert_eq!(layout.find(&ObjectRef::new(Kind::Service, "x", "a"), "spec"), None);
        }
    }

    #[test]
    fn json_has_lines_too() {
        let text = "{\"kind\": \"Service\",\n \"metadata\": {\"name\": \"a\", \"namespace\": \"x\"},\n \"spec\": {\n  \"ports\": [{\"port\": 0}]}}";
        let at = Layout::of(text).find(&ObjectRef::new(Kind::Service, "x", "a"), "spec.ports[0].port");
        assert_eq!(at.map(|at| at.line), Some(4));
    }
}
