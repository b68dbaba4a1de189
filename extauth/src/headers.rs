//! What the steps of a chain do to a request's headers, merged as Envoy would apply it step by step.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;

/// A header's value. It comes from a Secret, so it is never printed.
#[derive(Clone, PartialEq, Eq)]
pub struct Value(Arc<str>);

impl Value {
    /// Takes `text` if a header can carry it: not empty, no control characters, not too long.
    pub fn new(text: &str) -> Option<Value> {
        let fits = !text.is_empty() && text.len() <= MOST_BYTES;
        let clean = !text.chars().any(|c| c.is_control() && c != '\t');
        (fits && clean).then(|| Value(text.into()))
    }

    /// The text itself, for the answer to Envoy.
    pub fn expose(&self) -> &str {
        &self.0
    }

    fn joined(&self, more: &Value) -> Value {
        Value(format!("{},{}", self.0, more.0).into())
    }
}

impl fmt::Debug for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[redacted]")
    }
}

/// Longer values are dropped when their Secret is read.
pub const MOST_BYTES: usize = 8 * 1024;

/// What happens to one header.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Mutation {
    /// It gets this value, whatever the client sent.
    Overwrite(Value),
    /// This is added to what the client sent.
    Append(Value),
    /// It is taken out.
    Remove,
}

/// The sum of what the steps so far do to the request's headers, by lower-case name.
///
/// In order of name, in no more room than it takes: there is one of these for each key.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Mutations(Vec<(Arc<str>, Mutation)>);

impl Mutations {
    /// Does `mutation` to header `name` after everything done so far.
    pub fn apply(&mut self, name: &Arc<str>, mutation: Mutation) {
        let merged = match (self.get(name), mutation) {
            (Some(Mutation::Overwrite(before)), Mutation::Append(more)) => Mutation::Overwrite(before.joined(&more)),
            (Some(Mutation::Append(before)), Mutation::Append(more)) => Mutation::Append(before.joined(&more)),
            // The client's value is gone, so this is all there is.
            (Some(Mutation::Remove), Mutation::Append(value)) => Mutation::Overwrite(value),
            (_, mutation) => mutation,
        };
        match self.place(name) {
            Ok(at) => self.0.get_mut(at).into_iter().for_each(|(_, known)| *known = merged.clone()),
            Err(at) => {
                self.0.reserve_exact(1);
                self.0.insert(at, (name.clone(), merged));
            }
        }
    }

    fn place(&self, name: &str) -> Result<usize, usize> {
        self.0.binary_search_by(|(known, _)| (**known).cmp(name))
    }

    fn get(&self, name: &str) -> Option<&Mutation> {
        self.place(name).ok().and_then(|at| self.0.get(at)).map(|(_, mutation)| mutation)
    }

    /// Whether something is done to the header `name`.
    pub fn touches(&self, name: &str) -> bool {
        self.place(name).is_ok()
    }

    /// The value of `name` that the next step sees, given the client's.
    pub fn seen<'a>(&'a self, name: &str, sent: Option<Cow<'a, [u8]>>) -> Option<Cow<'a, [u8]>> {
        match (self.get(name), sent) {
            (None, sent) => sent,
            (Some(Mutation::Remove), _) => None,
            (Some(Mutation::Overwrite(value)), _) => Some(Cow::Borrowed(value.0.as_bytes())),
            (Some(Mutation::Append(value)), None) => Some(Cow::Borrowed(value.0.as_bytes())),
            (Some(Mutation::Append(value)), Some(sent)) => {
                Some(Cow::Owned([sent.as_ref(), b",", value.0.as_bytes()].concat()))
            }
        }
    }

    /// Every header touched and what becomes of it, by name.
    pub fn iter(&self) -> impl Iterator<Item = (&Arc<str>, &Mutation)> {
        self.0.iter().map(|(name, mutation)| (name, mutation))
    }
}

/// The headers that an AuthConfig may set: a request that passes has them from there or not at all.
///
/// Applications that are given headers as variables (CGI and what descends from it: PHP, WSGI, Rack)
/// cannot tell `x_user_id` from `x-user-id`, so that every spelling they take for one of these is
/// taken out too.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Seal {
    names: Vec<Arc<str>>,
    /// The other spellings of short names.
    spellings: Vec<Arc<str>>,
}

