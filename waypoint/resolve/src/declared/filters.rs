//! HTTPRoute filters, those of rules and those of backends.

use api::gateway::httproutes as written;
use api::header::{self, HeaderUse};
use api::{Name, Problem, envoy};
use ir::{Cors, HeaderChanges, HeaderPut, PathRewrite, Redirect};

use super::cors::{self, Written};
use super::{MirrorRef, Reference};

/// What the filters of a rule or backend ask for.
#[derive(Debug, Clone, Default, PartialEq)]
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
    /// Cross-origin policy. Few have one, and many filters are kept.
    pub cors: Option<Box<Cors>>,
    /// Who gets copies.
    pub mirrors: Vec<MirrorRef>,
    /// RouteOptions by `ExtensionRef`.
    pub options: Vec<Name>,
    /// What cannot be done; a filter must never be skipped.
    pub problems: Vec<Problem>,
}

/// One filter, read.
enum Filter {
    RequestHeaders(Modifier),
    ResponseHeaders(Modifier),
    Redirect(Redirect),
    Rewrite {
        host: Option<String>,
        path: Option<PathRewrite>,
    },
    Cors(Result<Box<Cors>, (&'static str, &'static str)>),
    /// The field of the reference is not known yet.
    Mirror {
        to: Reference,
        namespace: Option<String>,
        millionths: u32,
    },
    Extension {
        group: String,
        kind: String,
        name: String,
    },
    Unsupported(&'static str),
}

struct Modifier {
    remove: Vec<String>,
    set: Vec<(String, String)>,
    add: Vec<(String, String)>,
}

/// Reads the filters of a rule, written at `field` of a route in `namespace`.
pub fn of_rule(filters: &[written::HttpRouteRulesFilters], field: &str, namespace: &str) -> Filters {
    gather(filters.iter().map(rule_filter), field, namespace)
}

/// Reads the filters of a backend.
pub fn of_backend(filters: &[written::HttpRouteRulesBackendRefsFilters], field: &str, namespace: &str) -> Filters {
    gather(filters.iter().map(backend_filter), field, namespace)
}

/// The filters of rules and those of backends have the same fields and types of their own.
/// What is missing, though the filter's type asks for it, is the error.
macro_rules! read {
    ($read:ident, $Filter:ident, $Type:ident, $RedirectPath:ident, $Scheme:ident, $RewritePath:ident) => {
        fn $read(filter: &written::$Filter) -> Result<Filter, &'static str> {
            use written::{$RedirectPath as RedirectPath, $RewritePath as RewritePath, $Scheme as Scheme};
            macro_rules! modifier {
                ($modifier:expr) => {
                    Modifier {
                        remove: $modifier.remove.clone().unwrap_or_default(),
                        set: $modifier.set.iter().flatten().map(|h| (h.name.clone(), h.value.clone())).collect(),
                        add: $modifier.add.iter().flatten().map(|h| (h.name.clone(), h.value.clone())).collect(),
                    }
                };
            }
            Ok(match filter.r#type {
                written::$Type::RequestHeaderModifier => {
                    let modifier = filter.request_header_modifier.as_ref().ok_or("requestHeaderModifier")?;
                    Filter::RequestHeaders(modifier!(modifier))
                }
                written::$Type::ResponseHeaderModifier => {
                    let modifier = filter.response_header_modifier.as_ref().ok_or("responseHeaderModifier")?;
                    Filter::ResponseHeaders(modifier!(modifier))
                }
                written::$Type::RequestRedirect => {
                    let redirect = filter.request_redirect.as_ref().ok_or("requestRedirect")?;
                    Filter::Redirect(Redirect {
                        scheme: redirect.scheme.as_ref().map(|scheme| match scheme {
                            Scheme::Http => "http".to_owned(),
                            Scheme::Https => "https".to_owned(),
                        }),
                        host: redirect.hostname.clone(),
                        port: redirect.port.and_then(|port| u16::try_from(port).ok()),
                        path: redirect.path.as_ref().and_then(|path| match path.r#type {
                            RedirectPath::ReplaceFullPath => path.replace_full_path.clone().map(PathRewrite::Full),
                            RedirectPath::ReplacePrefixMatch => {
                                path.replace_prefix_match.clone().map(PathRewrite::Prefix)
                            }
                        }),
                        status: redirect.status_code.and_then(|status| u32::try_from(status).ok()).unwrap_or(302),
                    })
                }
                written::$Type::UrlRewrite => {
                    let rewrite = filter.url_rewrite.as_ref().ok_or("urlRewrite")?;
                    Filter::Rewrite {
                        host: rewrite.hostname.clone(),
                        path: rewrite.path.as_ref().and_then(|path| match path.r#type {
                            RewritePath::ReplaceFullPath => path.replace_full_path.clone().map(PathRewrite::Full),
                            RewritePath::ReplacePrefixMatch => {
                                path.replace_prefix_match.clone().map(PathRewrite::Prefix)
                            }
                        }),
                    }
                }
                written::$Type::ExtensionRef => {
                    let extension = filter.extension_ref.as_ref().ok_or("extensionRef")?;
                    Filter::Extension {
                        group: extension.group.clone(),
                        kind: extension.kind.clone(),
                        name: extension.name.clone(),
                    }
                }
                written::$Type::RequestMirror => {
                    let mirror = filter.request_mirror.as_ref().ok_or("requestMirror")?;
                    let (to, fraction) = (&mirror.backend_ref, mirror.fraction.as_ref());
                    Filter::Mirror {
                        to: Reference::new(String::new(), (&to.group, &to.kind), (&None, &to.name), to.port, ""),
                        namespace: to.namespace.clone(),
                        millionths: match (mirror.percent, fraction) {
                            (Some(percent), _) => millionths(percent, 100),
                            (None, Some(fraction)) => {
                                millionths(fraction.numerator, fraction.denominator.unwrap_or(100))
                            }
                            (None, None) => millionths(1, 1),
                        },
                    }
                }
                written::$Type::Cors => {
                    let cors = filter.cors.as_ref().ok_or("cors")?;
                    Filter::Cors(
                        cors::cors(&Written {
                            origins: cors.allow_origins.as_deref().unwrap_or_default(),
                            methods: cors.allow_methods.as_deref().unwrap_or_default(),
                            headers: cors.allow_headers.as_deref().unwrap_or_default(),
                            exposed: cors.expose_headers.as_deref().unwrap_or_default(),
                            max_age: cors.max_age,
                            credentials: cors.allow_credentials == Some(true),
                        })
                        .map(Box::new),
                    )
                }
                written::$Type::ExternalAuth => Filter::Unsupported("ExternalAuth"),
            })
        }
    };
}

