//! `health`: a server's own binary asks whether the server is ready.
//!
//! Images hold nothing but the binary, so it is what their health checks run.

use std::process::ExitCode;
use std::time::{Duration, Instant};

use clap::Args;
use http::{Method, StatusCode};

use crate::Addr;
use crate::ask::{self, Answer, Error, Limits};

/// How long the server may take to answer, and more than anybody writes at `/readyz`.
const LIMITS: Limits = Limits { patience: Duration::from_secs(2), bytes: 64 << 10 };

/// Between two looks at a server that is waited for.
const PAUSE: Duration = Duration::from_millis(50);

/// How long to wait for a server.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Args)]
pub struct Wait {
    /// Wait until it is ready, at most so many seconds
    #[arg(long, value_name = "SECONDS", num_args = 0..=1, default_missing_value = "60")]
    pub wait: Option<u32>,
}

/// GETs `/readyz` at `admin`, prints what it says, and succeeds when the server is ready.
#[allow(clippy::print_stdout, reason = "printing is what this is for")]
pub fn ask(admin: &Addr, wait: Wait) -> ExitCode {
    let began = Instant::now();
    let most = Duration::from_secs(wait.wait.unwrap_or(0).into());
    let mut found = look(admin);
    while found.is_err() && began.elapsed() < most {
        std::thread::sleep(PAUSE);
        found = look(admin);
    }
    match found {
        Ok(ready) => {
            println!("{ready}");
            ExitCode::SUCCESS
        }
        Err(why) => {
            println!("{why}");
            ExitCode::FAILURE
        }
    }
}

/// What the server says of itself.
///
/// # Errors
/// When it is not ready, what it waits for; when it does not answer, why.
pub fn look(admin: &Addr) -> Result<String, String> {
    // Before anything else of the process, so that it has a runtime of its own.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| format!("cannot ask {admin}: {error}"))?;
    verdict(admin, runtime.block_on(ask::ask(admin, Method::GET, "/readyz", Vec::new().into(), LIMITS)))
}

/// What an answer to `/readyz` means.
fn verdict(admin: &Addr, answer: Result<Answer, Error>) -> Result<String, String> {
    let (status, body) = match answer {
        Ok(answer) => answer,
        Err(Error::NoHttp) => return Err("what answers is no HTTP server; is this its admin address?".to_owned()),
        Err(error) => return Err(format!("no answer at {admin}: {error}")),
    };
    let said = String::from_utf8_lossy(&body).trim_end().to_owned();
    match status {
        StatusCode::OK => Ok(said),
        StatusCode::SERVICE_UNAVAILABLE if !said.is_empty() => Err(said),
        status => Err(format!("/readyz answered {}; is this its admin address?", status.as_u16())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_says_what_the_server_waits_for() {
        let admin = Addr::Unix("admin.sock".into());
        let said = |status, body: &'static str| verdict(&admin, Ok((status, body.into())));
        assert_eq!(said(StatusCode::OK, "ready\n"), Ok("ready".to_owned()));
        assert_eq!(said(StatusCode::OK, "ready\nnot in force: x\n"), Ok("ready\nnot in force: x".to_owned()));
        let waiting = said(StatusCode::SERVICE_UNAVAILABLE, "waiting for: folder loaded\n");
        assert_eq!(waiting, Err("waiting for: folder loaded".to_owned()));
        let others = [said(StatusCode::NOT_FOUND, "no"), verdict(&admin, Err(Error::NoHttp))];
        assert!(others.into_iter().all(|why| why.is_err_and(|why| why.contains("admin address"))));
    }

    #[test]
    fn a_server_that_is_about_to_be_ready_is_waited_for() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("admin.sock");
        let admin = Addr::Unix(path.clone());
        assert_eq!(ask(&admin, Wait::default()), ExitCode::FAILURE);
        let server = std::thread::spawn(move || {
            let listener = std::os::unix::net::UnixListener::bind(path).expect("a socket");
            for answer in ["HTTP/1.1 503 x\r\n\r\nwaiting for: x\n", "HTTP/1.1 200 OK\r\n\r\nready\n"] {
                use std::io::{Read as _, Write as _};
                let (mut stream, _) = listener.accept().expect("a connection");
                let _ = stream.read(&mut [0; 256]).expect("a question");
                stream.write_all(answer.as_bytes()).expect("an answer");
            }
        });
        assert_eq!(ask(&admin, Wait { wait: Some(30) }), ExitCode::SUCCESS);
        server.join().expect("two questions");
    }

    #[test]
    fn a_server_that_is_not_there_is_not_ready() {
        let why = look(&Addr::Unix("/nowhere/admin.sock".into())).expect_err("nobody there");
        assert!(why.starts_with("no answer at unix:/nowhere/admin.sock: "), "{why}");
    }
}
