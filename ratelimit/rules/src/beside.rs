//! What whoever uses rules keeps beside each of them, so that it is looked up once and not for each request.

use std::any::Any;
use std::sync::{Arc, OnceLock};

/// Something of somebody else's.
type Kept = Arc<dyn Any + Send + Sync>;

/// Places beside a rule, one for each domain that is served. Rules know nothing of what is kept there.
pub struct Beside(Box<[OnceLock<Kept>]>);

impl std::fmt::Debug for Beside {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Beside")
    }
}

impl Beside {
    /// One place for each of so many domains.
    pub fn new(domains: usize) -> Self {
        Self((0..domains).map(|_| OnceLock::new()).collect())
    }

    /// No place: for rules made up for one request, of which there is no end.
    pub fn none() -> Self {
        Self(Box::default())
    }

    /// What is kept for the domain of that number; `make` is called the first time. None if there is no
    /// such place, or if it is taken by something else.
    pub fn get<T: Send + Sync + 'static>(&self, domain: usize, make: impl FnOnce() -> Arc<T>) -> Option<&T> {
        let kept: &Kept = self.0.get(domain)?.get_or_init(|| make());
        kept.downcast_ref()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_domain_has_a_place_that_is_filled_once() {
        let beside = Beside::new(2);
        assert_eq!(beside.get(0, || Arc::new(1)), Some(&1));
        assert_eq!(beside.get(0, || Arc::new(2)), Some(&1));
        assert_eq!(beside.get(1, || Arc::new(3)), Some(&3));
        assert_eq!(beside.get(2, || Arc::new(4)), None);
        assert_eq!(beside.get(0, || Arc::new("other")), None);
        assert_eq!(Beside::none().get(0, || Arc::new(1)), None);
    }
}
