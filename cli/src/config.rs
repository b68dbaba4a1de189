//! `waykeeper config`: what Envoys are configured with by what a cluster or a folder declares, and what other manifests
//! would change in it.
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "printing is what these commands are for")]

mod changes;
mod tried;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context as _, bail};
use api::{Kind, Name, ObjectRef, Reader, Snapshot};
use clap::{Args, Subcommand, ValueEnum};
use kubernetes::once;
use proto::{ResourceSet, ResourceType};
use provider::folder::{FolderSettings, Loaded, load_as};
use serde::Deserialize as _;
use serde_json::{Value, json};
use waypoint::classes::ClassArgs;
use waypoint_translate::{GatewayOutput, Settings, Translation, translate};

use crate::cluster::ClusterArgs;
use crate::format::Format;

/// The exit code of `diff` when it cannot tell, as `kubectl diff` has it: 1 says that something would change.
const CANNOT_TELL: u8 = 2;

/// `waykeeper config`.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Print what the Envoys of Gateways are configured with, by a cluster or by files
    Dump(Box<Dump>),
    /// Say what manifests would change: exit 0 when nothing, 1 when something, 2 when that cannot be told
    Diff(Box<Diff>),
}

/// `waykeeper config dump`.
#[derive(Debug, Args)]
pub struct Dump {
    /// One Gateway by its name [default: all]
    gateway: Option<String>,
    /// Of these files or folders instead of a cluster
    #[arg(short = 'f', long = "file", value_name = "PATH", conflicts_with_all = ["kubeconfig", "context"])]
    files: Vec<PathBuf>,
    /// Only resources of this type
    #[arg(long = "type", value_enum, value_name = "TYPE")]
    kind: Option<Type>,
    /// How to print it
    #[arg(short = 'o', long, env = "WAYKEEPER_OUTPUT", value_enum, default_value_t = Format::Yaml, value_name = "HOW")]
    output: Format,
    #[command(flatten)]
    classes: ClassArgs,
    #[command(flatten)]
    cluster: ClusterArgs,
}

/// `waykeeper config diff`.
#[derive(Debug, Args)]
pub struct Diff {
    /// The manifests: files or folders, as if they were applied to the cluster
    #[arg(short = 'f', long = "file", value_name = "PATH", required = true)]
    files: Vec<PathBuf>,
    /// These files or folders in place of a cluster; the others are then all there is
    #[arg(long, value_name = "PATH", conflicts_with_all = ["kubeconfig", "context"])]
    from: Vec<PathBuf>,
    #[command(flatten)]
    classes: ClassArgs,
    #[command(flatten)]
    cluster: ClusterArgs,
}

/// A type of resources, as it is written on the command line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Type {
    /// Where requests go.
    Cluster,
    /// At which addresses.
    Endpoint,
    /// The routes of one address and port.
    Scope,
    /// Where Envoy listens, and its filters.
    Listener,
    /// Filters of one Service.
    FilterChain,
    /// A table of routes by itself.
    Route,
}

impl Type {
    fn is(self, kind: ResourceType) -> bool {
        let own = match self {
            Type::Cluster => ResourceType::Cluster,
            Type::Endpoint => ResourceType::Endpoint,
            Type::Scope => ResourceType::Scope,
            Type::Listener => ResourceType::Listener,
            Type::FilterChain => ResourceType::FilterChain,
            Type::Route => ResourceType::Route,
        };
        own == kind
    }
}

/// Runs one of them.
///
/// # Errors
/// When what is declared cannot be read; `diff` says so by itself.
pub fn run(command: Command, runtime: &tokio::runtime::Runtime) -> anyhow::Result<ExitCode> {
    match command {
        Command::Dump(args) => runtime.block_on(dump(&args)),
        Command::Diff(args) => Ok(runtime.block_on(diff(&args)).unwrap_or_else(|error| {
            eprintln!("waykeeper: {error:#}");
            ExitCode::from(CANNOT_TELL)
        })),
    }
}

