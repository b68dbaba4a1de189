//! A grant as it is put together from what a step has learned, on top of what the steps before it have done.

use std::sync::Arc;

use crate::headers::{Mutation, Mutations, Value};
use crate::state::State;
use crate::step::{Ask, Grant, More};

/// Of what a step tells later steps and Envoy, as JSON.
pub const MOST_STATE_BYTES: usize = 64 * 1024;

/// What the steps before this one have done.
#[derive(Debug, Clone)]
pub struct Before {
    pub changes: Mutations,
    pub user_header: Arc<str>,
}

impl Before {
    /// What they have done to the request that `ask` is about.
    pub fn of(ask: &Ask<'_>) -> Before {
        Before { changes: ask.changes(), user_header: ask.user() }
    }
}

/// A grant that is not complete.
pub struct Granting<'a> {
    before: &'a Before,
    headers: Mutations,
    user: Option<Value>,
    pub more: More,
}

impl<'a> Granting<'a> {
    /// One of nothing.
    pub fn on(before: &'a Before) -> Self {
        Self { before, headers: Mutations::default(), user: None, more: More::default() }
    }

    /// The header `name`, in lower case, replaces what there is.
    pub fn set(&mut self, name: &str, value: Value) {
        match *name == *self.before.user_header {
            true => self.user = Some(value),
            false => self.headers.apply(&name.into(), Mutation::Overwrite(value)),
        }
    }

    /// The header `name` is added to what earlier steps say there, and to nothing that a client says.
    pub fn add(&mut self, name: &str, value: Value) {
        let earlier = self.before.changes.touches(name) || self.headers.touches(name);
        match earlier && *name != *self.before.user_header {
            true => self.headers.apply(&name.into(), Mutation::Append(value)),
            false => self.set(name, value),
        }
    }

    /// The header `name`, in lower case, loses what belongs to this step: what is left of it, if anything is.
    pub fn reduce(&mut self, name: &str, left: Option<Value>) {
        self.headers.apply(&name.into(), left.map_or(Mutation::Remove, Mutation::Overwrite));
    }

    /// The header `name` is taken out.
    pub fn remove(&mut self, name: &str) {
        self.headers.apply(&name.into(), Mutation::Remove);
    }

    /// The grant.
    ///
    /// # Errors
    /// That it tells too much.
    pub fn done(self) -> Result<Arc<Grant>, String> {
        let Granting { headers, user, more, .. } = self;
        let bytes = |state: &State| serde_json::to_vec(state.expose()).map_or(usize::MAX, |text| text.len());
        if bytes(&more.state).saturating_add(bytes(&more.metadata)) > MOST_STATE_BYTES {
            return Err(format!("tells more than {MOST_STATE_BYTES} bytes of state and metadata"));
        }
        let more = (!more.is_empty()).then(|| Box::new(more));
        Ok(Arc::new(Grant { headers, user, more }))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn value(text: &str) -> Value {
        Value::new(text).unwrap()
    }

    #[test]
    fn what_is_added_joins_what_steps_say_and_never_what_a_client_says() {
        let mut changes = Mutations::default();
        changes.apply(&"x-earlier".into(), Mutation::Overwrite(value("a")));
        let before = Before { changes, user_header: "x-user-id".into() };
        let mut granting = Granting::on(&before);
        for name in ["x-earlier", "x-own", "x-own", "x-client", "x-user-id", "x-user-id"] {
            granting.add(name, value("b"));
        }
        granting.add("x-user-id", value("c"));
        granting.set("x-set", value("d"));
        granting.remove("x-gone");
        let grant = granting.done().unwrap();
        let mut written = Mutations::default();
        written.apply(&"x-earlier".into(), Mutation::Append(value("b")));
        written.apply(&"x-own".into(), Mutation::Overwrite(value("b")));
        written.apply(&"x-own".into(), Mutation::Append(value("b")));
        written.apply(&"x-client".into(), Mutation::Overwrite(value("b")));
        written.apply(&"x-set".into(), Mutation::Overwrite(value("d")));
        written.apply(&"x-gone".into(), Mutation::Remove);
        assert_eq!(grant.headers, written);
        assert_eq!(grant.user, Some(value("c")));
        assert!(grant.more.is_none());
    }

    #[test]
    fn what_it_tells_has_a_size() {
        let before = Before { changes: Mutations::default(), user_header: "x-user-id".into() };
        let telling = |state: usize, metadata: usize| {
            let mut granting = Granting::on(&before);
            // What stands around a text of one name.
            let text = |bytes: usize| serde_json::Value::from("x".repeat(bytes - r#"{"a":""}"#.len()));
            granting.more.state.set("a", text(state));
            granting.more.metadata.set("a", text(metadata));
            granting.done().is_ok()
        };
        assert!(telling(MOST_STATE_BYTES - 100, 100) && telling(100, MOST_STATE_BYTES - 100));
        assert!(!telling(MOST_STATE_BYTES - 100, 101) && !telling(101, MOST_STATE_BYTES - 100));
    }
}
