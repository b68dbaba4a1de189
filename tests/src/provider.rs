//! A provider of OpenID Connect, for tests: it keeps to the protocol, and breaks it where a test says how.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use ring::digest::{SHA256, SHA512, digest};
use serde_json::{Value, json};

use crate::issuer::{self, Issuer};
use crate::tokens::{Signer, in_seconds, jwks};

/// The client's name and secret.
pub const CLIENT: (&str, &str) = ("waypoint", "change-me-canary-secret");

type Spoils = Box<dyn FnMut(&mut Value, &mut Value) + Send>;
type Fields = HashMap<String, String>;

/// A provider that listens until it is dropped.
pub struct Provider {
    /// Its address, which is its name.
    pub url: String,
    world: Arc<Mutex<World>>,
    _issuer: Issuer,
}

struct World {
    url: String,
    signer: Signer,
    document: Value,
    /// Codes, and what they are bound to.
    codes: HashMap<String, Fields>,
    /// Refresh tokens, and whose they are.
    refresh: HashMap<String, String>,
    /// How long id tokens and access tokens are good.
    lives: (i64, i64),
    late: Duration,
    spoils: Spoils,
    asked: Vec<String>,
    count: usize,
}

/// The parameters of `query`; none comes twice.
pub fn fields(query: &str) -> Fields {
    let mut fields = Fields::new();
    for (name, value) in form_urlencoded::parse(query.as_bytes()) {
        assert!(fields.insert(name.to_string(), value.into_owned()).is_none(), "{name} comes twice");
    }
    fields
}

fn hashed(text: &str) -> String {
    URL_SAFE_NO_PAD.encode(digest(&SHA256, text.as_bytes()))
}

impl Provider {
    /// Starts one at `address`.
    pub fn start(address: &str) -> Provider {
        let url = format!("http://{address}");
        let document = json!({"issuer": url, "authorization_endpoint": format!("{url}/auth"), "token_endpoint": format!("{url}/token"),
            "jwks_uri": format!("{url}/keys"), "revocation_endpoint": format!("{url}/revoke"),
            "end_session_endpoint": format!("{url}/end")});
        let world = Arc::new(Mutex::new(World {
            url: url.clone(),
            signer: Signer::ed25519("first"),
            document,
            codes: HashMap::new(),
            refresh: HashMap::new(),
            lives: (600, 600),
            late: Duration::ZERO,
            spoils: Box::new(|_, _| ()),
            asked: Vec::new(),
            count: 0,
        }));
        let answers = world.clone();
        let issuer = Issuer::start(address, move |head, body| {
            // Others are answered while this one waits.
            let late = answers.lock().unwrap_or_else(PoisonError::into_inner).late;
            if head.starts_with("POST /token") {
                thread::sleep(late);
            }
            answers.lock().unwrap_or_else(PoisonError::into_inner).answer(head, body)
        });
        Provider { url, world, _issuer: issuer }
    }

    fn world(&self) -> std::sync::MutexGuard<'_, World> {
        self.world.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// `user` logs in where a browser was sent to by `location`: the address to which the browser is sent back.
    pub fn log_in(&self, location: &str, user: &str) -> String {
        let mut world = self.world();
        let (at, query) = location.split_once('?').unwrap();
        assert_eq!(at, format!("{}/auth", world.url));
        let mut asked = fields(query);
        assert_eq!((asked["client_id"].as_str(), asked["response_type"].as_str()), (CLIENT.0, "code"));
        assert_eq!(asked["code_challenge_method"], "S256");
        assert!(asked["scope"].split(' ').any(|scope| scope == "openid"));
        world.count += 1;
        let (code, back, state) =
            (format!("canary-code-{}", world.count), asked["redirect_uri"].clone(), asked["state"].clone());
        asked.insert("user".to_owned(), user.to_owned());
        world.codes.insert(code.clone(), asked);
        let mut query = form_urlencoded::Serializer::new(String::new());
        query.append_pair("code", &code).append_pair("state", &state).append_pair("iss", &world.url);
        format!("{back}?{}", query.finish())
    }

    /// From now on it signs with another key.
    pub fn signs_with(&self, signer: Signer) {
        self.world().signer = signer;
    }

