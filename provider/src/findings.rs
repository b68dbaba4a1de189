//! What a person should mend or know, a line each: file, line, object, field, what is wrong and
//! what to write instead.
//!
//! Everyone who has something to say about an object says it on the [`StatusBoard`], often the
//! same thing in several places. Here it becomes one list, each mistake once, with the place in
//! the file where it was written. The terminal, `status` and `validate` show this list.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use api::{ObjectRef, Severity};
use serde::Serialize;
use status::{ACCEPTED, Condition, PROGRAMMED, RESOLVED_REFS};

use crate::board::{FileStatus, Origins, StatusBoard};
use crate::manifest::locate::{Layout, Position};

/// The code of mistakes that belong to a file rather than to an object.
pub const FILE: &str = "File";
/// The code of a path that does not exist.
pub(crate) const NO_SUCH_PATH: &str = "NoSuchPath";
/// The code of a folder without manifests.
pub(crate) const NO_MANIFESTS: &str = "NoManifests";
/// So many mistakes are shown with the line of their field, others with that of their object.
const MAX_LOCATED: usize = 1_000;
/// Larger files than the provider reads have no lines to show.
const MAX_BYTES: u64 = 8 << 20;

/// One thing to mend or to know.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// Whether something does not work, or may not do what its author expects.
    pub severity: Severity,
    /// One word for programs: the reason of the condition, such as `BackendNotFound`, or [`FILE`].
    pub code: String,
    /// The file, where it is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub file: Option<PathBuf>,
    /// Line in it, from 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub line: Option<usize>,
    /// Column in that line, from 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub column: Option<usize>,
    /// The object, unless a file or path as a whole is meant.
    #[serde(flatten)]
    pub object: Option<ObjectRef>,
    /// Path of the field inside the object; empty for the object as a whole.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub field: String,
    /// What is wrong and what to write instead. Never holds a secret's value.
    pub message: String,
}

impl Finding {
    /// Whether something does not work.
    pub fn is_error(&self) -> bool {
        self.severity == Severity::Error
    }

    /// `FILE:LINE:COLUMN`, as editors and terminals take it; the path alone if no line is known.
    pub fn place(&self) -> Option<String> {
        let file = self.file.as_ref()?;
        let numbers = self.line.into_iter().chain(self.line.and(self.column));
        Some(numbers.fold(file.display().to_string(), |place, number| format!("{place}:{number}")))
    }

    /// What is said, without its place, which moves when something above it is edited.
    pub fn subject(&self) -> (Severity, Option<&ObjectRef>, Option<&Path>, &str, &str) {
        let file = if self.object.is_none() { self.file.as_deref() } else { None };
        (self.severity, self.object.as_ref(), file, &self.field, &self.message)
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.is_error() { "error: " } else { "warning: " })?;
        if let Some(place) = self.place() {
            write!(f, "{place}: ")?;
        }
        if let Some(object) = &self.object {
            write!(f, "{object}: ")?;
        }
        if !self.field.is_empty() {
            write!(f, "{}: ", self.field)?;
        }
        f.write_str(&self.message)
    }
}

/// Everything to mend or to know, by file and line. Reads the files in which something is wrong.
pub fn findings(board: &StatusBoard, paths: &[PathBuf]) -> Vec<Finding> {
    let mut found = on_board(board);
    on_paths(&mut found, paths, &board.files());
    locate(&mut found, &board.origins());
    drop_repeated(&mut found);
    found.sort_by(|a, b| order(a).cmp(&order(b)));
    found
}

/// An object is told what is wrong with its file; said once of the file, that is enough.
fn drop_repeated(found: &mut Vec<Finding>) {
    let files: BTreeSet<(PathBuf, String)> = found
        .iter()
        .filter(|finding| finding.object.is_none())
        .filter_map(|finding| Some((finding.file.clone()?, finding.message.clone())))
        .collect();
    let repeats = |finding: &Finding, (file, message): &(PathBuf, String)| {
        finding.file.as_ref() == Some(file) && finding.field.is_empty() && finding.message.ends_with(message.as_str())
    };
    found.retain(|finding| finding.object.is_none() || !files.iter().any(|file| repeats(finding, file)));
}

fn order(finding: &Finding) -> impl Ord + '_ {
    // What has no place is about no single file and comes first.
    (finding.file.as_ref(), finding.line, finding.column, &finding.object, &finding.field, &finding.message)
}

