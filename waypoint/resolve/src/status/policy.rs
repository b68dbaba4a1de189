//! What is said about a RouteOption: for each Gateway and Service that its routes name, and as a whole.
//!
//! A policy is accepted behind an ancestor only if every request that it claims to govern there meets
//! it, as far as `shadowed` sees what earlier rules take: where an expression may take all, it warns. What it
//! claims is what comes to the rules that it is for, and, if it guards them, whatever else comes to the ports of
//! its routes there; see `docs/waypoint.md`.

use std::collections::{BTreeMap, BTreeSet};

use api::gloo::route_option::RouteOption;
use api::{Kind, Name, ObjectRef, Problem};
use ir::PortRef;
use status::{ACCEPTED, Condition, ObjectStatus, PROGRAMMED, Place, RESOLVED_REFS};

use super::ports::{self, Fates, listed};
use super::{of_place, route};
use crate::decided::attached::Parent;
use crate::decided::said::{Effect, InDoubt, Loss, PortFate, Shadow, Unlimited};
use crate::guards::{Guard, guards};
use crate::shadowed::MOST_EXPRESSIONS;
use crate::view::View;
use crate::{gloo, refusals};

/// So many ancestors have a place of their own in a status, as Gateway API has it; the whole speaks of all.
const MOST_ANCESTORS: usize = 16;

/// The parents, at one ancestor, of the routes that a policy is for.
type Parents<'a> = Vec<(&'a ObjectRef, &'a Parent)>;

/// What is said about the RouteOption `name`.
pub fn status(view: &View<'_>, name: &Name) -> Option<Vec<ObjectStatus>> {
    let policy = Policy::new(view, name)?;
    let controller = view.settings().controller_name.as_str();
    let mut ancestors: Vec<ObjectStatus> = Vec::new();
    let nothing = Effect::default();
    for (ancestor, parents) in policy.ancestors() {
        let conditions = policy.at(&ancestor, &parents, policy.effects.get(&ancestor).unwrap_or(&nothing));
        ancestors.push(ObjectStatus::at(Place::Ancestor(status::Parent::whole(ancestor, controller)), conditions));
    }
    // Those of which something is to be known first.
    ancestors.sort_by_key(|status| status.condition(ACCEPTED).map(Condition::rank));
    let mut statuses = vec![ObjectStatus::new(policy.whole(&ancestors))];
    statuses.extend(ancestors.into_iter().take(MOST_ANCESTORS));
    Some(statuses)
}

/// A RouteOption and what was found out about it.
struct Policy<'v, 'a> {
    view: &'v View<'a>,
    name: &'v Name,
    option: &'a RouteOption,
    /// What it does, by ancestor.
    effects: BTreeMap<ObjectRef, Effect>,
    /// What it asks for to guard requests.
    guards: BTreeSet<Guard>,
    /// Whether what it refers to exists.
    resolved: Condition,
    /// The RateLimitConfigs that do not, so that they limit nothing.
    unlimited: Vec<Problem>,
}

impl<'v, 'a> Policy<'v, 'a> {
    fn new(view: &'v View<'a>, name: &'v Name) -> Option<Self> {
        let option = view.route_option(name)?;
        let mut effects = BTreeMap::<ObjectRef, Effect>::new();
        for said in view.said(&ObjectRef { kind: Kind::RouteOption, name: name.clone() }) {
            for (ancestor, effect) in &said.effects {
                effects.entry(ancestor.clone()).or_default().add(effect);
            }
        }
        let guards = guards(&option.spec.options, &name.namespace);
        let (missing, unlimited) = missing(view, name, option);
        let resolved = if missing.is_empty() {
            Condition::holds(RESOLVED_REFS, "ResolvedRefs", "")
        } else {
            fails(RESOLVED_REFS, "ConfigNotFound", missing)
        };
        Some(Self { view, name, option, effects, guards, resolved, unlimited })
    }

    /// The routes that it is for: those it names, and those of which a rule names it.
    fn routes(&self) -> BTreeSet<ObjectRef> {
        let named = gloo::targets(self.name, self.option).map(|(route, _)| route);
        named.chain(self.view.referring(self.name).cloned()).collect()
    }

