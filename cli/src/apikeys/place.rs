//! Where keys are kept: a folder of manifests, or a cluster.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use anyhow::{Context as _, bail, ensure};
use api::secret::{API_KEY_SECRET, ApiKey, EXPIRES, KeyFlaw, expires, expires_label, wipe};
use api::{Fingerprint, Kind, Name, ObjectRef, Reader, Secret, Snapshot};
use kubernetes::client::Client;
use kubernetes::once;
use provider::folder::{FolderSettings, load_as};
use serde::Deserialize as _;
use serde_json::{Value, json};
use zeroize::Zeroizing;

use super::secret::{fingerprint, key_of, why, with_document, without_document};
use crate::ask::encode;
use crate::cluster::list_path;

/// Where keys are kept.
#[derive(Debug)]
pub enum Place {
    /// In a folder of manifests.
    Folder(PathBuf),
    /// On an API server.
    Cluster(Box<Client>),
}

/// A key that is there.
#[derive(Debug, Clone)]
pub struct Held {
    /// Its Secret.
    pub name: Name,
    /// The labels of that.
    pub labels: BTreeMap<String, String>,
    /// The names of its other entries.
    pub entries: Vec<String>,
    /// How it is told from others; none if it cannot be read.
    pub fingerprint: Option<String>,
    /// Why no request can hold it.
    pub flaw: Option<KeyFlaw>,
    /// The AuthConfigs that accept it.
    pub accepted_by: Vec<Name>,
    /// To compare keys by.
    pub key: Option<Fingerprint>,
    at: Where,
}

#[derive(Debug, Clone)]
enum Where {
    /// The document of this number in a file.
    File(PathBuf, usize),
    /// The object of this uid.
    Object(String),
}

impl Held {
    /// Whether it is this key.
    pub fn is(&self, key: &str) -> bool {
        self.key.is_some_and(|known| known == Fingerprint::of(key.as_bytes()))
    }

    /// Until when it is good, if that is said and can be read.
    pub fn expires(&self) -> Option<SystemTime> {
        self.labels.get(EXPIRES).and_then(|label| expires(label))
    }

    /// Why nobody accepts it at the time `now`, whatever AuthConfigs say.
    pub fn unusable(&self, now: SystemTime) -> Option<&'static str> {
        let unread = self.labels.contains_key(EXPIRES) && self.expires().is_none();
        match self.flaw.map(why) {
            None if unread => Some("its time cannot be read"),
            None => self.expires().is_some_and(|until| now >= until).then_some("it has expired"),
            flaw => flaw,
        }
    }

    fn of(secret: &Secret, snapshot: &Snapshot, manifest: Option<&Value>, at: Where) -> Self {
        let name = Name::new(&*secret.metadata.namespace, &*secret.metadata.name);
        let labels = secret.metadata.labels().map(|(key, value)| (key.to_owned(), value.to_owned())).collect();
        Held {
            labels,
            entries: secret.data.keys().map(ToString::to_string).collect(),
            fingerprint: manifest.and_then(key_of).map(|key| fingerprint(&key)),
            flaw: secret.key.and_then(|key: ApiKey| key.flaw),
            accepted_by: accepted_by(secret, &name, snapshot),
            key: secret.key.map(|key| key.fingerprint),
            name,
            at,
        }
    }
}

/// The AuthConfigs that select or name `secret`.
fn accepted_by(secret: &Secret, name: &Name, snapshot: &Snapshot) -> Vec<Name> {
    let accepts = |of: &Name, step: &api::gloo::auth_config::Config| {
        let Some(source) = step.api_key_auth.as_ref().map(|auth| auth.source()) else { return false };
        let labels = source.label_selector;
        let labelled =
            !labels.is_empty() && labels.iter().all(|(key, value)| secret.metadata.label(key) == Some(&**value));
        labelled || source.secret_refs.iter().any(|reference| reference.resolve(&of.namespace) == *name)
    };
    let all = snapshot.auth_configs.iter();
    all.filter(|(of, config)| config.spec.configs.iter().any(|step| accepts(of, step)))
        .map(|(of, _)| Name::clone(of))
        .collect()
}

impl Place {
    /// All keys.
    ///
    /// # Errors
    /// When they cannot be read.
    pub async fn all(&self) -> anyhow::Result<Vec<Held>> {
        match self {
            Place::Folder(folder) => in_folder(folder),
            Place::Cluster(client) => in_cluster(client).await,
        }
    }

    /// Adds the Secret `name`.
    ///
    /// # Errors
    /// When it is there already, or cannot be added.
    pub async fn create(&self, name: &Name, manifest: &Value) -> anyhow::Result<()> {
        match self {
            Place::Folder(folder) => {
                ensure!(
                    in_folder(folder)?.iter().all(|held| held.name != *name),
                    "Secret {name} is in {} already",
                    folder.display()
                );
                let file = folder.join(format!("{}.{}.yaml", name.namespace, name.name));
                let what = || format!("writing {}", file.display());
                let text = serde_norway::to_string(manifest)?;
                let mut new = fs::File::options().write(true).create_new(true).open(&file).with_context(what)?;
                new.write_all(text.as_bytes()).with_context(what)
            }
            Place::Cluster(client) => {
                let path = list_path(Kind::Secret, "v1", &name.namespace);
                client.create(&path, manifest).await.map(drop).with_context(|| format!("making Secret {name}"))
            }
        }
    }

