//! Starting, stopping, and what else a person sees of the running system.
#![allow(clippy::unwrap_used)]

use std::net::TcpStream;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use waykeeper_tests::parts::{Application, binary};
use waykeeper_tests::raw::{proxy_header, send_raw};
use waykeeper_tests::{Backends, Curl, Folder, Redis, Reply, Waykeeper, eventually, turn};

fn get(service: &str) -> Curl {
    Curl::to(&format!("http://{service}:8000/get"))
}

#[test]
fn up_prints_a_table_lines_to_paste_and_ready_and_exits_zero_on_sigterm() {
    let _turn = turn();
    let folder = Folder::example();
    let waykeeper = Waykeeper::up(&folder, &["--sample"]);
    assert!(waykeeper.banner.contains("127.0.20.2:8000"), "{}", waykeeper.banner);
    assert!(waykeeper.banner.matches("curl ").count() >= 3, "{}", waykeeper.banner);
    assert!(waykeeper.banner.trim_end().ends_with("ready"), "{}", waykeeper.banner);
    assert_eq!(get("httpbin2").send().status, 200);
    assert_eq!(waykeeper.admin("/readyz").body, "ready\n");
    assert_eq!(waykeeper.admin("/livez").status, 200);
    assert!(waykeeper.admin("/metrics").body.contains("# TYPE"), "metrics are served");
    for command in [vec!["ps"], vec!["status"], vec!["get", "services"], vec!["get", "Gateway"]] {
        let output =
            Command::new(binary("waykeeper")).args(&command).args(["--admin", &waykeeper.admin]).output().unwrap();
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(output.status.success(), "{command:?}: {text}{}", String::from_utf8_lossy(&output.stderr));
        assert!(text.contains("NAME"), "{command:?}: {text}");
    }
    // A wrapper passes on the signal that its whole group was sent: it comes twice and means one thing.
    waykeeper.terminate();
    let (exit, log) = waykeeper.stop();
    assert!(exit.success(), "{exit}");
    let complaints: Vec<&str> =
        log.lines().filter(|line| ["WARN", "ERROR"].iter().any(|level| line.contains(level))).collect();
    assert_eq!(complaints, [""; 0], "nothing went wrong");
    assert!(!log.contains('\u{1b}'), "a file is no terminal");
}

#[test]
fn stopping_under_load_neither_hangs_nor_answers_by_half() {
    let _turn = turn();
    let _backends = Backends::start(Application::Sample);
    let folder = Folder::example();
    folder.apply_walkthrough("apikeys");
    let waykeeper = Waykeeper::up(&folder, &[]);
    let stop = Arc::new(AtomicBool::new(false));
    let clients: Vec<_> = (0..4)
        .map(|_| {
            let stop = stop.clone();
            thread::spawn(move || {
                let mut served = 0;
                while !stop.load(Ordering::SeqCst) {
                    let reply = Curl::to("http://httpbin2:8000/get").header("api-key: mykey").send();
                    match (reply.status, &reply.error) {
                        (200, None) => served += 1,
                        // Not accepted any more: that is how an end looks from outside.
                        (0, Some(error)) if error.contains("curl Some(7)") => {}
                        _ => return Err(reply),
                    }
                }
                Ok(served)
            })
        })
        .collect();
    thread::sleep(Duration::from_millis(500));
    let (exit, log) = waykeeper.stop();
    stop.store(true, Ordering::SeqCst);
    let served: Vec<Result<i32, Reply>> = clients.into_iter().map(|client| client.join().unwrap()).collect();
    assert!(exit.success(), "{exit}");
    let all_served = served.iter().all(|client| client.as_ref().is_ok_and(|n| *n > 0));
    assert!(all_served, "{log}\nserved, or half an answer: {served:?}");
}

#[test]
fn what_is_under_way_is_finished_before_the_end_and_the_end_comes_then() {
    let _turn = turn();
    let _backends = Backends::start(Application::GoHttpbin);
    let folder = Folder::example();
    let waykeeper = Waykeeper::up(&folder, &[]);
    // Longer than Envoy is given to exit once it has drained.
    let slow = thread::spawn(|| Curl::to("http://httpbin2:8000/delay/5").send());
    eventually("a request under way", Duration::from_secs(5), || {
        let metrics = waykeeper.admin("/metrics").body;
        let open = metrics.lines().filter(|line| line.starts_with("istio_tcp_connections_opened_total"));
        if open.clone().any(|line| !line.ends_with(" 0")) { Ok(()) } else { Err(format!("{open:?}")) }
    });
    let (exit, log) = waykeeper.stop();
    let reply = slow.join().unwrap();
    assert_eq!(reply.status, 200, "{reply:?}\n{log}");
    assert!(exit.success(), "{exit}");
    assert!(!log.contains("in time"), "{log}");
}

