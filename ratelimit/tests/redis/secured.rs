//! Sentinels and a Cluster where everything is encrypted and everybody has to say who they are.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use api::Redacted;
use ratelimit::store::Redis;
use ratelimit::store::redis::{Login, RedisSettings, RedisUrl, Tls};
use runtime::Shutdown;

use super::cluster::cluster_of;
use super::servers::*;
use super::tls::{certificates, tls_server};

/// What docs/ratelimit.md says that an ACL user needs; `@` in the password as a URL has to write it.
const MAY: &str = "on >se:cr@et ~rl:* +evalsha +script|load +ping +hget +hmget +hset +hincrby +hlen +pexpire +time";

/// The rights of the user `limiter`, who may do this besides, and of the servers among each other.
fn users(besides: &str) -> Vec<String> {
    let all = format!("--requirepass servers --masterauth servers --user limiter {MAY} {besides}");
    all.split_whitespace().map(str::to_owned).collect()
}

/// How `redis-cli` reaches them as their owner.
fn owner(dir: &Path, password: &str) -> Vec<String> {
    let file = |name: &str| dir.join(name).display().to_string();
    let (ca, cert, key) = (file("ca.pem"), file("127.0.0.1.pem"), file("127.0.0.1.key"));
    let args = ["--tls", "--cacert", &ca, "--cert", &cert, "--key", &key, "--no-auth-warning", "-a", password];
    args.map(str::to_owned).to_vec()
}

fn texts(strings: &[String]) -> Vec<&str> {
    strings.iter().map(String::as_str).collect()
}

fn client(dir: &Path) -> Tls {
    let client = Some((dir.join("client.pem"), dir.join("client.key")));
    Tls { ca: Some(dir.join("ca.pem")), client, check_hostname: true }
}

fn with(url: RedisUrl) -> RedisSettings {
    RedisSettings { prefix: "rl:".to_owned(), url, ..settings("unix:/-") }
}

