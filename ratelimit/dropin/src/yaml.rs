//! A configuration file's text, decoded as envoyproxy/ratelimit decodes it, with every mistake reported.

use api::Problem;
use serde::de::{self, Deserializer, Visitor};
use serde::{Deserialize, Serialize};

use super::marks::{self, Mark};

/// Every key that server knows, wherever it stands. One of these in a place
/// where it means nothing is let through there, and is a warning here.
const KNOWN: [&str; 16] = [
    "domain",
    "key",
    "value",
    "descriptors",
    "rate_limit",
    "unit",
    "requests_per_unit",
    "unlimited",
    "shadow_mode",
    "quota_mode",
    "name",
    "replaces",
    "detailed_metric",
    "value_to_metric",
    "share_threshold",
    "metadata",
];

/// A file: the rules of one domain.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, Serialize)]
#[serde(default)]
pub struct Document {
    /// Which requests it is for.
    #[serde(deserialize_with = "text")]
    pub domain: String,
    /// The first level of its tree.
    #[serde(deserialize_with = "or_default")]
    pub descriptors: Vec<Descriptor>,
}

/// A node of the tree.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, Serialize)]
#[serde(default)]
pub struct Descriptor {
    /// The entry's key.
    #[serde(deserialize_with = "text")]
    pub key: String,
    /// The entry's value, in which `*` stands for any text; empty for any value.
    #[serde(deserialize_with = "text", skip_serializing_if = "String::is_empty")]
    pub value: String,
    /// The limit of descriptors that end here.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rate_limit: Option<RateLimit>,
    /// More limits of the same descriptors, all of which hold; that server has no such field.
    #[serde(deserialize_with = "or_default", skip_serializing_if = "Vec::is_empty")]
    pub limits: Vec<RateLimit>,
    /// What may follow.
    #[serde(deserialize_with = "or_default", skip_serializing_if = "Vec::is_empty")]
    pub descriptors: Vec<Descriptor>,
    /// Count, but never refuse.
    #[serde(deserialize_with = "flag", skip_serializing_if = "is_false")]
    pub shadow_mode: bool,
    /// Refuse only when every other quota of the request is used up as well.
    #[serde(deserialize_with = "flag", skip_serializing_if = "is_false")]
    pub quota_mode: bool,
    /// Name the metric by the request's keys and values.
    #[serde(deserialize_with = "flag", skip_serializing_if = "is_false")]
    pub detailed_metric: bool,
    /// Put the request's value into the metric's name.
    #[serde(deserialize_with = "flag", skip_serializing_if = "is_false")]
    pub value_to_metric: bool,
    /// All values the wildcard matches share one counter.
    #[serde(deserialize_with = "flag", skip_serializing_if = "is_false")]
    pub share_threshold: bool,
    /// Handed to Envoy as dynamic metadata while the limit holds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub metadata: Option<serde_norway::Mapping>,
}

/// What a node allows.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, Serialize)]
#[serde(default)]
pub struct RateLimit {
    /// How many requests in one unit of time.
    #[serde(deserialize_with = "count")]
    pub requests_per_unit: u32,
    /// `second` to `year`, in any case.
    #[serde(deserialize_with = "text", skip_serializing_if = "String::is_empty")]
    pub unit: String,
    /// A window is of so many units, 1 if left out; that server has no such field.
    #[serde(deserialize_with = "count", skip_serializing_if = "is_zero")]
    pub unit_multiplier: u32,
    /// Lets everything pass, uncounted.
    #[serde(deserialize_with = "flag", skip_serializing_if = "is_false")]
    pub unlimited: bool,
    /// What it is called in answers and in `replaces`.
    #[serde(deserialize_with = "text", skip_serializing_if = "String::is_empty")]
    pub name: String,
    /// The limits that do not apply where this one does.
    #[serde(deserialize_with = "or_default", skip_serializing_if = "Vec::is_empty")]
    pub replaces: Vec<Replaces>,
}

/// A limit that is replaced.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, Serialize)]
#[serde(default)]
pub struct Replaces {
    /// Its name.
    #[serde(deserialize_with = "text")]
    pub name: String,
}

impl Descriptor {
    fn has_metadata(&self) -> bool {
        self.metadata.is_some() || self.descriptors.iter().any(Descriptor::has_metadata)
    }
}

