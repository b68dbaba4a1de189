//! What `waykeeper up` prints: the services, lines to paste, `ready`.
#![allow(clippy::print_stdout, reason = "printing is what this is for")]

use std::time::Duration;

use runtime::{Readiness, Shutdown};

use crate::args::Up;
use crate::report::ServiceRow;
use crate::services::Services;
use crate::table::table;

/// After how long what is still waited for is said.
const SAY_SO_AFTER: Duration = Duration::from_secs(3);

/// Prints once everything is ready, then waits for shutdown.
///
/// # Errors
/// Never.
pub async fn when_ready(services: Services, readiness: Readiness, args: Up, shutdown: Shutdown) -> anyhow::Result<()> {
    let mut waited = Duration::ZERO;
    let step = Duration::from_millis(10);
    while !readiness.is_ready() {
        if shutdown.is_begun() {
            return Ok(());
        }
        tokio::time::sleep(step).await;
        waited += step;
        if waited == SAY_SO_AFTER {
            tracing::warn!(waiting_for = readiness.waiting_for().join(", "), "not ready yet");
        }
    }
    let rows = services.rows();
    println!("{}", text(&rows, &args));
    println!("ready");
    shutdown.begun().await;
    Ok(())
}

fn text(rows: &[ServiceRow], args: &Up) -> String {
    let header = ["NAMESPACE", "SERVICE", "ADDRESS", "READ", "VIA"];
    let cell =
        |row: &ServiceRow| [&row.namespace, &row.name, &row.address, &row.read, &row.via].map(Clone::clone).to_vec();
    let cells: Vec<Vec<String>> = rows.iter().map(cell).collect();
    let path = if args.sample { "/get" } else { "/" };
    let mut out = table(&header, &cells);
    out.push('\n');
    for row in rows.iter().filter(|row| row.via.starts_with("waypoint")).take(2) {
        out.push_str(&format!("curl -i http://{}{path}\n", row.address));
    }
    out.push_str(&format!("curl -s http://{}/status\n", args.admin));
    out
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;
    use crate::args::{Cli, Command};

    #[test]
    fn has_a_table_and_lines_to_paste() {
        let cli = Cli::try_parse_from(["waykeeper", "up", "--sample", "x"]).unwrap();
        let Command::Up(args) = cli.command else { panic!("up") };
        let row = |name: &str, address: &str| ServiceRow {
            namespace: "httpbin".into(),
            name: name.into(),
            address: address.into(),
            read: "http".into(),
            via: "waypoint httpbin/w".into(),
        };
        let text = text(&[row("a", "127.0.20.2:8000"), row("b", "127.0.20.3:8000")], &args);
        assert!(text.contains("curl -i http://127.0.20.2:8000/get\n"), "{text}");
        assert_eq!(text.matches("curl ").count(), 3, "{text}");
    }
}
