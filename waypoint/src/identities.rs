//! What the Envoys of each Gateway show to the servers that they ask, and whom they trust there.
//!
//! They are told of it over the stream on which they have proved who they are, beside their configuration, and anew when
//! half of its life is over. It is kept in memory alone.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use api::Name;
use proto::resource::Named;
use tokio::time::{Instant, sleep_until};
use waypoint_translate::Identity;

use crate::authority::{Authorities, Leaf, Subject, Trusted};
use crate::proxy_name::proxy_name;

/// How often it is looked whether one is to be renewed.
pub const LOOK: Duration = Duration::from_secs(60);

/// The identities of all Gateways' Envoys.
#[derive(Debug)]
pub struct Identities {
    trusted: Trusted,
    trust_domain: String,
    told: BTreeMap<Name, Told>,
}

/// What Envoys of one Gateway are told.
#[derive(Debug)]
struct Told {
    leaf: Leaf,
    /// Whom they are told to trust.
    authorities: Arc<Authorities>,
    resources: Named,
}

impl Identities {
    /// Those that whoever is `trusted` signs.
    pub fn new(trusted: Trusted, trust_domain: String) -> Self {
        Self { trusted, trust_domain, told: BTreeMap::new() }
    }

    /// Who signs.
    pub fn trusted(&self) -> Trusted {
        self.trusted.clone()
    }

    /// Forgets those of all Gateways but these.
    pub fn keep(&mut self, is_there: impl Fn(&Name) -> bool) {
        self.told.retain(|gateway, _| is_there(gateway));
    }

    /// What Envoys of `gateway` are told at `now`, in seconds since 1970; none as long as nobody signs.
    pub fn of(&mut self, gateway: &Name, now: u64) -> Option<Named> {
        let authorities = self.trusted.borrow().clone()?;
        let account = proxy_name(&gateway.name);
        let principal = format!("spiffe://{}/ns/{}/sa/{account}", self.trust_domain, gateway.namespace);
        let before = self.told.get(gateway);
        let leaf = match authorities.leaf(&Subject::Envoys(&principal), before.map(|told| &told.leaf), now) {
            Ok(None) if before.is_some_and(|told| Arc::ptr_eq(&told.authorities, &authorities)) => None,
            Ok(leaf) => leaf.or_else(|| before.map(|told| told.leaf.clone())),
            Err(error) => {
                // What was signed last may be good for a while.
                tracing::error!(%gateway, error = format!("{error:#}"), "no certificate for its Envoys");
                None
            }
        };
        if let Some(leaf) = leaf {
            match resources(&leaf, &authorities) {
                Ok(resources) => drop(self.told.insert(gateway.clone(), Told { leaf, authorities, resources })),
                Err(error) => tracing::error!(%gateway, error, "its Envoys cannot be told who they are"),
            }
        }
        self.told.get(gateway).map(|told| told.resources.clone())
    }
}

fn resources(leaf: &Leaf, authorities: &Authorities) -> Result<Named, String> {
    let identity = Identity { cert: &leaf.cert, key: &leaf.key, authorities: &authorities.bundle() };
    let told = waypoint_translate::secrets(&identity)?;
    Ok(told.into_iter().map(|resource| (resource.name.clone(), resource)).collect())
}

/// Ends when identities may have to be renewed: when somebody else signs, or at `look`; never if there are none.
pub async fn due(trusted: Option<&mut Trusted>, look: Instant) {
    let Some(trusted) = trusted else { return std::future::pending().await };
    tokio::select! {
        changed = trusted.changed() => if changed.is_err() {
            // Nobody signs any more, as when everything stops: what there is goes on.
            std::future::pending().await
        },
        () = sleep_until(look) => {}
    }
}

#[cfg(test)]
mod tests {
    use tokio::sync::watch;

    use super::*;

    const BEGUN: u64 = 1_800_000_000;
    const DAY: u64 = 86_400;

    #[test]
    fn each_gateway_has_an_identity_of_its_own_that_is_renewed_and_none_before_somebody_signs() {
        let (signs, trusted) = watch::channel(None);
        let mut all = Identities::new(trusted, "cluster.local".to_owned());
        let (a, b) = (Name::new("t", "a"), Name::new("t", "b"));
        assert!(all.of(&a, BEGUN).is_none());
        signs.send_replace(Some(Arc::new(Authorities::new(BEGUN).expect("an authority"))));
        let versions = |named: Option<Named>| -> Vec<String> {
            named.expect("somebody signs").values().map(|resource| resource.version.clone()).collect()
        };
        let first = versions(all.of(&a, BEGUN));
        assert_eq!(first.len(), 2);
        assert_eq!(versions(all.of(&a, BEGUN + 3 * DAY)), first);
        let other = versions(all.of(&b, BEGUN));
        assert_eq!(first.iter().filter(|version| !other.contains(version)).count(), 1, "the authorities are the same");
        assert_ne!(versions(all.of(&a, BEGUN + 4 * DAY)), first);
        // Others are trusted, too: that is told at once, and who they are themselves stays.
        let before = versions(all.of(&a, BEGUN + 4 * DAY));
        signs.send_modify(|known| {
            let due = known.as_ref().expect("known").due(BEGUN + 300 * DAY).expect("keys").expect("a next one");
            *known = Some(Arc::new(due));
        });
        let now = versions(all.of(&a, BEGUN + 4 * DAY));
        assert_eq!(now.iter().filter(|version| !before.contains(version)).count(), 1);
        // One that cannot be renewed is told as long as there is one.
        assert!(all.of(&b, BEGUN + 400 * DAY).is_some());
        all.keep(|gateway| *gateway == a);
        assert!(all.of(&b, BEGUN + 400 * DAY).is_none());
    }
}
