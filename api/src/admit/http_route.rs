//! HTTPRoute rules that need more than types: what Envoy would refuse, said before it does.

use crate::gateway::HttpRoute;
use crate::gateway::httproutes::{
    HttpRouteRulesMatches, HttpRouteRulesMatchesHeadersType as HeaderType, HttpRouteRulesMatchesPathType as PathType,
    HttpRouteRulesMatchesQueryParamsType as QueryType,
};
use crate::header;
use crate::problem::Problem;

/// What is wrong with `route` taken by itself.
pub fn validate(route: &mut HttpRoute) -> Vec<Problem> {
    let mut problems = Vec::new();
    for (rule_index, rule) in route.spec.rules.iter().flatten().enumerate() {
        for (index, matches) in rule.matches.iter().flatten().enumerate() {
            check(&format!("spec.rules[{rule_index}].matches[{index}]"), matches, &mut problems);
        }
        for (index, backend) in rule.backend_refs.iter().flatten().enumerate() {
            if backend.weight.is_some_and(|weight| !(0..=1_000_000).contains(&weight)) {
                let field = format!("spec.rules[{rule_index}].backendRefs[{index}].weight");
                problems.push(Problem::error(field, "write 0 to 1000000"));
            }
        }
    }
    problems
}

fn check(field: &str, matches: &HttpRouteRulesMatches, problems: &mut Vec<Problem>) {
    if let Some(path) = &matches.path {
        let value = path.value.as_deref().unwrap_or("/");
        if path.r#type == Some(PathType::RegularExpression) {
            regex(&format!("{field}.path.value"), value, problems);
        } else if !value.starts_with('/') || value.contains(['?', '#']) || !header::is_value(value) {
            problems
                .push(Problem::error(format!("{field}.path.value"), "a path begins with '/' and has no '?' or '#'"));
        }
    }
    for (index, written) in matches.headers.iter().flatten().enumerate() {
        if !header::is_name(&written.name) {
            problems.push(Problem::error(format!("{field}.headers[{index}].name"), "not a header name"));
        }
        if written.r#type == Some(HeaderType::RegularExpression) {
            regex(&format!("{field}.headers[{index}].value"), &written.value, problems);
        }
    }
    for (index, written) in matches.query_params.iter().flatten().enumerate() {
        if written.name.is_empty() {
            problems.push(Problem::error(format!("{field}.queryParams[{index}].name"), "empty"));
        }
        if written.r#type == Some(QueryType::RegularExpression) {
            regex(&format!("{field}.queryParams[{index}].value"), &written.value, problems);
        }
    }
}

fn regex(field: &str, pattern: &str, problems: &mut Vec<Problem>) {
    if let Err(error) = regex::Regex::new(pattern) {
        let why = error.to_string();
        let why = why.lines().last().unwrap_or_default().trim_start_matches("error: ").to_owned();
        problems.push(Problem::error(field, format!("not a regular expression: {why}")));
    }
}