/// Names with more separators than this have too many spellings to name them all unasked; what a
/// client did send is looked for in any case.
const MOST_SEPARATORS: u32 = 3;

impl Seal {
    /// Of the headers of these names, in lower case.
    pub fn new(names: impl IntoIterator<Item = Arc<str>>) -> Seal {
        let mut names: Vec<_> = names.into_iter().collect();
        names.sort();
        names.dedup();
        let all: BTreeSet<Arc<str>> = names.iter().flat_map(|name| spellings(name)).collect();
        let spellings = all.into_iter().filter(|spelling| names.binary_search(spelling).is_err()).collect();
        Seal { names, spellings }
    }

    /// What is to be taken out of a request that has the headers `sent`, and is given those that are `set`.
    pub fn removed<'a>(
        &'a self,
        set: impl Fn(&str) -> bool + 'a,
        sent: impl Iterator<Item = &'a str> + 'a,
    ) -> impl Iterator<Item = &'a str> + 'a {
        let other = move |name: &&str| {
            let known = |list: &[Arc<str>]| list.binary_search_by(|probe| (**probe).cmp(name)).is_ok();
            self.names.iter().any(|own| looks_like(own, name)) && !known(&self.names) && !known(&self.spellings)
        };
        let named = self.names.iter().chain(&self.spellings).map(|name| &**name);
        named.chain(sent.filter(other)).filter(move |name| !set(name))
    }
}

/// `name` with each of its separators as `-` and as `_`.
fn spellings(name: &str) -> Vec<Arc<str>> {
    let separators: Vec<usize> =
        name.bytes().enumerate().filter(|(_, byte)| b"-_".contains(byte)).map(|(at, _)| at).collect();
    let Ok(count) = u32::try_from(separators.len()) else { return Vec::new() };
    if count > MOST_SEPARATORS {
        return vec![name.replace('-', "_").into()];
    }
    (0..1_u32 << count)
        .map(|choice| {
            let letter = |(at, letter)| match separators.iter().position(|separator| *separator == at) {
                Some(number) if choice >> number & 1 == 1 => '_',
                Some(_) => '-',
                None => letter,
            };
            name.char_indices().map(letter).collect::<String>().into()
        })
        .collect()
}

