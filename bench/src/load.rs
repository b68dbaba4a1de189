//! The load: a few connections, each with so many calls under way at all times.
//!
//! A connection is a thread that reads what came, sends as many new calls as were
//! answered in one write, and waits again: two system calls for a batch of answers.

use std::collections::VecDeque;
use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};

use crate::histogram::Histogram;
use crate::wire::{self, ACK, END_STREAM, Frame, Kind};

/// How long answers may take to come after the last call, on a machine that has other work too.
const PATIENCE: Duration = Duration::from_secs(30);

/// An endless row of calls of one method.
pub trait Calls: Clone + Send + Sync {
    /// The method's path.
    const PATH: &'static str;

    /// The row of one connection.
    fn numbered(&self, number: usize) -> Self;

    /// The next message, with the five bytes that gRPC puts before it.
    fn next(&mut self) -> &[u8];

    /// What an answer says that begins like this.
    fn verdict(answer: &[u8]) -> Verdict;
}

/// What an answer says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// The request may pass.
    Pass,
    /// It may not.
    Refuse,
    /// Nothing that this client understands.
    Neither,
}

/// How much load.
#[derive(Debug, Clone, Copy)]
pub struct Load {
    /// Connections.
    pub connections: usize,
    /// Calls under way on each.
    pub streams: usize,
    /// When to stop.
    pub stop: Stop,
}

/// When a load ends.
#[derive(Debug, Clone, Copy)]
pub enum Stop {
    /// After some time.
    After(Duration),
    /// After so many calls of each connection.
    Calls(u64),
}

/// What came of a load.
#[derive(Debug, Clone, Default)]
pub struct Answers {
    /// Latencies of all calls.
    pub latency: Histogram,
    /// Answers that refuse.
    pub refused: u64,
    /// Calls without a proper answer.
    pub failed: u64,
    /// How long it took.
    pub took: Duration,
}

impl Answers {
    /// Calls answered properly each second.
    pub fn rate(&self) -> f64 {
        (self.latency.count() - self.failed.min(self.latency.count())) as f64 / self.took.as_secs_f64().max(1e-9)
    }
}

/// Drives the server at `address`.
///
/// # Errors
/// When a connection fails or answers do not come.
pub fn drive<C: Calls>(address: SocketAddr, load: Load, messages: &C) -> anyhow::Result<Answers> {
    let began = Instant::now();
    let each = std::thread::scope(|scope| {
        let connections: Vec<_> = (0..load.connections)
            .map(|number| scope.spawn(move || Connection::open(address, load, messages.numbered(number))?.run()))
            .collect();
        connections
            .into_iter()
            .map(|thread| thread.join().unwrap_or_else(|_| bail!("a connection's thread panicked")))
            .collect::<anyhow::Result<Vec<_>>>()
    })?;
    let mut all = Answers { took: began.elapsed(), ..Answers::default() };
    for one in each {
        all.latency.merge(&one.latency);
        all.refused += one.refused;
        all.failed += one.failed;
    }
    Ok(all)
}

struct Connection<C> {
    socket: TcpStream,
    load: Load,
    messages: C,
    began: Instant,
    out: Vec<u8>,
    /// Calls from `first` on, odd numbers only, as far as they are not yet answered and gone.
    calls: VecDeque<Call>,
    first: u32,
    under_way: usize,
    made: u64,
    may_send: i64,
    received: u32,
    answers: Answers,
}

struct Call {
    sent: u64,
    verdict: Verdict,
    over: bool,
}

impl<C: Calls> Connection<C> {
    fn open(address: SocketAddr, load: Load, messages: C) -> anyhow::Result<Self> {
        let socket =
            TcpStream::connect_timeout(&address, PATIENCE).with_context(|| format!("connecting to {address}"))?;
        socket.set_nodelay(true)?;
        socket.set_read_timeout(Some(PATIENCE))?;
        Ok(Connection {
            socket,
            load,
            messages,
            began: Instant::now(),
            out: wire::opening(),
            calls: VecDeque::with_capacity(load.streams * 4),
            first: 1,
            under_way: 0,
            made: 0,
            may_send: 65_535,
            received: 0,
            answers: Answers::default(),
        })
    }

