//! TLS of listeners and of clients, with files that may be replaced while the process runs.
//!
//! Both read their files in one place ([`files`]) and keep what those held last while they cannot be used. A listener
//! looks at them each second, a client before each connection.

mod client;
mod files;
mod server;

pub use client::{Client, ClientTls, NoConnection};
pub use server::{ServerTls, Shown, TlsAcceptor, acceptor};
