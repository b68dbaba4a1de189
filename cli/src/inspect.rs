//! `ps`, `status` and `get`: what a running `waykeeper up` says of itself, or a server by itself.
#![allow(clippy::print_stdout, reason = "printing is what these commands are for")]

use std::process::ExitCode;

use api::Kind;
use provider::findings::did_you_mean;
use serde_json::{Value, json};

use crate::args::{Client, Get, StatusArgs};
use crate::format::{Format, print};
use crate::kinds::find_kind;
use crate::{ask, report};

/// `waykeeper ps`.
pub async fn ps(args: &Client) -> anyhow::Result<ExitCode> {
    let mut status: Value = ask::get(&args.admin, "/status").await?;
    anyhow::ensure!(status["services"].is_array(), "{} listens for no Services: ask `waykeeper up`", args.admin);
    keep(&mut status["services"], |service| args.covers(service));
    match args.output {
        Format::Table => print!("{}", report::services(&status)),
        Format::Name => names(&status["services"], |_| Some(Kind::Service)),
        other => print(&status["services"], other)?,
    }
    Ok(ExitCode::SUCCESS)
}

/// `waykeeper status`: exit 1 when something is wrong.
pub async fn status(args: &StatusArgs) -> anyhow::Result<ExitCode> {
    let mut status: Value = ask::get(&args.client.admin, "/status").await?;
    keep(&mut status["objects"], |object| args.client.covers(object));
    keep(&mut status["services"], |service| args.client.covers(service));
    // What belongs to a file may concern anyone.
    keep(&mut status["problems"], |problem| problem["kind"].is_null() || args.client.covers(problem));
    let (errors, warnings) = report::counts(&status);
    (status["errors"], status["warnings"]) = (json!(errors), json!(warnings));
    match args.client.output {
        Format::Table => print!("{}\n{}", report::objects(&status), report::problems(&status)),
        Format::Name => names(&status["objects"], kind_of),
        other => print(&status, other)?,
    }
    let in_force = status["notInForce"].as_array().is_none_or(Vec::is_empty);
    let well = errors == 0 && in_force && !(args.strict && warnings > 0);
    Ok(if well { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// `waykeeper get KIND [NAME]`.
pub async fn get(args: &Get) -> anyhow::Result<ExitCode> {
    let kind = match find_kind(&args.kind) {
        Ok(kind) => kind,
        Err(why) => {
            complain(&why);
            return Ok(ExitCode::from(runtime::EXIT_USAGE));
        }
    };
    let mut status: Value = ask::get(&args.client.admin, "/status").await?;
    let of_kind = |object: &Value| kind.is_none_or(|kind| object["kind"] == kind.as_str());
    let named = |object: &Value| args.name.as_ref().is_none_or(|name| object["name"] == name.as_str());
    keep(&mut status["objects"], |object| of_kind(object) && args.client.covers(object));
    if let Some(name) = &args.name {
        let all = status["objects"].as_array().cloned().unwrap_or_default();
        if !all.iter().any(named) {
            let known = all.iter().filter_map(|object| object["name"].as_str());
            let hint = did_you_mean(name, known).map(|near| format!("; did you mean {near}?")).unwrap_or_default();
            complain(&format!("there is no {} {name}{hint}", kind.map_or("object", Kind::as_str)));
            return Ok(ExitCode::FAILURE);
        }
    }
    keep(&mut status["objects"], named);
    let found = status["objects"].as_array().map_or(0, Vec::len);
    match args.client.output {
        Format::Table if found == 0 => complain(&format!("no {}", kind.map_or("objects", Kind::plural))),
        Format::Table => {
            let of_these = |problem: &Value| {
                let same = |object: &Value| ["kind", "namespace", "name"].iter().all(|key| object[key] == problem[key]);
                status["objects"].as_array().is_some_and(|objects| objects.iter().any(same))
            };
            let mut problems = status["problems"].clone();
            keep(&mut problems, of_these);
            status["problems"] = problems;
            print!("{}", report::objects(&status));
            // One object by name is looked at because of what is said of it.
            if args.name.is_some() {
                print!(
                    "\n{}",
                    report::problems(&json!({"problems": status["problems"], "objects": status["objects"]}))
                );
            }
        }
        Format::Name => names(&status["objects"], kind_of),
        other if args.name.is_some() && found == 1 => print(&status["objects"][0], other)?,
        other => print(&status["objects"], other)?,
    }
    Ok(ExitCode::SUCCESS)
}

fn keep(list: &mut Value, wanted: impl Fn(&Value) -> bool) {
    if let Some(items) = list.as_array_mut() {
        items.retain(|item| wanted(item));
    }
}

fn kind_of(object: &Value) -> Option<Kind> {
    Kind::ALL.iter().copied().find(|kind| object["kind"] == kind.as_str())
}

/// `httproute.gateway.networking.k8s.io/NAME`, as kubectl prints names.
fn names(list: &Value, kind: impl Fn(&Value) -> Option<Kind>) {
    for item in list.as_array().into_iter().flatten() {
        let Some(kind) = kind(item) else { continue };
        let group = if kind.group().is_empty() { String::new() } else { format!(".{}", kind.group()) };
        let name = item["name"].as_str().unwrap_or_default();
        println!("{}{group}/{name}", kind.as_str().to_ascii_lowercase());
    }
}

#[allow(clippy::print_stderr, reason = "that is where mistakes on the command line are said")]
fn complain(text: &str) {
    eprintln!("{text}");
}
