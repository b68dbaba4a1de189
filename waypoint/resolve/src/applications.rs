//! Which applications believe which headers: an application is where a Service's endpoints are, and two Services may
//! lead to the same one. What authorization says to it behind one of them, it believes behind the other.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use api::Name;
use api::core::EndpointSlice;

use ir::PortRef;

use crate::counts;
use crate::few::{Few, remove_from};

/// An address or a name, and a port.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Application {
    /// The address or name, in one spelling.
    pub host: Box<str>,
    /// The port.
    pub port: u16,
}

impl Application {
    /// The one at `host`, however that is spelt.
    pub fn new(host: &str, port: u16) -> Self {
        let spelt = host.trim_end_matches('.').to_ascii_lowercase();
        let host = match spelt.parse::<std::net::IpAddr>() {
            Ok(address) => address.to_canonical().to_string(),
            Err(_) => spelt,
        };
        Self { host: host.into(), port }
    }
}

/// The applications to which the ports of a Service, by number and name, lead in these `slices`, ready or not; each with
/// the port.
pub fn applications<'s>(
    ports: &[(u16, Option<&str>)],
    slices: impl Iterator<Item = &'s EndpointSlice>,
) -> BTreeSet<(u16, Application)> {
    let mut found = BTreeSet::new();
    for slice in slices {
        for (port, name) in ports {
            let is_meant =
                |name: Option<&str>, other: Option<&str>| name.unwrap_or_default() == other.unwrap_or_default();
            let meant = slice.ports.iter().flatten().filter(|meant| is_meant(meant.name.as_deref(), *name));
            for number in meant.filter_map(|meant| u16::try_from(meant.port?).ok()) {
                let hosts = slice.endpoints.iter().flat_map(|endpoint| &endpoint.addresses);
                found.extend(hosts.map(|host| (*port, Application::new(host, number))));
            }
        }
    }
    found
}

/// See the module.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Believed {
    /// The headers that the AuthConfigs set that guard the way to each port of each Service.
    granted: HashMap<Name, BTreeMap<u16, BTreeSet<String>>>,
    /// The applications of each Service, each with the Service's port.
    of_service: HashMap<Name, Box<[(u16, Application)]>>,
    /// The Services of each application.
    at: HashMap<Application, Few<Name>>,
    /// The headers that each application believes, each with for how many ports of Services.
    by: HashMap<Application, BTreeMap<String, usize>>,
}

impl Believed {
    /// The headers that the applications behind `service` believe.
    pub fn behind(&self, service: &Name) -> BTreeSet<&String> {
        let own = self.granted.get(service).into_iter().flat_map(BTreeMap::values).flatten();
        let applications = self.of_service.get(service).into_iter().flatten();
        own.chain(applications.flat_map(|(_, one)| self.at(one))).collect()
    }

    /// The headers that the applications behind one port of a Service believe.
    pub fn behind_port(&self, id: &PortRef) -> BTreeSet<&String> {
        let own = self.granted(id).into_iter().flatten();
        let applications = self.of_service.get(&id.service).into_iter().flatten();
        own.chain(applications.filter(|(port, _)| *port == id.port).flat_map(|(_, one)| self.at(one))).collect()
    }

    fn at(&self, application: &Application) -> impl Iterator<Item = &String> {
        self.by.get(application).into_iter().flat_map(BTreeMap::keys)
    }

    /// What is granted for a port by itself.
    pub fn granted(&self, id: &PortRef) -> Option<&BTreeSet<String>> {
        self.granted.get(&id.service)?.get(&id.port)
    }

    /// Notes what is granted for a port now, if anything. Comes back with the Services behind which other headers are
    /// believed since.
    pub fn grant(&mut self, id: &PortRef, now: Option<BTreeSet<String>>) -> BTreeSet<Name> {
        let mut touched = BTreeSet::from([id.service.clone()]);
        let ports = self.granted.entry(id.service.clone()).or_default();
        let before = ports.remove(&id.port).unwrap_or_default();
        let after = now.unwrap_or_default();
        for (_, application) in
            self.of_service.get(&id.service).into_iter().flatten().filter(|(port, _)| *port == id.port)
        {
            let by = self.by.entry(application.clone()).or_default();
            let mut flipped = false;
            for header in before.difference(&after) {
                flipped |= counts::down(by, header);
            }
            for header in after.difference(&before) {
                flipped |= counts::up(by, header);
            }
            if by.is_empty() {
                self.by.remove(application);
            }
            if flipped {
                touched.extend(self.at.get(application).into_iter().flat_map(Few::iter).cloned());
            }
        }
        if !after.is_empty() {
            ports.insert(id.port, after);
        }
        if ports.is_empty() {
            self.granted.remove(&id.service);
        }
        touched
    }

