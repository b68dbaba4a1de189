//! `validate` for envoyproxy/ratelimit's files: what is wrong with them, by file and line.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use api::{Problem, Severity};
use provider::findings::{Finding, count};
use provider::validate::{Output, ValidateArgs};
use serde_json::json;

use super::domains::{Content, Sources};
use super::env::FilesAt;
use super::marks;
use super::stats::Stats;

/// The code of what is wrong with such a file.
const CODE: &str = "RateLimitFile";

/// The files in `paths`, if all that can be read there are that server's. Manifests are somebody else's.
pub fn files(paths: &[PathBuf]) -> BTreeMap<PathBuf, String> {
    let mut found = BTreeMap::new();
    for path in paths {
        let texts = match path.is_dir() {
            true => in_folder(path),
            false => std::fs::read_to_string(path).map(|text| (path.clone(), text)).into_iter().collect(),
        };
        if texts.is_empty() || !texts.iter().all(|(_, text)| is_meant(text)) {
            return BTreeMap::new();
        }
        found.extend(texts);
    }
    found
}

fn in_folder(folder: &Path) -> Vec<(PathBuf, String)> {
    let at = FilesAt { directory: folder.to_owned(), only: None, ignore_dot_files: true };
    let Ok(seen) = super::files::look(&at) else { return Vec::new() };
    let texts = super::files::read(&seen).into_iter().filter_map(|(name, content)| match content {
        Content::Text(text) => Some((seen.path(&name)?.to_owned(), text.to_string())),
        _ => None,
    });
    texts.collect()
}

/// Whether `text` has a domain and is no manifest. Also a file that cannot be parsed has a first line.
fn is_meant(text: &str) -> bool {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let begins = |key: &str| {
        let has = |line: &str| line.strip_prefix(key).is_some_and(|rest| rest.trim_start().starts_with(':'));
        text.lines().any(|line| has(line.trim_start_matches(['{', ' ', '"'])) && !line.starts_with("  "))
    };
    (begins("domain") || begins("descriptors")) && !begins("apiVersion") && !begins("kind")
}

/// Prints what is wrong with `files`. Exits 0 when they can all be used.
pub fn print(args: &ValidateArgs, files: &BTreeMap<PathBuf, String>, out: &mut impl Write) -> ExitCode {
    let findings = findings(files);
    let (errors, warnings) = count(&findings);
    let good = errors == 0 && !(args.strict && warnings > 0);
    // A reader that went away is no reason to change the verdict.
    let _ = match args.output {
        Output::Json => {
            let value = json!({"valid": good, "files": files.len(), "errors": errors, "warnings": warnings, "problems": findings});
            writeln!(out, "{value:#}")
        }
        Output::Text => findings.iter().try_for_each(|finding| writeln!(out, "{finding}")).and_then(|()| {
            let verdict = if errors == 0 { "valid" } else { "not valid" };
            writeln!(
                out,
                "{} files of envoyproxy/ratelimit, {verdict}: {errors} errors, {warnings} warnings",
                files.len()
            )
        }),
    };
    if good { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// What is wrong with `files`, each alone and all together.
fn findings(files: &BTreeMap<PathBuf, String>) -> Vec<Finding> {
    let by_name: BTreeMap<String, &PathBuf> = files.keys().map(|path| (path.display().to_string(), path)).collect();
    let sources = files.iter().map(|(path, text)| (path.display().to_string(), Content::Text(text.as_str().into())));
    let outcome = Sources::new(false, Stats::new()).update(sources.collect());
    let finding = |(name, problem): (String, Problem)| {
        let path = by_name.get(&name).copied();
        let text = path.and_then(|path| files.get(path)).map_or("", String::as_str);
        let (line, column) = place(text, &problem);
        Finding {
            severity: if problem.is_error() { Severity::Error } else { Severity::Warning },
            code: CODE.to_owned(),
            file: path.cloned(),
            line,
            column,
            object: None,
            field: problem.field,
            message: problem.message,
        }
    };
    outcome.problems.into_iter().map(finding).collect()
}

/// Where in `text` the problem is: by its field, or by what the parser says of what it cannot read.
fn place(text: &str, problem: &Problem) -> (Option<usize>, Option<usize>) {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    if let Some(mark) = marks::first(text) {
        let (line, column) = mark.find(&problem.field);
        return (Some(line), Some(column));
    }
    let number =
        |after: &str| problem.message.split_once(after)?.1.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok();
    (number(" at line "), number(" column "))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(files: &[(&str, &str)]) -> Vec<String> {
        let files = files.iter().map(|(name, text)| (PathBuf::from(name), (*text).to_owned())).collect();
        findings(&files).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn each_mistake_is_told_with_its_line() {
        let got = said(&[
            ("a.yaml", "domain: d\ndescriptors:\n- key: k\n  rate_limit:\n    unit: eon\n"),
            ("b.yaml", "domain: e\ndescriptors:\n- key: k\n  ratelimit: {}\n"),
            ("c.yaml", "domain: f\ndescriptors:\n- key: k\n  0.25: x\n"),
            ("d.yaml", "domain: g\ndescriptors: [\n"),
            ("e.yaml", "domain: d\n"),
        ])
        .join("\n");
        for words in [
            "a.yaml:5:5: descriptors[0].rate_limit.unit: invalid rate limit unit 'eon'",
            "b.yaml:4:3: descriptors[0].ratelimit: config error, unknown key 'ratelimit'",
            "c.yaml:4:3: descriptors[0].0.25: config error, unknown key '0.25'",
            "d.yaml:",
            "e.yaml:1:1: domain: duplicate domain 'd'",
        ] {
            assert!(got.contains(words), "no {words} in\n{got}");
        }
    }

    #[test]
    fn that_servers_files_are_told_from_manifests() {
        for meant in [
            "domain: a\n",
            "# x\ndescriptors: []\ndomain: a\n",
            "{domain: a, descriptors: []}",
            "\u{feff}domain: a",
            "domain: [\n",
        ] {
            assert!(is_meant(meant), "{meant}");
        }
        for not in ["", "apiVersion: v1\nkind: Service\nspec:\n  domain: a\n", "kind: X\ndomain: a\n", "x: 1\n"] {
            assert!(!is_meant(not), "{not}");
        }
    }
}
