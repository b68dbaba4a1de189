//! What the terminal of `waykeeper up` says of mistakes: each one when it is made, and when it is
//! mended, once.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::time::Duration;

use api::ObjectRef;
use provider::{Finding, Origins, StatusBoard, findings};
use runtime::Shutdown;
use runtime::telemetry::LogFormat;

/// How long the board must be quiet: the parts speak of one change one after the other.
const QUIET: Duration = Duration::from_millis(150);
/// After how long it is read although it is not quiet.
const PATIENCE: Duration = Duration::from_secs(1);
/// The most lines about one change.
const MOST: usize = 40;
/// The most lines about one object.
const MOST_OF_ONE: usize = 8;
/// The longest line; what is longer repeats something that is far too long in a manifest.
const LONGEST: usize = 600;

/// Follows the board until shutdown.
///
/// # Errors
/// Never.
pub async fn follow(
    board: StatusBoard,
    paths: Vec<PathBuf>,
    format: LogFormat,
    shutdown: Shutdown,
) -> anyhow::Result<()> {
    let mut changes = board.subscribe();
    let mut shown = Vec::new();
    loop {
        let quiet = async { while let Ok(Ok(())) = tokio::time::timeout(QUIET, changes.changed()).await {} };
        tokio::select! {
            () = shutdown.begun() => return Ok(()),
            _ = tokio::time::timeout(PATIENCE, quiet) => {}
        }
        let (read, given) = (board.clone(), paths.clone());
        let Ok(now) = tokio::task::spawn_blocking(move || findings::findings(&read, &given)).await else { continue };
        say(&news(&shown, &now, &board.origins()), format);
        shown = now;
        tokio::select! {
            () = shutdown.begun() => return Ok(()),
            changed = changes.changed() => if changed.is_err() { return Ok(()) },
        }
    }
}

/// One line to print.
#[derive(Debug, PartialEq, Eq)]
enum News<'a> {
    /// Something new is wrong.
    Found(&'a Finding),
    /// Something is as it should be again.
    Mended(String),
}

/// What is new since `before`. Pure.
fn news<'a>(before: &[Finding], now: &'a [Finding], declared: &Origins) -> Vec<News<'a>> {
    let (old, new): (BTreeSet<_>, BTreeSet<_>) =
        (before.iter().map(Finding::subject).collect(), now.iter().map(Finding::subject).collect());
    let found = now.iter().filter(|finding| !old.contains(&finding.subject())).map(News::Found);
    let mut mended = BTreeSet::new();
    for gone in before.iter().filter(|finding| !new.contains(&finding.subject())) {
        let about =
            |other: &&Finding| other.object == gone.object && (gone.object.is_some() || other.file == gone.file);
        let left: Vec<_> = now.iter().filter(about).collect();
        match &gone.object {
            // What is not declared any more is not mended.
            Some(object) if !declared.contains_key(object) => {}
            Some(object) if left.is_empty() => drop(mended.insert(place(declared, object))),
            // Another mistake in the same field is not mended either.
            Some(object) if left.iter().all(|other| other.field != gone.field) => {
                mended.insert(format!("{}: {}", place(declared, object), gone.field));
            }
            None if left.is_empty() => mended.extend(gone.file.as_ref().map(|file| file.display().to_string())),
            _ => {}
        }
    }
    found.chain(mended.into_iter().map(News::Mended)).collect()
}

fn place(declared: &Origins, object: &ObjectRef) -> String {
    match declared.get(object) {
        Some(origin) => format!("{}: {object}", origin.path.display()),
        None => object.to_string(),
    }
}

/// So many of them as somebody may read, and how many more there are. Pure.
fn readable<'n, 'a>(news: &'n [News<'a>]) -> (Vec<&'n News<'a>>, usize) {
    let mut of_one: BTreeMap<Option<&ObjectRef>, usize> = BTreeMap::new();
    let few = |line: &&News<'a>| match line {
        News::Found(Finding { object: Some(object), .. }) => {
            let seen = of_one.entry(Some(object)).or_default();
            *seen += 1;
            *seen <= MOST_OF_ONE
        }
        _ => true,
    };
    let shown: Vec<_> = news.iter().filter(few).take(MOST).collect();
    let more = news.len() - shown.len();
    (shown, more)
}