    /// Notes where `service` runs now. Comes back with the Services behind which other headers may be believed since.
    pub fn run(&mut self, service: &Name, now: BTreeSet<(u16, Application)>) -> BTreeSet<Name> {
        if self.of_service.get(service).into_iter().flatten().eq(&now) {
            return BTreeSet::new();
        }
        let mut touched = BTreeSet::from([service.clone()]);
        let granted = self.granted.get(service).cloned().unwrap_or_default();
        let id = |port: &u16| PortRef { service: service.clone(), port: *port };
        for port in granted.keys() {
            touched.extend(self.grant(&id(port), None));
        }
        for (_, application) in self.of_service.remove(service).into_iter().flatten() {
            remove_from(&mut self.at, &application, service);
        }
        for (_, application) in &now {
            self.at.entry(application.clone()).or_default().insert(service.clone());
        }
        if !now.is_empty() {
            self.of_service.insert(service.clone(), now.into_iter().collect());
        }
        for (port, headers) in granted {
            touched.extend(self.grant(&id(&port), Some(headers)));
        }
        touched
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn name(n: u8) -> Name {
        Name::new("t", format!("s{n}"))
    }

    fn port(n: u8) -> PortRef {
        PortRef { service: name(n), port: 80 }
    }

    #[derive(Debug, Clone)]
    enum Edit {
        Grant(u8, BTreeSet<u8>),
        Run(u8, BTreeSet<u8>),
    }

    fn edits() -> impl Strategy<Value = Vec<Edit>> {
        let few = || proptest::collection::btree_set(0..3_u8, 0..3);
        let edit = prop_oneof![
            (0..4_u8, few()).prop_map(|(service, headers)| Edit::Grant(service, headers)),
            (0..4_u8, few()).prop_map(|(service, places)| Edit::Run(service, places)),
        ];
        proptest::collection::vec(edit, 0..24)
    }

    proptest! {
        /// Whatever was edited in whichever order, a header is believed where a Service with it runs; and whoever is not
        /// named as touched has what they had.
        #[test]
        fn what_is_granted_behind_one_service_is_believed_behind_all_that_lead_there(edits in edits()) {
            let mut believed = Believed::default();
            let (mut granted, mut runs) = (BTreeMap::new(), BTreeMap::new());
            for edit in edits {
                let before: Vec<BTreeSet<String>> =
                    (0..4).map(|n| believed.behind(&name(n)).into_iter().cloned().collect()).collect();
                let touched = match edit {
                    Edit::Grant(service, headers) => {
                        let headers: BTreeSet<String> = headers.iter().map(|h| format!("x-{h}")).collect();
                        granted.insert(service, headers.clone());
                        believed.grant(&port(service), (!headers.is_empty()).then_some(headers))
                    }
                    Edit::Run(service, places) => {
                        let places: BTreeSet<Application> =
                            places.iter().map(|p| Application::new(&format!("10.0.0.{p}"), 80)).collect();
                        runs.insert(service, places.clone());
                        // What is granted for one port is not believed at another.
                        let elsewhere = (81, Application::new(&format!("10.0.0.{service}"), 81));
                        let all = places.into_iter().map(|place| (80, place)).chain([elsewhere]).collect();
                        believed.run(&name(service), all)
                    }
                };
                let none = BTreeSet::new();
                for n in 0..4_u8 {
                    let mine = runs.get(&n).unwrap_or(&none);
                    let neighbours = (0..4_u8).filter(|other| {
                        *other == n || runs.get(other).is_some_and(|theirs| !theirs.is_disjoint(mine))
                    });
                    let expected: BTreeSet<String> =
                        neighbours.filter_map(|other| granted.get(&other)).flatten().cloned().collect();
                    let other = PortRef { port: 81, ..port(n) };
                    prop_assert!(believed.behind_port(&other).is_empty());
                    let now: BTreeSet<String> = believed.behind(&name(n)).into_iter().cloned().collect();
                    prop_assert_eq!(&now, &expected, "{}", n);
                    prop_assert!(touched.contains(&name(n)) || now == before[usize::from(n)], "{} was not named", n);
                }
            }
            for n in 0..4 {
                believed.grant(&port(n), None);
                believed.run(&name(n), BTreeSet::new());
            }
            prop_assert!(believed.at.is_empty() && believed.by.is_empty() && believed.of_service.is_empty());
        }
    }

    #[test]
    fn an_application_is_the_same_however_its_address_is_spelt() {
        for (one, other) in [("10.0.0.1", "::ffff:10.0.0.1"), ("fd00::1", "FD00:0::1"), ("db.example.", "DB.example")] {
            assert_eq!(Application::new(one, 80), Application::new(other, 80), "{one}");
        }
        assert_ne!(Application::new("10.0.0.1", 80), Application::new("10.0.0.1", 81));
    }
}