/// None of these gets in, as long as others do.
async fn refused(wrong: Vec<RedisSettings>, right: RedisSettings, shutdown: &Shutdown) {
    let wrong: Vec<Redis> = wrong.into_iter().map(|settings| open(settings, shutdown)).collect();
    // Long enough for each to have tried: a handle that connects does so before this one.
    let late = opened(right, shutdown).await;
    for n in 100..130 {
        assert!(count(&late, n).await.is_ok());
    }
    for redis in wrong {
        assert!(!redis.is_up() && count(&redis, 1).await.is_err());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cluster_is_reached_over_tls_by_a_user_of_its_own_and_followed_when_a_master_dies() {
    let dir = tempfile::tempdir().unwrap();
    certificates(dir.path(), &["127.0.0.1", "client"]);
    let (owner, users) = (owner(dir.path(), "servers"), users("+cluster|slots +asking"));
    let own: Vec<&str> =
        ["--tls-cluster", "yes", "--tls-replication", "yes"].into_iter().chain(texts(&users)).collect();
    let start = |at: &Path, args: &[&str]| tls_server(at, dir.path(), "127.0.0.1", &[args, &own].concat());
    let mut nodes = cluster_of(dir.path(), &texts(&owner), start).await;
    let ask = |node: &Server, args: &[&str]| node.cli(&[&texts(&owner), args].concat());

    let (first, second) = (nodes[0].port, nodes[4].port);
    let url = |login: &str, scheme: &str| -> RedisUrl {
        format!("{scheme}+cluster://{login}127.0.0.1:{first},127.0.0.1:{second}").parse().unwrap()
    };
    let good = || with(url("limiter:se%3Acr%40et@", "rediss").with_tls(client(dir.path())));
    let shutdown = Shutdown::new();
    let redis = opened(good(), &shutdown).await;
    for n in 0..60 {
        assert_eq!(count(&redis, n).await, Ok(1));
    }
    let is_master = |node: &Server| ask(node, &["ROLE"]).starts_with("master");
    assert_eq!(nodes.iter().filter(|node| is_master(node) && ask(node, &["DBSIZE"]) != "0").count(), 3);
    let other = tempfile::tempdir().unwrap();
    let wrong = vec![
        with(url("limiter:wrong@", "rediss").with_tls(client(dir.path()))),
        with(url("", "rediss").with_tls(client(dir.path()))),
        with(url("limiter:se%3Acr%40et@", "rediss").with_tls(Tls { client: None, ..client(dir.path()) })),
        with(
            url("limiter:se%3Acr%40et@", "rediss")
                .with_tls(Tls { ca: Some(certificates(other.path(), &[])), ..client(dir.path()) }),
        ),
        with(url("limiter:se%3Acr%40et@", "redis")),
    ];
    refused(wrong, good(), &shutdown).await;

    // Its nodes tell where the slots are now, over TLS as well.
    let dead = nodes.iter().position(is_master).unwrap();
    assert_eq!(ask(&nodes[dead], &["WAIT", "1", "2000"]), "1");
    drop(nodes.remove(dead));
    until("all slots are counted again", async || {
        for n in 200..260 {
            if count(&redis, n).await.is_err() {
                return false;
            }
        }
        true
    })
    .await;
    assert!(nodes.iter().filter(|node| is_master(node)).count() == 3);
    for node in nodes.iter().filter(|node| is_master(node)) {
        counters_that_end(|args| ask(node, args));
    }
    shutdown.begin();
}

fn sentinel(dir: &Path, n: usize, master: u16) -> Server {
    let config: PathBuf = dir.join(format!("sentinel{n}.conf"));
    let (port, file) = (free_port(), |name: &str| dir.join(name).display().to_string());
    let text = format!(
        "port 0\ntls-port {port}\nbind 127.0.0.1\ntls-replication yes\ntls-ca-cert-file {}\ntls-cert-file {}\n\
         tls-key-file {}\nsentinel monitor main 127.0.0.1 {master} 2\nsentinel down-after-milliseconds main 3000\n\
         sentinel failover-timeout main 4000\nrequirepass sentinels\nsentinel sentinel-pass sentinels\n\
         sentinel auth-pass main servers\nuser asker on >asks &* +sentinel\n",
        file("ca.pem"),
        file("127.0.0.1.pem"),
        file("127.0.0.1.key"),
    );
    std::fs::write(&config, text).unwrap();
    let process = Command::new("redis-server")
        .arg(&config)
        .arg("--sentinel")
        .current_dir(dir)
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    Server { process, port }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sentinels_and_servers_are_reached_over_tls_each_by_a_user_of_its_own_and_a_failover_is_followed() {
    let dir = tempfile::tempdir().unwrap();
    certificates(dir.path(), &["127.0.0.1", "client"]);
    let (owner, asker, users) = (owner(dir.path(), "servers"), owner(dir.path(), "sentinels"), users("+role"));
    let start = |args: &[&str]| {
        let own = [&["--tls-replication", "yes"], args, &texts(&users)].concat();
        tls_server(dir.path(), dir.path(), "127.0.0.1", &own)
    };
    let first = start(&[]);
    let second = start(&["--replicaof", &format!("127.0.0.1 {}", first.port)]);
    let ask = |node: &Server, args: &[&str]| node.cli(&[&texts(&owner), args].concat());
    until("replicated", async || ask(&second, &["INFO", "replication"]).contains("master_link_status:up")).await;
    let sentinels: Vec<Server> = (0..3).map(|n| sentinel(dir.path(), n, first.port)).collect();
    until("the Sentinels know everybody", async || {
        sentinels.iter().all(|sentinel| {
            let state = sentinel.cli(&[&texts(&asker)[..], &["SENTINEL", "MASTER", "main"]].concat());
            let lines: Vec<&str> = state.lines().collect();
            let of = |name| lines.iter().position(|line| *line == name).and_then(|at| lines.get(at + 1)).copied();
            of("num-slaves") == Some("1") && of("num-other-sentinels") == Some("2")
        })
    })
    .await;

    let places: Vec<String> = sentinels.iter().map(|sentinel| format!("127.0.0.1:{}", sentinel.port)).collect();
    let url = |password: &str, asks: &str| -> RedisUrl {
        let url = format!("rediss+sentinel://limiter:{password}@{}/main", places.join(","));
        let login = Login { user: Some("asker".to_owned()), password: Some(Redacted::new(asks)) };
        url.parse::<RedisUrl>().unwrap().with_sentinel_login(login)
    };
    let good = || with(url("se%3Acr%40et", "asks").with_tls(client(dir.path())));
    let shutdown = Shutdown::new();
    let redis = opened(good(), &shutdown).await;
    assert_eq!(count(&redis, 1).await, Ok(1));
    let wrong = vec![
        with(url("wrong", "asks").with_tls(client(dir.path()))),
        with(url("se%3Acr%40et", "wrong").with_tls(client(dir.path()))),
        with(url("se%3Acr%40et", "asks").with_tls(Tls { client: None, ..client(dir.path()) })),
        with(url("se%3Acr%40et", "asks").with_tls(Tls { ca: None, ..client(dir.path()) })),
    ];
    refused(wrong, good(), &shutdown).await;

    assert_eq!(ask(&first, &["WAIT", "1", "2000"]), "1");
    let asked = sentinels[0].cli(&[&texts(&asker)[..], &["SENTINEL", "FAILOVER", "main"]].concat());
    assert_eq!(asked, "OK");
    until("promoted", async || ask(&second, &["ROLE"]).starts_with("master")).await;
    until("followed", async || {
        let counted = count(&redis, 77).await.is_ok();
        counted && has(&counters_that_end(|args| ask(&second, args)), 77)
    })
    .await;
    assert_eq!(count(&redis, 1).await, Ok(2), "what was replicated counts");
    counters_that_end(|args| ask(&second, args));
    shutdown.begin();
}
