//! `waykeeper describe`: what is decided of an object, from what a cluster or a folder declares, by what the control
//! plane itself decides with; of a cluster also what its servers have said.
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "printing is what this command is for")]

mod page;

use std::path::PathBuf;
use std::process::ExitCode;

use api::{Kind, ObjectRef, Reader};
use clap::Args;
use kubernetes::client::Client;
use kubernetes::once;
use provider::findings::did_you_mean;
use provider::folder::load;
use serde_json::Value;
use waypoint::classes::ClassArgs;
use waypoint_translate::{Settings, translate};

use crate::cluster::{ClusterArgs, list_path};
use crate::kinds::find_kind;
use crate::report;

/// What can be described.
const KINDS: [Kind; 9] = [
    Kind::Service,
    Kind::Gateway,
    Kind::HttpRoute,
    Kind::GrpcRoute,
    Kind::RouteOption,
    Kind::AuthorizationPolicy,
    Kind::RequestAuthentication,
    Kind::AuthConfig,
    Kind::RateLimitConfig,
];

/// `waykeeper describe`.
#[derive(Debug, Args)]
pub struct DescribeArgs {
    /// service, gateway, route, grpcroute, routeoption, authorizationpolicy, requestauthentication, authconfig or ratelimitconfig
    kind: String,
    /// Its name
    name: String,
    /// Of these files or folders instead of a cluster
    #[arg(short = 'f', long = "file", value_name = "PATH", conflicts_with_all = ["kubeconfig", "context"])]
    files: Vec<PathBuf>,
    #[command(flatten)]
    classes: ClassArgs,
    #[command(flatten)]
    cluster: ClusterArgs,
}

/// Prints what is decided; exits 1 when there is no such object.
///
/// # Errors
/// When what is declared cannot be read.
pub async fn run(args: &DescribeArgs) -> anyhow::Result<ExitCode> {
    let kind = match find_kind(&args.kind) {
        Ok(Some(kind)) if KINDS.contains(&kind) => kind,
        Ok(_) => {
            let known: Vec<&str> = KINDS.iter().map(|kind| kind.plural()).collect();
            eprintln!("write one of {}", known.join(", "));
            return Ok(ExitCode::from(runtime::EXIT_USAGE));
        }
        Err(why) => {
            eprintln!("{why}");
            return Ok(ExitCode::from(runtime::EXIT_USAGE));
        }
    };
    let (snapshot, object, known, client) = if args.files.is_empty() {
        let (client, namespace) = args.cluster.open().await?;
        let snapshot = once::read(&client, Reader::ControlPlane).await?;
        (snapshot, ObjectRef::new(kind, namespace, &args.name), Vec::new(), Some(client))
    } else {
        if let Some(missing) = args.files.iter().find(|path| !path.exists()) {
            anyhow::bail!("{} does not exist", missing.display());
        }
        let namespace = args.cluster.namespace.as_deref().unwrap_or("default");
        let loaded = load(&args.files);
        let here = loaded.origins.keys().filter(|one| one.kind == kind && one.name.namespace == namespace);
        let known: Vec<String> = here.map(|one| one.name.name.clone()).collect();
        (loaded.snapshot, ObjectRef::new(kind, namespace, &args.name), known, None)
    };
    let settings = Settings {
        class_names: args.classes.names(),
        controller_name: args.classes.controller_name.clone(),
        ztunnel: client.is_some(),
        ..crate::plan::translate_settings("cluster.local")
    };
    let translation = translate(&snapshot, &settings);
    let stored = match &client {
        Some(client) => stored(client, &object).await?,
        None => known.contains(&object.name.name).then_some(Value::Null),
    };
    let Some(stored) = stored else {
        let known = match &client {
            Some(client) => names(client, &object).await,
            None => known,
        };
        let near = did_you_mean(&object.name.name, known.iter().map(String::as_str));
        let hint = near.map(|near| format!("; did you mean {near}?")).unwrap_or_default();
        eprintln!("there is no {object}{hint}");
        return Ok(ExitCode::FAILURE);
    };
    println!("{object}");
    match client {
        Some(_) => print!("{}", said(&stored["status"])),
        None => print!("{}", reported(&object, &translation)),
    }
    print!("\n{}", page::page(&object, &translation));
    Ok(ExitCode::SUCCESS)
}

