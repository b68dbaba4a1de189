//! Puts the service together in a process: snapshots in, gRPC out, statuses back.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Instant;

use api::{Name, Snapshot};
use parking_lot::Mutex;
use provider::StatusBoard;
use runtime::follow::{Follower, follow};
use runtime::grpc::{GrpcOptions, serve_on};
use runtime::tls::ServerTls;
use runtime::{Gate, Listener, Process, Stage, Workers};
use status::Diff;
use tokio::sync::watch;
use tracing::info;

use crate::compile::{Compilation, Compiler, Index};
use crate::report::diff;
use crate::service::{Authority, SERVICE, services};
use crate::{AUTHOR, Settings};

/// The schema of the service, for gRPC reflection; made by `proto/examples/generate_descriptors.rs`.
const DESCRIPTORS: &[u8] = include_bytes!("gen/authorization.bin");

/// Where checks are answered.
#[derive(Debug)]
pub struct Front {
    /// Where Envoy connects.
    pub listener: Listener,
    /// TLS; none, plaintext.
    pub tls: Option<ServerTls>,
    /// The threads that answer; none, those of the process.
    pub workers: Option<Arc<Workers>>,
}

/// Adds to `process` what answers checks at `front`.
///
/// It follows `snapshots`, writes what it finds to `board`, and opens its gate of
/// readiness once the first snapshot is in service. Until then it denies.
///
/// # Errors
/// When the certificates cannot be used.
pub fn build(
    front: Front,
    settings: &Settings,
    snapshots: watch::Receiver<Arc<Snapshot>>,
    board: StatusBoard,
    process: &mut Process,
) -> anyhow::Result<()> {
    let authority = Arc::new(Authority::with(settings));
    let following = Arc::new(Following {
        compiler: Compiler::new(settings),
        authority: authority.clone(),
        last: Mutex::default(),
        board,
        gate: Mutex::new(Some(process.readiness().gate("auth configs compiled"))),
    });
    // What is in service answers until the last call has ended.
    process.spawn(Stage::Behind, "auth configs", follow(following, snapshots, process.shutdown(Stage::Behind)));
    let options = GrpcOptions {
        health_services: vec!["ext-auth".to_owned(), SERVICE.to_owned()],
        descriptors: vec![DESCRIPTORS],
        acceptor: front.tls.map(|at| runtime::tls::acceptor(at, process.tasks(Stage::Server))).transpose()?,
        ..GrpcOptions::default()
    };
    let count = front.workers.as_ref().map_or(1, |workers| workers.count());
    let services = (0..count).map(|_| services(authority.clone())).collect();
    let (readiness, shutdown) = (process.readiness().clone(), process.shutdown(Stage::Server));
    let served = serve_on(front.workers, front.listener, services, options, readiness, shutdown);
    process.spawn(Stage::Server, "extauth", served);
    Ok(())
}

/// Puts snapshots into service.
struct Following {
    compiler: Compiler,
    authority: Arc<Authority>,
    /// What was compiled last; none after a fault of ours, and then everything is compiled anew.
    last: Mutex<Option<Compilation>>,
    board: StatusBoard,
    gate: Mutex<Option<Gate>>,
}

impl Follower for Following {
    type Declared = Snapshot;
    /// The index, what is said of it, and the AuthConfigs that are another version in it.
    type Made = (Arc<Index>, Diff, BTreeSet<Name>);

    fn make(&self, snapshot: &Arc<Snapshot>, now: Instant) -> Option<Self::Made> {
        if snapshot.revision == 0 {
            return None;
        }
        let last = self.last.lock().take();
        let last = last.unwrap_or_else(|| Compilation::resuming(self.authority.index()));
        let compilation = self.compiler.compile(last, snapshot, now);
        let made = (compilation.index.clone(), diff(&compilation), compilation.touched.clone());
        *self.last.lock() = Some(compilation);
        Some(made)
    }

    async fn install(&self, (index, said, others): Self::Made) {
        let (revision, touched) = (index.revision, said.said.len() + said.silent.len());
        let anew = revision != self.authority.index().revision;
        self.authority.install(index.clone());
        index.prepare(&others);
        self.board.apply(AUTHOR, said);
        self.board.serves(AUTHOR, revision);
        if let Some(gate) = self.gate.lock().take() {
            gate.open();
        }
        if anew {
            info!(revision, touched, "auth configs in service");
        }
    }

    fn again(&self) -> Option<Instant> {
        self.authority.index().next_removal()
    }
}
