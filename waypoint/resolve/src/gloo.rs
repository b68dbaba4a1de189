//! Gloo's options as values of ours, and what they name.

use api::gloo::ResourceRef;
use api::gloo::route_option::{
    Cors as WrittenCors, Faults as WrittenFaults, HeaderAppend, HeaderManipulation, Retries as WrittenRetries,
    RouteOption, RouteOptions,
};
use api::{Name, ObjectRef};
use ir::{Abort, Cors, Delay, Faults, HeaderPut, Origin, Pauses, Policy, Retries, RetryOn, Stage, Strangers};

use crate::declared::KINDS;

/// The routes that `option`, which is called `name`, names, each with the rule if it names one.
///
/// Admission lets no other kind pass; a Service of that name is no route.
pub fn targets<'a>(name: &'a Name, option: &'a RouteOption) -> impl Iterator<Item = (ObjectRef, Option<&'a str>)> {
    option.spec.target_refs.iter().filter_map(|target| {
        let kind = KINDS.into_iter().find(|kind| target.kind == kind.as_str())?;
        let route = ObjectRef::new(kind, name.namespace.as_str(), target.name.as_str());
        Some((route, target.section_name.as_deref()))
    })
}

/// The RateLimitConfigs that `options` name, each with when it is to be asked for; none for the usual time.
pub fn limits(options: &RouteOptions) -> impl Iterator<Item = (Option<Stage>, &ResourceRef)> {
    [
        (Some(Stage::Early), &options.rate_limit_early_configs),
        (None, &options.rate_limit_configs),
        (Some(Stage::Regular), &options.rate_limit_regular_configs),
    ]
    .into_iter()
    .flat_map(|(stage, configs)| configs.iter().flat_map(|configs| &configs.refs).map(move |found| (stage, found)))
}

/// `cors`; none where it is turned off.
pub fn cors(written: &WrittenCors) -> Option<Cors> {
    let exact = written.allow_origin.iter().map(|origin| match origin.as_str() {
        "*" => Origin::Any,
        origin => Origin::Exact(origin.to_owned()),
    });
    let regex = written.allow_origin_regex.iter().cloned().map(Origin::Regex);
    (!written.disable_for_route).then(|| Cors {
        origins: exact.chain(regex).collect(),
        methods: written.allow_methods.clone(),
        headers: written.allow_headers.clone(),
        exposed: written.expose_headers.clone(),
        max_age: written.max_age_seconds().ok().flatten(),
        credentials: written.allow_credentials,
        strangers: Strangers::PassedOn,
    })
}

/// `faults`.
pub fn faults(written: &WrittenFaults) -> Faults {
    let millionths = |percentage: f64| (percentage * 10_000.0).round().clamp(0.0, 1_000_000.0) as u32;
    Faults {
        abort: written
            .abort
            .as_ref()
            .map(|abort| Abort { millionths: millionths(abort.percentage), status: abort.http_status }),
        delay: written.delay.as_ref().map(|delay| Delay {
            millionths: millionths(delay.percentage),
            time: delay.fixed_delay.unwrap_or_default().0,
        }),
    }
}

/// `retries`, but for `perTryTimeout`, which is the route's.
pub fn retries(written: &WrittenRetries) -> Retries {
    Retries {
        on: RetryOn::Named(written.retry_on.split(',').map(|on| on.trim().to_owned()).collect()),
        times: if written.num_retries == 0 { 1 } else { written.num_retries },
        statuses: written.retriable_status_codes.clone(),
        pauses: written.retry_back_off.as_ref().map(|back_off| Pauses {
            first: back_off.base_interval.unwrap_or_default().0,
            longest: back_off.max_interval.map(|longest| longest.0),
        }),
    }
}

/// `headerManipulation`, added to what `policy` does already.
pub fn manipulate(headers: &HeaderManipulation, policy: &mut Policy) {
    let put = |entry: &HeaderAppend| {
        let header = entry.header.as_ref()?;
        Some(HeaderPut { name: header.key.clone(), format: header.value.clone(), append: entry.append.unwrap_or(true) })
    };
    policy.request.remove.extend(headers.request_headers_to_remove.iter().cloned());
    policy.request.put.extend(headers.request_headers_to_add.iter().filter_map(put));
    policy.response.remove.extend(headers.response_headers_to_remove.iter().cloned());
    policy.response.put.extend(headers.response_headers_to_add.iter().filter_map(put));
}
