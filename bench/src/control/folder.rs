//! A folder of manifests of any size, and the edits a person would make in it.

use std::fmt::Write as _;
use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;

use tempfile::TempDir;

/// Services in one file, and routes in one file.
const IN_ONE_FILE: usize = 50;
/// The port of every Service.
const PORT: u16 = 8000;
/// How many services are asked before the start counts as done.
const ASKED: usize = 20;

/// Services `s0` to `s<n-1>` of namespace `bench`, each with a route of its own.
#[derive(Debug)]
pub struct Folder {
    dir: TempDir,
    services: usize,
    added: usize,
    backend: SocketAddr,
}

impl Folder {
    /// Writes a folder whose every Service is answered by `backend`.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn write(services: usize, backend: SocketAddr) -> anyhow::Result<Folder> {
        let folder = Folder { dir: TempDir::new()?, services, added: 0, backend };
        fs::write(folder.path().join("gateway.yaml"), GATEWAY)?;
        for first in (0..services).step_by(IN_ONE_FILE) {
            let numbers = first..services.min(first + IN_ONE_FILE);
            let mut text = String::new();
            numbers.clone().for_each(|number| folder.service(&mut text, number));
            fs::write(folder.path().join(format!("services-{first}.yaml")), text)?;
            let mut text = String::new();
            // Routes that will be edited have a file each, as people keep them.
            numbers.filter(|number| !folder.edited(*number)).for_each(|number| route(&mut text, number, 0));
            fs::write(folder.path().join(format!("routes-{first}.yaml")), text)?;
        }
        for number in (0..services).filter(|number| folder.edited(*number)) {
            folder.replace(&format!("route-{number}.yaml"), &routed(number, 0))?;
        }
        Ok(folder)
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        self.dir.path()
    }

    /// The addresses of services from all over the folder.
    pub fn some_services(&self) -> impl Iterator<Item = SocketAddr> + '_ {
        (0..ASKED.min(self.services)).map(|n| address(n * self.services / ASKED.min(self.services)))
    }

    /// The addresses of the services that it was written with, without those added since.
    pub fn services(&self) -> impl Iterator<Item = SocketAddr> + use<> {
        (0..self.services).map(address)
    }

    /// Edits one route so that answers carry `x-edit: <value>`, and tells whose.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn edit_route(&self, value: u32) -> anyhow::Result<SocketAddr> {
        let edited: Vec<usize> = (0..self.services).filter(|number| self.edited(*number)).collect();
        let number = edited[value as usize % edited.len()];
        self.replace(&format!("route-{number}.yaml"), &routed(number, value))?;
        Ok(address(number))
    }

    /// Adds a Service with its endpoints and tells its address.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn add_service(&mut self) -> anyhow::Result<SocketAddr> {
        let number = self.services + self.added;
        self.added += 1;
        let mut text = String::new();
        self.service(&mut text, number);
        self.replace(&format!("added-{number}.yaml"), &text)?;
        Ok(address(number))
    }

    /// Ten of them, spread evenly.
    fn edited(&self, number: usize) -> bool {
        number.is_multiple_of((self.services / 10).max(1))
    }

    /// Writes a file the way an editor saves it: renamed into place.
    fn replace(&self, name: &str, text: &str) -> anyhow::Result<()> {
        let temporary = self.path().join(format!(".{name}.tmp"));
        fs::write(&temporary, text)?;
        fs::rename(temporary, self.path().join(name))?;
        Ok(())
    }

    fn service(&self, out: &mut String, number: usize) {
        let (ip, port) = (self.backend.ip(), self.backend.port());
        let at = address(number).ip();
        let _ = write!(
            out,
            "---\napiVersion: v1\nkind: Service\nmetadata: {{name: s{number}, namespace: bench}}\n\
             spec: {{clusterIP: {at}, ports: [{{name: http, port: {PORT}}}]}}\n\
             ---\napiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\n\
             metadata: {{name: s{number}-1, namespace: bench, labels: {{kubernetes.io/service-name: s{number}}}}}\n\
             addressType: IPv4\nports: [{{name: http, port: {port}}}]\nendpoints: [{{addresses: [{ip}]}}]\n"
        );
    }
}

fn address(number: usize) -> SocketAddr {
    // 250 addresses in each third byte, from 127.60.0.1 on.
    let (high, low) = (number / 250, number % 250);
    let byte = |value: usize| u8::try_from(value % 256).unwrap_or(0);
    SocketAddr::from((Ipv4Addr::new(127, 60 + byte(high / 256), byte(high), byte(low + 1)), PORT))
}

fn routed(number: usize, value: u32) -> String {
    let mut text = String::new();
    route(&mut text, number, value);
    text
}

fn route(out: &mut String, number: usize, value: u32) {
    let _ = write!(
        out,
        "---\napiVersion: gateway.networking.k8s.io/v1\nkind: HTTPRoute\nmetadata: {{name: s{number}, namespace: bench}}\n\
         spec:\n  parentRefs: [{{group: \"\", kind: Service, name: s{number}}}]\n  rules:\n\
         \x20 - filters: [{{type: ResponseHeaderModifier, responseHeaderModifier: {{set: [{{name: x-edit, value: \"{value}\"}}]}}}}]\n\
         \x20   backendRefs: [{{name: s{number}, port: {PORT}}}]\n"
    );
}

const GATEWAY: &str = "apiVersion: v1
kind: Namespace
metadata: {name: bench, labels: {istio.io/use-waypoint: waypoint}}
---
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: waypoint, namespace: bench}
spec:
  gatewayClassName: gloo-waypoint
  listeners: [{name: proxy, port: 15088, protocol: istio.io/PROXY}]
";

#[cfg(test)]
mod tests {
    use super::*;

    /// What is measured once ready is compared with as many.
    #[test]
    fn services_are_those_of_the_start_whatever_is_added() {
        let mut folder = Folder::write(3, "127.0.0.1:1".parse().unwrap()).unwrap();
        let start: Vec<SocketAddr> = folder.services().collect();
        let added = folder.add_service().unwrap();
        assert_eq!((start.len(), folder.services().collect::<Vec<_>>()), (3, start.clone()));
        assert!(!start.contains(&added));
    }
}
