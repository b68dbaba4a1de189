//! The flag that says which Gateways are waypoints of ours.

use std::collections::BTreeSet;

use api::contract::CONTROLLER_NAME;
use clap::Args;

/// Which Gateways are waypoints of ours.
#[derive(Debug, Clone, Args)]
pub struct ClassArgs {
    /// GatewayClass names whose waypoints are served
    #[arg(
        long = "class",
        env = "WAYPOINT_CLASSES",
        value_name = "NAME",
        value_delimiter = ',',
        default_value = "gloo-waypoint"
    )]
    pub classes: Vec<String>,
    /// The name by which those classes, and what is said of routes, are ours; another installation has another
    #[arg(
        long,
        env = "WAYPOINT_CONTROLLER_NAME",
        value_name = "NAME",
        default_value = CONTROLLER_NAME,
        value_parser = controller_name,
        hide = true
    )]
    pub controller_name: String,
}

/// What Gateway API takes: a domain and a path.
fn controller_name(text: &str) -> Result<String, String> {
    let parts = text.split_once('/').filter(|(domain, path)| domain.contains('.') && !path.is_empty());
    let fits = |c: char| c.is_ascii_alphanumeric() || "-._~/%!$&'()*+,;=:".contains(c);
    match parts {
        Some(_) if text.len() <= 253 && text.chars().all(fits) => Ok(text.to_owned()),
        _ => Err("write a domain and a path, such as example.com/waypoints".to_owned()),
    }
}

impl ClassArgs {
    /// The names as a set, for the settings of the translation.
    pub fn names(&self) -> BTreeSet<String> {
        self.classes.iter().cloned().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_controllers_name_is_a_domain_and_a_path() {
        for good in [CONTROLLER_NAME, "example.com/a/b"] {
            assert_eq!(controller_name(good).as_deref(), Ok(good));
        }
        for bad in ["", "example.com", "example.com/", "/a", "example/a", "example.com/a b"] {
            assert!(controller_name(bad).is_err(), "{bad}");
        }
    }
}
