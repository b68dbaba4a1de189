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

/// What to ask a server, and how long to wait for it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Args)]
pub struct Wait {
    /// Ask only whether it runs: one that waits for what it needs does
    #[arg(long)]
    pub live: bool,
    /// Wait until it is ready, at most so many seconds
    #[arg(long, value_name = "SECONDS", num_args = 0..=1, default_missing_value = "60")]
    pub wait: Option<u32>,
}

impl Wait {
    fn page(self) -> &'static str {
        if self.live { "/livez" } else { "/readyz" }
    }
}

/// GETs `/readyz` at `admin`, prints what it says, and succeeds when the server is ready; by choice, `/livez`.
#[allow(clippy::print_stdout, reason = "printing is what this is for")]
pub fn ask(admin: &Addr, wait: Wait) -> ExitCode {
    let began = Instant::now();
    let most = Duration::from_secs(wait.wait.unwrap_or(0).into());
    let mut found = look(admin, wait.page());
    while found.is_err() && began.elapsed() < most {
        std::thread::sleep(PAUSE);
        found = look(admin, wait.page());
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
fn look(admin: &Addr, page: &str) -> Result<String, String> {
    // Before anything else of the process, so that it has a runtime of its own.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| format!("cannot ask {admin}: {error}"))?;
    verdict(admin, page, runtime.block_on(ask::ask(admin, Method::GET, page, Vec::new().into(), LIMITS)))
}

/// What an answer to `page` means.
fn verdict(admin: &Addr, page: &str, answer: Result<Answer, Error>) -> Result<String, String> {
    let (status, body) = match answer {
        Ok(answer) => answer,
        Err(Error::NoHttp) => return Err("what answers is no HTTP server; is this its admin address?".to_owned()),
        Err(error) => return Err(format!("no answer at {admin}: {error}")),
    };
    let said = String::from_utf8_lossy(&body).trim_end().to_owned();
    match status {
        StatusCode::OK => Ok(said),
        StatusCode::SERVICE_UNAVAILABLE if !said.is_empty() => Err(said),
        status => Err(format!("{page} answered {}; is this its admin address?", status.as_u16())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_says_what_the_server_waits_for() {
        let admin = Addr::Unix("admin.sock".into());
        let said = |status, body: &'static str| verdict(&admin, "/readyz", Ok((status, body.into())));
        assert_eq!(said(StatusCode::OK, "ready\n"), Ok("ready".to_owned()));
        assert_eq!(said(StatusCode::OK, "ready\nnot in force: x\n"), Ok("ready\nnot in force: x".to_owned()));
        let waiting = said(StatusCode::SERVICE_UNAVAILABLE, "waiting for: folder loaded\n");
        assert_eq!(waiting, Err("waiting for: folder loaded".to_owned()));
        let others = [said(StatusCode::NOT_FOUND, "no"), verdict(&admin, "/readyz", Err(Error::NoHttp))];
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
            let (ready, live) = ("GET /readyz ", "GET /livez ");
            for (question, answer) in [
                (ready, "HTTP/1.1 503 x\r\n\r\nwaiting for: x\n"),
                (ready, "HTTP/1.1 200 OK\r\n\r\nready\n"),
                (live, "HTTP/1.1 200 OK\r\n\r\nok\n"),
            ] {
                use std::io::{Read as _, Write as _};
                let (mut stream, _) = listener.accept().expect("a connection");
                let mut asked = [0; 256];
                let length = stream.read(&mut asked).expect("a question");
                assert!(asked[..length].starts_with(question.as_bytes()), "{:?}", &asked[..length]);
                stream.write_all(answer.as_bytes()).expect("an answer");
            }
        });
        assert_eq!(ask(&admin, Wait { wait: Some(30), live: false }), ExitCode::SUCCESS);
        assert_eq!(ask(&admin, Wait { wait: None, live: true }), ExitCode::SUCCESS);
        server.join().expect("three questions");
    }

    #[test]
    fn a_server_that_is_not_there_is_not_ready() {
        let why = look(&Addr::Unix("/nowhere/admin.sock".into()), "/readyz").expect_err("nobody there");
        assert!(why.starts_with("no answer at unix:/nowhere/admin.sock: "), "{why}");
    }
}
