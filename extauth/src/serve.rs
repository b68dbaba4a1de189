//! Wires the parts to the world: snapshots in, gRPC out, statuses back.

use std::sync::Arc;

use api::Snapshot;
use provider::StatusBoard;
use runtime::grpc::{GrpcOptions, serve as serve_grpc};
use runtime::tls::TlsAcceptor;
use runtime::{Gate, Listener, Readiness, Shutdown};
use tokio::sync::watch;
use tracing::{error, info};

use crate::compile::{Compiler, Index};
use crate::report::report;
use crate::service::{Authority, SERVICE, services};
use crate::{AUTHOR, Settings};

/// The schema of the service, for gRPC reflection; made by `proto/examples/generate_descriptors.rs`.
const DESCRIPTORS: &[u8] = include_bytes!("gen/authorization.bin");

/// Serves checks on `listener` until shutdown begins and the calls under way have ended.
///
/// Follows `snapshots`, writes what it finds to `board`, and opens its gate of
/// `readiness` once the first snapshot is in service. Until then it denies. With `tls` it serves nothing else.
///
/// # Errors
/// When the gRPC server fails.
pub async fn serve(
    listener: Listener,
    tls: Option<TlsAcceptor>,
    settings: &Settings,
    snapshots: watch::Receiver<Arc<Snapshot>>,
    board: StatusBoard,
    readiness: Readiness,
    shutdown: Shutdown,
) -> anyhow::Result<()> {
    let authority = Arc::new(Authority::new());
    let gate = readiness.gate("auth configs compiled");
    let options = GrpcOptions {
        health_services: vec!["ext-auth".to_owned(), SERVICE.to_owned()],
        descriptors: vec![DESCRIPTORS],
        acceptor: tls,
        ..GrpcOptions::default()
    };
    let compiler = Arc::new(Compiler::new(&settings.user_id_header));
    let followed = follow(compiler, authority.clone(), snapshots, board, gate);
    let served = serve_grpc(listener, services(authority), options, readiness, shutdown);
    tokio::select! {
        served = served => served,
        never = followed => match never {},
    }
}

/// Compiles every snapshot and puts it in service. When that fails, what was served goes on being served.
async fn follow(
    compiler: Arc<Compiler>,
    authority: Arc<Authority>,
    mut snapshots: watch::Receiver<Arc<Snapshot>>,
    board: StatusBoard,
    gate: Gate,
) -> std::convert::Infallible {
    let mut gate = Some(gate);
    loop {
        let snapshot = snapshots.borrow_and_update().clone();
        if snapshot.revision > 0 {
            let (compiler, previous) = (compiler.clone(), authority.index());
            let compiled = tokio::task::spawn_blocking(move || compiler.compile(&snapshot, &previous)).await;
            match compiled {
                Ok(index) => {
                    install(&authority, index, &board);
                    if let Some(gate) = gate.take() {
                        gate.open();
                    }
                }
                Err(failure) => {
                    error!(
                        panicked = failure.is_panic(),
                        "compiling auth configs failed; the last index stays in service"
                    );
                }
            }
        }
        if snapshots.changed().await.is_err() {
            // Nobody publishes any more: the last index stays in service.
            std::future::pending::<()>().await;
        }
    }
}

fn install(authority: &Authority, index: Index, board: &StatusBoard) {
    let said = report(&index);
    let (revision, configs) = (index.revision, said.len());
    authority.install(Arc::new(index));
    board.publish(AUTHOR, said);
    info!(revision, configs, "auth configs in service");
}
