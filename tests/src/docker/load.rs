//! Requests without pause, and what became of each.

use std::collections::BTreeMap;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// A client that sends one request after the other until it is stopped.
#[derive(Debug)]
pub struct Load {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<Seen>,
}

/// What a client saw.
#[derive(Debug, Default)]
pub struct Seen {
    /// How often each status came; 0 stands for a connection without an answer.
    pub statuses: BTreeMap<u16, usize>,
    /// The longest a request took.
    pub longest: Duration,
}

impl Load {
    /// Sends `GET /get` with these headers to `address`.
    pub fn start(address: &'static str, headers: &'static str) -> Load {
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = stop.clone();
        let thread = std::thread::spawn(move || {
            let mut seen = Seen::default();
            while !stopped.load(Ordering::SeqCst) {
                let begun = Instant::now();
                *seen.statuses.entry(ask(address, headers)).or_default() += 1;
                seen.longest = seen.longest.max(begun.elapsed());
                // So that the client leaves room to what it watches.
                std::thread::sleep(Duration::from_millis(5));
            }
            seen
        });
        Load { stop, thread }
    }

    /// Ends it.
    pub fn stop(self) -> Seen {
        self.stop.store(true, Ordering::SeqCst);
        self.thread.join().unwrap()
    }
}

impl Seen {
    /// Nothing hung, there were answers, and none but these (0: no answer).
    pub fn only(&self, allowed: &[u16]) {
        assert!(self.longest < Duration::from_secs(6), "a request hung: {self:?}");
        assert!(self.statuses.keys().all(|status| allowed.contains(status)), "other than {allowed:?}: {self:?}");
        assert!(self.statuses.keys().any(|status| *status != 0), "no answers: {self:?}");
    }
}

fn ask(address: &str, headers: &str) -> u16 {
    let exchange = || -> std::io::Result<String> {
        let mut stream = TcpStream::connect_timeout(&address.parse().unwrap(), Duration::from_secs(10))?;
        stream.set_read_timeout(Some(Duration::from_secs(10)))?;
        write!(stream, "GET /get HTTP/1.1\r\nHost: httpbin\r\n{headers}Connection: close\r\n\r\n")?;
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer)?;
        Ok(String::from_utf8_lossy(&answer).into_owned())
    };
    let answer = exchange().unwrap_or_default();
    answer.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or(0)
}
