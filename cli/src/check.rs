//! `waykeeper check`: whether a cluster has what Waykeeper needs, or will need, and how its own parts are: a line for
//! each thing, and under it what to do.
#![allow(clippy::print_stdout, reason = "printing is what this command is for")]

mod judge;

use std::collections::{BTreeMap, BTreeSet};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use api::Reader;
use clap::Args;
use kubernetes::client::Client;
use kubernetes::rights::{self, Right};
use serde_json::{Value, json};
use waypoint::classes::ClassArgs;

use self::judge::{Answer, Check, Outcome};
use crate::ask::encode;
use crate::cluster::{ClusterArgs, span};
use crate::format::{Format, print};

/// Between two looks at what is waited for.
const PAUSE: Duration = Duration::from_secs(1);

/// `waykeeper check`.
#[derive(Debug, Args)]
pub struct CheckArgs {
    /// Before anything is installed: whether it can be
    #[arg(long, env = "WAYKEEPER_PRE")]
    pre: bool,
    /// Exit 1 for warnings, too
    #[arg(long, env = "WAYKEEPER_STRICT")]
    strict: bool,
    /// Look again until all is well, at most for so long
    #[arg(long, env = "WAYKEEPER_WAIT", value_name = "TIME", value_parser = span)]
    wait: Option<Duration>,
    /// How to print it
    #[arg(short = 'o', long, env = "WAYKEEPER_OUTPUT", value_enum, default_value_t = Format::Table, value_name = "HOW")]
    output: Format,
    #[command(flatten)]
    classes: ClassArgs,
    #[command(flatten)]
    cluster: ClusterArgs,
}

/// What belongs together, under one heading.
struct Section {
    title: &'static str,
    checks: Vec<Check>,
}

/// Looks, prints what is found, and exits 1 when something is wrong.
///
/// # Errors
/// When it is not known which API server to ask.
pub async fn run(args: &CheckArgs) -> anyhow::Result<ExitCode> {
    let (client, namespace) = args.cluster.open().await?;
    let began = Instant::now();
    loop {
        let sections = look(&client, &namespace, args.pre, &args.cluster, &args.classes).await;
        let worst = sections.iter().flat_map(|section| &section.checks).map(|check| check.outcome).max();
        let well = match worst {
            Some(Outcome::Bad) => false,
            Some(Outcome::Warning) => !args.strict,
            _ => true,
        };
        if !well && args.wait.is_some_and(|most| began.elapsed() < most) {
            tokio::time::sleep(PAUSE).await;
            continue;
        }
        match args.output {
            Format::Table | Format::Name => print!("{}", table(&sections, well)),
            form => print(&as_json(&sections, well), form)?,
        }
        return Ok(if well { ExitCode::SUCCESS } else { ExitCode::FAILURE });
    }
}

/// What is found of a cluster in which it is installed, as it is printed.
pub async fn told(client: &Client, cluster: &ClusterArgs, classes: &ClassArgs) -> String {
    let sections = look(client, client.namespace(), false, cluster, classes).await;
    let well = sections.iter().flat_map(|section| &section.checks).all(|check| check.outcome != Outcome::Bad);
    table(&sections, well)
}

