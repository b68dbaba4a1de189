//! Where a request has its token (RFC 6750): in one place, once.

use std::borrow::Cow;

use zeroize::Zeroizing;

/// A longer token is none.
pub const LONGEST: usize = 16 * 1024;
/// The query parameter that may hold it.
const PARAMETER: &str = "access_token";

/// The token of a request with this `Authorization` header and this query.
///
/// # Errors
/// Why there is none, for logs. Who sends two is refused: the application may take the one that was not checked.
pub fn find(authorization: Option<&[u8]>, query: Option<&str>) -> Result<Zeroizing<String>, &'static str> {
    let query = query.unwrap_or_default();
    if doubtful(query) {
        return Err("a token in the query that only some applications take for one");
    }
    let pairs = form_urlencoded::parse(query.as_bytes());
    let mut named = pairs.filter(|(name, _)| name == PARAMETER).map(|(_, value)| value);
    match (authorization, named.next()) {
        (None, None) => Err("no token"),
        (Some(_), Some(_)) => Err("a token in the query beside an Authorization header"),
        (Some(header), None) => of_header(header).ok_or("an Authorization header that is no bearer's"),
        (None, Some(value)) => match named.next() {
            Some(_) => Err("several tokens in the query"),
            None => token(&Zeroizing::new(Cow::into_owned(value))).ok_or("a token in the query that is none"),
        },
    }
}

/// Whether there is a parameter that some application reads as the token and others do not: behind a `;`, or by a name that
/// is folded (PHP takes `access.token` and `access token` for it, ASP.NET `Access_Token`) or is that of a list.
fn doubtful(query: &str) -> bool {
    let folded = |name: &str| name.trim_start().to_ascii_lowercase().replace(['.', ' '], "_");
    let is_it = |piece: &str| {
        let (name, _) = form_urlencoded::parse(piece.as_bytes()).next()?;
        let folded = folded(&name);
        let base = folded.split(['[', '\0']).next().unwrap_or_default();
        // PHP takes the first bracket for an underscore where no other closes it.
        (base == PARAMETER || folded.replacen('[', "_", 1) == PARAMETER).then_some(name == PARAMETER)
    };
    query.split('&').any(|piece| {
        let mut parts = piece.split(';');
        let first = parts.next().and_then(is_it) == Some(false);
        first || parts.any(|part| is_it(part).is_some())
    })
}

fn of_header(header: &[u8]) -> Option<Zeroizing<String>> {
    let (scheme, rest) = std::str::from_utf8(header).ok()?.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token(rest.trim_matches(' '))).flatten()
}

/// `text`, if it can be a token.
fn token(text: &str) -> Option<Zeroizing<String>> {
    let letters = text.trim_end_matches('=');
    let letter = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~+/".contains(&byte);
    let fits = !letters.is_empty() && text.len() <= LONGEST && letters.bytes().all(letter);
    fits.then(|| Zeroizing::new(text.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(header: Option<&str>, query: &str) -> Option<String> {
        find(header.map(str::as_bytes), Some(query)).ok().map(|token| token.to_string())
    }

    #[test]
    fn a_token_is_in_the_header_or_in_the_query() {
        let token = Some("a.b-c_d~e+f/g==".to_owned());
        assert_eq!(found(Some("Bearer a.b-c_d~e+f/g=="), ""), token);
        assert_eq!(found(Some("bEARER   a.b-c_d~e+f/g== "), "other=1"), token);
        assert_eq!(found(None, "x=1&access_token=a.b-c_d~e%2Bf/g%3D%3D&y"), token);
        assert_eq!(found(None, "%61ccess%5Ftoken=ab"), Some("ab".to_owned()));
        let longest = "a".repeat(LONGEST);
        assert_eq!(found(Some(&format!("Bearer {longest}")), ""), Some(longest));
    }

    #[test]
    fn anything_else_is_none() {
        for header in [
            "",
            "Bearer",
            "Bearer ",
            "Bearer a b",
            "Bearer a,Bearer b",
            "Bearer a,b",
            "Bearer\ta",
            "Basic a",
            "a",
            "balbla",
            "Bearer =",
            "Bearer a=b",
            "Bearer \u{fc}",
            "Bearer a;b",
            " Bearer a",
            "BearerX a",
        ] {
            assert_eq!(found(Some(header), ""), None, "{header:?}");
            assert_eq!(found(Some(header), "access_token=a"), None, "{header:?}");
        }
        assert_eq!(found(Some(&format!("Bearer {}", "a".repeat(LONGEST + 1))), ""), None);
        assert!(find(Some(b"Bearer \xff"), None).is_err() && find(None, None).is_err());
        for query in [
            "",
            "access_token",
            "access_token=",
            "Access_token=a",
            "access_token=a&access_token=a",
            "access_token=a%20b",
            "access_token=a+b%0a",
            "access_token=%FF",
            "access_token=a&%61ccess_token=b",
            "access_token[]=a",
            "access_token=a&access_token=",
        ] {
            assert_eq!(found(None, query), None, "{query}");
        }
        for query in [
            "a;access_token=b",
            "a=1;access_token=b",
            "Access_Token=b",
            "ACCESS_TOKEN",
            "access.token=b",
            "access+token=b",
            "access%20token=b",
            "%20access_token=b",
            "+access.token=b",
            "access%5btoken=b",
            "access_token%5B%5D=b",
            "access_token%5Bx%5D=b",
            "access_token[0]=b",
            "x&access%2Etoken=b",
            "x;;access%5Ftoken",
            "access_token%00=b",
        ] {
            assert_eq!(found(Some("Bearer a"), query), None, "{query}");
            assert_eq!(found(None, &format!("access_token=a&{query}")), None, "{query}");
            assert_eq!(found(None, query), None, "{query}");
        }
        for query in [
            "access_token_type=b",
            "my_access_token=b",
            "accesstoken=b",
            "access_tokens=b",
            "a=access_token",
            "a=;b",
            "access=token",
        ] {
            assert_eq!(found(Some("Bearer a"), query), Some("a".to_owned()), "{query}");
            assert_eq!(found(None, &format!("access_token=a&{query}")), Some("a".to_owned()), "{query}");
        }
        // One that is good does not make up for another.
        assert_eq!(found(Some("Bearer a"), "access_token=a"), None);
    }
}
