//! What the API server sends, read: pages of lists, lines of watches, what a group serves.
//!
//! Each object is cut out as text first and read by itself, so that one that cannot be read costs
//! nothing but itself. Nothing that is read here is ever part of a message.

use std::borrow::Cow;

use api::core::Time;
use api::{Admission, Fingerprint, Kind, Name, Problem, Reach};
use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Map, Value};
use zeroize::{Zeroize as _, Zeroizing};

use crate::machine::{Entry, Event, Failure, Line};
use crate::source::Subject;

/// The largest object that is read, in bytes of JSON; an API server stores none that is larger than this.
const LARGEST_OBJECT: usize = 4 << 20;
/// What `kubectl apply` writes beside an object: all of it once more.
const LAST_APPLIED: &str = "kubectl.kubernetes.io/last-applied-configuration";
/// Of an object's metadata what somebody reads.
const METADATA: [&str; 6] = ["name", "namespace", "labels", "annotations", "creationTimestamp", "generation"];

/// An object as the API server has it, judged.
#[derive(Debug, Clone)]
pub struct Item {
    /// What admission says of it.
    pub admission: Admission,
    /// Equal for equal contents, whatever its status says.
    pub digest: blake3::Hash,
    /// When it was made.
    pub created: Option<Time>,
    /// Whether it is being deleted.
    pub deleting: bool,
}

#[derive(Deserialize)]
struct Page<'a> {
    #[serde(default)]
    metadata: PageMetadata,
    #[serde(borrow, default)]
    items: Option<Vec<&'a RawValue>>,
}

#[derive(Deserialize, Default)]
struct PageMetadata {
    #[serde(default, rename = "resourceVersion")]
    version: Box<str>,
    #[serde(default, rename = "continue")]
    more: Option<String>,
}

#[derive(Deserialize)]
struct Head {
    metadata: HeadMetadata,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct HeadMetadata {
    name: String,
    #[serde(default)]
    namespace: String,
    #[serde(default)]
    uid: Box<str>,
    #[serde(default)]
    resource_version: Box<str>,
    /// One that cannot be read is as good as none: what is wrong with it is said of this object alone.
    #[serde(default, deserialize_with = "readable")]
    creation_timestamp: Option<Time>,
    #[serde(default)]
    deletion_timestamp: Option<serde::de::IgnoredAny>,
}

fn readable<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Option<Time>, D::Error> {
    Ok(serde_json::from_value(Value::deserialize(deserializer)?).ok())
}

#[derive(Deserialize)]
struct Frame<'a> {
    #[serde(rename = "type", borrow)]
    kind: Cow<'a, str>,
    #[serde(borrow)]
    object: &'a RawValue,
}

/// What the server says when something went wrong.
#[derive(Deserialize, Default)]
pub struct Refusal {
    /// As an HTTP status.
    #[serde(default)]
    pub code: u16,
    #[serde(default)]
    reason: Cow<'static, str>,
}

impl Refusal {
    /// What is said in `body`; nothing if that cannot be read.
    pub fn read(body: &[u8]) -> Self {
        serde_json::from_slice(body).unwrap_or_default()
    }

    /// The failure that it is.
    pub fn failure(&self, code: u16, retry_after: Option<std::time::Duration>) -> Failure {
        match (code, self.reason.as_ref()) {
            (410, _) | (_, "Expired" | "Gone") => Failure::Expired,
            (404, _) => Failure::NotFound,
            _ => Failure::Status { code, retry_after },
        }
    }
}

/// A page of a list of objects of `subject`, asked for under `api_version`.
pub fn page(subject: Subject, api_version: &str, body: &[u8]) -> Event<Item> {
    let Ok(page) = serde_json::from_slice::<Page<'_>>(body) else {
        return Event::Failed(Failure::Unreadable("a list that is none"));
    };
    let items = page.items.unwrap_or_default();
    let mut entries = Vec::with_capacity(items.len());
    for raw in items {
        match entry(subject, api_version, raw.get()) {
            Some(entry) => entries.push(entry),
            None => return Event::Failed(Failure::Unreadable("an object without a name in a list")),
        }
    }
    let more = page.metadata.more.filter(|more| !more.is_empty());
    Event::Page { entries, version: page.metadata.version, more }
}

