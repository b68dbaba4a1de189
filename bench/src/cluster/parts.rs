//! The processes: the control plane, and an Envoy as in the pod of a Gateway.

use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use tempfile::TempDir;
use waykeeper_bench::client::{self, Reply};
use waykeeper_bench::process::{Process, free_address};
use waykeeper_tests::alone::envoy;
use waykeeper_tests::kubernetes::Cluster;
use waykeeper_tests::raw::proxy_header;

use crate::objects::PORT;
use crate::table::Memory;

/// Where everything is.
pub const NAMESPACE: &str = "bench";
/// The Gateway.
pub const GATEWAY: &str = "waypoint";
/// Where its Envoy listens.
pub const ENVOY_PORT: u16 = 15088;
/// For whom tokens are that Envoys show.
const AUDIENCE: &str = "xds.waykeeper.dev";
/// Nothing was written for so long: nothing more is.
const RESTS: Duration = Duration::from_secs(3);

/// Files and addresses that the processes share, and that stay when one of them begins anew.
#[derive(Debug)]
pub struct Workplace {
    dir: TempDir,
    kubeconfig: PathBuf,
    xds: SocketAddr,
    admin: SocketAddr,
}

impl Workplace {
    /// With a certificate for `localhost`, and a token of the Gateway's ServiceAccount.
    ///
    /// # Errors
    /// When no file can be written.
    pub fn new(cluster: &Cluster) -> anyhow::Result<Workplace> {
        let dir = TempDir::new()?;
        let mut params = rcgen::CertificateParams::new(Vec::new())?;
        params.distinguished_name.push(rcgen::DnType::CommonName, "who signs");
        params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        let authority = rcgen::CertifiedIssuer::self_signed(params, rcgen::KeyPair::generate()?)?;
        let key = rcgen::KeyPair::generate()?;
        let certificate = rcgen::CertificateParams::new(vec!["localhost".to_owned()])?.signed_by(&key, &authority)?;
        let token = cluster.token_for(NAMESPACE, &format!("gloo-proxy-{GATEWAY}"), AUDIENCE);
        for (name, text) in
            [("ca", authority.pem()), ("cert", certificate.pem()), ("key", key.serialize_pem()), ("token", token)]
        {
            std::fs::write(dir.path().join(name), text)?;
        }
        Ok(Workplace { dir, kubeconfig: cluster.admin(None), xds: free_address()?, admin: free_address()? })
    }

    fn path(&self, name: &str) -> String {
        self.dir.path().join(name).display().to_string()
    }
}

/// The control plane.
#[derive(Debug)]
pub struct Waypoint {
    process: Process,
    admin: SocketAddr,
    log: PathBuf,
}

impl Waypoint {
    /// Starts it.
    ///
    /// # Errors
    /// When there is no such program.
    pub fn start(ours: &Path, place: &Workplace) -> anyhow::Result<Waypoint> {
        let log = place.dir.path().join("waypoint.log");
        let mut command = Command::new(ours);
        command.args(["--kubernetes", "--own-namespace", "default", "--kubeconfig"]).arg(&place.kubeconfig);
        command.args(["--grpc", &place.xds.to_string(), "--admin", &place.admin.to_string()]);
        command.args(["--tls-cert", &place.path("cert"), "--tls-key", &place.path("key")]);
        Ok(Waypoint { process: Process::start(&mut command, &log)?, admin: place.admin, log })
    }

    /// What it has to say.
    pub fn log(&self) -> String {
        tail(&self.log)
    }

    /// Its memory.
    pub fn memory(&self) -> Memory {
        Memory { now: self.process.resident(), peak: self.process.peak() }
    }

    fn page(&self, path: &str) -> anyhow::Result<String> {
        let mut connection = TcpStream::connect(self.admin)?;
        connection.write_all(format!("GET {path} HTTP/1.1\r\nhost: bench\r\nconnection: close\r\n\r\n").as_bytes())?;
        let mut page = String::new();
        connection.read_to_string(&mut page)?;
        Ok(page)
    }

