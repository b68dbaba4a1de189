//! The cookies of a login: the session, in as many as it needs, and the one that binds a login under way to its browser.
//!
//! Applications get neither. Of a cookie that comes twice nobody knows which one counts, so that it counts for none.

use std::fmt::Write as _;

use api::gloo::auth_config::{CookieForm, OidcAuthorizationCode, SameSite};

/// A browser keeps 4096 bytes of a cookie, with its name and attributes.
const MOST_VALUE: usize = 3600;
/// More are not set: there is a bound on what all headers of a request may take.
const MOST_PIECES: usize = 6;
/// How long a login may take, in seconds.
pub const LOGIN: u32 = 600;

/// How cookies are called and set.
#[derive(Debug)]
pub struct Jar {
    session: String,
    login: String,
    form: CookieForm,
}

/// What a request brings.
#[derive(Default)]
pub struct Brought {
    /// The session, put together.
    pub session: Option<String>,
    /// What binds logins to this browser.
    pub login: Option<String>,
    /// The cookies that are not ours, if some are.
    pub others: Option<String>,
    /// In how many pieces a session came, whole or not.
    pieces: usize,
}

impl Jar {
    /// Of `login`.
    pub fn of(login: &OidcAuthorizationCode) -> Jar {
        let form = login.cookies();
        // Browsers take such names only as they say, so that no other host of the domain can set them.
        let promise = match (&form, form.path.as_deref()) {
            (CookieForm { secure: true, domain: None, .. }, Some("/")) => "__Host-",
            (CookieForm { secure: true, .. }, _) => "__Secure-",
            _ => "",
        };
        let prefix = login.in_cookies().and_then(|session| session.key_prefix.as_deref()).unwrap_or_default();
        let prefix = if prefix.is_empty() { String::new() } else { format!("{prefix}_") };
        Jar { session: format!("{promise}{prefix}oidc_session"), login: format!("{promise}{prefix}oidc_login"), form }
    }

    /// The name of the piece at `index`.
    fn piece(&self, index: usize) -> String {
        if index == 0 { self.session.clone() } else { format!("{}_{index}", self.session) }
    }

    /// What stands in the header `cookie`.
    pub fn read(&self, header: &str) -> Brought {
        let mut pieces: [Option<&str>; MOST_PIECES] = [None; MOST_PIECES];
        let (mut brought, mut doubtful, mut login) = (Brought::default(), false, Vec::new());
        let mut others = Vec::new();
        for cookie in header.split(';').map(str::trim).filter(|cookie| !cookie.is_empty()) {
            let (name, value) = cookie.split_once('=').unwrap_or((cookie, ""));
            let name = name.trim_end();
            match (0..MOST_PIECES).find(|index| self.piece(*index) == name) {
                Some(index) => {
                    doubtful |= pieces.get(index).is_some_and(Option::is_some);
                    pieces.get_mut(index).into_iter().for_each(|piece| *piece = Some(value.trim_start()));
                    brought.pieces = brought.pieces.max(index + 1);
                }
                None if name == self.login => login.push(value.trim_start()),
                None => others.push(cookie),
            }
        }
        if brought.pieces > 0 || !login.is_empty() {
            brought.others = Some(others.join("; "));
        }
        if let [one] = login[..] {
            brought.login = Some(one.to_owned());
        }
        brought.session = if doubtful { None } else { together(&pieces) };
        brought
    }

    /// Cookies that set `session`, and end pieces of the one before it that it does not need; none if it is too large.
    pub fn session(&self, session: &str, brought: &Brought) -> Option<Vec<String>> {
        let bytes = session.as_bytes().chunks(MOST_VALUE).map(|piece| std::str::from_utf8(piece).unwrap_or_default());
        let values: Vec<&str> = bytes.collect();
        let (count, first) = (values.len(), values.first()?);
        if count > MOST_PIECES {
            return None;
        }
        let mut cookies = vec![self.set(&self.piece(0), &format!("{count}.{first}"), self.form.max_age)];
        let rest = values.iter().enumerate().skip(1);
        cookies.extend(rest.map(|(index, value)| self.set(&self.piece(index), value, self.form.max_age)));
        cookies.extend((count..brought.pieces).map(|index| self.set(&self.piece(index), "", Some(0))));
        Some(cookies)
    }

    /// Cookies that end a session.
    pub fn no_session(&self, brought: &Brought) -> Vec<String> {
        (0..brought.pieces.max(1)).map(|index| self.set(&self.piece(index), "", Some(0))).collect()
    }

    /// The cookie that binds logins to this browser.
    pub fn login(&self, secret: &str) -> String {
        self.bound(secret, LOGIN)
    }

    /// Ends it.
    pub fn no_login(&self) -> String {
        self.bound("", 0)
    }

    /// The provider sends the browser back from another site, and scripts have nothing to do with it.
    fn bound(&self, value: &str, max_age: u32) -> String {
        let same_site = if self.form.same_site == SameSite::None { SameSite::None } else { SameSite::Lax };
        written(&CookieForm { same_site, http_only: true, ..self.form.clone() }, &self.login, value, Some(max_age))
    }

    fn set(&self, name: &str, value: &str, max_age: Option<u32>) -> String {
        written(&self.form, name, value, max_age)
    }

    /// Whether the browser does not bring the session when another site has sent it here.
    pub fn is_strict(&self) -> bool {
        self.form.same_site == SameSite::Strict
    }
}

