//! Finds the reasons: how far a descriptor gets in the tree or which conditions of a set it meets,
//! and which rule gives way to which.

use api::gloo::rate_limit_config::SET_DESCRIPTOR_MARKER;
use serde::{Deserialize, Serialize};

use crate::config::index::{Condition, Config, Entry, Index, Level, Node, SetRule, Wanted, WeightScope};
use crate::config::rule::{Rule, Style};
use crate::plan::{Plan, RuleRef};
use crate::request::{Descriptor, Entries, Request};

/// Alternatives named at a place where a path ends, and rules of a set that do not match.
const MOST_OTHERS: usize = 10;

/// Whether a rule holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Verdict {
    /// It counts, and may refuse.
    Applies,
    /// It matches and lets pass, uncounted.
    LetsPass,
    /// It matches and gives way to a heavier one.
    Outweighed,
    /// It matches and gives way to an earlier one.
    Hidden,
    /// It does not match.
    NotMatched,
}

/// What a descriptor meets in the configuration.
#[derive(Debug, Default)]
pub struct Meeting<'i> {
    /// The steps in a tree.
    pub path: Vec<String>,
    /// What there is to say about it.
    pub note: Option<String>,
    /// The rules met.
    pub rules: Vec<Met<'i>>,
}

/// A rule met.
#[derive(Debug)]
pub struct Met<'i> {
    /// The rule; none for one of a set that lets pass.
    pub rule: Option<&'i Rule>,
    /// Whose it is.
    config: &'i str,
    conditions: &'i [Condition],
    /// Whether it applies after others.
    pub always_apply: bool,
    /// What became of it.
    pub verdict: Verdict,
    /// Why.
    pub because: String,
}

impl<'i> Met<'i> {
    fn in_tree(&self) -> Option<&'i Rule> {
        self.rule.filter(|rule| rule.style == Style::Tree)
    }

    /// The rule's name; of one without a limit, made of its conditions in the same way.
    pub fn name(&self, domain: &str) -> String {
        if let Some(rule) = self.rule {
            return rule.name(domain);
        }
        let mut parts = vec![format!("generic_key^{}", self.config), format!("generic_key^{SET_DESCRIPTOR_MARKER}")];
        parts.extend(self.conditions.iter().map(|part| match &part.value {
            Wanted::Exactly(value) => format!("{}^{value}", part.key),
            Wanted::Matching(_) => format!("{}^(matching)", part.key),
            Wanted::Any => part.key.to_string(),
        }));
        parts.sort();
        format!("{domain}|{}", parts.join("|"))
    }
}

/// What each descriptor of `request` meets, in order.
pub fn trace<'i>(index: &'i Index, request: &Request<'_>, plan: &Plan<'_>) -> Vec<Meeting<'i>> {
    let mut meetings: Vec<Meeting<'i>> = (request.descriptors.iter())
        .map(|descriptor| if plan.domain.is_some() { meet(index, descriptor) } else { Meeting::default() })
        .collect();
    weigh(index.weights(), plan, &mut meetings);
    meetings
}

fn meet<'i>(index: &'i Index, descriptor: &Descriptor<'_>) -> Meeting<'i> {
    let only = |note: String| Meeting { note: Some(note), ..Meeting::default() };
    let Some((first, rest)) = descriptor.entries.split_first() else { return Meeting::default() };
    let overridden = descriptor.limit.is_some();
    if first.key != "generic_key" {
        return only(
            "the first entry must be generic_key=<namespace>.<name>, which names the RateLimitConfig".to_owned(),
        );
    }
    let id = &first.value;
    let config = match index.config(id) {
        Some(Entry::Serving(config)) => config,
        Some(Entry::Broken) => {
            return only(format!(
                "RateLimitConfig {id} cannot be used as it is written, so its requests are refused; see its status"
            ));
        }
        None => {
            let known: Vec<&str> = index.entries().into_iter().map(|(id, _)| id).collect();
            return only(format!(
                "no RateLimitConfig {id} is known, so its requests are refused; {}",
                known_are(&known)
            ));
        }
    };
    match rest.split_first() {
        Some((second, rest)) if second.key == "generic_key" && second.value == SET_DESCRIPTOR_MARKER => {
            in_sets(config, rest, overridden)
        }
        _ => in_tree(config, rest, overridden),
    }
}

