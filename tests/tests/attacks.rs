//! Bytes that clients do not send by mistake, against a guarded Service: HTTP/2 frames and PROXY headers.
#![allow(clippy::unwrap_used)]

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::Duration;

use waykeeper_tests::parts::Application;
use waykeeper_tests::raw::{proxy_header, send_raw};
use waykeeper_tests::{Backends, Folder, Waykeeper, turn};

const GUARDED: &str = "127.0.20.2:8000";

/// What is wrong with a request, and its headers in order.
type Attack<'a> = (&'a str, Vec<(&'a str, &'a [u8])>);

/// The example with keys asked for on all of httpbin2.
fn guarded() -> (Folder, Backends) {
    let folder = Folder::example();
    folder.apply_walkthrough("apikeys");
    (folder, Backends::start(Application::Sample))
}

/// A header as HPACK writes one that nobody is to remember.
fn literal(name: &str, value: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0];
    for text in [name.as_bytes(), value] {
        assert!(text.len() < 127, "one byte for the length");
        bytes.push(u8::try_from(text.len()).unwrap());
        bytes.extend(text);
    }
    bytes
}

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

/// What comes back, whatever it is, until nothing comes any more.
fn exchange(bytes: &[u8]) -> String {
    let mut stream = TcpStream::connect(GUARDED).unwrap();
    stream.set_read_timeout(Some(Duration::from_millis(1500))).unwrap();
    let _ = stream.write_all(bytes);
    let mut answer = Vec::new();
    let mut part = [0; 65_536];
    while let Ok(read @ 1..) = stream.read(&mut part) {
        answer.extend(&part[..read]);
        // Our answers and the application's end with a frame that ends the stream.
        if String::from_utf8_lossy(&answer).contains("\"headers\"") {
            break;
        }
    }
    String::from_utf8_lossy(&answer).into_owned()
}

/// A connection of HTTP/2 with one request of these headers, and perhaps a body.
fn request(headers: &[(&str, &[u8])], body: Option<&[u8]>) -> String {
    let block: Vec<u8> = headers.iter().flat_map(|(name, value)| literal(name, value)).collect();
    let mut bytes = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec();
    bytes.extend(frame(4, 0, 0, &[]));
    bytes.extend(frame(1, if body.is_some() { 4 } else { 5 }, 1, &block));
    if let Some(body) = body {
        bytes.extend(frame(0, 1, 1, body));
    }
    exchange(&bytes)
}

/// Whether the application answered: it shows the headers that it saw.
fn reached(answer: &str) -> bool {
    answer.contains("\"headers\"") || answer.contains("\"url\"")
}

#[test]
fn no_frame_of_http_2_gets_by_a_guard() {
    let _turn = turn();
    let (folder, _backends) = guarded();
    let _waykeeper = Waykeeper::up(&folder, &[]);
    let good: [(&str, &[u8]); 4] =
        [(":method", b"GET"), (":scheme", b"http"), (":authority", b"httpbin2"), (":path", b"/get")];
    let with = |more: &[(&'static str, &'static [u8])]| [&good[..], more].concat();
    let instead = |name: &str, value: &'static [u8]| -> Vec<(&'static str, &'static [u8])> {
        good.iter().map(|(known, old)| if *known == name { (*known, value) } else { (*known, *old) }).collect()
    };
    let key = request(&with(&[("api-key", b"mykey")]), None);
    assert!(reached(&key), "the frames are right but for what is wrong: {key:?}");

    let websocket: Vec<(&str, &[u8])> =
        [&instead(":method", b"CONNECT")[..], &[(":protocol", b"websocket"), ("sec-websocket-version", b"13")]]
            .concat();
    let late: Vec<(&str, &[u8])> = [&good[..3], &[("x-first", b"1"), (":path", b"/get")]].concat();
    let attacks: Vec<Attack<'_>> = vec![
        ("no key", good.to_vec()),
        ("two paths", with(&[(":path", b"/open")])),
        ("two methods", with(&[(":method", b"OPTIONS")])),
        ("two authorities", with(&[(":authority", b"httpbin3")])),
        ("two schemes", with(&[(":scheme", b"https")])),
        ("a host beside the authority", with(&[("host", b"httpbin3")])),
        ("a pseudo-header behind a header", late),
        ("an unknown pseudo-header", with(&[(":key", b"mykey")])),
        ("a status in a request", with(&[(":status", b"200")])),
        ("no path", good[..3].to_vec()),
        ("no method", good[1..].to_vec()),
        ("an empty path", instead(":path", b"")),
        ("a star", instead(":path", b"*")),
        ("an absolute path", instead(":path", b"http://httpbin3/get")),
        ("a path with a line break", instead(":path", b"/get HTTP/1.1\r\napi-key: mykey\r\nx:")),
        ("a path with NUL", instead(":path", b"/get\0")),
        ("a method with a space", instead(":method", b"GET /get HTTP/1.1\r\napi-key: mykey\r\nX:")),
        ("an authority with a user", instead(":authority", b"x@httpbin2")),
        ("CONNECT", instead(":method", b"CONNECT")),
        ("extended CONNECT", websocket),
        ("a header in capitals", with(&[("API-KEY", b"mykey")])),
        ("a header's name with a colon", with(&[("api-key:", b"mykey")])),
        ("a value with a line break", with(&[("x-a", b"1\r\napi-key: mykey")])),
        ("a value with a line feed", with(&[("x-a", b"1\napi-key: mykey")])),
        ("a name with a line break", with(&[("x-a: 1\r\napi-key", b"mykey")])),
        ("an underscore", with(&[("api_key", b"mykey")])),
        ("two keys", with(&[("api-key", b"mykey"), ("api-key", b"mykey")])),
        ("a header of the connection", with(&[("connection", b"api-key")])),
        ("chunks", with(&[("transfer-encoding", b"chunked")])),
        ("TE that is none", with(&[("te", b"gzip")])),
        ("an upgrade", with(&[("upgrade", b"websocket")])),
        ("who the user is", with(&[("x-user-id", b"admin"), ("x_user_id", b"admin")])),
        ("the proxy's own", with(&[("x-waykeeper-forwarded-for", b"1"), ("x-envoy-original-path", b"/open")])),
    ];
    // All at once: each waits for an answer that may not come.
    std::thread::scope(|scope| {
        let asked: Vec<_> =
            attacks.iter().map(|(what, headers)| (what, scope.spawn(|| request(headers, None)))).collect();
        for (what, answer) in asked {
            let answer = answer.join().unwrap();
            assert!(!reached(&answer), "{what}: {answer:?}");
        }
    });
    let smuggled = b"0\r\n\r\nGET /get HTTP/1.1\r\nhost: a\r\napi-key: mykey\r\n\r\n";
    for length in [&b"0"[..], b"5", b"4000", b"-1", b"1, 2"] {
        let headers = [&instead(":method", b"POST")[..], &[("content-length", length)]].concat();
        let answer = request(&headers, Some(smuggled));
        assert!(!reached(&answer), "length {length:?}: {answer:?}");
    }
    // A request in trailers, a key in trailers, headers that never end, and the first bytes of a client that is none.
    let open: Vec<u8> = instead(":method", b"POST").iter().flat_map(|(name, value)| literal(name, value)).collect();
    let preface = [&b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"[..], &frame(4, 0, 0, &[])].concat();
    for (what, frames) in [
        ("a key in trailers", [frame(1, 4, 1, &open), frame(1, 5, 1, &literal("api-key", b"mykey"))].concat()),
        ("a path in trailers", [frame(1, 4, 1, &open), frame(1, 5, 1, &literal(":path", b"/open"))].concat()),
        (
            "a continuation of another stream",
            [frame(1, 1, 1, &open), frame(9, 4, 3, &literal("api-key", b"mykey"))].concat(),
        ),
        ("a table that is not there", frame(1, 5, 1, &[0xff, 0xff, 0xff, 0xff, 0x0f])),
        ("a stream of the server's", frame(1, 5, 2, &open)),
        ("a frame longer than it says", [&[0, 0, 1, 1, 5, 0, 0, 0, 1][..], &open].concat()),
    ] {
        let answer = exchange(&[preface.clone(), frames].concat());
        assert!(!reached(&answer), "{what}: {answer:?}");
    }
    let still = request(&with(&[("api-key", b"mykey")]), None);
    assert!(reached(&still), "and it goes on being served: {still:?}");
}