    /// What its routes name as their parents, whether they apply there or not.
    fn ancestors(&self) -> BTreeMap<ObjectRef, Parents<'a>> {
        let mut ancestors = BTreeMap::<ObjectRef, Parents<'a>>::new();
        for attached in self.routes().iter().filter_map(|route| self.view.attached(route)) {
            for parent in &attached.parents {
                let Some(at) = of_place(&parent.place) else { continue };
                ancestors.entry(at.object.clone()).or_default().push((&attached.route.reference, parent));
            }
        }
        ancestors
    }

    /// What becomes of it behind `ancestor`, which these parents of its routes are.
    fn at(&self, ancestor: &ObjectRef, parents: &Parents<'a>, effect: &Effect) -> Vec<Condition> {
        let (mut all, mut elsewhere) = (Fates::new(), Vec::new());
        for (route, parent) in parents {
            let mut ports = Fates::new();
            for said in self.view.said(route) {
                ports.extend(said.ports.get(&parent.place).into_iter().flatten());
            }
            elsewhere.extend(route::applies(parent, &ports).map(|condition| (*route, condition)));
            for (id, fate) in ports {
                // Where another of its routes counts, this one is not missed.
                if all.get(id) != Some(&&PortFate::Served) {
                    all.insert(id, fate);
                }
            }
        }
        let accepted = self.accepted(ancestor, parents, effect, &all, elsewhere);
        let mut conditions = vec![accepted, self.resolved.clone()];
        conditions.extend(ports::not_reached(&all));
        let unlimited =
            || (!self.unlimited.is_empty()).then(|| fails(PROGRAMMED, "ConfigNotFound", self.unlimited.clone()));
        conditions.extend(ports::refused(&all).or_else(unlimited));
        conditions
    }

    fn accepted(
        &self,
        ancestor: &ObjectRef,
        parents: &Parents<'a>,
        effect: &Effect,
        ports: &Fates<'_>,
        elsewhere: Vec<(&ObjectRef, Condition)>,
    ) -> Condition {
        let missing = self.rules_not_found(|route| parents.iter().any(|(known, _)| *known == route));
        if !missing.is_empty() {
            return fails(ACCEPTED, "TargetNotFound", missing);
        }
        let not_there = |(route, condition): (&ObjectRef, Condition)| {
            let message = format!("{route} does not apply to {ancestor}: {}", condition.message);
            match condition.status {
                Some(_) => fails(ACCEPTED, &condition.reason, vec![Problem::error("", message)]),
                None => Condition::pending(ACCEPTED, &condition.reason, message).with(condition.problems),
            }
        };
        if let Some(condition) = elsewhere.into_iter().map(not_there).reduce(Condition::worse) {
            return condition;
        }
        if effect.governed.is_empty() {
            let message =
                format!("it governs nothing behind {ancestor}: no request comes there to a rule that it is for");
            return fails(ACCEPTED, "NotAttached", vec![Problem::error("", message)]);
        }
        let (lost, odd) = self.claims(ancestor, effect, ports);
        let Some((reason, _)) = lost.first() else {
            let mut accepted = Condition::accepted(odd);
            if accepted.message.is_empty() {
                let routes: Vec<String> = effect.governed.keys().map(ToString::to_string).collect();
                accepted.message = format!("governs {}", listed(routes.into_iter(), ", "));
            }
            return accepted;
        };
        let reason = *reason;
        let mut condition = fails(ACCEPTED, reason, lost.into_iter().map(|(_, problem)| problem).collect());
        condition.problems.extend(odd);
        condition
    }

    /// What it claims behind `ancestor` and requests there get around, each with a reason; and what its author should know.
    fn claims(
        &self,
        ancestor: &ObjectRef,
        effect: &Effect,
        ports: &Fates<'_>,
    ) -> (Vec<(&'static str, Problem)>, Vec<Problem>) {
        let (mut lost, mut odd) = (Vec::new(), Vec::new());
        for (loss, problem) in overridden(effect) {
            if loss == Loss::Lost || loss == Loss::Withdrawn && !effect.guards {
                let cure = "write both in one RouteOption, or name in each only the rules that it is for (sectionName)";
                let message = format!("{}; {cure}", problem.message);
                lost.push(("Conflicted", Problem::error(problem.field, message)));
            } else {
                odd.push(problem);
            }
        }
        for (shadow, (around, ports)) in &effect.shadows {
            let Shadow { route, field, by, by_field, .. } = shadow;
            let message = format!(
                "does not govern {field} of {route} on {}{}: {by_field} of {by} comes first and takes all its requests; \
                 remove one of the two, write a match that the other does not have, or govern the other as well",
                listed(ports.iter().map(port), ", "),
                shadow.of_hosts()
            );
            if *around {
                lost.push(("Shadowed", Problem::error("", message)));
            } else {
                odd.push(Problem::warning("", message));
            }
        }
        for (InDoubt { route, field, by }, ports) in &effect.doubts {
            let because = match by {
                Some((by, by_field)) => format!("the expression of {by_field} of {by} comes first"),
                None => format!("more than {MOST_EXPRESSIONS} expressions come first"),
            };
            let message = format!(
                "may not govern {field} of {route} on {}: {because}, and it is not known whether that takes all its \
                 requests; write prefixes instead, or govern the other as well",
                listed(ports.iter().map(port), ", ")
            );
            odd.push(Problem::warning("", message));
        }
        if let Some(message) = ports::unread(ports).filter(|_| !self.guards.is_empty()) {
            lost.push(("PartiallyEnforced", Problem::error("", message)));
        }
        for ((route, why), rules) in &effect.unlimited {
            let why = match why {
                Unlimited::Redirects => {
                    "Envoy asks for limits only where it forwards, and this redirects; limit \
                     the place that clients are sent to, and name only the other rules here (sectionName)"
                }
                Unlimited::KnowsNobody => {
                    "its authorizedLimits are for those whom authorization knows, and nobody is asked who they are there; \
                     add extauth, or anonymousLimits"
                }
            };
            let message = format!("does not limit {} of {route}: {why}", listed(rules.iter().cloned(), ", "));
            lost.push(("NotEnforced", Problem::error("", message)));
        }
        if self.view.settings().ratelimit.is_none() && self.guards.iter().any(|guard| !matches!(guard, Guard::Auth(_)))
        {
            let message = "no rate-limit service is configured (--ratelimit), so that nothing is limited";
            lost.push(("NotEnforced", Problem::error("", message)));
        }
        if ancestor.kind == Kind::Service && !self.guards.is_empty() {
            let addresses = self.view.unit(&ancestor.name).map(|unit| unit.addresses.as_slice()).unwrap_or_default();
            let conflicts = addresses.iter().filter(|condition| condition.reason == "AddressConflict");
            lost.extend(conflicts.map(|condition| {
                let message = format!("does not govern what comes to an address of {ancestor}: {}", condition.message);
                ("AddressConflict", Problem::error("", message))
            }));
        }
        (lost, odd)
    }

    /// Rules that it names and that its routes, those of `which`, do not have.
    fn rules_not_found(&self, which: impl Fn(&ObjectRef) -> bool) -> Vec<Problem> {
        let missing = refusals::missing_rules(self.view, self.name, self.option).filter(|(route, _)| which(route));
        let message = |(route, rule): (ObjectRef, &str)| {
            format!("{route} has no rule named {rule:?}; until it has, requests of that route are answered 500")
        };
        missing.map(|missing| Problem::error("", message(missing))).collect()
    }

    /// Routes that it names and that are not there.
    fn routes_not_found(&self) -> Vec<Problem> {
        let mut problems = Vec::new();
        for (reference, _) in gloo::targets(self.name, self.option) {
            if self.view.attached(&reference).is_some() {
                continue;
            }
            let message = match self.view.broken(&reference) {
                Some(_) => format!("{reference} is not valid, see its status"),
                None => format!("{reference} does not exist"),
            };
            problems.push(Problem::error("", message));
        }
        problems
    }

    /// What becomes of it in all: the worst of what becomes of it behind its ancestors.
    fn whole(&self, ancestors: &[ObjectStatus]) -> Vec<Condition> {
        let mut accepted: Vec<Condition> = Vec::new();
        let missing = self.routes_not_found();
        if !missing.is_empty() {
            accepted.push(fails(ACCEPTED, "TargetNotFound", missing));
        } else if self.routes().is_empty() {
            let message =
                "no route refers to it and it has no targetRefs; name an HTTPRoute or a GRPCRoute in targetRefs";
            accepted.push(fails(ACCEPTED, "NotAttached", vec![Problem::error("", message)]));
        } else if ancestors.is_empty() {
            let message = "the routes it names are served by no waypoint of ours";
            accepted.push(fails(ACCEPTED, "NotAttached", vec![Problem::error("", message)]));
        }
        let stated = |kind: &'static str| ancestors.iter().filter_map(move |status| status.condition(kind));
        let mut whole = vec![worst(accepted.iter().chain(stated(ACCEPTED)))];
        if let Some(accepted) = whole[0].as_mut().filter(|accepted| accepted.reason == "Accepted") {
            let routes: BTreeSet<String> =
                self.effects.values().flat_map(|effect| effect.governed.keys()).map(ToString::to_string).collect();
            accepted.message = format!("governs {}", listed(routes.into_iter(), ", "));
        }
        whole.push(Some(self.resolved.clone()));
        whole.push(worst(stated(ports::PORTS_REACHED)));
        whole.push(worst(stated(PROGRAMMED)));
        whole.into_iter().flatten().collect()
    }
}