#[allow(clippy::print_stderr, reason = "the terminal is what this is for")]
fn say(news: &[News<'_>], format: LogFormat) {
    let (shown, more) = readable(news);
    for line in shown {
        match (line, format) {
            (News::Found(finding), LogFormat::Text) => eprintln!("{}", cut(finding.to_string())),
            (News::Mended(what), LogFormat::Text) => eprintln!("mended: {what}"),
            (News::Found(finding), LogFormat::Json) => tracing::warn!(
                severity = if finding.is_error() { "error" } else { "warning" },
                code = finding.code,
                place = finding.place(),
                object = finding.object.as_ref().map(ToString::to_string),
                field = finding.field,
                problem = finding.message,
                "something declared is not as it should be"
            ),
            (News::Mended(what), LogFormat::Json) => tracing::info!(what, "mended"),
        }
    }
    match format {
        _ if more == 0 => {}
        LogFormat::Text => eprintln!("… and {more} more; see `waykeeper status`"),
        LogFormat::Json => tracing::warn!(more, "and more; see `waykeeper status`"),
    }
}

fn cut(line: String) -> String {
    match line.char_indices().nth(LONGEST) {
        Some((end, _)) => format!("{}…", &line[..end]),
        None => line,
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::sync::Arc;

    use api::{Kind, Severity};
    use provider::Origin;

    use super::*;

    fn finding(name: Option<&str>, field: &str, message: &str) -> Finding {
        Finding {
            severity: Severity::Error,
            code: "Invalid".to_owned(),
            file: Some("a.yaml".into()),
            line: Some(1),
            column: None,
            object: name.map(|name| ObjectRef::new(Kind::HttpRoute, "x", name)),
            field: field.to_owned(),
            message: message.to_owned(),
        }
    }

    fn lines(before: &[Finding], now: &[Finding]) -> Vec<String> {
        let declared = |name: &str| {
            (
                Arc::new(ObjectRef::new(Kind::HttpRoute, "x", name)),
                Origin { path: Path::new("a.yaml").into(), line: 1, document: 1 },
            )
        };
        let declared = Origins::from_iter([declared("r"), declared("s")]);
        let text = |news: News<'_>| match news {
            News::Found(finding) => finding.to_string(),
            News::Mended(what) => format!("mended: {what}"),
        };
        news(before, now, &declared).into_iter().map(text).collect()
    }

    #[test]
    fn each_mistake_is_said_once_and_so_is_its_mending() {
        let one = finding(Some("r"), "spec.a", "wrong");
        let said = ["error: a.yaml:1: HTTPRoute x/r: spec.a: wrong"];
        assert_eq!(lines(&[], std::slice::from_ref(&one)), said);
        // A line added above it is no news.
        let moved = Finding { line: Some(7), ..one.clone() };
        assert!(lines(std::slice::from_ref(&one), &[moved]).is_empty());
        assert_eq!(lines(std::slice::from_ref(&one), &[]), ["mended: a.yaml: HTTPRoute x/r"]);
        let other = finding(Some("r"), "spec.b", "wrong too");
        let both = [one.clone(), other.clone()];
        assert_eq!(lines(&both, std::slice::from_ref(&other)), ["mended: a.yaml: HTTPRoute x/r: spec.a"]);
        let again = finding(Some("r"), "spec.a", "still wrong");
        assert_eq!(
            lines(std::slice::from_ref(&one), &[again]),
            ["error: a.yaml:1: HTTPRoute x/r: spec.a: still wrong"]
        );
    }

    #[test]
    fn one_object_with_many_mistakes_leaves_room_for_others() {
        let many: Vec<_> = (0..30).map(|n| finding(Some("r"), &format!("spec.f{n}"), "wrong")).collect();
        let both = [many, vec![finding(Some("s"), "spec", &"x".repeat(9_000))]].concat();
        let news = news(&[], &both, &Origins::default());
        let (shown, more) = readable(&news);
        assert_eq!((shown.len(), more), (9, 22));
        assert!(matches!(shown[8], News::Found(last) if cut(last.to_string()).chars().count() == LONGEST + 1));
    }

    #[test]
    fn what_was_deleted_is_not_called_mended() {
        assert!(lines(&[finding(Some("deleted"), "spec.a", "wrong")], &[]).is_empty());
        assert_eq!(lines(&[finding(None, "", "not YAML")], &[]), ["mended: a.yaml"]);
    }
}
