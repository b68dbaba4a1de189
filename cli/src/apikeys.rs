//! `waykeeper apikey`: keys of people and programs, as the Secrets in which extauth finds them, in a folder or a cluster.
//!
//! A key is printed once, when it is made. Afterwards only its fingerprint is shown, of which nobody makes the key.
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "printing is what these commands are for")]

mod place;
mod secret;

use std::collections::BTreeMap;
use std::io::Read as _;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, SystemTime};

use anyhow::{Context as _, bail, ensure};
use api::Name;
use api::secret::{ApiKey, EXPIRES, expires, expires_label, wipe};
use clap::{Args, Subcommand};
use serde_json::{Value, json};
use zeroize::Zeroizing;

use self::place::{Held, Place};
use self::secret::{fingerprint, generate, manifest, successor, why};
use crate::cluster::{ClusterArgs, span};
use crate::format::{Format, print};
use crate::table::table;

/// The longest key that is read: Envoy takes no longer headers.
const LONGEST_KEY: u64 = 8 << 10;

/// `waykeeper apikey`.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Make a key, and print it: this once
    Create(Box<Create>),
    /// List keys: their labels, fingerprints, and the AuthConfigs that accept them
    List(Box<List>),
    /// Make a key that takes the place of another; both are good until that one is revoked
    Rotate(Box<Rotate>),
    /// Revoke keys by the names of their Secrets
    Revoke(Box<Revoke>),
    /// Say who accepts a key: exit 1 when nobody does
    Verify(Box<Verify>),
}

/// Where keys are.
#[derive(Debug, Args)]
struct At {
    /// In this folder of manifests instead of a cluster
    #[arg(short = 'd', long, value_name = "FOLDER", conflicts_with_all = ["kubeconfig", "context"])]
    dir: Option<PathBuf>,
    #[command(flatten)]
    cluster: ClusterArgs,
}

/// `waykeeper apikey create`.
#[derive(Debug, Args)]
pub struct Create {
    /// The name of its Secret
    name: String,
    /// A label, by which AuthConfigs select it
    #[arg(short = 'l', long = "label", value_name = "KEY=VALUE", value_delimiter = ',', value_parser = pair)]
    labels: Vec<(String, String)>,
    /// An entry of the Secret, of which an AuthConfig may make a header (headersFromMetadata)
    #[arg(short = 's', long = "set", value_name = "ENTRY=VALUE", value_parser = pair)]
    entries: Vec<(String, String)>,
    /// Until when it is good: a span such as 90d or 12h, or a time such as 2027-01-31 [default: for ever]
    #[arg(long, value_name = "WHEN", value_parser = until)]
    expires: Option<SystemTime>,
    /// How many random bytes it has
    #[arg(long, default_value_t = 32, value_parser = clap::value_parser!(u16).range(16..=1024), value_name = "N")]
    bytes: u16,
    /// Take the key from this file, or - for standard input, instead of making one
    #[arg(long, value_name = "FILE", conflicts_with = "bytes")]
    key_file: Option<PathBuf>,
    /// Print the Secret, key and all, and keep nothing
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    at: At,
}

/// `waykeeper apikey list`.
#[derive(Debug, Args)]
pub struct List {
    /// Of all namespaces
    #[arg(short = 'A', long)]
    all_namespaces: bool,
    /// Only those with this label
    #[arg(short = 'l', long = "label", value_name = "KEY=VALUE", value_delimiter = ',', value_parser = pair)]
    labels: Vec<(String, String)>,
    /// How to print them
    #[arg(short = 'o', long, env = "WAYKEEPER_OUTPUT", value_enum, default_value_t = Format::Table, value_name = "HOW")]
    output: Format,
    #[command(flatten)]
    at: At,
}

/// `waykeeper apikey rotate`.
#[derive(Debug, Args)]
pub struct Rotate {
    /// The name of the Secret whose key is to be replaced
    name: String,
    /// Have the old key end by itself after this time, such as 24h
    #[arg(long, value_name = "TIME", value_parser = until)]
    grace: Option<SystemTime>,
    /// Until when the new one is good [default: for ever]
    #[arg(long, value_name = "WHEN", value_parser = until)]
    expires: Option<SystemTime>,
    /// How many random bytes the new one has
    #[arg(long, default_value_t = 32, value_parser = clap::value_parser!(u16).range(16..=1024), value_name = "N")]
    bytes: u16,
    #[command(flatten)]
    at: At,
}

