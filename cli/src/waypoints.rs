//! `waykeeper waypoint`: waypoints of a cluster, with the flags and the output of `istioctl waypoint`.
//!
//! What is said in other words there is said so here, too: scripts read it. Other than there, a namespace is enrolled
//! only in a waypoint that serves, since Services of one that does not refuse connections.
#![allow(clippy::print_stdout, reason = "printing is what these commands are for")]

pub mod gateway;

use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use api::core::USE_WAYPOINT;
use clap::{Args, Subcommand};
use kubernetes::client::{Client, Refusal};
use serde_json::Value;
use waypoint::classes::ClassArgs;

use self::gateway::{VERSION, Wanted};
use crate::cluster::{ClusterArgs, span};
use crate::table::columns;

/// Between two looks at a Gateway that is waited for.
const PAUSE: Duration = Duration::from_millis(250);
/// How often a label is written anew when somebody else writes the namespace meanwhile.
const ATTEMPTS: usize = 5;
/// Between columns, as istioctl has it.
const GUTTER: usize = 5;

/// `waykeeper waypoint`.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Print the Gateway of a waypoint as YAML
    Generate(Generate),
    /// Apply the Gateway of a waypoint; by choice, have a namespace use it once it serves
    Apply(Apply),
    /// Show whether the waypoints of a namespace serve
    Status(Status),
    /// List waypoints
    List(List),
    /// Delete waypoints by their names, or all of a namespace
    Delete(Delete),
}

/// What a waypoint is to be.
#[derive(Debug, Args)]
pub struct Shape {
    /// Its name
    #[arg(long, default_value = "waypoint", value_name = "NAME", value_parser = name)]
    name: String,
    /// Its GatewayClass: who serves it
    #[arg(long, default_value = "gloo-waypoint", value_name = "NAME")]
    class: String,
    /// Which traffic it is for
    #[arg(long = "for", value_name = "WHAT", value_parser = ["service", "workload", "all", "none"])]
    traffic: Option<String>,
    /// The revision of Istio to label it with
    #[arg(short = 'r', long, value_name = "REVISION")]
    revision: Option<String>,
}

/// `waykeeper waypoint generate`.
#[derive(Debug, Args)]
pub struct Generate {
    #[command(flatten)]
    shape: Shape,
    /// The namespace [default: none is written]
    #[arg(short = 'n', long, value_name = "NAMESPACE", value_parser = crate::cluster::namespace)]
    namespace: Option<String>,
}

/// `waykeeper waypoint apply`.
#[derive(Debug, Args)]
pub struct Apply {
    #[command(flatten)]
    shape: Shape,
    /// Have the Services of the namespace use it, once it serves
    #[arg(long)]
    enroll_namespace: bool,
    /// Also where the namespace uses another waypoint
    #[arg(long, requires = "enroll_namespace")]
    overwrite: bool,
    /// Wait until it serves
    #[arg(short = 'w', long)]
    wait: bool,
    /// How long to wait for that
    #[arg(long, default_value = "90s", value_name = "TIME", value_parser = span)]
    waypoint_timeout: Duration,
    #[command(flatten)]
    cluster: ClusterArgs,
}

/// `waykeeper waypoint status`.
#[derive(Debug, Args)]
pub struct Status {
    /// Only this one
    #[arg(long, value_name = "NAME", value_parser = name)]
    name: Option<String>,
    /// Wait until all of them serve; exit 1 when they do not
    #[arg(short = 'w', long)]
    wait: bool,
    /// How long to wait for that
    #[arg(long, default_value = "90s", value_name = "TIME", value_parser = span)]
    waypoint_timeout: Duration,
    #[command(flatten)]
    classes: ClassArgs,
    #[command(flatten)]
    cluster: ClusterArgs,
}

/// `waykeeper waypoint list`.
#[derive(Debug, Args)]
pub struct List {
    /// Of all namespaces
    #[arg(short = 'A', long)]
    all_namespaces: bool,
    #[command(flatten)]
    classes: ClassArgs,
    #[command(flatten)]
    cluster: ClusterArgs,
}