/// What is said on `board`, each thing once. Pure.
pub(crate) fn on_board(board: &StatusBoard) -> Vec<Finding> {
    let mut found = Vec::new();
    for file in board.files() {
        for problem in file.problems {
            found.push(Finding {
                severity: problem.severity,
                code: FILE.to_owned(),
                file: Some(file.path.clone()),
                line: problem.line,
                column: problem.column,
                object: None,
                field: String::new(),
                message: problem.message,
            });
        }
    }
    for (object, statuses) in board.remarks() {
        let mut said: BTreeMap<(String, String), (Severity, String)> = BTreeMap::new();
        for (_, status) in &statuses {
            let refused = status.conditions.iter().any(|c| c.kind == ACCEPTED && c.status == Some(false));
            for condition in &status.conditions {
                // That it is not programmed follows from its not being accepted.
                if refused && condition.kind == PROGRAMMED {
                    continue;
                }
                for (severity, field, message) in statements(condition) {
                    let known = said.entry((field, message)).or_insert_with(|| (severity, condition.reason.clone()));
                    known.0 = known.0.max(severity);
                }
            }
        }
        for ((field, message), (severity, code)) in said {
            let object = Some(object.clone());
            found.push(Finding { severity, code, file: None, line: None, column: None, object, field, message });
        }
    }
    found
}

/// What a condition says that is not as it should be.
fn statements(condition: &Condition) -> Vec<(Severity, String, String)> {
    let mut statements: Vec<_> =
        condition.problems.iter().map(|p| (p.severity, p.field.clone(), p.message.clone())).collect();
    // Whether the object itself is in force is never a mere warning; of other things it may be one.
    let in_force = [ACCEPTED, RESOLVED_REFS, PROGRAMMED].contains(&condition.kind.as_str());
    let explained = condition.problems.iter().any(|problem| problem.is_error() || !in_force);
    if condition.status == Some(false) && !explained {
        let message = if condition.message.is_empty() { &condition.reason } else { &condition.message };
        statements.push((Severity::Error, String::new(), message.clone()));
    }
    statements
}

/// What is wrong with the paths that were given: nothing there, or nothing in it.
fn on_paths(found: &mut Vec<Finding>, paths: &[PathBuf], files: &[FileStatus]) {
    for path in paths {
        if !path.exists() {
            let known = found.iter_mut().find(|f| f.object.is_none() && f.file.as_ref() == Some(path));
            let finding = match known {
                Some(finding) => finding,
                None => continue,
            };
            NO_SUCH_PATH.clone_into(&mut finding.code);
            if let Some(near) = near(path) {
                finding.message.push_str(&format!("; did you mean {}?", near.display()));
            }
        } else if path.is_dir() && !files.iter().any(|file| file.path.starts_with(path)) {
            found.push(Finding {
                severity: Severity::Warning,
                code: NO_MANIFESTS.to_owned(),
                file: Some(path.clone()),
                line: None,
                column: None,
                object: None,
                field: String::new(),
                message: "holds no manifests; put files ending in .yaml, .yml or .json there".to_owned(),
            });
        }
    }
}

/// What is there and is called nearly like `path`.
pub fn near(path: &Path) -> Option<PathBuf> {
    let missing = path.ancestors().take_while(|path| !path.exists()).last()?;
    let folder = missing.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let wanted = missing.file_name()?.to_string_lossy().into_owned();
    let names = std::fs::read_dir(folder).ok()?.flatten().map(|entry| entry.file_name());
    let names: Vec<String> = names.map(|name| name.to_string_lossy().into_owned()).collect();
    let close = did_you_mean(&wanted, names.iter().map(String::as_str))?;
    let below = path.strip_prefix(missing).ok()?;
    let mended = missing.with_file_name(close);
    let mended = if below.as_os_str().is_empty() { mended } else { mended.join(below) };
    mended.exists().then_some(mended)
}

/// The one of `known` that `written` was probably meant to be.
pub fn did_you_mean<'a>(written: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let written = written.to_lowercase();
    // One slip in three letters is a misspelling, more is another word.
    let most = written.chars().count() / 3;
    let slips = |known: &str| strsim::osa_distance(&written, &known.to_lowercase());
    let near = known.into_iter().map(|known| (slips(known), known)).filter(|(slips, _)| *slips <= most);
    near.min_by_key(|(slips, _)| *slips).map(|(_, known)| known)
}

/// Gives each finding about an object the place of its field.
fn locate(found: &mut [Finding], origins: &Origins) {
    let mut layouts: BTreeMap<Arc<Path>, Layout> = BTreeMap::new();
    let mut wanted = BTreeSet::new();
    for finding in found.iter_mut() {
        let Some(object) = &finding.object else { continue };
        let Some(origin) = origins.get(object) else { continue };
        (finding.file, finding.line) = (Some(origin.path.to_path_buf()), Some(origin.line));
        wanted.insert(origin.path.clone());
        if wanted.len() > MAX_LOCATED {
            continue;
        }
        let layout = layouts.entry(origin.path.clone()).or_insert_with(|| read(&origin.path));
        if let Some(Position { line, column }) = layout.find(object, &finding.field) {
            (finding.line, finding.column) = (Some(line), Some(column));
        }
    }
}