#[test]
fn no_proxy_header_but_a_whole_one_of_a_tunnel_is_believed() {
    let _turn = turn();
    let (folder, _backends) = guarded();
    let waykeeper = Waykeeper::up(&folder, &[]);
    let config = waykeeper.admin("/config").json().to_string();
    let listener = config.split('"').find(|text| text.ends_with(":15088")).unwrap().to_owned();
    let vip = [127, 0, 20, 2];
    let ask = |key: bool| {
        let key = if key { "api-key: mykey\r\n" } else { "" };
        format!("GET /get HTTP/1.1\r\nHost: httpbin2\r\n{key}Connection: close\r\n\r\n").into_bytes()
    };
    let send = |header: &[u8], key: bool| send_raw(&listener, &[header, &ask(key)].concat());
    let whole = proxy_header(vip, 8000, &[]);
    assert!(send(&whole, true).starts_with("HTTP/1.1 200") && send(&whole, false).starts_with("HTTP/1.1 401"));

    let changed = |at: usize, byte: u8| {
        let mut header = whole.clone();
        header[at] = byte;
        header
    };
    let unix = {
        let mut header = whole[..12].to_vec();
        header.extend([0x21, 0x31, 0, 216]);
        header.extend([0; 216]);
        header
    };
    for (what, header) in [
        ("nothing", Vec::new()),
        ("version 1", b"PROXY TCP4 127.0.0.1 127.0.20.2 1 8000\r\n".to_vec()),
        ("version 1 of nobody", b"PROXY UNKNOWN\r\n".to_vec()),
        ("LOCAL", changed(12, 0x20)),
        ("a command that is none", changed(12, 0x2f)),
        ("a version that is none", changed(12, 0x31)),
        ("UDP", changed(13, 0x12)),
        ("UNSPEC", changed(13, 0x00)),
        ("a UNIX socket", unix),
        ("IPv6 in the room of IPv4", changed(13, 0x21)),
        ("a length that is too short", changed(15, 4)),
        ("a length that reaches into the request", changed(15, 60)),
        ("a length of 64 KiB", changed(14, 0xff)),
        ("another Service's address of nobody", proxy_header([127, 0, 20, 99], 8000, &[])),
        ("a port of nobody", proxy_header(vip, 8001, &[])),
        ("a TLV that is longer than the header", proxy_header(vip, 8000, &[0xd0, 0xff, 0xff, b'a'])),
        ("half a signature", whole[..6].to_vec()),
    ] {
        let answer = send(&header, false);
        assert!(!answer.contains("\"headers\""), "{what}: {answer:?}");
    }
    // Two headers: the second is no request.
    let twice = send(&[whole.clone(), whole.clone()].concat(), true);
    assert!(!twice.contains("\"headers\""), "{twice:?}");
}