#[test]
fn the_waypoint_trusts_nothing_but_a_whole_proxy_header() {
    let _turn = turn();
    let _backends = Backends::start(Application::Sample);
    let folder = Folder::example();
    let waykeeper = Waykeeper::up(&folder, &[]);
    let config = waykeeper.admin("/config").json();
    let address = config.to_string();
    let address =
        address.split('"').find(|s| s.ends_with(":15088")).expect("the listener's address in /config").to_owned();
    let request = b"GET /get HTTP/1.1\r\nHost: httpbin3\r\nConnection: close\r\n\r\n";

    let whole = [proxy_header([127, 0, 20, 2], 8000, &[]), request.to_vec()].concat();
    let answer = send_raw(&address, &whole);
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");

    let unknown = [proxy_header([127, 9, 9, 9], 8000, &[]), request.to_vec()].concat();
    let answer = send_raw(&address, &unknown);
    assert!(answer.starts_with("HTTP/1.1 404") && answer.contains("no service"), "an explanation: {answer}");

    assert_eq!(send_raw(&address, request), "", "no header, no answer");
    let mut truncated = proxy_header([127, 0, 20, 2], 8000, &[]);
    truncated[15] = 200;
    assert_eq!(send_raw(&address, &[truncated[..20].to_vec()].concat()), "", "a header that never ends");
    let mut forged = proxy_header([127, 0, 20, 2], 8000, &[0xd0, 0xff, 0xff]);
    forged.extend(request);
    assert!(!send_raw(&address, &forged).starts_with("HTTP/1.1 200"), "a TLV longer than the header");
}

#[test]
fn limits_fail_open_while_redis_is_away_and_hold_again_when_it_is_back() {
    let _turn = turn();
    let _backends = Backends::start(Application::Sample);
    let mut redis = Redis::start();
    let folder = Folder::example();
    let waykeeper = Waykeeper::up(&folder, &["--redis", &redis.url()]);
    folder.apply_walkthrough("ratelimit-httpbin2");
    waykeeper.within_a_second("limited", &get("httpbin2"), |r| r.status == 429);
    redis.kill();
    for _ in 0..3 {
        let reply = get("httpbin2").send();
        assert_eq!(reply.status, 200, "{reply:?}");
    }
    let _redis = redis.restart();
    eventually("limited again", Duration::from_secs(5), || {
        let reply = get("httpbin2").send();
        if reply.status == 429 { Ok(()) } else { Err(format!("{reply:?}")) }
    });
}

#[test]
fn an_envoy_that_dies_is_started_again_with_its_policies() {
    let _turn = turn();
    let _backends = Backends::start(Application::Sample);
    let folder = Folder::example();
    folder.apply_walkthrough("apikeys");
    let waykeeper = Waykeeper::up(&folder, &[]);
    assert_eq!(get("httpbin2").send().status, 401);
    waykeeper.kill_envoys();
    eventually("answers again", Duration::from_secs(5), || {
        let reply = get("httpbin2").send();
        assert_ne!(reply.status, 200, "never without its policies");
        if reply.status == 401 { Ok(()) } else { Err(format!("{reply:?}")) }
    });
    assert_eq!(get("httpbin2").header("api-key: mykey").send().status, 200);
}

#[test]
fn an_envoy_never_outlives_its_waykeeper_not_even_when_that_is_killed() {
    let _turn = turn();
    let _backends = Backends::start(Application::Sample);
    let folder = Folder::example();
    let mut waykeeper = Waykeeper::up(&folder, &[]);
    let listener = waykeeper.admin("/config").json()["gateways"][0]["listener"].as_str().unwrap().to_owned();
    assert!(TcpStream::connect(&listener).is_ok());
    waykeeper.kill();
    eventually("the Envoy's end", Duration::from_secs(2), || match TcpStream::connect(&listener) {
        Ok(_) => Err(format!("{listener} still accepts connections")),
        Err(_) => Ok(()),
    });
}

#[test]
fn mistakes_on_the_command_line_are_said_at_once() {
    let output = Command::new(binary("waykeeper")).args(["up", "--admin", "nowhere"]).output().unwrap();
    assert!(!output.status.success());
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(text.contains("PATH") || text.contains("--admin"), "{text}");

    let folder = Folder::example();
    folder.apply("wrong.yaml", "apiVersion: v1\nkind: Servise\nmetadata: {name: a}\n");
    let output = Command::new(binary("waykeeper")).arg("validate").arg(folder.path()).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    let text = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    assert!(text.contains("Servise"), "{text}");
}