fn written(form: &CookieForm, name: &str, value: &str, max_age: Option<u32>) -> String {
    let mut cookie = format!("{name}={value}");
    if let Some(path) = &form.path {
        let _ = write!(cookie, "; Path={path}");
    }
    if let Some(domain) = &form.domain {
        let _ = write!(cookie, "; Domain={domain}");
    }
    if let Some(max_age) = max_age {
        let _ = write!(cookie, "; Max-Age={max_age}");
    }
    if form.secure {
        cookie.push_str("; Secure");
    }
    if form.http_only {
        cookie.push_str("; HttpOnly");
    }
    cookie.push_str(match form.same_site {
        SameSite::Lax => "; SameSite=Lax",
        SameSite::Strict => "; SameSite=Strict",
        SameSite::None => "; SameSite=None",
    });
    cookie
}

/// The pieces of one session; none if some are missing. What stands behind them is of an older one.
fn together(pieces: &[Option<&str>]) -> Option<String> {
    let (count, first) = pieces.first().copied().flatten()?.split_once('.')?;
    let count: usize = count.parse().ok().filter(|count| (1..=pieces.len()).contains(count))?;
    let mut whole = first.to_owned();
    for piece in pieces.get(1..count)? {
        whole.push_str((*piece)?);
    }
    Some(whole)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;

    fn jar(session: &Value) -> Jar {
        let login: OidcAuthorizationCode = serde_json::from_value(json!({"session": session})).unwrap();
        Jar::of(&login)
    }

    /// What a browser sends back of `set`.
    fn sent(set: &[String]) -> String {
        let kept = set.iter().filter(|cookie| !cookie.contains("Max-Age=0"));
        kept.map(|cookie| cookie.split(';').next().unwrap()).collect::<Vec<_>>().join("; ")
    }

    #[test]
    fn cookies_are_called_and_set_as_it_is_written() {
        let plain = jar(&json!({}));
        let set = plain.session("abc", &Brought::default()).unwrap();
        assert_eq!(set, ["__Host-oidc_session=1.abc; Path=/; Max-Age=2592000; Secure; HttpOnly; SameSite=Lax"]);
        assert_eq!(plain.login("x"), "__Host-oidc_login=x; Path=/; Max-Age=600; Secure; HttpOnly; SameSite=Lax");
        let odd = jar(
            &json!({"cookie": {"keyPrefix": "shop"}, "cookieOptions": {"maxAge": 0, "notSecure": true, "httpOnly": false,
            "path": "/a", "sameSite": "StrictMode", "domain": "example"}}),
        );
        let set = odd.session("abc", &Brought::default()).unwrap();
        assert_eq!(set, ["shop_oidc_session=1.abc; Path=/a; Domain=example; SameSite=Strict"]);
        assert_eq!(odd.login("x"), "shop_oidc_login=x; Path=/a; Domain=example; Max-Age=600; HttpOnly; SameSite=Lax");
        let domain = jar(&json!({"cookieOptions": {"domain": "example", "sameSite": "NoneMode"}}));
        assert!(
            domain.login("x").starts_with("__Secure-oidc_login=x;") && domain.login("x").ends_with("SameSite=None")
        );
        assert_eq!(jar(&json!({"cookieOptions": {"path": ""}})).no_login().split(';').nth(1).unwrap(), " Max-Age=0");
    }

    #[test]
    fn ours_are_taken_out_and_those_of_others_are_left_as_they_are() {
        let jar = jar(&json!({"cookieOptions": {"notSecure": true}}));
        let brought =
            jar.read("a=1; oidc_session=2.x;b = 2;oidc_session_1=y; oidc_login=z; c; OIDC_session=q; oidc_session_9=r");
        assert_eq!((brought.session.as_deref(), brought.login.as_deref()), (Some("xy"), Some("z")));
        assert_eq!(brought.others.as_deref(), Some("a=1; b = 2; c; OIDC_session=q; oidc_session_9=r"));
        assert_eq!(jar.read("a=1; b=2").others, None);
        assert_eq!(jar.read("oidc_login=z").others.as_deref(), Some(""));
        assert_eq!(jar.no_session(&brought).len(), 2);
        let shorter = jar.session("s", &brought).unwrap();
        assert_eq!((shorter.len(), sent(&shorter).as_str()), (2, "oidc_session=1.s"));
    }

    #[test]
    fn what_comes_twice_or_in_part_is_none() {
        let jar = jar(&json!({"cookieOptions": {"notSecure": true}}));
        for header in [
            "oidc_session=1.x; oidc_session=1.x",
            "oidc_session=1.x; oidc_session=",
            "oidc_session=2.x; oidc_session_1=y; oidc_session_1=y",
            "oidc_session=2.x",
            "oidc_session=7.x",
            "oidc_session=0.x",
            "oidc_session=-1.x",
            "oidc_session=x",
            "oidc_session",
            "oidc_session_1=y",
            "",
        ] {
            assert_eq!(jar.read(header).session, None, "{header}");
        }
        assert_eq!(jar.read("oidc_login=a; oidc_login=a").login, None);
    }

    proptest! {
        #[test]
        fn sessions_of_any_length_come_back_whole_or_are_not_set(length in 1_usize..30_000, before in 0_usize..6) {
            let jar = jar(&json!({}));
            let session = "x".repeat(length);
            let older = Brought { pieces: before, ..Brought::default() };
            match jar.session(&session, &older) {
                None => prop_assert!(length > MOST_VALUE * MOST_PIECES),
                Some(set) => {
                    prop_assert!(set.iter().all(|cookie| cookie.len() <= 4096));
                    let whole = jar.read(&format!("a=b; {}", sent(&set))).session;
                    prop_assert_eq!(whole, Some(session));
                }
            }
        }

        #[test]
        fn any_header_is_read(header in "\\PC{0,80}") {
            let brought = jar(&json!({})).read(&header);
            prop_assert!(brought.session.is_none() && brought.others.is_none());
        }
    }
}