/// Everything that there is to look at; nothing but the API server where that does not answer. `pre`: before anything is
/// installed.
async fn look(client: &Client, namespace: &str, pre: bool, cluster: &ClusterArgs, classes: &ClassArgs) -> Vec<Section> {
    let version = client.get("/version").await;
    let mut sections = vec![Section { title: "Kubernetes", checks: judge::version(client.url(), &version) }];
    if version.is_err() {
        return sections;
    }
    let mut found = BTreeMap::new();
    for (name, _) in judge::gateway_kinds() {
        let answer = definition(client, &name).await;
        found.insert(name, answer);
    }
    sections.push(Section { title: "Gateway API", checks: judge::gateway_api(&found) });
    let mut checks = Vec::new();
    for (_, ours) in api::crd::definitions() {
        let name = ours["metadata"]["name"].as_str().unwrap_or_default();
        checks.push(judge::gloo_kind(&ours, &definition(client, name).await, pre));
    }
    sections.push(Section { title: "Gloo's kinds", checks });
    if pre {
        let asked = ask_of_oneself(client, namespace).await;
        let cure = "install as somebody who may, such as with the ClusterRole cluster-admin";
        let checks = vec![judge::rights(&format!("whoever installs into namespace {namespace}"), &asked, cure)];
        sections.push(Section { title: "Rights", checks });
        return sections;
    }
    let (checks, deployments) = servers(client, cluster.namespace.as_deref(), namespace).await;
    sections.push(Section { title: "Servers", checks });
    let mut checks = Vec::new();
    for deployment in &deployments {
        let asked = ask_of_server(client, deployment).await;
        let who = account(deployment);
        let cure = "helm upgrade waykeeper, or bind the roles of deploy/rbac";
        checks.push(judge::rights(&format!("{} ({who})", judge::server(deployment)), &asked, cure));
    }
    if !checks.is_empty() {
        sections.push(Section { title: "Rights", checks });
    }
    let mut checks = Vec::new();
    for class in &classes.classes {
        let path = format!("/apis/gateway.networking.k8s.io/v1/gatewayclasses/{}", encode(class));
        checks.push(judge::class(class, &classes.controller_name, &client.get(&path).await));
    }
    sections.push(Section { title: "Classes", checks });
    // Of all namespaces: the servers of one serve them all.
    let gateways = client.list("/apis/gateway.networking.k8s.io/v1/gateways", "").await;
    let checks = judge::gateways(&gateways, &classes.classes);
    if !checks.is_empty() {
        sections.push(Section { title: "Gateways", checks });
    }
    sections
}

async fn definition(client: &Client, name: &str) -> Answer {
    client.get(&format!("/apis/apiextensions.k8s.io/v1/customresourcedefinitions/{name}")).await
}

/// Each right that installing needs.
async fn ask_of_oneself(client: &Client, namespace: &str) -> Vec<(Right, Answer)> {
    let everywhere = [
        ("apiextensions.k8s.io", "customresourcedefinitions"),
        ("rbac.authorization.k8s.io", "clusterroles"),
        ("rbac.authorization.k8s.io", "clusterrolebindings"),
    ];
    let within = [
        ("", "secrets"),
        ("", "serviceaccounts"),
        ("", "services"),
        ("apps", "deployments"),
        ("apps", "statefulsets"),
        ("networking.k8s.io", "networkpolicies"),
        ("policy", "poddisruptionbudgets"),
        ("rbac.authorization.k8s.io", "rolebindings"),
        ("rbac.authorization.k8s.io", "roles"),
    ];
    let everywhere = everywhere.map(|(group, plural)| Right::new("create", group, plural, None));
    let within = within.map(|(group, plural)| Right::new("create", group, plural, Some(namespace)));
    let mut asked = Vec::new();
    for right in everywhere.into_iter().chain(within) {
        let review = json!({"apiVersion": "authorization.k8s.io/v1", "kind": "SelfSubjectAccessReview",
            "spec": {"resourceAttributes": right.attributes()}});
        let answer = client.create("/apis/authorization.k8s.io/v1/selfsubjectaccessreviews", &review).await;
        asked.push((right, answer));
    }
    asked
}

/// How the servers are, and their Deployments: in a namespace that is named, else wherever they are, else, for whoever
/// may not look everywhere, in the namespace that is meant.
async fn servers(client: &Client, named: Option<&str>, meant: &str) -> (Vec<Check>, Vec<Value>) {
    let within = |namespace: &str| format!("/apis/apps/v1/namespaces/{namespace}/deployments");
    let query = format!("labelSelector={}", encode("app.kubernetes.io/component in (extauth,ratelimit,waypoint)"));
    let mut found = match named {
        Some(namespace) => client.list(&within(namespace), &query).await,
        None => client.list("/apis/apps/v1/deployments", &query).await,
    };
    if found.is_err() && named.is_none() {
        found = client.list(&within(meant), &query).await;
    }
    let mut deployments = match found {
        Ok(found) => found,
        Err(refusal) => return (vec![judge::no_deployments(Some(&refusal))], Vec::new()),
    };
    let ours = |one: &Value| {
        one["metadata"]["labels"]["helm.sh/chart"].as_str().is_some_and(|chart| chart.starts_with("waykeeper-"))
    };
    deployments.retain(ours);
    if deployments.is_empty() {
        return (vec![judge::no_deployments(None)], deployments);
    }
    let mut checks: Vec<Check> = deployments.iter().map(judge::deployment).collect();
    for deployment in &deployments {
        let (namespace, server) = (namespace(deployment), judge::server(deployment));
        let path = format!("/apis/coordination.k8s.io/v1/namespaces/{namespace}/leases/waykeeper-{server}");
        checks.push(judge::lease(server, &client.get(&path).await));
    }
    (checks, deployments)
}