fn read(path: &Path) -> Layout {
    let small = std::fs::metadata(path).is_ok_and(|metadata| metadata.is_file() && metadata.len() <= MAX_BYTES);
    let text = if small { std::fs::read_to_string(path).unwrap_or_default() } else { String::new() };
    Layout::of(&text)
}

/// How many of them are errors, and how many are warnings.
pub fn count(findings: &[Finding]) -> (usize, usize) {
    let errors = findings.iter().filter(|finding| finding.is_error()).count();
    (errors, findings.len() - errors)
}

/// `2 errors, 1 warning`, or nothing.
pub fn tally(findings: &[Finding]) -> Option<String> {
    let (errors, warnings) = count(findings);
    let parts: Vec<String> = [(errors, "error"), (warnings, "warning")]
        .into_iter()
        .filter(|(number, _)| *number > 0)
        .map(|(number, what)| format!("{number} {what}{}", if number == 1 { "" } else { "s" }))
        .collect();
    (!parts.is_empty()).then(|| parts.join(", "))
}

#[cfg(test)]
mod tests {
    use api::{Kind, Problem};
    use status::{Diff, ObjectStatus, Report};

    use super::*;
    use crate::board::{FileProblem, Origin};

    fn said(conditions: Vec<Condition>) -> Report {
        let route = ObjectRef::new(Kind::HttpRoute, "x", "r");
        Report::from([(route, vec![ObjectStatus::new(conditions)])])
    }

    #[test]
    fn what_several_say_is_said_once_at_the_line_of_its_field() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("r.yaml");
        let text =
            "kind: HTTPRoute\nmetadata: {name: r, namespace: x}\nspec:\n  rules:\n  - backendRefs: [{name: gone}]\n";
        std::fs::write(&path, text).expect("a file");
        let board = StatusBoard::new();
        let origin = Origin { path: path.as_path().into(), line: 1, document: 1 };
        let origins = Origins::from_iter([(Arc::new(ObjectRef::new(Kind::HttpRoute, "x", "r")), origin)]);
        board.declare(origins, Diff::default());
        let gone = Problem::error("spec.rules[0].backendRefs[0]", "Service x/gone does not exist");
        let refs = Condition::fails(RESOLVED_REFS, "BackendNotFound", "…").with(vec![gone.clone()]);
        board.publish("one", said(vec![refs.clone(), Condition::accepted(vec![Problem::warning("", "odd")])]));
        board.publish("two", said(vec![refs]));
        let found = findings(&board, &[]);
        let texts: Vec<String> = found.iter().map(ToString::to_string).collect();
        let place = path.display();
        assert_eq!(
            texts,
            [
                format!("warning: {place}:1:1: HTTPRoute x/r: odd"),
                format!("error: {place}:5:19: HTTPRoute x/r: {}: Service x/gone does not exist", gone.field),
            ]
        );
        assert_eq!(tally(&found).as_deref(), Some("1 error, 1 warning"));
        let json = serde_json::to_value(&found[1]).expect("JSON");
        assert_eq!(
            (&json["code"], &json["kind"], &json["line"]),
            (&"BackendNotFound".into(), &"HTTPRoute".into(), &5.into())
        );
    }

    #[test]
    fn a_failure_without_details_is_one_finding_and_what_follows_from_it_none() {
        let board = StatusBoard::new();
        let refused = Condition::fails(ACCEPTED, "NotAttached", "no HTTPRoute refers to it");
        board.publish("waypoint", said(vec![refused, Condition::fails(PROGRAMMED, "Invalid", "not accepted")]));
        let texts: Vec<String> = on_board(&board).iter().map(ToString::to_string).collect();
        assert_eq!(texts, ["error: HTTPRoute x/r: no HTTPRoute refers to it"]);
    }

    #[test]
    fn a_path_that_is_not_there_and_a_folder_without_manifests_are_said() {
        let folder = tempfile::tempdir().expect("a folder");
        std::fs::create_dir(folder.path().join("examples")).expect("a folder");
        let (missing, empty) = (folder.path().join("exmaples"), folder.path().join("examples"));
        let board = StatusBoard::new();
        let problem = FileProblem::whole("does not exist (yet)");
        let file = FileStatus { path: missing.clone(), objects: 0, problems: vec![problem] };
        board.publish_files([(missing.clone(), file)].into_iter().collect());
        let found = findings(&board, &[missing, empty.clone()]);
        assert_eq!(found.len(), 2, "{found:#?}");
        assert!(found[1].message.ends_with(&format!("did you mean {}?", empty.display())), "{found:#?}");
        assert_eq!((found[0].code.as_str(), found[1].code.as_str()), (NO_MANIFESTS, NO_SUCH_PATH));
    }
}
