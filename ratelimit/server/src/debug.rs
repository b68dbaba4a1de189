//! `/rlconfig`: the rules being served, a line each.

use std::sync::Arc;

use arc_swap::ArcSwap;
use axum::Router;
use axum::routing::get;

use limit::{Algorithm, CountPolicy};
use rules::config::index::{Entry, Index, Level};
use rules::config::rule::Rule;

/// What the rate-limit service adds to the admin port.
pub fn routes(index: Arc<ArcSwap<Index>>) -> Router {
    Router::new().route("/rlconfig", get(move || async move { page(&index.load()) }))
}

/// The rules of `index` as text.
pub fn page(index: &Index) -> String {
    let mut page = String::new();
    for domain in index.domains() {
        let mut trees = Vec::new();
        let mut sets = Vec::new();
        let mut broken = Vec::new();
        for (id, entry) in index.entries() {
            match entry {
                Entry::Serving(config) => {
                    tree(&config.tree, domain, &mut trees);
                    sets.extend(config.sets.rules.iter().flat_map(|set| &set.rules).map(|r| line(r, domain)));
                }
                Entry::Broken => broken.push(format!("{domain}|generic_key^{id}: not usable, see its status")),
            }
        }
        trees.sort();
        page.push_str(&format!("domain: {domain}\n"));
        for (title, lines) in [("treeDescriptors", trees), ("setDescriptors", sets), ("broken", broken)] {
            if !lines.is_empty() {
                page.push_str(&format!("{title}:\n"));
                lines.iter().for_each(|line| page.push_str(&format!("  {line}\n")));
            }
        }
    }
    page
}

fn tree(level: &Level, domain: &str, lines: &mut Vec<String>) {
    for values in level.0.values() {
        let matching = values.matching.iter().map(|(_, node)| node);
        for node in values.exact.values().chain(matching).chain(values.any.as_deref()) {
            lines.extend(node.rules.iter().map(|rule| line(rule, domain)));
            tree(&node.children, domain, lines);
        }
    }
}

fn line(rule: &Rule, domain: &str) -> String {
    let mut line = format!(
        "{}: unit={} requests_per_unit={} weight={} always_apply={}",
        rule.name(domain),
        rule.limit.unit(),
        rule.limit.requests_per_unit,
        rule.weight,
        rule.always_apply
    );
    if rule.limit.units() != 1 {
        line.push_str(&format!(" unit_multiplier={}", rule.limit.units()));
    }
    match rule.limit.algorithm() {
        Algorithm::FixedWindow => {}
        Algorithm::SlidingWindow => line.push_str(" algorithm=slidingWindow"),
        Algorithm::TokenBucket { burst } => line.push_str(&format!(" algorithm=tokenBucket burst={burst}")),
    }
    if rule.policy == CountPolicy::WhenAllowed {
        line.push_str(" count_when_limited=never");
    }
    if rule.shadow {
        line.push_str(" shadow_mode=true");
    }
    line
}
