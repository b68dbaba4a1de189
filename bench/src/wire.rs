//! As much of HTTP/2 as a gRPC client under full load needs: one request, sent
//! again and again with other bytes in its body, and frames that come back.
//!
//! Answers' headers are never decoded: a call that fails has no message, so
//! the message alone tells. That keeps the client far cheaper than what it drives.

/// What opens a connection: the preface, our settings, and a receive window
/// so large that it never has to be thought of during a run.
pub fn opening() -> Vec<u8> {
    let mut out = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec();
    // SETTINGS_ENABLE_PUSH = 0.
    frame(&mut out, Kind::Settings, 0, 0, &[0, 2, 0, 0, 0, 0]);
    window_update(&mut out, WINDOW - 65_535);
    out
}

/// The receive window of a connection.
pub const WINDOW: u32 = (1 << 31) - 1;

/// The kinds of frames that matter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Of a message.
    Data,
    /// Headers or trailers.
    Headers,
    /// A call given up by the server.
    Reset,
    /// The server's settings.
    Settings,
    /// To be echoed.
    Ping,
    /// The server wants no more calls.
    GoAway,
    /// We may send more.
    WindowUpdate,
    /// Nothing to us.
    Other,
}

impl Kind {
    fn of(code: u8) -> Kind {
        match code {
            0 => Kind::Data,
            1 => Kind::Headers,
            3 => Kind::Reset,
            4 => Kind::Settings,
            6 => Kind::Ping,
            7 => Kind::GoAway,
            8 => Kind::WindowUpdate,
            _ => Kind::Other,
        }
    }

    fn code(self) -> u8 {
        match self {
            Kind::Data => 0,
            Kind::Headers => 1,
            Kind::Reset => 3,
            Kind::Settings => 4,
            Kind::Ping => 6,
            Kind::GoAway => 7,
            Kind::WindowUpdate => 8,
            Kind::Other => u8::MAX,
        }
    }
}

/// The flag of DATA and HEADERS that ends a stream.
pub const END_STREAM: u8 = 0x1;
/// The flag that answers SETTINGS and PING.
pub const ACK: u8 = 0x1;
const END_HEADERS: u8 = 0x4;

/// A frame that came in.
#[derive(Debug)]
pub struct Frame<'a> {
    /// What it is.
    pub kind: Kind,
    /// Its flags.
    pub flags: u8,
    /// Its stream; 0 is the connection.
    pub stream: u32,
    /// What it carries.
    pub payload: &'a [u8],
}

impl<'a> Frame<'a> {
    /// The first whole frame of `bytes`, and what follows it.
    pub fn split(bytes: &'a [u8]) -> Option<(Frame<'a>, &'a [u8])> {
        let (head, rest) = bytes.split_first_chunk::<9>()?;
        let [l0, l1, l2, kind, flags, s0, s1, s2, s3] = *head;
        let length = u32::from_be_bytes([0, l0, l1, l2]) as usize;
        let (payload, rest) = rest.split_at_checked(length)?;
        let stream = u32::from_be_bytes([s0, s1, s2, s3]) & 0x7fff_ffff;
        Some((Frame { kind: Kind::of(kind), flags, stream, payload }, rest))
    }
}

/// Adds a frame to `out`.
pub fn frame(out: &mut Vec<u8>, kind: Kind, flags: u8, stream: u32, payload: &[u8]) {
    frame_head(out, kind, flags, stream, payload.len());
    out.extend_from_slice(payload);
}

/// Adds the head of a frame whose payload of `length` bytes follows.
pub fn frame_head(out: &mut Vec<u8>, kind: Kind, flags: u8, stream: u32, length: usize) {
    let [_, l0, l1, l2] = u32::try_from(length).unwrap_or(u32::MAX).to_be_bytes();
    out.extend_from_slice(&[l0, l1, l2, kind.code(), flags]);
    out.extend_from_slice(&stream.to_be_bytes());
}

/// Lets the server send `more` bytes.
pub fn window_update(out: &mut Vec<u8>, more: u32) {
    frame(out, Kind::WindowUpdate, 0, 0, &more.to_be_bytes());
}

/// Adds the headers of a call of `path`. The `first` of a connection teaches the
/// server's table what the others refer to by number, as Envoy does.
pub fn call_headers(out: &mut Vec<u8>, stream: u32, first: bool, path: &str) {
    // :method POST and :scheme http are 3 and 6 of the static table.
    let mut block = vec![0x83, 0x86];
    if first {
        learn(&mut block, 4, None, path);
        learn(&mut block, 1, None, "bench");
        learn(&mut block, 31, None, "application/grpc");
        learn(&mut block, 0, Some("te"), "trailers");
    } else {
        block.extend_from_slice(&[0x80 | 65, 0x80 | 64, 0x80 | 63, 0x80 | 62]);
    }
    frame(out, Kind::Headers, END_HEADERS, stream, &block);
}

/// A literal that enters the table, its name by number or spelled out. Short enough for one length byte.
fn learn(block: &mut Vec<u8>, number: u8, name: Option<&str>, value: &str) {
    block.push(0x40 | number);
    for text in name.into_iter().chain([value]) {
        block.push(u8::try_from(text.len().min(126)).unwrap_or(0));
        block.extend_from_slice(text.as_bytes());
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn a_frame_is_read_as_it_was_written_and_only_when_whole() {
        let mut out = Vec::new();
        frame(&mut out, Kind::Data, END_STREAM, 7, b"hello");
        out.push(9);
        let (frame, rest) = Frame::split(&out).unwrap();
        assert_eq!((frame.kind, frame.flags, frame.stream, frame.payload), (Kind::Data, END_STREAM, 7, &b"hello"[..]));
        assert_eq!(rest, [9]);
        assert!((0..14).all(|short| Frame::split(&out[..short]).is_none()));
    }

    #[test]
    fn later_calls_cost_fifteen_bytes_of_headers() {
        let mut out = Vec::new();
        call_headers(&mut out, 3, false, "/a/b");
        assert_eq!(out.len(), 15);
    }
}
