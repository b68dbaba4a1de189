//! When objects of manifests without a `creationTimestamp` were made.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::SystemTime;

use api::{Kind, ObjectRef};
use k8s_openapi::jiff::{SignedDuration, Timestamp};
use serde_json::Value;

/// When objects were first seen, so that "the oldest wins" means the same after every edit.
#[derive(Debug, Default)]
pub(crate) struct CreationTimes {
    times: HashMap<Arc<ObjectRef>, Timestamp>,
    /// The last time given out and the age of the file it came from.
    last: Option<(SystemTime, Timestamp)>,
    /// Those that were given one since they were asked for.
    recent: BTreeSet<Arc<ObjectRef>>,
}

impl CreationTimes {
    /// Writes `metadata.creationTimestamp` into a manifest that has none.
    pub(crate) fn give(&mut self, value: &mut Value, modified: SystemTime) {
        let Some(reference) = reference_of(value) else { return };
        let Some(Value::Object(metadata)) = value.get_mut("metadata") else { return };
        if metadata.get("creationTimestamp").is_some_and(|time| !time.is_null()) {
            return;
        }
        let time = self.of(reference, modified);
        metadata.insert("creationTimestamp".to_owned(), time.to_string().into());
    }

    /// The time of `reference`, new ones as old as their file but each later than the one before.
    pub(crate) fn of(&mut self, reference: ObjectRef, modified: SystemTime) -> Timestamp {
        if let Some(time) = self.times.get(&reference) {
            return *time;
        }
        let reference = Arc::new(reference);
        let mut time = Timestamp::try_from(modified).unwrap_or(Timestamp::UNIX_EPOCH);
        if let Some((file, last)) = self.last
            && file <= modified
            && time <= last
        {
            time = last.checked_add(SignedDuration::from_micros(1)).unwrap_or(last);
        }
        self.last = Some((modified, time));
        self.recent.insert(reference.clone());
        self.times.insert(reference, time);
        time
    }

    /// The objects that were given a time since this was asked the last time.
    pub(crate) fn take_recent(&mut self) -> BTreeSet<Arc<ObjectRef>> {
        std::mem::take(&mut self.recent)
    }

    /// The reference under which the time of an object is kept.
    pub(crate) fn key(&self, reference: &ObjectRef) -> Option<&Arc<ObjectRef>> {
        self.times.get_key_value(reference).map(|(key, _)| key)
    }

    /// Forgets an object that is not declared any more.
    pub(crate) fn forget(&mut self, reference: &ObjectRef) {
        self.times.remove(reference);
    }
}

/// What a manifest names, before it is admitted.
fn reference_of(value: &Value) -> Option<ObjectRef> {
    let text = |value: &Value, key: &str| Some(value.get(key)?.as_str()?.to_owned());
    let kind = Kind::find(&text(value, "apiVersion")?, &text(value, "kind")?)?;
    let metadata = value.get("metadata")?;
    let namespace = match text(metadata, "namespace") {
        _ if !kind.namespaced() => String::new(),
        Some(namespace) => namespace,
        None => "default".to_owned(),
    };
    Some(ObjectRef::new(kind, namespace, text(metadata, "name")?))
}