/// `waykeeper apikey revoke`.
#[derive(Debug, Args)]
pub struct Revoke {
    /// The names of their Secrets
    #[arg(required = true)]
    names: Vec<String>,
    #[command(flatten)]
    at: At,
}

/// `waykeeper apikey verify`.
#[derive(Debug, Args)]
pub struct Verify {
    /// The file with the key, or - for standard input
    #[arg(long, default_value = "-", value_name = "FILE")]
    key_file: PathBuf,
    #[command(flatten)]
    at: At,
}

/// Runs it.
///
/// # Errors
/// When the keys cannot be read or changed as asked.
pub async fn run(command: Command) -> anyhow::Result<ExitCode> {
    match command {
        Command::Create(args) => create(*args).await,
        Command::List(args) => list(*args).await,
        Command::Rotate(args) => rotate(*args).await,
        Command::Revoke(args) => revoke(*args).await,
        Command::Verify(args) => verify(*args).await,
    }
}

async fn create(args: Create) -> anyhow::Result<ExitCode> {
    let given = args.key_file.is_some();
    let key = match &args.key_file {
        Some(file) => read(file)?,
        None => generate(args.bytes.into()),
    };
    if let Some(flaw) = ApiKey::of(key.as_bytes()).flaw {
        bail!("no request can hold this key: {}", why(flaw));
    }
    let (place, namespace) = args.at.open().await?;
    let name = Name::new(namespace, args.name);
    let once = |pairs: Vec<(String, String)>, what: &str| -> anyhow::Result<BTreeMap<String, String>> {
        let all = pairs.len();
        let map: BTreeMap<String, String> = pairs.into_iter().collect();
        ensure!(map.len() == all, "a {what} is given twice");
        Ok(map)
    };
    let mut labels = once(args.labels, "label")?;
    labels.extend(args.expires.map(|until| (EXPIRES.to_owned(), expires_label(until))));
    let manifest = manifest(&name, &labels, &once(args.entries, "entry")?, &key)?;
    if args.dry_run {
        print!("{}", serde_norway::to_string(&manifest)?);
        return Ok(ExitCode::SUCCESS);
    }
    let known = place.all().await?;
    if let Some(twin) = known.iter().find(|held| held.is(&key)) {
        bail!("Secret {} has this key already: whose requests they are could not be told apart", twin.name);
    }
    place.create(&name, &manifest).await?;
    tell(&place, &name).await;
    if !given {
        println!("{}", *key);
    }
    Ok(ExitCode::SUCCESS)
}

/// Says who accepts the key `name`, now that it is there. That it is there is true whether this can be found out or not.
async fn tell(place: &Place, name: &Name) {
    let held = place.all().await.ok().and_then(|all| all.into_iter().find(|held| held.name == *name));
    match held.map(|held| held.accepted_by) {
        None => eprintln!("Secret {name} is there"),
        Some(by) if by.is_empty() => {
            eprintln!("Secret {name} is there; no AuthConfig accepts its key: none selects its labels or names it");
        }
        Some(by) => eprintln!("Secret {name} is there; its key is accepted by AuthConfig {}", names(&by)),
    }
}

async fn list(args: List) -> anyhow::Result<ExitCode> {
    let (place, namespace) = args.at.open().await?;
    // In a folder people seldom say which.
    let one = !args.all_namespaces && (args.at.dir.is_none() || args.at.cluster.namespace.is_some());
    let mut found = place.all().await?;
    found.retain(|held| !one || held.name.namespace == namespace);
    found.retain(|held| args.labels.iter().all(|(key, value)| held.labels.get(key) == Some(value)));
    match args.output {
        Format::Json | Format::Yaml => print(&found.iter().map(shown).collect(), args.output)?,
        Format::Name => found.iter().for_each(|held| println!("secret/{}", held.name.name)),
        Format::Table if found.is_empty() => eprintln!("no API keys"),
        Format::Table => {
            let dash = |text: String| if text.is_empty() { "-".to_owned() } else { text };
            let labels = |held: &Held| {
                let shown = held.labels.iter().filter(|(key, _)| *key != EXPIRES);
                dash(shown.map(|(key, value)| format!("{key}={value}")).collect::<Vec<_>>().join(","))
            };
            let accepted = |held: &Held| match held.unusable(SystemTime::now()) {
                Some(why) => format!("nobody: {why}"),
                None => dash(names(&held.accepted_by)),
            };
            let row = |held: &Held| {
                let (namespace, name) = (held.name.namespace.clone(), held.name.name.clone());
                let known = dash(held.fingerprint.clone().unwrap_or_default());
                let expires = dash(held.labels.get(EXPIRES).cloned().unwrap_or_default());
                vec![namespace, name, known, expires, labels(held), dash(held.entries.join(",")), accepted(held)]
            };
            let rows: Vec<Vec<String>> = found.iter().map(row).collect();
            let header = ["NAMESPACE", "NAME", "FINGERPRINT", "EXPIRES", "LABELS", "ENTRIES", "ACCEPTED BY"];
            print!("{}", table(&header, &rows));
        }
    }
    Ok(ExitCode::SUCCESS)
}