/// Metadata has no schema that would say what a scalar is: it is what that server takes it for.
fn metadata_as_yaml_1_1(descriptors: &mut [Descriptor], above: &Mark) {
    let Some(marks) = above.get("descriptors") else { return };
    for (number, descriptor) in descriptors.iter_mut().enumerate() {
        let Some(mark) = marks.item(number) else { return };
        if let (Some(metadata), Some(mark)) = (&mut descriptor.metadata, mark.get("metadata")) {
            let mut value = serde_norway::Value::Mapping(std::mem::take(metadata));
            mark.as_yaml_1_1(&mut value);
            if let serde_norway::Value::Mapping(read) = value {
                *metadata = read;
            }
        }
        metadata_as_yaml_1_1(&mut descriptor.descriptors, mark);
    }
}

/// Reads `text`; nothing comes back when one of the problems is an error.
pub fn read(text: &str) -> (Option<Document>, Vec<Problem>) {
    // Some editors begin a file with a byte-order mark.
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let (first, more) = match first_document(text) {
        Ok(found) => found,
        Err(problem) => return (None, vec![problem]),
    };
    let mut problems = Vec::new();
    if more {
        problems.push(Problem::warning("", "only the first YAML document of a file is read; use a file for each"));
    }
    if first.trim().is_empty() {
        problems.push(Problem::error("domain", "config file cannot have empty domain"));
        return (None, problems);
    }
    let mut unknown = Vec::new();
    let mut track = serde_path_to_error::Track::new();
    let decoded: Result<Document, _> = {
        let inner = serde_norway::Deserializer::from_str(&first);
        let tracked = serde_path_to_error::Deserializer::new(inner, &mut track);
        serde_ignored::deserialize(tracked, |path| unknown.push((field(&path), last(&path))))
    };
    for (path, key) in unknown {
        problems.push(if KNOWN.contains(&key.as_str()) {
            Problem::warning(path, format!("'{key}' means nothing in this place"))
        } else {
            Problem::error(path, format!("config error, unknown key '{key}'; remove it or correct its spelling"))
        });
    }
    let document = match decoded {
        Ok(mut document) => {
            if document.descriptors.iter().any(Descriptor::has_metadata)
                && let Some(mark) = marks::first(&first)
            {
                metadata_as_yaml_1_1(&mut document.descriptors, &mark);
            }
            document
        }
        Err(error) => {
            let path = track.path().to_string();
            let path = if path == "." { String::new() } else { path };
            problems.push(Problem::error(path, format!("error loading config file: {error}")));
            return (None, problems);
        }
    };
    (if api::problem::has_errors(&problems) { None } else { Some(document) }, problems)
}

/// The domain a file is about, as far as that can be seen of one that cannot be used.
pub(crate) fn domain_of(text: &str) -> Option<String> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let first = serde_norway::Deserializer::from_str(text).next()?;
    let value = serde_norway::Value::deserialize(first).ok()?;
    value.get("domain")?.as_str().filter(|domain| !domain.is_empty()).map(str::to_owned)
}

/// The first document of a file, its merge keys (`<<`) resolved, and whether there are others.
fn first_document(text: &str) -> Result<(std::borrow::Cow<'_, str>, bool), Problem> {
    let broken = |error: serde_norway::Error| Problem::error("", format!("error loading config file: {error}"));
    let mut documents = serde_norway::Deserializer::from_str(text);
    let Some(first) = documents.next() else { return Ok(("".into(), false)) };
    // Numbers keep their spelling only on the direct way, so the detour is for those who need it.
    let merges = text.contains("<<");
    let value = serde_norway::Value::deserialize(first).map_err(broken)?;
    let more = documents.next().is_some_and(|next| {
        serde_norway::Value::deserialize(next).is_ok_and(|value| value != serde_norway::Value::Null)
    });
    if !value.is_mapping() && !value.is_null() {
        return Err(Problem::error("", "error loading config file: a file is a mapping that begins with domain:"));
    }
    if value.is_null() {
        return Ok(("".into(), more));
    }
    if merges || more {
        let mut value = value;
        value.apply_merge().map_err(broken)?;
        return Ok((serde_norway::to_string(&value).map_err(broken)?.into(), more));
    }
    Ok((text.into(), more))
}

/// `descriptors[0].key`.
fn field(path: &serde_ignored::Path<'_>) -> String {
    use serde_ignored::Path;
    match path {
        Path::Root => String::new(),
        Path::Seq { parent, index } => format!("{}[{index}]", field(parent)),
        Path::Map { parent, key } => match field(parent) {
            above if above.is_empty() => key.clone(),
            above => format!("{above}.{key}"),
        },
        Path::Some { parent } | Path::NewtypeStruct { parent } | Path::NewtypeVariant { parent } => field(parent),
    }
}