/// Whether both are the same once case is ignored and all that is neither letter nor digit is a separator.
fn looks_like(one: &str, other: &str) -> bool {
    let fold = |byte: u8| if byte.is_ascii_alphanumeric() { byte.to_ascii_lowercase() } else { b'-' };
    one.len() == other.len() && one.bytes().map(fold).eq(other.bytes().map(fold))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use proptest::prelude::*;

    use super::*;

    fn value(text: &str) -> Value {
        Value::new(text).unwrap()
    }

    #[test]
    fn a_step_sees_what_earlier_steps_did() {
        let (one, two): (Arc<str>, Arc<str>) = ("one".into(), "two".into());
        let mut mutations = Mutations::default();
        mutations.apply(&one, Mutation::Overwrite(value("bar")));
        mutations.apply(&one, Mutation::Append(value("baz")));
        mutations.apply(&two, Mutation::Overwrite(value("asd")));
        assert_eq!(mutations.seen("one", Some(b"foo"[..].into())).as_deref(), Some(&b"bar,baz"[..]));
        assert_eq!(mutations.seen("two", None).as_deref(), Some(&b"asd"[..]));
        assert_eq!(mutations.seen("three", Some(b"x"[..].into())).as_deref(), Some(&b"x"[..]));
    }

    #[test]
    fn values_no_header_can_carry_are_refused() {
        for text in ["", "a\nb", "a\r", "\0", "a\u{7f}", "a\u{85}"] {
            assert_eq!(Value::new(text), None, "{text:?}");
        }
        assert_eq!(Value::new(&"a".repeat(MOST_BYTES + 1)), None);
        assert!(Value::new(&"a".repeat(MOST_BYTES)).is_some());
        assert!(Value::new("solo.io\tü").is_some());
        assert_eq!(format!("{:?}", value("canary")), "[redacted]");
    }

    #[test]
    fn every_spelling_that_an_application_takes_for_a_granted_header_is_taken_out() {
        let seal = Seal::new(["x-user-id".into(), "x-org".into(), "a-b-c-d-e".into()]);
        let mut granted = Mutations::default();
        granted.apply(&"x-org".into(), Mutation::Overwrite(value("o")));
        let sent = ["x-user-id", "x_user-id", "X.USER.ID", "x-userid", "a_b-c_d-e", "x_org", "x-org", "api-key"];
        let removed: BTreeSet<&str> = seal.removed(|name| granted.touches(name), sent.into_iter()).collect();
        for name in [
            "x-user-id",
            "x_user-id",
            "x-user_id",
            "x_user_id",
            "X.USER.ID",
            "x_org",
            "a-b-c-d-e",
            "a_b_c_d_e",
            "a_b-c_d-e",
        ] {
            assert!(removed.contains(name), "{name}");
        }
        for name in ["x-org", "x-userid", "api-key"] {
            assert!(!removed.contains(name), "{name}");
        }
        let both = Seal::new(["x-a".into(), "x_a".into()]);
        let mut granted = Mutations::default();
        granted.apply(&"x_a".into(), Mutation::Overwrite(value("o")));
        let removed = both.removed(|name| granted.touches(name), ["x_a", "x-a"].into_iter());
        assert_eq!(removed.collect::<Vec<_>>(), ["x-a"]);
    }

    #[test]
    fn spellings_are_named_once_and_what_only_has_the_same_length_stays() {
        let removed = |names: &[&str], sent: &[&'static str]| -> Vec<String> {
            let seal = Seal::new(names.iter().map(|name| Arc::from(*name)));
            let mut removed: Vec<_> = seal.removed(|_| false, sent.iter().copied()).map(str::to_owned).collect();
            removed.sort();
            removed
        };
        // Unasked: every spelling of a short name, also of one that is written with `_`; two of a long one.
        assert_eq!(removed(&["x_org", "ab"], &[]), ["ab", "x-org", "x_org"]);
        assert_eq!(removed(&["a-b-c-d"], &[]).len(), 8);
        assert_eq!(removed(&["a-b-c-d-e"], &[]), ["a-b-c-d-e", "a_b_c_d_e"]);
        // Whatever is sent of them, and however often a step may set it, it is named once.
        assert_eq!(removed(&["x-org", "a-b", "x-org"], &["a_b", "x-org", "a-b"]), ["a-b", "a_b", "x-org", "x_org"]);
        // As long, and another name.
        assert_eq!(removed(&["x-org"], &["y-org", "x-orh", "x-org-x", "xxorg"]), ["x-org", "x_org"]);
    }

    #[derive(Debug, Clone)]
    enum Op {
        Set(usize, String),
        Add(usize, String),
        Del(usize),
    }

    fn op() -> impl Strategy<Value = Op> {
        prop_oneof![
            (0..3usize, "[a-z]{1,3}").prop_map(|(n, v)| Op::Set(n, v)),
            (0..3usize, "[a-z]{1,3}").prop_map(|(n, v)| Op::Add(n, v)),
            (0..3usize).prop_map(Op::Del),
        ]
    }

    proptest! {
        /// Merging first and applying once gives what applying one by one gives.
        #[test]
        fn merging_equals_applying_step_by_step(
            sent in prop::collection::vec(prop::option::of("[a-z]{1,3}"), 3),
            ops in prop::collection::vec(op(), 0..12),
        ) {
            let names: Vec<Arc<str>> = ["a", "b", "c"].into_iter().map(Arc::from).collect();
            let mut straight = sent.clone();
            let mut merged = Mutations::default();
            for op in &ops {
                match op {
                    Op::Set(n, v) => {
                        straight[*n] = Some(v.clone());
                        merged.apply(&names[*n], Mutation::Overwrite(value(v)));
                    }
                    Op::Add(n, v) => {
                        straight[*n] = Some(match &straight[*n] { Some(old) => format!("{old},{v}"), None => v.clone() });
                        merged.apply(&names[*n], Mutation::Append(value(v)));
                    }
                    Op::Del(n) => {
                        straight[*n] = None;
                        merged.apply(&names[*n], Mutation::Remove);
                    }
                }
            }
            for (n, name) in names.iter().enumerate() {
                let before = sent[n].as_ref().map(|v| Cow::Borrowed(v.as_bytes()));
                let seen = merged.seen(name, before).map(|v| String::from_utf8(v.into_owned()).unwrap());
                prop_assert_eq!(&seen, &straight[n]);
            }
        }
    }
}