    /// Waits until it is ready to tell Envoys.
    ///
    /// # Errors
    /// When that is not so within `patience`.
    pub fn until_ready(&self, patience: Duration) -> anyhow::Result<()> {
        let begun = Instant::now();
        while !self.page("/readyz").is_ok_and(|page| page.starts_with("HTTP/1.1 200")) {
            if begun.elapsed() > patience {
                bail!("not ready within {patience:?}: {:?}\n{}", self.page("/readyz"), self.log());
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        Ok(())
    }

    /// How many statuses of objects came to this.
    ///
    /// # Errors
    /// When it does not answer.
    pub fn statuses(&self, outcome: &str) -> anyhow::Result<u64> {
        let page = self.page("/metrics")?;
        let counted = page.lines().filter(|line| {
            line.starts_with("waykeeper_kubernetes_statuses_total{") && line.contains(&format!("outcome=\"{outcome}\""))
        });
        Ok(counted.filter_map(|line| line.rsplit(' ').next()?.parse::<u64>().ok()).sum())
    }

    /// Waits until at least so many statuses were looked at, and none has been written for a while.
    ///
    /// # Errors
    /// When that is not so within `patience`.
    pub fn until_statuses_rest(&self, least: usize, patience: Duration) -> anyhow::Result<()> {
        let begun = Instant::now();
        let (mut last, mut since) = ((0, 0), Instant::now());
        loop {
            let now = (self.statuses("written").unwrap_or_default(), self.statuses("stands").unwrap_or_default());
            if now != last {
                (last, since) = (now, Instant::now());
            }
            if since.elapsed() > RESTS && now.0 + now.1 >= least as u64 {
                return Ok(());
            }
            if begun.elapsed() > patience {
                bail!("statuses are still being written after {patience:?}: {now:?}\n{}", self.log());
            }
            std::thread::sleep(Duration::from_millis(100));
        }
    }

    /// Ends it as a rollout does.
    ///
    /// # Errors
    /// When it does not end.
    pub fn stop(self) -> anyhow::Result<()> {
        let Waypoint { process, log, .. } = self;
        process.terminate(Duration::from_secs(30)).with_context(|| tail(&log))
    }
}

/// The last lines of a log.
fn tail(log: &Path) -> String {
    let log = std::fs::read_to_string(log).unwrap_or_default();
    let lines: Vec<&str> = log.lines().collect();
    lines[lines.len().saturating_sub(20)..].join("\n")
}

/// The Envoy of the Gateway, and its supervisor.
#[derive(Debug)]
pub struct Envoy {
    _process: Process,
    log: PathBuf,
}

impl Envoy {
    /// Starts them.
    ///
    /// # Errors
    /// When there is no such program.
    pub fn start(ours: &Path, place: &Workplace) -> anyhow::Result<Envoy> {
        // Ended as a container is: with all that it has started.
        let mut command = Command::new("unshare");
        command.args(["--pid", "--fork", "--kill-child"]).arg(ours);
        command.args([
            "proxy",
            "--gateway",
            &format!("{NAMESPACE}/{GATEWAY}"),
            "--admin",
            &free_address()?.to_string(),
        ]);
        command.args(["--xds", &format!("localhost:{}", place.xds.port()), "--ca", &place.path("ca")]);
        command.args(["--token", &place.path("token"), "--run-dir", &place.path("run"), "--concurrency", "1"]);
        command.arg("--envoy").arg(envoy());
        let log = place.dir.path().join("envoy.log");
        Ok(Envoy { _process: Process::start(&mut command, &log)?, log })
    }

    /// Asks the Service at `address` until the answer is the one that is wanted.
    ///
    /// # Errors
    /// When it does not come within `patience`.
    pub fn until(&self, address: Ipv4Addr, patience: Duration, wanted: impl Fn(&Reply) -> bool) -> anyhow::Result<()> {
        let at = SocketAddr::from((Ipv4Addr::LOCALHOST, ENVOY_PORT));
        client::until(at, &proxy_header(address, PORT, &[]), patience, wanted).with_context(|| tail(&self.log))
    }
}