async fn rotate(args: Rotate) -> anyhow::Result<ExitCode> {
    let (place, namespace) = args.at.open().await?;
    let old = Name::new(namespace, args.name);
    let held = find(place.all().await?, &old)?;
    let key = generate(args.bytes.into());
    let new = Name::new(old.namespace.as_str(), successor(&old.name, &fingerprint(key.as_bytes())));
    let mut source = place.manifest(&held).await?;
    let made = secret::rotated(&source, &old, &new, &key, args.expires);
    wipe(&mut source);
    place.create(&new, &made?).await?;
    tell(&place, &new).await;
    match args.grace {
        Some(end) => {
            // One that ends before goes on to do so.
            let end = held.expires().map_or(end, |known| known.min(end));
            let words = || format!("{new} is there; the key of {old} does not end by itself");
            place.expire(&held, end).await.with_context(words)?;
            eprintln!("the key of Secret {old} is good as well until {}", time(end));
        }
        None => eprintln!("the key of Secret {old} is good as well until it is revoked"),
    }
    println!("{}", *key);
    Ok(ExitCode::SUCCESS)
}

async fn revoke(args: Revoke) -> anyhow::Result<ExitCode> {
    let (place, namespace) = args.at.open().await?;
    // All of them are there, or none is revoked.
    let all = place.all().await?;
    let wanted = args.names.iter().map(|name| find(all.clone(), &Name::new(namespace.as_str(), name.as_str())));
    for held in wanted.collect::<anyhow::Result<Vec<_>>>()? {
        place.delete(&held).await.with_context(|| format!("revoking {}", held.name))?;
        let known = held.fingerprint.map(|known| format!(" ({known})")).unwrap_or_default();
        let left =
            place.all().await.with_context(|| format!("{}{known} is gone; looking at what is left", held.name))?;
        if let Some(again) = left.iter().find(|one| one.name == held.name) {
            bail!("Secret {} is declared in another place as well, which counts now: revoke it again", again.name);
        }
        let twins: Vec<String> =
            left.iter().filter(|one| one.key == held.key).map(|one| one.name.to_string()).collect();
        if !twins.is_empty() {
            bail!("{}{known} is gone, but Secret {} has the same key", held.name, twins.join(", "));
        }
        println!("{}{known} is revoked", held.name);
    }
    Ok(ExitCode::SUCCESS)
}

