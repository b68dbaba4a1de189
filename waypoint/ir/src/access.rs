//! Who may do what at a port: rules over who calls and what is asked for.

use std::collections::BTreeSet;

use ipnet::IpNet;

/// Who may do what at a port.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Access {
    /// What decides.
    pub enforced: Decision,
    /// What is tried: what it would come to is told and changes nothing.
    pub tried: Decision,
}

/// Rules that refuse, and then rules that let pass.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Decision {
    /// Whoever meets one of these is refused.
    pub deny: Vec<Rule>,
    /// Where there are any, only who meets one of them passes; where the list is empty, nobody does.
    pub allow: Option<Vec<Rule>>,
}

/// A rule of a policy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rule {
    /// By what it is told in logs: `ns[shop]-policy[carts]-rule[0]`.
    pub name: String,
    /// What must hold.
    pub that: Condition,
    /// And one of these.
    pub callers: Vec<Callers>,
}

/// Callers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Callers {
    /// Those with one of these identities; whoever it is without a list. There may be very many.
    pub named: Option<BTreeSet<String>>,
    /// What else must hold.
    pub that: Condition,
}

/// Something that holds of a request or connection, or does not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Condition {
    /// All of these.
    All(Vec<Condition>),
    /// One of these.
    Any(Vec<Condition>),
    /// Not this.
    Not(Box<Condition>),
    /// A part of it is such a text. One that is not there is none.
    Text(Part, Text),
    /// An address is in one of these networks.
    Address(Address, Vec<IpNet>),
    /// A claim of a token that was verified, by its path, or one of the items of that.
    Claim(Vec<String>, Claimed),
}

/// What a claim is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Claimed {
    /// Such a text.
    Text(Text),
    /// This number.
    Number(i64),
    /// This.
    Bool(bool),
    /// Whatever it is.
    Something,
}

/// A part of a request or connection that is a text.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Part {
    /// The caller's identity, as it is: `spiffe://…`.
    Caller,
    /// The host, with its port if there is one.
    Host,
    /// The method.
    Method,
    /// The path, without its query.
    Path,
    /// A header by its name in lower case: all its lines, with commas between them.
    Header(String),
}

/// Which texts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Text {
    /// This one.
    Exact(String),
    /// Those that begin with this.
    Prefix(String),
    /// Those that match this expression as a whole.
    Regex(String),
}

/// An address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Address {
    /// From which the connection comes.
    Source,
    /// From which the request comes, as trusted proxies say it.
    Remote,
    /// To which the connection was made.
    Destination,
}

impl Access {
    /// Whether nobody decides and nothing is tried.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

impl Decision {
    /// All its rules.
    pub fn rules(&self) -> impl Iterator<Item = &Rule> {
        self.deny.iter().chain(self.allow.iter().flatten())
    }
}

impl Condition {
    /// What always holds.
    pub fn always() -> Self {
        Condition::All(Vec::new())
    }

    /// What never does.
    pub fn never() -> Self {
        Condition::Any(Vec::new())
    }

    /// Whether it holds, if that is known whatever comes.
    pub fn constant(&self) -> Option<bool> {
        match self {
            Condition::All(all) if all.is_empty() => Some(true),
            Condition::Any(any) if any.is_empty() => Some(false),
            _ => None,
        }
    }

    /// All of these, without what goes without saying.
    pub fn all(conditions: impl IntoIterator<Item = Condition>) -> Self {
        let mut all = Vec::new();
        for condition in conditions {
            match condition.constant() {
                Some(true) => {}
                Some(false) => return Self::never(),
                None => all.push(condition),
            }
        }
        if all.len() == 1 { all.swap_remove(0) } else { Condition::All(all) }
    }

    /// One of these, without what never holds.
    pub fn any(conditions: impl IntoIterator<Item = Condition>) -> Self {
        let mut any = Vec::new();
        for condition in conditions {
            match condition.constant() {
                Some(true) => return Self::always(),
                Some(false) => {}
                None => any.push(condition),
            }
        }
        if any.len() == 1 { any.swap_remove(0) } else { Condition::Any(any) }
    }

    /// The opposite.
    #[must_use]
    pub fn inverted(self) -> Self {
        match self.constant() {
            Some(true) => Self::never(),
            Some(false) => Self::always(),
            None => Condition::Not(Box::new(self)),
        }
    }

    /// Calls `look` with every text that it looks for, and in which part.
    pub fn texts<'c>(&'c self, look: &mut impl FnMut(&'c Part, &'c Text)) {
        match self {
            Condition::All(several) | Condition::Any(several) => several.iter().for_each(|one| one.texts(look)),
            Condition::Not(one) => one.texts(look),
            Condition::Text(part, text) => look(part, text),
            Condition::Address(..) | Condition::Claim(..) => {}
        }
    }
}

impl Rule {
    /// Calls `look` with every text that it looks for, and in which part.
    pub fn texts<'c>(&'c self, look: &mut impl FnMut(&'c Part, &'c Text)) {
        self.that.texts(look);
        self.callers.iter().for_each(|callers| callers.that.texts(look));
    }
}
