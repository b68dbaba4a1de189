//! An object that was never good.

use crate::object::Object;
use crate::problem::Problem;
use crate::reach::Reach;

/// An object that could not be admitted and has no earlier good version.
///
/// It is kept so that what it would have governed can be refused rather than
/// served as if it had never been written.
#[derive(Debug, Clone)]
pub struct Broken {
    /// What is wrong with it.
    pub problems: Vec<Problem>,
    /// What could be read of it, with the offending fields left out. For showing; what is to be
    /// refused stands in `reach`.
    pub partial: Option<Object>,
    /// What it would have governed.
    pub reach: Reach,
}