/// The key that `path` ends in.
fn last(path: &serde_ignored::Path<'_>) -> String {
    use serde_ignored::Path;
    match path {
        Path::Map { key, .. } => key.clone(),
        Path::Some { parent } | Path::NewtypeStruct { parent } | Path::NewtypeVariant { parent } => last(parent),
        Path::Root | Path::Seq { .. } => field(path),
    }
}

fn is_zero(number: &u32) -> bool {
    *number == 0
}

fn is_false(flag: &bool) -> bool {
    !flag
}

/// Any scalar, in the words it was written in: `value: 010` is the text `010`. `null`, `~` and nothing at
/// all are as good as not written; in quotes they are words like any other.
fn text<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    struct Words(String);
    impl<'de> Deserialize<'de> for Words {
        fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
            deserializer.deserialize_str(Text).map(Words)
        }
    }
    struct Text;
    impl Visitor<'_> for Text {
        type Value = String;

        fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            f.write_str("text")
        }

        fn visit_str<E: de::Error>(self, text: &str) -> Result<String, E> {
            Ok(text.to_owned())
        }

        fn visit_unit<E: de::Error>(self) -> Result<String, E> {
            Ok(String::new())
        }
    }
    Ok(Option::<Words>::deserialize(deserializer)?.map(|Words(words)| words).unwrap_or_default())
}

/// YAML 1.1's booleans, which is what that server reads.
fn flag<'de, D: Deserializer<'de>>(deserializer: D) -> Result<bool, D::Error> {
    let word = text(deserializer)?;
    match word.to_ascii_lowercase().as_str() {
        "true" | "yes" | "y" | "on" => Ok(true),
        "false" | "no" | "n" | "off" | "" => Ok(false),
        _ => Err(de::Error::custom(format!("{word:?} is neither true nor false"))),
    }
}

/// YAML 1.1's integers: decimal, `0x`, `0b`, octal with a leading zero, `_` between digits.
fn count<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u32, D::Error> {
    let word = text(deserializer)?;
    let digits = word.replace('_', "");
    let digits = digits.strip_prefix('+').unwrap_or(&digits);
    let parsed = match digits.as_bytes() {
        [] => Ok(0),
        [b'0', b'x', hex @ ..] => u32::from_str_radix(std::str::from_utf8(hex).unwrap_or_default(), 16),
        [b'0', b'b', binary @ ..] => u32::from_str_radix(std::str::from_utf8(binary).unwrap_or_default(), 2),
        [b'0', b'o', octal @ ..] => u32::from_str_radix(std::str::from_utf8(octal).unwrap_or_default(), 8),
        [b'0', octal @ ..] if !octal.is_empty() => {
            u32::from_str_radix(std::str::from_utf8(octal).unwrap_or_default(), 8)
        }
        _ => digits.parse(),
    };
    parsed.map_err(|_| de::Error::custom(format!("{word:?} is not a whole number from 0 to {}", u32::MAX)))
}