    /// The manifest of a Secret.
    ///
    /// # Errors
    /// When it cannot be read.
    pub async fn manifest(&self, held: &Held) -> anyhow::Result<Value> {
        match (self, &held.at) {
            (_, Where::File(file, document)) => {
                let text = fs::read_to_string(file).with_context(|| format!("reading {}", file.display()))?;
                alone(&text, *document, held)
            }
            (Place::Cluster(client), Where::Object(_)) => Ok(client.get(&path(&held.name)).await?),
            (Place::Folder(_), Where::Object(_)) => bail!("it is in no file"),
        }
    }

    /// Has a key end at the time `end`. Of the file in which its Secret stands, that document is written anew.
    ///
    /// # Errors
    /// When it is not as it was, or cannot be changed.
    pub async fn expire(&self, held: &Held, end: SystemTime) -> anyhow::Result<()> {
        let label = expires_label(end);
        match (self, &held.at) {
            (_, Where::File(file, document)) => {
                let what = || format!("changing {}", file.display());
                let text = Zeroizing::new(fs::read_to_string(file).with_context(what)?);
                let mut manifest = alone(&text, *document, held)?;
                manifest["metadata"]["labels"][EXPIRES] = label.into();
                let document = with_document(&text, *document, &serde_norway::to_string(&manifest)?);
                wipe(&mut manifest);
                replace(file, &document).with_context(what)
            }
            (Place::Cluster(client), Where::Object(uid)) => {
                let patch = json!({"metadata": {"uid": uid, "labels": {EXPIRES: label}}});
                Ok(client.merge(&path(&held.name), &patch).await.map(drop)?)
            }
            (Place::Folder(_), Where::Object(_)) => bail!("it is in no file"),
        }
    }

    /// Takes a Secret away.
    ///
    /// # Errors
    /// When it is not as it was, or cannot be taken away.
    pub async fn delete(&self, held: &Held) -> anyhow::Result<()> {
        match (self, &held.at) {
            (_, Where::File(file, document)) => {
                let what = || format!("changing {}", file.display());
                let text = fs::read_to_string(file).with_context(what)?;
                wipe(&mut alone(&text, *document, held)?);
                match without_document(&text, *document) {
                    None => fs::remove_file(file).with_context(what),
                    Some(rest) => replace(file, &rest).with_context(what),
                }
            }
            (Place::Cluster(client), Where::Object(uid)) => Ok(client.delete(&path(&held.name), uid).await?),
            (Place::Folder(_), Where::Object(_)) => bail!("it is in no file"),
        }
    }
}

fn path(name: &Name) -> String {
    format!("{}/{}", list_path(Kind::Secret, "v1", &name.namespace), encode(&name.name))
}

/// The document of `text` that is the Secret `held`, and nothing else.
fn alone(text: &str, document: usize, held: &Held) -> anyhow::Result<Value> {
    let found = documents(text)?.into_iter().nth(document - 1).unwrap_or_default();
    let is_it = found["kind"] == "Secret" && found["metadata"]["name"] == held.name.name.as_str();
    ensure!(is_it, "it stands in a list with others: change that by hand");
    Ok(found)
}

fn documents(text: &str) -> anyhow::Result<Vec<Value>> {
    let all = serde_norway::Deserializer::from_str(text).map(Value::deserialize);
    // A reader's words repeat what it has read.
    let all: Result<Vec<Value>, _> = all.collect();
    all.map_err(|_| anyhow::anyhow!("it is no YAML"))
}

/// Replaces a file in one step.
fn replace(file: &Path, text: &str) -> anyhow::Result<()> {
    let folder = file.parent().context("a file without a folder")?;
    let mut new = tempfile::Builder::new().prefix(".").tempfile_in(folder)?;
    new.write_all(text.as_bytes())?;
    new.as_file().set_permissions(fs::metadata(file)?.permissions())?;
    new.persist(file)?;
    Ok(())
}

fn in_folder(folder: &Path) -> anyhow::Result<Vec<Held>> {
    let loaded = load_as(&[folder.to_owned()], FolderSettings { log_mistakes: false, ..FolderSettings::default() });
    let mut files: BTreeMap<PathBuf, Vec<Value>> = BTreeMap::new();
    let mut found = Vec::new();
    for secret in loaded.snapshot.secrets.values().filter(|secret| secret.kind == API_KEY_SECRET) {
        let object = ObjectRef::new(Kind::Secret, &*secret.metadata.namespace, &*secret.metadata.name);
        let Some(origin) = loaded.origins.get(&object) else { continue };
        let path = origin.path.to_path_buf();
        if !files.contains_key(&path) {
            let text = fs::read_to_string(&path).with_context(|| format!("reading {}", path.display()))?;
            files.insert(path.clone(), documents(&text).unwrap_or_default());
        }
        let manifest = files.get(&path).and_then(|all| all.get(origin.document.checked_sub(1)?));
        found.push(Held::of(secret, &loaded.snapshot, manifest, Where::File(path, origin.document)));
    }
    files.values_mut().flatten().for_each(wipe);
    Ok(found)
}

async fn in_cluster(client: &Client) -> anyhow::Result<Vec<Held>> {
    let snapshot = once::read(client, Reader::Authorization).await?;
    let query = format!("fieldSelector=type%3D{}", encode(API_KEY_SECRET));
    let mut listed = client.list("/api/v1/secrets", &query).await.context("listing Secrets")?;
    let mut found = Vec::new();
    for manifest in &listed {
        let text = |field: &str| manifest["metadata"][field].as_str().unwrap_or_default();
        let name = Name::new(text("namespace"), text("name"));
        if let Some(secret) = snapshot.secrets.get(&name) {
            found.push(Held::of(secret, &snapshot, Some(manifest), Where::Object(text("uid").to_owned())));
        }
    }
    listed.iter_mut().for_each(wipe);
    Ok(found)
}