fn in_tree<'i>(config: &'i Config, entries: Entries<'_>, overridden: bool) -> Meeting<'i> {
    let mut meeting = Meeting::default();
    let mut level = &config.tree;
    let mut last: Option<&Node> = None;
    for entry in entries {
        let values = level.0.get(&*entry.key);
        let exact = values.and_then(|values| values.exact.get(&*entry.value));
        let matching = values.and_then(|values| values.matching.iter().find(|(one, _)| one.matches(&entry.value)));
        let (node, how) = match (exact, matching) {
            (Some(node), _) => (Some(node), super::ask::short([(entry.key.as_str(), entry.value.as_str())])),
            (None, Some((_, node))) => (Some(node), format!("{} (matching)", entry.key)),
            (None, None) => (values.and_then(|values| values.any.as_deref()), format!("{} (any value)", entry.key)),
        };
        let Some(node) = node else {
            meeting.note = Some(stopped(config, level, &entry.key, &entry.value, last));
            return meeting;
        };
        meeting.path.push(how);
        last = Some(node);
        level = &node.children;
    }
    match last {
        None if entries.is_empty() => {
            meeting.note = Some(match config.sets.rules.is_empty() {
                true => "nothing follows the RateLimitConfig's name".to_owned(),
                false => "rules in set style want \"set\" after the RateLimitConfig's name".to_owned(),
            });
        }
        None => {}
        Some(node) => match node.rules.as_slice() {
            rules @ [_, ..] => {
                meeting.rules.extend(governing(rules, overridden).map(|rule| Met {
                    rule: Some(rule),
                    config: &config.id,
                    conditions: &[],
                    always_apply: rule.always_apply,
                    verdict: Verdict::Applies,
                    because: String::new(),
                }));
            }
            [] if node.is_unlimited() => {
                meeting.note = Some("this place of the tree has no limit: it passes on purpose".to_owned());
            }
            [] => {
                let next = next_of(&node.children);
                meeting.note = Some(format!("this place of the tree has no limit of its own; {}", known_are(&next)));
            }
        },
    }
    meeting
}

/// A limit in the request takes the place of all limits of a rule, and counts as the first.
fn governing(rules: &[Rule], overridden: bool) -> impl Iterator<Item = &Rule> {
    rules.iter().take(if overridden { 1 } else { usize::MAX })
}

/// Why the tree goes no further.
fn stopped(config: &Config, level: &Level, key: &str, value: &str, last: Option<&Node>) -> String {
    let at = super::ask::short([(key, value)]);
    if level.0.is_empty() {
        return match last {
            Some(node) if !node.rules.is_empty() => format!(
                "the tree ends before {at}; a limit holds for descriptors of just its length, so send the shorter one beside this one"
            ),
            Some(_) => format!("the tree ends before {at}"),
            None if config.sets.rules.is_empty() => format!("the RateLimitConfig {} has no rules", config.id),
            None => format!("the RateLimitConfig has rules in set style only; ask for \"{} set: {at}\"", config.id),
        };
    }
    format!("nothing matches {at}; {}", known_are(&next_of(level)))
}

/// What a level of a tree matches, in words.
fn next_of(level: &Level) -> Vec<String> {
    let mut next: Vec<String> = Vec::new();
    for (key, values) in &level.0 {
        next.extend(values.any.iter().map(|_| format!("{key} (any value)")));
        next.extend(values.matching.iter().map(|_| format!("{key} (matching)")));
        next.extend(values.exact.keys().map(|value| super::ask::short([(&**key, &**value)])));
    }
    next.sort();
    next
}

fn known_are(known: &[impl AsRef<str>]) -> String {
    let named: Vec<&str> = known.iter().take(MOST_OTHERS).map(AsRef::as_ref).collect();
    match known.len().saturating_sub(named.len()) {
        _ if named.is_empty() => "there is none".to_owned(),
        0 => format!("there are: {}", named.join(", ")),
        more => format!("there are: {}, and {more} more", named.join(", ")),
    }
}

