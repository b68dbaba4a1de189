//! extauth