fn or_default<'de, D: Deserializer<'de>, T: Deserialize<'de>>(deserializer: D) -> Result<Vec<T>, D::Error> {
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn messages(problems: &[Problem]) -> Vec<String> {
        problems.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn scalars_are_read_as_yaml_1_1_writes_them() {
        let (document, problems) = read(
            "domain: 7\ndescriptors:\n- key: on\n  value: 010\n  shadow_mode: yes\n  rate_limit: {unit: Hour, requests_per_unit: 1_000}\n- key: b\n  value: 1.50\n  descriptors:\n  rate_limit:\n",
        );
        assert_eq!(problems, []);
        let document = document.unwrap();
        assert_eq!(document.domain, "7");
        let [first, second] = document.descriptors.as_slice() else { panic!("two descriptors") };
        assert_eq!((first.key.as_str(), first.value.as_str(), first.shadow_mode), ("on", "010", true));
        assert_eq!(first.rate_limit.as_ref().unwrap().requests_per_unit, 1000);
        assert_eq!((second.value.as_str(), &second.rate_limit), ("1.50", &None));
    }

    #[test]
    fn null_is_as_good_as_not_written_and_in_quotes_a_word() {
        for null in ["null", "~", "Null", "NULL", ""] {
            let text = format!(
                "\u{feff}domain: d\ndescriptors:\n- key: k\n  value: {null}\n  shadow_mode: {null}\n  descriptors: {null}\n  metadata: {null}\n  rate_limit: {{unit: day, requests_per_unit: 2, name: {null}, unlimited: {null}, replaces: {null}}}\n"
            );
            let (document, problems) = read(&text);
            assert_eq!(problems, [], "{null}");
            let one = document.unwrap().descriptors[0].clone();
            assert_eq!((one.value.as_str(), one.rate_limit.unwrap().name.as_str()), ("", ""), "{null}");
            let (document, problems) = read(&format!("domain: {null}\n"));
            assert!(document.is_none_or(|document| document.domain.is_empty()), "{problems:?}");
            let (document, _) = read(&format!("domain: d\ndescriptors: [{{key: {null}}}]\n"));
            assert_eq!(document.unwrap().descriptors[0].key, "", "{null}");
        }
        for quoted in ["'null'", "\"~\"", "!!str null"] {
            let (document, problems) = read(&format!("domain: d\ndescriptors:\n- key: k\n  value: {quoted}\n"));
            assert_eq!(problems, [], "{quoted}");
            assert!(!document.unwrap().descriptors[0].value.is_empty(), "{quoted}");
        }
        // Also where a merge makes a detour, and in a file of several documents.
        let (document, _) =
            read("domain: d\ndescriptors:\n- &a {key: k, value: null}\n- {<<: *a, key: l}\n---\nx: 1\n");
        assert!(document.unwrap().descriptors.iter().all(|one| one.value.is_empty()));
    }

    #[test]
    fn metadata_is_read_as_yaml_1_1_and_what_is_in_quotes_is_text() {
        let (document, problems) = read(
            "domain: d\ndescriptors:\n- key: k\n  descriptors:\n  - key: l\n    metadata: {a: yes, b: 'yes', c: 010, d: 1_000, e: [off, \"off\"], f: {g: on}, h: 1.5}\n",
        );
        assert_eq!(problems, []);
        let metadata = document.unwrap().descriptors[0].descriptors[0].metadata.clone();
        let json = serde_json::to_value(&metadata).unwrap();
        let expected = serde_json::json!({"a": true, "b": "yes", "c": 8, "d": 1000, "e": [false, "off"], "f": {"g": true}, "h": 1.5});
        assert_eq!(json, expected);
    }

    #[test]
    fn an_unknown_key_is_refused_where_it_stands_and_a_misplaced_one_is_a_warning() {
        let (document, problems) = read("domain: a\ndescriptors:\n- key: b\n  unit: day\n  ratelimit: {}\n");
        assert_eq!(document, None);
        assert_eq!(
            messages(&problems),
            [
                "descriptors[0].unit: 'unit' means nothing in this place",
                "descriptors[0].ratelimit: config error, unknown key 'ratelimit'; remove it or correct its spelling"
            ]
        );
    }

    #[test]
    fn what_is_no_file_of_ours_is_refused_in_words() {
        for (text, part) in [
            ("", "empty domain"),
            ("- a", "is a mapping"),
            ("domain: [", "error loading config file"),
            (
                "domain: a\ndescriptors:\n- key: b\n  rate_limit: {requests_per_unit: -1}",
                "descriptors[0].rate_limit.requests_per_unit",
            ),
            ("domain: a\ndescriptors:\n- key: b\n  shadow_mode: perhaps", "neither true nor false"),
            ("domain: a\ndescriptors: [1]", "descriptors[0]"),
        ] {
            let (document, problems) = read(text);
            assert_eq!(document, None, "{text}");
            assert!(messages(&problems).join("\n").contains(part), "{text}: {problems:?}");
        }
    }

    #[test]
    fn merge_keys_and_further_documents_are_read_as_that_server_reads_them() {
        let (document, problems) = read(
            "domain: a\ndescriptors:\n- key: b\n  rate_limit: &limit {unit: day, requests_per_unit: 3}\n- key: c\n  rate_limit:\n    <<: *limit\n    name: mine\n---\ndomain: other\n",
        );
        assert_eq!(problems.len(), 1, "{problems:?}");
        let limit = document.unwrap().descriptors[1].rate_limit.clone().unwrap();
        assert_eq!((limit.requests_per_unit, limit.unit.as_str(), limit.name.as_str()), (3, "day", "mine"));
    }
}