/// The lists in which an object may be: one for each version of its kind.
fn lists(object: &ObjectRef) -> impl Iterator<Item = String> {
    object.kind.api_versions().iter().map(|version| list_path(object.kind, version, &object.name.namespace))
}

/// What objects of its kind in its namespace are called; nothing where that cannot be read.
async fn names(client: &Client, object: &ObjectRef) -> Vec<String> {
    let mut names = Vec::new();
    for list in lists(object) {
        let found = client.list(&list, "").await.unwrap_or_default();
        names.extend(found.iter().filter_map(|one| one["metadata"]["name"].as_str().map(str::to_owned)));
    }
    names
}

/// The object as the API server has it, under whichever of its versions; none where there is no such object.
async fn stored(client: &Client, object: &ObjectRef) -> anyhow::Result<Option<Value>> {
    for list in lists(object) {
        match client.get(&format!("{list}/{}", crate::ask::encode(&object.name.name))).await {
            Ok(found) => return Ok(Some(found)),
            Err(refusal) if refusal.is_absence() => {}
            Err(refusal) => return Err(refusal.into()),
        }
    }
    Ok(None)
}

/// The conditions that stand in a status, in whichever form, one to a line.
fn said(status: &Value) -> String {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let mut out = String::new();
    let mut line = |place: &str, what: String, message: String| {
        let message = if message.is_empty() { message } else { format!(": {}", message.trim_end()) };
        out.push_str(&format!("  {place}{what}{message}\n"));
    };
    let conditions = |place: &Value| place["conditions"].as_array().cloned().unwrap_or_default();
    let of = |place: String, conditions: Vec<Value>, line: &mut dyn FnMut(&str, String, String)| {
        for one in conditions {
            let what = format!("{} is {} ({})", text(&one["type"]), text(&one["status"]), text(&one["reason"]));
            line(&place, what, text(&one["message"]));
        }
    };
    of(String::new(), conditions(status), &mut line);
    for parent in status["parents"].as_array().into_iter().flatten() {
        let (reference, controller) = (&parent["parentRef"], text(&parent["controllerName"]));
        let kind = reference["kind"].as_str().unwrap_or("Gateway");
        of(format!("{kind} {}, {controller}: ", text(&reference["name"])), conditions(parent), &mut line);
    }
    for (namespace, one) in status["statuses"].as_object().into_iter().flatten() {
        line(&format!("{namespace}: "), text(&one["state"]), text(&one["reason"]));
    }
    if status["state"].is_string() {
        line("", text(&status["state"]), text(&status["message"]));
    }
    out
}

/// What is to be said of an object of a folder.
fn reported(object: &ObjectRef, translation: &waypoint_translate::Translation) -> String {
    let said = translation.report.get(object).into_iter().flat_map(|said| said.iter());
    let mut out = String::new();
    for status in said {
        for condition in &status.conditions {
            out.push_str(&format!("  {}\n", report::condition(status, condition)));
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_servers_have_said_is_read_in_every_form() {
        let condition = json!({"type": "Accepted", "status": "True", "reason": "Accepted", "message": ""});
        assert_eq!(said(&json!({"conditions": [condition]})), "  Accepted is True (Accepted)\n");
        let parents = json!({"parents": [{"parentRef": {"kind": "Service", "name": "web"}, "controllerName": "c", "conditions": [condition]}]});
        assert_eq!(said(&parents), "  Service web, c: Accepted is True (Accepted)\n");
        let gloo = json!({"statuses": {"gloo-system": {"state": "Rejected", "reason": "no such thing\n"}}});
        assert_eq!(said(&gloo), "  gloo-system: Rejected: no such thing\n");
        assert_eq!(said(&json!({"state": "ACCEPTED"})), "  ACCEPTED\n");
        assert_eq!(said(&Value::Null), "");
    }
}