read! {
    rule_filter, HttpRouteRulesFilters, HttpRouteRulesFiltersType, HttpRouteRulesFiltersRequestRedirectPathType,
    HttpRouteRulesFiltersRequestRedirectScheme, HttpRouteRulesFiltersUrlRewritePathType
}
read! {
    backend_filter, HttpRouteRulesBackendRefsFilters, HttpRouteRulesBackendRefsFiltersType,
    HttpRouteRulesBackendRefsFiltersRequestRedirectPathType, HttpRouteRulesBackendRefsFiltersRequestRedirectScheme,
    HttpRouteRulesBackendRefsFiltersUrlRewritePathType
}

fn gather(filters: impl Iterator<Item = Result<Filter, &'static str>>, field: &str, namespace: &str) -> Filters {
    let mut out = Filters::default();
    for (index, filter) in filters.enumerate() {
        let field = format!("{field}[{index}]");
        let added = match filter {
            Ok(filter) => add(filter, &field, namespace, &mut out),
            Err(name) => {
                Err(Problem::error(format!("{field}.{name}"), "missing, though the filter's type asks for it"))
            }
        };
        if let Err(problem) = added {
            out.problems.push(problem);
        }
    }
    if out.redirect.is_some() {
        for (present, why) in [
            (
                out.cors.is_some(),
                "CORS beside RequestRedirect: Envoy answers nothing about origins where it redirects; requests are answered 500",
            ),
            (
                !out.mirrors.is_empty(),
                "RequestMirror beside RequestRedirect: Envoy copies only what it sends on; requests are answered 500",
            ),
        ] {
            if present {
                out.problems.push(Problem::error(field, why));
            }
        }
    }
    out
}

