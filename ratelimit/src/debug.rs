//! `/rlconfig`: the rules being served, a line each.

use std::sync::Arc;

use arc_swap::ArcSwap;
use axum::Router;
use axum::routing::get;

use crate::config::index::{Entry, Index, Level};
use crate::config::rule::Rule;

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
                    sets.extend(config.sets.rules.iter().filter_map(|set| set.rule.as_ref()).map(|r| line(r, domain)));
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
        for node in values.exact.values().chain(values.any.as_deref()) {
            lines.extend(node.rule.as_deref().map(|rule| line(rule, domain)));
            tree(&node.children, domain, lines);
        }
    }
}

fn line(rule: &Rule, domain: &str) -> String {
    format!(
        "{}: unit={} requests_per_unit={} weight={} always_apply={}",
        rule.name(domain),
        rule.limit.unit(),
        rule.limit.requests_per_unit,
        rule.weight,
        rule.always_apply
    )
}
