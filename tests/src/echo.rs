//! An application that answers with what reached it, byte for byte, and clients that send bytes of their choice.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

/// An application that listens until the test ends. Its answer to a request is the request.
#[derive(Debug)]
pub struct Echo {
    address: String,
    ended: Arc<AtomicBool>,
    heads: Heads,
    accepting: Option<thread::JoinHandle<()>>,
}

/// The head of every request that reached an application, in the order in which they did.
type Heads = Arc<Mutex<Vec<String>>>;

impl Echo {
    /// Starts one at `address`.
    pub fn start(address: &str) -> Echo {
        let listener = TcpListener::bind(address).unwrap_or_else(|e| panic!("{address}: {e}"));
        let ended = Arc::new(AtomicBool::new(false));
        let heads = Heads::default();
        let (end, seen) = (ended.clone(), heads.clone());
        let accepting = thread::spawn(move || {
            for connection in listener.incoming().flatten().take_while(|_| !end.load(Ordering::SeqCst)) {
                let seen = seen.clone();
                thread::spawn(move || drop(answer(connection, &seen)));
            }
        });
        Echo { address: address.to_owned(), ended, heads, accepting: Some(accepting) }
    }

    /// The heads of the requests that have reached it since this was asked last, in lower case.
    pub fn reached(&self) -> Vec<String> {
        std::mem::take(&mut *self.heads.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Drop for Echo {
    fn drop(&mut self) {
        self.ended.store(true, Ordering::SeqCst);
        let woken = TcpStream::connect(&self.address).is_ok();
        if let (true, Some(accepting)) = (woken, self.accepting.take()) {
            let _ = accepting.join();
        }
    }
}

/// Answers request after request; bodies have a length or are chunked. `/slow?SECONDS` takes so long, `/status?STATUS` is
/// answered with that, and `/close` not at all.
fn answer(mut connection: TcpStream, heads: &Heads) -> std::io::Result<()> {
    let mut read = Vec::new();
    loop {
        let Some(end) = find(&read, b"\r\n\r\n") else {
            let mut buffer = [0; 65_536];
            match connection.read(&mut buffer)? {
                0 => return Ok(()),
                n => read.extend_from_slice(&buffer[..n]),
            }
            continue;
        };
        let head = String::from_utf8_lossy(&read[..end]).into_owned();
        let lower = head.to_ascii_lowercase();
        let mut rest = read.split_off(end + 4);
        let length = lower.lines().find_map(|line| line.strip_prefix("content-length: ")?.trim().parse::<usize>().ok());
        let complete = |rest: &[u8]| match length {
            Some(length) => (rest.len() >= length).then_some(length),
            None if lower.contains("transfer-encoding: chunked") => find(rest, b"0\r\n\r\n").map(|at| at + 5),
            None => Some(0),
        };
        let body = loop {
            if let Some(length) = complete(&rest) {
                break rest.drain(..length).collect::<Vec<u8>>();
            }
            let mut buffer = [0; 65_536];
            match connection.read(&mut buffer)? {
                0 => return Ok(()),
                n => rest.extend_from_slice(&buffer[..n]),
            }
        };
        heads.lock().unwrap_or_else(PoisonError::into_inner).push(lower);
        let said = |what: &str| {
            let (_, rest) = head.lines().next()?.split_once(what)?;
            Some(rest.split(' ').next().unwrap_or_default().to_owned())
        };
        if said("/close").is_some() {
            return Ok(());
        }
        let status = said("/status?").unwrap_or_else(|| "200".to_owned());
        if let Some((_, seconds)) = head.lines().next().and_then(|line| line.split_once("/slow?")) {
            let seconds = seconds.split(' ').next().and_then(|s| s.parse().ok()).unwrap_or_default();
            thread::sleep(Duration::from_secs(seconds));
        }
        let seen = [head.as_bytes(), b"\r\n\r\n", &body].concat();
        connection.write_all(format!("HTTP/1.1 {status} OK\r\ncontent-length: {}\r\n\r\n", seen.len()).as_bytes())?;
        connection.write_all(&seen)?;
        read = rest;
    }
}

fn find(bytes: &[u8], what: &[u8]) -> Option<usize> {
    bytes.windows(what.len()).position(|window| window == what)
}

/// What came back for bytes sent as they are.
#[derive(Debug, Clone)]
pub struct Answer {
    /// All of it.
    pub text: String,
}

/// Sends `bytes` to `address` and reads until the other side closes, or is silent for a while.
pub fn send(address: &str, bytes: &[u8]) -> Answer {
    exchange(address, bytes, |_| false)
}

/// Sends `bytes` and reads until `enough` of the answer is there.
fn exchange(address: &str, bytes: &[u8], enough: impl Fn(&[u8]) -> bool) -> Answer {
    let mut stream = TcpStream::connect(address).unwrap_or_else(|e| panic!("{address}: {e}"));
    stream.set_read_timeout(Some(Duration::from_secs(25))).unwrap();
    let _ = stream.write_all(bytes);
    let mut answer = Vec::new();
    let mut buffer = [0; 65_536];
    while !enough(&answer) {
        match stream.read(&mut buffer) {
            Ok(0) | Err(_) => break,
            Ok(n) => answer.extend_from_slice(&buffer[..n]),
        }
    }
    Answer { text: String::from_utf8_lossy(&answer).into_owned() }
}

/// Sends a GET of `path` with these header lines besides Host.
pub fn get(address: &str, path: &str, host: &str, headers: &[&str]) -> Answer {
    let headers: String = headers.iter().map(|header| format!("{header}\r\n")).collect();
    let request = format!("GET {path} HTTP/1.1\r\nHost: {host}\r\n{headers}Connection: close\r\n\r\n");
    send_one(address, request.as_bytes())
}

/// Sends the `bytes` of one request and reads one answer.
pub fn send_one(address: &str, bytes: &[u8]) -> Answer {
    // Envoy holds on to a connection for a second after it has refused what is no HTTP.
    exchange(address, bytes, |answer| {
        let Some(end) = find(answer, b"\r\n\r\n") else { return false };
        let head = String::from_utf8_lossy(&answer[..end]).to_ascii_lowercase();
        let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")?.trim().parse::<usize>().ok());
        length.is_some_and(|length| answer.len() >= end + 4 + length)
    })
}

impl Answer {
    /// The status of the first answer; 0 if there was none.
    pub fn status(&self) -> u16 {
        self.text.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or(0)
    }

    /// The head of the request that reached the application, if one did.
    pub fn reached(&self) -> Option<&str> {
        let (_, body) = self.text.split_once("\r\n\r\n")?;
        (self.status() == 200).then_some(body)
    }

    /// A response header.
    pub fn header(&self, name: &str) -> Option<&str> {
        let head = self.text.split("\r\n\r\n").next()?;
        head.lines()
            .filter_map(|line| line.split_once(": "))
            .find(|(n, _)| n.eq_ignore_ascii_case(name))
            .map(|(_, v)| v)
    }

    /// The values of a header of the request that reached the application.
    pub fn saw(&self, name: &str) -> Vec<&str> {
        let lines = self.reached().unwrap_or_default().lines().filter_map(|line| line.split_once(": "));
        lines.filter(|(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, value)| value).collect()
    }
}
