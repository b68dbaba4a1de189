//! What is counted, under ztunnel's names.

use crate::support::*;
use metrics_exporter_prometheus::PrometheusBuilder;
use tunnel::{Endpoint, Limits, Target};

/// Other tests may be counted too: this one has addresses of its own.
#[tokio::test]
async fn connections_and_bytes_are_counted_as_they_happen() {
    let handle = PrometheusBuilder::new().install_recorder().unwrap();
    tunnel::describe_metrics();
    let server = echo_server(b"a").await;
    let (vip, refusing) = (free(202).await, free(203).await);
    let target = Target::Direct(vec![Endpoint { host: server.ip().to_string(), port: server.port() }]);
    let running =
        Running::start(plan([(vip, target), (refusing, Target::Refuse("x".into()))]), Limits::default()).await;
    let has = |name: &str, value: u64| {
        let wanted = format!("{name}{{reporter=\"source\",destination=\"{vip}\"}} {value}");
        handle.render().lines().any(|line| line == wanted)
    };

    let mut stream = connect(vip).await;
    greeting(&mut stream).await;
    echoes(&mut stream, b"12345").await;
    eventually("open and counted", || {
        has("istio_tcp_connections_opened_total", 1)
            && has("istio_tcp_received_bytes_total", 5)
            && has("istio_tcp_sent_bytes_total", 6)
    })
    .await;
    assert!(!has("istio_tcp_connections_closed_total", 1));
    drop(stream);
    eventually("closed and counted", || has("istio_tcp_connections_closed_total", 1)).await;

    assert!(read_to_end(&mut connect(refusing).await).await.is_err());
    let failed = format!("tunnel_connections_failed_total{{destination=\"{refusing}\",reason=\"refused\"}} 1");
    assert!(handle.render().lines().any(|line| line == failed), "{}", handle.render());
    drop(running);
}
