//! The same rules in both languages: three sets, each with limits `r00000`, `r00001`, ….

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use crate::message::{Dialect, Set};

/// Files with the rules.
#[derive(Debug, Clone)]
pub struct Files {
    /// The folder of envoyproxy/ratelimit's files: `<root>/rules/config`.
    pub root: PathBuf,
    /// The folder of RateLimitConfigs.
    pub objects: PathBuf,
}

/// Writes `rules` limits of each set under `at`.
///
/// # Errors
/// When that cannot be written.
pub fn write(at: &Path, rules: u32) -> anyhow::Result<Files> {
    let files = Files { root: at.join("envoy"), objects: at.join("gloo") };
    let config = files.root.join("rules").join("config");
    std::fs::create_dir_all(&config)?;
    std::fs::create_dir_all(&files.objects)?;
    for set in Set::ALL {
        let name = format!("{}.yaml", set.name());
        std::fs::write(config.join(&name), text(set, rules, Dialect::Envoy))?;
        std::fs::write(files.objects.join(&name), text(set, rules, Dialect::Gloo))?;
    }
    Ok(files)
}

fn text(set: Set, rules: u32, dialect: Dialect) -> String {
    let name = set.name();
    let (unit, limit) = match set {
        Set::Open => ("HOUR", u32::MAX),
        Set::Shut => ("HOUR", 1),
        Set::Brief => ("SECOND", u32::MAX),
    };
    let (mut text, indent, rate_limit, requests) = match dialect {
        Dialect::Envoy => (format!("domain: {name}\ndescriptors:\n"), "", "rate_limit", "requests_per_unit"),
        Dialect::Gloo => {
            let head = format!(
                "apiVersion: ratelimit.solo.io/v1alpha1\nkind: RateLimitConfig\nmetadata:\n  name: {name}\n  \
                 namespace: bench\nspec:\n  raw:\n    descriptors:\n"
            );
            (head, "    ", "rateLimit", "requestsPerUnit")
        }
    };
    for rule in 0..rules {
        let _ = writeln!(
            text,
            "{indent}- key: r{rule:05}\n{indent}  {rate_limit}:\n{indent}    unit: {unit}\n{indent}    {requests}: {limit}"
        );
    }
    text
}
