//! What a browser does with cookies: it keeps what it is told and brings it again.

use std::collections::BTreeMap;

/// The cookies that a browser keeps.
#[derive(Debug, Clone, Default)]
pub struct Cookies(pub BTreeMap<String, String>);

impl Cookies {
    /// Keeps, or forgets, what each of these `Set-Cookie` says.
    pub fn keep<'a>(&mut self, set: impl IntoIterator<Item = &'a str>) {
        for cookie in set {
            let (pair, attributes) = cookie.split_once(';').unwrap_or((cookie, ""));
            let (name, value) = pair.split_once('=').unwrap();
            // A browser takes such a name only so.
            if name.starts_with("__Host-") {
                let all = ["; Path=/;", "; Secure;"].iter().all(|said| format!(";{attributes};").contains(said));
                assert!(all && !attributes.contains("Domain"), "{cookie}");
            }
            assert!(cookie.len() <= 4096, "a browser does not keep {} bytes", cookie.len());
            match attributes.contains("Max-Age=0") {
                true => drop(self.0.remove(name)),
                false => drop(self.0.insert(name.to_owned(), value.to_owned())),
            }
        }
    }

    /// What it brings.
    pub fn header(&self) -> String {
        self.0.iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join("; ")
    }

    /// The one whose name ends so.
    pub fn named(&self, end: &str) -> Option<&str> {
        self.0.iter().find(|(name, _)| name.ends_with(end)).map(|(_, value)| value.as_str())
    }
}