/// What options are set by others that come first, each with what is lost by that.
fn overridden(effect: &Effect) -> impl Iterator<Item = (Loss, Problem)> {
    effect.overridden.iter().filter_map(|((option, route), rules)| {
        let winners: BTreeSet<&Name> = rules.values().map(|winner| &winner.name).collect();
        let winners = listed(winners.into_iter().map(|name| format!("RouteOption {name}")), " or ");
        let everywhere = effect.governed.get(route).is_some_and(|all| all.len() == rules.len());
        let part = if everywhere {
            String::new()
        } else {
            format!("{} of ", rules.keys().cloned().collect::<Vec<_>>().join(", "))
        };
        let mut message = format!("has no effect on {part}{route}: {winners} comes first");
        let lost: BTreeSet<&Guard> = rules.values().flat_map(|winner| &winner.lost).collect();
        if !lost.is_empty() {
            message += &format!(" and does not ask for {}", listed(lost.into_iter().map(ToString::to_string), ", "));
        }
        let loss = rules.values().map(|winner| winner.loss).max()?;
        Some((loss, Problem::warning(format!("spec.options.{option}"), message)))
    })
}

fn port(id: &PortRef) -> String {
    format!("port {} of Service {}", id.port, id.service)
}

fn fails(kind: &str, reason: &str, problems: Vec<Problem>) -> Condition {
    let message = listed(problems.iter().map(ToString::to_string), "; ");
    Condition::fails(kind, reason, message).with(problems)
}