/// A line of a watch.
pub fn line(subject: Subject, api_version: &str, text: &[u8]) -> Event<Item> {
    let failed = |why| Event::Failed(Failure::Unreadable(why));
    let Ok(Frame { kind: event, object }) = serde_json::from_slice::<Frame<'_>>(text) else {
        return failed("a line of a watch that is none");
    };
    if event == "ERROR" {
        let refusal = Refusal::read(object.get().as_bytes());
        return Event::Failed(refusal.failure(refusal.code, None));
    }
    if event == "BOOKMARK" {
        #[derive(Deserialize)]
        struct Bookmark {
            metadata: PageMetadata,
        }
        return match serde_json::from_str::<Bookmark>(object.get()) {
            Ok(bookmark) => Event::Line(Line::Bookmark(bookmark.metadata.version)),
            Err(_) => failed("a bookmark without a version"),
        };
    }
    let Some(entry) = entry(subject, api_version, object.get()) else { return failed("an object without a name") };
    match event.as_ref() {
        "ADDED" | "MODIFIED" => Event::Line(Line::Put(entry)),
        "DELETED" => Event::Line(Line::Gone(entry.name, entry.version)),
        _ => failed("an event of an unknown type"),
    }
}

/// Whether `plural` is among what is served under `version`, by the server's answer about that version.
///
/// # Errors
/// When it is an answer about anything else.
pub fn serves(plural: &str, version: &str, body: &[u8]) -> Result<bool, Failure> {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Resources<'a> {
        #[serde(borrow)]
        kind: Cow<'a, str>,
        #[serde(borrow)]
        group_version: Cow<'a, str>,
        #[serde(borrow)]
        resources: Vec<Resource<'a>>,
    }
    #[derive(Deserialize)]
    struct Resource<'a> {
        #[serde(borrow)]
        name: Cow<'a, str>,
    }
    let served: Option<Resources<'_>> = serde_json::from_slice(body).ok();
    let served = served.filter(|served| served.kind == "APIResourceList" && served.group_version == version);
    let served = served.ok_or(Failure::Unreadable("a list of resources that is none"))?;
    Ok(served.resources.iter().any(|resource| resource.name == plural))
}

/// Whether `version` is among the versions of all API groups. This is asked where the version itself is not
/// found: what is not served takes its policies with it, and anything between us and the API server may say 404.
///
/// # Errors
/// When it is not the API server's list.
pub fn knows(version: &str, body: &[u8]) -> Result<bool, Failure> {
    #[derive(Deserialize)]
    struct Groups<'a> {
        #[serde(borrow)]
        kind: Cow<'a, str>,
        #[serde(borrow)]
        groups: Vec<Group<'a>>,
    }
    #[derive(Deserialize)]
    struct Group<'a> {
        #[serde(borrow)]
        versions: Vec<GroupVersion<'a>>,
    }
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct GroupVersion<'a> {
        #[serde(borrow)]
        group_version: Cow<'a, str>,
    }
    let groups: Option<Groups<'_>> = serde_json::from_slice(body).ok();
    let groups = groups.filter(|groups| groups.kind == "APIGroupList");
    let groups = groups.ok_or(Failure::Unreadable("a list of API groups that is none"))?;
    Ok(groups.groups.iter().flat_map(|group| &group.versions).any(|known| known.group_version == version))
}

