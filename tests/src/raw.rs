//! Bytes sent straight to the waypoint's listener, as ztunnel or an attacker would.

use std::io::{Read as _, Write as _};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, TcpStream};
use std::process::{Command, Stdio};
use std::time::Duration;

/// A PROXY v2 header of a connection from port 1 of this machine to `vip`, with `tlvs` behind the addresses.
pub fn proxy_header(vip: impl Into<IpAddr>, port: u16, tlvs: &[u8]) -> Vec<u8> {
    let (family, addresses) = match vip.into() {
        IpAddr::V4(vip) => (0x11, [Ipv4Addr::LOCALHOST.octets(), vip.octets()].concat()),
        IpAddr::V6(vip) => (0x21, [Ipv6Addr::LOCALHOST.octets(), vip.octets()].concat()),
    };
    let mut header = b"\r\n\r\n\0\r\nQUIT\n".to_vec();
    header.extend([0x21, family]);
    header.extend(u16::try_from(addresses.len() + 4 + tlvs.len()).unwrap().to_be_bytes());
    header.extend(addresses);
    header.extend(1u16.to_be_bytes());
    header.extend(port.to_be_bytes());
    header.extend(tlvs);
    header
}

/// What the waypoint's listener answers to these bytes; empty when it just closes.
pub fn send_raw(address: &str, bytes: &[u8]) -> String {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(15))).unwrap();
    let _ = stream.write_all(bytes);
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
    String::from_utf8_lossy(&answer).into_owned()
}

/// One gRPC call by curl: the messages of the answer, one behind the other, still framed.
pub fn grpc(address: &str, method: &str, message: &[u8]) -> Vec<u8> {
    let mut framed = vec![0];
    framed.extend(u32::try_from(message.len()).unwrap().to_be_bytes());
    framed.extend(message);
    let mut curl = Command::new("curl")
        .args(["-sS", "--http2-prior-knowledge", "--max-time", "5", "-X", "POST", "--data-binary", "@-"])
        .args(["-H", "content-type: application/grpc", "-H", "te: trailers"])
        .arg(format!("http://{address}/{method}"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("curl is missing: apt-get install curl");
    curl.stdin.take().unwrap().write_all(&framed).unwrap();
    curl.wait_with_output().unwrap().stdout
}

/// The status of the answer to a request over HTTP/2 with any word for a method.
pub fn status_over_http2(address: &str, method: &str, path: &str) -> u16 {
    let output = Command::new("curl")
        .args([
            "-sS",
            "--http2-prior-knowledge",
            "--max-time",
            "5",
            "-o",
            "/dev/null",
            "-w",
            "%{http_code}",
            "-X",
            method,
        ])
        .arg(format!("http://{address}{path}"))
        .output()
        .expect("curl is missing: apt-get install curl");
    String::from_utf8_lossy(&output.stdout).parse().unwrap_or(0)
}