    /// From now on id tokens and access tokens are good for so many seconds.
    pub fn lives(&self, id: i64, access: i64) {
        self.world().lives = (id, access);
    }

    /// From now on it takes so long to give tokens.
    pub fn is_late(&self, late: Duration) {
        self.world().late = late;
    }

    /// From now on it changes so what id tokens claim, and what it answers.
    pub fn spoils(&self, how: impl FnMut(&mut Value, &mut Value) + Send + 'static) {
        self.world().spoils = Box::new(how);
    }

    /// From now on it says so of itself.
    pub fn says(&self, how: impl FnOnce(&mut Value)) {
        how(&mut self.world().document);
    }

    /// What it was asked since this was asked last: the first line, and the body.
    pub fn asked(&self) -> Vec<String> {
        std::mem::take(&mut self.world().asked)
    }

    /// The same without what it says of itself, and its keys.
    pub fn asked_for_tokens(&self) -> Vec<String> {
        self.asked().into_iter().filter(|line| line.starts_with("POST ")).collect()
    }

    /// It has ended all sessions.
    pub fn ends_all(&self) {
        self.world().refresh.clear();
    }
}

impl World {
    fn answer(&mut self, head: &str, body: &str) -> String {
        let line = head.lines().next().unwrap_or_default();
        self.asked.push(format!("{line} {body}"));
        match line {
            "GET /.well-known/openid-configuration HTTP/1.1" => issuer::json(200, &self.document.to_string()),
            "GET /keys HTTP/1.1" => issuer::json(200, &jwks([&self.signer])),
            "POST /token HTTP/1.1" => match self.tokens(head, &fields(body)) {
                Ok(answer) => issuer::json(200, &answer.to_string()),
                Err((status, error)) => issuer::json(status, &json!({"error": error}).to_string()),
            },
            "POST /revoke HTTP/1.1" => {
                let asked = fields(body);
                self.refresh.remove(&asked["token"]);
                issuer::json(200, "")
            }
            _ => issuer::json(404, ""),
        }
    }

    fn tokens(&mut self, head: &str, asked: &Fields) -> Result<Value, (u16, &'static str)> {
        let basic = format!("authorization: Basic {}", STANDARD.encode(format!("{}:{}", CLIENT.0, CLIENT.1)));
        let posted = asked.get("client_secret").map(String::as_str) == Some(CLIENT.1);
        if !head.contains(&basic) && !posted {
            return Err((401, "invalid_client"));
        }
        let text = |name: &str| asked.get(name).map(String::as_str).unwrap_or_default();
        let (user, nonce) = match text("grant_type") {
            "authorization_code" => {
                // Good once.
                let bound = self.codes.remove(text("code")).ok_or((400, "invalid_grant"))?;
                let fits = bound["code_challenge"] == hashed(text("code_verifier"));
                if !fits || bound["redirect_uri"] != text("redirect_uri") {
                    return Err((400, "invalid_grant"));
                }
                (bound["user"].clone(), Some(bound["nonce"].clone()))
            }
            // Good once, too.
            "refresh_token" => (self.refresh.remove(text("refresh_token")).ok_or((400, "invalid_grant"))?, None),
            _ => return Err((400, "unsupported_grant_type")),
        };
        self.count += 1;
        let (access, refresh) = (format!("canary-access-{}", self.count), format!("canary-refresh-{}", self.count));
        self.refresh.insert(refresh.clone(), user.clone());
        let hash = digest(&SHA512, access.as_bytes());
        let mut claims = json!({"iss": self.url, "sub": user, "aud": CLIENT.0, "iat": in_seconds(0), "exp": in_seconds(self.lives.0),
            "email": format!("{user}@example"), "at_hash": URL_SAFE_NO_PAD.encode(&hash.as_ref()[..32])});
        if let Some(nonce) = nonce {
            claims["nonce"] = nonce.into();
        }
        let mut answer = json!({"token_type": "Bearer", "access_token": access, "refresh_token": refresh, "expires_in": self.lives.1});
        (self.spoils)(&mut claims, &mut answer);
        if answer.get("id_token").is_none() {
            answer["id_token"] = self.signer.token(&claims).into();
        }
        Ok(answer)
    }
}
