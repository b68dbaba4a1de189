//! `waykeeper bundle`: what helps to find out why a cluster is as it is, in one folder, for somebody else to look at:
//! without a Secret, and without any text of which it is not known that it is none ([`bare`]).
#![allow(clippy::print_stdout, reason = "printing is what this command is for")]

mod bare;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context as _, ensure};
use api::{Kind, Reader};
use clap::Args;
use kubernetes::client::{Client, Refusal};
use kubernetes::once;
use serde_json::{Value, json};
use waypoint::classes::ClassArgs;

use crate::ask::encode;
use crate::check;
use crate::cluster::ClusterArgs;
use crate::config;

/// Of the servers' pods so many lines are taken.
const LINES: u32 = 2_000;
/// What else is looked at than the kinds that are read: the path of each list, and which of its objects.
const OTHERS: [(&str, &str, &str); 6] = [
    ("deployments", "/apis/apps/v1/deployments", PARTS),
    ("pods", "/api/v1/pods", PARTS),
    ("poddisruptionbudgets", "/apis/policy/v1/poddisruptionbudgets", PARTS),
    ("networkpolicies", "/apis/networking.k8s.io/v1/networkpolicies", PARTS),
    ("leases", "/apis/coordination.k8s.io/v1/leases", ""),
    ("events", "/api/v1/events", ""),
];
/// Of the servers and of Gateways' proxies.
const PARTS: &str = "app.kubernetes.io/component in (extauth,ratelimit,waypoint)";

/// `waykeeper bundle`.
#[derive(Debug, Args)]
pub struct BundleArgs {
    /// A folder to make, which is not there yet
    #[arg(value_name = "FOLDER", default_value = "waykeeper-bundle")]
    folder: PathBuf,
    #[command(flatten)]
    classes: ClassArgs,
    #[command(flatten)]
    cluster: ClusterArgs,
}

/// The files of a bundle, while it is made.
struct Bundle {
    folder: PathBuf,
    /// What was to be there and is not, by what it was.
    missing: BTreeMap<String, String>,
}

/// Makes the folder.
///
/// # Errors
/// When it is there already or cannot be written, or when it is not known which API server to ask.
pub async fn run(args: &BundleArgs) -> anyhow::Result<ExitCode> {
    let (client, _) = args.cluster.open().await?;
    ensure!(!args.folder.exists(), "{} is there already: name a folder that is not", args.folder.display());
    let mut bundle = Bundle { folder: args.folder.clone(), missing: BTreeMap::new() };
    bundle.write("check.txt", &check::told(&client, &args.cluster, &args.classes).await)?;
    match client.get("/version").await {
        Ok(version) => bundle.write("version.yaml", &proto::yaml::to_yaml(&version))?,
        Err(refusal) => bundle.misses("version.yaml", &refusal),
    }
    for (name, path, query) in lists() {
        let query = if query.is_empty() { String::new() } else { format!("labelSelector={}", encode(query)) };
        match client.list(&path, &query).await {
            Ok(objects) if objects.is_empty() => {}
            Ok(objects) => {
                let bare: Vec<Value> = objects.iter().map(bare::object).collect();
                bundle.write(&format!("objects/{name}.yaml"), &proto::yaml::to_yaml(&json!(bare)))?;
                if name == "pods" {
                    logs(&client, &objects, &mut bundle).await?;
                }
            }
            Err(refusal) if refusal.is_absence() => {}
            Err(refusal) => bundle.misses(&format!("objects/{name}.yaml"), &refusal),
        }
    }
    // Which resources the Envoys have, and not what is in them: headers that are set may be anything.
    match once::read(&client, Reader::ControlPlane).await {
        Ok(snapshot) => {
            let names = config::names(&config::translated(&snapshot, &args.classes));
            bundle.write("envoys.txt", &names)?;
        }
        Err(error) => drop(bundle.missing.insert("envoys.txt".to_owned(), format!("{error:#}"))),
    }
    let words = bundle.words();
    bundle.write("README.txt", &words)?;
    println!("{}: look through it before you pass it on", args.folder.display());
    bundle.missing.iter().for_each(|(what, why)| println!("not in it: {what}: {why}"));
    Ok(if bundle.missing.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// The lists of all namespaces that are looked at: how each is called, where it is and which of it. No Secrets: the
/// control plane reads none.
fn lists() -> Vec<(String, String, &'static str)> {
    let mut seen = BTreeSet::new();
    let mut lists = Vec::new();
    for kind in Kind::read_by(Reader::ControlPlane) {
        for version in kind.api_versions() {
            let (group, _) = version.rsplit_once('/').unwrap_or_default();
            let name = format!("{}.{group}", kind.plural()).trim_end_matches('.').to_owned();
            if kind != Kind::Secret && seen.insert(name.clone()) {
                let root = if group.is_empty() { "api" } else { "apis" };
                lists.push((name, format!("/{root}/{version}/{}", kind.plural()), ""));
            }
        }
    }
    lists.extend(OTHERS.map(|(name, path, query)| (name.to_owned(), path.to_owned(), query)));
    lists
}

/// What the servers have logged. What Gateways' pods log is left out: the paths of requests are in it.
async fn logs(client: &Client, pods: &[Value], bundle: &mut Bundle) -> anyhow::Result<()> {
    let text = |pod: &Value, place: &str| pod.pointer(place).and_then(Value::as_str).unwrap_or_default().to_owned();
    for pod in pods {
        let (namespace, name) = (text(pod, "/metadata/namespace"), text(pod, "/metadata/name"));
        if pod.pointer("/metadata/labels/gateway.networking.k8s.io~1gateway-name").is_some() {
            continue;
        }
        let path = format!("/api/v1/namespaces/{}/pods/{}/log?tailLines={LINES}", encode(&namespace), encode(&name));
        let file = format!("logs/{namespace}~{name}.log");
        match client.text(&path).await {
            Ok(text) => bundle.write(&file, &text)?,
            Err(refusal) => bundle.misses(&file, &refusal),
        }
    }
    Ok(())
}

impl Bundle {
    fn write(&self, name: &str, text: &str) -> anyhow::Result<()> {
        let path = self.folder.join(name);
        let write = |path: &Path| {
            path.parent().map(std::fs::create_dir_all).transpose()?;
            std::fs::write(path, text)
        };
        write(&path).with_context(|| format!("writing {}", path.display()))
    }

    fn misses(&mut self, what: &str, why: &Refusal) {
        self.missing.insert(what.to_owned(), why.to_string());
    }

    fn words(&self) -> String {
        let mut words = format!(
            "Made by waykeeper {} to be looked at by somebody else.\n\n\
             check.txt    what waykeeper check says\n\
             objects/     what is declared and what became of it; every text of which it is not known that it is no\n\
             \x20            secret stands there as {}, and no Secret was read\n\
             envoys.txt   by name, the resources that Envoys are configured with\n\
             logs/        what the servers have logged last; of Gateways' pods nothing\n",
            env!("CARGO_PKG_VERSION"),
            bare::LEFT_OUT
        );
        for (what, why) in &self.missing {
            words.push_str(&format!("\nNot in it: {what}: {why}\n"));
        }
        words
    }
}
