//! What an object that was never valid would have governed.
//!
//! It is read from the manifest as it was written, not from what could be decoded of it, so that no
//! mistake elsewhere, and no number of them, hides it. Reading is lenient where the meaning is
//! beyond doubt (a field in other case or number, one reference where a list belongs) and gives up
//! otherwise: then everything the kind could govern is meant.

use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use crate::fields::{Step, known, resembles};
use crate::name::{Name, is_dns_name, is_namespace};
use crate::object::Kind;

/// What a broken object would have governed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reach {
    /// Exactly these: every reference could be read.
    Known(Vec<Target>),
    /// Some could not, so it may be whatever an object of its kind can govern from its namespace:
    ///
    /// - `RouteOption`: every route of its namespace;
    /// - `AuthorizationPolicy`, `RequestAuthentication`: every Service and Gateway of its namespace, and of the mesh's root namespace all;
    /// - `HTTPRoute`, `GRPCRoute`: every Service of its namespace, and whatever Gateways that admit it serve;
    /// - `Namespace`: every Service in it is meant for a waypoint that cannot be named;
    /// - `Service`: it alone is meant for such a waypoint;
    /// - `Gateway`: it may be of any class.
    Unknown,
}

/// One object that another refers to.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Target {
    /// API group, empty for core.
    pub group: String,
    /// Kind.
    pub kind: String,
    /// Namespace and name.
    pub name: Name,
    /// The part of it that is meant, a rule or a listener; the whole without it.
    pub section: Option<String>,
}

impl Target {
    /// An object of a kind we read, as a whole.
    pub fn of(kind: Kind, name: Name) -> Self {
        Self { group: kind.group().to_owned(), kind: kind.as_str().to_owned(), name, section: None }
    }
}

impl Reach {
    /// The targets, if they are known.
    pub fn known(&self) -> Option<&[Target]> {
        match self {
            Reach::Known(targets) => Some(targets),
            Reach::Unknown => None,
        }
    }

    /// Whether `target` may be among what is governed.
    pub fn may_govern(&self, target: &Target) -> bool {
        self.known().is_none_or(|targets| {
            targets.iter().any(|t| {
                (&t.group, &t.kind, &t.name) == (&target.group, &target.kind, &target.name)
                    && (t.section.is_none() || t.section == target.section)
            })
        })
    }
}

/// A manifest as it was written.
pub(crate) struct Raw<'a> {
    /// Its namespace and name.
    pub name: &'a Name,
    /// The whole manifest.
    pub document: &'a Map<String, Value>,
}

/// What stands under a name, or under others that resemble it.
enum Found<'a> {
    Nothing,
    Values(Vec<&'a Value>),
    /// There may be something, but it cannot be told what.
    Doubt,
}

impl<'a> Raw<'a> {
    /// The object itself, as a whole.
    pub fn itself(&self, kind: Kind) -> Reach {
        Reach::Known(vec![Target::of(kind, self.name.clone())])
    }

    /// The objects that the list `spec.<field>` of a `T` refers to, each of one of `kinds`.
    /// `default` is the kind of an entry that does not say.
    pub fn references<T: DeserializeOwned>(&self, field: &str, kinds: &[Kind], default: Option<Kind>) -> Reach {
        let values = match self.find::<T>(&["spec"], field) {
            Found::Nothing => return Reach::Known(Vec::new()),
            Found::Doubt => return Reach::Unknown,
            Found::Values(values) => values,
        };
        let mut targets = Vec::new();
        for value in values {
            let entries: &[Value] = match value {
                Value::Array(entries) => entries,
                Value::Object(_) => std::slice::from_ref(value),
                _ => return Reach::Unknown,
            };
            for entry in entries {
                let Some(target) = self.reference(entry, kinds, default) else { return Reach::Unknown };
                targets.push(target);
            }
        }
        // An empty list beside a field that nobody knows: that one may be the list.
        if targets.is_empty() && (self.has_unknown::<T>(&[]) || self.has_unknown::<T>(&["spec"])) {
            return Reach::Unknown;
        }
        Reach::Known(targets)
    }

