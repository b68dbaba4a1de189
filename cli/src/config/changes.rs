//! What differs between two states of what is declared, as text: objects, what is said of them, and what Envoys are
//! configured with. Pure.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use api::{Name, ObjectRef, Snapshot};
use proto::{ResourceType, resource};
use similar::TextDiff;
use waypoint_translate::{GatewayOutput, Translation};

use crate::report;

/// So many lines around each change are shown.
const AROUND: usize = 3;

/// All that differs; nothing where nothing does.
pub fn say((old, before): (&Snapshot, &Translation), (new, after): (&Snapshot, &Translation)) -> String {
    let mut out = String::new();
    objects(&mut out, old, new);
    statuses(&mut out, before, after);
    let gateways: BTreeSet<&Name> = before.gateways.keys().chain(after.gateways.keys()).collect();
    for name in gateways {
        let of = |translation: &Translation| translation.gateways.get(name).cloned().unwrap_or_default();
        let (was, is) = (of(before), of(after));
        let mut said = String::new();
        for kind in ResourceType::ALL {
            resources(&mut said, kind, (&was, &is));
        }
        if !said.is_empty() {
            let _ = writeln!(out, "\nEnvoys of Gateway {name}:\n{said}");
        }
    }
    out
}

/// `+`, `-` or `~`: whether it came, went, or is another.
fn mark(was: bool, is: bool) -> char {
    match (was, is) {
        (false, _) => '+',
        (true, false) => '-',
        (true, true) => '~',
    }
}

fn objects(out: &mut String, old: &Snapshot, new: &Snapshot) {
    let there = |snapshot: &Snapshot, object: &ObjectRef| {
        snapshot.get(object).is_some() || snapshot.broken.contains_key(object)
    };
    for object in new.delta(old).objects {
        let _ = writeln!(out, "{} {object}", mark(there(old, &object), there(new, &object)));
    }
}

/// What is said otherwise of any object than before.
fn statuses(out: &mut String, before: &Translation, after: &Translation) {
    let mut heading = "\nStatuses:\n";
    for object in after.report.changed(&before.report) {
        let of = |translation: &Translation| -> Vec<String> {
            let said = translation.report.get(object).into_iter().flat_map(|said| said.iter());
            said.flat_map(|status| status.conditions.iter().map(|condition| report::condition(status, condition)))
                .collect()
        };
        let (was, is) = (of(before), of(after));
        let gone = was.iter().filter(|line| !is.contains(line)).map(|line| format!("- {object}: {line}"));
        let came = is.iter().filter(|line| !was.contains(line)).map(|line| format!("+ {object}: {line}"));
        for line in gone.chain(came) {
            out.push_str(std::mem::take(&mut heading));
            let _ = writeln!(out, "{line}");
        }
    }
}

/// The resources of one type in which two configurations of a Gateway's Envoys differ.
fn resources(out: &mut String, kind: ResourceType, (was, is): (&GatewayOutput, &GatewayOutput)) {
    for name in resource::changed(&was.resources, &is.resources, kind) {
        let text = |output: &GatewayOutput| {
            let found = output.resources.get(&kind).and_then(|named| named.get(name));
            found.map(|resource| proto::yaml::yaml(&resource.body))
        };
        let (before, after) = (text(was), text(is));
        let key = (kind, name.clone());
        let shown = if after.is_some() { is.shown(&key) } else { was.shown(&key) };
        let _ = writeln!(out, "{} {kind:?} {shown}", mark(before.is_some(), after.is_some()));
        let (before, after) = (before.unwrap_or_default(), after.unwrap_or_default());
        let diff = TextDiff::from_lines(&before, &after);
        for line in diff.unified_diff().context_radius(AROUND).to_string().lines() {
            let _ = writeln!(out, "    {line}");
        }
    }
}