    fn run(mut self) -> anyhow::Result<Answers> {
        let mut buffer = vec![0; 256 * 1024];
        let mut filled = 0;
        loop {
            while self.under_way < self.load.streams && !self.over() && self.may_send > 4096 {
                self.call();
            }
            if !self.out.is_empty() {
                self.socket.write_all(&self.out).context("sending")?;
                self.out.clear();
            }
            if self.under_way == 0 && self.over() {
                return Ok(self.answers);
            }
            let room = buffer.get_mut(filled..).unwrap_or_default();
            match self.socket.read(room) {
                Ok(0) => bail!("the server closed the connection"),
                Ok(read) => filled += read,
                Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                    bail!("{} calls have no answer after {PATIENCE:?}", self.under_way)
                }
                Err(error) => return Err(error).context("receiving"),
            }
            let mut rest = buffer.get(..filled).unwrap_or_default();
            while let Some((frame, after)) = Frame::split(rest) {
                self.take(&frame)?;
                rest = after;
            }
            let left = rest.len();
            buffer.copy_within(filled - left..filled, 0);
            filled = left;
        }
    }

    fn over(&self) -> bool {
        match self.load.stop {
            Stop::After(time) => self.began.elapsed() >= time,
            Stop::Calls(most) => self.made >= most,
        }
    }

    fn now(&self) -> u64 {
        u64::try_from(self.began.elapsed().as_nanos()).unwrap_or(u64::MAX)
    }

    fn call(&mut self) {
        let stream = self.first + 2 * u32::try_from(self.calls.len()).unwrap_or(0);
        wire::call_headers(&mut self.out, stream, self.made == 0, C::PATH);
        let message = self.messages.next();
        wire::frame_head(&mut self.out, Kind::Data, END_STREAM, stream, message.len());
        self.out.extend_from_slice(message);
        self.may_send -= message.len() as i64;
        self.calls.push_back(Call { sent: self.now(), verdict: Verdict::Neither, over: false });
        self.under_way += 1;
        self.made += 1;
    }

    fn take(&mut self, frame: &Frame<'_>) -> anyhow::Result<()> {
        match frame.kind {
            Kind::Data => {
                self.received += u32::try_from(frame.payload.len()).unwrap_or(0);
                if self.received > 1 << 30 {
                    wire::window_update(&mut self.out, self.received);
                    self.received = 0;
                }
                // After the five bytes before each message.
                if let (Some(call), Some(answer)) = (self.known(frame.stream), frame.payload.get(5..)) {
                    call.verdict = C::verdict(answer);
                }
            }
            Kind::Settings if frame.flags & ACK == 0 => {
                for setting in frame.payload.chunks_exact(6) {
                    if let [0, 1, rest @ ..] = setting
                        && rest < &[0, 0, 16, 0][..]
                    {
                        bail!("the server's header table is smaller than this client counts on");
                    }
                }
                wire::frame(&mut self.out, Kind::Settings, ACK, 0, &[]);
            }
            Kind::Ping if frame.flags & ACK == 0 => wire::frame(&mut self.out, Kind::Ping, ACK, 0, frame.payload),
            Kind::WindowUpdate if frame.stream == 0 => {
                let more = frame.payload.first_chunk::<4>().map_or(0, |more| u32::from_be_bytes(*more));
                self.may_send += i64::from(more);
            }
            Kind::GoAway => bail!("the server asked us to go away"),
            _ => {}
        }
        let ends = frame.flags & END_STREAM != 0 && matches!(frame.kind, Kind::Data | Kind::Headers);
        if ends || frame.kind == Kind::Reset {
            self.finish(frame.stream);
        }
        Ok(())
    }

    fn known(&mut self, stream: u32) -> Option<&mut Call> {
        self.calls.get_mut((stream.checked_sub(self.first)? / 2) as usize)
    }

    fn finish(&mut self, stream: u32) {
        let now = self.now();
        let Some(call) = self.known(stream).filter(|call| !call.over) else { return };
        call.over = true;
        let (sent, verdict) = (call.sent, call.verdict);
        self.answers.latency.add(now.saturating_sub(sent));
        match verdict {
            Verdict::Pass => {}
            Verdict::Refuse => self.answers.refused += 1,
            Verdict::Neither => self.answers.failed += 1,
        }
        self.under_way -= 1;
        while self.calls.front().is_some_and(|call| call.over) {
            self.calls.pop_front();
            self.first += 2;
        }
    }
}
