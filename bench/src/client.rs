//! A caller that asks again and again until the answer is the one it waits for.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use anyhow::bail;

/// The pause between two questions.
const PAUSE: Duration = Duration::from_millis(1);
/// The longest that one question may take.
const ANSWER: Duration = Duration::from_secs(5);

/// The head of an answer.
#[derive(Debug)]
pub struct Reply {
    /// HTTP status.
    pub status: u16,
    head: String,
}

impl Reply {
    /// The value of the header `name`, given in lower case.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().filter_map(|line| line.split_once(": ")).find(|(known, _)| *known == name).map(|(_, v)| v)
    }
}

/// Asks `at`, each time on a new connection that begins with `greeting`, until `wanted`.
///
/// # Errors
/// When that has not come within `patience`, with the last answer.
pub fn until(
    at: SocketAddr,
    greeting: &[u8],
    patience: Duration,
    wanted: impl Fn(&Reply) -> bool,
) -> anyhow::Result<()> {
    let begun = Instant::now();
    loop {
        let reply = ask(at, greeting);
        if reply.as_ref().is_ok_and(&wanted) {
            return Ok(());
        }
        if begun.elapsed() > patience {
            bail!("{at} did not answer as expected within {patience:?}; last: {reply:?}");
        }
        std::thread::sleep(PAUSE);
    }
}

fn ask(at: SocketAddr, greeting: &[u8]) -> std::io::Result<Reply> {
    let mut connection = TcpStream::connect_timeout(&at, ANSWER)?;
    connection.set_read_timeout(Some(ANSWER))?;
    connection.write_all(&[greeting, b"GET / HTTP/1.1\r\nhost: bench\r\nconnection: close\r\n\r\n"].concat())?;
    let mut text = String::new();
    connection.take(64 << 10).read_to_string(&mut text)?;
    let status = text.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or(0);
    Ok(Reply { status, head: text })
}
