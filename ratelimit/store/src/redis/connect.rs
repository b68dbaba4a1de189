//! One connection: made, encrypted and logged in, or a word on why not.

use redis::aio::MultiplexedConnection;
use redis::io::tcp::TcpSettings;
use redis::{AsyncConnectionConfig, Client, ConnectionAddr, ErrorKind, IntoConnectionInfo as _, RedisError};

use super::access::{Access, Place};

impl Access {
    /// A connection to the process at `place`, which has logged in. It waits as long as it takes.
    ///
    /// # Errors
    /// Why there is none, in words that hold neither keys nor passwords.
    pub(super) async fn connect(
        &self,
        place: &Place,
        config: &AsyncConnectionConfig,
    ) -> Result<MultiplexedConnection, String> {
        let login = self.info()?;
        let address = match (place, &self.tls) {
            (Place::Tcp(host, port), Some(tls)) => {
                // The library's TLS reads no file again, and does not say what is wrong.
                let stream = tls.connect(host, *port, host).await.map_err(|why| why.to_string())?;
                let (connection, driver) = MultiplexedConnection::new_with_config(&login, stream, config.clone())
                    .await
                    .map_err(|error| why(&error))?;
                // It ends with the last handle on the connection.
                tokio::spawn(driver);
                return Ok(connection);
            }
            (Place::Tcp(host, port), None) => ConnectionAddr::Tcp(host.clone(), *port),
            (Place::Unix(path), _) => ConnectionAddr::Unix(path.clone()),
        };
        let wrong = |_| format!("cannot use Redis at {place}");
        let info = address.into_connection_info().map_err(wrong)?.set_redis_settings(login);
        let client = Client::open(info.set_tcp_settings(TcpSettings::default().set_nodelay(true))).map_err(wrong)?;
        let opened = client.get_multiplexed_async_connection_with_config(config).await;
        opened.map_err(|error| self.why_not_open(place, &error))
    }

    /// [`why`], of a connection on which nothing was understood yet: whether one of the two speaks TLS and the other not.
    pub(super) fn why_not_open(&self, place: &Place, error: &RedisError) -> String {
        let said = why(error);
        let unread = error.kind() == ErrorKind::Parse || error.is_io_error() && !error.is_connection_refusal();
        match (&self.tls, place) {
            (None, Place::Tcp(..)) if unread && !error.is_timeout() => {
                format!("{said}; it may want TLS: rediss://, or REDIS_TLS=true")
            }
            (Some(_), _) if error.is_timeout() => self.why_silent().to_owned(),
            _ => said,
        }
    }

    /// What is said where nothing came back: a server that speaks no TLS waits for the end of a command.
    pub(super) fn why_silent(&self) -> &'static str {
        match self.tls {
            Some(_) => "no answer in time; if it does not speak TLS there, name its TLS port, or turn TLS off",
            None => "no answer in time",
        }
    }
}

/// What went wrong and what to do, without anything that could hold a key or a password.
pub(super) fn why(error: &RedisError) -> String {
    match (error.code(), error.kind()) {
        (Some("NOPERM"), _) => match forbidden(error.detail().unwrap_or_default()) {
            Some(command) => format!("NOPERM: the user may not run {command}"),
            None => "NOPERM: the user may not use keys or channels that are needed".to_owned(),
        },
        (Some("MOVED" | "ASK"), _) => {
            "MOVED: this is a node of a Cluster; write redis+cluster://host:port, or REDIS_TYPE=CLUSTER".to_owned()
        }
        (Some("NOAUTH"), _) => "NOAUTH: it wants a password".to_owned(),
        (Some("WRONGPASS"), _) | (_, ErrorKind::AuthenticationFailed) => {
            "WRONGPASS: it does not know this user and password".to_owned()
        }
        (Some(code), _) => code.to_owned(),
        // What the system says of sockets, and TLS of certificates.
        (None, ErrorKind::Io) => error.to_string(),
        (None, kind) => format!("{kind:?}"),
    }
}

/// The command that NOPERM is about, which stands in quotes: a word, perhaps with another behind a bar.
fn forbidden(detail: &str) -> Option<&str> {
    let command = detail.split('\'').nth(1)?;
    let is_word =
        |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"|-_".contains(&b));
    is_word(command).then_some(command)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_commands_are_quoted_of_what_is_forbidden() {
        let commands = "User limiter has no permissions to run the 'script|load' command";
        assert_eq!(forbidden(commands), Some("script|load"));
        assert_eq!(forbidden("No permissions to access a key"), None);
        assert_eq!(forbidden("this user has no permissions to run the 'a secret' command"), None);
    }
}