fn add(filter: Filter, field: &str, namespace: &str, out: &mut Filters) -> Result<(), Problem> {
    match filter {
        Filter::RequestHeaders(modifier) => {
            change(&modifier, HeaderUse::Write, &format!("{field}.requestHeaderModifier"), &mut out.request)?;
        }
        Filter::ResponseHeaders(modifier) => {
            change(&modifier, HeaderUse::Hide, &format!("{field}.responseHeaderModifier"), &mut out.response)?;
        }
        Filter::Redirect(redirect) => out.redirect = Some(redirect),
        Filter::Rewrite { host, path } => {
            if host.is_some() {
                out.host = host;
            }
            if path.is_some() {
                out.path = path;
            }
        }
        Filter::Cors(cors) => {
            out.cors = Some(cors.map_err(|(name, why)| Problem::error(format!("{field}.cors.{name}"), why))?);
        }
        Filter::Mirror { mut to, namespace: of, millionths } => {
            to.field = format!("{field}.requestMirror.backendRef");
            to.name.namespace = of.as_deref().unwrap_or(namespace).into();
            out.mirrors.push(MirrorRef { to, millionths });
        }
        Filter::Extension { group, kind, name } if group == "gateway.solo.io" && kind == "RouteOption" => {
            out.options.push(Name::new(namespace, name));
        }
        Filter::Extension { group, kind, .. } => {
            return Err(Problem::error(
                format!("{field}.extensionRef"),
                format!("{kind} of {group:?} is not a filter we know; write kind: RouteOption, group: gateway.solo.io"),
            ));
        }
        Filter::Unsupported(name) => return Err(unsupported(field, name)),
    }
    Ok(())
}

/// Of a million, how many are `numerator` of `denominator`: all only if all are meant, and none only if none are.
fn millionths(numerator: i32, denominator: i32) -> u32 {
    const ALL: i64 = 1_000_000;
    let (numerator, denominator) = (i64::from(numerator.max(0)), i64::from(denominator.max(1)));
    let rounded = (numerator * ALL + denominator / 2) / denominator;
    let share = match numerator {
        0 => 0,
        some if some >= denominator => ALL,
        _ => rounded.clamp(1, ALL - 1),
    };
    share as u32
}

fn unsupported(field: &str, name: &str) -> Problem {
    Problem::error(
        format!("{field}.type"),
        format!("{name} is not supported yet; requests of this rule are answered 500"),
    )
}

/// `%` is a character here, not the beginning of a command operator.
fn literal(value: &str) -> String {
    value.replace('%', "%%")
}

fn put((name, value): &(String, String), append: bool, field: &str) -> Result<HeaderPut, Problem> {
    let wrong = |why: String| Problem::error(field, format!("{name}: {why}"));
    header::check(name, HeaderUse::Write).map_err(wrong)?;
    envoy::text::value(value).map_err(wrong)?;
    Ok(HeaderPut { name: name.clone(), format: literal(value), append })
}

fn change(modifier: &Modifier, removal: HeaderUse, field: &str, out: &mut HeaderChanges) -> Result<(), Problem> {
    for name in &modifier.remove {
        header::check(name, removal).map_err(|why| Problem::error(field, format!("{name}: {why}")))?;
        out.remove.push(name.clone());
    }
    for header in &modifier.set {
        out.put.push(put(header, false, field)?);
    }
    for header in &modifier.add {
        out.put.push(put(header, true, field)?);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_a_million_requests_as_many_are_copied_as_the_fraction_says() {
        for (numerator, denominator, share) in [
            (0, 100, 0),
            (1, 100, 10_000),
            (100, 100, 1_000_000),
            (5, 1, 1_000_000),
            (1, 3, 333_333),
            (2, 3, 666_667),
            (1, i32::MAX, 1),
            (i32::MAX - 1, i32::MAX, 999_999),
            (i32::MAX, i32::MAX, 1_000_000),
            (-1, 100, 0),
        ] {
            assert_eq!(millionths(numerator, denominator), share, "{numerator} of {denominator}");
        }
    }
}