/// The worst of `conditions`, with the words of all that are as bad; of many the first.
pub fn worst<'c>(conditions: impl Iterator<Item = &'c Condition> + Clone) -> Option<Condition> {
    const WORDS: usize = 5;
    let rank = conditions.clone().map(Condition::rank).min()?;
    let mut distinct: Vec<&Condition> = Vec::new();
    for condition in conditions.filter(|condition| condition.rank() == rank) {
        if distinct.len() < WORDS && !distinct.contains(&condition) {
            distinct.push(condition);
        }
    }
    let with_problem = |condition: &Condition| {
        let mut condition = condition.clone();
        if condition.status == Some(false) && condition.problems.is_empty() {
            condition.problems.push(Problem::error("", condition.message.clone()));
        }
        condition
    };
    distinct.into_iter().map(with_problem).reduce(Condition::worse)
}

/// What it refers to that is not there; and of that, the limits, which limit nothing then.
fn missing(view: &View<'_>, name: &Name, option: &RouteOption) -> (Vec<Problem>, Vec<Problem>) {
    let options = &option.spec.options;
    let (mut missing, mut unlimited) = (Vec::new(), Vec::new());
    if let Some(reference) = options.extauth.as_ref().and_then(|extauth| extauth.config_ref.as_ref()) {
        let config = reference.resolve(&name.namespace);
        let exists = view.auth_config(&config).is_some();
        let field = "spec.options.extauth.configRef".to_owned();
        missing.extend(lost(view, Kind::AuthConfig, config, exists, field, "requests are refused"));
    }
    for (written, configs) in [
        ("rateLimitConfigs", &options.rate_limit_configs),
        ("rateLimitEarlyConfigs", &options.rate_limit_early_configs),
        ("rateLimitRegularConfigs", &options.rate_limit_regular_configs),
    ] {
        let refs = configs.as_ref().map(|configs| configs.refs.as_slice()).unwrap_or_default();
        for (index, reference) in refs.iter().enumerate() {
            let config = reference.resolve(&name.namespace);
            let exists = view.rate_limit_config(&config).is_some();
            let broken = view.broken(&ObjectRef { kind: Kind::RateLimitConfig, name: config.clone() }).is_some();
            let field = format!("spec.options.{written}.refs[{index}]");
            let problem = lost(view, Kind::RateLimitConfig, config, exists, field, "it limits nothing");
            unlimited.extend(problem.clone().filter(|_| !broken));
            missing.extend(problem);
        }
    }
    (missing, unlimited)
}

fn lost(view: &View<'_>, kind: Kind, name: Name, exists: bool, field: String, consequence: &str) -> Option<Problem> {
    if exists {
        return None;
    }
    let message = if view.broken(&ObjectRef { kind, name: name.clone() }).is_some() {
        format!("{kind} {name} is not valid, see its status; requests are refused until it is")
    } else {
        format!("{kind} {name} does not exist; {consequence} until it does")
    };
    Some(Problem::error(field, message))
}
