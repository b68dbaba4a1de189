//! Where the configuration comes from: files, or a management server.

use std::collections::BTreeMap;
use std::path::{Component, Path, PathBuf};
use std::time::Duration;

use runtime::tls::ClientTls;

use super::Reader;

/// Where the configuration comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// Files below a directory.
    Files(FilesAt),
    /// A management server.
    Xds(Box<XdsSettings>),
}

/// Which files are read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FilesAt {
    /// What is walked.
    pub directory: PathBuf,
    /// Of what is found, only names that begin with this and a dot; folders count as dots.
    pub only: Option<String>,
    /// Leave out what begins with a dot.
    pub ignore_dot_files: bool,
}

/// How a management server is spoken to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct XdsSettings {
    /// `host:port`.
    pub server: String,
    /// Who we are.
    pub node_id: String,
    /// What we say of ourselves.
    pub node_metadata: BTreeMap<String, String>,
    /// Sent with the stream.
    pub headers: BTreeMap<String, String>,
    /// TLS; none, plaintext.
    pub tls: Option<ClientTls>,
    /// The name its certificate must have, if another than that of its host.
    pub san: Option<String>,
    /// The first wait before connecting again, and the longest.
    pub backoff: (Duration, Duration),
    /// How large a message may be.
    pub most_bytes: Option<usize>,
}

/// Reads where the configuration comes from.
pub fn read(env: &mut Reader<'_>) -> Source {
    let kind = env.text("CONFIG_TYPE", "FILE");
    let files = files(env, kind == "FILE");
    let xds = xds(env);
    match kind.as_str() {
        "FILE" => Source::Files(files),
        "GRPC_XDS_SOTW" => Source::Xds(Box::new(xds)),
        _ => {
            env.mistake("CONFIG_TYPE", "is neither FILE nor GRPC_XDS_SOTW");
            Source::Files(files)
        }
    }
}

fn files(env: &mut Reader<'_>, used: bool) -> FilesAt {
    let root = PathBuf::from(env.text("RUNTIME_ROOT", "/srv/runtime_data/current"));
    let sub = env.text("RUNTIME_SUBDIRECTORY", "");
    let app = env.text("RUNTIME_APPDIRECTORY", "config");
    let ignore_dot_files = env.flag("RUNTIME_IGNOREDOTFILES", false);
    let watch_root = env.flag("RUNTIME_WATCH_ROOT", true);
    if watch_root {
        if sub.is_empty() && used {
            env.mistake(
                "RUNTIME_SUBDIRECTORY",
                "is not set, so nothing would be limited: name the folder in RUNTIME_ROOT",
            );
        }
        FilesAt { directory: below(&root, &[&sub]), only: Some(app), ignore_dot_files }
    } else {
        FilesAt { directory: below(&root, &[&sub, &app]), only: None, ignore_dot_files }
    }
}

/// `root/part/part`, as Go joins paths: what begins with a slash is below `root` like all else, and
/// `.` and `..` are resolved by their spelling.
fn below(root: &Path, parts: &[&str]) -> PathBuf {
    let mut joined = PathBuf::new();
    let parts = parts.iter().flat_map(|part| Path::new(part).components()).filter(|part| *part != Component::RootDir);
    for part in root.components().chain(parts) {
        match part {
            Component::CurDir => {}
            Component::ParentDir if joined.file_name().is_some() => drop(joined.pop()),
            // Nothing is above the root.
            Component::ParentDir if joined.has_root() => {}
            part => joined.push(part),
        }
    }
    joined
}

fn xds(env: &mut Reader<'_>) -> XdsSettings {
    let tls = env.flag("CONFIG_GRPC_XDS_SERVER_USE_TLS", false);
    let client = ClientTls {
        client: env.pair("CONFIG_GRPC_XDS_CLIENT_TLS_CERT", "CONFIG_GRPC_XDS_CLIENT_TLS_KEY"),
        ca: env.path("CONFIG_GRPC_XDS_SERVER_TLS_CACERT"),
        check_hostname: true,
    };
    if tls && client.ca.is_none() {
        env.mistake("CONFIG_GRPC_XDS_SERVER_TLS_CACERT", "is not set: name the file with the authorities to trust");
    }
    let first = env.duration("XDS_CLIENT_BACKOFF_INITIAL_INTERVAL", Duration::from_secs(10));
    let longest = env.duration("XDS_CLIENT_BACKOFF_MAX_INTERVAL", Duration::from_secs(60));
    let retry = env.duration("CONFIG_GRPC_XDS_SERVER_CONNECT_RETRY_INTERVAL", Duration::from_secs(3));
    XdsSettings {
        server: env.text("CONFIG_GRPC_XDS_SERVER_URL", "localhost:18000"),
        node_id: env.text("CONFIG_GRPC_XDS_NODE_ID", "default"),
        node_metadata: env.map("CONFIG_GRPC_XDS_NODE_METADATA", '='),
        headers: env.map("CONFIG_GRPC_XDS_CLIENT_ADDITIONAL_HEADERS", ':'),
        tls: tls.then_some(client),
        san: env.optional("CONFIG_GRPC_XDS_SERVER_TLS_SAN"),
        backoff: (first.min(retry), longest.max(first)),
        most_bytes: env.optional_number("XDS_CLIENT_MAX_MSG_SIZE_IN_BYTES"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_joined_as_go_joins_them() {
        for (root, parts, joined) in [
            ("/data", ["/x", "config"], "/data/x/config"),
            ("/data/", ["x/", "/config/"], "/data/x/config"),
            ("/data", ["/", "config"], "/data/config"),
            ("/data", ["", "."], "/data"),
            ("/data", ["../other", "config"], "/other/config"),
            ("/", ["../..", "config"], "/config"),
            ("data", ["../..", "x"], "../x"),
        ] {
            assert_eq!(below(Path::new(root), &parts), Path::new(joined), "{root} {parts:?}");
        }
    }
}