/// `waykeeper waypoint delete`.
#[derive(Debug, Args)]
#[command(group = clap::ArgGroup::new("which").required(true).args(["names", "all", "revision"]))]
pub struct Delete {
    /// Their names
    #[arg(value_name = "NAME", value_parser = name)]
    names: Vec<String>,
    /// All of the namespace
    #[arg(long)]
    all: bool,
    /// All of the namespace that are labelled with this revision
    #[arg(short = 'r', long, value_name = "REVISION")]
    revision: Option<String>,
    #[command(flatten)]
    classes: ClassArgs,
    #[command(flatten)]
    cluster: ClusterArgs,
}

/// Does what is asked for.
///
/// # Errors
/// When the API server refuses it, or does not answer.
pub async fn run(command: Command) -> anyhow::Result<ExitCode> {
    match command {
        Command::Generate(args) => generate(&args),
        Command::Apply(args) => apply(&args).await,
        Command::Status(args) => status(&args).await,
        Command::List(args) => list(&args).await,
        Command::Delete(args) => delete(&args).await,
    }
}

fn name(text: &str) -> Result<String, String> {
    match text {
        "none" => Err("'none' is a reserved value: it is how a Service says that it uses no waypoint".to_owned()),
        // It is also a label's value, and part of the names of what is made for it.
        text if api::name::is_namespace(text) => Ok(text.to_owned()),
        _ => Err("not a name: lower case letters, digits and -, at most 63".to_owned()),
    }
}

impl Shape {
    fn wanted<'a>(&'a self, namespace: Option<&'a str>) -> Wanted<'a> {
        let (traffic, revision) = (self.traffic.as_deref(), self.revision.as_deref());
        Wanted { name: &self.name, namespace, class: &self.class, traffic, revision }
    }
}

fn generate(args: &Generate) -> anyhow::Result<ExitCode> {
    let manifest = gateway::manifest(&args.shape.wanted(args.namespace.as_deref()));
    print!("{}", serde_norway::to_string(&manifest)?);
    Ok(ExitCode::SUCCESS)
}

async fn apply(args: &Apply) -> anyhow::Result<ExitCode> {
    let (client, namespace) = args.cluster.open().await?;
    let (client, name) = (&client, &args.shape.name);
    if args.enroll_namespace {
        let found = read_namespace(client, &namespace).await?;
        if !args.overwrite && is_taken(&found, name) {
            return Ok(taken(&namespace));
        }
        if !gateway::is_ambient(&found) {
            println!(
                "⚠️ Warning: namespace is not enrolled in ambient. Consider running\t`kubectl label namespace {namespace} \
                 istio.io/dataplane-mode=ambient`"
            );
        }
    }
    let path = path(&namespace, name);
    // Whoever it belongs to may be served by it.
    if let Ok(there) = client.get(&path).await
        && !gateway::is_of(&there, std::slice::from_ref(&args.shape.class))
    {
        let class = &there["spec"]["gatewayClassName"];
        bail!("{namespace}/{name} is a Gateway of the class {class} already: it stays as it is; use another --name");
    }
    match client.apply(&path, &gateway::manifest(&args.shape.wanted(Some(&namespace)))).await {
        Ok(_) => println!("✅ waypoint {namespace}/{name} applied"),
        Err(refusal) if refusal.is_absence() => return Err(absent(client, &namespace, refusal).await),
        Err(refusal) => return Err(refusal.into()),
    }
    if args.wait || args.enroll_namespace {
        let enrolled = if args.enroll_namespace { "; the namespace was not labeled" } else { "" };
        wait_for(client, &path, args.waypoint_timeout)
            .await
            .with_context(|| format!("timed out while waiting for waypoint\t{namespace}/{name}{enrolled}"))?;
    }
    if args.wait {
        println!("✅ waypoint {namespace}/{name} is ready!");
    }
    if args.enroll_namespace {
        if !enrol(client, &namespace, name, args.overwrite).await? {
            return Ok(taken(&namespace));
        }
        println!("✅ namespace {namespace} labeled with \"{USE_WAYPOINT}: {name}\"");
    }
    Ok(ExitCode::SUCCESS)
}