    /// What stands under `field` of the mapping at `path`.
    fn find<T: DeserializeOwned>(&self, path: &[&str], field: &str) -> Found<'a> {
        let mut at = self.document;
        let mut walked: Vec<&str> = Vec::new();
        for key in path {
            match at.get(*key).filter(|value| !value.is_null()) {
                Some(Value::Object(inner)) => at = inner,
                Some(_) => return Found::Doubt,
                // Without it nothing says that there was no reference: the manifest may have been cut off.
                None => return Found::Doubt,
            }
            // A second one beside it that only looks alike may be the one that is meant.
            if self.document_at(&walked).is_some_and(|map| map.keys().any(|k| k != key && resembles(k, key))) {
                return Found::Doubt;
            }
            walked.push(key);
        }
        let values: Vec<&Value> = at
            .iter()
            .filter(|(key, value)| resembles(key, field) && !value.is_null())
            .map(|(_, value)| value)
            .collect();
        if !values.is_empty() {
            Found::Values(values)
        } else if [&[], path, &["metadata"]].iter().any(|at| self.has_unknown::<T>(at)) || self.is_misplaced(field) {
            Found::Doubt
        } else {
            Found::Nothing
        }
    }

    fn document_at(&self, path: &[&str]) -> Option<&'a Map<String, Value>> {
        let mut at = self.document;
        for key in path {
            at = at.get(*key)?.as_object()?;
        }
        Some(at)
    }

    /// Whether the mapping at `path` has fields that the kind does not have there.
    fn has_unknown<T: DeserializeOwned>(&self, path: &[&str]) -> bool {
        let steps: Vec<Step> = path.iter().map(|key| Step::Key((*key).to_owned())).collect();
        let known = known::<T>(&steps).unwrap_or_default();
        let everywhere: &[&str] = if path.is_empty() { &["apiVersion", "kind", "metadata", "status"] } else { &[] };
        self.document_at(path).is_some_and(|map| {
            map.keys().any(|key| !known.contains(&key.as_str()) && !everywhere.contains(&key.as_str()))
        })
    }

    /// Whether something that resembles `field` stands anywhere, outside of the metadata.
    fn is_misplaced(&self, field: &str) -> bool {
        fn within(value: &Value, field: &str) -> bool {
            match value {
                Value::Array(items) => items.iter().any(|item| within(item, field)),
                Value::Object(map) => map.iter().any(|(key, value)| resembles(key, field) || within(value, field)),
                _ => false,
            }
        }
        self.document.iter().any(|(key, value)| key != "metadata" && (resembles(key, field) || within(value, field)))
    }

    /// One entry of a list of references.
    fn reference(&self, entry: &Value, kinds: &[Kind], default: Option<Kind>) -> Option<Target> {
        let entry = entry.as_object()?;
        let text = |field: &str| match entry.get(field) {
            // Beside a field that resembles it, one that is absent is not just left out.
            None | Some(Value::Null) if entry.keys().any(|key| key != field && resembles(key, field)) => None,
            None | Some(Value::Null) => Some(None),
            Some(Value::String(text)) => Some(Some(text.as_str())),
            Some(_) => None,
        };
        let (group, kind, namespace) = (text("group")?, text("kind")?, text("namespace")?);
        let name = text("name")?.filter(|name| is_dns_name(name))?;
        let (group, kind) = (group.or(default.map(Kind::group))?, kind.or(default.map(Kind::as_str))?);
        let kind = kinds.iter().find(|known| (known.group(), known.as_str()) == (group, kind))?;
        let namespace = namespace.filter(|namespace| !namespace.is_empty()).unwrap_or(&self.name.namespace);
        if !is_namespace(namespace) {
            return None;
        }
        let section = ["sectionName", "section_name"].iter().find_map(|field| entry.get(*field)?.as_str());
        let section = section.filter(|section| !section.is_empty()).map(str::to_owned);
        Some(Target { section, ..Target::of(*kind, Name::new(namespace, name)) })
    }

    /// The labels: none if there are none, an error if they cannot be read or may stand elsewhere.
    pub fn labels<T: DeserializeOwned>(&self) -> Result<Option<&'a Map<String, Value>>, ()> {
        let metadata = self.document.get("metadata").and_then(Value::as_object).ok_or(())?;
        match metadata.get("labels") {
            Some(Value::Object(labels)) => Ok(Some(labels)),
            None | Some(Value::Null) => {
                let elsewhere =
                    self.has_unknown::<T>(&["metadata"]) || self.has_unknown::<T>(&[]) || self.is_misplaced("labels");
                if elsewhere { Err(()) } else { Ok(None) }
            }
            Some(_) => Err(()),
        }
    }
}
