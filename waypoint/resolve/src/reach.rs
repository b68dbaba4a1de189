//! What a broken object would have governed, as far as its parts that could be read tell.

use api::{Broken, Kind, Name, Object, ObjectRef};

/// What a broken object would have governed.
pub enum Reach {
    /// These, and no others.
    Known(Vec<Target>),
    /// Whatever its kind can.
    Unknown,
}

/// One object that another refers to.
pub struct Target {
    /// API group, empty for core.
    pub group: String,
    /// Kind.
    pub kind: String,
    /// Namespace and name.
    pub name: Name,
    /// The part of it that is meant; the whole without it.
    pub section: Option<String>,
}

/// Reads it.
pub fn of(reference: &ObjectRef, broken: &Broken) -> Reach {
    let home = reference.name.namespace.as_str();
    let errors = || broken.problems.iter().filter(|problem| problem.is_error()).map(|problem| problem.field.as_str());
    match (&reference.kind, &broken.partial) {
        (Kind::RouteOption, Some(Object::RouteOption(partial))) => {
            let unreadable = errors().any(|field| {
                let judged_later = [".group", ".kind", ".namespace"].iter().any(|end| field.ends_with(end));
                field == "spec.targetRefs" || field.starts_with("spec.targetRefs[") && !judged_later
            });
            if unreadable {
                return Reach::Unknown;
            }
            let target = |t: &api::gloo::route_option::TargetRef| Target {
                group: t.group.clone(),
                kind: t.kind.clone(),
                name: Name::new(home, t.name.as_str()),
                section: t.section_name.clone(),
            };
            Reach::Known(partial.spec.target_refs.iter().map(target).collect())
        }
        (Kind::HttpRoute, Some(Object::HttpRoute(partial))) => {
            if errors().any(|field| field == "spec" || field.starts_with("spec.parentRef")) {
                return Reach::Unknown;
            }
            let declared = super::declared::http_route::declared(partial);
            let target = |p: super::declared::ParentRef| Target {
                group: p.group,
                kind: p.kind,
                name: p.name,
                section: p.section,
            };
            Reach::Known(declared.parents.into_iter().map(target).collect())
        }
        (Kind::Namespace, Some(Object::Namespace(partial))) => {
            if errors().any(|field| field == "metadata" || field.starts_with("metadata.labels")) {
                return Reach::Unknown;
            }
            let target = super::enrolment::asked(partial.as_ref(), &reference.name.name);
            let target = target.map(|name| Target {
                group: "gateway.networking.k8s.io".to_owned(),
                kind: "Gateway".to_owned(),
                name,
                section: None,
            });
            Reach::Known(target.into_iter().collect())
        }
        (Kind::Gateway, Some(Object::Gateway(partial))) if !partial.spec.gateway_class_name.is_empty() => {
            Reach::Known(vec![])
        }
        _ => Reach::Unknown,
    }
}