/// Whether the namespace uses another waypoint already.
fn is_taken(namespace: &Value, name: &str) -> bool {
    gateway::enrolled(namespace).is_some() && !gateway::is_enrolled_in(namespace, name)
}

fn taken(namespace: &str) -> ExitCode {
    println!(
        "⚠️ Warning: namespace ({namespace}) already has an enrolled Waypoint. Consider adding the `--overwrite` flag to \
         your apply command."
    );
    ExitCode::FAILURE
}

/// What it means that there is no place for a Gateway.
async fn absent(client: &Client, namespace: &str, refusal: Refusal) -> anyhow::Error {
    match read_namespace(client, namespace).await {
        Err(error) => error,
        Ok(_) => anyhow::Error::new(refusal)
            .context("missing Kubernetes Gateway CRDs need to be installed before applying a waypoint"),
    }
}

async fn read_namespace(client: &Client, namespace: &str) -> anyhow::Result<Value> {
    match client.get(&format!("/api/v1/namespaces/{namespace}")).await {
        Err(refusal) if refusal.is_absence() => bail!("namespace: {namespace} not found"),
        found => found.with_context(|| format!("failed to get namespace {namespace}")),
    }
}

/// Waits until the Gateway at `path` serves, as it is declared now.
async fn wait_for(client: &Client, path: &str, most: Duration) -> anyhow::Result<()> {
    let began = Instant::now();
    loop {
        let seen = client.get(path).await;
        if seen.as_ref().is_ok_and(gateway::serves) {
            return Ok(());
        }
        if began.elapsed() >= most {
            let [_, _, status, kind, reason, message] = gateway::told(&seen?);
            bail!("{kind} is {status}, {reason}: {message}");
        }
        tokio::time::sleep(PAUSE).await;
    }
}

/// Labels the namespace; false if another waypoint is used there and it is not to be overwritten.
async fn enrol(client: &Client, namespace: &str, name: &str, overwrite: bool) -> anyhow::Result<bool> {
    let path = format!("/api/v1/namespaces/{namespace}");
    for _ in 0..ATTEMPTS {
        let found = read_namespace(client, namespace).await?;
        if !overwrite && is_taken(&found, name) {
            return Ok(false);
        }
        match client.merge(&path, &gateway::enrolment(&found, name)).await {
            Ok(_) => return Ok(true),
            // Somebody else wrote it meanwhile, perhaps this label.
            Err(refusal) if refusal.is_conflict() => {}
            Err(refusal) => return Err(refusal).with_context(|| format!("failed to update namespace {namespace}")),
        }
    }
    bail!("failed to update namespace {namespace}: others write it all the time")
}

/// The waypoints of a namespace, or of all, in order; with the labels of `query`.
async fn waypoints(
    client: &Client,
    namespace: Option<&str>,
    query: &str,
    classes: &ClassArgs,
) -> anyhow::Result<Vec<Value>> {
    let path = match namespace {
        Some(namespace) => format!("/apis/{VERSION}/namespaces/{namespace}/gateways"),
        None => format!("/apis/{VERSION}/gateways"),
    };
    let mut found = client.list(&path, query).await?;
    found.retain(|one| gateway::is_of(one, &classes.classes));
    found.sort_by_cached_key(gateway::place);
    Ok(found)
}