async fn dump(args: &Dump) -> anyhow::Result<ExitCode> {
    let (snapshot, namespace) = if args.files.is_empty() {
        let (client, namespace) = args.cluster.open().await?;
        let one = args.gateway.is_some() || args.cluster.namespace.is_some();
        (once::read(&client, Reader::ControlPlane).await?, one.then_some(namespace))
    } else {
        let one = args.gateway.as_ref().map(|_| "default".to_owned());
        (files(&args.files, true)?.snapshot, args.cluster.namespace.clone().or(one))
    };
    let translation = translated(&snapshot, &args.classes);
    let wanted = |name: &Name| {
        namespace.as_ref().is_none_or(|namespace| name.namespace == *namespace)
            && args.gateway.as_ref().is_none_or(|gateway| name.name == *gateway)
    };
    let gateways: Vec<(&Name, &GatewayOutput)> = translation.gateways.iter().filter(|(name, _)| wanted(name)).collect();
    if gateways.is_empty() {
        let known: Vec<String> = translation.gateways.keys().map(ToString::to_string).collect();
        let known = if known.is_empty() { "none is".to_owned() } else { format!("these are: {}", known.join(", ")) };
        eprintln!("no Gateway of that name and namespace is served; {known}");
        return Ok(ExitCode::FAILURE);
    }
    match args.output {
        Format::Name => {
            for (gateway, output) in &gateways {
                print!("{}", named(gateway, output, args.kind));
            }
        }
        other => {
            let all: Vec<Value> =
                gateways.iter().map(|(gateway, output)| written(gateway, output, args.kind)).collect();
            match other {
                Format::Json => println!("{:#}", json!(all)),
                _ => print!("{}", proto::yaml::to_yaml(&json!(all))),
            }
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// The resources of all Gateways by name, a line for each.
pub fn names(translation: &Translation) -> String {
    translation.gateways.iter().map(|(gateway, output)| named(gateway, output, None)).collect()
}

fn named(gateway: &Name, output: &GatewayOutput, wanted: Option<Type>) -> String {
    let line =
        |(kind, name): (ResourceType, &str)| format!("{gateway} {kind:?} {}\n", output.shown(&(kind, name.to_owned())));
    listed(&output.resources, wanted).map(line).collect()
}

/// The resources of a type, or of all, in the order in which Envoy is sent them.
fn listed(resources: &ResourceSet, wanted: Option<Type>) -> impl Iterator<Item = (ResourceType, &str)> {
    resources
        .iter()
        .filter(move |(kind, _)| wanted.is_none_or(|wanted| wanted.is(**kind)))
        .flat_map(|(kind, named)| named.keys().map(|name| (*kind, name.as_str())))
}

/// A Gateway with its resources, in Envoy's own field names.
fn written(gateway: &Name, output: &GatewayOutput, wanted: Option<Type>) -> Value {
    let resource = |(kind, name): (ResourceType, &str)| {
        let body = output.resources.get(&kind)?.get(name)?;
        let shown = output.shown(&(kind, name.to_owned()));
        Some(
            json!({"type": format!("{kind:?}"), "for": shown, "name": name, "resource": proto::yaml::json(&body.body)}),
        )
    };
    let resources: Vec<Value> = listed(&output.resources, wanted).filter_map(resource).collect();
    json!({"gateway": gateway.to_string(), "resources": resources})
}

async fn diff(args: &Diff) -> anyhow::Result<ExitCode> {
    let (old, new) = if args.from.is_empty() {
        let (client, _) = args.cluster.open().await?;
        let old = once::read(&client, Reader::ControlPlane).await?;
        let mut new = old.clone();
        for (name, manifest) in documents(&files(&args.files, false)?)? {
            if let Some(object) = tried::object(&client, &name, &manifest).await? {
                new.broken.remove(&name);
                new.insert(object);
            }
        }
        (old, new)
    } else {
        let (old, new) = (files(&args.from, true)?.snapshot, files(&args.files, true)?);
        let mut then = new.snapshot.clone();
        for object in new.origins.keys().filter_map(|name| new.snapshot.get(name)) {
            if let Some(was) = old.get(&object.reference()) {
                then.insert(object.applied_over(&was));
            }
        }
        (old, then)
    };
    let (before, after) = (translated(&old, &args.classes), translated(&new, &args.classes));
    let said = changes::say((&old, &before), (&new, &after));
    print!("{said}");
    Ok(if said.is_empty() { ExitCode::SUCCESS } else { ExitCode::from(1) })
}

/// The documents of files that name objects which the control plane reads: Secrets are none of its business.
fn documents(loaded: &Loaded) -> anyhow::Result<Vec<(ObjectRef, Value)>> {
    let read = Kind::read_by(Reader::ControlPlane);
    let mut found = Vec::new();
    for path in loaded.files.keys() {
        let text = std::fs::read_to_string(path).with_context(|| path.display().to_string())?;
        for document in serde_norway::Deserializer::from_str(&text) {
            let value = Value::deserialize(document).with_context(|| path.display().to_string())?;
            if let Some(name) = api::admit(&value).reference.filter(|name| read.contains(&name.kind)) {
                found.push((name, value));
            }
        }
    }
    Ok(found)
}

/// What files declare; nobody can tell what they would change if there are mistakes in them.
fn files(paths: &[PathBuf], allocate_vips: bool) -> anyhow::Result<Loaded> {
    if let Some(missing) = paths.iter().find(|path| !path.exists()) {
        bail!("{} does not exist", missing.display());
    }
    let loaded = load_as(paths, FolderSettings { allocate_vips, log_mistakes: false, ..FolderSettings::default() });
    let broken = loaded.snapshot.broken.keys().next().map(ToString::to_string);
    let withheld = loaded.snapshot.withheld.first().map(ToString::to_string);
    match broken.or(withheld) {
        None => Ok(loaded),
        Some(what) => Err(anyhow::anyhow!("{what}")).context("there are mistakes, which `waykeeper validate` names"),
    }
}

/// What the control plane makes of it, with the addresses of servers that `waykeeper up` has.
pub fn translated(snapshot: &Snapshot, classes: &ClassArgs) -> Translation {
    let (class_names, controller_name) = (classes.names(), classes.controller_name.clone());
    let settings = Settings { class_names, controller_name, ..crate::plan::translate_settings("cluster.local") };
    translate(snapshot, &settings)
}
