//! Everything that can be said of rules without serving them.

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use api::{Kind, Reader, Snapshot};
use provider::validate::{Author, ValidateArgs};
use status::Report;

use dropin::check;
use rules::config::{Configs, DOMAINS, Index, Scope, WeightScope};

/// Prints everything that is wrong with the kinds that hold rules, or with files of envoyproxy/ratelimit.
pub fn validate(args: &ValidateArgs, out: &mut impl Write) -> ExitCode {
    let files = check::files(&args.paths);
    if !files.is_empty() {
        return check::print(args, &files, out);
    }
    let author = Author::new(rules::config::AUTHOR, report);
    provider::validate::run(args, Some(&Kind::read_by(Reader::RateLimits)), &[author], out)
}

/// What this service would say of what is declared.
pub fn report(snapshot: &Snapshot) -> Report {
    Configs::new(default_scope(WeightScope::default())).update(snapshot).report
}

fn default_scope(weights: WeightScope) -> Scope {
    let domains: Vec<Box<str>> = DOMAINS.map(Box::from).to_vec();
    Scope { domains: Arc::from(domains), weights }
}

/// What was found in files.
#[derive(Debug)]
pub struct Checked {
    /// Why something cannot be used, a line each.
    pub errors: Vec<String>,
    /// What is likely not meant, a line each.
    pub warnings: Vec<String>,
    /// Whether everything can be used.
    pub good: bool,
    /// How many RateLimitConfigs there are.
    pub configs: usize,
    /// What would be served.
    pub index: Index,
}

/// Reads and compiles the manifests in `paths`, files or folders, for the domains served by default.
pub fn check(paths: &[PathBuf], weights: WeightScope) -> Checked {
    let loaded = provider::load(paths);
    let (mut errors, mut warnings) = (Vec::new(), Vec::new());
    let mut good = true;
    for file in loaded.files.values() {
        for problem in &file.problems {
            good = false;
            let place = problem.line.map(|line| format!(":{line}")).unwrap_or_default();
            errors.push(format!("{}{place}: {}", file.path.display(), problem.message));
        }
    }
    let outcome = Configs::new(default_scope(weights)).update(&loaded.snapshot);
    let configs = outcome.report.len();
    for (object, statuses) in outcome.report {
        for condition in statuses.iter().flat_map(|status| &status.conditions) {
            good &= condition.status != Some(false);
            for problem in &condition.problems {
                let kind = if problem.is_error() { &mut errors } else { &mut warnings };
                kind.push(format!("{object}: {problem}"));
            }
        }
    }
    Checked { errors, warnings, good, configs, index: outcome.index }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn every_file_that_cannot_be_read_is_told_with_its_line() {
        let folder = tempfile::tempdir().unwrap();
        for name in ["a.yaml", "b.yaml"] {
            std::fs::write(folder.path().join(name), "kind: [\n").unwrap();
        }
        let checked = check(&[folder.path().to_owned()], WeightScope::default());
        let named = |name: &str| checked.errors.iter().any(|error| error.contains(&format!("{name}:")));
        assert!(named("a.yaml") && named("b.yaml") && !checked.good, "{:?}", checked.errors);
    }

    /// RateLimitConfigs and RouteOptions hold rules; what is wrong with other kinds is other programs' to say.
    #[test]
    fn whatever_holds_rules_is_validated_and_nothing_else() {
        let option = |limit: &str| {
            format!(
                "apiVersion: gateway.solo.io/v1\nkind: RouteOption\nmetadata: {{name: o}}\nspec: {{targetRefs: [{{group: gateway.networking.k8s.io, kind: HTTPRoute, name: r}}], options: {{ratelimitBasic: {{anonymousLimits: {{requestsPerUnit: 5, unit: {limit}}}}}}}}}\n"
            )
        };
        let config = |limit: &str| {
            format!(
                "apiVersion: ratelimit.solo.io/v1alpha1\nkind: RateLimitConfig\nmetadata: {{name: c}}\nspec: {{raw: {{descriptors: [{{key: k, rateLimit: {{requestsPerUnit: 5, unit: {limit}}}}}]}}}}\n"
            )
        };
        let other = "apiVersion: extauth.solo.io/v1\nkind: AuthConfig\nmetadata: {name: a}\nspec: {configs: []}\n";
        for (text, objects, place) in [
            (option("MINUTE"), 1, None),
            (option("MINUTES"), 1, Some("RouteOption default/o: spec.options.ratelimitBasic.anonymousLimits.unit")),
            (config("MINUTE"), 1, None),
            (config("MINUTES"), 1, Some("RateLimitConfig default/c: spec.raw.descriptors[0].rateLimit.unit")),
            (other.to_owned(), 0, None),
        ] {
            let folder = tempfile::tempdir().unwrap();
            std::fs::write(folder.path().join("a.yaml"), &text).unwrap();
            let args = ValidateArgs {
                paths: vec![folder.path().to_owned()],
                output: provider::validate::Output::Text,
                strict: false,
            };
            let mut said = Vec::new();
            let code = validate(&args, &mut said);
            let said = String::from_utf8(said).unwrap();
            let counted = format!("{objects} object{} in 1 file", if objects == 1 { "" } else { "s" });
            assert!(said.contains(&counted), "{text}{said}");
            let bad = place.is_some();
            assert_eq!(format!("{code:?}") == format!("{:?}", ExitCode::FAILURE), bad, "{text}{said}");
            assert!(place.is_none_or(|place| said.contains(place)), "{text}{said}");
        }
    }
}