fn in_sets<'i>(config: &'i Config, entries: Entries<'_>, overridden: bool) -> Meeting<'i> {
    let mut meeting = Meeting::default();
    let mut first: Option<usize> = None;
    let mut unmatched = 0;
    for (at, set) in config.sets.rules.iter().enumerate() {
        let missing = set.missing(entries);
        let place = at + 1;
        let (verdict, because) = match (missing, first) {
            (Some(missing), _) => {
                unmatched += 1;
                if unmatched > MOST_OTHERS {
                    continue;
                }
                let wanted = match &missing.value {
                    Wanted::Exactly(value) => super::ask::short([(&*missing.key, &**value)]),
                    Wanted::Matching(_) => format!("a {} that matches", missing.key),
                    Wanted::Any => format!("a {}", missing.key),
                };
                (Verdict::NotMatched, format!("rule {place}: the descriptor has not {wanted}"))
            }
            (None, None) => (holds(set), format!("rule {place}: the first that matches")),
            (None, Some(_)) if set.always_apply => (holds(set), format!("rule {place}: matches, and always applies")),
            (None, Some(first)) => (Verdict::Hidden, format!("rule {place}: rule {first} matched before")),
        };
        if verdict != Verdict::NotMatched {
            first = first.or(Some(place));
        }
        let met = |rule| Met {
            rule,
            config: &config.id,
            conditions: &set.conditions,
            always_apply: set.always_apply,
            verdict,
            because: because.clone(),
        };
        match set.rules.as_slice() {
            [] => meeting.rules.push(met(None)),
            rules => meeting.rules.extend(governing(rules, overridden).map(|rule| met(Some(rule)))),
        }
    }
    meeting.note = match (config.sets.rules.is_empty(), unmatched.saturating_sub(MOST_OTHERS)) {
        (true, _) => Some("the RateLimitConfig has no rules in set style; ask without \"set\"".to_owned()),
        (false, 0) => None,
        (false, more) => Some(format!("{more} more rules do not match")),
    };
    meeting
}

fn holds(set: &SetRule) -> Verdict {
    if set.rules.is_empty() { Verdict::LetsPass } else { Verdict::Applies }
}

/// Says of each tree rule met whether it is among the heaviest, and if not, what outweighs it.
/// Which rules hold is the plan's to say.
fn weigh(scope: WeightScope, plan: &Plan<'_>, meetings: &mut [Meeting<'_>]) {
    let mut trees: Vec<(&str, u32, &Rule)> = Vec::new();
    for met in meetings.iter().flat_map(|meeting| &meeting.rules) {
        trees.extend(met.in_tree().map(|rule| (&*rule.config, rule.weight, rule)));
    }
    // A limit that the request carries where no rule matches weighs 0.
    let made_up = plan.counted.iter().filter(|counted| matches!(counted.rule, RuleRef::MadeUp(_)));
    let rivals_beside: usize = made_up.count();
    for (number, meeting) in meetings.iter_mut().enumerate() {
        for met in &mut meeting.rules {
            let Some(rule) = met.in_tree() else { continue };
            let rivals = trees.iter().filter(|rival| scope == WeightScope::Request || rival.0 == &*rule.config);
            let heaviest = rivals.clone().max_by_key(|rival| rival.1);
            let alone = rivals.count() + rivals_beside <= 1;
            let counted = plan.counted.iter().any(|counted| {
                counted.descriptor == number
                    && matches!(counted.rule, RuleRef::Known(known) if std::ptr::eq(known, rule))
            });
            let weight = heaviest.map_or(0, |rival| rival.1);
            met.verdict = if counted { Verdict::Applies } else { Verdict::Outweighed };
            met.because = match (counted, rule.weight == weight) {
                (true, true) if alone => "the only rule that matches".to_owned(),
                (true, true) if weight == 0 => "no rule that matches has a weight, so all apply".to_owned(),
                (true, true) => format!("of the greatest weight, {weight}"),
                (true, false) => format!("always applies, also beside weight {weight}"),
                (false, _) => {
                    let by = heaviest.map(|rival| path_of(rival.2)).unwrap_or_default();
                    format!("weight {} gives way to weight {weight} of {by}", rule.weight)
                }
            };
        }
    }
}

/// A rule's place in its tree.
fn path_of(rule: &Rule) -> String {
    let parts = rule.parts.iter().map(|part| match &part.value_match {
        Some(values) => format!("{} {values}", part.key),
        None if part.value.is_empty() => part.key.clone(),
        None => super::ask::short([(part.key.as_str(), part.value.as_str())]),
    });
    format!("{}: {}", rule.config, parts.collect::<Vec<_>>().join(", "))
}
