//! HTTPRoute filters, those of rules and those of backends.

use api::Problem;
use api::gateway::httproutes::{
    HttpRouteRulesFilters as Filter, HttpRouteRulesFiltersRequestHeaderModifier as RequestModifier,
    HttpRouteRulesFiltersRequestRedirect as RedirectFilter,
    HttpRouteRulesFiltersRequestRedirectPathType as RedirectPath,
    HttpRouteRulesFiltersResponseHeaderModifier as ResponseModifier, HttpRouteRulesFiltersType as FilterType,
    HttpRouteRulesFiltersUrlRewrite as UrlRewrite, HttpRouteRulesFiltersUrlRewritePathType as RewritePath,
};
use api::{Name, header};
use ir::{HeaderChanges, HeaderPut, PathRewrite, Redirect};

/// What the filters of a rule or backend ask for.
#[derive(Debug, Default)]
pub struct Filters {
    /// Changes to the request's headers.
    pub request: HeaderChanges,
    /// Changes to the response's headers.
    pub response: HeaderChanges,
    /// A redirection instead of forwarding.
    pub redirect: Option<Redirect>,
    /// What replaces the host.
    pub host: Option<String>,
    /// What replaces the path.
    pub path: Option<PathRewrite>,
    /// RouteOptions by `ExtensionRef`.
    pub options: Vec<Name>,
    /// What cannot be done; a filter must never be skipped.
    pub problems: Vec<Problem>,
}

/// Reads `filters`, written at `field` of a route in `namespace`.
pub fn filters(filters: &[Filter], field: &str, namespace: &str) -> Filters {
    let mut out = Filters::default();
    for (index, filter) in filters.iter().enumerate() {
        let field = format!("{field}[{index}]");
        if let Err(problem) = read(filter, &field, namespace, &mut out) {
            out.problems.push(problem);
        }
    }
    out
}

fn read(filter: &Filter, field: &str, namespace: &str, out: &mut Filters) -> Result<(), Problem> {
    let missing =
        |name: &str| Problem::error(format!("{field}.{name}"), "missing, though the filter's type asks for it");
    match filter.r#type {
        FilterType::RequestHeaderModifier => {
            let modifier = filter.request_header_modifier.as_ref().ok_or_else(|| missing("requestHeaderModifier"))?;
            request(modifier, &format!("{field}.requestHeaderModifier"), out)
        }
        FilterType::ResponseHeaderModifier => {
            let modifier = filter.response_header_modifier.as_ref().ok_or_else(|| missing("responseHeaderModifier"))?;
            response(modifier, &format!("{field}.responseHeaderModifier"), out)
        }
        FilterType::RequestRedirect => {
            let written = filter.request_redirect.as_ref().ok_or_else(|| missing("requestRedirect"))?;
            out.redirect = Some(redirect(written));
            Ok(())
        }
        FilterType::UrlRewrite => {
            rewrite(filter.url_rewrite.as_ref().ok_or_else(|| missing("urlRewrite"))?, out);
            Ok(())
        }
        FilterType::ExtensionRef => {
            let reference = filter.extension_ref.as_ref().ok_or_else(|| missing("extensionRef"))?;
            if reference.group == "gateway.solo.io" && reference.kind == "RouteOption" {
                out.options.push(Name::new(namespace, reference.name.as_str()));
                Ok(())
            } else {
                Err(Problem::error(
                    format!("{field}.extensionRef"),
                    format!(
                        "{} of {:?} is not a filter we know; write kind: RouteOption, group: gateway.solo.io",
                        reference.kind, reference.group
                    ),
                ))
            }
        }
        FilterType::RequestMirror => Err(unsupported(field, "RequestMirror")),
        FilterType::Cors => Err(unsupported(field, "CORS")),
        FilterType::ExternalAuth => Err(unsupported(field, "ExternalAuth")),
    }
}

fn unsupported(field: &str, name: &str) -> Problem {
    Problem::error(
        format!("{field}.type"),
        format!("{name} is not supported yet; requests of this rule are answered 500"),
    )
}

/// `%` is a character here, not the beginning of a command operator.
pub fn literal(value: &str) -> String {
    value.replace('%', "%%")
}

fn put(name: &str, value: &str, append: bool, field: &str) -> Result<HeaderPut, Problem> {
    header::changeable(name).map_err(|why| Problem::error(field, format!("{name}: {why}")))?;
    if !header::is_value(value) {
        return Err(Problem::error(field, format!("the value of {name} holds control characters")));
    }
    Ok(HeaderPut { name: name.to_owned(), format: literal(value), append })
}

fn remove(name: &str, field: &str) -> Result<String, Problem> {
    header::changeable(name).map_err(|why| Problem::error(field, format!("{name}: {why}")))?;
    Ok(name.to_owned())
}

fn request(modifier: &RequestModifier, field: &str, out: &mut Filters) -> Result<(), Problem> {
    for name in modifier.remove.iter().flatten() {
        out.request.remove.push(remove(name, field)?);
    }
    for header in modifier.set.iter().flatten() {
        out.request.put.push(put(&header.name, &header.value, false, field)?);
    }
    for header in modifier.add.iter().flatten() {
        out.request.put.push(put(&header.name, &header.value, true, field)?);
    }
    Ok(())
}

fn response(modifier: &ResponseModifier, field: &str, out: &mut Filters) -> Result<(), Problem> {
    for name in modifier.remove.iter().flatten() {
        out.response.remove.push(remove(name, field)?);
    }
    for header in modifier.set.iter().flatten() {
        out.response.put.push(put(&header.name, &header.value, false, field)?);
    }
    for header in modifier.add.iter().flatten() {
        out.response.put.push(put(&header.name, &header.value, true, field)?);
    }
    Ok(())
}

fn redirect(written: &RedirectFilter) -> Redirect {
    let path = written.path.as_ref().and_then(|path| match path.r#type {
        RedirectPath::ReplaceFullPath => path.replace_full_path.clone().map(PathRewrite::Full),
        RedirectPath::ReplacePrefixMatch => path.replace_prefix_match.clone().map(PathRewrite::Prefix),
    });
    let scheme = written.scheme.as_ref().and_then(|scheme| serde_json::to_value(scheme).ok());
    Redirect {
        scheme: scheme.and_then(|scheme| scheme.as_str().map(str::to_owned)),
        host: written.hostname.clone(),
        port: written.port.and_then(|port| u16::try_from(port).ok()),
        path,
        status: written.status_code.and_then(|status| u32::try_from(status).ok()).unwrap_or(302),
    }
}

fn rewrite(written: &UrlRewrite, out: &mut Filters) {
    if let Some(host) = &written.hostname {
        out.host = Some(host.clone());
    }
    if let Some(path) = &written.path {
        out.path = match path.r#type {
            RewritePath::ReplaceFullPath => path.replace_full_path.clone().map(PathRewrite::Full),
            RewritePath::ReplacePrefixMatch => path.replace_prefix_match.clone().map(PathRewrite::Prefix),
        };
    }
}
