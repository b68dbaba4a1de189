//! An issuer of tokens, or whatever else is asked over HTTP: it answers as a test tells it to.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

type Says = dyn FnMut(&str, &str) -> String + Send;

/// An issuer that listens until it is dropped.
pub struct Issuer {
    address: String,
    ended: Arc<AtomicBool>,
    says: Arc<Mutex<Box<Says>>>,
    accepting: Option<thread::JoinHandle<()>>,
}

impl Issuer {
    /// Starts one at `address`, which answers the head and the body of a request, in full, with what `says` says.
    pub fn start(address: &str, says: impl FnMut(&str, &str) -> String + Send + 'static) -> Issuer {
        let listener = TcpListener::bind(address).unwrap_or_else(|e| panic!("{address}: {e}"));
        let ended = Arc::new(AtomicBool::new(false));
        let says: Arc<Mutex<Box<Says>>> = Arc::new(Mutex::new(Box::new(says)));
        let (end, tells) = (ended.clone(), says.clone());
        let accepting = thread::spawn(move || {
            for connection in listener.incoming().flatten().take_while(|_| !end.load(Ordering::SeqCst)) {
                let (tells, end) = (tells.clone(), end.clone());
                thread::spawn(move || drop(answer(connection, &tells, &end)));
            }
        });
        Issuer { address: address.to_owned(), ended, says, accepting: Some(accepting) }
    }

    /// From now on it answers so.
    pub fn says(&self, says: impl FnMut(&str, &str) -> String + Send + 'static) {
        *self.says.lock().unwrap_or_else(PoisonError::into_inner) = Box::new(says);
    }
}

/// An answer with this status and JSON.
pub fn json(status: u16, body: &str) -> String {
    format!("HTTP/1.1 {status} X\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}", body.len())
}

/// One request after the other, until it has ended: then also on connections that there are.
fn answer(connection: TcpStream, says: &Mutex<Box<Says>>, ended: &AtomicBool) -> std::io::Result<()> {
    let mut reader = BufReader::new(connection.try_clone()?);
    let mut writer = connection;
    loop {
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            if reader.read_line(&mut head)? == 0 {
                return Ok(());
            }
        }
        let lower = head.to_ascii_lowercase();
        let length = lower.lines().find_map(|line| line.strip_prefix("content-length: ")?.trim().parse().ok());
        let mut body = vec![0; length.unwrap_or(0)];
        reader.read_exact(&mut body)?;
        if ended.load(Ordering::SeqCst) {
            return Ok(());
        }
        let answer = says.lock().unwrap_or_else(PoisonError::into_inner)(&head, &String::from_utf8_lossy(&body));
        writer.write_all(answer.as_bytes())?;
    }
}

impl Drop for Issuer {
    fn drop(&mut self) {
        self.ended.store(true, Ordering::SeqCst);
        let woken = TcpStream::connect(&self.address).is_ok();
        if let (true, Some(accepting)) = (woken, self.accepting.take()) {
            let _ = accepting.join();
        }
    }
}