async fn verify(args: Verify) -> anyhow::Result<ExitCode> {
    let key = read(&args.key_file)?;
    let (place, _) = args.at.open().await?;
    let mut found = place.all().await?;
    found.retain(|held| held.is(&key));
    if found.is_empty() {
        println!("{} is the key of no Secret", fingerprint(key.as_bytes()));
        return Ok(ExitCode::FAILURE);
    }
    let mut accepted = false;
    for held in &found {
        let known = fingerprint(key.as_bytes());
        match (held.unusable(SystemTime::now()), names(&held.accepted_by)) {
            (Some(why), _) => println!("{known} is the key of Secret {}, and accepted by nobody: {why}", held.name),
            (None, by) if by.is_empty() => {
                println!("{known} is the key of Secret {}, which no AuthConfig selects or names", held.name);
            }
            (None, by) => {
                accepted = true;
                println!("{known} is the key of Secret {}, and accepted by AuthConfig {by}", held.name);
            }
        }
    }
    Ok(if accepted { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

impl At {
    /// The place, and the namespace that is meant.
    async fn open(&self) -> anyhow::Result<(Place, String)> {
        match &self.dir {
            Some(dir) => {
                ensure!(dir.is_dir(), "{} is no folder", dir.display());
                let namespace = self.cluster.namespace.clone().unwrap_or_else(|| "default".to_owned());
                Ok((Place::Folder(dir.clone()), namespace))
            }
            None => {
                let (client, namespace) = self.cluster.open().await?;
                Ok((Place::Cluster(Box::new(client)), namespace))
            }
        }
    }
}

fn find(all: Vec<Held>, name: &Name) -> anyhow::Result<Held> {
    let known: Vec<String> = all.iter().map(|held| held.name.name.clone()).collect();
    if let Some(held) = all.into_iter().find(|held| held.name == *name) {
        return Ok(held);
    }
    let near = provider::findings::did_you_mean(&name.name, known.iter().map(String::as_str));
    let near = near.map(|near| format!("; did you mean {near}?")).unwrap_or_default();
    bail!("there is no Secret {name} with an API key{near}")
}

/// A key from a file or standard input, without the line break at its end that files and `echo` have.
fn read(file: &std::path::Path) -> anyhow::Result<Zeroizing<String>> {
    let mut text = Zeroizing::new(String::new());
    let what = || format!("reading a key from {}", file.display());
    if file.as_os_str() == "-" {
        std::io::stdin().lock().take(LONGEST_KEY + 1).read_to_string(&mut text).with_context(what)?;
    } else {
        std::fs::File::open(file)
            .and_then(|file| file.take(LONGEST_KEY + 1).read_to_string(&mut text))
            .with_context(what)?;
    }
    ensure!(text.len() as u64 <= LONGEST_KEY, "{}: longer than {LONGEST_KEY} bytes", what());
    let end = text.trim_end_matches(['\r', '\n']).len();
    text.truncate(end);
    Ok(text)
}

/// A time from a span from now, or as it is written.
fn until(text: &str) -> Result<SystemTime, String> {
    if let Some(time) = expires(text).or_else(|| expires(&text.replace(':', "."))) {
        return Ok(time);
    }
    let days = text.strip_suffix('d').and_then(|days| days.parse::<u32>().ok());
    let span = match days {
        Some(0) => Err("a span of no time".to_owned()),
        Some(days) => Ok(Duration::from_secs(u64::from(days) * 24 * 3600)),
        None => span(text).map_err(|_| "write a span such as 90d or 12h, or a time such as 2027-01-31".to_owned()),
    };
    // Labels say whole seconds.
    let end = SystemTime::now().checked_add(span?).ok_or("too far away")?;
    expires(&expires_label(end)).ok_or_else(|| "too far away".to_owned())
}

/// A time for people.
fn time(time: SystemTime) -> String {
    let label = expires_label(time);
    label.split_once('T').map_or(label.clone(), |(date, time)| format!("{date}T{}", time.replace('.', ":")))
}

fn names(all: &[Name]) -> String {
    all.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

/// For programs.
fn shown(held: &Held) -> Value {
    json!({
        "namespace": held.name.namespace, "name": held.name.name, "fingerprint": held.fingerprint,
        "labels": held.labels, "entries": held.entries, "expires": held.expires().map(time),
        "acceptedBy": held.accepted_by.iter().map(ToString::to_string).collect::<Vec<_>>(),
    })
}

fn pair(text: &str) -> Result<(String, String), String> {
    let (key, value) = text.split_once('=').ok_or("write KEY=VALUE")?;
    if key.is_empty() { Err("write KEY=VALUE".to_owned()) } else { Ok((key.to_owned(), value.to_owned())) }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn a_time_is_a_span_from_now_or_a_time() {
        let day = Duration::from_secs(24 * 3600);
        for (text, span) in [("90d", day * 90), ("24h", day), ("1m30s", Duration::from_secs(90))] {
            let (before, end) = (SystemTime::now(), until(text).unwrap());
            assert!(end + Duration::from_secs(1) > before + span && end <= SystemTime::now() + span, "{text}");
        }
        assert_eq!(time(until("2027-01-31").unwrap()), "2027-01-31T00:00:00Z");
        assert_eq!(time(until("2027-01-31T18:30:05Z").unwrap()), "2027-01-31T18:30:05Z");
        for wrong in ["", "0d", "d", "-1d", "soon", "2027-02-30", "90", "4294967295d", "99999999999999d"] {
            assert!(until(wrong).is_err(), "{wrong}");
        }
    }
}
