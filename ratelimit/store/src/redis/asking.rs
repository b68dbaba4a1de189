//! A connection on which every command is preceded by ASKING, in one piece: for
//! slots on the move, whose new owner serves only those who were sent there.

use redis::aio::{ConnectionLike, MultiplexedConnection};
use redis::{Cmd, ErrorKind, Pipeline, RedisError, RedisFuture, Value};

pub(super) struct Asking(pub(super) MultiplexedConnection);

impl ConnectionLike for Asking {
    fn req_packed_command<'a>(&'a mut self, command: &'a Cmd) -> RedisFuture<'a, Value> {
        Box::pin(async move {
            let mut both = redis::pipe();
            both.cmd("ASKING").add_command(command.clone());
            let mut answers = self.0.req_packed_commands(&both, 1, 1).await?;
            let none = || RedisError::from((ErrorKind::UnexpectedReturnType, "no answer after ASKING"));
            answers.pop().ok_or_else(none)?.extract_error()
        })
    }

    fn req_packed_commands<'a>(
        &'a mut self,
        pipeline: &'a Pipeline,
        offset: usize,
        count: usize,
    ) -> RedisFuture<'a, Vec<Value>> {
        self.0.req_packed_commands(pipeline, offset, count)
    }

    fn get_db(&self) -> i64 {
        self.0.get_db()
    }
}