fn namespace(object: &Value) -> &str {
    object["metadata"]["namespace"].as_str().unwrap_or_default()
}

/// As whom a Deployment's pods ask the API server.
fn account(deployment: &Value) -> String {
    let name = deployment["spec"]["template"]["spec"]["serviceAccountName"].as_str().unwrap_or("default");
    format!("system:serviceaccount:{}:{name}", namespace(deployment))
}

/// Each right that the server of a Deployment needs, as its flags have it.
async fn ask_of_server(client: &Client, deployment: &Value) -> Vec<(Right, Answer)> {
    let reader = match judge::server(deployment) {
        "extauth" => Reader::Authorization,
        "ratelimit" => Reader::RateLimits,
        _ => Reader::ControlPlane,
    };
    let user = account(deployment);
    let mut asked = Vec::new();
    let mut needed = rights::of_objects(reader, &secret_namespaces(deployment));
    needed.extend(rights::of_leases(namespace(deployment)));
    needed.extend(rights::of_events());
    if reader == Reader::ControlPlane {
        let given = |flag: &str| args(deployment).any(|arg| arg == flag || arg.starts_with(&format!("{flag}=")));
        if !given("--client-ca") && !given("--tls-dir") {
            needed.extend(rights::of_tokens());
        }
        let asks_mutually = args(deployment).any(|arg| arg.contains("=mtls://"));
        if asks_mutually || (!given("--tls-cert") && !given("--tls-dir")) {
            needed.extend(rights::of_authority(namespace(deployment)));
        }
        if given("--deploy") {
            needed.extend(rights::of_pods());
        }
    }
    for right in needed {
        let groups = ["system:authenticated", "system:serviceaccounts"].map(str::to_owned);
        let groups = [&groups[..], &[format!("system:serviceaccounts:{}", namespace(deployment))]].concat();
        let review = json!({"apiVersion": "authorization.k8s.io/v1", "kind": "SubjectAccessReview",
            "spec": {"user": user, "groups": groups, "resourceAttributes": right.attributes()}});
        let answer = client.create("/apis/authorization.k8s.io/v1/subjectaccessreviews", &review).await;
        let refused = answer.is_err();
        asked.push((right, answer));
        // Whoever may not ask this may not ask the others.
        if refused {
            break;
        }
    }
    asked
}

/// What a Deployment's server is told.
fn args(deployment: &Value) -> impl Iterator<Item = &str> {
    let args = deployment["spec"]["template"]["spec"]["containers"][0]["args"].as_array();
    args.into_iter().flatten().filter_map(Value::as_str)
}

fn secret_namespaces(deployment: &Value) -> BTreeSet<String> {
    let flags = args(deployment).filter_map(|arg| arg.strip_prefix("--secret-namespaces="));
    flags.flat_map(|list| list.split(',')).map(str::to_owned).collect()
}

fn mark(outcome: Outcome) -> &'static str {
    match outcome {
        Outcome::Good => "✔",
        Outcome::Warning => "‼",
        Outcome::Bad => "✘",
    }
}

fn table(sections: &[Section], well: bool) -> String {
    let mut out = String::new();
    for Section { title, checks } in sections {
        out.push_str(&format!("{title}\n{}\n", "-".repeat(title.len())));
        for check in checks {
            out.push_str(&format!("{} {}\n", mark(check.outcome), check.what));
            if !check.cure.is_empty() {
                out.push_str(&format!("    {}\n", check.cure));
            }
        }
        out.push('\n');
    }
    out + &format!("Status check results are {}\n", mark(if well { Outcome::Good } else { Outcome::Bad }))
}

fn as_json(sections: &[Section], well: bool) -> Value {
    let word = |outcome| match outcome {
        Outcome::Good => "success",
        Outcome::Warning => "warning",
        Outcome::Bad => "error",
    };
    let check = |check: &Check| {
        let mut shown = json!({"description": check.what, "result": word(check.outcome)});
        if !check.cure.is_empty() {
            shown["hint"] = json!(check.cure);
        }
        shown
    };
    let sections = sections.iter().map(|section| {
        json!({"categoryName": section.title, "checks": section.checks.iter().map(check).collect::<Vec<_>>()})
    });
    json!({"success": well, "categories": sections.collect::<Vec<_>>()})
}