/// One object; none if it has no name.
fn entry(subject: Subject, api_version: &str, text: &str) -> Option<Entry<Item>> {
    // Whatever else is in it is skipped, however deep it goes.
    let head: Head = serde_json::from_str(text).ok()?;
    let HeadMetadata { name, namespace, uid, resource_version, creation_timestamp, deletion_timestamp } = head.metadata;
    if name.is_empty() || subject.namespaced() == namespace.is_empty() {
        return None;
    }
    let name = Name::new(namespace, name);
    let kind = match subject {
        Subject::Kind(kind) => kind,
        Subject::Unserved(_) => {
            let read = serde_json::from_str::<Value>(text).ok().filter(|_| text.len() <= LARGEST_OBJECT);
            let reach = read.map_or(Reach::Unknown, |document| api::unserved::reach(&name, &document));
            let admission = Admission { reach, ..unreadable(None, "objects of this kind are not served yet") };
            let digest = blake3::hash(text.as_bytes());
            let object =
                Item { admission, digest, created: creation_timestamp, deleting: deletion_timestamp.is_some() };
            return Some(Entry { name, uid, version: resource_version, object });
        }
    };
    let reference = api::ObjectRef { kind, name: name.clone() };
    let (admission, digest) = match manifest(kind, api_version, text) {
        Ok(mut value) => {
            let digest = provider::assembly::digest(&value);
            // A fault of ours in one object must not keep the others from being read.
            let admission = std::panic::catch_unwind(|| api::admit(&value));
            let admission =
                admission.unwrap_or_else(|_| unreadable(Some(&reference), "it could not be read, by a fault of ours"));
            if kind == Kind::Secret {
                api::secret::wipe(&mut value);
            }
            (admission, digest)
        }
        Err(why) => (unreadable(Some(&reference), why), {
            let mut hasher = Fingerprint::hasher();
            hasher.update(text.as_bytes());
            hasher.finalize()
        }),
    };
    // What it is called is beyond doubt. Should admission see another object in it, it is none of ours to serve.
    let admission = match admission.reference.as_ref() == Some(&reference) {
        true => admission,
        false => unreadable(Some(&reference), "its name cannot be used"),
    };
    let object = Item { admission, digest, created: creation_timestamp, deleting: deletion_timestamp.is_some() };
    Some(Entry { name, uid, version: resource_version, object })
}

/// The object as its author would have written it.
fn manifest(kind: Kind, api_version: &str, text: &str) -> Result<Value, &'static str> {
    if text.len() > LARGEST_OBJECT {
        return Err("larger than 4 MiB");
    }
    // The one mistake that valid JSON can still hold.
    let mut value: Value = serde_json::from_str(text).map_err(|_| "nested too deeply to be read")?;
    let map = value.as_object_mut().ok_or("not an object")?;
    map.insert("apiVersion".to_owned(), api_version.into());
    map.insert("kind".to_owned(), kind.as_str().into());
    if kind != Kind::Pod {
        map.remove("status");
    }
    if let Some(metadata) = map.get_mut("metadata").and_then(Value::as_object_mut) {
        let mut kept = Map::new();
        for (key, mut value) in std::mem::take(metadata) {
            if let ("annotations", Some(annotations)) = (key.as_str(), value.as_object_mut()) {
                if let Some(Value::String(mut applied)) = annotations.remove(LAST_APPLIED) {
                    applied.zeroize();
                }
                if annotations.is_empty() {
                    continue;
                }
            }
            if METADATA.contains(&key.as_str()) {
                kept.insert(key, value);
            }
        }
        *metadata = kept;
    }
    Ok(value)
}

/// What stands for an object of which nothing but its name could be read.
fn unreadable(reference: Option<&api::ObjectRef>, why: &str) -> Admission {
    Admission {
        reference: reference.cloned(),
        object: None,
        problems: vec![Problem::error("", why)],
        reach: Reach::Unknown,
        withholds: false,
    }
}

/// Cuts what comes in pieces into lines, none longer than `most`.
#[derive(Debug)]
pub struct Lines {
    held: Zeroizing<Vec<u8>>,
    /// How much of what is held was looked at and has no end of a line in it.
    looked: usize,
    most: usize,
}

impl Lines {
    /// Nothing yet.
    pub fn new(most: usize) -> Self {
        Self { held: Zeroizing::default(), looked: 0, most }
    }

    /// Takes in what came.
    pub fn take(&mut self, bytes: &[u8]) {
        self.held.extend_from_slice(bytes);
    }

    /// The next line that is whole, without its end.
    ///
    /// # Errors
    /// When one is longer than may be.
    pub fn next_line(&mut self) -> Result<Option<Zeroizing<Vec<u8>>>, Failure> {
        loop {
            let found = self.held.get(self.looked..).unwrap_or_default().iter().position(|byte| *byte == b'\n');
            let Some(found) = found else {
                self.looked = self.held.len();
                return if self.looked > self.most { Err(Failure::TooLarge) } else { Ok(None) };
            };
            let end = self.looked + found;
            if end > self.most {
                return Err(Failure::TooLarge);
            }
            let rest = Zeroizing::new(self.held.split_off(end + 1));
            let mut line = std::mem::replace(&mut self.held, rest);
            self.looked = 0;
            line.truncate(end);
            if !line.trim_ascii().is_empty() {
                return Ok(Some(line));
            }
        }
    }
}

#[cfg(test)]
mod tests;