async fn status(args: &Status) -> anyhow::Result<ExitCode> {
    let (client, namespace) = args.cluster.open().await?;
    let began = Instant::now();
    let mut found;
    loop {
        found = waypoints(&client, Some(&namespace), "", &args.classes).await?;
        found.retain(|one| args.name.as_ref().is_none_or(|name| gateway::place(one)[1] == *name));
        if !args.wait || found.iter().all(gateway::serves) || began.elapsed() >= args.waypoint_timeout {
            break;
        }
        tokio::time::sleep(PAUSE).await;
    }
    if found.is_empty() {
        println!("No waypoints found.");
        return Ok(ExitCode::SUCCESS);
    }
    let header = ["NAMESPACE", "NAME", "STATUS", "TYPE", "REASON", "MESSAGE"];
    // As istioctl has it: whoever names a namespace need not be told which.
    let from = usize::from(args.cluster.namespace.is_some());
    let rows: Vec<Vec<String>> = found.iter().map(|one| gateway::told(one)[from..].to_vec()).collect();
    print!("{}", columns(&header[from..], &rows, GUTTER));
    if args.wait && !found.iter().all(gateway::serves) {
        bail!("timed out while retrieving status for waypoint");
    }
    Ok(ExitCode::SUCCESS)
}

async fn list(args: &List) -> anyhow::Result<ExitCode> {
    let (client, namespace) = args.cluster.open().await?;
    let namespace = (!args.all_namespaces).then_some(namespace.as_str());
    let found = waypoints(&client, namespace, "", &args.classes).await?;
    if found.is_empty() {
        println!("No waypoints found.");
        return Ok(ExitCode::SUCCESS);
    }
    let header = ["NAMESPACE", "NAME", "REVISION", "TRAFFIC TYPE", "PROGRAMMED"];
    let from = usize::from(!args.all_namespaces);
    let rows: Vec<Vec<String>> = found.iter().map(|one| gateway::listed(one)[from..].to_vec()).collect();
    print!("{}", columns(&header[from..], &rows, GUTTER));
    Ok(ExitCode::SUCCESS)
}

async fn delete(args: &Delete) -> anyhow::Result<ExitCode> {
    let (client, namespace) = args.cluster.open().await?;
    let query = args.revision.as_ref().map(|one| format!("labelSelector=istio.io/rev%3D{}", crate::ask::encode(one)));
    let found = waypoints(&client, Some(&namespace), query.as_deref().unwrap_or_default(), &args.classes).await?;
    let mut missing = false;
    for name in args.names.iter().filter(|name| !found.iter().any(|one| gateway::place(one)[1] == **name)) {
        println!("waypoint {namespace}/{name} not found");
        missing = true;
    }
    let mut gone = Vec::new();
    for one in &found {
        let [_, name] = gateway::place(one);
        if !args.names.is_empty() && !args.names.contains(&name) {
            continue;
        }
        let uid = one["metadata"]["uid"].as_str().unwrap_or_default();
        match client.delete(&path(&namespace, &name), uid).await {
            Ok(()) => println!("waypoint {namespace}/{name} deleted"),
            // It went meanwhile, and another one may have come.
            Err(refusal) if refusal.is_absence() || refusal.is_conflict() => {
                println!("waypoint {namespace}/{name} not found");
                missing = true;
                continue;
            }
            Err(refusal) => return Err(refusal).with_context(|| format!("deleting waypoint {namespace}/{name}")),
        }
        gone.push(name);
    }
    warn_of_users(&client, &namespace, &gone).await;
    Ok(if missing { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

/// Says so where the namespace still uses a waypoint that is gone: its Services refuse connections now.
#[allow(clippy::print_stderr, reason = "that is where what nobody asked for is said")]
async fn warn_of_users(client: &Client, namespace: &str, gone: &[String]) {
    let Ok(found) = read_namespace(client, namespace).await else { return };
    if let Some(name) = gone.iter().find(|name| gateway::is_enrolled_in(&found, name)) {
        eprintln!(
            "⚠️ Warning: namespace ({namespace}) still uses waypoint {name}: its Services refuse connections. Consider \
             running\t`kubectl label namespace {namespace} {USE_WAYPOINT}-`"
        );
    }
}

fn path(namespace: &str, name: &str) -> String {
    format!("/apis/{VERSION}/namespaces/{namespace}/gateways/{name}")
}
