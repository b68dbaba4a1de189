//! `ps`, `status` and `get`: what a running `waykeeper up` says of itself.
#![allow(clippy::print_stdout, reason = "printing is what these commands are for")]

use std::process::ExitCode;

use anyhow::bail;
use api::Kind;
use serde_json::Value;

use crate::args::Client;
use crate::{client, report};

/// `waykeeper ps`.
pub async fn ps(args: &Client) -> anyhow::Result<ExitCode> {
    let status = client::get(&args.admin, "/status").await?;
    if args.output == "json" {
        println!("{:#}", status["services"]);
    } else {
        print!("{}", report::services(&status));
    }
    Ok(ExitCode::SUCCESS)
}

/// `waykeeper status`: exit 1 when something is wrong.
pub async fn status(args: &Client, only: Option<Kind>) -> anyhow::Result<ExitCode> {
    let status = client::get(&args.admin, "/status").await?;
    let (text, well) = report::objects(&status, only.map(Kind::as_str));
    if args.output == "json" {
        println!("{:#}", of_kind(status, only));
    } else {
        print!("{text}");
    }
    Ok(if well { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// `waykeeper get KIND`.
pub async fn get(args: &Client, kind: &str) -> anyhow::Result<ExitCode> {
    let Some(kind) = find_kind(kind) else {
        let known: Vec<_> = Kind::ALL.iter().map(|k| k.plural()).collect();
        bail!("{kind:?} is not a kind; write one of {}", known.join(", "));
    };
    status(args, Some(kind)).await.map(|_| ExitCode::SUCCESS)
}

fn of_kind(mut status: Value, only: Option<Kind>) -> Value {
    if let (Some(kind), Some(objects)) = (only, status["objects"].as_array_mut()) {
        objects.retain(|o| o["kind"] == kind.as_str());
    }
    status
}

/// Singular or plural, in any case, or kubectl's short name.
fn find_kind(text: &str) -> Option<Kind> {
    let text = text.to_ascii_lowercase();
    let short = match text.as_str() {
        "svc" => "services",
        "ns" => "namespaces",
        "po" => "pods",
        "sa" => "serviceaccounts",
        "deploy" => "deployments",
        "cm" => "configmaps",
        "gtw" => "gateways",
        "gc" => "gatewayclasses",
        "ac" => "authconfigs",
        "rlc" => "ratelimitconfigs",
        "rtopts" | "ro" => "routeoptions",
        other => other,
    };
    Kind::ALL.iter().copied().find(|k| k.plural() == short || k.as_str().eq_ignore_ascii_case(short))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_go_by_all_their_names() {
        for text in ["httproutes", "HTTPRoute", "httproute"] {
            assert_eq!(find_kind(text), Some(Kind::HttpRoute), "{text}");
        }
        assert_eq!(find_kind("rlc"), Some(Kind::RateLimitConfig));
        assert_eq!(find_kind("nonsense"), None);
    }
}
