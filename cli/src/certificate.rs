//! `waykeeper certificate`: what a server needs to be tried out with TLS.

use anyhow::Context as _;
use waypoint::tls::{TlsDir, private_dir, write_private};

use crate::args::Certificate;

/// Makes what is missing, and copies it to where it is used.
///
/// # Errors
/// When a file cannot be read or written.
pub fn run(args: &Certificate) -> anyhow::Result<()> {
    let server = TlsDir::open(&args.authority, &args.hosts)?.server();
    for (from, folder, name) in [
        (&server.key, &args.out, "server.key"),
        (&server.cert, &args.out, "server.pem"),
        (&server.client_ca, &args.ca_out, "ca.pem"),
    ] {
        private_dir(folder)?;
        let text = std::fs::read_to_string(from).with_context(|| format!("reading {}", from.display()))?;
        write_private(&folder.join(name), &text)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_authoritys_key_stays_with_the_authority() {
        let dir = tempfile::tempdir().unwrap();
        let [authority, out, ca_out] = ["authority", "out", "ca"].map(|name| dir.path().join(name));
        let args = Certificate { authority, hosts: vec!["redis".to_owned()], out: out.clone(), ca_out: ca_out.clone() };
        run(&args).unwrap();
        let before = std::fs::read(out.join("server.pem")).unwrap();
        run(&args).unwrap();
        assert_eq!(std::fs::read(out.join("server.pem")).unwrap(), before, "a restart changes nothing");
        let names = |dir: &std::path::Path| {
            let mut names: Vec<_> = std::fs::read_dir(dir).unwrap().map(|e| e.unwrap().file_name()).collect();
            names.sort();
            names
        };
        assert_eq!(names(&out), ["server.key", "server.pem"]);
        assert_eq!(names(&ca_out), ["ca.pem"]);
    }
}
